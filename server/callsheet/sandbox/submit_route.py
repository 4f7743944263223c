"""The POST route: checks a request as the gateway would, applies the faults it asks for, accepts the job."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.catalogue.prices import price_clip
from callsheet.sandbox.fakes.protocol import Answer, Generation, Reason, Refusal
from callsheet.sandbox.fakes.tasks import SandboxTask, choose_task_seconds, snapshot_at

from .checks import Body, Parameters, Violation, check_body, read_parameters, read_prompt
from .context import AppState, Outcome, Request
from .faults import FAULTS, UnknownTag, read_faults
from .published import check_schema
from .replies import DroppedConnection, Headers, NoReply, html_reply, json_reply
from .store import Replay
from .webhooks import explain_undelivered

NOTE_HEADER = "x-sandbox-note"
DEFAULT_RETENTION_HOURS = 24
TASK_LETTERS = 12
OPEN_AT_MOST_SECONDS = 3600.0
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_DROPPED_NOTE = "the gateway has removed this model from its catalogue and may refuse it"


@dataclass(frozen=True, slots=True)
class _Submission:
    """A valid submission."""

    card: ModelCard
    parameters: Parameters
    faults: Mapping[str, int]
    generation: Generation


def answer_submit(state: AppState, request: Request) -> Outcome:
    """Refuse, apply a fault, or accept."""
    try:
        submission = _read_submission(state, request)
    except _Refused as refused:
        return request.refuse(refused.refusal, generation=refused.generation)
    if _too_many_open(state, submission.card):
        return request.refuse(Refusal(Reason.RATE_LIMITED), generation=submission.generation)
    return (
        _replay(state, request, submission)
        or apply_fault(state, request, submission.faults, submission.parameters.prompt, submission.generation)
        or _accept(state, request, submission)
    )


class _Refused(Exception):
    """Carries a refusal out of the code that reads a submission."""

    def __init__(self, refusal: Refusal, generation: Generation) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.generation = generation


def _read_submission(state: AppState, request: Request) -> _Submission:
    generation = request.generation
    body = _read_json(request)
    card = _find_card(state, request, body)
    try:
        faults = read_faults(read_prompt(card, body))
    except UnknownTag as mistake:
        raise _Refused(Refusal(Reason.INVALID, "prompt", str(mistake)), generation) from None
    if "old-errors" in faults:
        generation = Generation.OLD
    longest = state.facts(request.gateway).callback.max_length
    violations = (
        *check_body(card, body, longest_callback_url=longest),
        *(Violation(field, "value", rule) for field, rule in check_schema(request.gateway, card.model, body)),
    )
    if violations:
        raise _Refused(_refusal_of(violations), generation)
    return _Submission(card, read_parameters(card, body), faults, generation)


def _read_json(request: Request) -> Body:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refused(Refusal(Reason.INVALID, detail="Content-Type must be application/json"), request.generation)
    try:
        body = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _Refused(Refusal(Reason.INVALID, detail="The body must be a JSON object"), request.generation)
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _find_card(state: AppState, request: Request, body: Body) -> ModelCard:
    model = request.path_params.get("model") or body.get("model")
    if model is None:
        raise _Refused(Refusal(Reason.INVALID, "model", "Missing required field: model"), request.generation)
    card = state.catalogue.card(request.gateway, model) if isinstance(model, str) else None
    if card is None:
        raise _Refused(Refusal(Reason.UNKNOWN_MODEL, "model"), request.generation)
    return card


def _refusal_of(violations: tuple[Violation, ...]) -> Refusal:
    """Gateways report one mistake at a time; a missing field is reported before a wrong one."""
    first = min(violations, key=lambda violation: violation.kind != "missing")
    reason = Reason.TOO_LONG if first.kind == "too_long" else Reason.INVALID
    return Refusal(reason, first.field, first.message)


def _too_many_open(state: AppState, card: ModelCard) -> bool:
    most = card.rate_limit.concurrent_tasks
    if state.settings.rate is not None or most is None or state.store.count_task_files(card.gateway) < most:
        return False
    now = state.clock()
    return sum(1 for task in state.store.load_tasks(card.gateway) if _is_open(task, now)) >= most


def _is_open(task: SandboxTask, now: float) -> bool:
    """Whether a task counts as open. A stuck one stops counting after an hour at the gateway's speed."""
    return snapshot_at(task, now).ended is None and (now - task.created) * task.speed < OPEN_AT_MOST_SECONDS


def _replay(state: AppState, request: Request, submission: _Submission) -> Outcome | None:
    """The first answer again, if the gateway supports idempotency keys and this one was used before."""
    key = request.headers.get("idempotency-key", "")
    if not key or not request.fake.PROFILE.replays:
        return None
    replay = state.store.load_replay(request.gateway, key)
    task = state.store.load_task(request.gateway, replay.task_id) if replay else None
    if replay is None or task is None:
        return None
    if replay.body_sha256 != request.body_sha256:
        return request.refuse(Refusal(Reason.REPLAY_CONFLICT), generation=submission.generation)
    answer = Answer(200, request.fake.build_accepted(task), (("idempotency-replayed", "true"),))
    return Outcome(json_reply(answer), replayed=True)


