"""`callsheet explain`: the request, its errors and its price. Sends nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from callsheet.service import Draft
from callsheet.surface.cli.console.command import MAKE, Command, Full, Json
from callsheet.surface.cli.console.exit_codes import exit_for_explanation
from callsheet.surface.cli.console.explanation_view import write_explanation, write_json_explanation
from callsheet.surface.cli.console.session import begin
from callsheet.surface.cli.console.shot_options import takes_shot

EXAMPLES = (
    'explain "A red kite over dunes at dusk, slow pan" --duration 8',
    'explain "A red kite" --gateway poyo --model sora-2-official --curl',
    'explain "The cat wakes up" --image ./cat.png',
    "explain --payload payload.json --json",
)


@takes_shot
def explain(
    context: typer.Context,
    draft: Draft,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show everything: request, sources, times.")] = False,
    curl: Annotated[bool, typer.Option("--curl", help="Show the request, and how curl would send it.")] = False,
    full: Full = False,
    as_json: Json = False,
) -> int:
    """Show what a shot would cost and what is wrong with it, and the exact request. Nothing is sent.

    Without a model, the models that can take the shot are listed, cheapest first. The answer names a
    sheet, which can then be approved and submitted.
    """
    session = begin(context, as_json)
    explanation = session.service.explain(draft)
    catalogue = session.service.catalogue
    if as_json:
        write_json_explanation(session, explanation, full=full)
    else:
        write_explanation(session.output, explanation, catalogue, verbose=verbose, curl=curl)
    return exit_for_explanation(explanation, is_payload=draft.payload is not None)


COMMANDS = (Command("explain", explain, MAKE, "what would be sent, its price, its errors", EXAMPLES),)
