"""Agent tokens: random, stored as a hash, for 90 days at most."""

from __future__ import annotations

import hashlib

import pytest

from callsheet.edges.identity.agent_tokens import hash_agent_token, mint_agent_token
from callsheet.errors import InvalidRequest


def test_a_token_is_random_and_only_its_hash_is_stored() -> None:
    """256 bits behind a prefix that scanners of secrets can know; its text shows up nowhere by accident."""
    tokens = [mint_agent_token(now=1_800_000_000.9, days=30) for _ in range(50)]
    assert len({token.text for token in tokens}) == 50
    token = tokens[0]
    assert token.text.startswith("callsheet_agent_")
    assert len(token.text) == len("callsheet_agent_") + 43
    assert token.digest == hash_agent_token(token.text) == hashlib.sha256(token.text.encode()).hexdigest()
    assert token.expires_at == 1_800_000_000 + 30 * 86_400
    assert token.text not in repr(token)


@pytest.mark.parametrize("days", [-1, 0, 91])
def test_a_token_is_valid_for_one_to_ninety_days(days: int) -> None:
    """Ninety is what is given where nothing is said."""
    with pytest.raises(InvalidRequest):
        mint_agent_token(now=0.0, days=days)
    assert mint_agent_token(now=0.0).expires_at == mint_agent_token(now=0.0, days=90).expires_at == 90 * 86_400


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t + "x",
        lambda t: t.upper(),
        lambda t: t + "\n",
        lambda _: "a.b.c",
        lambda _: "",
        lambda t: t[:-1] + "é",
    ],
)
def test_what_has_not_the_form_of_a_token_is_not_looked_up(change) -> None:  # type: ignore[no-untyped-def]
    """A token of the provider is none, for example."""
    assert hash_agent_token(change(mint_agent_token(now=0.0).text)) is None
