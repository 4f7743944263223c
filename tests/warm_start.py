"""Starts the program, or another Python command of the tests, as a fork of a process that has loaded the libraries.

Loading takes more than a second of computing, and most tests are about what comes after it. A fork is a process of its
own, with the arguments, environment, directory, streams, session, signals and exit code that a started one has; it
runs its command as `__main__` and ends as an interpreter ends. It knows nothing of the tests: the process that it
comes from has modules and the facts of the package, and no thread, open file or environment but its own.

What a fork would not show, an interpreter is started for: options other than `-P`, another system, and an environment
that differs in what is read before the command runs. A test about the start itself calls `subprocess`.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.WebPImagePlugin",
    "anyio._backends._asyncio",
    "av",
    "filelock",
    "httpx2",
    "jinja2",
    "jsonschema",
    "keyring",
    "rich.progress",
    "rich.traceback",
    "sqlite3",
    "stamina",
    "typer.rich_utils",
    "uvicorn.protocols.http.h11_impl",
    "webauthn",
)
"""What the program imports inside its functions; the modules of the package bring the others."""
TEAM_ROOMS = (
    "callsheet.edges.identity.",
    "callsheet.edges.object_store.",
    "callsheet.edges.postgres.",
    "callsheet.surface.team.",
    "callsheet.team.",
)
LOCALE = ("LANG", "LC_")
READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "OPENSSL_", "SSLKEYLOGFILE", "TZ")
"""Beginnings of the names that the interpreter and the libraries in C read. Those read by imports are found out."""
IDLE = {"HOME", "PYTHONDONTWRITEBYTECODE"}
"""What is read without any effect on the program; the home is only for packages that a user installed."""
LAUNCH = """
import fcntl, os, signal, sys, termios
# A test run in the background ignores Ctrl-C, and so would the child.
signal.signal(signal.SIGINT, signal.SIG_DFL)
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for number in (0, 1, 2):
    os.dup2(terminal, number)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The child becomes the leader of a session whose controlling terminal is the one that it is given."""
Stream = int | IO[Any] | None


@dataclass(frozen=True)
class Order:
    """What the fork runs: `kind` is `-m`, `-c` or empty for a file, `command` what follows it."""

    kind: str
    command: Sequence[str]
    safe_path: bool
    environ: Mapping[str, str]
    directory: str
    new_session: bool
    terminal: str


def start(
    command: Sequence[str | Path],
    *,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    start_new_session: bool = False,
    text: bool = False,
    terminal: str = "",
    fresh: bool = False,
    loaded: tuple[str, ...] = (),
) -> subprocess.Popen[Any] | Forked:
    """As `subprocess.Popen`. A `terminal` becomes the controlling one and the three streams, in a new session.

    `fresh` is for a test whose subject is the start of the interpreter. `loaded` names what has to be loaded instead of
    everything: a smaller process is faster to fork, which counts for hundreds of forks.
    """
    words = [os.fspath(word) for word in command]
    environ = dict(os.environ if env is None else env)
    order = _read_order(words, environ, os.fspath(cwd or Path.cwd()), start_new_session or bool(terminal), terminal)
    streams = (stdin, stdout, stderr)
    with _lock:
        server = _running_server(environ, loaded) if order else None
        if order and server and not fresh and server.suits(environ):
            sys.audit("subprocess.Popen", words[0], words, cwd, env)
            return Forked(words, server, order, streams, text=text)
    if terminal:
        words = [sys.executable, "-c", LAUNCH, terminal, *words]
        streams = (subprocess.DEVNULL, None, None)
    return subprocess.Popen(
        words,
        **dict(zip(("stdin", "stdout", "stderr"), streams, strict=True)),
        env=environ,
        cwd=cwd,
        start_new_session=start_new_session or bool(terminal),
        text=text,
    )


def run(
    command: Sequence[str | Path],
    *,
    input: Any = None,  # noqa: A002 - as in subprocess
    timeout: float = 60,
    check: bool = False,
    **how: Any,
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`, with both outputs captured unless they are directed elsewhere."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    if input is not None:
        how["stdin"] = subprocess.PIPE
    with start(command, **how) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


class Forked:
    """A forked process, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, command: Sequence[str], server: _Server, order: Order, streams: Sequence[Stream], *, text: bool
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        self._reading = threading.Lock()
        ends, given, opened = [], [], []
        for number, wanted in enumerate(streams):
            kept, passed = -1, wanted
            if wanted == subprocess.PIPE:
                kept, passed = os.pipe()[:: 1 if number else -1]
            elif wanted == subprocess.DEVNULL:
                passed = os.open(os.devnull, os.O_RDWR)
            elif wanted == subprocess.STDOUT:
                passed = given[1]
            elif wanted is None:
                passed = number
            if wanted in (subprocess.PIPE, subprocess.DEVNULL):
                opened.append(passed)
            given.append(passed if isinstance(passed, int) else passed.fileno())
            ends.append(_open(kept, writing=not number, text=text) if kept >= 0 else None)
        self.stdin, self.stdout, self.stderr = ends
        try:
            self._report, self.pid = server.fork(order, given)
        finally:
            for number in opened:
                os.close(number)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit code if it has ended; that of a signal is negative."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, as soon as it has ended. Raises `subprocess.TimeoutExpired`."""
        with self._reading:
            if self.returncode is None:
                if not select.select([self._report], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                self.returncode = int(self._report.readline())
                self._report.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write to it, read what it says, wait for its end. Raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        said: dict[int, Any] = {}

        def drain(number: int, stream: IO[Any]) -> None:
            said[number] = stream.read()

        streams = {number: each for number, each in enumerate((self.stdout, self.stderr)) if each}
        readers = [threading.Thread(target=drain, args=item, daemon=True) for item in streams.items()]
        for reader in readers:
            reader.start()
        if self.stdin:
            with suppress(BrokenPipeError):
                if given:
                    self.stdin.write(given)
                self.stdin.close()
        for reader in readers:
            reader.join(_left(deadline))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(_left(deadline))
        for stream in streams.values():
            stream.close()
        return said.get(0), said.get(1)


class _Server:
    """The process that forks, as the tests see it."""

    def __init__(self, locale: Mapping[str, str], loaded: tuple[str, ...]) -> None:
        self._control, theirs = socket.socketpair()
        self._environ = {"PATH": os.environ["PATH"], **locale}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).absolute()), str(theirs.fileno()), *loaded],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=self._environ,
                cwd="/",
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._read = frozenset(json.loads(self._process.stdout.readline()))

    def suits(self, environ: Mapping[str, str]) -> bool:
        """Whether a process that starts with that environment would have loaded the same."""
        names = {name for name in environ if name in self._read or name.startswith(READ_AT_START)} - IDLE
        return all(environ[name] == self._environ.get(name) for name in names)

    def fork(self, order: Order, streams: Sequence[int]) -> tuple[IO[str], int]:
        """Have a process forked; where its exit code will be read, and its process id."""
        mine, theirs = socket.socketpair()
        with mine, theirs:
            socket.send_fds(self._control, [b"!"], [theirs.fileno(), *streams])
            mine.sendall(json.dumps(vars(order)).encode() + b"\n")
            report = mine.makefile("r")
        return report, int(report.readline())

    def close(self) -> None:
        """End it. Its forks live on."""
        self._control.close()
        self._process.communicate()


