"""Submission: checks a request as the gateway would, obeys its stage directions, accepts the job."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.catalogue.pricing import price_clip
from callsheet.sandbox.fakes.protocol import Answer, Generation, Reason, Refusal
from callsheet.sandbox.fakes.tasks import SandboxTask, choose_lasting, moment_at

from .checks import Body, Complaint, Wanted, check_body, read_prompt, read_wanted
from .context import Call, House, Outcome
from .faults import FAULTS, UnknownTag, read_faults
from .replies import Dropped, Headers, Silent, tell, tell_html
from .store import Replay
from .webhooks import check_callback

NOTE_HEADER = "x-sandbox-note"
DEFAULT_RETENTION_HOURS = 24
TASK_LETTERS = 12
OPEN_AT_MOST_SECONDS = 3600.0
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_DROPPED_NOTE = "the gateway has taken this model out of its catalogue: the real one may refuse it"


@dataclass(frozen=True, slots=True)
class _Order:
    """A request that the gateway would take."""

    card: ModelCard
    wanted: Wanted
    faults: Mapping[str, int]
    generation: Generation


def answer_submit(house: House, call: Call) -> Outcome:
    """Refuse, misbehave as directed, or accept."""
    try:
        order = _read_order(house, call)
    except _RefusedOrder as refused:
        return call.refuse(refused.refusal, generation=refused.generation)
    if _too_many_open(house, order.card):
        return call.refuse(Refusal(Reason.RATE_LIMITED), generation=order.generation)
    return _replay(house, call, order) or _misbehave(house, call, order) or _accept(house, call, order)


class _RefusedOrder(Exception):
    """Carries a refusal out of the reading of an order."""

    def __init__(self, refusal: Refusal, generation: Generation) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.generation = generation


def _read_order(house: House, call: Call) -> _Order:
    generation = call.generation
    body = _read_json(call)
    card = _find_card(house, call, body)
    try:
        faults = read_faults(read_prompt(card, body))
    except UnknownTag as mistake:
        raise _RefusedOrder(Refusal(Reason.INVALID, "prompt", str(mistake)), generation) from None
    if "old-errors" in faults:
        generation = Generation.OLD
    longest = house.facts(call.gateway).callback.max_length
    complaints = check_body(card, body, longest_callback_url=longest)
    if complaints:
        raise _RefusedOrder(_refusal_of(complaints), generation)
    return _Order(card, read_wanted(card, body), faults, generation)


def _read_json(call: Call) -> Body:
    media_type = call.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise _RefusedOrder(Refusal(Reason.INVALID, detail="Content-Type must be application/json"), call.generation)
    try:
        body = json.loads(call.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _RefusedOrder(Refusal(Reason.INVALID, detail="The body must be a JSON object"), call.generation)
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _find_card(house: House, call: Call, body: Body) -> ModelCard:
    model = call.path_params.get("model") or body.get("model")
    if model is None:
        raise _RefusedOrder(Refusal(Reason.INVALID, "model", "Missing required field: model"), call.generation)
    card = house.catalogue.card(call.gateway, model) if isinstance(model, str) else None
    if card is None:
        raise _RefusedOrder(Refusal(Reason.UNKNOWN_MODEL, "model"), call.generation)
    return card


def _refusal_of(complaints: tuple[Complaint, ...]) -> Refusal:
    """Gateways name one mistake at a time; a missing field is named before a wrong one."""
    first = min(complaints, key=lambda complaint: complaint.kind != "missing")
    reason = Reason.TOO_LONG if first.kind == "too_long" else Reason.INVALID
    return Refusal(reason, first.field, first.message)


def _too_many_open(house: House, card: ModelCard) -> bool:
    most = card.rate_limit.concurrent_tasks
    if house.settings.rate is not None or most is None or house.store.count_task_files(card.gateway) < most:
        return False
    now = house.clock()
    return sum(1 for task in house.store.load_tasks(card.gateway) if _is_open(task, now)) >= most


def _is_open(task: SandboxTask, now: float) -> bool:
    """Whether a task takes a place; one that is stuck gives it up after an hour of life."""
    return moment_at(task, now).ended is None and (now - task.created) * task.speed < OPEN_AT_MOST_SECONDS


def _replay(house: House, call: Call, order: _Order) -> Outcome | None:
    """The first answer again, where the gateway knows idempotency keys and this one was used before."""
    key = call.headers.get("idempotency-key", "")
    if not key or not call.stage.COURSE.replays:
        return None
    replay = house.store.load_replay(call.gateway, key)
    task = house.store.load_task(call.gateway, replay.task_id) if replay else None
    if replay is None or task is None:
        return None
    if replay.body_sha256 != call.body_sha256:
        return call.refuse(Refusal(Reason.REPLAY_CONFLICT), generation=order.generation)
    answer = Answer(200, call.stage.write_accepted(task), (("idempotency-replayed", "true"),))
    return Outcome(tell(answer), replayed=True)


Misbehaviour = Callable[[House, Call, Generation], Outcome]


def _refusing(reason: Reason, headers: Headers = ()) -> Misbehaviour:
    return lambda house, call, generation: call.refuse(Refusal(reason), generation=generation, headers=headers)


def _error_in_200(house: House, call: Call, generation: Generation) -> Outcome:
    answer = call.stage.write_refusal(Refusal(Reason.SERVER_ERROR), generation)
    return Outcome(tell(replace(answer, status=200)))


MISBEHAVIOURS: Mapping[str, Misbehaviour] = MappingProxyType(
    {
        "refused": _refusing(Reason.MODERATION),
        "insufficient-credits": _refusing(Reason.NO_CREDITS),
        "rate-limited": _refusing(Reason.RATE_LIMITED, (("retry-after", "2"),)),
        "rate-limited-bare": _refusing(Reason.RATE_LIMITED),
        "server-error": _refusing(Reason.SERVER_ERROR),
        "unavailable": _refusing(Reason.UNAVAILABLE),
        "drop-before": lambda house, call, generation: Outcome(Dropped()),
        "hang": lambda house, call, generation: Outcome(Silent(house.closing)),
        "error-in-200": _error_in_200,
        "garbage-in-200": lambda house, call, generation: Outcome(tell_html()),
    }
)
"""The stage directions that keep a submission from being accepted."""


def _misbehave(house: House, call: Call, order: _Order) -> Outcome | None:
    for fault in FAULTS:
        if fault.name not in order.faults or fault.name not in MISBEHAVIOURS:
            continue
        times = order.faults[fault.name]
        attempt = house.store.count_attempt(call.gateway, fault.name, order.wanted.prompt)
        if not fault.counts or times == 0 or attempt <= times:
            outcome = MISBEHAVIOURS[fault.name](house, call, order.generation)
            return replace(outcome, fault=fault.name)
    return None


def _accept(house: House, call: Call, order: _Order) -> Outcome:
    task = _make_task(house, call, order)
    house.store.write_task(task)
    for name in order.faults:
        house.store.forget_attempts(call.gateway, name, task.prompt)
    if (key := call.headers.get("idempotency-key", "")) and call.stage.COURSE.replays:
        house.store.remember_replay(call.gateway, key, Replay(call.body_sha256, task.task_id))
    video_url = call.video_url(task.task_id, task.token)
    house.courier.send_when_done(task, video_url=video_url, generation=order.generation)
    if "drop-after" in order.faults:
        return Outcome(Dropped(), task_id=task.task_id, fault="drop-after")
    answer = Answer(200, call.stage.write_accepted(task))
    return Outcome(tell(answer, headers=_notes(order)), task_id=task.task_id)


def _make_task(house: House, call: Call, order: _Order) -> SandboxTask:
    card, wanted, now = order.card, order.wanted, house.clock()
    task_id = call.stage.write_task_id(int(now), "".join(secrets.choice(_ALPHABET) for _ in range(TASK_LETTERS)))
    return SandboxTask(
        gateway=call.gateway,
        model=card.model,
        task_id=task_id,
        token=secrets.token_hex(16),
        prompt=wanted.prompt,
        width=wanted.width,
        height=wanted.height,
        seconds=wanted.seconds,
        created=now,
        speed=house.settings.speed,
        lasting=choose_lasting(task_id, call.stage.COURSE.usual_seconds(wanted.seconds), order.faults),
        retention_hours=card.retention.result_hours or DEFAULT_RETENTION_HOURS,
        credits=_credits(card, wanted, call.stage.COURSE.credits_per_usd),
        callback_url=wanted.callback_url,
        faults=dict(order.faults),
    )


def _credits(card: ModelCard, wanted: Wanted, per_usd: int | None) -> str:
    """The documented price as a decimal text of credits; empty when it cannot be told."""
    price = price_clip(card, duration_seconds=wanted.seconds, resolution=wanted.resolution)
    if price.unit == "credits":
        return "" if price.amount is None else str(price.amount)
    return "" if price.usd is None or per_usd is None else str(price.usd * per_usd)


def _notes(order: _Order) -> Headers:
    notes = [check_callback(order.wanted.callback_url)]
    if order.card.lifecycle.availability is Availability.DROPPED:
        notes.append(_DROPPED_NOTE)
    said = "; ".join(note for note in notes if note)
    return ((NOTE_HEADER, said),) if said else ()
