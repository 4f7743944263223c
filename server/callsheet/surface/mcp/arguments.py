"""Checks the arguments of tools before the SDK does, and says what is wrong in plain words.

A mistake is named by field and rule, never by value: a value may be a key. An unknown argument is refused, because a
model that writes `confirm: true` must learn that no argument approves anything.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from pydantic import ValidationError

from callsheet.errors import Action, NextStep
from callsheet.surface.next_steps import for_agent

MOST_PAYLOAD_CHARACTERS = 200_000
ID_LISTS = ("sheet_ids", "task_ids")

NOTHING_SENT = "Nothing was sent."
NO_ARGUMENT_APPROVES = (
    "No argument can approve a submission: only the user can, when their client asks them"
    " or where an answer approval_needed says."
)

_CONSENT = re.compile(
    r"confirm|approv|consent|accept|agree|allow|permi|force|skip|bypass|live|paid|spend|token", re.IGNORECASE
)
_SECRET = re.compile(r"key|secret|pass|bearer|credential|auth\b", re.IGNORECASE)
_BROKEN_TEXT = re.compile("[\0\ud800-\udfff]")

EXAMPLES = {
    "sheet_id": "Write the sheet_id that explain_payload returned.",
    "sheet_ids": "Write a list of the sheet_id that explain_payload returned.",
    "price": "Copy price from the answer of explain_payload.",
    "what": "Copy what from the answer of explain_payload.",
    "task_id": "Write a task_id from submit_video or list_tasks.",
    "task_ids": "Write a list of task_id from submit_video or list_tasks.",
    "id": "Write a sheet_id or a task_id.",
    "wait_for": 'Write "all" or "any".',
    "picture": 'Write "contact_sheet" or "still".',
    "details": "Write true or false.",
    "prompt": "Describe the shot in text.",
    "duration_seconds": "Write whole seconds, for example 8.",
    "aspect_ratio": 'Write for example "16:9" or "9:16".',
    "resolution": 'Write for example "720p" or "1080p", or leave it out.',
    "audio": "Write true or false.",
    "seed": "Write a whole number.",
    "negative_prompt": "Say in text what the clip must not show.",
    "image_url": "Give one public https URL, or a path.",
    "last_frame": "Give one public https URL, or a path.",
    "reference_image": "Give a list of public https URLs or paths.",
    "reference_video": "Give a list of public https URLs.",
    "reference_audio": "Give a list of public https URLs.",
    "callback_url": "Leave it out: polling needs none.",
    "payload": "Give the gateway's JSON object.",
    "gateway": "list_models names them.",
    "model": "list_models names them.",
    "wait_seconds": "Write seconds from 0 to 45.",
    "limit": "Write a number from 1 to 50.",
    "only_open": "Write true or false.",
}
"""What to write instead, for each argument."""

RULES = {
    "missing": "is missing",
    "string_type": "must be text",
    "string_too_long": "has at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "too_long": "has at most {max_length} entries",
    "literal_error": "must be {expected}",
    "dict_type": "must be a JSON object, or a JSON string of one",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
"""Pydantic's kinds of error in plain words. The value itself is never filled in."""


class Refusal(ToolError):
    """A tool call that was refused for this reason, before anything was decided."""

    def __init__(self, text: str, *, code: str = "invalid_argument") -> None:
        super().__init__(text)
        self.code = code


def unknown_tool(name: str) -> str:
    """The answer to a call of a tool that does not exist."""
    return f"There is no tool '{_clean(name)}'. {NOTHING_SENT}"


