"""What a command is to the application, and how the commands are listed in the help: by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from typer.core import TyperGroup

MAKE, FOLLOW, KNOW, SET_UP = "Make a clip", "Follow", "Know", "Set up"


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
        """The help, each paragraph on one line, so that it is wrapped as the terminal has it."""
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


__all__ = ["FOLLOW", "KNOW", "MAKE", "SET_UP", "Command", "GroupedHelp"]
