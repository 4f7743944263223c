"""The use cases, for every surface: explain, submit, approve, decline, follow, resolve, list.

The composition root gives a `Service` to each surface. It holds no state of its own: the ledger is the truth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from decimal import Decimal

import anyio
import anyio.to_thread

from callsheet.core.audit import AuditEntry, AuditVerdict
from callsheet.core.consent import Means, Mode, Policy, Spending
from callsheet.core.sent import SentRequest
from callsheet.core.shot import JsonValue, OwnFile
from callsheet.core.spending import Allowance
from callsheet.core.tasks import OPEN_STATES, Pruned, PruneLimits, Sheet, SheetState, Task, TaskState
from callsheet.errors import Action, CallsheetError, NextStep, NotApproved, UnknownThing

from . import allowances, blockers, consent, drafts, export, lifecycle, polling, results, sealed_keys, submission
from .approval import forward, questions
from .approval.desk import DeskOnDemand
from .approval.forward import OnWait
from .approval.questions import Answer, Question
from .dependencies import Dependencies
from .drafts import Draft
from .lifecycle import LOOK_AGAIN_SECONDS, STOP_GRACE_SECONDS, SandboxServer
from .passphrases import count_try
from .ports import BuildRunner, Leases, TaskRunner
from .queries import Queries
from .results import WAIT_SECONDS, Explanation, Submission, TaskReport

SUBMIT_WAIT_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""After the wait for a person; clients give a call up after 60 s."""


