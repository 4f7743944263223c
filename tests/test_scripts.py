"""The shell scripts against the sandbox: one attempt, a typed word before it, and a key that shows up nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import callsheet
from sandbox.sandbox_client import (
    GATEWAYS,
    LONG_AFTER,
    Clock,
    SandboxClient,
    body_for,
    read_video_url,
    sandbox_in_thread,
)

ROOT = Path(callsheet.__file__).parents[2]
SCRIPTS = ROOT / "scripts"
KEY = "canary-key-7f3a9c2e51d84b06"
KEY_NAMES = {
    "poyo": "POYO_API_KEY",
    "apidot": "APIDOT_API_KEY",
    "apixo": "APIXO_API_KEY",
    "evolink": "EVOLINK_API_KEY",
}
MODELS = {"poyo": "sora-2-official", "apidot": "sora-2-official", "apixo": "sora-2", "evolink": "sora-2-preview"}
POYO = ("--gateway", "poyo", "--model", "sora-2-official")
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)] or ["sh"]

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the scripts need curl")


ON_A_TERMINAL = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
"""In a session of its own, the first terminal that is opened becomes the one that `/dev/tty` names."""


@dataclass
class Prompter:
    """Runs a script as a person would, in an environment without the callsheet program unless asked."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    _ends: tuple[int, ...] = ()
    _shown: bytes = b""
    _reader: threading.Thread = field(default_factory=threading.Thread)
    terminal: str = ""
    """What the terminal showed during the last run that had one."""

    def __post_init__(self) -> None:
        """The list of users names this home; no policy of the computer that runs the tests is read."""
        tools = self.home / "tools"
        tools.mkdir()
        self.write_tool("getent", f"echo 'tester:x:0:0::{self.home}:/bin/sh'")

    def write_tool(self, name: str, line: str) -> None:
        """A program that is found before the one of that name."""
        path = self.home / "tools" / name
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)

    def write_policy(self, text: str, folder: str = ".config/callsheet", mode: int = 0o600) -> None:
        path = self.home / folder / "policy.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def run(
        self,
        *arguments: str,
        script: str = "submit.sh",
        key: str | None = KEY,
        gateway: str = "poyo",
        said: str = "",
        typed: str | None = None,
        shell: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """What is `said` goes to standard input; a terminal belongs to it only if something is `typed` there."""
        running = self.start(*arguments, script=script, key=key, gateway=gateway, typed=typed, shell=shell)
        out, errors = running.communicate(said, timeout=90)
        self.terminal = self.read_terminal()
        everything = out + errors + self.terminal
        assert key is None or len(key) < 8 or key not in everything
        assert not list(self.home.glob("callsheet.*")), "the private copy is removed"
        return subprocess.CompletedProcess(running.args, running.returncode, out, errors)

    def start(
        self,
        *arguments: str,
        script: str = "submit.sh",
        key: str | None = KEY,
        gateway: str = "poyo",
        typed: str | None = None,
        shell: str | None = None,
    ) -> subprocess.Popen[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "TMPDIR": str(self.home)} | self.environ
        environ["PATH"] = f"{self.home / 'tools'}:{environ['PATH']}"
        if key is not None:
            environ[KEY_NAMES[gateway]] = key
        command = [*([shutil.which(shell) or shell] if shell else []), str(SCRIPTS / script), *arguments]
        self._ends = ()
        if typed is not None:
            self._ends = os.openpty()
            os.write(self._ends[0], f"{typed}\n".encode())
            self._shown = b""
            self._reader = threading.Thread(target=self._watch_terminal, args=self._ends[:1])
            self._reader.start()
            command = [sys.executable, "-IS", "-c", ON_A_TERMINAL, os.ttyname(self._ends[1]), *command]
        return subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )

    def read_terminal(self) -> str:
        """Everything that was written to the terminal, which is closed then."""
        if not self._ends:
            return ""
        master, slave = self._ends
        os.close(slave)
        self._reader.join()
        os.close(master)
        return self._shown.decode("utf-8", "backslashreplace")

    def _watch_terminal(self, master: int) -> None:
        """Until nobody has it open any more, which is an error to the reader on Linux and an end elsewhere."""
        with contextlib.suppress(OSError):
            while more := os.read(master, 65536):
                self._shown += more

    def write(self, gateway: str, prompt: str = "A red kite over dunes, slow pan.") -> str:
        path = self.home / f"{gateway}.json"
        path.write_text(json.dumps(body_for(gateway, prompt)), encoding="utf-8")
        return str(path)


@pytest.fixture
def prompter(tmp_path: Path) -> Prompter:
    home = tmp_path / "home"
    home.mkdir()
    return Prompter(home)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def visitor(tmp_path: Path, clock: Clock) -> Iterator[SandboxClient]:
    with sandbox_in_thread(tmp_path / "store", clock) as visitor:
        yield visitor


