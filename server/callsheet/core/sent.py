"""The paid requests that went out, as a mark outside the ledger names them, and the right to send one. Pure.

A ledger that lost its last pages, or an older copy of it, does not know that it forgot something. The mark does: it is
another file, on disk before the first byte of each live paid request. It names the last requests and the latest entry
of the audit trail, and no prompt and no key. A checksum tells a damaged mark from a whole one.

Only the mark's edge makes a `MarkedTask`, and the paid request takes nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from .consent import Binding, Mode
from .tasks import ClaimedTask, SheetId, TaskId

MOST_REQUESTS = 40
MOST_BYTES = 32_768
"""How many requests a mark names, and how large it may be. That more are missing shows in the trail's entry."""

LARGEST = 2**53
"""No number of a mark is as large; the ledger can store each."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One live attempt that may have gone out, with what its row needs if the ledger has forgotten it."""

    task_id: TaskId
    sheet_id: SheetId
    binding: Binding
    reserve_micros: int
    created_at: float
    deadline: float
    attempt: str
    attempts: int

    @property
    def card_id(self) -> str:
        """`gateway/model`."""
        return f"{self.binding.gateway}/{self.binding.model}"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a ledger says was sent, the newest request first.

    The ledger is the one at `path`, or one whose audit trail begins with the hash `origin`: a copy. `entry` and `seal`
    are the number and the hash of the trail's latest entry.
    """

    path: str
    origin: str
    entry: int
    seal: str
    requests: tuple[SentRequest, ...]

    def is_about(self, other: Sent) -> bool:
        """Whether both are about one ledger, a copy of it, or another in its place."""
        return self.path == other.path or (self.origin != "" and self.origin == other.origin)


@dataclass(frozen=True, slots=True)
class MarkedTask:
    """The right to send a claimed task's request once, after the mark is on disk."""

    claimed: ClaimedTask


def build_mark(sent: Sent) -> bytes:
    """The file's content. It names the newest requests that have room in it, and always the newest."""
    text = json.dumps(asdict(sent), sort_keys=True)
    if len(text) > MOST_BYTES and len(sent.requests) > 1:
        return build_mark(replace(sent, requests=sent.requests[:-1]))
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n".encode()


def read_mark(raw: bytes) -> Sent:
    """What such a file says; raises `ValueError` for one that is not whole."""
    checksum, _, text = raw.decode("ascii").removesuffix("\n").partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != checksum or not raw.endswith(b"\n"):
        raise ValueError("the checksum is wrong")
    values = json.loads(text)
    try:
        requests = tuple(_read_request(item) for item in values["requests"])
        return _checked(Sent(**{**values, "requests": requests}))
    except (TypeError, KeyError) as error:
        raise ValueError("another version wrote it") from error


def _read_request(item: dict[str, Any]) -> SentRequest:
    binding = _checked(Binding(**item["binding"]))
    if binding.mode != Mode.LIVE or not binding.take.isdecimal():
        raise ValueError("it names something else than a live request")
    return _checked(SentRequest(**{**item, "binding": binding}))


_Checked = TypeVar("_Checked", Binding, Sent, SentRequest)
_KINDS: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "Binding": (Binding,)}


def _checked(found: _Checked) -> _Checked:
    """The same, if each of its fields has the type of that field; else `TypeError`."""
    for field in fields(found):
        value = getattr(found, field.name)
        kinds = (tuple,) if field.name == "requests" else _KINDS.get(str(field.type), (str,))
        is_number = isinstance(value, int | float)
        if type(value) not in kinds or (is_number and not 0 <= value < LARGEST):
            raise TypeError(field.name)
    return found
