"""Fixtures that every test may use, and the marks that state what a test costs.

A test is marked `process`, `network` or `browser` when its module imports what starts a process, opens a port or
drives a browser: directly, through another module of the tests, or through a fixture of a `conftest.py`. An audit
hook refuses these acts to a test without the mark, and fails the test even if the refusal was caught, so `make
test-fast` stays fast.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from workspace import Workspace, make_workspace

TESTS = Path(__file__).parent
NEEDS = {
    **dict.fromkeys(("subprocess", "multiprocessing", "pty", "build_dist"), "process"),
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
_running: list[pytest.Item] = []
_refused: list[str] = []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh install with a scripted gateway and a clock that only the test moves."""
    return make_workspace(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it needs."""
    for item in items:
        needs = set(_needs(item.path))
        for folder in (item.path.parent, *item.path.parent.parents):
            conftest = folder / "conftest.py"
            if folder != TESTS and folder.is_relative_to(TESTS) and conftest.is_file():
                used = set(getattr(item, "fixturenames", ())) & _functions(conftest)
                needs |= _needs(conftest) if used else set()
        for need in sorted(needs):
            item.add_marker(need)


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
    if need is None or not _running or any(_running[-1].get_closest_marker(mark) for mark in (need, "browser")):
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


def _imports(path: Path) -> set[str]:
    """The modules that a file imports, by full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}".removeprefix("None.") for alias in node.names)}
    return names


@cache
def _functions(path: Path) -> frozenset[str]:
    """The functions that a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
