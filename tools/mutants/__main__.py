"""`make mutants`: does a test fail when the code about money, consent and keys is changed?

    PYTHONPATH=tools python -m mutants [--sample N]

mutmut writes changed copies of each function, learns which fast tests reach it, and runs those on each change of a
fixed random sample, in processes that it forks. A change that no test notices is a survivor: either a test is missing,
or the change does no harm. `survivors.toml` lists the harmless ones, each with a line that says why. The exit code is 1
when less than `LEAST_NOTICED` of the rest is noticed, or when that list names a change that is not in the sample or is
noticed now. Nothing outside `build/mutants` is changed.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
SURVIVORS = Path(__file__).with_name("survivors.toml")
SAMPLE = 340
LEAST_NOTICED = 0.95
NOTICED = ("killed", "timeout")
SHOWN = 3000
"""So many characters of mutmut's output show why the tests fail."""

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

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = [{modules}]
also_copy = [{beside}]
pytest_add_cli_args = ["--fast", "--hypothesis-seed=0", "-p", "no:xdist", "-p", "no:cov"]
pytest_add_cli_args_test_selection = [{tests}]
timeout_constant = 10.0
timeout_multiplier = 2.0
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
        tests=_quoted(f"tests/{name}" for name in TESTS),
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (BUILD / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def mutmut(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run mutmut on the copy."""
    program = Path(sys.executable).with_name("mutmut")
    return subprocess.run([program, *arguments], cwd=BUILD, check=False, text=True, capture_output=capture)


def draw_sample(size: int) -> list[Change]:
    """Make all changes, learn which tests reach them, and draw the sample."""
    print("Changing the code and learning which tests reach it: a few minutes.", flush=True)
    # mutmut has no command for this alone. A run for a name that does not exist stops after it.
    learned = mutmut("run", "none", capture=True)
    if not (BUILD / "mutants" / "mutmut-stats.json").is_file():
        raise SystemExit(f"{learned.stdout[-SHOWN:]}\nThe tests fail on the unchanged code, so no change was tried.")
    changes = [
        change
        for module in MODULES
        for change in read_changes(
            BUILD / "mutants" / "src" / "callsheet" / f"{module}.py", "callsheet." + module.replace("/", ".")
        )
    ]
    print(f"{len(changes)} changes in {len(MODULES)} modules.", flush=True)
    ordered = sorted(changes, key=lambda change: change.rank)
    return list(islice((change for change in ordered if not change.is_wording), size))


def run(sample: Sequence[Change]) -> dict[str, str]:
    """What became of each change, by its name."""
    print(f"Trying {len(sample)} of them; 🎉 and ⏰ are noticed, 🙁 and 🫥 survive.", flush=True)
    if mutmut("run", *(change.name for change in sample)).returncode:
        raise SystemExit("mutmut stopped before it had tried all changes.")
    lines = mutmut("results", "--all", "true", capture=True).stdout.splitlines()
    verdicts = dict(line.strip().rsplit(": ", 1) for line in lines if ": " in line)
    return {change.name: verdicts.get(change.name, "missing") for change in sample}


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"how many changes to try (default: {SAMPLE})")
    size = parser.parse_args().sample
    began = time.monotonic()
    prepare()
    sample = draw_sample(size)
    drawn = time.monotonic()
    verdicts = run(sample)
    ended = time.monotonic()
    passed = report(sample, verdicts, is_whole=size >= SAMPLE)
    print(
        f"{drawn - began:.0f} s to prepare, {ended - drawn:.0f} s to try: "
        f"{(ended - drawn) / len(sample):.1f} s for each change"
    )
    return 0 if passed else 1


def report(sample: Sequence[Change], verdicts: Mapping[str, str], *, is_whole: bool) -> bool:
    """Print the survivors and the figures; whether the bar is met and the list is right."""
    explained = read_survivors()
    survivors = [change for change in sample if verdicts[change.name] not in NOTICED]
    keys = {(change.function, change.excerpt) for change in survivors}
    for change in survivors:
        reason = explained.get((change.function, change.excerpt), "NOT EXPLAINED")
        print(f"\n{change.function} ({verdicts[change.name]}): {reason}\n{change.excerpt}")
    stale = [key for key in explained if key not in keys] if is_whole else []
    for function, excerpt in stale:
        print(f"\nListed, but not a survivor of this sample: {function}\n{excerpt}")

    unexplained = len([change for change in survivors if (change.function, change.excerpt) not in explained])
    noticed = len(sample) - len(survivors)
    share = noticed / max(noticed + unexplained, 1)
    counts = Counter(verdicts.values())
    print(
        f"\n{len(sample)} changes sampled, {noticed} noticed ({counts['timeout']} by the time limit), "
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
    sys.exit(main())