class Service(Queries):
    """The use cases over one set of dependencies."""

    def __init__(
        self,
        deps: Dependencies,
        leases: Leases,
        sandbox: SandboxServer,
        build_runner: BuildRunner,
        serve_desk: Callable[..., Awaitable[None]],
    ) -> None:
        super().__init__(deps)
        self._desk = DeskOnDemand(deps, lambda on_open: serve_desk(self, port=0, on_open=on_open))
        self.stop_grace_seconds = STOP_GRACE_SECONDS
        self._leases = leases
        self._sandbox = sandbox
        self._build_runner = build_runner
        self._reading: anyio.CapacityLimiter | None = None

    def explain(self, draft: Draft) -> Explanation:
        """What would be sent, what is wrong with it, what it costs; see `drafts.explain`."""
        with self.together():
            return drafts.explain(self.deps, draft)

    async def keep_pictures(self, draft: Draft) -> Draft:
        """The draft with its pictures read, in a thread, so that nothing else waits; see `drafts.keep_pictures`."""
        if draft.shot is None or not draft.shot.inputs:
            return draft
        if self._reading is None:
            self._reading = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(drafts.keep_pictures, self.deps, draft, limiter=self._reading)

    def question(self, *sheet_ids: str, ask_again: bool = False) -> Question | None:
        """What to ask a person in their client before these sheets may be spent, if anything; see `question_for`."""
        return questions.question_for(self.deps, sheet_ids, ask_again=ask_again)

    def approve_typed(
        self, *sheet_ids: str, typed: str, by: Means, ask_again: bool = False, asked: Question | None = None
    ) -> list[Sheet]:
        """Approve if the amount typed by a person is the amount shown, and send what is put forward."""
        approved = questions.approve_typed(self.deps, sheet_ids, typed=typed, by=by, ask_again=ask_again, asked=asked)
        return [self._release(sheet) for sheet in approved]

    def put_forward(self, *sheet_ids: str) -> list[Submission]:
        """Submit sheets without waiting, so that an approval from now on sends them; see `forward.put_forward`."""
        return forward.put_forward(self.deps, sheet_ids)

    def keep_answer(self, *sheet_ids: str, answer: Answer) -> NotApproved:
        """Store what came back for a form, other than an amount; the error that says what it means."""
        return questions.keep_answer(self.deps, sheet_ids, answer)

    def approve(self, sheet_id: str, *, by: Means, evidence: Mapping[str, str] = {}) -> Sheet:
        """Record consent that the surface has verified. If the sheet is put forward this sends it: it has a task."""
        return self._release(consent.approve(self.deps, sheet_id, by=by, evidence=evidence))

    def _release(self, sheet: Sheet) -> Sheet:
        released = forward.release(self.deps, sheet)
        self.deps.changes.notify()
        return released

    def approval_text(self, sheet_id: str) -> str:
        """What a person who is about to agree is shown, rendered now from the bytes; raises as `approvable`."""
        return consent.approval_text(self.deps, sheet_id)

    def whole_prompt(self, sheet_id: str) -> str:
        """All of a prompt that the text for the person cuts off; see `consent.whole_prompt`."""
        return consent.whole_prompt(self.deps, sheet_id)

    def sheet(self, sheet_id: str) -> Sheet:
        """That sheet; raises `UnknownThing`."""
        return consent.need_sheet(self.deps, sheet_id)

    def own_files(self, sheet: Sheet) -> list[OwnFile]:
        """The pictures of the person's own in a sheet; see `consent.own_files`."""
        return consent.own_files(self.deps, sheet)

    def read_own_file(self, file: OwnFile) -> bytes:
        """Such a picture as it would be uploaded; raises `InvalidRequest`."""
        return self.deps.pictures.read(file.url)

    def sheets(self, states: Sequence[SheetState], *, limit: int = 50) -> list[Sheet]:
        """Sheets in those states, the newest first."""
        return self.deps.ledger().sheets(states, limit=limit)

    def approvable(self, sheet_id: str, *others: str) -> Sheet:
        """That sheet if it can be approved as it stands, together with the others; see `forward.require_approvable`."""
        return forward.require_approvable(self.deps, [sheet_id, *others])[0]

    def decline(self, sheet_id: str, *, by: Means = Means.TERMINAL) -> Sheet:
        """Record a person's no."""
        return consent.decline(self.deps, sheet_id, by=by)

    def allow(
        self,
        models: tuple[str, ...],
        *,
        clips: int,
        up_to: Decimal,
        seconds: float,
        by: Means,
        evidence: Mapping[str, str] = {},
    ) -> Allowance:
        """Create an allowance; the surface has verified that a person does. See `allowances.draft`."""
        terms = allowances.draft(self.deps, models, clips=clips, up_to=up_to, seconds=seconds, by=by)
        return self.deps.ledger().consent.add_allowance(terms, evidence)

    def allowable(self, models: tuple[str, ...], *, clips: int, up_to: Decimal, seconds: float) -> Policy:
        """The policy under which such an allowance could be created now; see `allowances.allowable`."""
        return allowances.allowable(self.deps, models, clips=clips, up_to=up_to, seconds=seconds)

    def require_policy(self, version: str) -> None:
        """Refuse terms that were shown under another policy than the one in force."""
        allowances.require_policy(self.deps, version)

    def allowances(self, *, only_open: bool = False) -> list[Allowance]:
        """Allowances, newest first."""
        return allowances.allowances(self.deps, only_open=only_open)

    def allowance_end(self, allowance: Allowance) -> str | None:
        """Why an allowance covers nothing any more; None while it may."""
        return allowances.ended(self.deps, allowance)

    def revoke(self, allowance_id: str, *, by: Means) -> Allowance:
        """End an allowance now."""
        return allowances.revoke(self.deps, allowance_id, by=by)

    def spending(self, mode: Mode | None = None) -> Spending:
        """What is reserved or spent today and this month (UTC), in that mode; in the policy's without one."""
        return blockers.spending_now(self.deps, mode or self.policy.mode)

    def audit(self, *, limit: int = 100) -> list[AuditEntry]:
        """The latest entries of the audit trail, newest first."""
        return self.deps.ledger().consent.entries(limit=limit)

    def verify_audit(self) -> AuditVerdict:
        """Whether the audit trail is as it was written, signatures included, and has a consent for each live spend."""
        return consent.verify_audit(self.deps)

    def record_audit(self, action: str, subject: str, *, actor: str, detail: Mapping[str, str] | None = None) -> None:
        """Add a person's act that is no approval (a key sealed, a passkey added) to the audit trail."""
        self.deps.ledger().consent.record(action, subject, actor=actor, now=self.now(), detail=detail)

    def find_task(self, task_id: str) -> Task | None:
        """That task without a report on it; None where there is none."""
        return self.deps.ledger().task(task_id)

    def task(self, task_id: str) -> TaskReport:
        """Where that task is; raises `UnknownThing`."""
        with self.together():
            task = self.find_task(task_id)
            if task is None:
                raise UnknownThing("There is no task with that id.", next_step=NextStep(Action.LIST))
            return results.report_tasks(self.deps, [task])[0]

    def tasks(self, *, only_open: bool = False, limit: int = 20, offset: int = 0) -> list[TaskReport]:
        """Tasks, those of unknown outcome first, then the newest."""
        states = (TaskState.OUTCOME_UNKNOWN, *OPEN_STATES) if only_open else None
        with self.together():
            found = self.deps.ledger().tasks(states=states, limit=limit, offset=offset)
            return results.report_tasks(self.deps, found)

    def task_records(self, *, limit: int = export.ALL) -> list[Task]:
        """Tasks without reports, in the same order."""
        return self.deps.ledger().tasks(limit=limit)

    def pending(self) -> list[Sheet]:
        """Sheets that wait for a person and hold; where a key is sealed also those agreed to and not sent."""
        with self.together():
            unsent = sealed_keys.unsent_sheets(self.deps, is_alive=self._leases.is_alive)
            return [*(sheet for sheet in self.asked() if not consent.find_void(self.deps, sheet)), *unsent]

    def resolve(
        self, task_id: str, *, accepted_as: str | None, by: Means = Means.TERMINAL, evidence: Mapping[str, str] = {}
    ) -> Task:
        """A person says what became of a task of unknown outcome; `evidence` is what proves who said it."""
        return polling.resolve_task(self.deps, task_id, accepted_as=accepted_as, by=by, proof=evidence)

    def accept_ledger(self, agree: Callable[[Sequence[SentRequest]], object]) -> Sequence[SentRequest]:
        """A person goes on with an older ledger; see `polling.accept_ledger`."""
        return polling.accept_ledger(self.deps, agree)

    def export(self, *, since: float | None = None) -> dict[str, JsonValue]:
        """All sheets and tasks for people's own books; see `export.export`."""
        return export.export(self.deps, since=since)

    def receipt(self, task_id: str) -> dict[str, JsonValue]:
        """One clip's receipt; see `export.receipt`."""
        return export.receipt(self.deps, task_id)

    def prune_limits(self, older_than_seconds: float) -> PruneLimits:
        """What is older than that now; what counts against this month's caps is kept whatever its age."""
        now = self.deps.clock.now()
        _, month_start = blockers.spending_windows(now)
        return PruneLimits(before=now - older_than_seconds, now=now, month_start=month_start)

    def prune(self, limits: PruneLimits, *, dry_run: bool = False) -> Pruned:
        """Remove what is old: ended tasks, sheets, kept pictures; or only count them. See `lifecycle.prune`."""
        return lifecycle.prune(self.deps, limits, dry_run=dry_run)

    def hand_over(self, *, starts: bool = True) -> NextStep | None:
        """What follows the open tasks when the program ends, and what to say of it; see `lifecycle.hand_over`."""
        return lifecycle.hand_over(self.deps, self._leases, starts=starts)

    def is_due(self, task: Task) -> bool:
        """Whether a look at that open task is due and no process follows it."""
        return task.state in OPEN_STATES and task.next_at <= self.now() and not self.deps.is_followed()

    @property
    def key_generation(self) -> int:
        """A number that changes when a sealed key is opened or forgotten in this process."""
        return self.deps.opened.generation

    def is_sealed(self, gateway_id: str) -> bool:
        """Whether that gateway's key is sealed: it then pays only through `approve_and_send`."""
        return self.deps.is_sealed(gateway_id)

    def needs_passphrase(self, sheet_id: str) -> bool:
        """Whether a sealed key must be opened to send that sheet, which was not sent yet."""
        return sealed_keys.needs_passphrase(self.deps, sheet_id)

    def sendable(self, sheet_id: str) -> Sheet:
        """That sheet if it could be sent now with its sealed key open; a sheet spent and never sent counts."""
        return sealed_keys.sendable(self.deps, sheet_id)

    def sending_text(self, sheet_id: str) -> str:
        """What a person is shown before they have such a sheet sent; raises as `sendable`."""
        return sealed_keys.sending_text(self.deps, sheet_id)

    def opens(self, gateway_id: str, passphrase: str) -> bool:
        """Whether that passphrase opens the gateway's sealed key; nothing is kept open."""
        return sealed_keys.opens(self.deps, gateway_id, passphrase)

    def count_try(self, is_right: Callable[[], bool]) -> bool:
        """Whether a passphrase typed at a terminal is right; see `passphrases.count_try`."""
        return count_try(self.deps, is_right)

    def held(self) -> list[Task]:
        """Open tasks that wait for somebody to open a sealed key."""
        return sealed_keys.locked_tasks(self.deps, is_alive=self._leases.is_alive)

    def unlock(
        self, gateway_id: str, passphrase: str, *, wanted: Collection[str] = (), by: Means = Means.TERMINAL
    ) -> int:
        """Open a sealed key to follow the tasks that wait for it, and those `wanted` by id; how many were taken over.

        Needs `running`. Raises `NotApproved` for a wrong passphrase. The key is forgotten when the last of
        them has ended.
        """
        taken = sealed_keys.unlock(self.deps, gateway_id, passphrase, is_alive=self._leases.is_alive, wanted=wanted)
        self.record_audit("key_opened", gateway_id, actor=by.value, detail={"tasks": str(taken)})
        return taken

    async def submit(self, sheet_id: str, *, wait_seconds: float = SUBMIT_WAIT_SECONDS) -> Submission:
        """Spend an approved sheet; waits a little for the gateway's answer. Needs `running`."""
        result = forward.submit_one(self.deps, sheet_id)
        if result.report is None:
            return result
        return result.followed(await self._wait_for_answer(result.report, wait_seconds))

    async def submit_together(
        self,
        sheet_ids: Sequence[str],
        *,
        wait_seconds: float = WAIT_SECONDS,
        on_wait: OnWait | None = None,
        opens_desk: bool = False,
    ) -> list[Submission]:
        """Put one to six sheets forward, wait for the person, and return their tasks; see `forward.submit_and_wait`.

        With `opens_desk` a desk is opened if there is none. Needs `running`.
        """
        began = anyio.current_time()
        open_desk = self.open_desk if opens_desk else None
        found = await forward.submit_and_wait(self.deps, sheet_ids, wait_seconds, open_desk=open_desk, on_wait=on_wait)
        end = max(began + SUBMIT_WAIT_SECONDS, anyio.current_time() + ANSWER_SECONDS)
        return [
            item.followed(await self._wait_for_answer(item.report, end - anyio.current_time())) if item.report else item
            for item in found
        ]

    async def _wait_for_answer(self, report: TaskReport, wait_seconds: float) -> TaskReport:
        """Wait until the gateway answered, or it is known why it was not asked."""
        sealed_keys.take_unfollowed(self.deps, report.task, is_alive=self._leases.is_alive)
        return await self.wait_for(report.task.id, wait_seconds=wait_seconds, until=forward.is_answered)

    def cancel(self, target: str) -> None:
        """Withdraw a sheet or task that was not sent; see `forward.cancel`."""
        forward.cancel(self.deps, target)

    async def open_desk(self) -> str | None:
        """The address of the desk, which is opened if it is not; see `DeskOnDemand`. Needs `running`."""
        return await self._desk.open()

    async def approve_and_send(
        self, sheet_id: str, *, passphrase: str, by: Means, wait_seconds: float = SUBMIT_WAIT_SECONDS
    ) -> Submission:
        """Open the sealed key of a sheet, approve the sheet and send it, once. Needs `running`.

        A sheet that was approved and spent but never sent is sent now. Raises `NotApproved` for a wrong passphrase and
        what `approve` and `submit` raise; the permit is then withdrawn, and nothing was sent.
        """
        sheet = await sealed_keys.permit(self.deps, sheet_id, passphrase)
        try:
            if sheet.state in (SheetState.APPROVED, SheetState.SPENT):
                # What the ledger held of an approval did not count; this act does, so it is in the trail as well.
                detail = {"task": sheet.task_id or "", "digest": sheet.binding.digest}
                self.record_audit("agreed_again", sheet_id, actor=by.value, detail=detail)
            if sheet.task_id is None:
                self.approve(sheet_id, by=by)
                submission.submit(self.deps, sheet_id)
            sealed_keys.claim_for_sending(self.deps, sheet_id)
        except CallsheetError:
            sealed_keys.withdraw(self.deps, sheet_id)
            raise
        result = await self.submit(sheet_id, wait_seconds=wait_seconds)
        return result if result.report is None else replace(result, again=False).followed(result.report)

    @property
    def is_sending(self) -> bool:
        """Whether a paid request of this process is on its way."""
        return bool(self.deps.sending)

    async def wait_for_change(self, seconds: float) -> None:
        """Return at the next change that this process knows of, or after that time."""
        await self.deps.changes.wait(seconds)

    async def wait_for(
        self,
        task_id: str,
        *,
        wait_seconds: float,
        until: Callable[[Task], bool] = lambda task: task.state not in OPEN_STATES,
        on_report: Callable[[TaskReport], object] | None = None,
    ) -> TaskReport:
        """Report a task, after waiting at most `wait_seconds` (bounded) until it is where it should be.

        `on_report` is called with every report, for progress; an awaitable that it returns is awaited.
        """
        deadline = anyio.current_time() + min(max(wait_seconds, 0.0), WAIT_SECONDS)
        while True:
            report = self.task(task_id)
            if on_report is not None:
                answer = on_report(report)
                if hasattr(answer, "__await__"):
                    await answer
            left = deadline - anyio.current_time()
            if until(report.task) or left <= 0:
                return report
            await self.deps.changes.wait(min(left, LOOK_AGAIN_SECONDS))

    def running(self) -> AbstractAsyncContextManager[TaskRunner]:
        """Follow tasks while the block runs; see `lifecycle.run`."""
        runner = self._build_runner(lambda task_id: polling.run_task(self.deps, task_id))
        beside = lifecycle.Beside(self._leases, self._sandbox, self._desk)
        return lifecycle.run(self.deps, runner, beside, grace_seconds=lambda: self.stop_grace_seconds)


__all__ = ["Answer", "Draft", "Explanation", "Question", "Service", "Submission", "TaskReport"]
