"""How `make mutants` tries changes: which test notices one, in which order, and that a stopped run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutants.verdicts import Outcome, Verdict, Verdicts, read_tree

TOOLS = Path(__file__).parents[1] / "tools"
SWITCH = """
import os
def set_mutant_under_test(name):
    os.environ["MUTANT_UNDER_TEST"] = name
"""
"""What is used of mutmut, which `make test` does not install."""
TRIED = """
import os, signal
def price():
    match os.environ.get("MUTANT_UNDER_TEST"):
        case "shop.x_price__mutmut_1": return 3
        case "shop.x_price__mutmut_2": os._exit(9)
        case "shop.x_price__mutmut_3": signal.raise_signal(signal.SIGALRM)
    return 2
def test_quick(): assert price() < 4
def test_exact(): assert price() == 2
def test_broken(): assert price() > 9
"""
SECONDS = {"test_shop.py::test_quick": 0.1, "test_shop.py::test_exact": 0.2, "test_shop.py::test_broken": 0.0}


def try_changes(directory: Path, tests: list[str], *names: str) -> tuple[dict[str, Verdict], str]:
    """The verdicts on these changes of `price`, which these tests reach, and what was printed."""
    package = directory / "mutmut" / "mutation"
    package.mkdir(parents=True, exist_ok=True)
    (package / "trampoline.py").write_text(SWITCH)
    (directory / "test_shop.py").write_text(TRIED)
    (directory / "plan.json").write_text(json.dumps({"tree": "a", "changes": names}))
    reaching = {"shop.x_price": [f"test_shop.py::{test}" for test in tests]}
    stats = {"tests_by_mangled_function_name": reaching, "duration_by_test": SECONDS}
    (directory / "mutmut-stats.json").write_text(json.dumps(stats))
    verdicts = directory / "verdicts.json"
    arguments = ["-p", "mutants.trials", "--rootdir=.", "--plan=plan.json", f"--verdicts={verdicts}"]
    tried = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "test_shop.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(directory), str(TOOLS)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    return dict(Verdicts(verdicts, "a").by_name), tried.stderr


@pytest.mark.parametrize(
    ("tests", "name", "outcome", "noticing"),
    [
        (["test_quick", "test_exact"], "shop.x_price__mutmut_1", Outcome.NOTICED, "test_exact"),
        (["test_quick"], "shop.x_price__mutmut_1", Outcome.SURVIVED, ""),
        ([], "shop.x_price__mutmut_1", Outcome.UNREACHED, ""),
        (["test_quick"], "shop.x_price__mutmut_2", Outcome.BROKEN, ""),
        (["test_quick"], "shop.x_price__mutmut_3", Outcome.TIME_LIMIT, "test_quick"),
        (["test_exact"], "shop.x_price__mutmut_4", Outcome.SURVIVED, ""),
    ],
)
def test_each_end_of_a_trial_has_its_outcome(
    tmp_path: Path, tests: list[str], name: str, outcome: Outcome, noticing: str
) -> None:
    """A process that ends in another way than its tests is no proof that a test notices anything."""
    verdicts, _ = try_changes(tmp_path, tests, name)

    assert (verdicts[name].outcome, verdicts[name].test.partition("::")[2]) == (outcome, noticing)


def test_a_test_that_fails_without_the_change_notices_nothing(tmp_path: Path) -> None:
    """Else every change that it reaches would count as noticed."""
    verdicts, printed = try_changes(tmp_path, ["test_broken", "test_quick"], "shop.x_price__mutmut_1")

    assert verdicts["shop.x_price__mutmut_1"].outcome is Outcome.SURVIVED
    assert "test_shop.py::test_broken" in printed


def test_a_verdict_counts_for_its_tree_and_names_the_test_to_run_first_in_another(tmp_path: Path) -> None:
    """A stopped run goes on; after a change of a test everything is tried again."""
    path = tmp_path / "verdicts.json"
    verdict = Verdict(Outcome.NOTICED, "test_shop.py::test_exact", 0.5)
    Verdicts(path, "a").record("shop.x_price__mutmut_1", verdict)

    assert Verdicts(path, "a").by_name == {"shop.x_price__mutmut_1": verdict}
    assert Verdicts(path, "b").by_name == {}
    assert Verdicts(path, "b").earlier == {"shop.x_price__mutmut_1": "test_shop.py::test_exact"}


def test_the_digest_of_a_tree_follows_every_file_but_the_explanations(tmp_path: Path) -> None:
    """An explanation changes no verdict; a test does."""
    explanations, tested = tmp_path / "survivors.toml", tmp_path / "tests" / "test_shop.py"
    tested.parent.mkdir()
    tested.write_text("1")
    explanations.write_text("1")

    def digest() -> str:
        return read_tree(tmp_path, ["tests", "survivors.toml"], without=explanations)

    first = digest()
    explanations.write_text("2")
    second = digest()
    tested.write_text("2")

    assert first == second != digest()