def submit(
    prompter: Prompter, visitor: SandboxClient, gateway: str, prompt: str, **more: str
) -> subprocess.CompletedProcess:
    """Submit to the sandbox, and type PAY."""
    more.setdefault("typed", "PAY")
    return prompter.run(*at(visitor, gateway), prompter.write(gateway, prompt), gateway=gateway, **more)


def at(visitor: SandboxClient, gateway: str) -> list[str]:
    return ["--gateway", gateway, "--model", MODELS[gateway], "--base-url", f"{visitor.base}/{gateway}"]


def submitted(tmp_path: Path) -> int:
    """How many submissions the sandbox has seen."""
    log = tmp_path / "store" / "requests.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return sum(json.loads(line)["submit"] for line in lines)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_accepted_job_gives_its_id_and_can_be_followed_to_its_link(
    gateway: str, prompter: Prompter, visitor: SandboxClient, clock: Clock
) -> None:
    """The printed next command is the one that works."""
    done = submit(prompter, visitor, gateway, "A red kite over dunes.")
    task_id = done.stdout.splitlines()[0].removeprefix("task_id: ")
    question = done.stdout.splitlines()[1].removeprefix("next: ").split()

    under_way = prompter.run(*question[1:], script="check_task.sh", gateway=gateway)
    clock.advance(LONG_AFTER)
    finished = prompter.run(*question[1:], script="check_task.sh", gateway=gateway)

    assert done.returncode == 0, done.stderr
    assert question[0] == str(SCRIPTS / "check_task.sh")
    assert task_id == question[-1]
    assert under_way.returncode == 8, under_way.stderr
    assert finished.returncode == 0, finished.stderr
    link = finished.stdout.splitlines()[-1].removeprefix("video: ")
    assert link == read_video_url(gateway, visitor.status(gateway, task_id, key=KEY).json)


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    "prompt", ["[[sandbox:refused]]", "[[sandbox:insufficient-credits]]", "[[sandbox:rate-limited]]"]
)
def test_a_refusal_ends_with_4_and_the_gateways_words_are_marked_as_such(
    prompt: str, gateway: str, prompter: Prompter, visitor: SandboxClient
) -> None:
    """Nothing was accepted, and it says so."""
    done = submit(prompter, visitor, gateway, prompt)

    assert done.returncode == 4, done.stderr
    assert "  | {" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("fault", ["drop-after", "drop-before", "error-in-200", "garbage-in-200", "server-error"])
