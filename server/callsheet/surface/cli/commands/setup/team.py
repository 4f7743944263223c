"""`callsheet team`, as the help lists it; `__main__` runs team mode as a program of its own before this is asked."""

from __future__ import annotations

from typing import Annotated

import typer

from callsheet.errors import SetupProblem
from callsheet.surface.cli.console.command import SET_UP, Command

EXAMPLES = ("team serve --config team.toml", "team doctor --config team.toml")


def team(
    command: Annotated[str, typer.Argument(help="serve, work, migrate, doctor or restored.")],
    config: Annotated[str, typer.Option(metavar="FILE", help="The team's configuration.")] = "team.toml",
    token: Annotated[str, typer.Option(help="With doctor: an agent's access token to check; - reads it.")] = "",
) -> int:
    """Run the server of a team (docs/team.md). Needs its extra; in a clone: pip install '.[team]'."""
    raise SetupProblem(f"`team {command}` runs in a process of its own.", next_step="Run it as `callsheet team`.")


COMMANDS = (Command("team", team, SET_UP, "run the server of a team", EXAMPLES),)
