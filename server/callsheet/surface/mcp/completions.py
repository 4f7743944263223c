"""Completions for what a person types into a resource template or a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcp.server.mcpserver import MCPServer
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from .lifespan import ServerState
from .prompts import DRAFT_SHOT
from .resources import CONTACT_SHEET, MODEL, POSTER, REFERENCE, TASK

if TYPE_CHECKING:
    from callsheet.service import Service

MOST_VALUES = 100


def register(mcp: MCPServer[ServerState], state: ServerState) -> None:
    """Add the completion handler."""

    async def complete(
        reference: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        known = (context.arguments if context else None) or {}
        place = reference.name if isinstance(reference, PromptReference) else reference.uri
        return _matching(_candidates(state.service, place, argument.name, known), argument.value)

    mcp.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK leaves the decorator untyped


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
            from .references import reference_names

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
