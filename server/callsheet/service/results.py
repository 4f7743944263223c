"""What the use cases answer: plain values that every surface shows in its own way.

`notice` comes first in every answer: in the sandbox it says that this is a rehearsal, that nothing is charged
and who can switch to live mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.prices import Price, dollars, from_micros
from callsheet.core.consent import Mode
from callsheet.core.delivery import find_differences, format_differences
from callsheet.core.gateway.refusals import ADVICE, NO_REASON_GIVEN, Reason, read_reason
from callsheet.core.payload.body import Body, Finding
from callsheet.core.poll_schedule import is_overdue
from callsheet.core.shot import OwnFile, Scalar, Shot
from callsheet.core.tasks import OPEN_STATES, Problem, Sheet, Task, TaskState, exceeds_declared
from callsheet.errors import FATE_SENTENCES, Action, CallsheetError, Fate, KeyProblem, NextStep

from .catalogue.ranking import Option
from .dependencies import KEY_RETURNED, KEY_SEALED, Dependencies, card_of, clip_seconds_of

WAIT_SECONDS = 45
"""How long an answer about a task may wait for its end, below the minute after which clients give a call up."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a sheet would be refused: a stable code, the refusal itself, and who or what can lift it.

    A rehearsal goes on where `refuses` is false: only the live submission would be refused.
    """

    code: str
    error: CallsheetError
    lifted_by: str
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to an explain call. `status`: `ready`, `blocked`, `held`, `invalid` or `choose` (see `options`).

    For `ready` and `blocked` there is a `sheet`; for `blocked` it would be refused now, for all that `blocked` names.
    For `held` an earlier take has an unknown outcome. For `invalid` the body is the corrected form. `options` are the
    best of the `fitting` that can take the shot, `rest` is a sentence on the others; `nearest` is what comes nearest
    where none can.
    `chosen` are the values that the shot leaves open, as the card fills them. `files` are the person's own among the
    inputs, by the name that stands for each in the shot and the body.
    """

    status: str
    notice: str
    what: str
    findings: tuple[Finding, ...]
    prompt_notes: tuple[str, ...]
    next_step: NextStep
    mode: Mode
    card: ModelCard | None = None
    shot: Shot | None = None
    method: str = ""
    url: str = ""
    curl: str = ""
    body: Body | None = None
    price: Price | None = None
    options: tuple[Option, ...] = ()
    rest: str = ""
    fitting: int = 0
    nearest: Option | None = None
    chosen: tuple[tuple[str, Scalar], ...] = ()
    sheet: Sheet | None = None
    earlier: str = ""
    blocked: tuple[Blocker, ...] = ()
    files: Mapping[str, OwnFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task: what its state means, whether money was spent, what to do next, what of its clip is not as ordered."""

    task: Task
    prompt: str
    status_text: str
    fate: str
    notice: str
    next_step: NextStep
    findings: tuple[Finding, ...] = ()
    clip_at: str | None = None
    sheet: Sheet | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submit call. `status` is where the submission is: `approval_needed`, or see `submission_state`.

    For `approval_needed`, `next_step` is the approval. `again` is whether the sheet was spent before this call.
    `covered_by` names the allowance that was used, if any. `why` says which act of a person is needed. `error` is what
    prevented it, where sheets that were submitted together got further.
    """

    status: str
    notice: str
    next_step: NextStep
    report: TaskReport | None = None
    again: bool = False
    approval_text: str = ""
    covered_by: str = ""
    sheet_id: str = ""
    why: str = ""
    error: CallsheetError | None = None

    @property
    def needs_person(self) -> bool:
        """Whether it waits for a person's approval."""
        return self.report is None and self.error is None

    def followed(self, report: TaskReport) -> Submission:
        """The same answer with what became of the task meanwhile."""
        words = " ".join(part for part in (self.covered_by, report.notice) if part)
        state = submission_state(report.task, again=self.again)
        return replace(self, status=state, notice=words, next_step=report.next_step, report=report)


def submission_state(task: Task, *, again: bool = False) -> str:
    """What became of a submission in one word; `again` for a sheet that was spent before."""
    match task.state:
        case TaskState.WAITING | TaskState.SUBMITTING:
            return "waiting"
        case TaskState.REJECTED:
            return "refused"
        case TaskState.ABANDONED if fate_of(task) is Fate.NOTHING_SENT:
            return "blocked"
        case TaskState.ABANDONED | TaskState.OUTCOME_UNKNOWN if not task.gateway_task_id:
            return "outcome_unknown"
        case _:
            return "already_accepted" if again else "accepted"


def notice(deps: Dependencies, mode: Mode) -> str:
    """The first sentence of an answer, given the mode of its subject."""
    if deps.policy().paused:
        return "PAUSED: a person stopped all submissions; tasks under way are followed to their end."
    if mode is Mode.LIVE:
        return "LIVE: submitting costs real money."
    if mode is Mode.READ_ONLY:
        return "Read-only: nothing can be submitted."
    keys = [facts.key_env for facts in deps.catalogue().gateways if _has_key(deps, facts.id)]
    unused = f" A key is set ({', '.join(keys)}) but live mode was never armed, so it is not used." if keys else ""
    return f"Sandbox rehearsal: nothing reaches a real gateway and nothing is charged.{unused} {deps.go_live}"


def _has_key(deps: Dependencies, gateway_id: str) -> bool:
    try:
        return bool(deps.account(deps.facts(gateway_id)))
    except KeyProblem:
        # Malformed, but set; the diagnostics report what is wrong with it.
        return True


def iso(seconds: float | None) -> str | None:
    """A time in UTC: `2026-11-21T09:30:00Z`."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def report_tasks(deps: Dependencies, tasks: Sequence[Task]) -> list[TaskReport]:
    """Tasks with all that an answer says about them. What those of one mode share is found once."""
    with (ledger := deps.ledger()).together():
        notices = {mode: notice(deps, mode) for mode in {task.mode for task in tasks}}
        sheets = ledger.sheets_of(tasks)
        return [_report(deps, task, sheets.get(task.sheet_id), notices[task.mode]) for task in tasks]


def _report(deps: Dependencies, task: Task, sheet: Sheet | None, said_first: str) -> TaskReport:
    findings, prompt = find_differences(sheet, task), sheet.shot.prompt if sheet else ""
    step = _next_step(deps, task, findings)
    said = status_text(task), fate_of(task).value, said_first
    return TaskReport(task, prompt, *said, step, findings, deps.clip_at(task), sheet)


NO_KEY = "no_key"
NO_FILE_NAMED = "no_file_named"
UNRECOGNISED_STATE = "unrecognised_state"
STATE_OVERDUE = "state_overdue"
OTHER_TASK_NAMED = "other_task_named"
JOB_FORGOTTEN = "job_forgotten"
CONTENT_MISSING = "content_missing"
CERTAINLY_ODD = (JOB_FORGOTTEN, CONTENT_MISSING)  # a person need not wait before they look
UNCLEAR_STATES = frozenset({NO_FILE_NAMED, UNRECOGNISED_STATE, STATE_OVERDUE, OTHER_TASK_NAMED, KEY_RETURNED})
"""Codes of problems in which the gateway answers, but does not say what became of the task."""

QUOTED_APART = "its reason is quoted apart"


def _without_quotes(task: Task) -> Task:
    """The same without any of the gateway's own words; the HTTP status of a refusal stays."""
    if task.problem is None or not task.problem.said:
        return task
    status = task.problem.http_status
    apart = QUOTED_APART if not status or 200 <= status <= 299 else f"HTTP {status}, {QUOTED_APART}"
    return replace(task, problem=replace(task.problem, message=apart), said=QUOTED_APART)


def status_text(task: Task, *, quoting: bool = True) -> str:
    """Where the task is, and what hints there are; not `quoting`, without any of the gateway's own words."""
    return " ".join(filter(None, (_state_text(task if quoting else _without_quotes(task)), task.hints)))


def _state_text(task: Task) -> str:
    percent = f" {task.percent} %" if task.percent is not None else ""
    code = task.problem.code if task.problem else ""
    problem = f" ({task.problem.message.rstrip('.')})" if task.problem else ""
    match task.state:
        case TaskState.QUEUED | TaskState.RUNNING if code == NO_FILE_NAMED:
            return "The gateway says that it is finished, but names no video."
        case TaskState.QUEUED | TaskState.RUNNING if code == STATE_OVERDUE:
            return (
                "Twice the usual time has passed, and the gateway's word for the state is not known"
                f" (said: {task.said})."
            )
        case TaskState.WAITING:
            return f"Approved, not sent yet{problem}."
        case TaskState.SUBMITTING:
            return "The request is on its way to the gateway."
        case TaskState.QUEUED:
            return f"Accepted by the gateway, in its queue{percent}{problem}."
        case TaskState.RUNNING:
            said = f" (said: {task.said})" if code == UNRECOGNISED_STATE else ""
            return f"Generating{percent}{said or problem}."
        case TaskState.SUCCEEDED:
            return f"Generated; the clip is being saved{problem}."
        case TaskState.SAVED:
            return "The clip is on disk."
        case _:
            return _ended_text(task)


def _ended_text(task: Task) -> str:
    detail = task.problem.message.rstrip(".") if task.problem else ""
    match task.state:
        case TaskState.REJECTED:
            return f"The gateway refused it: {detail}."
        case TaskState.FAILED:
            return f"The gateway accepted it, then failed: {detail}."
        case TaskState.EXPIRED:
            return "The clip was generated, but the gateway's link to it expired before it was saved."
        case TaskState.OUTCOME_UNKNOWN:
            why = f" ({detail})" if detail else ""
            named = f" Its reply names task {found}, which proves nothing." if (found := _untrusted_id(task)) else ""
            return f"Whether the gateway accepted it is not known{why}. It is never sent again automatically.{named}"
        case _:
            return f"Given up: {detail}." if detail else "Given up by a person."


def _untrusted_id(task: Task) -> str:
    return task.problem.untrusted_task_id if task.problem else ""


def fate_of(task: Task) -> Fate:
    """What became of the task's request and money."""
    if task.state is TaskState.WAITING:
        return Fate.NOTHING_SENT
    if task.state is TaskState.ABANDONED:
        return Fate(task.problem.fate) if task.problem else Fate.UNKNOWN
    if task.state is TaskState.REJECTED:
        return Fate.SENT_NOT_CHARGED
    if task.state in (TaskState.SUBMITTING, TaskState.OUTCOME_UNKNOWN, TaskState.FAILED):
        return Fate.UNKNOWN
    return Fate.CHARGED


def fate_sentence(task: Task) -> str:
    """Whether money was spent, in one sentence."""
    if task.mode is Mode.SANDBOX:
        return "A rehearsal: nothing was charged."
    if task.charge and exceeds_declared(task):
        reserved = dollars(from_micros(task.reserve_micros))
        return f"MORE THAN AGREED: the gateway reports a cost of {task.charge}, and the sheet said {reserved} USD."
    if task.charge:
        return f"The gateway says it charged {task.charge}."
    if task.state is TaskState.FAILED:
        return "Only the gateway's account page shows whether the failed job was charged or refunded."
    return FATE_SENTENCES[fate_of(task)]


OPEN_THE_KEY = NextStep(Action.WATCH, "Opening the key needs the approval passphrase.")


def waits_for_key(task: Task) -> bool:
    """Whether the task is open and goes on only when a person opens its sealed key."""
    return task.state in OPEN_STATES and task.problem is not None and task.problem.code == KEY_SEALED


def _is_left_sealed(deps: Dependencies, task: Task) -> bool:
    """Whether an open task needs a sealed key that no process has open any more; a link is fetched without one."""
    needs_key = task.state in OPEN_STATES and task.state is not TaskState.SUCCEEDED and task.mode is Mode.LIVE
    sealed = needs_key and deps.is_sealed(task.gateway) and not deps.opened.is_open(task.gateway)
    return sealed and not deps.is_followed()


def _next_step(deps: Dependencies, task: Task, findings: tuple[Finding, ...]) -> NextStep:
    if waits_for_key(task) or _is_left_sealed(deps, task):
        return OPEN_THE_KEY
    if needs_a_look(deps, task):
        text = "Look for it on the gateway's own page: the video may be there, or the task may have ended."
        return NextStep(Action.RESOLVE, text, target=task.id)
    match task.state:
        case TaskState.WAITING | TaskState.SUBMITTING | TaskState.QUEUED | TaskState.RUNNING | TaskState.SUCCEEDED:
            return NextStep(Action.WAIT, _waiting_text(deps, task), target=task.id, seconds=WAIT_SECONDS)
        case TaskState.SAVED:
            where = f"The clip is {deps.clip_at(task)}; look at its contact sheet." if task.clip else "Nothing to do."
            action = Action.VIEW if task.clip else Action.NOTHING
            return NextStep(action, f"{where}{format_differences(findings)}", target=task.id)
        case TaskState.REJECTED:
            return refusal_step(task.problem)
        case TaskState.FAILED:
            return refusal_step(task.problem, change=f"{CHANGES} A new take is a new payment.")
        case TaskState.EXPIRED:
            return NextStep(text="Ask the gateway's support for the file by its task id there, or generate a new take.")
        case TaskState.OUTCOME_UNKNOWN:
            text = "First look for it in the gateway's own task list."
            return NextStep(Action.RESOLVE, text, target=task.id, accepted_as=_untrusted_id(task))
        case TaskState.ABANDONED:
            return NextStep(Action.NOTHING, "Nothing to do.")


def _waiting_text(deps: Dependencies, task: Task) -> str:
    """What happens to an open task while nobody asks after it."""
    is_followed = deps.is_followed()
    if (task.problem is not None and task.problem.code == NO_KEY) if is_followed else lacks_key(deps, task):
        return "Its key is missing. The clip is saved only while Callsheet runs where the key is set."
    if is_followed:
        return "The clip is saved automatically when it is ready."
    kept = f" {shortest_kept(deps, [task])}" if task.mode is Mode.LIVE else ""
    return f"Nothing follows the task now, so ask again until the clip is saved.{kept}"


def lacks_key(deps: Dependencies, task: Task) -> bool:
    """Whether this process has no key to ask after a live task. A sealed key is another matter; a link needs none."""
    if task.mode is not Mode.LIVE or task.state is TaskState.SUCCEEDED or deps.is_sealed(task.gateway):
        return False
    try:
        facts = deps.facts(task.gateway)
        return bool(facts.key_env) and deps.find_key(facts) is None
    except CallsheetError:
        return True


def shortest_kept(deps: Dependencies, tasks: Sequence[Task]) -> str:
    """How long the gateways of these tasks keep a clip, as a sentence; empty without tasks."""
    hours = []
    for task in tasks:
        try:
            hours.append(card_of(deps, task).retention.result_hours)
        except CallsheetError:
            hours.append(None)
    known = [item for item in hours if item is not None]
    if not known:
        return "How long the gateway keeps the clip is not documented." if tasks else ""
    return f"The gateway keeps {'a' if len(tasks) > 1 else 'the'} clip for {min(known)} hours only."


def needs_a_look(deps: Dependencies, task: Task) -> bool:
    """Whether what the gateway says of an accepted task has made no sense for more than twice the usual time."""
    code = task.problem.code if task.problem else ""
    if code in CERTAINLY_ODD:
        return task.state in OPEN_STATES
    if task.state not in (TaskState.QUEUED, TaskState.RUNNING) or not is_late(deps, task):
        return False
    return code in UNCLEAR_STATES or card_of(deps, task).poll.patience


def is_late(deps: Dependencies, task: Task) -> bool:
    """Whether an accepted task has taken more than twice its usual time."""
    elapsed = deps.clock.now() - (task.accepted_at or task.created_at)
    try:
        advice, length = card_of(deps, task).poll, clip_seconds_of(deps, task)
    except CallsheetError:
        return False
    return is_overdue(advice, elapsed=elapsed, clip_seconds=length, speed=deps.speed(task.mode))


CHANGES = "A person decides what to change, as the message says."


def refusal_step(problem: Problem | None, *, change: str = CHANGES) -> NextStep:
    """What to do after a refusal or a failure. `change` is said only where the gateway gave a reason."""
    reason = read_reason(problem.http_status, problem.code, problem.said) if problem else Reason.SHOT
    if reason in ADVICE:
        return NextStep(Action.EXPLAIN, ADVICE[reason])
    return NextStep(Action.EXPLAIN, change if problem and problem.said else NO_REASON_GIVEN)
