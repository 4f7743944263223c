"""Any sequence of what people, gateways, clocks and crashes can do, held against a model that only counts.

The model knows nothing of the program's states. It counts complete paid requests at the gateway, remembers
what a person said, and adds up money by itself.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callsheet.core.consent import Means, Mode
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, Sheet, Task, TaskState
from callsheet.errors import CallsheetError, DownloadProblem, Fate, LinkGone
from callsheet.service import Draft, Service
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.results import fate_of
from callsheet.service.submission import submit
from workspace import KEY, Workspace, accepted, make_workspace, reply, status

SEEDS = (1,)
"""Run by `make test`. It reaches more end states than most others."""
MORE_SEEDS = range(2, 9)
"""Run by `make torture` only."""
EXAMPLES = 45
STEPS = 50
PROMPTS = ("A red kite over dunes.", "A paper boat in the rain.", "Two foxes under a lamp.")
CLIP = Clip("/clips/a.mp4", 5, "00" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")
VIDEO = {"file_url": "https://storage.example.com/v/clip.mp4", "file_type": "video"}
ENDED = {TaskState.SAVED, TaskState.REJECTED, TaskState.FAILED, TaskState.EXPIRED, TaskState.ABANDONED}
FOLLOWED = {TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.SAVED, TaskState.EXPIRED}
RELEASED = {TaskState.REJECTED, TaskState.ABANDONED}

# What a gateway does with a paid request, by what it means for the money.
AGAIN = ("unreachable", "limited")
REFUSING = ("refused", "no_credit")
TAKING = ("accepted", "lost", "timeout", "web_page", "error", "no_id", "crash", "late", "given_up")
# Some more of them in order, so that most examples get somewhere.
PAID_KINDS = ("accepted",) * 5 + TAKING + REFUSING + AGAIN
STATUS_KINDS = ("not_started", "running", "finished", "failed", "odd", "missing", "broken", "limited", "crash")
KEEPING = ("saved", "gone", "broken", "crash")
CAPS = ("0.24", "0.50", "1.00", "2.00", "none", "none")


class Crash(BaseException):
    """The process ends here and now: nothing after this line happens."""


@dataclass
class Count:
    """What has happened in all examples of a seed together, so that a proof of nothing is noticed."""

    steps: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    reached: Counter[TaskState] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Begin again with the next seed."""
        self.steps = 0
        for counter in (self.paid, self.reached, self.refused):
            counter.clear()


COUNT = Count()


