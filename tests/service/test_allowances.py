"""Consent to several clips at once, the floor of approval, and the trail that all of it leaves."""

from __future__ import annotations

import json
import sqlite3
import threading
from decimal import Decimal

import pytest

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.config.policy_file import write_pause
from callsheet.errors import Action, InvalidRequest, NotApproved, PolicyRefusal, UnknownThing
from callsheet.service import Service
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from workspace import SHOT, START, Workspace, accepted, draft, reply

MODEL = "poyo/sora-2-official"


def shot(number: int) -> Shot:
    """A shot unlike the others; 4 s cost 0.24 USD there."""
    return Shot.of(f"{SHOT.prompt} Take {number}.", duration_seconds=4)


def allowed(workspace: Workspace, *, clips: int = 2, up_to: str = "0.50") -> Service:
    """A live service whose person allowed some clips."""
    workspace.go_live()
    service = workspace.service()
    service.allow((MODEL,), clips=clips, up_to=Decimal(up_to), seconds=3600, by=Means.TERMINAL)
    return service


async def test_an_allowance_stands_in_for_an_approval_and_every_use_is_told(workspace: Workspace) -> None:
    """What is sent is what the sheet says; the answer names the allowance and what is used of it."""
    service = allowed(workspace)
    workspace.gateway.replies = [accepted()]
    sheet_id = draft(service, shot(1))
    assert service.question(sheet_id) is None

    answer = submit(service.deps, sheet_id)
    await run_task(service.deps, answer.report.task.id)

    [made] = service.allowances()
    assert answer.status == "waiting"
    assert f"allowance {made.id}; used so far: 1 of 2 clips, 0.24 of 0.50 USD" in answer.notice
    assert workspace.gateway.paid[0].content == service.deps.ledger().sheet(sheet_id).body
    sheet = service.deps.ledger().sheet(sheet_id)
    assert (sheet.approved_by, sheet.allowance) == (Means.ALLOWANCE, made.id)
    assert [entry.action for entry in service.audit()] == ["spent", "approved", "allowance_made"]


def test_of_two_allowances_the_one_that_ends_first_is_used(workspace: Workspace) -> None:
    """Whichever was made first."""
    workspace.go_live()
    service = workspace.service()
    hours = (2, 1, 3)
    made = [service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600 * n, by=Means.TERMINAL) for n in hours]

    assert submit(service.deps, draft(service)).status == "waiting"

    used = {item.id: item.used_clips for item in service.allowances()}
    assert [used[item.id] for item in made] == [0, 1, 0]


def test_no_more_clips_than_were_allowed(workspace: Workspace) -> None:
    """The third needs a person again, and so does one beyond the sum."""
    service = allowed(workspace, clips=2, up_to="5.00")
    assert [submit(service.deps, draft(service, shot(n))).status for n in range(3)] == [
        "waiting",
        "waiting",
        "approval_needed",
    ]
    service.allow((MODEL,), clips=9, up_to=Decimal("0.30"), seconds=3600, by=Means.DESK)
    assert [submit(service.deps, draft(service, shot(n))).status for n in range(3, 5)] == [
        "waiting",
        "approval_needed",
    ]


async def test_a_use_is_not_given_back_when_the_gateway_refuses(workspace: Workspace) -> None:
    """An allowance is for a number of submissions."""
    service = allowed(workspace, clips=1)
    workspace.gateway.replies = [reply({"code": 400, "error": {"message": "no"}}, 400)]
    answer = submit(service.deps, draft(service, shot(1)))
    await run_task(service.deps, answer.report.task.id)
    assert service.task(answer.report.task.id).task.state is TaskState.REJECTED
    assert service.allowances(only_open=True) == []
    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"


def test_what_a_cap_refuses_uses_nothing_up(workspace: Workspace) -> None:
    """Use and reservation are one transaction."""
    workspace.go_live('[caps]\nper_day = "0.10"\n')
    service = workspace.service()
    service.allow((MODEL,), clips=1, up_to=Decimal("1.00"), seconds=3600, by=Means.TERMINAL)
    sheet_id = draft(service)
    with pytest.raises(PolicyRefusal, match="cap per day"):
        submit(service.deps, sheet_id)
    assert service.allowances()[0].used_clips == 0
    assert service.deps.ledger().sheet(sheet_id).state is SheetState.DRAFTED


def test_an_allowance_ends_when_revoked_or_edited_around_or_over(workspace: Workspace) -> None:
    """Each time the next sheet needs a person."""
    service = allowed(workspace, clips=9, up_to="9.00")
    service.revoke(service.allowances()[0].id, by=Means.DESK)
    assert submit(service.deps, draft(service, shot(1))).status == "approval_needed"
    with pytest.raises(UnknownThing):
        service.revoke("allow_none", by=Means.DESK)

    service.allow((MODEL,), clips=9, up_to=Decimal(9), seconds=3600, by=Means.TERMINAL)
    workspace.go_live('[caps]\nper_day = "9.00"\n')
    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"

    service.allow((MODEL,), clips=9, up_to=Decimal(9), seconds=3600, by=Means.TERMINAL)
    workspace.clock.time += 3601
    assert submit(service.deps, draft(service, shot(3))).status == "approval_needed"


