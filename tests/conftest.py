"""Fixtures that every test may use, and the marks that state what a test costs.

A test is marked `process`, `network` or `browser` when its module imports what starts a process, opens a port or
drives a browser: directly, through another module of the tests, or through a fixture of a `conftest.py`. An audit
hook refuses these acts to a test without the mark, and fails the test even if the refusal was caught, so `make
test-fast` stays fast.
"""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from callsheet.__main__ import COLLECT_EVERY
from workspace import POSTGRES, Workspace, make_workspace

TESTS = Path(__file__).parent
NEEDS = {
    **dict.fromkeys(("subprocess", "multiprocessing", "pty", "build_dist", "openai"), "process"),
    **dict.fromkeys(
        (
            "socket",
            "socketserver",
            "http.server",
            "uvicorn",
            "sandbox_client",
            "sandbox.sandbox_client",
            "cli_terminal",
        ),
        "network",
    ),
    "playwright": "browser",
}
GUARDED = {
    **dict.fromkeys(("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"), "process"),
    **dict.fromkeys(("socket.bind", "socket.connect"), "network"),
}
COSTLY = {*NEEDS.values(), "slow", "torture"}
_running: list[pytest.Item] = []
_refused: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fast` is what `make test-fast` runs, `--fuzz` what `make fuzz` does."""
    parser.addoption(
        "--fast", action="store_true", help="only tests that need no process, port or browser; fewer random examples"
    )
    parser.addoption("--fuzz", action="store_true", help="twenty times as many random examples, new in each run")


def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor, since half of the tests' time is waiting for processes and sockets."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Random tests try fewer examples in a fast run and more in `make fuzz` (tests/examples.py).

    A shell or `nohup` that starts the tests in the background has its children ignore signals that the tests send.
    """
    gc.set_threshold(COLLECT_EVERY)
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    _load_profile(fast=config.getoption("fast"), fuzz=config.getoption("fuzz"))


def _load_profile(*, fast: bool, fuzz: bool) -> None:
    """The usual examples are the same in each run, so that no change fails by luck; `make fuzz` makes new ones.

    How fast examples are made depends on the machine and on what is in a cache: no test may depend on it.
    """
    slow = [HealthCheck.too_slow]
    settings.register_profile("usual", derandomize=True, suppress_health_check=slow)
    settings.register_profile("fast", max_examples=20, derandomize=True, deadline=None, suppress_health_check=slow)
    settings.register_profile("fuzz", max_examples=2000, derandomize=False, deadline=None, suppress_health_check=slow)
    settings.load_profile("fuzz" if fuzz else "fast" if fast else "usual")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A fast run does not import a module whose tests all start a process, open a port or drive a browser."""
    if config.getoption("fast") and collection_path.match("test_*.py") and _needs(collection_path):
        return True
    return None


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh install with a scripted gateway and a clock that only the test moves."""
    return make_workspace(tmp_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with what it needs; a fast run leaves out what costs something."""
    for item in items:
        needs = set(_needs(item.path))
        for folder in (item.path.parent, *item.path.parent.parents):
            conftest = folder / "conftest.py"
            if folder != TESTS and folder.is_relative_to(TESTS) and conftest.is_file():
                used = set(getattr(item, "fixturenames", ())) & _functions(conftest)
                needs |= _needs(conftest) if used else set()
        for need in sorted(needs):
            item.add_marker(need)
    if config.getoption("fast"):
        costly = [item for item in items if any(mark.name in COSTLY for mark in item.iter_markers())]
        config.hook.pytest_deselected(items=costly)
        items[:] = [item for item in items if item not in set(costly)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know which test runs."""
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test that was refused something, even if the program under test caught the refusal."""
    yield
    refused, _refused[:] = "\n".join(_refused), []
    assert not refused, refused


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    need = GUARDED.get(event)
    if (
        need is None
        or not _running
        or POSTGRES in os.environ
        or any(_running[-1].get_closest_marker(mark) for mark in (need, "browser"))
    ):
        return
    if need == "network" and not isinstance(arguments[1], tuple):
        return
    _refused.append(f"{_running[-1].nodeid} needs @pytest.mark.{need}: {event}")
    raise AssertionError(_refused[-1])


sys.addaudithook(_guard)


@cache
def _needs(path: Path) -> frozenset[str]:
    """What a module of the tests imports that costs something, directly or through another module of the tests."""
    found: set[str] = set()
    todo, seen = [path], {path}
    while todo:
        module = todo.pop()
        for name in _imports(module):
            found |= {need for key, need in NEEDS.items() if name == key or name.startswith(f"{key}.")}
            local = name.replace(".", "/") + ".py"
            for other in (module.parent / local, TESTS / local):
                if other.is_file() and other not in seen:
                    seen.add(other)
                    todo.append(other)
    return frozenset(found)


@cache
def _imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, by full name."""
    names: set[str] = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}".removeprefix("None.") for alias in node.names)}
    return frozenset(names)


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    """The statements of a file at every depth; not their expressions, which are many and import nothing."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        nodes = getattr(parent, block, ())
        for node in nodes if isinstance(nodes, list) else ():
            yield node
            yield from _statements(node)


@cache
def _functions(path: Path) -> frozenset[str]:
    """The functions that a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
