"""Builds the commands, runs one, and turns whatever happens into words and an exit code.

Nobody is shown a traceback. A mistake in the program is shown as its type and an id; under that id
the details, rid of keys, are kept in the state directory.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import traceback
from contextlib import suppress
from typing import Annotated

import typer

from callsheet import __version__
from callsheet.errors import CallsheetError, InvalidRequest, SetupProblem
from callsheet.surface.cli.commands.allow import COMMANDS as ALLOWING
from callsheet.surface.cli.commands.approve import COMMANDS as APPROVING
from callsheet.surface.cli.commands.audit import COMMANDS as AUDITING
from callsheet.surface.cli.commands.demo import COMMANDS as REHEARSING
from callsheet.surface.cli.commands.desk import COMMANDS as DESK
from callsheet.surface.cli.commands.doctor import COMMANDS as DOCTOR
from callsheet.surface.cli.commands.explain import COMMANDS as EXPLAINING
from callsheet.surface.cli.commands.export import COMMANDS as KEEPING
from callsheet.surface.cli.commands.install import COMMANDS as INSTALLING
from callsheet.surface.cli.commands.keys import COMMANDS as KEYS
from callsheet.surface.cli.commands.models import COMMANDS as MODELS
from callsheet.surface.cli.commands.pause import COMMANDS as PAUSING
from callsheet.surface.cli.commands.setup import COMMANDS as SETUP
from callsheet.surface.cli.commands.submit import COMMANDS as SUBMITTING
from callsheet.surface.cli.commands.tasks import COMMANDS as LISTING
from callsheet.surface.cli.commands.watch import COMMANDS as WATCHING
from callsheet.surface.cli.console.command import GroupedHelp
from callsheet.surface.cli.console.exit_codes import MEANINGS, ExitCode, exit_for_error
from callsheet.surface.cli.console.session import Session, find_session
from callsheet.surface.next_steps import for_person
from callsheet.surface.program import Program
from callsheet.surface.views.builders import error_answer

PROGRAM = "callsheet"

COMMANDS = (
    *EXPLAINING,
    *SUBMITTING,
    *APPROVING,
    *ALLOWING,
    *PAUSING,
    *DESK,
    *LISTING,
    *WATCHING,
    *MODELS,
    *DOCTOR,
    *AUDITING,
    *KEEPING,
    *REHEARSING,
    *SETUP,
    *KEYS,
    *INSTALLING,
)


def run_command(program: Program, arguments: list[str]) -> int:
    """Run one command; see `surface.cli.run`."""
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
        # Whoever read the answer has seen enough. The interpreter must not fail on what is left of it.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return ExitCode.OK
    except Exception as error:
        return _tell(session, _single(error))


def build_app() -> typer.Typer:
    """All commands."""
    codes = ["Exit codes:", *(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())]
    app = typer.Typer(
        name=PROGRAM,
        cls=GroupedHelp,
        help="Draft, price, get approved, submit, follow and save Sora 2 video jobs.",
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
    """Lines that the help leaves as they are."""
    return "\b\n" + "\n".join(lines)


def _show_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        find_session(context).screen.whole(f"{PROGRAM} {__version__}", indent=0)
        raise typer.Exit(ExitCode.OK)


def _before_all(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell on standard error what goes on.")] = False,
) -> None:
    _direct_log(find_session(context), logging.INFO if verbose else logging.CRITICAL)


class _LogLines(logging.Handler):
    """Shows the program's own log on standard error, past a progress bar if there is one."""

    def __init__(self, session: Session, level: int) -> None:
        super().__init__(level)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        self._session.screen.note(f"{record.name}: {record.getMessage()}")


def _direct_log(session: Session, level: int) -> None:
    log = logging.getLogger("callsheet")
    for handler in [handler for handler in log.handlers if isinstance(handler, _LogLines)]:
        log.removeHandler(handler)
    log.addHandler(_LogLines(session, level))
    log.setLevel(min(level, logging.WARNING))


def _single(error: Exception) -> Exception:
    """The error inside a group of one, as task groups make them."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _tell(session: Session, error: Exception) -> int:
    """Show what went wrong and say with which code to end."""
    known = _as_known(error)
    if known is None:
        return _tell_mistake(session, error)
    if session.as_json:
        session.screen.answer(session.redactor.value({"error": error_answer(known, for_person).model_dump()}))
    else:
        session.screen.error(known)
    return exit_for_error(known)


def _as_known(error: Exception) -> CallsheetError | None:
    if isinstance(error, CallsheetError):
        return error
    if hasattr(error, "format_message"):
        path = _command_path(error)
        usage = str(error.format_message()).rstrip(".")
        if path.endswith(f" {KEYS[0].name}"):
            # What is wrong there may be a key that somebody gave as an argument; it is not repeated.
            usage = "That is not how this command is called; keys and passphrases are typed at the terminal alone"
        return InvalidRequest(f"{usage}.", next_step=f"Run `{path} --help`.", code="usage")
    if isinstance(error, OSError) and error.filename is not None:
        return SetupProblem(
            f"{error.filename}: {error.strerror or type(error).__name__}.", next_step="Run `callsheet doctor`."
        )
    return None


def _command_path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return getattr(context, "command_path", PROGRAM)


def _tell_mistake(session: Session, error: Exception) -> int:
    error_id = secrets.token_hex(4)
    kept = _keep_details(session, error, error_id)
    message = f"A mistake in the program: {type(error).__name__}, id {error_id}."
    step = f"Report it with {kept}." if kept else "Report it."
    if session.as_json:
        form = {"code": "unexpected", "message": message, "fate": "unknown", "retry": "never", "next_step": step}
        session.screen.answer(session.redactor.value({"error": {**form}}))
    else:
        session.screen.note(f"{message} {step}", style="red")
    return ExitCode.UNEXPECTED


def _keep_details(session: Session, error: Exception, error_id: str) -> str:
    """Where the details were written; the empty text when they could not be."""
    directory = session.program.paths.state / "mistakes"
    path = directory / f"{error_id}.txt"
    text = session.redactor.text("".join(traceback.format_exception(error)))
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return str(path)
    return ""


__all__ = ["COMMANDS", "build_app", "run_command"]
