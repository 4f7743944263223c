"""What every gateway module needs to read a reply: bounded JSON, safe lookups, the verdict on a submit.

Replies are untrusted. Nothing here raises on any bytes: what cannot be read is None, an empty
text or an empty tuple, and the verdict is then the one that never leads to a second charge (`Unclear`).
Gateway texts are bounded but not cleaned; `core.security.redaction.clean` does that before they are shown.
Only gateway modules call this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Never
from urllib.parse import quote

from .protocol import (
    Accepted,
    GatewayProblem,
    HttpReply,
    Postponed,
    Rejected,
    StatusUnavailable,
    SubmitOutcome,
    Unclear,
)

Table = Mapping[str, object]

MAX_BODY_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_TEXT = 500
NO_STATUS = -1
"""The body's own status when its value is not a number."""

REJECTING = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422})
"""Answers that mean nothing was accepted."""
UNDONE_REDIRECTS = frozenset({307, 308})
"""The redirects that ask for the same request again elsewhere; after any other the job may have been accepted."""

# LiteLLM's ids hold a whole route in base 64: up to 290 characters, with `=` at the end.
_TASK_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.:=+~-]{1,512}")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


def read_object(body: bytes) -> Table | None:
    """The JSON object in a body, or None: too large, too deep, not JSON, no object, NaN, absurd numbers.

    Whole numbers become `int`, all others `Decimal`, to keep amounts exact.
    """
    if len(body) > MAX_BODY_BYTES:
        return None
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_int=_whole, parse_float=_fraction, parse_constant=_refuse_constant
        )
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _too_deep(value) else None


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("number out of range")
    return int(digits)


def _fraction(digits: str) -> Decimal:
    if len(digits) > 40:
        raise ValueError("number out of range")
    return Decimal(digits)


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _too_deep(root: object) -> bool:
    level = [root]
    for _ in range(MAX_DEPTH):
        children = (child for item in level for child in _children(item))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def find(value: object, *path: str) -> object:
    """The value at that path of nested objects, or None where the path leaves them."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def read_items(value: object) -> list[object]:
    """The entries of a JSON array; empty for anything else."""
    return value if isinstance(value, list) else []


def read_text(*candidates: object) -> str:
    """The first candidate that has text, at most `MAX_TEXT` characters; empty if none has.

    Half surrogate pairs, which JSON can spell and UTF-8 cannot, become question marks.
    """
    for candidate in candidates:
        if isinstance(candidate, bool) or not isinstance(candidate, str | int | Decimal):
            continue
        found = str(candidate)[:MAX_TEXT].encode("utf-8", "replace").decode()
        if found.strip():
            return found
    return ""


def read_amount(value: object) -> str | None:
    """A number of credits or dollars in plain decimal notation, exact; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return format(number, "f") if number.is_finite() and abs(number.adjusted()) <= 15 else None


def read_percent(value: object) -> int | None:
    """A progress figure as whole per cent, None unless it is in 0..100; `37%` is read too."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}%", value):
        value = int(value[:-1])
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return int(value) if 0 <= value <= 100 else None


def read_time(value: object) -> float | None:
    """Seconds since the epoch, None for anything else."""
    usable = isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 < value < 10**11
    return float(value) if usable and isinstance(value, int | Decimal) else None


def read_status_number(value: object) -> int | None:
    """The body's own status: None when it has none, `NO_STATUS` when it is not a number."""
    if value is None:
        return None
    if isinstance(value, bool):
        return NO_STATUS
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value):
        return int(value)
    return value if isinstance(value, int) else NO_STATUS


