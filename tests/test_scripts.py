"""The shell scripts against the sandbox: one attempt, a typed word before it, and a key that shows up nowhere."""

from __future__ import annotations

import json
import os
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
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)] or ["sh"]

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the scripts need curl")


@dataclass
class Prompter:
    """Runs a script as a person would, in an environment without the callsheet program unless asked."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, script: str = "submit.sh", key: str | None = KEY, gateway: str = "poyo", said: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """No terminal belongs to it: what is `said` goes to standard input."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "TMPDIR": str(self.home)} | self.environ
        if key is not None:
            environ[KEY_NAMES[gateway]] = key
        done = subprocess.run(
            [str(SCRIPTS / script), *arguments],
            env=environ,
            input=said,
            capture_output=True,
            text=True,
            timeout=90,
            start_new_session=True,
            check=False,
        )
        assert key is None or len(key) < 8 or key not in done.stdout + done.stderr
        assert not list(self.home.glob("callsheet.*")), "the private copy is removed"
        return done

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
    """Submit to the sandbox without being asked."""
    return prompter.run(*at(visitor, gateway), "--yes", prompter.write(gateway, prompt), gateway=gateway, **more)


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
            "--gateway", "poyo", "--model", "sora-2-official", "--base-url", address, "--yes", prompter.write("poyo")
        )

    assert done.returncode == 6
    assert "Nothing was sent" in done.stderr


def test_without_a_terminal_nothing_is_sent_unless_told_so(
    prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """An agent's shell has no terminal; the word on standard input is no confirmation."""
    done = prompter.run(*at(visitor, "poyo"), prompter.write("poyo"), said="PAY\n")

    assert done.returncode == 3
    assert "no terminal" in done.stderr
    assert submitted(tmp_path) == 0


@pytest.mark.parametrize(("typed", "ends_with", "sent"), [("PAY", 0, 1), ("y", 3, 0), ("", 3, 0), ("pay", 3, 0)])
def test_only_the_typed_word_sends(
    typed: str, ends_with: int, sent: int, prompter: Prompter, visitor: SandboxClient, tmp_path: Path
) -> None:
    """On a terminal of its own."""
    inside = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = [str(SCRIPTS / "submit_sora_2_official.sh"), "--base-url", f"{visitor.base}/poyo", prompter.write("poyo")]
    done = subprocess.run(
        [sys.executable, "-c", inside, *command],
        env={"PATH": "/usr/bin:/bin", "HOME": str(prompter.home), "POYO_API_KEY": KEY},
        input=f"{typed}\n".encode(),
        capture_output=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )

    assert done.returncode == ends_with, done.stdout
    assert submitted(tmp_path) == sent
    assert KEY.encode() not in done.stdout + done.stderr


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
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(prompter.home), "TMPDIR": str(prompter.home)}
    done = subprocess.run(
        [shell, str(SCRIPTS / "submit_sora_2_official.sh"), "--yes", prompter.write("poyo")],
        env=environ if key is None else environ | {"POYO_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

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
    done = prompter.run(*[payload if argument == "X" else argument for argument in arguments], "--yes")

    assert done.returncode == 2
    assert rule in done.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "not json", '{"model": "sora-2-official", "x": "\x1b[2J"}', " " * 1_048_577]
)
def test_a_payload_that_is_none_is_not_sent(content: str, prompter: Prompter) -> None:
    """From a file or from standard input."""
    done = prompter.run("--yes", "-", script="submit_sora_2_official.sh", said=content)

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
    refused = prompter.run(*at(visitor, "poyo"), "--yes", "-", said=json.dumps(body))
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
            "--gateway", "poyo", "--model", "sora-2-official", "--base-url", address, "--yes", prompter.write("poyo")
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
            "--gateway", "poyo", "--model", "sora-2-official", "--base-url", address, "--yes", prompter.write("poyo")
        )

    assert done.returncode == (4 if status == 400 else 7)
    assert "[key]" in done.stderr
    assert "\x1b" not in done.stderr


def test_an_interruption_while_sending_leaves_the_outcome_unknown(prompter: Prompter) -> None:
    """Ctrl-C is no proof that nothing arrived."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(prompter.home), "TMPDIR": str(prompter.home), "POYO_API_KEY": KEY}
    running: list[subprocess.Popen[str]] = []
    with slow_gateway(lambda: os.killpg(running[0].pid, signal.SIGINT)) as address:
        command = [str(SCRIPTS / "submit_sora_2_official.sh"), "--base-url", address, "--yes", prompter.write("poyo")]
        running.append(
            subprocess.Popen(
                command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
        )
        out, said = running[0].communicate(timeout=30)

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
            "--gateway", "poyo", "--model", "sora-2-official", "--base-url", address, "--yes", prompter.write("poyo")
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


RUN = sorted(path for path in SCRIPTS.glob("*.sh") if path.name != "wire.sh")
"""The scripts that somebody runs; the other is read in by them."""


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_help_tells_every_exit_code(path: Path, prompter: Prompter) -> None:
    """Without a key, a network, or anything else."""
    done = prompter.run("--help", script=path.name, key=None)

    assert done.returncode == 0
    codes = (0, 2, 4, 5, 6, 8, 9) if path.name == "check_task.sh" else (0, 2, 3, 4, 5, 6, 7)
    assert all(f"\n  {code}  " in done.stdout for code in codes)


@pytest.mark.parametrize("path", sorted([*SCRIPTS.glob("*.sh"), *ROOT.glob("skill/*/scripts/*.sh")]), ids=str)
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
        before: Callable[[], None],
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
