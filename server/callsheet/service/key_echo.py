"""A gateway that answers with our own key: such a value is no id, no state and no link, and nothing of it is kept."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from callsheet.core.gateway.protocol import Accepted, GatewayProblem, Progress, StatusOutcome, SubmitOutcome, Unclear

from .dependencies import Dependencies
from .ports import SecretKey, build_redactor

KEY_RETURNED = "key_returned"
KEY_RETURNED_TEXT = "the gateway gave the key back: replace it"


def holds_key(deps: Dependencies, key: SecretKey | None, *values: str) -> bool:
    """Whether a value has the key that was just used, or another that is known, in any spelling."""
    redactors = [deps.redactor(), *([build_redactor([key])] if key is not None else [])]
    spellings = {text for value in values for text in (value, unquote(value), unquote(unquote(value)))}
    return any(redactor.finds(text) for redactor in redactors for text in spellings)


def screen_submit(deps: Dependencies, key: SecretKey | None, outcome: SubmitOutcome) -> SubmitOutcome:
    """The answer to a paid request; unclear where its id or its state has the key."""
    match outcome:
        case Accepted(found, state) if holds_key(deps, key, found, state):
            problem = GatewayProblem(200, KEY_RETURNED, "", page=KEY_RETURNED_TEXT)
        case Unclear(problem, found) if holds_key(deps, key, found):
            problem = replace(problem, code=KEY_RETURNED, message="", page=KEY_RETURNED_TEXT)
        case _:
            return outcome
    return Unclear(problem, "" if holds_key(deps, key, found) else found)


def screen_status(deps: Dependencies, key: SecretKey | None, outcome: StatusOutcome) -> StatusOutcome | None:
    """A status answer without links that have the key; None where nothing is left to go by."""
    if not isinstance(outcome, Progress):
        return outcome
    links = tuple(link for link in outcome.video_urls if not holds_key(deps, key, link))
    if holds_key(deps, key, outcome.said, outcome.named_id) or (outcome.video_urls and not links):
        return None
    return replace(outcome, video_urls=links)