_lock = threading.Lock()
_servers: dict[tuple[object, ...], _Server] = {}


def _running_server(environ: Mapping[str, str], loaded: tuple[str, ...]) -> _Server | None:
    """One for each locale and choice of modules, and for each process of the tests, started when it is first used."""
    if sys.platform != "linux":
        return None
    locale = {name: value for name, value in environ.items() if name.startswith(LOCALE)}
    key = (*sorted(locale.items()), *loaded)
    if key not in _servers:
        _servers[key] = _Server(locale, loaded)
        atexit.register(_servers[key].close)
    return _servers[key]


def _read_order(
    words: Sequence[str], environ: Mapping[str, str], directory: str, new_session: bool, terminal: str
) -> Order | None:
    """The order for that command, if a fork can perform it."""
    if words[0] != sys.executable:
        return None
    safe_path = words[1:2] == ["-P"]
    kind, *rest = words[1 + safe_path :]
    if kind not in {"-m", "-c"}:
        kind, rest = "", [kind, *rest]
    if not rest or (not kind and rest[0].startswith("-")):
        return None
    return Order(kind, rest, safe_path, environ, directory, new_session, terminal)


def _open(number: int, *, writing: bool, text: bool) -> IO[Any]:
    """Our end of a pipe, as `subprocess` opens it."""
    stream = open(number, "wb" if writing else "rb", -1)  # noqa: SIM115 - a descriptor that is kept open
    return io.TextIOWrapper(stream, write_through=writing) if text else stream


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


