"""Prints the size and structure of the package in figures, for this checkout or for another one.

    python tools/figures.py [--tree DIR] [--list]

The last figure counts the modules and functions that one job enters: explain, approve, submit, first poll, in live
mode, against the scripted gateway of the tests, without the MCP layer. It runs in a process of its own, with the
package and the tests of the chosen tree. `--list` also names the modules.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL_MODULE_LINES = 40
LONG_FUNCTION_LINES = 50

# Runs in the tree that is measured. Older trees call the module `studio`, and the dependencies `world`.
JOURNEY = """
import asyncio, os, sys, tempfile
from pathlib import Path
tests = sys.argv[1]
sys.path[:0] = [tests, os.path.join(tests, "..", "server"), os.path.join(tests, "core")]
try:
    from workspace import accepted, draft, make_workspace, status
except ImportError:
    from studio import accepted, draft, make_studio as make_workspace, status
import callsheet
try:
    from callsheet.service.polling import run_task
except ImportError:
    from callsheet.service.following import run_task
try:
    from callsheet.core.consent import Means
except ImportError:
    from callsheet.core.approval import Means
package = os.path.dirname(callsheet.__file__) + os.sep
entered = set()

def profile(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(package):
        name = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
        if not name.endswith(">"):
            entered.add((frame.f_code.co_filename[len(package):], name))

async def run(service, gateway, task_id):
    deps = getattr(service, "deps", None) or service.world
    await run_task(deps, task_id)
    gateway.replies.append(status("running", progress=40))
    deps.clock.time += 3600
    await run_task(deps, task_id)

async def main(place):
    gateway, service = place.gateway, place.service()
    deps = getattr(service, "deps", None) or service.world
    sys.setprofile(profile)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    gateway.replies.append(accepted())
    submission = await service.submit(sheet_id)
    await run(service, gateway, submission.report.task.id)
    sys.setprofile(None)

with tempfile.TemporaryDirectory() as directory:
    place = make_workspace(Path(directory))
    place.go_live()
    asyncio.run(main(place))
for file, name in sorted(entered):
    print(file, name, sep="\\t")
"""


def read_sources(package: Path) -> dict[str, str]:
    """The text of each module, by its path inside the package; empty modules are left out."""
    texts = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}
    return {name: text for name, text in texts.items() if text}


def count_lines(text: str) -> int:
    """Lines with blank lines."""
    return len(text.splitlines())


def find_largest_folder(sources: dict[str, str]) -> tuple[str, int]:
    """The folder with the most modules side by side, `__init__` not counted."""
    folders = Counter(str(Path(name).parent) for name in sources if not name.endswith("__init__.py"))
    return folders.most_common(1)[0]


def find_small_modules(sources: dict[str, str]) -> dict[str, int]:
    """The modules under 40 lines, with their lines."""
    return {name: count_lines(text) for name, text in sources.items() if count_lines(text) < SMALL_MODULE_LINES}


def find_long_functions(sources: dict[str, str]) -> dict[str, int]:
    """The functions over 50 lines, with their lines."""
    found = {}
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONG_FUNCTION_LINES:
                    found[f"{name}:{node.name}"] = lines
    return found


def follow_job(tree: Path) -> list[tuple[str, str]]:
    """The functions that one job enters in the tree: (module, function)."""
    environ = {**os.environ, "PYTHONPATH": str(tree / "server")}
    command = [sys.executable, "-c", JOURNEY, str(tree / "tests")]
    done = subprocess.run(command, env=environ, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [(file, name) for file, _, name in (line.partition("\t") for line in done.stdout.splitlines())]


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure (default: this one)")
    parser.add_argument("--list", action="store_true", help="name the modules and functions, too")
    options = parser.parse_args()
    tree = options.tree.resolve()
    sources = read_sources(tree / "server" / "callsheet")
    folder, modules = find_largest_folder(sources)
    small, long = find_small_modules(sources), find_long_functions(sources)
    entered = follow_job(tree)
    rooms = sorted({file for file, _ in entered})
    print(f"modules                          {len(sources)}")
    print(f"lines                            {sum(map(count_lines, sources.values()))}")
    print(f"largest flat folder              {modules} ({folder})")
    print(f"modules under {SMALL_MODULE_LINES} lines           {len(small)}")
    print(f"functions over {LONG_FUNCTION_LINES} lines          {len(long)}")
    print(f"modules entered by one job       {len(rooms)}")
    print(f"functions entered by one job     {len(entered)}")
    if options.list:
        for title, names in (("under 40 lines", small), ("over 50 lines", long), ("entered", rooms)):
            print(f"\n{title}:", *names, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
