"""Asks the user through their client: with a form, or with a link to the desk.

In the form, the typed amount is the only consent. The desk's address approves nothing: that needs the passphrase or
a passkey there, and the ledger has the result. What the client can do is read from what it declared; if it declared
neither, nobody is asked and `submit_video` gives the command for a terminal. A declined, cancelled or unusable answer
only ever means "not approved": a client may answer so without a person.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Context, DeclinedElicitation, Elicit, ElicitationResult
from mcp.types import ClientCapabilities, ElicitRequest, ElicitRequestURLParams, ElicitResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, ConfigDict, Field

from callsheet.surface.next_steps import error_for_agent

from .arguments import Refusal
from .lifespan import ServerState

if TYPE_CHECKING:
    from callsheet.service import Service

NEWER_ERA = "2026-07-28"
DESK = "desk"
DESK_SECONDS = 40.0
"""How long a call waits for an approval on the desk; clients give up at 60 s."""

# The SDK asks the question, between `answer_deadline` and the tool: nothing else connects the two.
_deadline: ContextVar[anyio.CancelScope | None] = ContextVar("_deadline", default=None)


class TypedAmount(BaseModel):
    """The form that the user fills in."""

    # Some clients turn what was typed into a number.
    model_config = ConfigDict(title="Approval", coerce_numbers_to_str=True)

    amount_usd: str = Field(
        title="Amount in US dollars",
        description="To approve, type exactly the amount shown above. Anything else approves nothing.",
    )


def state_of(context: Context) -> ServerState:
    """The state of the server that received the request."""
    return cast("ServerState", context.request_context.lifespan_context)


async def ask(context: Context, sheet_id: str, ask_again: bool) -> TypedAmount | Elicit[TypedAmount] | None:
    """The question for a sheet, if one needs to be and can be asked; else None.

    The text comes from the stored sheet, so it is the same in every round of one call.
    """
    service = state_of(context).service
    if not can_ask(context.client_capabilities):
        return None
    question = service.question(sheet_id, ask_again=ask_again)
    if question is None:
        return None
    # An approval elsewhere while the form is open sends it too.
    service.put_forward(sheet_id)
    text = f"{question.text}\n\nTo approve, type {question.amount_text} below. Anything else sends nothing."
    return Elicit(state_of(context).redact_text(text), TypedAmount)


def can_ask(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared forms. An empty declaration means forms; one with only URLs does not."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and (asking.form is not None or asking.url is None)


@contextmanager
def answer_deadline(sheet_id: str, seconds: float) -> Iterator[None]:
    """Bound the wait for the client's answer in the block; raises `Refusal` when it is over.

    The work after the answer is not bounded: `take_answer` lifts the deadline.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        mark = _deadline.set(scope)
        try:
            yield
        finally:
            _deadline.reset(mark)
    if scope.cancelled_caught:
        raise not_approved(sheet_id, "no_answer")


def can_open_page(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared that it can open a page for a person."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and asking.url is not None


class DeskRequest(Exception):
    """Carries the request to open the desk, for the newer era, where a call ends with its question."""

    def __init__(self, request: ElicitRequest) -> None:
        super().__init__("the client is asked to open the desk")
        self.request = request


async def open_desk_page(context: Context, sheet_id: str) -> bool:
    """Ask the client to open the desk if it runs; whether it did. The caller then waits for the user's approval.

    Raises `DeskRequest` in the newer era, where the client repeats the call. The result is in the ledger.
    """
    service = state_of(context).service
    url = service.desk_url()
    if url is None or not can_open_page(context.client_capabilities):
        return False
    message = f"Open the Callsheet desk to review sheet {sheet_id} and to approve or decline it there."
    page = f"{url}sheets/{sheet_id}"
    if is_version_at_least(context.protocol_version or "", NEWER_ERA):
        answer = (context.input_responses or {}).get(DESK)
        if answer is None:
            raise DeskRequest(ElicitRequest(params=ElicitRequestURLParams(message=message, url=page)))
        return isinstance(answer, ElicitResult) and answer.action == "accept"
    with anyio.move_on_after(state_of(context).longest_question_seconds):
        return (await context.elicit_url(message, page, secrets.token_hex(16))).action == "accept"
    return False


ON_APPROVAL = "Their approval sends it. Do not ask for the amount or look for another way."


def take_answer(
    service: Service, sheet_id: str, answer: ElicitationResult[TypedAmount], *, ask_again: bool = False
) -> None:
    """Approve the sheet if the user typed its amount; do nothing if nobody was asked. Raises `NotApproved`."""
    from callsheet.core.consent import Means
    from callsheet.service import Answer

    if (waiting := _deadline.get()) is not None:
        waiting.deadline = float("inf")
    if not isinstance(answer, AcceptedElicitation):
        kind = Answer.DECLINED if isinstance(answer, DeclinedElicitation) else Answer.CANCELLED
        raise service.keep_answer(sheet_id, answer=kind)
    # If nobody was asked, the SDK passes on what `ask` returned.
    if cast("TypedAmount | None", answer.data) is None:
        return
    # Approved elsewhere or spent by another call meanwhile: submitting decides, and returns the existing task.
    if service.question(sheet_id, ask_again=ask_again) is None:
        return
    service.approve_typed(sheet_id, typed=answer.data.amount_usd, by=Means.CLIENT, ask_again=ask_again)


def not_approved(sheet_id: str, answer: str) -> Refusal:
    """The refusal after a question to which no form came back."""
    from callsheet.service.approval import questions

    error = questions.not_approved((sheet_id,), questions.Answer(answer))
    return Refusal(f"{answer}: {error_for_agent(error)} {ON_APPROVAL}")
