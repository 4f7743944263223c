"""The one prompt, which turns an idea into a shot and stops there, and completions for what a person types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)
from pydantic import Field

from .lifespan import ServerState
from .resources import CONTACT_SHEET, MODEL, POSTER, REFERENCE, TASK, reference_names

if TYPE_CHECKING:
    from callsheet.service import Service


DRAFT_SHOT = "draft_shot"
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
LONGEST_CLIP = 600
MOST_VALUES = 100
THEN = """\
Then call explain_payload with the prompt and details=true, and show the user the price and the notes on the prompt.
Do not call submit_video unless the user asks for it.
"""


def register(mcp: MCPServer[ServerState], state: ServerState) -> None:
    """Add the prompt and the completion handler."""
    mcp.prompt(
        name=DRAFT_SHOT,
        title="Draft a shot",
        description="Turn an idea into one Sora 2 shot and explain it. Nothing is submitted.",
    )(draft_shot)

    async def complete(
        reference: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        known = (context.arguments if context else None) or {}
        place = reference.name if isinstance(reference, PromptReference) else reference.uri
        return _matching(_candidates(state.service, place, argument.name, known), argument.value)

    mcp.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK leaves the decorator untyped


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


def _candidates(service: Service, place: str, argument: str, known: dict[str, str]) -> Iterable[str]:
    match place, argument:
        case (_, "gateway") if place == MODEL:
            return (facts.id for facts in service.catalogue.gateways)
        case (_, "model") if place == MODEL:
            cards = service.cards()
            return (card.model for card in cards if known.get("gateway") in (None, "", card.gateway))
        case (_, "task_id") if place in (TASK, POSTER, CONTACT_SHEET):
            return (report.task.id for report in service.tasks(limit=MOST_VALUES))
        case (_, "name") if place == REFERENCE:
            return reference_names()
        case (_, "duration_seconds") if place == DRAFT_SHOT:
            from callsheet.surface.views.cards import choices_of

            return map(str, sorted({seconds for card in service.cards() for seconds in choices_of(card).durations}))
        case (_, "with_image") if place == DRAFT_SHOT:
            return ("true", "false")
        case _:
            return ()


def _matching(candidates: Iterable[str], typed: str) -> Completion:
    """Those that start with the typed text, then those that contain it; each once."""
    every = list(dict.fromkeys(candidates))
    begun = typed.lower()
    found = [item for item in every if item.startswith(begun)]
    found += [item for item in every if begun in item and item not in found]
    return Completion(values=found[:MOST_VALUES], total=len(found), has_more=len(found) > MOST_VALUES)
