"""The program ends while a paid request is under way: the answer gets a bounded time, and nothing is sent twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

import warm_start
from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import TaskState
from callsheet.edges.clock import SystemClock
from callsheet.service import Service
from callsheet.surface.next_steps import for_person
from workspace import KEY, account_of, draft, trust

NEVER = 60.0
ENOUGH = 10.0
GRACE = 0.6
SLACK = 2.0
ENDINGS = ("the block is left", "its task is cancelled")

CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from callsheet.compose import Surroundings, build_program, quiet_libraries
from callsheet.surface.cli import run
quiet_libraries()
program = build_program(replace(Surroundings.of_process(), account_home=Path(sys.argv.pop(1))))
def build():
    service = program.build_service()
    service.stop_grace_seconds = float(sys.argv[1])
    return service
sys.exit(run(replace(program, build_service=build), sys.argv[2:]))
"""


class SlowGateway:
    """PoYo on loopback: takes its time to answer a paid request, and counts them."""

    def __init__(self) -> None:
        self.answer_after = 0.0
        self.balance_after = 0.0
        self.paid = 0
        self.arrived = threading.Event()
        self.asked = threading.Event()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Let go of everybody who waits."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                gateway.paid += 1
                gateway.arrived.set()
                gateway.closing.wait(gateway.answer_after)
                self._answer(200, {"code": 200, "data": {"task_id": "task-unified-1-abc", "status": "not_started"}})

            def do_GET(self) -> None:
                if self.path.endswith("/balance"):
                    gateway.asked.set()
                    gateway.closing.wait(gateway.balance_after)
                self._answer(404, {"code": 404})

            def _answer(self, status: int, body: Any) -> None:
                content = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    # Whoever asked has gone; that is what is tested.
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def gateway() -> Iterator[SlowGateway]:
    """A gateway that listens."""
    slow = SlowGateway()
    yield slow
    slow.close()


@pytest.fixture
def environ(tmp_path: Path, gateway: SlowGateway) -> dict[str, str]:
    """An armed install that reaches that gateway, with a key."""
    policy = tmp_path / "home" / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    text = f'mode = "live"\n[gateways.poyo]\nbase_url = "{gateway.url}"\n'
    policy.write_text(text, encoding="utf-8")
    trust(tmp_path / "home", text)
    return {"CALLSHEET_HOME": str(tmp_path / "home"), "POYO_API_KEY": KEY}


def start(environ: dict[str, str], *, grace: float = ENOUGH) -> Service:
    """A new process, as far as the ledger can tell."""
    service = build_service(
        Surroundings(environ, Path("/nowhere"), SystemClock(), account_home=account_of(Path(environ["CALLSHEET_HOME"])))
    )
    service.stop_grace_seconds = grace
    return service


def approve(service: Service, prompt: str = "A red kite over dunes at dusk.") -> str:
    """A sheet that a person approved."""
    sheet_id = draft(service, Shot.of(prompt, duration_seconds=4))
    service.approve(sheet_id, by=Means.TERMINAL)
    return sheet_id


async def wait_for(event: threading.Event) -> None:
    """Return when the gateway says that it happened."""
    assert await anyio.to_thread.run_sync(event.wait, ENOUGH)


async def end_while_sending(service: Service, gateway: SlowGateway, ending: str) -> float:
    """Submit, end the run in that way while the request is under way; how many seconds the end took."""
    sheet_id = approve(service)
    async with anyio.create_task_group() as group:
        sending = anyio.Event()
        leave = anyio.Event()
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                async with service.running():
                    await service.submit(sheet_id, wait_seconds=0)
                    await wait_for(gateway.arrived)
                    sending.set()
                    await leave.wait()

        group.start_soon(run)
        await sending.wait()
        began = anyio.current_time()
        leave.set() if ending == ENDINGS[0] else scope.cancel()
    return anyio.current_time() - began


async def require_no_second_request(environ: dict[str, str], gateway: SlowGateway) -> Service:
    """A restart looks after every task and sends nothing that costs money; the restarted service."""
    again = start(environ)
    async with again.running():
        await again.deps.changes.wait(0.3)
        for report in again.tasks():
            answer = await again.submit(report.task.sheet_id, wait_seconds=0)
            is_unknown = report.task.state is TaskState.OUTCOME_UNKNOWN
            assert answer.status == ("outcome_unknown" if is_unknown else "already_accepted")
    assert gateway.paid == 1
    return again


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_answer_that_comes_within_the_grace_is_stored(
    environ: dict[str, str], gateway: SlowGateway, ending: str
) -> None:
    """The program waits for it, and no longer than for it."""
    gateway.answer_after = 1.0

    seconds = await end_while_sending(start(environ), gateway, ending)

    [report] = (await require_no_second_request(environ, gateway)).tasks()
    assert report.task.state is TaskState.QUEUED
    assert report.task.gateway_task_id == "task-unified-1-abc"
    assert seconds < 1.0 + SLACK


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_answer_that_does_not_come_is_an_unknown_outcome_after_the_grace(
    environ: dict[str, str], gateway: SlowGateway, ending: str
) -> None:
    """Never waiting, which would be sent again; and the end does not take for ever."""
    gateway.answer_after = NEVER

    seconds = await end_while_sending(start(environ, grace=GRACE), gateway, ending)

    [report] = (await require_no_second_request(environ, gateway)).tasks()
    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert GRACE <= seconds < GRACE + SLACK