def check_arguments(
    tool: Tool, given: Mapping[str, Any], *, required: tuple[str, ...] = (), hidden: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The arguments as the tool can take them; raises `Refusal`, which names everything that is wrong.

    null, an empty text and an empty object count as not given. `payload` may be a JSON string or a whole request, a
    list of ids one id. `required` must be given unless one of the `hidden` is, the form of an earlier release.
    """
    fields = tool.fn_metadata.arg_model.model_fields
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise Refusal(_unknown_text(tool.name, unknown[0], tuple(name for name in fields if name not in hidden)))
    payload = given.get("payload")
    read = {**given, "payload": _read_object(payload)} if isinstance(payload, str) else given
    arguments = {name: _read_ids(name, value) for name, value in read.items() if not _is_empty(value)}
    required = () if any(name in arguments for name in hidden) else required
    complaints = [_complaint(name, RULES["missing"]) for name in required if name not in arguments]
    complaints += [
        f"Argument '{name}' holds characters that JSON text cannot carry (NUL or half of a surrogate pair)."
        " Remove them."
        for name, value in arguments.items()
        if _has_broken_text(value)
    ]
    complaints += [
        _complaint(name, "must be a number, not true or false")
        for name, value in arguments.items()
        if isinstance(value, bool) and fields[name].annotation in (int, float, int | None)
    ]
    if not complaints:
        complaints = _validate(tool, arguments)
    if complaints:
        refuse(*complaints)
    return arguments


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value in ({}, [])


def _read_ids(name: str, value: Any) -> Any:
    """A list of ids may come as a JSON string of one, or as one id."""
    if name not in ID_LISTS or not isinstance(value, str):
        return value
    read = _read_object(value) if value.lstrip().startswith("[") else [value]
    return read if isinstance(read, list) else [value]


def refuse(*complaints: str) -> NoReturn:
    """Refuse a call for these reasons."""
    raise Refusal(" ".join((*complaints, NOTHING_SENT)))


def _validate(tool: Tool, arguments: Mapping[str, Any]) -> list[str]:
    if len(json.dumps(arguments.get("payload"))) > MOST_PAYLOAD_CHARACTERS:
        return [_complaint("payload", f"has at most {MOST_PAYLOAD_CHARACTERS:,} characters")]
    try:
        tool.fn_metadata.arg_model.model_validate(arguments)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return [
            _complaint(str(item["loc"][0]), RULES.get(item["type"], "is not valid").format(**item.get("ctx", {})))
            for item in found
        ]
    return []


def _complaint(name: str, rule: str) -> str:
    return f"Argument '{name}' {rule}. {EXAMPLES.get(name, '')}".rstrip()


def _unknown_text(tool: str, name: str, known: tuple[str, ...]) -> str:
    """The answer to an unknown argument. Its name is the caller's own text."""
    parts = [f"Unknown argument '{_clean(name)}'. {NOTHING_SENT}"]
    near = [meant] if (meant := _meant(name)) in known else []
    if near := near or difflib.get_close_matches(name[:40].lower(), known, n=1, cutoff=0.7):
        parts.append(f"Did you mean '{near[0]}'?")
    parts.append(f"{tool} takes {', '.join(known)}, and nothing else." if known else f"{tool} takes no arguments.")
    if _SECRET.search(name):
        parts.append(for_agent(NextStep(Action.SETUP, "Keys and passphrases are never arguments.")))
    if tool == "submit_video" or _CONSENT.search(name):
        parts.append(NO_ARGUMENT_APPROVES)
    return " ".join(parts)


def _meant(name: str) -> str | None:
    """The argument that holds what a payload's field of that name holds: `seconds` is `duration_seconds`."""
    from callsheet.core.payload.request import role_of
    from callsheet.core.shot import PUBLIC_NAMES

    role = role_of(name) or ""
    return {"size": "resolution", "callback": "callback_url", **PUBLIC_NAMES}.get(role, role)


def _clean(name: str) -> str:
    """A name that the caller wrote, safe to show."""
    from callsheet.core.security.redaction import clean

    return clean(name, limit=40)


def _read_object(text: str) -> Any:
    """The object that a JSON string, a request line or a curl command holds. Any other text is refused later."""
    if len(text) > MOST_PAYLOAD_CHARACTERS:
        return text
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        from callsheet.core.payload.request import parse_request

        return text if text.lstrip().startswith(("{", "[")) else parse_request(text) or text


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _has_broken_text(value: object) -> bool:
    """Whether any text in a value, keys included, holds NUL or half of a surrogate pair."""
    return any(_BROKEN_TEXT.search(text) for text in _texts(value))


def _texts(value: object) -> Iterable[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend((*item.keys(), *item.values()))
        elif isinstance(item, list):
            waiting.extend(item)
