"""Builds the commands, runs one, and turns the outcome into a message and an exit code.

No traceback is shown. An internal error is reported as its type and an id; the details, without
keys, are stored under that id in the state directory.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import sys
import traceback
from contextlib import suppress
from typing import Annotated

import typer

from callsheet import __version__
from callsheet.errors import Action, CallsheetError, InvalidRequest, NextStep, SetupProblem
from callsheet.surface.cli.commands import (
    allow,
    approve,
    audit,
    demo,
    desk,
    doctor,
    explain,
    export,
    generate,
    models,
    pause,
    receipt,
    resolve,
    tasks,
    watch,
)
from callsheet.surface.cli.commands.setup import endpoint, install, keys, mcp, prune, sandbox, setup, team
from callsheet.surface.cli.console.command import GroupedHelp
from callsheet.surface.cli.console.exit_codes import MEANINGS, ExitCode, exit_for_error
from callsheet.surface.cli.console.session import Session, find_session
from callsheet.surface.next_steps import PROGRAM, for_person, program
from callsheet.surface.program import Program
from callsheet.surface.views.builders import error_answer

COMMANDS = (
    *explain.COMMANDS,
    *generate.COMMANDS,
    *approve.COMMANDS,
    *allow.COMMANDS,
    *pause.COMMANDS,
    *desk.COMMANDS,
    *tasks.COMMANDS,
    *resolve.COMMANDS,
    *watch.COMMANDS,
    *models.COMMANDS,
    *doctor.COMMANDS,
    *audit.COMMANDS,
    *receipt.COMMANDS,
    *export.COMMANDS,
    *demo.COMMANDS,
    *setup.COMMANDS,
    *keys.COMMANDS,
    *endpoint.COMMANDS,
    *install.COMMANDS,
    *mcp.COMMANDS,
    *sandbox.COMMANDS,
    *prune.COMMANDS,
    *team.COMMANDS,
)
"""In the order of the help."""

UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_BROKEN_TEXT = re.compile("[\ud800-\udfff]")


def run_command(program: Program, arguments: list[str]) -> int:
    """Run one command; see `surface.cli.run`."""
    if not _has_streams():
        return ExitCode.SETUP
    session = Session(program)
    session.as_json = "--json" in arguments
    command = typer.main.get_command(build_app())
    try:
        answer = command.main(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False, obj=session)
        return int(answer or ExitCode.OK)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except SystemExit as end:
        return int(end.code) if isinstance(end.code, int) else ExitCode.OK
    except BrokenPipeError:
        # The reader closed the pipe.
        _drop_output()
        return ExitCode.OK
    except Exception as caught:
        error = _unwrap(caught)
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITTEN:
            return _write_unwritten(session, error)
        if isinstance(error, UnicodeEncodeError) and any(map(_BROKEN_TEXT.search, arguments)):
            error = InvalidRequest("An argument is not text.", next_step="Write it in UTF-8.", code="usage")
        return _write_failure(session, error)


def _has_streams() -> bool:
    """Whether there is an output. A closed one is no longer there, and its number would go to the next file opened."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stderr.write("Standard output is closed, so no answer can be written. Nothing was done.\n")
    return sys.stdout is not None


def _write_unwritten(session: Session, error: OSError) -> int:
    """Say that the answer is lost. It says nothing of the money: the command may have ended before."""
    _drop_output()
    text = f"The answer could not be written ({error.strerror}). What was done stays done. To see it:"
    session.output.write_note(f"{text} {program()} list", style="red")
    return ExitCode.SETUP


def _drop_output() -> None:
    """Write no more to standard output: the interpreter must not fail on the rest either."""
    with suppress(OSError, ValueError):
        number, null = sys.stdout.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def build_app() -> typer.Typer:
    """All commands."""
    codes = ["Exit codes:", *(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())]
    app = typer.Typer(
        name=PROGRAM,
        cls=GroupedHelp,
        help="Draft, price, get approved, submit, follow and save AI video jobs.",
        epilog=_block(codes),
        # Plain help reads the same on a terminal and in a pipe.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_before_all)
    for command in COMMANDS:
        title = "Example:" if len(command.examples) == 1 else "Examples:"
        examples = _block([title, *(f"  {PROGRAM} {example}" for example in command.examples)])
        add = app.command(
            command.name, help=command.help, short_help=command.short, epilog=examples, rich_help_panel=command.group
        )
        add(command.run)
    return app


def _block(lines: list[str]) -> str:
    """Lines that the help does not wrap."""
    return "\b\n" + "\n".join(lines)


def _write_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        find_session(context).output.write_unwrapped(f"{PROGRAM} {__version__}", indent=0)
        raise typer.Exit(ExitCode.OK)


def _before_all(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_write_version)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log to standard error.")] = False,
) -> None:
    _direct_log(find_session(context), logging.INFO if verbose else logging.CRITICAL)


class _LogLines(logging.Handler):
    """Writes the program's log to standard error, above a progress bar if there is one."""

    def __init__(self, session: Session, level: int) -> None:
        super().__init__(level)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        self._session.output.write_note(f"{record.name}: {record.getMessage()}")


def _direct_log(session: Session, level: int) -> None:
    log = logging.getLogger("callsheet")
    for handler in [handler for handler in log.handlers if isinstance(handler, _LogLines)]:
        log.removeHandler(handler)
    log.addHandler(_LogLines(session, level))
    log.setLevel(min(level, logging.WARNING))


def _unwrap(error: Exception) -> Exception:
    """The error inside a group of one, as task groups make them."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _write_failure(session: Session, error: Exception) -> int:
    """Write what went wrong; returns the exit code."""
    known = _as_known(error)
    if known is None:
        return _write_unexpected(session, error)
    if session.as_json:
        session.write_json({"error": error_answer(known, None, for_person)})
    else:
        session.output.write_error(known, money=session.sends)
    return exit_for_error(known)


def _as_known(error: Exception) -> CallsheetError | None:
    if isinstance(error, CallsheetError):
        return error
    if hasattr(error, "format_message"):
        path = _command_path(error)
        usage = str(error.format_message()).rstrip(".")
        if path.endswith(f" {keys.COMMANDS[0].name}"):
            # The invalid argument may be a key, so it is not repeated.
            usage = "Invalid usage. Keys and passphrases are only accepted at the terminal prompt"
        return InvalidRequest(
            usage if usage.endswith("?") else f"{usage}.",
            next_step=f"Run `{path.replace(PROGRAM, program(), 1)} --help`.",
            code="usage",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return SetupProblem(
            f"{error.filename}: {error.strerror or type(error).__name__}.", next_step=NextStep(Action.DOCTOR)
        )
    return None


def _command_path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return getattr(context, "command_path", PROGRAM)


def _write_unexpected(session: Session, error: Exception) -> int:
    error_id = secrets.token_hex(4)
    stored = _store_details(session, error, error_id)
    message = f"Internal error: {type(error).__name__}, id {error_id}."
    step = f"Report it with {stored}." if stored else "Report it."
    if session.as_json:
        form = {"code": "unexpected", "message": message, "fate": "unknown", "retry": "never", "next_step": step}
        session.write_json({"error": {**form}})
    else:
        session.output.write_note(f"{message} {step}", style="red")
    return ExitCode.UNEXPECTED


def _store_details(session: Session, error: Exception, error_id: str) -> str:
    """The path of the stored details; the empty text if they could not be stored."""
    directory = session.program.paths.state / "mistakes"
    path = directory / f"{error_id}.txt"
    text = session.redactor.text("".join(traceback.format_exception(error)))
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return str(path)
    return ""
