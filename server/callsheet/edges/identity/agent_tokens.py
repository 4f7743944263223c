"""Agent tokens: for agents that cannot sign in by OAuth. Made on the desk, shown once, stored as a hash.

A token is 256 random bits, so a plain SHA-256 of it cannot be guessed back. Its prefix lets scanners of secrets
find one that was published, and tells it from a token of the identity provider.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from callsheet.errors import InvalidRequest

PREFIX = "callsheet_agent_"
MOST_DAYS = 90
_FORM = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class AgentToken:
    """A new token: `text` is shown once, `digest` is stored. `expires_at` is in seconds since the epoch."""

    text: str = field(repr=False)
    digest: str
    expires_at: int


def mint_agent_token(*, now: float, days: int = MOST_DAYS) -> AgentToken:
    """A token that is valid for that many days, 1 to 90. Raises `InvalidRequest`."""
    if not 1 <= days <= MOST_DAYS:
        raise InvalidRequest(
            f"An agent token cannot be valid for {days} days.", next_step=f"Choose 1 to {MOST_DAYS} days."
        )
    text = PREFIX + secrets.token_urlsafe(32)
    return AgentToken(text, _hash(text), int(now) + days * 86_400)


def hash_agent_token(text: str) -> str | None:
    """The digest under which a token is stored; None for what is no agent token, so nothing needs to be looked up."""
    return _hash(text) if _FORM.fullmatch(text) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
