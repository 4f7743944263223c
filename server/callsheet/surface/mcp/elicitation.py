"""Asks the user through their client: with a form, or with a link to the desk.

In the form, the typed amount is the only consent. The desk's address approves nothing: that needs the passphrase or
a passkey there, and the ledger has the result. What the client can do is read from what it declared; if it declared
neither, nobody is asked and `submit_video` gives the command for a terminal. A declined, cancelled or unusable answer
only ever means "not approved": a client may answer so without a person.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Context, DeclinedElicitation, Elicit, ElicitationResult
from mcp.types import ClientCapabilities, ElicitRequest, ElicitRequestURLParams, ElicitResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, ConfigDict, Field

from callsheet.errors import CallsheetError

from .arguments import NOTHING_SENT, Refusal
from .lifespan import ServerState

if TYPE_CHECKING:
    from callsheet.service import Question, Service

NEWER_ERA = "2026-07-28"
DESK = "desk"
DESK_SECONDS = 40.0
"""How long a call waits for an approval on the desk; clients give up at 60 s."""

MOST_BLANKS = 8
"""How many characters a copy may be longer by; more could push the rest of a client's dialog out of sight."""


@dataclass
class Asking:
    """One call that may ask: how long it waits for the answer, and what was asked."""

    scope: anyio.CancelScope
    question: Question | None = None


# The SDK asks the question, between `answer_deadline` and the tool: nothing else connects the two.
_asking: ContextVar[Asking | None] = ContextVar("_asking", default=None)


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


async def ask(
    context: Context, sheet_ids: list[str] | None, price: str, what: str, ask_again: bool, sheet_id: str
) -> TypedAmount | Elicit[TypedAmount] | None:
    """The one question for the sheets, if one needs to be and can be asked; else None.

    The text comes from the stored sheets, so it is the same in every round of one call.
    """
    service, ids = state_of(context).service, list(dict.fromkeys(sheet_ids or [sheet_id]))
    if not can_ask(context.client_capabilities):
        return None
    try:
        if sheet_ids or price or what:
            require_copies(service, ids, price, what)
        question = service.question(*ids, ask_again=ask_again)
        if question is not None:
            # An approval elsewhere while the form is open sends them too. Nothing else is sent before the answer: after
            # a no, the call has sent nothing.
            service.put_forward(*question.sheet_ids)
    except (CallsheetError, Refusal):
        # The tool itself meets this, and says it.
        return None
    if question is None:
        return None
    if (asking := _asking.get()) is not None:
        asking.question = question
    text = f"{question.text}\n\nTo approve, type {question.amount_text} below. Anything else sends nothing."
    return Elicit(state_of(context).redact_text(text), TypedAmount)


def sheet_ids_of(arguments: Mapping[str, Any]) -> list[str]:
    """The sheets that a call of `submit_video` names, in its present or its older form."""
    given = arguments.get("sheet_ids") or [arguments.get("sheet_id") or ""]
    return [str(item) for item in given] if isinstance(given, list) else [str(given)]


def require_copies(service: Service, sheet_ids: Sequence[str], price: str, what: str) -> None:
    """Raise `Refusal` unless these are the sheets' price and description, as the client's own dialog shows them.

    They approve nothing. Only a few spaces may differ.
    """
    quote = service.quote(sheet_ids)
    copies = ((price, quote.price), (what, quote.what))
    if any(text.split() != right.split() or len(text) > len(right) + MOST_BLANKS for text, right in copies):
        text = f"price and what are not those of the sheets. Right are price={_quoted(quote.price)}"
        raise Refusal(f"{text}, what={_quoted(quote.what)}. {NOTHING_SENT}", code="not_as_explained")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def can_ask(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared forms. An empty declaration means forms; one with only URLs does not."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and (asking.form is not None or asking.url is None)


@contextmanager
def answer_deadline(service: Callable[[], Service], sheet_ids: Sequence[str], seconds: float) -> Iterator[None]:
    """Bound the wait for the client's answer in the block; raises `NotApproved` when it is over.

    The work after the answer is not bounded: `take_answer` lifts the deadline.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        mark = _asking.set(Asking(scope))
        try:
            yield
        finally:
            _asking.reset(mark)
    if scope.cancelled_caught:
        from callsheet.service import Answer

        raise service().keep_answer(*sheet_ids, answer=Answer.NO_ANSWER)


def can_open_page(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared that it can open a page for a person."""
    asking = capabilities.elicitation if capabilities else None
    return asking is not None and asking.url is not None


def can_open_desk(context: Context) -> bool:
    """Whether a desk runs, and the client can open its page."""
    return state_of(context).service.desk_url() is not None and can_open_page(context.client_capabilities)


class DeskRequest(Exception):
    """Carries the request to open the desk, for the newer era, where a call ends with its question."""

    def __init__(self, request: ElicitRequest) -> None:
        super().__init__("the client is asked to open the desk")
        self.request = request


async def open_desk_page(context: Context, sheet_ids: Sequence[str]) -> bool:
    """Ask the client to open the desk if it runs; whether it did.

    Raises `DeskRequest` in the newer era, where the client repeats the call. The result is in the ledger.
    """
    url = state_of(context).service.desk_url()
    if url is None:
        return False
    named = f"sheet {sheet_ids[0]}" if len(sheet_ids) == 1 else f"{len(sheet_ids)} sheets"
    message = f"Open the Callsheet desk to review {named} and to approve or decline there."
    page = f"{url}sheets/{sheet_ids[0]}" if len(sheet_ids) == 1 else url
    if is_version_at_least(context.protocol_version or "", NEWER_ERA):
        answer = (context.input_responses or {}).get(DESK)
        if answer is None:
            raise DeskRequest(ElicitRequest(params=ElicitRequestURLParams(message=message, url=page)))
        return isinstance(answer, ElicitResult) and answer.action == "accept"
    with anyio.move_on_after(state_of(context).longest_question_seconds):
        return (await context.elicit_url(message, page, secrets.token_hex(16))).action == "accept"
    return False


def take_answer(
    service: Service, sheet_ids: Sequence[str], answer: ElicitationResult[TypedAmount], *, ask_again: bool = False
) -> None:
    """Approve the sheets if the user typed their amount; do nothing if nobody was asked. Raises `NotApproved`.

    A declined, closed or empty form is never called a person's no: a client may answer so without a person.
    """
    from callsheet.core.consent import Means
    from callsheet.service import Answer

    asking = _asking.get()
    if asking is not None:
        asking.scope.deadline = float("inf")
    if not isinstance(answer, AcceptedElicitation):
        kind = Answer.DECLINED if isinstance(answer, DeclinedElicitation) else Answer.CANCELLED
        raise service.keep_answer(*sheet_ids, answer=kind)
    # If nobody was asked, the SDK passes on what `ask` returned.
    if cast("TypedAmount | None", answer.data) is None or asking is None or asking.question is None:
        return
    asked = asking.question
    # Approved elsewhere or spent by another call meanwhile: submitting decides, and returns the existing task.
    if service.question(*asked.sheet_ids, ask_again=ask_again) is None:
        return
    service.approve_typed(typed=answer.data.amount_usd, by=Means.CLIENT, ask_again=ask_again, asked=asked)
