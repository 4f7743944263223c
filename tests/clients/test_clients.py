"""Real clients with a scripted model, from the first turn to the clip that is looked at. `make check-clients`.

Their settings hold the entry that `callsheet install` writes. Where a client cannot be installed, its tests are
skipped. docs/clients.md records what each showed its model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from cli_terminal import Terminal
from real_client import (
    CLAUDE,
    CLAUDE_ON_A_TERMINAL,
    CODEX,
    GEMINI,
    OPENCLAW,
    OPENCLAW_WITHOUT_SEARCH,
    Stage,
    approve_at_desk,
    check_saved,
    person_at_desk,
    stage,
)
from scripted_model import AS_TASK, READ, SEEN, end, pictures_in, strings_in

from samples import SEARCHES

pytestmark = pytest.mark.slow

FLOOR = '[approval]\nfloor = "passphrase"\n'
STARTS = 20
CLIENTS = {
    "claude": CLAUDE,
    "codex": CODEX,
    "gemini": GEMINI,
    "openclaw": OPENCLAW,
    "openclaw-without-search": OPENCLAW_WITHOUT_SEARCH,
}
SEARCHING = ("claude", "openclaw")
SHOWS_NO_PICTURE = ("openclaw",)
SHOWS_ADDRESS = ("claude", "gemini", "openclaw")


def check_clip(found: Stage, sheet_id: str, said: str) -> None:
    """The clip of that sheet is saved where the person's policy says, and one request was paid."""
    assert check_saved(found, sheet_id, said).parent == found.clips


@pytest.mark.parametrize("name", [pytest.param(name, marks=client.skip) for name, client in CLIENTS.items()])
def test_a_clip_is_explained_submitted_approved_on_the_desk_saved_and_seen(tmp_path: Path, name: str) -> None:
    """The person approves on a desk that the call itself opened, while it waits."""
    with stage(tmp_path, FLOOR) as found, person_at_desk(partial(approve_at_desk, found.home)) as person:
        said = found.run(CLIENTS[name])
        assert len(person.approved) == 1, said
        check_clip(found, person.approved[0], said)

    assert found.model.last_use("submit_video").fields()["status"] == "accepted"
    seen = found.model.last_use("view_clip").shown
    assert [picture[:2] for picture in pictures_in(seen)] == ([] if name in SHOWS_NO_PICTURE else [b"\xff\xd8"])
    if name in SEARCHING:
        assert found.model.searches() == SEARCHES
    if name != "openclaw":
        assert b"explain_payload" in found.model.bodies[0]
    if name in SHOWS_ADDRESS:
        answer = " ".join(strings_in(found.model.last_use(READ).shown))
        assert "rror" not in answer, answer


@CLAUDE.skip
def test_claude_code_shows_the_form_and_follows_the_mcp_task_that_the_typed_amount_starts(tmp_path: Path) -> None:
    """On a terminal, below the floor; nobody is at the desk. The clip is told of as a notification."""
    with stage(tmp_path) as found:
        CLAUDE_ON_A_TERMINAL.write(found, found.entry)
        command = CLAUDE_ON_A_TERMINAL.command(*CLAUDE_ON_A_TERMINAL.arguments)
        environ = {**CLAUDE_ON_A_TERMINAL.environ_on(found), "TERM": "xterm-256color"}
        with Terminal([], environ, found.project, command=command) as terminal:
            # It moves the cursor and writes no spaces.
            terminal.expect("requestsyourinput", seconds=90)
            assert found.paid() == (0, 0)
            terminal.press("0.24", "\r", "\r")
            terminal.expect(SEEN, seconds=120)
        check_clip(found, found.model.last_use("explain_payload").fields()["sheet_id"], terminal.text)
    assert AS_TASK in " ".join(strings_in(found.model.last_use("submit_video").shown))


@CODEX.skip
def test_codex_has_the_tools_on_the_first_turn_of_each_start(tmp_path: Path) -> None:
    """Twenty starts with the entry as it is installed."""
    with stage(tmp_path, script=end) as found:
        for _ in range(STARTS):
            found.run(CODEX)
        offered = [any("explain_payload" in name for name in turn.offered) for turn in found.model.turns]

    assert offered == [True] * STARTS
