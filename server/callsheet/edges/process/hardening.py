"""Process hardening at start-up: no core dumps, no debugger, private umask, terse uncaught errors.

`__main__` calls `harden` before it imports anything else, and `harden_logs` before it imports what may log. Everything
is best effort: a missing system feature does not stop the start. An uncaught error in any thread, task or finaliser
becomes one line with its type and an id, because its text and its traceback may contain a prompt, an address or a key.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from types import TracebackType

TYPE_CHECKING = False  # as `typing` has it; importing that takes a tenth of the time to the first reply
if TYPE_CHECKING:
    from logging import LogRecord
    from sys import UnraisableHookArgs

PRIVATE_UMASK = 0o077
PR_SET_DUMPABLE = 4
LOADED_BY_NAME = ("OTEL_PROPAGATORS", "OTEL_PYTHON_TRACER_PROVIDER")
"""OpenTelemetry, which comes with `mcp`, loads what these name, and ends the process where that is not installed. No
trace context is passed on here, and no other provider is used."""
MOST_TYPES = 4
LONGEST_NAME = 60


def harden() -> None:
    """Close the process to others, and report uncaught errors only by their type."""
    close_process()
    install_hooks()
    for name in LOADED_BY_NAME:
        os.environ.pop(name, None)


def close_process() -> None:
    """Make new files private, write no core file, and on Linux hide memory from other processes of the user.

    In a process that is not dumpable, `/proc/<pid>/environ` and `mem` belong to root and no debugger can attach; both
    would reveal the keys. The setting ends at `exec`, so each started program has to repeat it.
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
    """Report uncaught errors in one form: of the main thread, of threads and of finalisers."""
    sys.excepthook = _report_uncaught
    threading.excepthook = _report_thread
    sys.unraisablehook = _report_unraisable


def harden_logs() -> None:
    """The same for event loops and for loggers without a handler."""
    import logging

    # Every event loop reports through this logger, also one that is created later.
    logging.getLogger("asyncio").addFilter(_keep_type_only)
    plain = logging.StreamHandler()
    plain.addFilter(_keep_name_and_type)
    plain.setLevel(logging.WARNING)
    logging.lastResort = plain


def name_types(error: BaseException | type[BaseException] | None) -> str:
    """The type of an error, or of the errors in a group; never a part of its text."""
    if error is None:
        return "no exception"
    if isinstance(error, BaseExceptionGroup):
        inner = [name_types(part) for part in error.exceptions[:MOST_TYPES]]
        more = ", …" if len(error.exceptions) > MOST_TYPES else ""
        return f"{_name(type(error))} of {', '.join(inner)}{more}"
    return _name(error if isinstance(error, type) else type(error))


def _name(kind: type[BaseException]) -> str:
    return "".join(mark for mark in kind.__name__ if mark.isalnum() or mark == "_")[:LONGEST_NAME]


def _make_id() -> str:
    return os.urandom(4).hex()


def _report(where: str, error: BaseException | type[BaseException] | None) -> None:
    # Standard error may be closed, or missing under a host without a console.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"callsheet: error {_make_id()} {where}: {name_types(error)}\n")
        sys.stderr.flush()


def _report_uncaught(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    _report("at the top", error if error is not None else kind)


def _report_thread(caught: threading.ExceptHookArgs) -> None:
    # SystemExit ends a thread on purpose.
    if not issubclass(caught.exc_type, SystemExit):
        _report("in a thread", caught.exc_value or caught.exc_type)


def _report_unraisable(caught: UnraisableHookArgs) -> None:
    _report("in a finaliser", caught.exc_value or caught.exc_type)


def _keep_type_only(record: LogRecord) -> bool:
    """Rewrite an event loop's report, which contains the exception's text and the names of coroutines."""
    error = record.exc_info[1] if record.exc_info else None
    kind = f": {name_types(error)}" if error is not None else ""
    return _say(record, f"error {_make_id()} in an event loop{kind}")


def _keep_name_and_type(record: LogRecord) -> bool:
    """Rewrite a record that no handler takes: the logger's name, an id, and the type of an exception."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None and record.name == "asyncio":
        return _say(record, f"callsheet: {record.getMessage()}")
    kind = f": {name_types(error)}" if error is not None else ""
    return _say(record, f"callsheet: {record.levelname.lower()} {_make_id()} in {record.name}{kind}")


def _say(record: LogRecord, text: str) -> bool:
    record.msg, record.args = text, ()
    record.exc_info = record.exc_text = record.stack_info = None
    return True
