"""`make mutants`: does a test fail when the code about money, consent and keys is changed?

    PYTHONPATH=tools python -m mutants [--sample N]

mutmut writes changed copies of each function and learns which fast tests reach it; `trials` runs those on each change
of a fixed random sample. A change that no test notices is a survivor: either a test is missing, or the change does no
harm. `survivors.toml` lists the harmless ones, each with a line that says why. The exit code is 1 when less than
`LEAST_NOTICED` of the rest is noticed, or when that list names a change that is not in the sample or is noticed now.
Nothing outside `build` is changed. `build/mutants.json` has the verdicts: what was stopped goes on where it was, and
after a change of the code or the tests each change meets the test that noticed it first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from .changes import Change, open_decorators, read_changes
from .trials import STATS, make_scratch
from .verdicts import Outcome, Verdict, Verdicts, read_tree

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
CHANGED = BUILD / "mutants"
"""Where mutmut writes the changed package, and where the tests run."""
PREPARED = BUILD / "tree"
"""The digest of the tree that was prepared; written last."""
VERDICTS = ROOT / "build" / "mutants.json"
SURVIVORS = Path(__file__).with_name("survivors.toml")
SAMPLE = 340
LEAST_NOTICED = 0.95
BROKEN = Verdict(Outcome.BROKEN)
SHOWN = 3000
"""So many characters of the output show why the tests fail."""

MODULES = (
    "core/consent",
    "core/poll_schedule",
    "core/sent",
    "core/spending",
    "core/tasks",
    "service/consent",
    "service/outcomes",
    "service/polling",
    "service/sealed_keys",
    "service/submission",
    "edges/ledger/connection",
    "edges/ledger/consent",
    "edges/ledger/ledger",
    "edges/ledger/rows",
    "edges/ledger/sent",
    "edges/process/sent_mark",
)
TESTS = (
    "core",
    "service",
    "ledger",
    "consent",
    "gateways",
    "surface",
    "edges/test_sqlite_file.py",
    "edges/test_policy_file.py",
    "test_leaks.py",
    "test_leaks_in_replies.py",
)
"""Where tests reach these modules. The others look at the sources, which mutmut changes, or start processes."""
BESIDE = ("tests", "tools", "references")
"""What the tests read besides the package."""
TREE = ("server/callsheet", *BESIDE, "pyproject.toml", "uv.lock")
"""What can change a verdict."""
PYTEST = ("--fast", "--hypothesis-seed=0", "-p", "no:xdist", "-p", "no:cov")

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = [{modules}]
also_copy = [{beside}]
pytest_add_cli_args = [{pytest}]
pytest_add_cli_args_test_selection = [{tests}]
use_git_change_detection = false
track_dependencies = false
"""


