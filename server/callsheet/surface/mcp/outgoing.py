"""What is done to everything before it leaves: keys are hidden, and what JSON cannot carry is replaced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

if TYPE_CHECKING:
    from callsheet.core.redaction import Redactor


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


def fit_result(redactor: Redactor, result: CallToolResult) -> CallToolResult:
    """The same for a tool's result."""
    return result.model_copy(
        update={
            "content": [_fit_block(redactor, block) for block in result.content],
            "structured_content": fit_value(redactor, result.structured_content),
        }
    )


def _fit_block(redactor: Redactor, block: ContentBlock) -> ContentBlock:
    if isinstance(block, TextContent):
        return TextContent(text=fit_text(redactor, block.text))
    if isinstance(block, ResourceLink):
        texts = {
            name: fit_text(redactor, value)
            for name in ("uri", "name", "title", "description")
            if (value := getattr(block, name)) is not None
        }
        return block.model_copy(update=texts)
    raise TypeError(f"a {type(block).__name__} may not leave")
