"""The connection is cut after a commit was sent and before its answer came: nobody knows whether it holds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from callsheet.core.consent import Means
from callsheet.core.tasks import TaskState
from callsheet.edges.ledger.ledger import SqlLedger
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.errors import LedgerProblem
from callsheet.service import Service
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from team.postgres import Server
from workspace import Workspace, accepted, draft, make_workspace, overtaken


class Wire:
    """Passes bytes on to the server. Once armed, it cuts the connection on which the next commit comes by."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._armed = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[Thread] = []
        self._start(self._accept)

    def arm(self) -> None:
        """The next one."""
        self._armed = True

    def close(self) -> None:
        """Cut everything."""
        for each in [self._listener, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in [self._listener, *self._open]:
            each.close()

    def _start(self, function: Callable[..., None], *values: object) -> None:
        self._threads.append(Thread(target=function, args=values, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                pair = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._to))
                self._open += pair
                self._start(self._pass, *pair)
                self._start(self._pass, *reversed(pair))

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                cut = self._armed and b"COMMIT" in data
                if cut:
                    self._armed, self.cuts = False, self.cuts + 1
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(postgres: Server) -> Iterator[Wire]:
    """A wire to the server."""
    made = Wire(postgres.port)
    yield made
    made.close()


@pytest.fixture
def install(tmp_path: Path, wire: Wire, dsn: str, tenant: str) -> Iterator[Workspace]:
    """A live install whose ledger is at the other end of the wire."""
    address = f"postgresql://callsheet@127.0.0.1:{wire.port}/{dsn.rpartition('/')[2]}"
    ledger = SqlLedger(PostgresDatabase(address, tenant=tenant))
    made = make_workspace(tmp_path)
    made.open_ledger = lambda _: ledger
    made.go_live()
    yield made
    ledger.close()


def approve(install: Workspace) -> tuple[Service, str]:
    """A sheet that a person approved."""
    service = install.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    return service, sheet_id


async def follow(install: Workspace, service: Service, task_id: str, *, looks: int = 6) -> TaskState:
    """What workers do in the next minutes; the state in the end."""
    for _ in range(looks):
        install.clock.time += 200
        await run_task(service.deps, task_id)
    task = service.deps.ledger().task(task_id)
    assert task is not None
    return task.state


async def test_a_claim_of_which_nobody_knows_is_never_sent(install: Workspace, wire: Wire) -> None:
    """It may be stored, so another attempt could pay twice: a person decides."""
    service, sheet_id = approve(install)
    task_id = submit(service.deps, sheet_id).report.task.id

    with pytest.raises(LedgerProblem):
        await run_task(overtaken(service, "claim", wire.arm), task_id)

    assert wire.cuts == 1
    assert service.deps.ledger().task(task_id).state is TaskState.SUBMITTING
    assert await follow(install, service, task_id) is TaskState.OUTCOME_UNKNOWN
    assert install.gateway.paid == []


async def test_an_answer_whose_commit_is_unknown_is_stored_once(install: Workspace, wire: Wire) -> None:
    """It is stored again until that is certain; the request goes out once."""
    service, sheet_id = approve(install)
    task_id = submit(service.deps, sheet_id).report.task.id
    install.gateway.replies = [accepted("job-1")]

    await run_task(overtaken(service, "advance", wire.arm), task_id)

    task = service.deps.ledger().task(task_id)
    assert wire.cuts == 1
    assert (task.state, task.gateway_task_id) == (TaskState.QUEUED, "job-1")
    assert len(install.gateway.paid) == 1


def test_a_spend_whose_commit_is_unknown_is_found_when_asked_again(install: Workspace, wire: Wire) -> None:
    """One sheet, one task, one reservation."""
    service, sheet_id = approve(install)

    # It asks again itself: the sheet turns out to be spent.
    answer = submit(overtaken(service, "spend", wire.arm), sheet_id)

    assert wire.cuts == 1
    tasks = service.deps.ledger().tasks()
    assert [task.sheet_id for task in tasks] == [sheet_id]
    assert answer.report.task.id == tasks[0].id