def test_an_answer_that_says_neither_yes_nor_no_ends_with_7_after_one_attempt(
    fault: str, gateway: str, prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """Never sent again, neither by the script nor by curl."""
    done = submit(prompter, visitor, gateway, f"A kite [[sandbox:{fault}]]")

    assert done.returncode == 7, done.stderr
    assert "OUTCOME UNKNOWN" in done.stderr
    assert submitted(tmp_path) == 1


def test_no_connection_ends_with_6(prompter: Prompter) -> None:
    """Nothing can have been sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/poyo"
        done = prompter.run(
            "--gateway",
            "poyo",
            "--model",
            "sora-2-official",
            "--base-url",
            address,
            prompter.write("poyo"),
            typed="PAY",
        )

    assert done.returncode == 6
    assert "Nothing was sent" in done.stderr


def test_without_a_terminal_nothing_is_sent(prompter: Prompter, visitor: SandboxClient, tmp_path: Path) -> None:
    """An agent's shell has no terminal; the word on standard input is no confirmation."""
    done = prompter.run(*at(visitor, "poyo"), prompter.write("poyo"), said="PAY\n")
    told = prompter.run(*at(visitor, "poyo"), "--yes", prompter.write("poyo"), said="PAY\n")

    assert done.returncode == 3
    assert "no terminal" in done.stderr
    assert told.returncode == 2
    assert submitted(tmp_path) == 0


@pytest.mark.parametrize(("typed", "ends_with", "sent"), [("PAY", 0, 1), ("y", 3, 0), ("", 3, 0), ("pay", 3, 0)])
def test_only_the_typed_word_sends(
    typed: str, ends_with: int, sent: int, prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """On a terminal of its own."""
    script = "submit_sora_2_official.sh"
    done = prompter.run("--base-url", f"{visitor.base}/poyo", prompter.write("poyo"), script=script, typed=typed)

    assert done.returncode == ends_with, done.stderr
    assert submitted(tmp_path) == sent


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "puny12",
        "with space inside",
        "line\nbreak-inside",
        "carriage\rreturn-in",
        'quote"inside-key',
        "${config.key}",
    ],
)
def test_a_key_that_is_none_is_refused_unseen(key: str | None, shell: str, prompter: Prompter) -> None:
    """Before anything is sent; with no part of its value in the message."""
    done = prompter.run(prompter.write("poyo"), script="submit_sora_2_official.sh", key=key, shell=shell, typed="PAY")

    assert done.returncode == 5
    assert not key or key[:6] not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--gateway", "poyo", "--model", "sora-2-official"], "payload"),
        (["--gateway", "vidgo", "--model", "sora-2-official", "X"], "Unknown gateway"),
        (["--gateway", "poyo", "--model", "sora-2-pro", "X"], "no model"),
        (["--gateway", "poyo", "--model", "sora-2-pro-official", "X"], "is not sora-2-pro-official"),
        (["--gateway", "poyo", "--model", "sora-2-official", "--base-url", "https://example.com", "X"], "loopback"),
        (
            ["--gateway", "poyo", "--model", "sora-2-official", "--base-url", "http://127.0.0.1.example.com:80", "X"],
            "loopback",
        ),
        (
            ["--gateway", "poyo", "--model", "sora-2-official", "--base-url", "http://127.0.0.1:80@example.com", "X"],
            "loopback",
        ),
        (
            [
                "--gateway",
                "poyo",
                "--model",
                "sora-2-official",
                "--base-url",
                "http://127.0.0.1:80\nhttp://example.com",
                "X",
            ],
            "character",
        ),
        (["--gateway", "poyo", "--model", "sora-2-official", "/nowhere/at/all"], "no file"),
        (["--yse", "X"], "Unknown option"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(arguments: list[str], rule: str, prompter: Prompter) -> None:
    """And another address than loopback is never given the key."""
    payload = prompter.write("poyo")
    done = prompter.run(*[payload if argument == "X" else argument for argument in arguments], typed="PAY")

    assert done.returncode == 2
    assert rule in done.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "not json", '{"model": "sora-2-official", "x": "\x1b[2J"}', " " * 1_048_577]
)
def test_a_payload_that_is_none_is_not_sent(content: str, prompter: Prompter) -> None:
    """From a file or from standard input."""
    done = prompter.run(
        "--base-url", "http://127.0.0.1:9/poyo", "-", script="submit_sora_2_official.sh", said=content, typed="PAY"
    )

    assert done.returncode == 2


def test_a_payload_that_holds_the_key_is_not_sent(prompter: Prompter, visitor: SandboxClient, tmp_path: Path) -> None:
    """It would go out as a prompt."""
    done = submit(prompter, visitor, "poyo", f"A kite with {KEY} on it")

    assert done.returncode == 5
    assert submitted(tmp_path) == 0


def test_a_payload_is_checked_by_the_program_where_it_is_there(
    prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """A documented rule that is broken ends it; what is right goes through."""
    prompter.environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "CALLSHEET_HOME": str(tmp_path / "callsheet"),
    }
    body = body_for("poyo", "A red kite.", duration=5)
    refused = prompter.run(*at(visitor, "poyo"), "-", said=json.dumps(body), typed="PAY")
    accepted = submit(prompter, visitor, "poyo", "A red kite over dunes.")

    assert refused.returncode == 2, refused.stderr
    assert "4, 8, 12, 16, 20" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr
    assert "breaks no documented rule" in accepted.stderr
    assert submitted(tmp_path) == 1


def test_a_read_only_policy_holds_for_the_script_too(
    prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """The person said that nothing may be submitted."""
    policy = tmp_path / "callsheet" / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text('mode = "read-only"\n', encoding="utf-8")
    prompter.environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "CALLSHEET_HOME": str(tmp_path / "callsheet"),
    }
    done = submit(prompter, visitor, "poyo", "A red kite over dunes.")

    assert done.returncode == 3, done.stderr
    assert submitted(tmp_path) == 0


def test_a_dry_run_needs_no_key_and_sends_nothing(prompter: Prompter, visitor: SandboxClient, tmp_path: Path) -> None:
    """It shows the request with the variable's name in the key's place, availability before the price."""
    done = prompter.run("--dry-run", prompter.write("poyo"), script="submit_sora_2_official.sh", key=None)

    assert done.returncode == 0
    assert "Authorization: Bearer $POYO_API_KEY" in done.stdout
    assert "POST https://api.poyo.ai/api/generate/submit" in done.stdout
    assert done.stderr.index("2026-09-24") < done.stderr.index("USD")
    assert submitted(tmp_path) == 0


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_key_is_in_no_argument_and_in_no_environment_of_what_is_started(prompter: Prompter, tmp_path: Path) -> None:
    """Every process below the script is read again and again while a gateway takes its time."""
    seen: list[str] = []
    with slow_gateway(lambda: watch(seen)) as address:
        done = prompter.run(
            "--gateway",
            "poyo",
            "--model",
            "sora-2-official",
            "--base-url",
            address,
            prompter.write("poyo"),
            typed="PAY",
        )

    assert done.returncode == 0, done.stderr
    assert any("curl" in line.split("\0")[0] for line in seen)
    assert not [line for line in seen if KEY in line]


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_key_that_the_gateway_echoes_is_not_shown(status: int, prompter: Prompter) -> None:
    """`Prompter.run` looks through both outputs."""
    echo = json.dumps({"message": f"Bearer {KEY} \x1b[31m is no good"})
    with slow_gateway(lambda: None, status=status, body=echo) as address:
        done = prompter.run(
            "--gateway",
            "poyo",
            "--model",
            "sora-2-official",
            "--base-url",
            address,
            prompter.write("poyo"),
            typed="PAY",
        )

    assert done.returncode == (4 if status == 400 else 7)
    assert "[key]" in done.stderr
    assert "\x1b" not in done.stderr


