"""Removes keys from texts, JSON values and whole results before they are sent. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callsheet.core.security.redaction import Redactor

MOST_BINARY_BYTES = 2_097_152
BINARY_KINDS = ("image/", "audio/")
BINARY_FIELDS = ("data", "blob")


def redact_text(redactor: Redactor, text: str) -> str:
    """A text without keys, and without halves of surrogate pairs (they come from odd file names)."""
    return redactor.text(text).encode("utf-8", "replace").decode()


def redact_value(redactor: Redactor, value: Any) -> Any:
    """The same for a JSON value."""
    hidden = redactor.value(value)
    try:
        json.dumps(hidden, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.loads(json.dumps(hidden, ensure_ascii=False).encode("utf-8", "replace"))
    return hidden


def redact_result(redactor: Redactor, result: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a result as it goes over the wire; raises `ValueError` where a binary part must be withheld.

    `requestState` is sealed by the SDK and must come back as it went.
    """
    redacted = redact_value(redactor, {**result, "requestState": None})
    for part, clean_part in zip(find_parts(result), find_parts(redacted), strict=True):
        for name in BINARY_FIELDS:
            if isinstance(part.get(name), str):
                check_binary(redactor, part[name], part.get("mimeType"))
                clean_part[name] = part[name]
    if "requestState" in result:
        return {**redacted, "requestState": result["requestState"]}
    del redacted["requestState"]
    return redacted  # type: ignore[no-any-return]  # a dict again


def check_binary(redactor: Redactor, encoded: str, mime_type: str | None) -> None:
    """Raise `ValueError` for content in base64 that must be withheld. The largest takes a second: use a thread."""
    if not (mime_type or "").startswith(BINARY_KINDS):
        raise ValueError("only pictures and sounds are sent as binary")
    content = base64.b64decode(encoded, validate=True)
    if len(content) > MOST_BINARY_BYTES:
        raise ValueError("a picture or sound is too large")
    # Also finds a key in plain text among the bytes: base64 is one of the spellings that are known.
    if redactor.finds(encoded):
        raise ValueError("it contains an API key")


def has_binary(result: Mapping[str, Any]) -> bool:
    return any(name in part for part in find_parts(result) for name in BINARY_FIELDS)


def find_parts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a result that may hold text or binary: of a tool, a prompt or a resource."""
    blocks = [
        *result.get("content", ()),
        *(message["content"] for message in result.get("messages", ())),
        *result.get("contents", ()),
    ]
    return [block.get("resource", block) for block in blocks]
