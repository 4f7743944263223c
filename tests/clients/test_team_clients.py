"""Real clients sign in at a real OpenID provider and make a clip at a team's server. `make check-clients`.

The client opens its browser, which is a program here; the provider, PostgreSQL, replicas and workers are real, the
model plays a script, and the gateway is the sandbox. Where a part cannot be installed, the tests are skipped.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import real_provider
from approver import Approver
from cli_terminal import Terminal
from real_client import CLAUDE, CODEX, Client, Stage, check_saved, person_at_desk
from scripted_model import pictures_in, scripted_model

from servers.other_servers import OIDC_INSTALLED
from team.demo import open_team
from team.postgres import WHY_NOT, find_programs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_programs() is None, reason=WHY_NOT),
    pytest.mark.skipif(not OIDC_INSTALLED, reason="oidc-provider is not installed: `make check-clients` does it"),
]

SIGN_INS: dict[str, tuple[Client, tuple[str, ...]]] = {
    "claude": (CLAUDE, ("mcp add --transport http --scope user callsheet {}", "mcp login callsheet")),
    "codex": (CODEX, ("mcp add callsheet --url {}",)),
}
"""What docs/team.md tells a person to type."""


def with_browser(client: Client, directory: Path, issuer: str) -> Client:
    """The client of somebody whose browser signs alice in at the provider."""
    browser = directory / "browser"
    browser.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{real_provider.__file__}" {issuer} alice "$1"\n')
    browser.chmod(0o700)
    return replace(client, environ=lambda stage: {**client.environ(stage), "BROWSER": str(browser)})


@pytest.mark.parametrize("name", [pytest.param(name, marks=client.skip) for name, (client, _) in SIGN_INS.items()])
def test_a_client_signs_in_and_its_clip_is_approved_by_somebody_else_saved_and_seen(tmp_path: Path, name: str) -> None:
    """alice's client signs in by its own command; bob approves on the desk with a passkey while the call waits."""
    with open_team(tmp_path / "install", objects=False) as (team, sandbox), scripted_model() as model:
        found = Stage(tmp_path, model, sandbox)
        found.account.mkdir()
        found.project.mkdir()
        client, commands = SIGN_INS[name]
        client = with_browser(client, tmp_path, team.provider.issuer)
        client.write(found)
        for command in commands:
            # Without a terminal, Claude Code opens no browser.
            arguments = command.format(team.mcp_url).split()
            with Terminal([], client.environ_on(found), found.project, command=client.command(*arguments)) as terminal:
                assert terminal.finish(seconds=90) == 0, terminal.text

        bob = Approver(team, "bob")
        bob.sign_in()
        bob.add_passkey()
        with person_at_desk(bob.approve_first) as person:
            said = found.command(client, *client.arguments)
        bob.close()

        assert len(person.approved) == 1, said
        check_saved(found, person.approved[0], said)
    assert [picture[:2] for picture in pictures_in(model.last_use("view_clip").shown)] == [b"\xff\xd8"]