class Production(RuleBasedStateMachine):
    """One install: its processes come and go, the gateway and the person do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.workspace: Workspace = make_workspace(Path(self.directory.name))
        self.workspace.gateway.on_request = self.answer
        self.caps = {"per_day": "1.00", "per_month": "3.00"}
        self.sheets: list[str] = []
        self.approved: set[str] = set()
        self.declined: set[str] = set()
        self.received: Counter[str] = Counter()
        self.closed: set[str] = set()
        self.delivered: dict[str, str] = {}
        self.ended: dict[str, TaskState] = {}
        self.complaints: list[str] = []
        self.paid_kind = self.status_kind = self.keep_kind = ""
        self.flip_at_balance = False
        self.jobs = 0
        self.mode = "live"
        self.go(self.mode)
        self.service: Service = self.start()

    # --- the surroundings ---------------------------------------------------------------------------

    def start(self) -> Service:
        """A new process on the same home, which takes over what the last one left."""
        service = self.workspace.service()
        object.__setattr__(service.deps, "clips", self)
        ledger = service.deps.ledger()
        for owner in ledger.owners():
            ledger.adopt(owner, service.deps.runner_id)
        return service

    def stop(self) -> None:
        """The process is gone, whatever it was doing."""
        self.runner.run(self.service.deps.http.__aexit__(None, None, None))
        self.service.deps.ledger().close()

    def go(self, mode: str) -> None:
        """The person writes the policy."""
        self.mode = mode
        caps = "\n".join(f'{name} = "{value}"' for name, value in self.caps.items())
        self.workspace.environ["POYO_API_KEY"] = KEY
        self.workspace.write_policy(f'mode = "{mode}"\n[caps]\nconcurrent = 4\n{caps}\n')

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let the program work; a crash ends its process and starts another."""
        try:
            self.runner.run(work)
        except Crash:
            self.stop()
            self.service = self.start()

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The gateway: it takes paid requests, tells states, and watches what may never happen."""
        path = request.url.path
        if request.method == "POST":
            return self.take(request)
        if path.startswith("/api/generate/status/"):
            return self.tell(path.rsplit("/", 1)[1])
        if path == "/api/user/balance" and self.flip_at_balance:
            self.flip_at_balance = False
            self.go("read-only")
        return reply({}, 404)

    def take(self, request: httpx2.Request) -> httpx2.Response:
        """A paid request has arrived."""
        sheet_id = request.headers["idempotency-key"].removeprefix("callsheet-")
        sheet = self.sheet(sheet_id)
        kind = self.paid_kind
        COUNT.paid[kind] += 1
        if kind != "unreachable":
            self.watch(sheet, request)
        if kind not in AGAIN:
            self.received[sheet_id] += 1
            self.closed.add(sheet_id)
        if kind == "unreachable":
            raise httpx2.ConnectError("refused")
        return PAID[kind](self, sheet)

    def watch(self, sheet: Sheet, request: httpx2.Request) -> None:
        """What must be true of every paid request at the moment it arrives."""
        rules = {
            "read-only, yet sent": self.mode == "live",
            "never approved": sheet.id in self.approved,
            "declined, yet sent": sheet.id not in self.declined,
            "sent after an end": sheet.id not in self.closed,
            "other bytes": request.content == sheet.body,
            "other key": request.headers["authorization"] == f"Bearer {KEY}",
            "approved under another policy": sheet.binding.policy == self.service.deps.policy().version,
        }
        self.complaints += [f"{sheet.id}: {what}" for what, holds in rules.items() if not holds]

    def job(self, sheet: Sheet) -> str:
        """A new job at the gateway, whose id is on its way to the program."""
        self.jobs += 1
        assert sheet.task_id is not None
        self.delivered[sheet.task_id] = f"job-{self.jobs}"
        return f"job-{self.jobs}"

    def after_the_deadline(self, sheet: Sheet, *, given_up: bool) -> httpx2.Response:
        """The answer takes so long that another process has closed the case, and perhaps a person too."""
        self.workspace.clock.time += 400
        other = self.workspace.service()
        assert sheet.task_id is not None
        task = other.deps.ledger().task(sheet.task_id)
        assert task is not None
        # What `run_task` does in another process; called without a loop of its own.
        expire(other, task)
        if given_up:
            resolve_task(other.deps, task.id, accepted_as=None)
        other.deps.ledger().close()
        return accepted(self.job(sheet))

    def tell(self, job: str) -> httpx2.Response:
        """A status read has arrived."""
        if self.status_kind == "crash":
            raise Crash
        return STATUS[self.status_kind](job)

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None, route: object) -> Clip:
        """Stands where clips are kept."""
        if self.keep_kind == "crash":
            raise Crash
        if self.keep_kind == "gone":
            raise LinkGone("gone", next_step="")
        if self.keep_kind == "broken":
            raise DownloadProblem("cut", next_step="")
        return CLIP

    def sheet(self, sheet_id: str) -> Sheet:
        """That sheet as the ledger has it."""
        found = self.service.deps.ledger().sheet(sheet_id)
        assert found is not None
        return found

    def tasks(self) -> list[Task]:
        """All tasks as the ledger has them."""
        return self.service.deps.ledger().tasks(limit=1000)

    # --- what can happen ----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Nothing has happened yet."""
        assert self.tasks() == []

    @rule(prompt=st.sampled_from(PROMPTS))
    def explain(self, prompt: str) -> None:
        """The agent drafts."""
        if self.mode == "live" and (sheet_id := self.draft(prompt)) is not None:
            self.sheets = [*(known for known in self.sheets if known != sheet_id), sheet_id][-8:]

    @precondition(lambda self: self.sheets)
    @rule(number=st.integers(0, 7))
    def approve(self, number: int) -> None:
        """The person says yes."""
        sheet_id = self.sheets[number % len(self.sheets)]
        try:
            self.service.approve(sheet_id, by=Means.TERMINAL)
        except CallsheetError as error:
            COUNT.refused[error.error_code] += 1
            return
        self.approved.add(sheet_id)

    @precondition(lambda self: self.sheets)
    @rule(number=st.integers(0, 7))
    def decline(self, number: int) -> None:
        """The person says no."""
        sheet_id = self.sheets[number % len(self.sheets)]
        try:
            self.service.decline(sheet_id)
        except CallsheetError:
            return
        self.declined.add(sheet_id)

    @precondition(lambda self: self.sheets)
    @rule(number=st.integers(0, 7))
    def submit(self, number: int) -> None:
        """The agent submits, rightly or wrongly."""
        self.try_submit(self.sheets[number % len(self.sheets)])

    @rule(
        prompt=st.sampled_from(PROMPTS),
        paid=st.sampled_from(PAID_KINDS),
        flip=st.sampled_from((False, False, False, True)),
    )
    def order(self, prompt: str, paid: str, flip: bool) -> None:
        """The person arms live mode if need be, agrees to a draft, it is submitted and sent."""
        if self.mode != "live":
            self.go("live")
        sheet_id = self.draft(prompt)
        if sheet_id is None:
            return
        try:
            self.service.approve(sheet_id, by=Means.TERMINAL)
        except CallsheetError as error:
            COUNT.refused[error.error_code] += 1
            return
        self.approved.add(sheet_id)
        self.try_submit(sheet_id)
        self.flip_at_balance = flip
        self.work(paid, "running", "saved", jump=True)
        self.flip_at_balance = False

    def draft(self, prompt: str) -> str | None:
        """The sheet of that shot; None while an earlier take has an unknown outcome."""
        found = self.service.explain(
            Draft(shot=Shot.of(prompt, duration_seconds=4), gateway="poyo", model="sora-2-official")
        )
        assert (found.sheet is None) == (found.status == "held")
        if found.sheet is None:
            assert any(task.state is TaskState.OUTCOME_UNKNOWN for task in self.tasks())
            return None
        return found.sheet.id

    def try_submit(self, sheet_id: str) -> None:
        """Submit; a new task must be covered by consent, mode and caps."""
        before = self.tasks()
        try:
            answer = submit(self.service.deps, sheet_id)
        except CallsheetError as error:
            COUNT.refused[error.error_code] += 1
            assert len(self.tasks()) == len(before)
            return
        if answer.status == "waiting" and not answer.again:
            assert answer.report is not None
            assert self.mode == "live"
            assert sheet_id in self.approved
            assert sheet_id not in self.declined
            self.check_caps(before, answer.report.task)

    def check_caps(self, before: list[Task], new: Task) -> None:
        """What was reserved or spent since midnight and since the first of the month, and the new one, fit the caps."""
        now = self.workspace.clock.now()
        midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        assert new.reserve_micros == 240_000
        for name, start in (("per_day", midnight), ("per_month", midnight.replace(day=1))):
            counted = [t for t in before if t.created_at >= start.timestamp() and t.state not in RELEASED]
            total = Decimal(sum(task.reserve_micros for task in counted) + new.reserve_micros) / 1_000_000
            assert self.caps[name] == "none" or total <= Decimal(self.caps[name]), name

    @rule(
        paid=st.sampled_from(PAID_KINDS),
        reported=st.sampled_from((*STATUS_KINDS, "finished", "finished")),
        kept=st.sampled_from((*KEEPING, "saved")),
        jumps=st.integers(0, 6),
        flip=st.sampled_from((False, False, False, True)),
    )
    def run_due(self, paid: str, reported: str, kept: str, jumps: int, flip: bool) -> None:
        """What is due is done, and the gateway answers like this; perhaps the next due times come first."""
        self.flip_at_balance = flip
        for _ in range(max(jumps, 1)):
            self.work(paid, reported, kept, jump=jumps > 0)
        self.flip_at_balance = False

    def work(self, paid: str, reported: str, kept: str, *, jump: bool) -> None:
        """One round of a runner."""
        self.paid_kind, self.status_kind, self.keep_kind = paid, reported, kept
        deps = self.service.deps
        due_at = deps.ledger().next_due(deps.runner_id)
        if jump and due_at is not None:
            self.workspace.clock.time = max(self.workspace.clock.time, due_at)
        for task_id in deps.ledger().due(deps.runner_id, now=self.workspace.clock.now(), limit=20):
            self.run(run_task(self.service.deps, task_id))

    @rule(seconds=st.sampled_from((1.0, 200.0, 3_700.0, 90_000.0, 40 * 86_400.0, -30.0, -200.0, -3_700.0, -90_000.0)))
    def clock_jumps(self, seconds: float) -> None:
        """Time passes, or the clock is set, forwards or back."""
        self.workspace.clock.time += seconds

    @rule(mode=st.sampled_from(("live", "live", "read-only")), day=st.sampled_from(CAPS), month=st.sampled_from(CAPS))
    def policy_changes(self, mode: str, day: str, month: str) -> None:
        """The person changes the caps, forbids everything, or arms live mode again."""
        self.caps = {"per_day": day, "per_month": month}
        self.go(mode)

    @rule()
    def restart(self) -> None:
        """The process ends and another begins."""
        self.stop()
        self.service = self.start()

    @rule(was_accepted=st.booleans())
    def resolve(self, was_accepted: bool) -> None:
        """A person says what became of the oldest task of unknown outcome."""
        open_ones = [task for task in self.tasks() if task.state is TaskState.OUTCOME_UNKNOWN]
        if open_ones:
            name = None
            if was_accepted:
                self.jobs += 1
                name = f"found-{self.jobs}"
                self.delivered[open_ones[-1].id] = name
            resolve_task(self.service.deps, open_ones[-1].id, accepted_as=name)

    # --- what must always be true ---------------------------------------------------------------------

    @invariant()
    def nothing_improper_was_sent(self) -> None:
        """Each paid request was allowed when it arrived."""
        COUNT.steps += 1
        assert self.complaints == []

    @invariant()
    def an_approval_buys_once(self) -> None:
        """At most one complete request that may cost money for each sheet."""
        assert [sheet_id for sheet_id, count in self.received.items() if count > 1] == []

    @invariant()
    def no_accepted_task_is_without_its_id(self) -> None:
        """An answer that came is in the ledger, and whatever is followed has an id."""
        for task in self.tasks():
            if task.state in FOLLOWED or task.state is TaskState.FAILED:
                assert task.gateway_task_id
            if task.id in self.delivered:
                assert task.gateway_task_id == self.delivered[task.id]

    @invariant()
    def ends_are_final(self) -> None:
        """A task never leaves an end; a sheet never has two tasks."""
        tasks = self.tasks()
        for task in tasks:
            if task.id in self.ended:
                assert task.state is self.ended[task.id]
            if task.state in ENDED:
                self.ended[task.id] = task.state
        assert len({task.sheet_id for task in tasks}) == len(tasks)

    @invariant()
    def what_is_counted_as_spent_is_what_is_in_the_ledger(self) -> None:
        """No reservation is lost or counted twice."""
        spending = self.service.deps.ledger().spending(Mode.LIVE, (0.0, 0.0))
        counted = sum(
            task.reserve_micros
            for task in self.tasks()
            if task.state not in RELEASED or (task.state is TaskState.ABANDONED and fate_of(task) is Fate.UNKNOWN)
        )
        assert spending.this_month * 1_000_000 == counted

    def teardown(self) -> None:
        """The home goes."""
        COUNT.reached.update(task.state for task in self.tasks())
        self.stop()
        self.runner.close()
        self.directory.cleanup()


