"""What is done to everything before it leaves: keys are hidden, and what JSON cannot carry is replaced.

Pictures and sounds leave if they are small. Nothing can be hidden inside them, so one that carries a key does not
leave at all. The program itself sends none but the pictures that it drew of a saved clip, as resources; a
video is told by its path and never goes through the protocol.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock

if TYPE_CHECKING:
    from callsheet.core.security.redaction import Redactor

MOST_BINARY_BYTES = 2_097_152
BINARY_KINDS = ("image/", "audio/")
BINARY_FIELDS = ("data", "blob")


def fit_text(redactor: Redactor, text: str) -> str:
    """A text without keys, and without halves of surrogate pairs (they come from odd file names)."""
    return redactor.text(text).encode("utf-8", "replace").decode()


def fit_value(redactor: Redactor, value: Any) -> Any:
    """The same for a JSON value."""
    hidden = redactor.value(value)
    try:
        json.dumps(hidden, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.loads(json.dumps(hidden, ensure_ascii=False).encode("utf-8", "replace"))
    return hidden


def fit_binary(redactor: Redactor, content: bytes, mime_type: str | None) -> bytes:
    """The same bytes; raises `ValueError` if they may not leave. Takes a second for the largest: use a thread."""
    if not (mime_type or "").startswith(BINARY_KINDS):
        raise ValueError("only pictures and sounds leave as binary")
    if len(content) > MOST_BINARY_BYTES:
        raise ValueError("a picture or sound is too large to leave")
    # Also finds a key that stands in plain among the bytes: base64 is one of the spellings that are known.
    if redactor.finds(base64.b64encode(content).decode()):
        raise ValueError("a key stands in a picture or sound")
    return content


def fit_block(redactor: Redactor, block: ContentBlock) -> ContentBlock:
    """The same for a part of a result or of a prompt: its words, names, addresses and notes, and its binary."""
    whole = block.model_dump(by_alias=True, exclude_none=True)
    inner = whole.get("resource", whole)
    binary = {name: inner.pop(name) for name in BINARY_FIELDS if name in inner}
    for content in binary.values():
        fit_binary(redactor, base64.b64decode(content, validate=True), inner.get("mimeType"))
    hidden = fit_value(redactor, whole)
    hidden.get("resource", hidden).update(binary)
    return type(block).model_validate(hidden)


def fit_result(redactor: Redactor, result: CallToolResult) -> CallToolResult:
    """The same for a tool's result."""
    return result.model_copy(
        update={
            "content": [fit_block(redactor, block) for block in result.content],
            "structured_content": fit_value(redactor, result.structured_content),
            "meta": fit_value(redactor, result.meta),
        }
    )
