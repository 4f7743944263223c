"""What a command is to the application, the arguments that several commands share, and the grouped help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .completion import complete_gateways, complete_models, complete_open_sheets, complete_tasks

MAKE, FOLLOW, KNOW, SET_UP = "Make a clip", "Follow", "Know", "Set up"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Full = Annotated[bool, typer.Option("--full", help="With --json: everything that is known.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the saved clip, or only for the gateway's answer.")
]
SheetArgument = Annotated[
    str, typer.Argument(metavar="SHEET", help="The sheet's id.", autocompletion=complete_open_sheets)
]
SheetArguments = Annotated[
    list[str],
    typer.Argument(metavar="SHEET...", help="The sheet's id, or several.", autocompletion=complete_open_sheets),
]
_TASK = typer.Argument(metavar="TASK", help="The task's id.", autocompletion=complete_tasks)
TaskArgument = Annotated[str, _TASK]
AnyTaskArgument = Annotated[str | None, _TASK]
GatewayOption = Annotated[
    str | None, typer.Option("--gateway", metavar="NAME", help="The gateway.", autocompletion=complete_gateways)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="ID", help="The gateway's model id.", autocompletion=complete_models)
]


@dataclass(frozen=True, slots=True)
class Command:
    """One command; the docstring of `run` is its help, `short` its line in the list."""

    name: str
    run: Callable[..., Any]
    group: str
    short: str
    examples: tuple[str, ...]

    @property
    def help(self) -> str:
        """The help, each paragraph on one line, so that it wraps at the terminal's width."""
        paragraphs = cleandoc(self.run.__doc__ or "").split("\n\n")
        return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class GroupedHelp(TyperGroup):
    """Lists the commands in their groups, in the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            sections.setdefault(command.rich_help_panel, []).append((name, command.short_help or ""))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