# From here on, what the process that forks does.


def main(control: int, *loaded: str) -> None:
    """Load, then fork for each order until the tests end; a fork returns from here when its command has ended."""
    ended: list[int] = []
    # Registered first, so called last: after the threads have ended, and whatever else the command leaves to the end.
    atexit.register(_end, ended)
    print(json.dumps(sorted(_load(loaded))), flush=True)  # noqa: T201 - the tests wait for this line
    order = _serve(socket.socket(fileno=control))
    if order is None:
        return
    try:
        _perform(order)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            ended.append(end.code or 0)
        raise
    ended.append(0)


def _end(ended: list[int]) -> None:
    """In a fork: leave without taking every module apart, which costs more than most commands.

    The interpreter does that if it may show something: with a thread that goes on, output that cannot be written, or an
    end by an error.
    """
    if ended and threading.active_count() == 1:
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended[0] & 0xFF)


def _load(loaded: Sequence[str]) -> set[str]:
    """Import those modules, or all that the program may import; the names that were looked up in the environment."""
    import gc
    import importlib
    import pkgutil

    names: set[str] = set()
    plain = type(os.environ)

    class Watched(plain):  # type: ignore[misc, valid-type]
        def __getitem__(self, name: str) -> str:
            names.add(name)
            return super().__getitem__(name)

    gc.disable()
    os.environ.__class__ = Watched
    import callsheet

    if not loaded:
        found = {module.name for module in pkgutil.walk_packages(callsheet.__path__, "callsheet.")}
        # Local mode, which is what most tests are about, imports nothing of a team.
        modules = {name for name in found if not f"{name}.".startswith(TEAM_ROOMS)}
        loaded = (*sorted(modules - {"callsheet.__main__"}), *LIBRARIES)
    for name in loaded:
        importlib.import_module(name)
    from callsheet.edges.config.catalogue_files import load_catalogue

    load_catalogue()
    os.environ.__class__ = plain
    gc.collect()
    gc.freeze()
    gc.enable()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork copies one thread only"
    return names


def _serve(control: socket.socket) -> Order | None:
    """Fork and report. Returns the order in a fork, and None at the end of the tests."""
    reports: dict[int, socket.socket] = {}
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(reports)
        if control not in ready:
            continue
        word, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not word:
            return None
        report = socket.socket(fileno=descriptors[0])
        with report.makefile("r") as lines:
            order = Order(**json.loads(lines.readline()))
        pid = os.fork()
        if not pid:
            _become(order, descriptors[1:])
            return order
        for number in descriptors[1:]:
            os.close(number)
        reports[pid] = report
        with suppress(OSError):
            report.sendall(f"{pid}\n".encode())


def _report_ends(reports: dict[int, socket.socket]) -> None:
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with reports.pop(pid) as report, suppress(OSError):
            report.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(order: Order, streams: Sequence[int]) -> None:
    """In the fork: be what a new process would be at this point."""
    import fcntl
    import termios

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.new_session:
        os.setsid()
    if order.terminal:
        terminal = os.open(order.terminal, os.O_RDWR)
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        streams = [terminal] * 3
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order.directory)
    # Without a locale, the interpreter has chosen one and tells its children.
    locale = {name: value for name, value in os.environ.items() if name.startswith(LOCALE)}
    os.environ.clear()
    os.environ.update(locale | order.environ)


def _perform(order: Order) -> None:
    """In the fork: run the command as the interpreter does after its start."""
    import runpy

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        old, number = getattr(sys, name), ("stdin", "stdout", "stderr").index(name)
        binary = open(number, f"{mode}b", closefd=False)  # noqa: SIM115 - a descriptor
        lined = name == "stderr" or binary.isatty()
        stream = io.TextIOWrapper(binary, old.encoding, old.errors, None if name == "stdin" else "\n", lined)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    what, *arguments = order.command
    sys.argv = [what if not order.kind else order.kind, *arguments]
    sys.orig_argv = [sys.executable, *(["-P"] * order.safe_path), *([order.kind] if order.kind else []), *order.command]
    if not order.safe_path:
        sys.path.insert(0, {"": str(Path(what).parent), "-c": "", "-m": order.directory}[order.kind])
    if order.kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif order.kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
