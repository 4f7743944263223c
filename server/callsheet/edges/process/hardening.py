"""What a process takes from itself at its start: memory open to others, core files, loose file modes, loud errors.

Called once by `__main__`, before anything else is imported; a library that is used by tests does none of it.
Everything is best effort: a system that lacks a switch is no reason not to start. Nobody else calls.

Of an error that nobody caught, in whatever thread, task or finaliser, one line tells the type and an id: its text
and its traceback may hold a prompt, an address or a key.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

PRIVATE_UMASK = 0o077
PR_SET_DUMPABLE = 4
MOST_TYPES = 4
LONGEST_NAME = 60


def harden() -> None:
    """Close the process, and let what nobody caught be told by its type alone."""
    close_process()
    install_hooks()


def close_process() -> None:
    """New files are private, no core file is written, and on Linux no process of the same user may look inside.

    Not dumpable means that `/proc/<pid>/environ` and `mem` belong to root, and no debugger may attach; both would
    give away the keys. It does not outlive `exec`: whatever is started closes itself.
    """
    os.umask(PRIVATE_UMASK)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def install_hooks() -> None:
    """One voice for what is raised and not caught: main thread, threads, event loops, finalisers, plain loggers."""
    sys.excepthook = _tell_uncaught
    threading.excepthook = _tell_thread
    sys.unraisablehook = _tell_unraisable
    # Every event loop reports through this logger, whoever makes the loop and whenever.
    logging.getLogger("asyncio").addFilter(_type_alone)
    plain = logging.StreamHandler()
    plain.setFormatter(_Plain())
    plain.setLevel(logging.WARNING)
    logging.lastResort = plain


def name_types(error: BaseException | type[BaseException] | None) -> str:
    """The type of an error, for a group the types of what is in it; never a word of its text."""
    if error is None:
        return "no exception"
    if isinstance(error, BaseExceptionGroup):
        inner = [name_types(part) for part in error.exceptions[:MOST_TYPES]]
        more = ", …" if len(error.exceptions) > MOST_TYPES else ""
        return f"{_name(type(error))} of {', '.join(inner)}{more}"
    return _name(error if isinstance(error, type) else type(error))


def _name(kind: type[BaseException]) -> str:
    return "".join(mark for mark in kind.__name__ if mark.isalnum() or mark == "_")[:LONGEST_NAME]


def _tell(where: str, error: BaseException | type[BaseException] | None) -> None:
    # Standard error may be closed, or gone altogether under a host that has no console.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"callsheet: error {secrets.token_hex(4)} {where}: {name_types(error)}\n")
        sys.stderr.flush()


def _tell_uncaught(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    _tell("at the top", error if error is not None else kind)


def _tell_thread(caught: threading.ExceptHookArgs) -> None:
    # A thread that ends by SystemExit has ended as it meant to.
    if not issubclass(caught.exc_type, SystemExit):
        _tell("in a thread", caught.exc_value or caught.exc_type)


def _tell_unraisable(caught: UnraisableHookArgs) -> None:
    _tell("in a finaliser", caught.exc_value or caught.exc_type)


def _type_alone(record: logging.LogRecord) -> bool:
    """Rewrites what an event loop reports: its words hold the exception's own, and the names of coroutines."""
    error = record.exc_info[1] if record.exc_info else None
    told = f": {name_types(error)}" if error is not None else ""
    record.msg, record.args = f"error {secrets.token_hex(4)} in an event loop{told}", ()
    record.exc_info = record.exc_text = record.stack_info = None
    return True


class _Plain(logging.Formatter):
    """For loggers that nobody gave a handler: the logger's name, and of an exception the type and an id."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if error is None and record.name == "asyncio":
            return f"callsheet: {record.getMessage()}"
        told = f": {name_types(error)}" if error is not None else ""
        return f"callsheet: {record.levelname.lower()} {secrets.token_hex(4)} in {record.name}{told}"


__all__ = ["close_process", "harden", "install_hooks", "name_types"]
