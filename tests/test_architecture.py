"""What holds the house together, checked from the sources."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import callsheet

PACKAGE = Path(callsheet.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "common", "base", "misc", "manager"}


def relative(path: Path) -> str:
    """A source file's name inside the package."""
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_is_one_thing(path: Path) -> None:
    """At most 400 lines, a name from the domain, and a docstring that says what it is for."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert path.stem not in BANNED_NAMES
    if path.stat().st_size:
        assert ast.get_docstring(ast.parse(text))


def test_every_module_can_be_imported() -> None:
    """Also those that nothing imports at start."""
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "callsheet.")]

    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    assert len(names) > 50


def test_nothing_heavy_is_imported_to_serve_mcp() -> None:
    """What only some calls need is imported by them."""
    code = (
        "import sys; from callsheet.compose import Surroundings, build_program;"
        "build_program(Surroundings.of_process()); import callsheet.surface.mcp;"
        "print(sorted({'av', 'PIL', 'typer', 'rich', 'keyring', 'hypothesis', 'stamina'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")

    assert done.stdout.strip() == "[]"


def test_exactly_one_function_builds_the_authorization_header() -> None:
    """Nobody else writes the word Bearer into a header, or asks a key for its value."""
    builders = [
        relative(path)
        for path in SOURCES
        if "sandbox" not in path.parts and 'f"Bearer {' in path.read_text(encoding="utf-8")
    ]

    assert builders == ["edges/secrets.py"]


def test_the_paid_request_is_sent_from_one_place() -> None:
    """One caller of `post_paid`, and it takes a claimed task."""
    callers = [
        relative(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "post_paid"
    ]

    assert callers == ["service/submission.py"]


def test_public_lists_of_names_are_sorted_and_whole() -> None:
    """An `__all__` names things that exist, once each."""
    for path in SOURCES:
        name = "callsheet." + relative(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if "__all__" not in path.read_text(encoding="utf-8") or name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        assert len(set(module.__all__)) == len(module.__all__), name
        assert all(hasattr(module, item) for item in module.__all__), name