def test_an_interruption_while_sending_leaves_the_outcome_unknown(prompter: Prompter) -> None:
    """Ctrl-C is no proof that nothing arrived."""
    running: list[subprocess.Popen[str]] = []
    with slow_gateway(lambda: os.killpg(running[0].pid, signal.SIGINT)) as address:
        payload = prompter.write("poyo")
        running.append(prompter.start("--base-url", address, payload, script="submit_sora_2_official.sh", typed="PAY"))
        out, said = running[0].communicate(timeout=30)
        prompter.read_terminal()

    assert running[0].returncode == 7
    assert "unknown" in said.lower()
    assert out == ""
    assert not list(prompter.home.glob("callsheet.*"))


def test_a_brand_with_the_same_ids_is_named_by_an_option(prompter: Prompter) -> None:
    """Its own address and key; the file is the same."""
    script = "submit_sora_2_pro_official.sh"
    body = body_for("apidot", "A red kite.", resolution="720p") | {"model": "sora-2-pro-official"}
    done = prompter.run("--gateway", "apidot", "--dry-run", "-", script=script, key=None, said=json.dumps(body))

    assert done.returncode == 0
    assert "POST https://api.apidot.ai/api/generate/submit" in done.stdout
    assert "Bearer $APIDOT_API_KEY" in done.stdout


def test_a_redirect_is_not_followed(prompter: Prompter) -> None:
    """The key goes to the gateway alone."""
    with slow_gateway(lambda: None, status=307, body="{}", headers={"Location": "http://127.0.0.1:9/"}) as address:
        done = prompter.run(
            "--gateway",
            "poyo",
            "--model",
            "sora-2-official",
            "--base-url",
            address,
            prompter.write("poyo"),
            typed="PAY",
        )

    assert done.returncode == 4


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_failed_task_ends_with_9_and_an_unknown_one_with_4(
    gateway: str, prompter: Prompter, visitor: SandboxClient, clock: Clock
) -> None:
    """Neither is a reason to submit again, and it says so."""
    task_id = visitor.accepted(gateway, "[[sandbox:content-violation]]", key=KEY)
    clock.advance(LONG_AFTER)
    failed = prompter.run(*at(visitor, gateway), task_id, script="check_task.sh", gateway=gateway)
    unknown = prompter.run(*at(visitor, gateway), "task-unified-0-none", script="check_task.sh", gateway=gateway)

    assert failed.returncode == 9, failed.stderr
    assert "Another take is another payment" in failed.stderr
    assert unknown.returncode == 4, unknown.stderr
    assert "Do not submit again" in unknown.stderr


def test_a_status_that_cannot_be_read_says_nothing_of_the_task(prompter: Prompter, visitor: SandboxClient) -> None:
    """Server errors and garbage end with 6."""
    task_id = visitor.accepted("poyo", "[[sandbox:status-error]]", key=KEY)

    done = prompter.run(*at(visitor, "poyo"), task_id, script="check_task.sh")

    assert done.returncode == 6
    assert "says nothing of the task" in done.stderr


NO_HTTP = (
    b"\x00\x01 this is no HTTP at all\r\n\r\n",
    b"HTTP/3 200 OK\r\n\r\n",
    b"",
    b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"code": 200',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000,
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000,
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
)
ARMED = 'mode = "live"\n'


@pytest.mark.parametrize("reply", NO_HTTP, ids=range(len(NO_HTTP)))
def test_a_request_that_left_is_unknown_whatever_curl_calls_its_failure(reply: bytes, prompter: Prompter) -> None:
    """No exit code of curl proves that nothing was sent; only its count of the bytes does."""
    with raw_gateway(reply) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 7, done.stderr
    assert "OUTCOME UNKNOWN" in done.stderr
    assert "othing was sent" not in done.stderr
    assert len(gateway.requests) == 1


