"""Redaction of all output: keys are removed from text; binary data is sent only if it is small and holds no key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from connection import ERAS, connect, text_of, whole
from mcp.shared.exceptions import MCPError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from callsheet.core.security.redaction import HIDDEN, Redactor
from callsheet.surface.mcp.redaction import MOST_BINARY_BYTES, redact_result
from callsheet.surface.mcp.stdio import build_server
from workspace import KEY, Workspace

PICTURE = b"\xff\xd8\xff\xe0 a picture"
NOTES = {"note": f"made with {KEY}", KEY: [KEY]}
REDACTOR = Redactor([KEY])


def encoded(content: bytes) -> str:
    """As it stands in a message."""
    return base64.b64encode(content).decode()


def document(**parts: Any) -> EmbeddedResource:
    """A document inside a message, with a key in its address and notes."""
    return EmbeddedResource(
        resource=TextResourceContents(uri=f"x://{KEY}", mime_type="text/plain", _meta=NOTES, **parts), _meta=NOTES
    )


def blob(content: bytes, mime_type: str | None = "image/jpeg") -> EmbeddedResource:
    """A file inside a message."""
    return EmbeddedResource(resource=BlobResourceContents(uri="x://a", mime_type=mime_type, blob=encoded(content)))


def picture(content: bytes, mime_type: str = "image/jpeg") -> ImageContent:
    """A picture with notes that hold a key."""
    return ImageContent(data=encoded(content), mime_type=mime_type, _meta=NOTES)


def redacted(redactor: Redactor, block: ContentBlock) -> ContentBlock:
    """The part as it leaves in the result of a tool."""
    wire = {"content": [block.model_dump(mode="json", by_alias=True, exclude_none=True)]}
    return type(block).model_validate(redact_result(redactor, wire)["content"][0])


@pytest.mark.parametrize(
    "block",
    [
        TextContent(text=f"the key is {KEY}", _meta=NOTES),
        ResourceLink(uri=f"file:///{KEY}", name=KEY, title=KEY, description=KEY, mime_type="text/plain", _meta=NOTES),
        document(text=f"the key is {KEY}"),
        picture(PICTURE),
        AudioContent(data=encoded(PICTURE), mime_type="audio/wav", _meta=NOTES),
    ],
    ids=lambda block: block.type,
)
def test_keys_are_removed_from_every_text_of_every_part(block: ContentBlock) -> None:
    """Texts, addresses, names, titles, descriptions, notes and the names of notes; the binary stays as it is."""
    fitted = redacted(REDACTOR, block)

    assert KEY in block.model_dump_json()
    assert KEY not in fitted.model_dump_json()
    assert HIDDEN in fitted.model_dump_json()
    assert type(fitted) is type(block)
    assert getattr(fitted, "data", None) == getattr(block, "data", None)


def test_a_part_without_a_key_is_sent_unchanged() -> None:
    """Nothing is added and nothing is lost."""
    for block in (TextContent(text="hello"), picture(PICTURE), blob(PICTURE), document(text="hello")):
        assert redacted(Redactor(["some-other-key-4711-0815"]), block) == block


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("build", [picture, blob])
def test_binary_data_with_a_key_is_not_sent(build: Any, place: int) -> None:
    """Nothing can be hidden inside it, so it is refused whole, wherever the key begins."""
    with pytest.raises(ValueError, match="it contains an API key") as refused:
        redacted(REDACTOR, build(PICTURE + bytes(place) + KEY.encode() + b"more"))

    assert KEY not in str(refused.value)


@pytest.mark.parametrize("build", [picture, blob])
def test_binary_data_is_sent_up_to_a_size(build: Any) -> None:
    """The last byte that may leave, and the first that may not."""
    largest = build(bytes(MOST_BINARY_BYTES))

    assert redacted(Redactor([]), largest) == largest
    with pytest.raises(ValueError, match="too large"):
        redacted(Redactor([]), build(bytes(MOST_BINARY_BYTES + 1)))


@pytest.mark.parametrize("kind", ["video/mp4", "application/octet-stream", "", None])
def test_no_other_binary_data_is_sent(kind: str | None) -> None:
    """Not even a video: its path is sent instead."""
    with pytest.raises(ValueError, match="only pictures and sounds"):
        redacted(REDACTOR, blob(PICTURE, kind))


def test_keys_are_removed_from_the_metadata_of_a_result() -> None:
    """Beside its parts and its values."""
    result = CallToolResult(content=[], structured_content={"key": KEY}, _meta=NOTES)

    assert KEY not in json.dumps(redact_result(REDACTOR, result.model_dump(mode="json", by_alias=True)))


@pytest.mark.parametrize("era", ERAS)
async def test_results_of_tools_resources_and_prompts_are_all_redacted(workspace: Workspace, era: str) -> None:
    """Anything added to the server is redacted; forbidden content becomes an error that does not quote it."""
    workspace.go_live()
    server = build_server(workspace.service())
    stained = PICTURE + KEY.encode()
    server.tool(name="paint", description="A picture.")(lambda: CallToolResult(content=[picture(stained)]))
    server.prompt(name="see", description="A picture.")(lambda: [{"role": "user", "content": picture(stained)}])
    server.prompt(name="read", description="A text.")(lambda: [{"role": "user", "content": document(text=KEY)}])
    server.resource("x://stained", name="stained", mime_type="image/jpeg")(lambda: stained)
    server.resource("x://clean", name="clean", mime_type="image/jpeg")(lambda: PICTURE)
    async with connect(workspace, era, server=server) as client:
        painted = await client.call_tool("paint", {})
        read = await client.get_prompt("read")
        clean = await client.read_resource("x://clean")
        with pytest.raises(MCPError) as unread:
            await client.read_resource("x://stained")
        with pytest.raises(MCPError) as unseen:
            await client.get_prompt("see")

    assert painted.is_error
    assert "Nothing was sent" in text_of(painted)
    assert base64.b64decode(clean.contents[0].blob) == PICTURE
    assert "it contains an API key" in unread.value.message
    assert "it contains an API key" in unseen.value.message
    for left in (whole(painted), read.model_dump_json(), str(unread.value.error), str(unseen.value.error)):
        assert KEY not in left
        assert encoded(stained) not in left