def prepare() -> None:
    """A copy of the package in `src`, the only place beside the root where mutmut finds one, and links to the rest."""
    shutil.rmtree(BUILD, ignore_errors=True)
    package = BUILD / "src" / "callsheet"
    shutil.copytree(ROOT / "server" / "callsheet", package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in MODULES:
        path = package / f"{module}.py"
        path.write_text(open_decorators(path.read_text(encoding="utf-8")), encoding="utf-8")
    for name in BESIDE:
        (BUILD / name).symlink_to(ROOT / name)
    settings = SETTINGS.format(
        modules=_quoted(f"src/callsheet/{module}.py" for module in MODULES),
        beside=_quoted(BESIDE),
        pytest=_quoted(PYTEST),
        tests=_quoted(f"tests/{name}" for name in TESTS),
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (BUILD / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def learn() -> None:
    """Make all changes, and learn which tests reach them."""
    print("Changing the code and learning which tests reach it: a few minutes.", flush=True)
    # mutmut has no command for this alone. A run for a name that does not exist stops after it.
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "none"]
    scratch = make_scratch()
    try:
        environ = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(scratch)}
        learned = subprocess.run(command, cwd=BUILD, env=environ, check=False, text=True, capture_output=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not (CHANGED / STATS).is_file():
        raise SystemExit(f"{learned.stdout[-SHOWN:]}\nThe tests fail on the unchanged code, so no change was tried.")


def draw_sample(size: int) -> list[Change]:
    """The first of all changes in their random order."""
    changes = [
        change
        for module in MODULES
        for change in read_changes(
            CHANGED / "src" / "callsheet" / f"{module}.py", "callsheet." + module.replace("/", ".")
        )
    ]
    print(f"{len(changes)} changes in {len(MODULES)} modules.", flush=True)
    ordered = sorted(changes, key=lambda change: change.rank)
    return list(islice((change for change in ordered if not change.is_wording), size))


def run(names: Sequence[str], tree: str) -> None:
    """Try these changes in a process that has the changed package; their verdicts are in `VERDICTS` then."""
    plan, log = BUILD / "plan.json", BUILD / "trials.log"
    plan.write_text(json.dumps({"tree": tree, "changes": names}), encoding="utf-8")
    places = (CHANGED / "src", ROOT / "tools")
    tests = [f"tests/{name}" for name in TESTS]
    options = ["-p", "mutants.trials", f"--plan={plan}", f"--verdicts={VERDICTS}", "--rootdir=.", *PYTEST]
    with log.open("w", encoding="utf-8") as output:
        tried = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=CHANGED,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "MUTANT_UNDER_TEST": ""},
            stdout=output,
            check=False,
        )
    if tried.returncode:
        raise SystemExit(f"{log.read_text(encoding='utf-8')[-SHOWN:]}\nIt stopped before all changes were tried.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"how many changes to try (default: {SAMPLE})")
    size = parser.parse_args().sample
    tree = read_tree(ROOT, TREE, without=SURVIVORS)
    if not PREPARED.is_file() or PREPARED.read_text(encoding="utf-8") != tree:
        prepare()
        learn()
        PREPARED.write_text(tree, encoding="utf-8")
    sample = draw_sample(size)
    known = Verdicts(VERDICTS, tree).by_name
    explained = read_survivors()
    # Those that all tests are tried on come last: until then a run shows what is new.
    ordered = sorted(sample, key=lambda change: (change.function, change.excerpt) in explained)
    left = [change.name for change in ordered if known.get(change.name, BROKEN).outcome is Outcome.BROKEN]
    began = time.monotonic()
    if left:
        print(f"Trying {len(left)} of {len(sample)}; what you stop goes on where it was.", flush=True)
        run(left, tree)
        print(f"{time.monotonic() - began:.0f} s to try them.")
    return 0 if report(sample, Verdicts(VERDICTS, tree).by_name, is_whole=size >= SAMPLE) else 1


def report(sample: Sequence[Change], verdicts: Mapping[str, Verdict], *, is_whole: bool) -> bool:
    """Print the survivors and the figures; whether the bar is met and the list is right."""
    explained = read_survivors()
    survivors = [change for change in sample if not verdicts[change.name].outcome.is_noticed]
    keys = {(change.function, change.excerpt) for change in survivors}
    for change in survivors:
        reason = explained.get((change.function, change.excerpt), "NOT EXPLAINED")
        print(f"\n{change.function} ({verdicts[change.name].outcome}): {reason}\n{change.excerpt}")
    stale = [key for key in explained if key not in keys] if is_whole else []
    for function, excerpt in stale:
        print(f"\nListed, but not a survivor of this sample: {function}\n{excerpt}")

    unexplained = len([change for change in survivors if (change.function, change.excerpt) not in explained])
    noticed = len(sample) - len(survivors)
    share = noticed / max(noticed + unexplained, 1)
    counts = Counter(verdicts[change.name].outcome for change in sample)
    print(
        f"\n{len(sample)} changes sampled, {noticed} noticed ({counts[Outcome.TIME_LIMIT]} by the time limit), "
        f"{len(survivors)} survived, {unexplained} of them not explained\n"
        f"noticed: {noticed / len(sample):.1%} of all, {share:.1%} without the explained survivors "
        f"(at least {LEAST_NOTICED:.0%})"
    )
    return share >= LEAST_NOTICED and not stale


def read_survivors() -> dict[tuple[str, str], str]:
    """The reasons of the survivors that do no harm, by function and change."""
    listed = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    return {(item["function"], item["change"].strip()): item["reason"] for item in listed}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped. The next run goes on from here.")
