"""What the shell offers when Tab is pressed: ids from the ledger, names from the catalogue.

Nothing here reports an error or waits: an error means that nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from callsheet.core.tasks import SheetState
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.errors import CallsheetError

from .session import Session

Offers = list[tuple[str, str]]

OFFERED = 30


def _offer(context: typer.Context, incomplete: str, list_all: Callable[[Session], Offers]) -> Offers:
    session = context.find_object(Session)
    if session is None:
        return []
    try:
        return [offer for offer in list_all(session) if offer[0].startswith(incomplete)]
    except (CallsheetError, OSError):
        # The shell cannot show an error here; the command itself will.
        return []


def complete_open_sheets(context: typer.Context, incomplete: str) -> Any:
    """Sheets that could be approved, declined or submitted, newest first."""
    states = (SheetState.AWAITING_APPROVAL, SheetState.APPROVED, SheetState.DRAFTED)

    def sheets(session: Session) -> Offers:
        found = session.service.sheets(states, limit=OFFERED)
        return [(sheet.id, f"{sheet.card_id}, {sheet.state.value.replace('_', ' ')}") for sheet in found]

    return _offer(context, incomplete, sheets)


def complete_tasks(context: typer.Context, incomplete: str) -> Any:
    """Tasks: those of unknown outcome, then the newest."""

    def tasks(session: Session) -> Offers:
        found = session.service.task_records(limit=OFFERED)
        return [(task.id, f"{task.card_id}, {task.state.value.replace('_', ' ')}") for task in found]

    return _offer(context, incomplete, tasks)


def complete_gateways(context: typer.Context, incomplete: str) -> Any:
    """The gateways of the catalogue."""
    return _offer(context, incomplete, lambda _: [(facts.id, facts.name) for facts in load_catalogue().gateways])


def complete_models(context: typer.Context, incomplete: str) -> Any:
    """The models of the gateway on the command line, else of all gateways."""
    named = context.params.get("gateway")

    def models(_: Session) -> Offers:
        cards = [card for card in load_catalogue().cards if named in (None, card.gateway)]
        return list({card.model: card.title for card in cards}.items())

    return _offer(context, incomplete, models)
