"""EvoLink's wire: flat bodies, the task itself as the answer, errors in two generations of envelope.

Sources by key are in `evolink.toml`. EvoLink's own client is the only source for the idempotency
header and for two error codes that say the outcome of a paid request is open.
"""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import quote

from callsheet.core.gateway.protocol import (
    Balance,
    Charge,
    HttpReply,
    HttpRequest,
    Phase,
    Progress,
    RecentTask,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
)
from callsheet.core.gateway.replies import (
    NO_STATUS,
    SubmitReading,
    amount,
    answered,
    items,
    judge_submit,
    look,
    percent,
    phase_of,
    problem_of,
    quote_task_id,
    read_object,
    status_number,
    task_id,
    text,
    unavailable,
    video_links,
)

# `cancelled` is only in EvoLink's own client (evolink-mcp).
_PHASES = {
    "pending": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.FAILED,
}

_OPEN_CODES = frozenset({"idempotency_conflict", "paid_outcome_unknown"})

# The newer envelope has words where the older has numbers; these are the numbers that the same
# sources give for them (evolink-tasks-copy, evolink-mcp).
_NUMBERS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "insufficient_quota": 402,
    "insufficient_user_quota": 402,
    "quota_not_enough": 402,
    "account_balance_insufficient": 402,
    "insufficient_token_quota": 402,
    "key_quota_exhausted": 402,
    "token_daily_quota_exceeded": 402,
    "key_daily_quota_exhausted": 402,
    "model_access_denied": 403,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}


def build_submit(parts: SubmitParts) -> HttpRequest:
    """The paid request, with the key of the approval."""
    headers = (("Content-Type", "application/json"), ("Idempotency-Key", parts.idempotency_key))
    return HttpRequest("POST", "/v1/videos/generations", parts.body, headers)


def read_submit(reply: HttpReply) -> SubmitOutcome:
    """Accepted under `id`, or why not."""
    body = read_object(reply.body)
    code, message = _complaint(body)
    reading = SubmitReading(
        id=look(body, "id"),
        state=text(look(body, "status")),
        number=_number(body),
        code=code,
        message=message,
        unclear=not _OPEN_CODES.isdisjoint(_words(body)),
    )
    return judge_submit(reply, reading)


def build_status(task: TaskRef) -> HttpRequest:
    """Ask after a task; ValueError for an id that no gateway could have given."""
    return HttpRequest("GET", f"/v1/tasks/{quote_task_id(task.gateway_task_id)}")


def read_status(reply: HttpReply) -> StatusOutcome:
    """The task's phase, progress, results and charge."""
    body = read_object(reply.body)
    said = text(look(body, "status"))
    if not answered(reply) or not said:
        return unavailable(reply, body, _number(body), *_complaint(body))
    phase = phase_of(said, _PHASES)
    charged = amount(look(body, "usage", "credits_used")) or amount(look(body, "usage", "cost", "credits"))
    return Progress(
        phase=phase,
        said=said,
        percent=percent(look(body, "progress")),
        video_urls=_videos(body) if phase is Phase.SUCCEEDED else (),
        failure=problem_of(reply, *_complaint(body)) if phase is Phase.FAILED else None,
        charge=Charge(charged, "credits") if charged is not None else None,
    )


def read_callback(body: bytes) -> str | None:
    """The task id of a delivery, which is shaped like a status reply."""
    return task_id(look(read_object(body), "id"))


def build_balance() -> HttpRequest:
    """Ask for the credits left."""
    return HttpRequest("GET", "/v1/credits")


def read_balance(reply: HttpReply) -> Balance | None:
    """The credits that can be spent: the account's, or what the key may still use of them if that is less."""
    body = read_object(reply.body)
    if not answered(reply) or look(body, "success") is False:
        return None
    known = [amount(look(body, "data", "user", "remaining_credits"))]
    if look(body, "data", "token", "unlimited_credits") is not True:
        known.append(amount(look(body, "data", "token", "remaining_credits")))
    left = min((figure for figure in known if figure is not None), key=Decimal, default=None)
    return None if left is None else Balance(left, "credits")


def build_listing(model: str) -> HttpRequest:
    """Look the model's prices up in the public catalogue, which takes no key.

    Seen only in an earlier revision of EvoLink's own client; of its four catalogue reads this is one
    that can be asked about a single model, which the plain list of models cannot.
    """
    return HttpRequest("GET", f"/v1/catalog/pricing?model_id={quote(model, safe='')}", authorized=False)


def read_listing(reply: HttpReply) -> bool | None:
    """Whether the catalogue prices the model; None unless the reply is the versioned catalogue of one model."""
    body = read_object(reply.body)
    prices = look(body, "prices")
    if not answered(reply) or not text(look(body, "meta", "catalog_version")) or not isinstance(prices, list):
        return None
    models = {text(look(price, "model_id")) for price in prices}
    return False if not models else (True if len(models) == 1 and models != {""} else None)


def build_recent() -> HttpRequest | None:
    """Ask for the latest tasks; seen in EvoLink's own client, not in its documentation."""
    return HttpRequest("GET", "/v1/tasks?type=video&page=1&page_size=20")


def read_recent(reply: HttpReply) -> tuple[RecentTask, ...]:
    """The listed tasks that have a usable id."""
    rows = items(look(read_object(reply.body), "data")) if answered(reply) else ()
    return tuple(
        RecentTask(found, text(look(row, "model")), _seconds(look(row, "created_at")))
        for row in rows
        if (found := task_id(look(row, "id"))) is not None
    )


def _seconds(value: object) -> float | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**11
    return float(value) if usable and isinstance(value, int) else None


def _number(body: object) -> int | None:
    error = look(body, "error")
    if error is None:
        return None
    known = (_NUMBERS[word] for word in _words(body) if word in _NUMBERS)
    return next(known, status_number(look(error, "code")) or NO_STATUS)


def _words(body: object) -> tuple[str, ...]:
    """Every place in which an envelope of either generation names its error."""
    error = look(body, "error")
    found = (error, look(error, "code"), look(error, "type"), look(body, "code"))
    return tuple(word.lower() for word in found if isinstance(word, str))


def _complaint(body: object) -> tuple[str, str]:
    """Code and message; the older envelope has a number for `code` and the word in `type`."""
    error = look(body, "error")
    code = look(error, "code")
    word = code if isinstance(code, str) else text(look(error, "type"), code, error, look(body, "code"))
    return text(word), text(look(error, "message"), look(body, "message"), look(body, "msg"), error)


def _videos(body: object) -> tuple[str, ...]:
    # `results` is documented; `result_data` is in EvoLink's own client.
    rows = items(look(body, "result_data"))
    return video_links([*items(look(body, "results")), *(look(row, "video_url") for row in rows)])
