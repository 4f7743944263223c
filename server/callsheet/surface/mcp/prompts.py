"""The one prompt: it turns an idea into a shot and stops there."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS
from pydantic import Field

from .lifespan import ServerState

DRAFT_SHOT = "draft_shot"
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
LONGEST_CLIP = 600
THEN = """\
Then call explain_payload with the prompt and show the user the payload, the price and the notes.
Do not call submit_video unless the user asks for it.
"""


def register(mcp: MCPServer[ServerState]) -> None:
    """Add the prompt."""
    mcp.prompt(
        name=DRAFT_SHOT,
        title="Draft a shot",
        description="Turn an idea into one Sora 2 shot and explain it. Nothing is submitted.",
    )(draft_shot)


async def draft_shot(
    idea: Annotated[str, Field(description="What the video should show, in a few words")],
    duration_seconds: Annotated[str, Field(description="Length of the clip in whole seconds")] = "",
    with_image: Annotated[str, Field(description="true when a reference image is given")] = "",
) -> str:
    """The guide for drafting a shot; arguments of prompts are always text."""
    from callsheet.core.payload.prompt_lint import draft_prompt_guide

    seconds = duration_seconds.strip()
    if seconds and not (
        seconds.isascii() and seconds.isdigit() and len(seconds) < 4 and 0 < int(seconds) <= LONGEST_CLIP
    ):
        raise MCPError(code=INVALID_PARAMS, message="duration_seconds must be whole seconds, for example 8.")
    image = TRUTHS.get(with_image.strip().lower())
    if image is None:
        raise MCPError(code=INVALID_PARAMS, message="with_image must be true or false.")
    return draft_prompt_guide(idea, int(seconds) if seconds else None, image) + THEN
