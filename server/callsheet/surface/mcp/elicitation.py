"""Asking the person through their client: with a form, or by leading them to the desk page.

In the form the amount they type is the only consent that can come this way. The desk's address carries nothing
that approves: what happens there needs the passphrase or a passkey, and is found in the ledger. What the client can
do is read from what it declared; where it declared neither, nobody is asked and `submit_video` names the command
for a terminal. A declined, cancelled or unusable answer is only ever "not approved": a client may answer so
without a person.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult
from mcp.types import ClientCapabilities, ElicitRequest, ElicitRequestURLParams, ElicitResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, ConfigDict, Field

from callsheet.errors import FATE_SENTENCES, Fate, NotApproved
from callsheet.surface.next_steps import error_for_agent

from .arguments import Refusal
from .lifespan import Backstage

if TYPE_CHECKING:
    from callsheet.service import Service

NEWER_ERA = "2026-07-28"
DESK = "desk"
DESK_SECONDS = 40.0
"""How long a call waits for an approval at the desk; clients give up at 60 s."""

ANSWER_SECONDS = 15.0
"""How long it then waits for the gateway's answer, within the same 60 s."""

LONGEST_QUESTION_SECONDS = 300.0
"""No call waits longer for a person."""

# The question is put by the SDK, between the server's gate and the tool: nothing else goes from one to the other.
_patience: ContextVar[anyio.CancelScope | None] = ContextVar("_patience", default=None)


class TypedAmount(BaseModel):
    """The form a person fills in."""

    # Some clients turn what was typed into a number.
    model_config = ConfigDict(title="Approval", coerce_numbers_to_str=True)

    amount_usd: str = Field(
        title="Amount in US dollars",
        description="To approve, type exactly the amount shown above. Anything else approves nothing.",
    )


def backstage_of(context: Context) -> Backstage:
    """The server's own, from the request."""
    return cast("Backstage", context.request_context.lifespan_context)


async def ask(context: Context, sheet_id: str) -> TypedAmount | Elicit[TypedAmount] | None:
    """The question for a sheet, if one needs to be and can be asked; else None.

    The text comes from the stored sheet, so it is the same in every round of one call.
    """
    service = backstage_of(context).service
    if not can_ask(context.client_capabilities):
        return None
    question = service.question(sheet_id)
    if question is None:
        return None
    text = f"{question.text}\n\nTo approve, type {question.amount_text} below. Anything else sends nothing."
    return Elicit(backstage_of(context).hide(text), TypedAmount)


def can_ask(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared forms. An empty declaration means forms; one of URLs alone does not."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and (asking.form is not None or asking.url is None)


@contextmanager
def patience(sheet_id: str, seconds: float) -> Iterator[None]:
    """Wait no longer than that for the client's answer within the block; then nobody has approved. Raises `Refusal`.

    What comes after the answer is not hurried: `take_answer` lifts the limit.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        mark = _patience.set(scope)
        try:
            yield
        finally:
            _patience.reset(mark)
    if scope.cancelled_caught:
        raise not_approved(sheet_id, "no answer came in time")


def can_lead(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared that it can lead a person to a page."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and asking.url is not None


class LeadToDesk(Exception):
    """Carries the request that leads the person to the desk, where the protocol has calls end with their questions."""

    def __init__(self, request: ElicitRequest) -> None:
        super().__init__("the person is led to the desk")
        self.request = request


async def lead_to_desk(context: Context, sheet_id: str) -> None:
    """Lead the person to the desk if it is open and the client can, then wait a little for their approval.

    Raises `LeadToDesk` in the newer era, where the client comes back with the same call. Says nothing of how it
    ended: the ledger does.
    """
    service = backstage_of(context).service
    url = service.desk_url()
    if url is None or not can_lead(context.client_capabilities):
        return
    message = f"Open Callsheet's desk to look at sheet {sheet_id} and to approve or decline it there."
    page = f"{url}sheets/{sheet_id}"
    if is_version_at_least(context.protocol_version or "", NEWER_ERA):
        answer = (context.input_responses or {}).get(DESK)
        if answer is None:
            raise LeadToDesk(ElicitRequest(params=ElicitRequestURLParams(message=message, url=page)))
        went = isinstance(answer, ElicitResult) and answer.action == "accept"
    else:
        went = False
        with anyio.move_on_after(LONGEST_QUESTION_SECONDS):
            went = (await context.elicit_url(message, page, secrets.token_hex(16))).action == "accept"
    if went:
        await service.wait_for_approval(sheet_id, wait_seconds=DESK_SECONDS)


def take_answer(service: Service, sheet_id: str, answer: ElicitationResult[TypedAmount]) -> None:
    """Approve the sheet if a person typed its amount; do nothing if nobody was asked. Raises `Refusal`."""
    from callsheet.core.consent.approval import Means

    if (waiting := _patience.get()) is not None:
        waiting.deadline = float("inf")
    if not isinstance(answer, AcceptedElicitation):
        raise not_approved(sheet_id, "the client returned no amount")
    # Where nobody was asked, the SDK hands on what `ask` returned.
    if cast("TypedAmount | None", answer.data) is None:
        return
    # Approved elsewhere or spent by another call meanwhile: submitting decides, and returns the task there is.
    if service.question(sheet_id) is None:
        return
    try:
        service.approve_typed(sheet_id, answer.data.amount_usd, by=Means.CLIENT)
    except NotApproved as error:
        raise Refusal(f"Not approved. {error_for_agent(error)}") from None


def not_approved(sheet_id: str, reason: str) -> Refusal:
    """The refusal after a question that brought no approval. It never says that a person said no."""
    return Refusal(
        f"Not approved: {reason}. {FATE_SENTENCES[Fate.NOTHING_SENT]}"
        f" If the person wants it, they run `callsheet approve {sheet_id}` in their own terminal;"
        " then call submit_video again. Do not ask for the amount or look for another way."
    )
