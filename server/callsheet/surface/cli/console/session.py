"""One run of one command: the program, its use cases, the screen, and whether a machine reads the answer."""

from __future__ import annotations

from functools import cached_property

import typer

from callsheet.core.security.redaction import Redactor
from callsheet.service import Service
from callsheet.surface.program import Program

from .output import Screen


class Session:
    """What every command is given. The use cases are made on first use, so that `--help` opens nothing."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.as_json = False
        self._made: tuple[int, Redactor] | None = None
        self.screen = Screen(program.environ, self._redact)

    def _redact(self, text: str) -> str:
        return self.redactor.text(text)

    @cached_property
    def service(self) -> Service:
        """The use cases."""
        return self.program.build_service()

    @property
    def redactor(self) -> Redactor:
        """Hides the keys that are configured, or open in this run, in whatever is written."""
        opened = self.service.key_generation
        if self._made is None or self._made[0] != opened:
            self._made = (opened, self.service.redactor())
        return self._made[1]


def find_session(context: typer.Context) -> Session:
    """The session of this run."""
    session = context.find_object(Session)
    assert session is not None
    return session


def begin(context: typer.Context, as_json: bool = False) -> Session:
    """The session of the command that is running."""
    session = find_session(context)
    session.as_json = as_json
    return session


__all__ = ["Session", "begin", "find_session"]
