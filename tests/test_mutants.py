"""The sample of `make mutants`: what counts as a change, how it is known, and that decorated functions are in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants.changes import Change, open_decorators, read_changes

DECORATED = """
from contextlib import contextmanager
class Account:
    left = 3
    @property
    def is_empty(self):
        return self.left == 0
    @contextmanager
    def locked(self):
        yield self.left
    @staticmethod
    def kept():
        return 1
"""


def changes(directory: Path, original: str, *changed: str) -> list[Change]:
    """The changes of one function, as mutmut writes them."""
    bodies = {"orig": original, **{str(number): body for number, body in enumerate(changed, 1)}}
    path = directory / "module.py"
    path.write_text(
        "\n".join(f"async def x__pay__mutmut_{number}(card, price):\n    {body}" for number, body in bodies.items())
    )
    return list(read_changes(path, "callsheet.module"))


def test_a_decorated_function_is_opened_and_works_as_before() -> None:
    """mutmut skips decorated functions, and a property or a transaction may be all that protects money."""
    opened = open_decorators(DECORATED)

    space: dict[str, type] = {}
    exec(compile(opened, "opened", "exec"), space)
    account = space["Account"]()
    with account.locked() as left:
        assert (account.is_empty, left, account.kept()) == (False, 3, 1)
    assert "@property" not in opened
    assert "@contextmanager" not in opened
    assert "@staticmethod" in opened


def test_a_change_is_known_by_its_function_and_lines(tmp_path: Path) -> None:
    """The number that mutmut gives it may change with every other line of the function."""
    first = changes(tmp_path, "return price > 2", "return price >= 2", "return price > 3")
    second = changes(tmp_path, "return price > 2", "return price > 3", "return price >= 2")

    assert first[0].name == "callsheet.module.x__pay__mutmut_1"
    assert first[0].function == "callsheet.module._pay"
    assert first[0].diff == "- return price > 2\n+ return price >= 2"
    assert [change.rank for change in first] == [change.rank for change in reversed(second)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raise Refused('It costs too much.')", "raise Refused('XXIt costs too much.XX')"),
        ("raise Refused('It costs too much.')", "raise Refused(None)"),
        ("raise Refused(f'It costs {price}.')", "raise Refused(None)"),
        ("log.info('paid %s', price)", "log.info('paid %s', None)"),
        ("db.execute('SELECT id FROM task')", "db.execute('select id from task')"),
    ],
)
def test_a_sentence_the_log_and_the_case_of_sql_are_wording(tmp_path: Path, before: str, after: str) -> None:
    """No test repeats them."""
    assert [change.is_wording for change in changes(tmp_path, before, after)] == [True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raise Refused('too_expensive')", "raise Refused(None)"),
        ("raise Refused(f'It costs {price}.')", "raise Refused(f'It costs {None}.')"),
        ("db.execute('SELECT id FROM task')", "db.execute('XXSELECT id FROM taskXX')"),
        ("db.execute('SELECT id FROM task')", "db.execute(None)"),
        ("shown = None", "shown = ''"),
        ("await ask('May it be paid?', price)", "await ask('May it be paid?', None)"),
    ],
)
def test_anything_else_is_a_change_that_a_test_must_notice(tmp_path: Path, before: str, after: str) -> None:
    """Codes, statements and what is formatted into a sentence count."""
    assert [change.is_wording for change in changes(tmp_path, before, after)] == [False]


def test_a_long_line_is_shown_round_its_difference(tmp_path: Path) -> None:
    """So that the list of survivors can be read."""
    start, end = "a" * 100, "b" * 100
    (change,) = changes(tmp_path, f"return {start}(1).{end}", f"return {start}(2).{end}")

    assert change.excerpt == f"- …{'a' * 39}(1).{'b' * 38}…\n+ …{'a' * 39}(2).{'b' * 38}…"
