"""Whom a token stands for, and what it may change: a token says what held when it was issued, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from desk_team import ScriptedDesk, id_of, make_scripted
from scripted_provider import ISSUER, RESOURCE

from callsheet.core.people import Person, Role
from callsheet.edges.identity.verifier import AccessTokenVerifier, VerifierSettings
from callsheet.surface.team.agents import PERSON, AgentVerifier


@dataclass
class Scene:
    """A team, and what checks the tokens of its agents."""

    desk: ScriptedDesk

    def __post_init__(self) -> None:
        team = self.desk.team
        # As for a provider that marks an ID token like an access token, where both are for the same client.
        settings = VerifierSettings(audiences=(RESOURCE,), require_type=False)
        verifier = AccessTokenVerifier(self.desk.idp.provider(), settings)
        self.tokens = AgentVerifier(team.config, team.people, verifier, now=team.clock.now)

    def token(self, *groups: str, **claims: object) -> str:
        """A token of Eva's that the provider issues now."""
        self.desk.idp.time = self.desk.team.clock.now()
        return self.desk.idp.token(self.desk.idp.claims(sub="eva", groups=list(groups), **claims))

    async def role(self, token: str) -> Role | None:
        """In which role that token lets its agent in; None where it does not."""
        found = await self.tokens.verify_token(token)
        person = self.desk.team.people.find(str((found.claims or {}).get(PERSON))) if found else None
        return person.role if person else None

    def eva(self) -> Person | None:
        """What is known of her."""
        return self.desk.team.people.find(id_of("eva"))

    def later(self) -> None:
        """A minute passes."""
        self.desk.team.clock.time += 60  # type: ignore[attr-defined]


@pytest.fixture
def scene(tmp_path: Path, dsn: str, tenant: str) -> Iterator[Scene]:
    """A team that Eva has not signed in to."""
    made = make_scripted(tmp_path, dsn, tenant)
    yield Scene(made)
    made.team.close()


async def test_an_older_token_gives_back_no_role_that_was_taken_away(scene: Scene) -> None:
    """Neither at a sign-in nor by a newer token; the person of the desk stays what the provider said last."""
    old = scene.token("deciders")
    assert await scene.role(old) is Role.APPROVER
    scene.later()
    await scene.desk.browser().sign_in("eva", "makers", iat=int(scene.desk.team.clock.now()))
    assert await scene.role(old) is None
    assert scene.eva().role is Role.MEMBER  # type: ignore[union-attr]
    assert await scene.role(scene.token("makers", iat=int(scene.desk.team.clock.now()) - 120)) is Role.MEMBER

    scene.later()
    assert await scene.role(scene.token("deciders")) is Role.APPROVER
    scene.later()
    assert await scene.role(scene.token("makers")) is Role.MEMBER
    assert await scene.role(old) is None


async def test_an_older_token_does_not_end_what_was_given_since(scene: Scene) -> None:
    """Nobody loses a session, or a token of an agent, to a token from before they had a role."""
    old = scene.token()
    scene.later()
    browser = scene.desk.browser()
    await browser.sign_in("eva", "deciders", iat=int(scene.desk.team.clock.now()))
    assert await scene.role(old) is None
    assert (await browser.get("/")).status_code == 200


async def test_who_has_lost_every_role_is_not_let_in_by_an_older_token(scene: Scene) -> None:
    """The row remembers their last role, and that they have none."""
    old = scene.token("deciders")
    assert await scene.role(old) is Role.APPROVER
    scene.later()
    assert (await scene.desk.browser().sign_in("eva", iat=int(scene.desk.team.clock.now()))).status_code == 403
    assert await scene.role(old) is None
    scene.later()
    assert await scene.role(scene.token("makers")) is Role.MEMBER


@pytest.mark.parametrize("groups", [(), ("owners",)])
async def test_a_token_without_the_scope_changes_nothing(scene: Scene, groups: tuple[str, ...]) -> None:
    """An ID token may be one: it ends no session and raises nobody. The SDK answers 403, since it has no scope."""
    browser = scene.desk.browser()
    await browser.sign_in("eva", "makers")
    scene.later()
    found = await scene.tokens.verify_token(scene.token(*groups, scope=None))
    assert found is not None
    assert (found.scopes, found.claims) == ([], {})
    assert scene.eva().role is Role.MEMBER  # type: ignore[union-attr]
    assert (await browser.get("/")).status_code == 200
    assert scene.desk.team.people.find_by_subject(ISSUER, "eva") == scene.eva()
