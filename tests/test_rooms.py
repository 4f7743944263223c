"""The package stays easy to find one's way in: no crowded folder, no tiny module without a reason."""

from __future__ import annotations

from pathlib import Path

import figures

SOURCES = figures.read_sources(Path(figures.ROOT) / "server" / "callsheet")
MODULES_SIDE_BY_SIDE = 16
SMALL_FOR_A_REASON: dict[str, str] = {
    "surface/cli/commands/setup/mcp.py": "one module for each command",
    "surface/cli/commands/setup/team.py": "one module for each command",
    "surface/team/viewer.py": "everything of team mode asks it, and it asks nothing",
}
"""Modules under 40 lines. An `__init__` needs no reason: it says what its package is."""


def test_no_folder_has_more_than_sixteen_modules() -> None:
    """A listing is read at a glance."""
    folder, modules = figures.find_largest_folder(SOURCES)

    assert modules <= MODULES_SIDE_BY_SIDE, folder


def test_a_module_under_forty_lines_has_a_reason() -> None:
    """Splitting is not simplifying; and the list names no module that has grown or gone."""
    small = {name for name in figures.find_small_modules(SOURCES) if not name.endswith("__init__.py")}

    assert small == set(SMALL_FOR_A_REASON)
