"""Tables of cases that one test checks, for cases that cost less than a test of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import pytest

LONGEST = 60
PARAM = type(pytest.param())


class Checked:
    """A test and the cases that it is called with, by name."""

    def __init__(self, test: Callable[..., None], table: list[tuple[str, dict[str, Any]]]) -> None:
        self.test = test
        self.table = table


def cases(
    names: str | Sequence[str], rows: Iterable[Any], *, ids: Callable[[Any], str] | Iterable[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `pytest.mark.parametrize`, but one test that names every case that failed; several can be combined.

    The cases of one test share its fixtures, so a test whose cases change something is no test for this.
    """
    named = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = list(rows)
    titles = [ids(row) for row in rows] if callable(ids) else [None] * len(rows) if ids is None else list(ids)
    mine = [_case(named, row, title) for row, title in zip(rows, titles, strict=True)]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        inner = getattr(test, "checked", None) or Checked(test, [("", {})])
        table = [(f"{own}-{other}".strip("-"), {**a, **b}) for own, a in mine for other, b in inner.table]
        given = table[0][1] if table else dict.fromkeys(named)
        signature = inspect.signature(inner.test)
        left = [parameter for parameter in signature.parameters.values() if parameter.name not in given]

        @wraps(inner.test)
        def check(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for name, values in table:
                try:
                    inner.test(**fixtures, **values)
                except (Exception, pytest.fail.Exception):
                    # A report for each case that passes would cost more than most cases.
                    with subtests.test(name):
                        raise

        check.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[inspect.Parameter("subtests", inspect.Parameter.POSITIONAL_OR_KEYWORD), *left]
        )
        check.checked = Checked(inner.test, table)  # type: ignore[attr-defined]
        return check

    return decorate


def _case(names: list[str], row: Any, title: str | None) -> tuple[str, dict[str, Any]]:
    """The name of a case, and its values by name."""
    if isinstance(row, PARAM):
        row, title = row.values if len(names) > 1 else row.values[0], row.id
    values = dict(zip(names, row if len(names) > 1 else (row,), strict=True))
    return title or "-".join(map(_short, values.values())), values


def _short(value: object) -> str:
    try:
        return str(value)[:LONGEST].encode("ascii", "backslashreplace").decode()
    except ValueError:  # an integer of too many digits
        return type(value).__name__