def test_a_handshake_that_fails_sent_nothing(prompter: Prompter) -> None:
    """Connected, but no byte of the request left."""
    prompter.write_policy(ARMED)
    with raw_gateway(b"no TLS here\r\n\r\n") as gateway:
        prompter.write_tool("curl", f'exec {shutil.which("curl")} "$@" --connect-to ::127.0.0.1:{gateway.port}')
        done = prompter.run(*POYO, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 6, done.stderr
    assert gateway.requests
    assert not [request for request in gateway.requests if b"POST" in request]


def test_an_id_in_an_answer_that_broke_off_is_shown_as_no_proof(prompter: Prompter) -> None:
    """It helps the person who looks at the gateway's list."""
    reply = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"code": 200, "data": {"task_id": "task-9"'
    with raw_gateway(reply) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 7
    assert "proves nothing: task-9" in done.stderr
    assert done.stdout == ""


def test_a_script_that_breaks_off_after_sending_is_unknown(prompter: Prompter) -> None:
    """Its exit code must not be one that means "not sent"."""
    prompter.write_tool("awk", f'[ ! -e {prompter.home}/came ] || exit 2\nexec /usr/bin/awk "$@"')
    prompter.write_tool("grep", f'[ ! -e {prompter.home}/came ] || exit 2\nexec /usr/bin/grep "$@"')
    with slow_gateway((prompter.home / "came").touch) as address:
        done = prompter.run(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 7, done.stderr


def test_an_id_that_nobody_reads_on_standard_output_goes_to_standard_error(prompter: Prompter) -> None:
    """It names what was paid."""
    with slow_gateway(lambda: None) as address:
        with prompter.start(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY") as running:
            running.stdout.close()
            errors = running.stderr.read()
        prompter.read_terminal()

    assert running.returncode == 0
    assert "task_id: task-unified-1-abc" in errors


@pytest.mark.parametrize("status", [301, 302, 303, 304])
def test_a_redirect_that_may_follow_a_done_request_is_unknown(status: int, prompter: Prompter) -> None:
    """Only 307 and 308 ask for the same request elsewhere."""
    with slow_gateway(lambda: None, status=status, body="", headers={"Location": "http://127.0.0.1:9/"}) as address:
        done = prompter.run(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize(
    ("policy", "mode", "words"),
    [
        (None, 0o600, "not armed"),
        ('mode = "sandbox"\n', 0o600, "not armed"),
        ('[caps]\nmode = "live"\n', 0o600, "not armed"),
        ('# mode = "live"\n', 0o600, "not armed"),
        ('mode = "read-only"\n', 0o600, "read-only"),
        (ARMED, 0o644, "private"),
        (ARMED + '[approval]\nfloor = "passphrase"\n', 0o600, "passphrase"),
        (ARMED + "[gateways.poyo]\nallowed = false\n", 0o600, "not allow"),
        (ARMED + '[models."poyo/sora-2-official"]\nallowed = false\n', 0o600, "not allow"),
        (ARMED + "gateways = {poyo = {allowed = false}}\n", 0o600, "not allow"),
    ],
)
def test_without_a_policy_that_says_live_nothing_is_sent(
    policy: str | None, mode: int, words: str, prompter: Prompter
) -> None:
    """In the default place, in a private file; and a limit that the script cannot keep is a refusal."""
    prompter.write_tool("curl", f"touch {prompter.home}/curl-ran; printf '000 0'; exit 7")
    if policy is not None:
        prompter.write_policy(policy, mode=mode)
    done = prompter.run(*POYO, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert not (prompter.home / "curl-ran").exists()


@pytest.mark.parametrize("more", ["", "[gateways.apixo]\nallowed = false\n", '[approval]\npassphrase_from = "1.00"\n'])
def test_a_policy_that_says_live_lets_a_person_send(more: str, prompter: Prompter) -> None:
    """Rules of other gateways do not matter. Here curl has no network."""
    prompter.write_tool("curl", f"touch {prompter.home}/curl-ran; printf '000 0'; exit 7")
    prompter.write_policy(ARMED + more)
    done = prompter.run(*POYO, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 6, done.stderr
    assert (prompter.home / "curl-ran").exists()


def test_a_project_cannot_arm_live_mode_by_its_environment(prompter: Prompter, tmp_path: Path) -> None:
    """Only the home that the list of users names counts, and an agent's typed word changes nothing."""
    project = tmp_path / "project"
    for folder in (".config/callsheet", "config"):
        (project / folder).mkdir(parents=True)
        path = project / folder / "policy.toml"
        path.touch(mode=0o600)
        path.write_text(ARMED, encoding="utf-8")
    prompter.environ = {
        "HOME": str(project),
        "XDG_CONFIG_HOME": str(project / ".config"),
        "CALLSHEET_HOME": str(project),
    }
    done = prompter.run(*POYO, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 3, done.stderr
    assert "not armed" in done.stderr


@pytest.mark.parametrize("pause", [".config/callsheet/paused", "other/config/paused"])
def test_a_pause_holds_for_the_script_too(
    pause: str, prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """In any place where a policy of this user may be."""
    (prompter.home / pause).parent.mkdir(parents=True)
    (prompter.home / pause).touch()
    prompter.environ = {"CALLSHEET_HOME": str(prompter.home / "other")}
    done = submit(prompter, visitor, "poyo", "A red kite over dunes.")

    assert done.returncode == 3, done.stderr
    assert submitted(tmp_path) == 0


@pytest.mark.parametrize("script", ["submit.sh", "check_task.sh"])
def test_no_variable_names_a_proxy_or_an_authority_unless_asked(script: str, prompter: Prompter) -> None:
    """A proxy with an authority of its own reads the key."""
    prompter.write_policy(ARMED)
    real = shutil.which("curl")
    with raw_gateway(b"HTTP/1.1 502 Bad\r\n\r\n") as proxy, raw_gateway(b"no TLS\r\n") as gateway:
        to = f"--connect-to ::127.0.0.1:{gateway.port}"
        prompter.write_tool("curl", f'env >>{prompter.home}/seen\nexec {real} "$@" {to}')
        names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")
        prompter.environ = dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}")
        prompter.environ |= {
            "CURL_CA_BUNDLE": "/tmp/own.pem",
            "SSLKEYLOGFILE": "/dev/null",
            "SSL_CERT_FILE": "/tmp/own.pem",
        }
        what = prompter.write("poyo") if script == "submit.sh" else "task-1"
        prompter.run(*POYO, what, script=script, typed="PAY")
        before, seen = len(proxy.requests), (prompter.home / "seen").read_text(encoding="utf-8")
        prompter.run(*POYO, "--environment", what, script=script, typed="PAY")

    assert before == 0
    assert not [name for name in prompter.environ if f"{name}=" in seen]
    assert [request for request in proxy.requests if request.startswith(b"CONNECT")]


@pytest.mark.parametrize("length", [5_000, 15_000, 40_000])
def test_before_the_word_the_whole_body_is_shown_or_how_much_is_not(
    length: int, prompter: Prompter, visitor: SandboxClient
) -> None:
    """On the terminal, with the price after it, wherever the caller sends the outputs."""
    done = submit(prompter, visitor, "poyo", "A kite. " + "x" * length + " THE END", typed="no")

    assert done.returncode == 3
    assert ("THE END" in prompter.terminal) is (length < 16_000)
    assert ("NOT ALL IS SHOWN" in prompter.terminal) is (length > 16_000)
    assert length < 16_000 or re.search(r"\d+ of \d+ bytes follow\. .*/payload", prompter.terminal)
    assert prompter.terminal.index("no money is spent") > prompter.terminal.index("A kite.")


def test_what_a_terminal_obeys_or_hides_is_written_out(prompter: Prompter, visitor: SandboxClient) -> None:
    """Controls, direction marks and invisible characters, in a payload and in an answer; other scripts are kept."""
    hidden = "\x9b\u202e\u200b\u2066\ufeff\u00ad\U000e0041\x7f"
    body = body_for("poyo", f"日本 é {hidden} end")
    said = json.dumps(body, ensure_ascii=False)
    prompter.run(*at(visitor, "poyo"), "-", said=said, typed="no")
    with slow_gateway(lambda: None, status=400, body=said) as address:
        done = prompter.run(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY")
    odd = prompter.run(*POYO, "--base-url", address, f"/no\x1b[2J{hidden}", typed="no")

    for shown in (prompter.terminal, done.stderr, odd.stderr):
        assert not set(hidden) & set(shown)
    for text in ("日本 é", r"\u009b", r"\u202e", r"\u200b", r"\u2066", r"\ufeff", r"\u00ad", r"\ue0041", r"\x7f"):
        assert text in done.stderr
    assert r"\x1b[2J" in odd.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"model": "sora-2-official", "input": {"prompt": "x"}, "model": "sora-2-pro-official"}', "twice"),
        ('{"model": "sora-2-official", "input": {"duration": 4, "duration": 20}}', "twice"),
        ('{"model": "sora-2-official", "input": {}, "mod\\u0065l": "sora-2-pro-official"}', "backslash"),
        ('{"input": {"model": "sora-2-official"}, "model": "sora-2-pro-official"}', "is not"),
        ('{"input": {"model": "sora-2-official"}}', "is not"),
        ('{"model": "sora-2-official"} {"model": "sora-2-pro-official"}', "one JSON object"),
        ('[{"model": "sora-2-official"}]', "one JSON object"),
        ('{"model": "sora-2-official", "input": {', "whole JSON object"),
    ],
)
def test_a_payload_that_two_readers_read_differently_is_not_sent(
    content: str, words: str, prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """The person sees one model, or one length, and pays for another."""
    done = prompter.run(*at(visitor, "poyo"), "-", said=content, typed="PAY")

    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert submitted(tmp_path) == 0


def test_the_same_name_in_two_objects_or_in_a_text_is_no_fault(prompter: Prompter) -> None:
    """Only the names of one object must differ."""
    body = {"model": "sora-2-official", "input": {"prompt": 'say "model": "x", \\ and {[', "a": [{"b": 1}, {"b": 2}]}}
    done = prompter.run(*POYO, "--dry-run", "-", said=json.dumps(body))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.split("\n\n", 1)[1]) == body


@pytest.mark.parametrize("spelled", [KEY, f"\\u{ord(KEY[0]):04x}{KEY[1:]}", f"%{ord(KEY[0]):02X}{KEY[1:]}"])
def test_a_dry_run_prints_no_payload_that_holds_the_key(spelled: str, prompter: Prompter) -> None:
    """In no spelling that JSON or a link allows."""
    content = '{"model": "sora-2-official", "input": {"prompt": "A kite with %s"}}'.replace("%s", spelled)
    done = prompter.run(*POYO, "--dry-run", "-", said=content)

    assert done.returncode == 5
    assert done.stdout == ""


BAD_IDS = ("..", "a..b", "a/../b", "../up", "-x", ".", "a b", "a" * 129)


@pytest.mark.parametrize("task_id", BAD_IDS)
def test_an_id_that_could_lead_elsewhere_is_no_id(task_id: str, prompter: Prompter) -> None:
    """Neither from a gateway nor as an argument."""
    body = json.dumps({"code": 200, "data": {"task_id": task_id}})
    with slow_gateway(lambda: None, body=body) as address:
        done = prompter.run(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY")
        asked = prompter.run(*POYO, "--base-url", address, task_id, script="check_task.sh")

    assert done.returncode == 7, done.stderr
    assert done.stdout == ""
    assert asked.returncode == 2


def test_a_key_that_comes_back_as_an_id_is_no_id(prompter: Prompter) -> None:
    """The outcome is unknown, and the person is told to replace the key."""
    body = json.dumps({"code": 200, "data": {"task_id": KEY}})
    with slow_gateway(lambda: None, body=body) as address:
        done = prompter.run(*POYO, "--base-url", address, prompter.write("poyo"), typed="PAY")

    assert done.returncode == 7
    assert "gave the key back" in done.stderr


@pytest.mark.parametrize("spelled", [KEY, f"\\u{ord(KEY[0]):04x}{KEY[1:]}", f"%{ord(KEY[0]):02X}{KEY[1:]}"])
@pytest.mark.parametrize("name", ["status", "progress", "file_url"])
def test_a_key_that_comes_back_in_a_status_is_not_shown(name: str, spelled: str, prompter: Prompter) -> None:
    """As state, figure or link, as it is or spelled another way."""
    values = {"status": "finished", "progress": "100", "file_url": "https://a.example/v.mp4"}
    values[name] = f"https://a.example/{spelled}.mp4" if name == "file_url" else spelled
    fields = ", ".join(f'"{field_name}": "{value}"' for field_name, value in values.items())
    reply = f'HTTP/1.1 200 OK\r\n\r\n{{"code": 200, "data": {{{fields}}}}}'
    with raw_gateway(reply.encode()) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, "task-1", script="check_task.sh")

    assert "gave the key back" in done.stderr
    assert KEY[1:] not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "reply",
    [
        NO_HTTP[6],
        NO_HTTP[7],
        b"HTTP/1.1 200 OK\r\n\r\n" + b"\n" * 1_000_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"\x00\xff" * 9,
    ],
    ids=["announced", "not announced", "lines", "no text"],
)
def test_a_status_answer_over_the_bound_is_told_in_words(reply: bytes, prompter: Prompter) -> None:
    """It says nothing of the task, and is no fault of how the script was called."""
    with raw_gateway(reply) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, "task-1", script="check_task.sh")

    assert done.returncode == 6, done.stderr
    assert "says nothing of the task" in done.stderr


@pytest.mark.parametrize(
    ("word", "ends_with"), [("Succeeded", 0), ("COMPLETED", 0), ("error", 9), ("cancelled", 9), ("\x1b[2J", 6)]
)
def test_other_words_for_an_end_are_read_and_no_word_steers_the_terminal(
    word: str, ends_with: int, prompter: Prompter
) -> None:
    """Whatever their case; a state is letters."""
    files = '[{"file_url": "https://a.example/v.mp4"}]'
    body = f'{{"code": 200, "data": {{"task_id": "task-1", "status": "{word}", "files": {files}}}}}'
    with raw_gateway(f"HTTP/1.1 200 OK\r\n\r\n{body}".encode()) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, "task-1", script="check_task.sh")

    assert done.returncode == ends_with, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "body",
    [
        '{"status": "error", "message": "temporarily unavailable"}',
        '{"code": 200, "data": {"status": "failed"}}',
        '{"code": 200, "data": {"task_id": "task-12", "status": "failed"}}',
        '{"code": 200, "data": {"task_id": "task-2", "status": "finished", "files": "https://a.example/v.mp4"}}',
    ],
)
def test_an_end_that_is_not_about_the_task_is_no_end(body: str, prompter: Prompter) -> None:
    """Told of a failure, a person would pay for another take."""
    with raw_gateway(f"HTTP/1.1 200 OK\r\n\r\n{body}".encode()) as gateway:
        done = prompter.run(*POYO, "--base-url", gateway.address, "task-1", script="check_task.sh")

    assert done.returncode == 6, done.stderr
    assert "says nothing of the task" in done.stderr


RUN = sorted(path for path in SCRIPTS.glob("*.sh") if path.name not in ("wire.sh", "text.sh", "payload.sh"))
"""The scripts that somebody runs; the other is read in by them."""


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_help_tells_every_exit_code(path: Path, prompter: Prompter) -> None:
    """Without a key, a network, or anything else."""
    done = prompter.run("--help", script=path.name, key=None)

    assert done.returncode == 0
    codes = (0, 2, 4, 5, 6, 8, 9) if path.name == "check_task.sh" else (0, 2, 3, 4, 5, 6, 7)
    assert all(f"\n  {code}  " in done.stdout for code in codes)


DISTINCT = {path.read_bytes(): path for path in sorted([*ROOT.glob("skill/*/scripts/*.sh"), *SCRIPTS.glob("*.sh")])}
"""Each text once: skills have copies of the same script."""


@pytest.mark.parametrize("path", DISTINCT.values(), ids=str)
def test_the_scripts_are_portable(path: Path) -> None:
    """Read by shellcheck as POSIX sh."""
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    command = [checker, "--shell", "sh", "--external-sources", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["submit.sh", "check_task.sh"])
def test_a_script_without_its_neighbour_ends_before_it_does_anything(tmp_path: Path, name: str, shell: str) -> None:
    """Whatever lies in the working directory or on the path under that name; and every script needs only its own."""
    (tmp_path / "alone").mkdir()
    decoy = tmp_path / "wire.sh"
    decoy.write_text("echo decoy\n", encoding="utf-8")
    decoy.chmod(0o755)
    script = shutil.copy2(SCRIPTS / name, tmp_path / "alone" / name)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CDPATH": str(tmp_path), "POYO_API_KEY": KEY}
    done = subprocess.run(
        [shell, script, "--help"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "wire.sh is missing beside this script, which needs it. Nothing was sent.\n"


def watch(seen: list[str]) -> None:
    """What `/proc` tells of every process for half a second."""
    over = time.monotonic() + 0.5
    while time.monotonic() < over:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                line = (place / "cmdline").read_bytes().decode("utf-8", "replace")
                # The environment of the shell itself is what it was started with; its children's must be clean.
                if "curl" in line.split("\0")[0]:
                    line += (place / "environ").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            seen.append(line)


class slow_gateway:  # noqa: N801 - reads as the context manager that it is
    """A gateway that does something before it answers."""

    def __init__(
        self,
        before: Callable[[], object],
        *,
        status: int = 200,
        body: str = '{"code": 200, "data": {"task_id": "task-unified-1-abc", "status": "not_started"}}',
        headers: dict[str, str] | None = None,
    ) -> None:
        more = headers or {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                before()
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/poyo"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class raw_gateway:  # noqa: N801 - reads as the context manager that it is
    """Reads each request whole, and answers with these bytes, whatever they are."""

    def __init__(self, reply: bytes) -> None:
        self.requests: list[bytes] = []
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/poyo"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            with self._socket.accept()[0] as connection:
                if self._closing:
                    return
                with contextlib.suppress(OSError):
                    self.requests.append(read_request(connection))
                    connection.sendall(self._reply)

    _closing = False

    def __enter__(self) -> raw_gateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()


def read_request(connection: socket.socket) -> bytes:
    """Head and body of a request; of anything else, what came first."""
    raw = connection.recv(65536)
    while b"\r\n\r\n" not in raw and raw.startswith((b"POST", b"GET", b"CONNECT")):
        raw += connection.recv(65536)
    head, _, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        more = connection.recv(65536)
        raw, body = raw + more, body + more
    return raw