def expire(service: Service, task: Task) -> None:
    """Another process finds the task after its deadline."""
    from callsheet.service.outcomes import expire_attempt

    expire_attempt(service.deps, task)


def _crash(_: Production, __: Sheet) -> httpx2.Response:
    raise Crash


def _raise(error: Exception) -> Callable[[Production, Sheet], httpx2.Response]:
    def play(_: Production, __: Sheet) -> httpx2.Response:
        raise error

    return play


PAID: dict[str, Callable[[Production, Sheet], httpx2.Response]] = {
    "accepted": lambda machine, sheet: accepted(machine.job(sheet)),
    "lost": _raise(httpx2.ReadError("reset")),
    "timeout": _raise(httpx2.ReadTimeout("silence")),
    "web_page": lambda _, __: httpx2.Response(200, content=b"<html>"),
    "error": lambda _, __: reply({"code": 500}, 500),
    "no_id": lambda _, __: reply({"code": 200, "data": {}}),
    "crash": _crash,
    "late": lambda machine, sheet: machine.after_the_deadline(sheet, given_up=False),
    "given_up": lambda machine, sheet: machine.after_the_deadline(sheet, given_up=True),
    "refused": lambda _, __: reply({"code": 400}, 400),
    "no_credit": lambda _, __: reply({"code": 402}, 402),
    "limited": lambda _, __: reply({"code": 429}, 429, **{"retry-after": "7"}),
}
STATUS: dict[str, Callable[[str], httpx2.Response]] = {
    "not_started": lambda job: status("not_started", task_id=job),
    "running": lambda job: status("running", task_id=job, progress=40),
    "finished": lambda job: status("finished", task_id=job, files=[VIDEO]),
    "failed": lambda job: status("failed", task_id=job, error_message="no"),
    "odd": lambda job: status("polishing", task_id=job),
    "missing": lambda _: reply({"detail": "Task not found"}, 404),
    "broken": lambda _: httpx2.Response(200, content=b"<html>"),
    "limited": lambda _: reply({"code": 429}, 429),
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [*SEEDS, *(pytest.param(more, marks=pytest.mark.torture) for more in MORE_SEEDS)])
def test_no_sequence_of_events_buys_twice_breaks_a_cap_or_loses_a_task(number: int) -> None:
    """More than a thousand steps of everything, in any order, from one seed."""
    from hypothesis.stateful import run_state_machine_as_test

    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    COUNT.reset()
    run_state_machine_as_test(seed(number)(Production), settings=how)

    print(COUNT)  # noqa: T201 - `pytest -s` shows what happened
    assert COUNT.steps >= 1000
    # So that it is a proof of something: the program was mostly at work, not mostly forbidden to work.
    assert COUNT.paid.total() >= 30
    ends = {TaskState.SAVED, TaskState.FAILED, TaskState.REJECTED, TaskState.ABANDONED, TaskState.OUTCOME_UNKNOWN}
    assert len(ends & set(COUNT.reached)) >= (3 if number in SEEDS else 2)
    assert COUNT.refused["policy_refusal"] >= 5
