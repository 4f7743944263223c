"""What the use cases answer: plain values that every surface shows in its own way.

`notice` comes first in every answer: in the sandbox it says that this is a rehearsal, that nothing is charged
and who can switch to live mode.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from callsheet.core.catalogue import ModelCard, Price
from callsheet.core.consent import Mode
from callsheet.core.payload.body import Body, Finding
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, Sheet, Task, TaskState
from callsheet.errors import FATE_SENTENCES, Action, Fate, KeyProblem, NextStep

from .dependencies import KEY_SEALED, Dependencies

GO_LIVE = "Only a person can switch to live mode, in their own terminal; no tool can."


@dataclass(frozen=True, slots=True)
class Option:
    """One card that was considered for a shot. `why_not` is empty when it can take the shot.

    `terms` is what the price is for, `8 s at 720p`; a card that cannot take the shot has no price.
    """

    card: ModelCard
    price: Price
    why_not: str
    terms: str = ""

    @property
    def fits(self) -> bool:
        """Whether the card can take the shot."""
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to an explain call. `status`: `ready`, `invalid` or `choose` (see `options`).

    For `ready` there is a `sheet`; for `invalid` the body is the corrected form; for `choose` neither.
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
    sheet: Sheet | None = None
    earlier: str = ""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task: what its state means, whether money was spent, what to do next."""

    task: Task
    prompt: str
    status_text: str
    fate: str
    notice: str
    next_step: NextStep


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submit call. `status`: `submitted`, `already_submitted` or `approval_needed`.

    For `approval_needed`, `next_step` is the approval. `covered_by` names the allowance that was used, if any.
    """

    status: str
    notice: str
    next_step: NextStep
    report: TaskReport | None = None
    approval_text: str = ""
    covered_by: str = ""

    def followed(self, report: TaskReport) -> Submission:
        """The same answer with what became of the task meanwhile."""
        words = " ".join(part for part in (self.covered_by, report.notice) if part)
        return replace(self, notice=words, next_step=report.next_step, report=report)


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
    return f"Sandbox rehearsal: nothing reaches a real gateway and nothing is charged.{unused} {GO_LIVE}"


def _has_key(deps: Dependencies, gateway_id: str) -> bool:
    try:
        return bool(deps.account(deps.facts(gateway_id)))
    except KeyProblem:
        # Malformed, but set; the diagnostics report what is wrong with it.
        return True


def curl_line(key_env: str, method: str, url: str) -> str:
    """The request as a curl command that reads the body from `payload.json` and the key from the environment."""
    return (
        f'curl --request {method} --url {shlex.quote(url)} --header "Authorization: Bearer ${key_env}"'
        " --header 'Content-Type: application/json' --data @payload.json"
    )


def iso(seconds: float | None) -> str | None:
    """A time in UTC: `2026-11-21T09:30:00Z`."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def report_task(deps: Dependencies, task: Task) -> TaskReport:
    """A task with all that an answer says about it."""
    sheet = deps.ledger().sheet(task.sheet_id)
    fate = fate_of(task)
    return TaskReport(
        task=task,
        prompt=sheet.shot.prompt if sheet else "",
        status_text=status_text(task),
        fate=fate.value,
        notice=notice(deps, task.mode),
        next_step=_next_step(deps, task),
    )


QUOTED_APART = "its reason is quoted apart"


def status_text(task: Task, *, quoting: bool = True) -> str:
    """One sentence on where the task is; not `quoting`, without any of the gateway's own words."""
    if not quoting and task.problem is not None and task.problem.said:
        task = replace(task, problem=replace(task.problem, message=QUOTED_APART), said=QUOTED_APART)
    percent = f" {task.percent} %" if task.percent is not None else ""
    problem = f" ({task.problem.message.rstrip('.')})" if task.problem else ""
    match task.state:
        case TaskState.WAITING:
            return f"Approved, not sent yet{problem}."
        case TaskState.SUBMITTING:
            return "The request is on its way to the gateway."
        case TaskState.QUEUED:
            return f"Accepted by the gateway, in its queue{percent}{problem}."
        case TaskState.RUNNING:
            said = f" (said: {task.said})" if task.problem and task.problem.code == "unrecognised_state" else ""
            return f"Generating{percent}{said or problem}."
        case TaskState.SUCCEEDED:
            return f"Generated; the clip is being saved{problem}."
        case TaskState.SAVED:
            return "The clip is on disk."
        case _:
            return _ended_text(task, problem)


def _ended_text(task: Task, problem: str) -> str:
    detail = problem.strip(" ()")
    match task.state:
        case TaskState.REJECTED:
            return f"The gateway refused it: {detail}."
        case TaskState.FAILED:
            return f"The gateway accepted it, then failed: {detail}."
        case TaskState.EXPIRED:
            return "The clip was generated, but the gateway's link to it expired before it was saved."
        case TaskState.OUTCOME_UNKNOWN:
            hints = f" {task.hints}" if task.hints else ""
            return (
                f"Whether the gateway accepted it is not known{problem}. It is never sent again automatically.{hints}"
            )
        case _:
            return f"Given up: {detail}." if detail else "Given up by a person."


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
    if task.charge:
        return f"The gateway says it charged {task.charge}."
    if task.state is TaskState.FAILED:
        return "Only the gateway's account page shows whether the failed job was charged or refunded."
    return FATE_SENTENCES[fate_of(task)]


OPEN_THE_KEY = NextStep(Action.WATCH, "Opening the key needs the approval passphrase.")


def waits_for_key(task: Task) -> bool:
    """Whether the task is open and goes on only when a person opens its sealed key."""
    return task.state in OPEN_STATES and task.problem is not None and task.problem.code == KEY_SEALED


def _next_step(deps: Dependencies, task: Task) -> NextStep:
    if waits_for_key(task):
        return OPEN_THE_KEY
    match task.state:
        case TaskState.WAITING | TaskState.SUBMITTING | TaskState.QUEUED | TaskState.RUNNING | TaskState.SUCCEEDED:
            wait = max(20, round(min(task.next_at - deps.clock.now(), 45)))
            text = "The clip is saved automatically when it is ready."
            return NextStep(Action.WAIT, text, target=task.id, seconds=wait)
        case TaskState.SAVED:
            return NextStep(
                text=f"The clip is {task.clip.path}; look at its contact sheet." if task.clip else "Nothing to do."
            )
        case TaskState.REJECTED:
            return NextStep(Action.EXPLAIN, "Fix the shot as the message says.")
        case TaskState.FAILED:
            return NextStep(Action.EXPLAIN, "Change the prompt as the message says, for a new take.")
        case TaskState.EXPIRED:
            return NextStep(text="Ask the gateway's support for the file by its task id there, or generate a new take.")
        case TaskState.OUTCOME_UNKNOWN:
            return NextStep(Action.RESOLVE, "First look for it in the gateway's own task list.", target=task.id)
        case TaskState.ABANDONED:
            return NextStep(Action.NOTHING, "Nothing to do.")