FaultReply = Callable[[AppState, Request, Generation], Outcome]


def _refusing(reason: Reason, headers: Headers = ()) -> FaultReply:
    return lambda state, request, generation: request.refuse(Refusal(reason), generation=generation, headers=headers)


def _error_in_200(state: AppState, request: Request, generation: Generation) -> Outcome:
    answer = request.fake.build_refusal(Refusal(Reason.SERVER_ERROR), generation)
    return Outcome(json_reply(replace(answer, status=200)))


FAULT_REPLIES: Mapping[str, FaultReply] = MappingProxyType(
    {
        "refused": _refusing(Reason.MODERATION),
        "insufficient-credits": _refusing(Reason.NO_CREDITS),
        "rate-limited": _refusing(Reason.RATE_LIMITED, (("retry-after", "2"),)),
        "rate-limited-bare": _refusing(Reason.RATE_LIMITED),
        "server-error": _refusing(Reason.SERVER_ERROR),
        "unavailable": _refusing(Reason.UNAVAILABLE),
        "drop-before": lambda state, request, generation: Outcome(DroppedConnection()),
        "hang": lambda state, request, generation: Outcome(NoReply(state.closing)),
        "error-in-200": _error_in_200,
        "garbage-in-200": lambda state, request, generation: Outcome(html_reply()),
    }
)
"""The faults that prevent a submission from being accepted."""


def apply_fault(
    state: AppState, request: Request, faults: Mapping[str, int], prompt: str, generation: Generation
) -> Outcome | None:
    """The answer of the first fault that prevents the acceptance; None when none does."""
    for fault in FAULTS:
        if fault.name not in faults or fault.name not in FAULT_REPLIES:
            continue
        times = faults[fault.name]
        attempt = state.store.count_attempt(request.gateway, fault.name, prompt)
        if not fault.counts or times == 0 or attempt <= times:
            outcome = FAULT_REPLIES[fault.name](state, request, generation)
            return replace(outcome, fault=fault.name)
    return None


def drops_answer(state: AppState, task: SandboxTask) -> bool:
    """Whether the answer to the acceptance of this task is lost. Starts the counts of its other faults afresh."""
    for name in task.faults:
        if name != "drop-after":
            state.store.forget_attempts(task.gateway, name, task.prompt)
    if "drop-after" not in task.faults:
        return False
    times = task.faults["drop-after"]
    if times == 0 or state.store.count_attempt(task.gateway, "drop-after", task.prompt) <= times:
        return True
    state.store.forget_attempts(task.gateway, "drop-after", task.prompt)
    return False


def _accept(state: AppState, request: Request, submission: _Submission) -> Outcome:
    task = _build_task(state, request, submission)
    state.store.write_task(task)
    if (key := request.headers.get("idempotency-key", "")) and request.fake.PROFILE.replays:
        state.store.remember_replay(request.gateway, key, Replay(request.body_sha256, task.task_id))
    video_url = request.video_url(task.task_id, task.token)
    state.webhooks.send_when_done(task, video_url=video_url, generation=submission.generation)
    if drops_answer(state, task):
        return Outcome(DroppedConnection(), task_id=task.task_id, fault="drop-after")
    answer = Answer(200, request.fake.build_accepted(task))
    return Outcome(json_reply(answer, headers=_notes(submission)), task_id=task.task_id)


def _build_task(state: AppState, request: Request, submission: _Submission) -> SandboxTask:
    card, parameters, now = submission.card, submission.parameters, state.clock()
    task_id = request.fake.build_task_id(int(now), "".join(secrets.choice(_ALPHABET) for _ in range(TASK_LETTERS)))
    return SandboxTask(
        gateway=request.gateway,
        model=card.model,
        task_id=task_id,
        token=secrets.token_hex(16),
        prompt=parameters.prompt,
        width=parameters.width,
        height=parameters.height,
        seconds=parameters.seconds,
        created=now,
        speed=state.settings.speed,
        lasting=choose_task_seconds(task_id, request.fake.PROFILE.usual_seconds(parameters.seconds), submission.faults),
        retention_hours=card.retention.result_hours or DEFAULT_RETENTION_HOURS,
        credits=_credits(card, parameters, request.fake.PROFILE.credits_per_usd),
        callback_url=parameters.callback_url,
        faults=dict(submission.faults),
        audio=parameters.shot.get("audio") is True,
    )


def _credits(card: ModelCard, parameters: Parameters, per_usd: int | None) -> str:
    """The documented price as a decimal text of credits; empty when it is not known."""
    price = price_clip(card, parameters.shot)
    if price.unit == "credits":
        return "" if price.amount is None else str(price.amount)
    return "" if price.usd is None or per_usd is None else str(price.usd * per_usd)


def _notes(submission: _Submission) -> Headers:
    notes = [explain_undelivered(submission.parameters.callback_url)]
    if submission.card.lifecycle.availability is Availability.DROPPED:
        notes.append(_DROPPED_NOTE)
    text = "; ".join(note for note in notes if note)
    return ((NOTE_HEADER, text),) if text else ()