def read_task_id(value: object) -> str | None:
    """A usable task id, or None. A whole number is read as text; 0 is what a gateway writes where it has no id."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**20:
        return str(value)
    return value if isinstance(value, str) and _TASK_ID.fullmatch(value) else None


def quote_task_id(value: str) -> str:
    """A task id, percent-encoded for a path or query.

    Raises:
        ValueError: for an id outside `[A-Za-z0-9_.:=+~-]{1,512}` or of punctuation only (`..` is a path).
    """
    if read_task_id(value) is None:
        raise ValueError("not a task id that a gateway could have given")
    return quote(value, safe="")


def read_retry_after(reply: HttpReply) -> float | None:
    """The `Retry-After` header in seconds, unclamped. A date counts from the reply's own `Date`, not from a clock."""
    # LiteLLM passes the header of the server behind it on under a name of its own.
    found = (reply.header("retry-after") or reply.header("llm_provider-retry-after") or "").strip()
    if _SECONDS.fullmatch(found):
        return float(found)
    until, sent = _http_date(found), _http_date(reply.header("date") or "")
    return None if until is None or sent is None else max(0.0, until - sent)


def _http_date(text: str) -> float | None:
    """Unix seconds of an HTTP date (RFC 9110, 5.6.7); None for anything else."""
    from email.utils import parsedate_to_datetime

    if not _HTTP_DATE.fullmatch(text.strip()):
        return None
    try:
        return parsedate_to_datetime(text.strip()).timestamp()
    except (ValueError, OverflowError):
        return None


def build_problem(reply: HttpReply, code: str, message: str) -> GatewayProblem:
    """A gateway's complaint, with what the reply itself says about waiting, and what came instead of words."""
    words, page = (message, "") if message.strip() else _read_page(reply)
    return GatewayProblem(reply.status, code, words, read_retry_after(reply), page)


def _read_page(reply: HttpReply) -> tuple[str, str]:
    """The words of a reply that is plain text, and what any other reply without words is."""
    text = reply.body[: 4 * MAX_TEXT].decode("utf-8", "ignore").strip().lstrip("\ufeff")
    if not reply.body.strip():
        return "", "an empty reply"
    if text.startswith("<"):
        return "", "an HTML page"
    if text.startswith(("{", "[")):
        return "", ""
    return (text[:MAX_TEXT], "") if text and "\ufffd" not in text and text[:MAX_TEXT].isprintable() else ("", "no text")


@dataclass(frozen=True, slots=True)
class SubmitReading:
    """What a gateway module found in a submit reply.

    `number` is the body's own status (`read_status_number`), `id` is any value found in the task id's
    place, `near_id` an id found in another place. `unclear` says that the gateway itself does not know what became
    of the request.
    """

    id: object
    state: str
    number: int | None
    code: str
    message: str
    unclear: bool = False
    near_id: str = ""


class _Verdict(Enum):
    TAKEN = auto()
    REFUSED = auto()
    LATER = auto()
    OPEN = auto()


def decide_submit(reply: HttpReply, reading: SubmitReading) -> SubmitOutcome:
    """What a submit reply means for the money.

    A success with an id is accepted; a documented refusal, in the status line or in the body, is
    rejected; 429 is postponed, unless it names an id. Everything else is unclear: a success without an id, a
    refusal that names one, 408, 409, 425, 5xx, an unknown number, a body that contradicts the status. An unclear
    reply keeps the id that it names, in whichever place.
    """
    found = read_task_id(reading.id)
    verdict = _verdict(reply.status, reading.number)
    problem = build_problem(reply, reading.code or _code_of(reply, reading), reading.message)
    unclear = Unclear(problem, found or reading.near_id)
    if reading.unclear:
        return unclear
    if found is not None:
        return Accepted(found, reading.state) if verdict in (_Verdict.TAKEN, _Verdict.LATER) else unclear
    if reading.near_id or verdict in (_Verdict.TAKEN, _Verdict.OPEN):
        return unclear
    return Rejected(problem) if verdict is _Verdict.REFUSED else Postponed(problem)


def _code_of(reply: HttpReply, reading: SubmitReading) -> str:
    return str(reply.status if reading.number in (None, NO_STATUS) else reading.number)


def _verdict(status: int, number: int | None) -> _Verdict:
    line = _Verdict.REFUSED if status in UNDONE_REDIRECTS else _verdict_on(status)
    body = _verdict_on(number)
    if number is None or body is _Verdict.TAKEN:
        return line
    if line is _Verdict.TAKEN:
        return body
    if not 100 <= number <= 599:
        return line
    return _Verdict.OPEN if line is _Verdict.OPEN else body


