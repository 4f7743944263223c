"""One run of one command: the program, its use cases, the output, and whether a program reads the answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property

import typer
from pydantic_core import to_jsonable_python

from callsheet.core.security.redaction import Redactor
from callsheet.service import Service
from callsheet.surface.program import Program

from .output import Output
from .terminal import Terminal, open_terminal


class Session:
    """What every command receives. The use cases are built on first use, so that `--help` opens nothing.

    `sends` is whether the command may spend money: its errors then say what became of it.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.as_json = False
        self.sends = False
        self._built: tuple[int, Redactor] | None = None
        self.output = Output(program.environ, self._redact)

    def _redact(self, text: str) -> str:
        return self.redactor.text(text)

    @cached_property
    def service(self) -> Service:
        """The use cases."""
        return self.program.build_service()

    @property
    def redactor(self) -> Redactor:
        """Hides the keys that are configured, or unsealed in this run, in everything that is written."""
        opened = self.service.key_generation
        if self._built is None or self._built[0] != opened:
            self._built = (opened, self.service.redactor())
        return self._built[1]

    def open_terminal(self, purpose: str) -> AbstractContextManager[Terminal]:
        """The person's terminal; raises `NotApproved` if there is none. `purpose` completes "can ..."."""
        return open_terminal(self.program.environ, self._redact, purpose=purpose)

    def write_json(self, value: object, *, compact: bool = False) -> None:
        """Write the JSON answer, views included, without keys."""
        plain = to_jsonable_python(value)
        self.output.write_json(self.redactor.value(plain), compact=compact)


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