async def test_what_was_not_sent_before_the_end_is_not_sent_during_it(
    environ: dict[str, str], gateway: SlowGateway
) -> None:
    """While one answer gets its grace, a task that only asked for the balance stays waiting."""
    gateway.answer_after = NEVER
    service = start(environ, grace=GRACE)
    first, second = approve(service), approve(service, "A harbour at dawn.")

    async with service.running():
        await service.submit(first, wait_seconds=0)
        await wait_for(gateway.arrived)
        gateway.asked.clear()
        gateway.balance_after = GRACE / 2
        await service.submit(second, wait_seconds=0)
        await wait_for(gateway.asked)

    assert gateway.paid == 1
    assert {report.task.sheet_id: report.task.state for report in service.tasks()} == {
        first: TaskState.OUTCOME_UNKNOWN,
        second: TaskState.WAITING,
    }


@pytest.mark.parametrize(
    ("number", "answer_after", "state"),
    [
        (signal.SIGTERM, 1.0, TaskState.QUEUED),
        (signal.SIGTERM, NEVER, TaskState.OUTCOME_UNKNOWN),
        (signal.SIGHUP, NEVER, TaskState.OUTCOME_UNKNOWN),
        (signal.SIGINT, NEVER, TaskState.OUTCOME_UNKNOWN),
    ],
)
def test_a_signal_ends_a_command_in_good_order(
    environ: dict[str, str], gateway: SlowGateway, number: signal.Signals, answer_after: float, state: TaskState
) -> None:
    """A process that is asked to end stores the answer or that it is unknown, and says what is still open."""
    gateway.answer_after = answer_after
    grace = GRACE if answer_after is NEVER else ENOUGH
    sheet_id = approve(start(environ))
    account = str(account_of(Path(environ["CALLSHEET_HOME"])))
    command = [sys.executable, "-c", CHILD, account, str(grace), "submit", sheet_id]
    with warm_start.start(
        command, env={**environ, "PATH": os.environ["PATH"]}, cwd="/", stderr=subprocess.PIPE, text=True
    ) as child:
        assert gateway.arrived.wait(ENOUGH * 2)
        began = time.monotonic()
        child.send_signal(number)
        _, printed = child.communicate(timeout=ENOUGH * 2)
        seconds = time.monotonic() - began

    assert child.returncode == 130
    assert seconds < min(answer_after, grace) + SLACK
    [report] = start(environ).tasks()
    assert report.task.state is state
    assert gateway.paid == 1
    assert "Stopped waiting for task_" in printed
    # A person who sees nothing happen would press Ctrl-C again, and lose the answer.
    assert "Press Ctrl-C again only to give it up." in printed
    notices = [line for line in printed.splitlines() if "callsheet watch" in line]
    assert len(notices) == (1 if state is TaskState.QUEUED else 0)
    assert all(line.startswith("1 task is still open, and nothing follows it now.") for line in notices)


def notice_text(service: Service) -> str | None:
    """The closing notice as a person reads it."""
    notice = service.hand_over()
    return None if notice is None else for_person(notice)


async def test_the_last_line_tells_who_goes_on(environ: dict[str, str], gateway: SlowGateway) -> None:
    """Nothing when nothing is open; else what must run until when, or another program that adopts within seconds."""
    service = start(environ)
    assert service.hand_over() is None
    await end_while_sending(service, gateway, ENDINGS[0])

    alone = notice_text(service)
    other = start(environ)
    # Alive, but it has not looked yet.
    other._leases.hold()
    accompanied = notice_text(service)
    other.deps.ledger().adopt(service.deps.runner_id, other.deps.runner_id)
    followed = notice_text(service)
    other._leases.release()

    assert alone is not None
    assert "1 task is still open" in alone
    assert "callsheet watch" in alone
    assert "24 hours only" in alone
    assert accompanied == "1 task is still open; another running Callsheet picks it up within seconds."
    assert followed is None


def test_an_end_does_not_complain_about_the_ledger(tmp_path: Path) -> None:
    """What cannot be read is not counted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.sqlite3").write_bytes(b"no database, but long enough to be taken for one" * 100)

    assert start({"CALLSHEET_HOME": str(tmp_path)}).hand_over() is None