def _verdict_on(number: int | None) -> _Verdict:
    if number is None or succeeded(number):
        return _Verdict.TAKEN
    if number in REJECTING:
        return _Verdict.REFUSED
    return _Verdict.LATER if number == 429 else _Verdict.OPEN


def succeeded(number: int | None) -> bool:
    """Whether a status says success; 0 is one gateway family's second word for 200, None says nothing."""
    return number is None or number == 0 or 200 <= number <= 299


def answered(reply: HttpReply, number: int | None = None) -> bool:
    """Whether a read was answered: 2xx in the status line, and no complaint in the body's own status."""
    return 200 <= reply.status <= 299 and succeeded(number)


def build_unavailable(reply: HttpReply, body: Table | None, number: int | None, *complaint: str) -> StatusUnavailable:
    """A status read that says nothing about the task; `complaint` is the gateway's code and message.

    Only a 404 or 410 with a JSON body means that the gateway does not know the task; a proxy's 404 is a page.
    """
    code, message = complaint
    return StatusUnavailable(
        problem=build_problem(reply, code or str(reply.status if number in (None, NO_STATUS) else number), message),
        unknown_task=body is not None and bool({404, 410} & {reply.status, number}),
    )


Complaint = tuple[str, str]
"""A gateway's code and message, empty where it gives none."""


def read_complaint(body: object) -> Complaint:
    """Code and message from any envelope that a gateway documents or that its servers are seen to use.

    `{error: {type | code, message}}`, `{error}`, `{message}`, `{msg}`, `{detail}` as FastAPI writes it,
    `{data: {failCode, failMsg}}`. A word is preferred to a number as the code.
    """
    data, error, detail = find(body, "data"), find(body, "error"), find(body, "detail")
    first = next(iter([*read_items(detail), *read_items(find(body, "errors"))]), None)
    code = read_text(
        find(data, "failCode"),
        find(body, "failCode"),
        read_word(find(error, "code")),
        find(error, "type"),
        find(error, "code"),
        read_word(error),
        find(first, "type"),
        read_word(find(body, "code")),
    )
    messages = [find(error, name) for name in ("message", "msg", "detail")]
    messages += [find(data, name) for name in ("failMsg", "error", "error_message")]
    messages += [find(body, name) for name in _MESSAGES]
    return code, read_text(*messages, find(first, "msg"), find(first, "message"), data)


_MESSAGES = (
    *("failMsg", "error_message", "error", "message", "msg", "detail"),
    *("errorMessage", "error_msg", "fail_reason", "failure_reason", "reason", "error_description"),
)


def read_word(value: object) -> str:
    """A text that can be an error's name; a number or a sentence cannot."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]{0,63}", value) else ""


NEAR_IDS = ("task_id", "taskId", "taskID", "job_id", "jobId")


def find_near_id(body: object) -> str:
    """An id under another name or in another place than the documented one; empty for none."""
    places = (find(body, "data"), find(body, "error"), find(body, "task"), body)
    near = (find(place, name) for place in places for name in NEAR_IDS)
    return next((found for value in near if (found := read_task_id(value)) is not None), "")


def read_wrapped_submit(reply: HttpReply, *, id_name: str = "task_id", state_name: str = "status") -> SubmitOutcome:
    """The verdict on a submit reply wrapped in `{code, data}`, with the task's id and state in `data`.

    An error beside a code that says success is a contradiction.
    """
    body = read_object(reply.body)
    code, message = read_complaint(body)
    number = read_status_number(find(body, "code"))
    reading = SubmitReading(
        id=find(body, "data", id_name),
        state=read_text(find(body, "data", state_name)),
        number=NO_STATUS if succeeded(number) and find(body, "error") else number,
        code=code,
        message=message,
        near_id=find_near_id(body),
    )
    return decide_submit(reply, reading)
