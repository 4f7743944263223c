"""The sandbox's faults: tags in a prompt that make a fake gateway fail in a known way.

`[[sandbox:NAME]]` or `[[sandbox:NAME=VALUE]]`, anywhere in the prompt; several can be combined.
`FAULTS` is the one list of them: the sandbox applies them, the standalone server prints it, and
documents are rendered from it. Pure: counting attempts is the store's work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

When = Literal["submit", "task", "status", "file", "all"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: the name in the tag.
        when: which request it affects: `submit`, `status`, `file`; `task` changes the life of the
            task itself; `all` applies to every answer about it.
        meaning: one sentence.
        value: what `=VALUE` means, empty when the tag takes none.
        default: the value when none is written. For a fault that counts, 0 is "every time".
        counts: whether the value is a number of attempts after which the request goes through.
        choices: the values it takes, when they are not any number from 1 to 1000.
    """

    name: str
    when: When
    meaning: str
    value: str = ""
    default: int = 0
    counts: bool = False
    choices: tuple[int, ...] = ()


_TIMES = "how many times before it goes through"
_EVERY = _TIMES + " (default: never)"
_VIDEOS = "`/v1/videos`: "

_GATEWAY_FAULTS: tuple[Fault, ...] = (
    Fault("content-violation", "task", "Accepted, then failed with the gateway's own words for a content violation."),
    Fault("unreachable-image", "task", "Accepted, then failed because the reference image could not be fetched."),
    Fault("refused", "submit", "Refused at submission by the gateway's moderation (400; APIXO documents 403)."),
    Fault("insufficient-credits", "submit", "Refused with 402: the balance is too low.", _EVERY, counts=True),
    Fault("rate-limited", "submit", "429 with `Retry-After: 2`.", f"{_TIMES} (default: 1)", 1, counts=True),
    Fault("rate-limited-bare", "submit", "429 without `Retry-After`.", f"{_TIMES} (default: 1)", 1, counts=True),
    Fault("server-error", "submit", "500 in the gateway's own error body; nothing is accepted.", _EVERY, counts=True),
    Fault("unavailable", "submit", "503 in the gateway's own error body; nothing is accepted.", _EVERY, counts=True),
    Fault(
        "drop-before",
        "submit",
        "The connection is closed after the whole request was read; nothing is accepted.",
        _EVERY,
        counts=True,
    ),
    Fault(
        "drop-after",
        "submit",
        "The job is accepted and stored, then the connection is closed without an answer.",
        "how many times before an acceptance is answered (default: never)",
        counts=True,
    ),
    Fault("hang", "submit", "The request is read and never answered; nothing is accepted.", _EVERY, counts=True),
    Fault(
        "error-in-200",
        "submit",
        "HTTP 200 whose body is the gateway's error for a server failure; nothing is accepted.",
        _EVERY,
        counts=True,
    ),
    Fault("garbage-in-200", "submit", "HTTP 200 with an HTML page; nothing is accepted.", _EVERY, counts=True),
    Fault("slow", "task", "Takes four times as long.", "how many times as long (default: 4)", 4),
    Fault("stuck", "task", "Never finishes."),
    Fault("unknown-state", "task", "Reports a state that no document names until it is finished."),
    Fault("status-error", "status", "Status answers 500, then normally.", f"{_TIMES} (default: 3)", 3, counts=True),
    Fault(
        "not-visible",
        "status",
        "Status answers 404 although the job was accepted, then normally.",
        f"{_TIMES} (default: 2)",
        2,
        counts=True,
    ),
    Fault(
        "expired-link",
        "file",
        "The task finishes, but its file is gone.",
        "the HTTP status of the file: 410 (default), 403 or 404",
        410,
        choices=(403, 404, 410),
    ),
    Fault(
        "truncated-video",
        "file",
        "The file's `Content-Length` promises all of it, the connection closes at half.",
        _EVERY,
        counts=True,
    ),
    Fault("short-video", "file", "The file is cut at half and its `Content-Length` says so.", _EVERY, counts=True),
    Fault("other-clip", "task", "The clip is half as long as ordered, turned on its side and silent."),
    Fault("html-video", "file", "The file is an HTML page with status 200.", _EVERY, counts=True),
    Fault("old-errors", "all", "Error and failure bodies of the gateway's older generation."),
)

ENDPOINT_FAULTS: tuple[Fault, ...] = (
    Fault(
        "failed-as-500", "task", f"{_VIDEOS}Accepted, then failed; status answers HTTP 500 with the whole video object."
    ),
    Fault(
        "forgotten",
        "status",
        f"{_VIDEOS}The server is restarted and has forgotten the job: 404 from then on, and not in its list.",
        "how many status reads are answered before (default: 1)",
        1,
    ),
    Fault("repeated", "task", f"{_VIDEOS}One request makes several jobs; one is answered.", "how many (default: 3)", 3),
    Fault("echoed-model", "task", f"{_VIDEOS}Any model is accepted and named in the answer, whatever is loaded."),
    Fault(
        "clamped-seconds", "task", f"{_VIDEOS}The clip is shorter than was asked.", "at most this long (default: 2)", 2
    ),
    Fault(
        "late-content",
        "file",
        f"{_VIDEOS}The content of a finished video is refused twice, then sent.",
        "the HTTP status of the refusals (default: 404)",
        404,
        choices=(400, 403, 404, 409, 425, 502),
    ),
    Fault("content-redirect", "file", f"{_VIDEOS}The content answers 302 to another origin."),
    Fault("no-range", "file", f"{_VIDEOS}The content is sent whole, whatever `Range` asks for."),
)
"""What only servers of `/v1/videos` do."""

FAULTS = (*_GATEWAY_FAULTS, *ENDPOINT_FAULTS)

FAULT_BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}
_OF_GATEWAYS = {fault.name: fault for fault in _GATEWAY_FAULTS}

_TAG = re.compile(r"\[\[\s*sandbox\s*:\s*([A-Za-z0-9_-]{1,40})\s*(?:=\s*([0-9]{1,4})\s*)?\]\]")
_LOOSE_TAG = re.compile(r"\[\[\s*sandbox\b[^\]]{0,80}\]\]", re.IGNORECASE)


class UnknownTag(ValueError):
    """A tag that names no fault; the message says which and is safe to show."""


def read_faults(prompt: str, *, endpoint: bool = False) -> dict[str, int]:
    """The tags of a prompt, name -> value. `UnknownTag` for a misspelt tag, a value it does not take, or a fault that
    only an endpoint has, at a gateway."""
    known = FAULT_BY_NAME if endpoint else _OF_GATEWAYS
    found: dict[str, int] = {}
    for loose in _LOOSE_TAG.findall(prompt):
        match = _TAG.fullmatch(loose)
        fault = known.get(match[1].lower()) if match else None
        if match is None or fault is None:
            raise UnknownTag(f"{loose[:60]!r} is not a sandbox tag. The tags are: {', '.join(known)}.")
        found[fault.name] = fault.default if match[2] is None else _value(fault, int(match[2]))
    return found


def _value(fault: Fault, value: int) -> int:
    if not fault.value:
        raise UnknownTag(f"The sandbox tag {fault.name!r} takes no value.")
    if value not in (fault.choices or range(1, 1001)):
        raise UnknownTag(f"The sandbox tag {fault.name!r} does not take {value}: {fault.value}.")
    return value


def strip_tags(prompt: str) -> str:
    """The prompt without its tags, as the video shows it."""
    return " ".join(_LOOSE_TAG.sub(" ", prompt).split())
