"""What a sheet would be refused for is said before anybody is asked, and nobody approves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callsheet.compose import VERIFIER_FILE
from callsheet.core.consent import Means
from callsheet.edges.config.policy_file import write_pause
from callsheet.errors import CallsheetError
from callsheet.service import Draft, Explanation, Service
from callsheet.service.blockers import find_blockers
from callsheet.service.submission import submit
from workspace import SHOT, Workspace, draft

PRICED = ("poyo", "sora-2-official")
UNPRICED = ("apixo", "sora-2")
APIXO_KEY = "canary-key-apixo-0a1b2c3d4e"
CASES = {
    "per clip": ('[caps]\nper_clip = "0.23"\n', PRICED, "cap"),
    "per day": ('[caps]\nper_day = "0.23"\n', PRICED, "cap"),
    "per month": ('[caps]\nper_month = "0.23"\n', PRICED, "cap"),
    "forbidden": ("[gateways.poyo]\nallowed = false\n", PRICED, "rule"),
    "rule per clip": ('[models."poyo/sora-2-official"]\nper_clip = "0.23"\n', PRICED, "rule"),
    "unknown price": ("", UNPRICED, "unknown_price"),
    "unknown price under a rule": (
        '[prices]\nunknown_ceiling = "1.00"\n[gateways.apixo]\nper_clip = "5.00"\n',
        UNPRICED,
        "rule",
    ),
    "unknown price over a cap": ('[prices]\nunknown_ceiling = "3.00"\n', UNPRICED, "cap"),
    "no key": ("", ("evolink", "sora-2-preview"), "no_key"),
    "no passphrase": ('[approval]\npassphrase_from = "0.24"\n', PRICED, "no_passphrase"),
    "no passphrase for an unknown price": ('[prices]\nunknown_ceiling = "0.10"\n', UNPRICED, "no_passphrase"),
    "paused": ("", PRICED, "mode"),
}


def explain(service: Service, card: tuple[str, str] = PRICED) -> Explanation:
    """The usual shot on that card."""
    return service.explain(Draft(shot=SHOT, gateway=card[0], model=card[1]))


@pytest.fixture
def live(workspace: Workspace, request: pytest.FixtureRequest) -> Service:
    """A live service under the case's policy."""
    workspace.go_live(CASES[request.param][0])
    workspace.environ["APIXO_API_KEY"] = APIXO_KEY
    if request.param.startswith("no passphrase"):
        (workspace.home / "config" / VERIFIER_FILE).unlink()
    if request.param == "paused":
        write_pause(workspace.home / "config" / "policy.toml", paused=True)
    return workspace.service()


@pytest.mark.parametrize(("live", "case"), [(name, name) for name in CASES], indirect=["live"])
def test_what_would_be_refused_is_said_when_explaining_and_nobody_can_approve_it(
    workspace: Workspace, live: Service, case: str
) -> None:
    """No question, no approval by any means and no submission; the answer names who can lift it."""
    _, card, code = CASES[case]
    found = explain(live, card)
    assert found.sheet is not None
    sheet_id = found.sheet.id

    assert (found.status, [blocker.code for blocker in found.blocked]) == ("blocked", [code])
    assert found.blocked[0].lifted_by.startswith("a person")
    assert found.next_step == found.blocked[0].error.next_step
    assert live.question(sheet_id) is None
    for act in (
        *(lambda by=by: live.approve(sheet_id, by=by) for by in (Means.TERMINAL, Means.DESK, Means.PASSKEY)),
        lambda: live.approve_typed(sheet_id, typed="0.24", by=Means.CLIENT),
        lambda: live.approvable(sheet_id),
        lambda: live.approval_text(sheet_id),
        lambda: submit(live.deps, sheet_id),
    ):
        with pytest.raises(CallsheetError) as caught:
            act()
        assert caught.value.message == found.blocked[0].error.message
        assert caught.value.fate == "nothing_sent"
    assert workspace.gateway.requests == []


def test_a_sheet_is_looked_at_again_before_anybody_is_asked(workspace: Workspace) -> None:
    """It was ready when it was explained; another clip has taken what was left of the day since."""
    workspace.go_live('[caps]\nper_day = "0.40"\n')
    service = workspace.service()
    asked = draft(service)
    assert service.question(asked) is not None
    other = draft(service, replace(SHOT, prompt="A blue kite."))
    service.approve(other, by=Means.TERMINAL)
    submit(service.deps, other)

    assert service.question(asked) is None
    with pytest.raises(CallsheetError, match="cap per day"):
        service.approve(asked, by=Means.TERMINAL)
    assert [blocker.code for blocker in find_blockers(service.deps, service.sheet(other))] == []


def test_read_only_blocks_and_still_explains(workspace: Workspace) -> None:
    """The body and the price are shown."""
    workspace.write_policy('mode = "read-only"\n')
    found = explain(workspace.service())

    assert (found.status, found.blocked[0].code) == ("blocked", "mode")
    assert found.body is not None


@pytest.mark.parametrize(
    ("policy", "card", "code"),
    [
        ('[caps]\nper_clip = "0.23"\n', PRICED, "cap"),
        ("[gateways.poyo]\nallowed = false\n", PRICED, "rule"),
        ("", UNPRICED, "unknown_price"),
    ],
)
def test_a_rehearsal_says_what_would_block_it_live_and_goes_on(
    workspace: Workspace, policy: str, card: tuple[str, str], code: str
) -> None:
    """It costs nothing, so caps and rules do not stop it; set-up that only live mode needs is not held against it."""
    workspace.write_policy(policy)
    service = workspace.service()
    found = explain(service, card)
    assert found.sheet is not None

    assert found.status == "ready"
    assert [(blocker.code, blocker.refuses) for blocker in found.blocked] == [(code, False)]
    assert submit(service.deps, found.sheet.id).status == "waiting"


def test_rehearsals_take_nothing_from_what_is_left_today(workspace: Workspace) -> None:
    """The figures are those of real money in both modes."""
    service = workspace.service()
    submit(service.deps, draft(service))

    again = explain(service)

    assert again.sheet is not None
    assert "10.00 USD left today, 50.00 USD this month" in again.sheet.shown


def test_a_question_is_not_asked_while_submissions_are_paused(workspace: Workspace) -> None:
    """Nor is an amount that was typed before the pause taken."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    assert service.question(sheet_id) is not None

    write_pause(workspace.home / "config" / "policy.toml", paused=True)

    assert service.question(sheet_id) is None
    with pytest.raises(CallsheetError, match="paused"):
        service.approve_typed(sheet_id, typed="0.24", by=Means.CLIENT)


def test_without_a_passphrase_an_allowance_and_an_earlier_approval_still_count(workspace: Workspace) -> None:
    """Both were given with one."""
    workspace.go_live('[approval]\nfloor = "passphrase"\n')
    service = workspace.service()
    approved, allowed = draft(service), draft(service, replace(SHOT, prompt="A blue kite."))
    service.approve(approved, by=Means.TERMINAL)
    (workspace.home / "config" / VERIFIER_FILE).unlink()

    assert [blocker.code for blocker in find_blockers(service.deps, service.sheet(allowed))] == ["no_passphrase"]
    assert submit(service.deps, approved).status == "waiting"
