"""No module touches a private attribute of an object that it does not own: `self`, `cls`, or a class of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import callsheet

PACKAGE = Path(callsheet.__file__).parent
OWN_NAMES = {"self", "cls"}
PUBLIC_IN_SPITE = {"os._exit", "_replace", "_asdict", "_fields"}
"""Documented in the standard library, whatever the underscore says."""


def foreign_accesses(source: str) -> list[str]:
    """`line: expression` for each private attribute that is neither on `self` nor defined in the same module."""
    tree = ast.parse(source)
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in OWN_NAMES
    }
    own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.endswith("__"):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in OWN_NAMES:
            continue
        text = ast.unparse(node)
        if node.attr not in own and text not in PUBLIC_IN_SPITE and node.attr not in PUBLIC_IN_SPITE:
            found.append(f"{node.lineno}: {text}")
    return found


def test_the_check_finds_what_it_looks_for() -> None:
    """A library's private attribute is found; the module's own and a documented one are not."""
    assert foreign_accesses("server._lowlevel_server.run()") == ["1: server._lowlevel_server"]
    assert foreign_accesses("class A:\n def f(self, other):\n  return self._x + other._x") == []
    assert foreign_accesses("import os\nos._exit(0)") == []


def test_no_module_touches_a_private_attribute_of_a_foreign_object() -> None:
    """A library may change it in any release, and a class cannot keep its promises if others reach into it."""
    found = {
        str(path.relative_to(PACKAGE)): accesses
        for path in sorted(PACKAGE.rglob("*.py"))
        if (accesses := foreign_accesses(path.read_text(encoding="utf-8")))
    }

    assert found == {}