def test_a_clock_that_is_set_back_prolongs_no_allowance(workspace: Workspace) -> None:
    """Time that is on record has passed."""
    service = allowed(workspace, clips=9, up_to="9.00")
    workspace.clock.time += 3500
    assert submit(service.deps, draft(service, shot(1))).status == "waiting"
    workspace.clock.time -= 3000
    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"


def test_what_is_recorded_after_the_clock_was_set_back_prolongs_no_allowance_either(workspace: Workspace) -> None:
    """The latest time on record counts, and not the time of the latest record."""
    service = allowed(workspace, clips=9, up_to="9.00")
    workspace.clock.time += 3500
    assert submit(service.deps, draft(service, shot(1))).status == "waiting"
    workspace.clock.time -= 3000
    service.approve(draft(service, shot(2)), by=Means.TERMINAL)
    assert submit(service.deps, draft(service, shot(3))).status == "approval_needed"
    service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    assert submit(service.deps, draft(service, shot(4))).status == "waiting"


def test_only_a_person_makes_one_and_within_bounds(workspace: Workspace) -> None:
    """And read-only wins."""
    workspace.go_live()
    service = workspace.service()
    terms = {"clips": 1, "up_to": Decimal(1), "seconds": 60.0}
    for means in (Means.CLIENT, Means.REHEARSAL, Means.ALLOWANCE):
        with pytest.raises(NotApproved):
            service.allow((MODEL,), **terms, by=means)
    with pytest.raises(InvalidRequest, match="clips"):
        service.allow((MODEL,), **{**terms, "clips": 0}, by=Means.DESK)
    with pytest.raises(UnknownThing):
        service.allow(("poyo/no-such-model",), **terms, by=Means.DESK)
    workspace.write_policy('mode = "read-only"\n')
    with pytest.raises(PolicyRefusal, match="read-only"):
        service.allow((MODEL,), **terms, by=Means.DESK)


def test_twenty_threads_share_one_allowance(workspace: Workspace) -> None:
    """Exactly as many are sent as were allowed."""
    service = allowed(workspace, clips=3, up_to="9.00")
    sheets = [draft(service, shot(number)) for number in range(20)]
    services = [service, workspace.service()]
    statuses: list[str] = []

    def go(number: int) -> None:
        statuses.append(submit(services[number % 2].deps, sheets[number]).status)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count("waiting") == 3
    assert statuses.count("approval_needed") == 17


# ------------------------------------------------------------------------------------------------- floor and rules


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        ("", True),
        ('[approval]\npassphrase_from = "0.25"\n', True),
        ('[approval]\npassphrase_from = "0.24"\n', False),
        ('[approval]\nfloor = "passphrase"\npassphrase_from = "none"\n', False),
        ('[gateways.poyo]\nfloor = "passphrase"\n', False),
        ('[models."poyo/sora-2-official"]\nfloor = "passphrase"\n', False),
        ('[models."poyo/sora-2-beta"]\nfloor = "passphrase"\n', True),
    ],
)
def test_the_floor_of_approval_follows_price_gateway_and_model(workspace: Workspace, policy: str, asked: bool) -> None:
    """Where the client's form is not enough it is not shown, and an answer to it approves nothing."""
    workspace.go_live(policy)
    service = workspace.service()
    sheet_id = draft(service)
    assert (service.question(sheet_id) is not None) is asked
    if asked:
        service.approve_typed(sheet_id, typed="0.24", by=Means.CLIENT)
    else:
        with pytest.raises(NotApproved, match="passphrase") as caught:
            service.approve(sheet_id, by=Means.CLIENT)
        assert (caught.value.next_step.action, caught.value.next_step.target) == (Action.APPROVE, sheet_id)
    assert service.approve(sheet_id, by=Means.DESK).state is SheetState.APPROVED


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ("[gateways.poyo]\nallowed = false\n", "does not allow"),
        ('[models."poyo/sora-2-official"]\nallowed = false\n', "does not allow"),
        ('[models."poyo/sora-2-official"]\nper_clip = "0.20"\n', "at most 0.20 USD"),
        ('[gateways.poyo]\nper_clip = "0.23"\n', "at most 0.23 USD"),
    ],
)
def test_a_rule_forbids_a_gateway_a_model_or_a_price(workspace: Workspace, policy: str, refused: str) -> None:
    """Nobody can approve or submit against it."""
    workspace.go_live(policy)
    service = workspace.service()
    sheet_id = draft(service)
    with pytest.raises(PolicyRefusal, match=refused):
        service.approve(sheet_id, by=Means.TERMINAL)
    with pytest.raises(PolicyRefusal, match=refused):
        submit(service.deps, sheet_id)


