"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from cli_terminal import CommandLine, Ran

from callsheet.compose import Surroundings, build_program
from callsheet.surface.cli import run
from callsheet.surface.program import Program
from samples import CHEAP
from workspace import Workspace, account_of


@pytest.fixture
def program(workspace: Workspace, tmp_path: Path) -> Program:
    """The program on the workspace's home, its clock and its scripted gateway."""
    project = tmp_path / "project"
    project.mkdir()
    return build_program(
        Surroundings(
            environ=workspace.environ,
            working_directory=project,
            clock=workspace.clock,
            transport=httpx2.MockTransport(workspace.gateway),
            derivation_cost=CHEAP,
            account_home=account_of(workspace.home),
        )
    )


@pytest.fixture
def cli(program: Program, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs a command in this process."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(program, list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call
