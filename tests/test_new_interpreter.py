"""What only shows in an interpreter of its own: what is imported at start, and what runs as a module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_nothing_heavy_is_imported_to_serve_mcp() -> None:
    """What only some calls need is imported by them."""
    code = (
        "import sys; from callsheet.compose import Surroundings, build_program;"
        "build_program(Surroundings.of_process()); import callsheet.surface.mcp.stdio;"
        "print(sorted({'av', 'PIL', 'typer', 'rich', 'keyring', 'hypothesis', 'stamina'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")

    assert done.stdout.strip() == "[]"


def test_the_renderer_runs_as_a_module() -> None:
    """What `make render` calls; without a root it is the checkout that the package runs from."""
    command = [sys.executable, "-m", "render", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT / "tools")

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