def test_a_live_sheet_cannot_be_approved_as_a_rehearsal(workspace: Workspace) -> None:
    """The automatic means are only for the sandbox and for the ledger."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    for means in (Means.REHEARSAL, Means.ALLOWANCE):
        with pytest.raises(NotApproved) as caught:
            service.approve(sheet_id, by=means)
        assert (caught.value.next_step.action, caught.value.next_step.target) == (Action.SUBMIT, sheet_id)


# --------------------------------------------------------------------------------------------- what lies in the ledger


def edit(workspace: Workspace, statement: str, *values: object) -> None:
    """What a program of the same user can do to the ledger."""
    with sqlite3.connect(workspace.ledger_file) as db:
        db.execute(statement, values)
    db.close()


CHEAP = json.dumps({"amount": "1", "unit": "credits", "usd": "0.01", "as_of": "x", "source": "x", "note": ""})


@pytest.mark.parametrize(
    "edited",
    [
        {"expires_at": START + 10 * 24 * 3600},
        {"body": b'{"model": "sora-2-official", "input": {"prompt": "Another.", "duration": 20}}'},
        {"price": CHEAP},
        {"price": CHEAP, "reserve_micros": 10_000},
        {"reserve_micros": 1},
        {"reserve_micros": None},
    ],
)
def test_a_sheet_that_was_edited_in_the_ledger_is_not_what_was_approved(
    workspace: Workspace, edited: dict[str, object]
) -> None:
    """Its end, its bytes, its price and what it reserves are compared with what the approval was bound to."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    for column, value in edited.items():
        edit(workspace, f"UPDATE sheet SET {column} = ? WHERE id = ?", value, sheet_id)
    with pytest.raises(NotApproved, match="has changed"):
        submit(service.deps, sheet_id)
    assert workspace.gateway.requests == []


def test_the_text_for_a_person_is_rendered_from_the_bytes_and_not_read_back(workspace: Workspace) -> None:
    """A text that was edited where it is stored is not shown in a terminal or on the desk."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service)
    edit(workspace, "UPDATE sheet SET shown = 'Price: 0.01 USD' WHERE id = ?", sheet_id)
    text = service.approval_text(sheet_id)
    assert text.startswith("Price: 0.24 USD (48 credits)")
    assert SHOT.prompt in text


@pytest.mark.slow
def test_the_trail_tells_who_agreed_to_what_and_a_flipped_byte_shows(workspace: Workspace) -> None:
    """Each byte of each entry, one after the other."""
    workspace.go_live()
    service = workspace.service()
    service.approve(draft(service, shot(1)), by=Means.PASSKEY, evidence={"who": "a key"})
    service.decline(draft(service, shot(2)), by=Means.DESK)
    assert [(entry.actor, entry.action) for entry in service.audit()] == [("desk", "declined"), ("passkey", "approved")]
    assert service.verify_audit().broken is None
    edit(workspace, "DROP TRIGGER audit_is_final")
    columns = ("actor", "action", "subject", "detail", "previous", "hash")
    for column in columns:
        for entry in service.audit():
            whole = getattr(entry, column)
            for place in range(len(whole)):
                flipped = whole[:place] + chr(ord(whole[place]) ^ 1) + whole[place + 1 :]
                edit(workspace, f"UPDATE audit SET {column} = ? WHERE seq = ?", flipped, entry.seq)
                assert service.verify_audit().broken is not None, (column, place)
            edit(workspace, f"UPDATE audit SET {column} = ? WHERE seq = ?", whole, entry.seq)
    assert service.verify_audit().broken is None


def test_the_trail_is_only_ever_added_to(workspace: Workspace) -> None:
    """The database itself refuses; taking the last entry away with its guard shows all the same."""
    workspace.go_live()
    service = workspace.service()
    service.approve(draft(service), by=Means.TERMINAL)
    replacing = "INSERT OR REPLACE INTO audit SELECT seq, at, 'x', action, subject, detail, previous, hash FROM audit"
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", replacing):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            edit(workspace, statement)
    edit(workspace, "DROP TRIGGER audit_is_kept")
    edit(workspace, "DELETE FROM audit")
    assert "1 entries were written, 0 are present" in service.verify_audit().problem


# -------------------------------------------------------------------------------------------------------- the pause


async def test_a_pause_stops_everything_that_was_approved_and_voids_nothing(workspace: Workspace) -> None:
    """Submitted, allowed or already waiting to be sent: nothing goes out before the person goes on."""
    service = allowed(workspace)
    policy = workspace.home / "config" / "policy.toml"
    waiting = submit(service.deps, draft(service, shot(1))).report.task.id
    approved = draft(service, shot(2))
    service.approve(approved, by=Means.TERMINAL)

    write_pause(policy, paused=True)
    await run_task(service.deps, waiting)
    for sheet_id in (approved, draft(service, shot(3))):
        with pytest.raises(PolicyRefusal, match="paused"):
            submit(service.deps, sheet_id)
    assert workspace.gateway.requests == []
    assert service.task(waiting).task.state is TaskState.WAITING
    assert service.task(waiting).notice.startswith("PAUSED")

    write_pause(policy, paused=False)
    workspace.clock.time += 31
    workspace.gateway.replies = [accepted(), accepted("task-unified-2-abc")]
    await run_task(service.deps, waiting)
    await run_task(service.deps, submit(service.deps, approved).report.task.id)
    assert len(workspace.gateway.paid) == 2
