"""What is spent live needs an act of consent in the audit trail: a row in the ledger proves nothing by itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unittest.mock import ANY

import pytest

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.spending import SpendTerms
from callsheet.core.tasks import SheetState, TaskState
from callsheet.errors import InvalidRequest, NotApproved, PolicyRefusal
from callsheet.service import Service
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from samples import a_task
from workspace import SHOT, START, Workspace, accepted, draft, make_workspace, reply

MODEL = "poyo/sora-2-official"
DAY = 24 * 3600.0


def shot(number: int) -> Shot:
    """A shot unlike the others; 4 s cost 0.24 USD there."""
    return Shot.of(f"{SHOT.prompt} Take {number}.", duration_seconds=4)


def edit(workspace: Workspace, statement: str, *values: object) -> None:
    """What a program of the same user can do to the ledger."""
    with sqlite3.connect(workspace.ledger_file) as db:
        changed = db.execute(statement, values).rowcount
    db.close()
    assert changed == 1, statement


def live(workspace: Workspace, extra: str = "") -> Service:
    """A process in live mode with a key that is not sealed."""
    workspace.go_live(extra)
    return workspace.service()


def forge_approval(workspace: Workspace, sheet_id: str, *, by: str = "terminal") -> None:
    """Write into the row that a person agreed a moment ago."""
    statement = "UPDATE sheet SET state = 'approved', approved_by = ?, approved_at = ? WHERE id = ?"
    edit(workspace, statement, by, workspace.clock.time, sheet_id)


def spend_by_hand(service: Service, sheet_id: str) -> None:
    """Call the spending transaction itself, whatever is checked before it."""
    sheet = service.sheet(sheet_id)
    windows = (service.now() - DAY, service.now() - DAY)
    terms = SpendTerms(sheet.binding.digest, service.policy.caps, windows)
    service.deps.ledger().spend(sheet_id, task=a_task(sheet, "task_by_hand"), terms=terms, now=service.now())


# ------------------------------------------------------------------------------------------------ rows without consent


def never_asked(workspace: Workspace, service: Service) -> str:
    return draft(service)


def declined(workspace: Workspace, service: Service) -> str:
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    service.decline(sheet_id)
    return sheet_id


def taken_back_after_its_use(workspace: Workspace, service: Service) -> str:
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    submit(service.deps, sheet_id)
    edit(workspace, "DELETE FROM task WHERE sheet_id = ?", sheet_id)
    return sheet_id


def approved_with_other_terms(workspace: Workspace, service: Service) -> str:
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    later = workspace.clock.time + 3 * DAY
    statement = (
        "UPDATE sheet SET expires_at = ?, binding = json_set(binding, '$.expires', ?), state = 'drafted' WHERE id = ?"
    )
    edit(workspace, statement, later, str(later), sheet_id)
    return sheet_id


FORGERIES = (never_asked, declined, taken_back_after_its_use, approved_with_other_terms)


@pytest.mark.parametrize("by", ["terminal", "desk", "client", "rehearsal", "allowance"])
@pytest.mark.parametrize("make", FORGERIES)
def test_an_approval_that_only_the_row_knows_spends_nothing(
    workspace: Workspace, make: Callable[[Workspace, Service], str], by: str
) -> None:
    """The spending transaction refuses it, and whoever submits it is told to ask a person."""
    service = live(workspace)
    sheet_id = make(workspace, service)
    forge_approval(workspace, sheet_id, by=by)

    with pytest.raises(NotApproved):
        spend_by_hand(service, sheet_id)
    assert service.deps.ledger().tasks() == []
    assert submit(service.deps, sheet_id).status == "approval_needed"
    assert service.sheet(sheet_id).state is SheetState.AWAITING_APPROVAL
    assert workspace.gateway.requests == []


def test_a_person_can_still_agree_to_what_was_forged(workspace: Workspace) -> None:
    """Then the trail has it, with the person's means and not the forged ones."""
    service = live(workspace)
    sheet_id = draft(service)
    forge_approval(workspace, sheet_id)
    service.approve(sheet_id, by=Means.DESK)

    assert submit(service.deps, sheet_id).status == "waiting"
    assert [(entry.action, entry.actor) for entry in service.audit()] == [("spent", "desk"), ("approved", "desk")]


def test_an_old_approval_is_not_made_young_in_its_row(workspace: Workspace) -> None:
    """Its age is counted from the entry in the trail."""
    service = live(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.clock.time += 3700
    edit(workspace, "UPDATE sheet SET approved_at = ? WHERE id = ?", workspace.clock.time, sheet_id)

    with pytest.raises(NotApproved, match="too old"):
        submit(service.deps, sheet_id)


def test_a_means_that_was_edited_does_not_keep_a_spend_out_of_the_trail(workspace: Workspace) -> None:
    """A live spend is recorded as what the trail says of its approval."""
    service = live(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    edit(workspace, "UPDATE sheet SET approved_by = 'rehearsal' WHERE id = ?", sheet_id)
    submit(service.deps, sheet_id)

    assert next((entry.action, entry.actor) for entry in service.audit()) == ("spent", "terminal")


TASK = (
    "INSERT INTO task (id, sheet_id, mode, gateway, model, state, reserve_micros, created_at, updated_at, next_at,"
    " owner, attempts, said, polls, failures, hints)"
    " VALUES ('task_forged', ?, 'live', 'poyo', 'sora-2-official', ?, 0, ?, ?, ?, ?, 0, '', 0, 0, '')"
)


def forge_task(workspace: Workspace, service: Service, sheet_id: str, *, state: str = "waiting") -> str:
    """Write a spent sheet and its task into the ledger."""
    now = workspace.clock.time
    forge_approval(workspace, sheet_id)
    edit(workspace, "UPDATE sheet SET state = 'spent' WHERE id = ?", sheet_id)
    edit(workspace, TASK, sheet_id, state, now, now, now, service.deps.runner_id)
    return "task_forged"


async def test_a_task_that_was_written_into_the_ledger_is_not_sent_and_is_reported(workspace: Workspace) -> None:
    """With an unsealed key, too."""
    service = live(workspace)
    workspace.gateway.replies = [accepted()]
    task_id = forge_task(workspace, service, draft(service))
    await run_task(service.deps, task_id)

    task = service.task(task_id).task
    assert (task.state, task.problem.code) == (TaskState.WAITING, "not_approved")
    assert workspace.gateway.requests == []
    assert service.verify_audit().unapproved == (task_id,)


async def test_a_sheet_cannot_be_spent_on_another_task_with_its_old_consent(workspace: Workspace) -> None:
    """The consent was used for the task that was taken away."""
    service = live(workspace)
    workspace.gateway.replies = [accepted(), accepted()]
    sheet_id = taken_back_after_its_use(workspace, service)
    task_id = forge_task(workspace, service, sheet_id)
    await run_task(service.deps, task_id)

    assert service.task(task_id).task.state is TaskState.WAITING
    assert workspace.gateway.requests == []
    assert service.verify_audit().unapproved == (task_id,)


# ---------------------------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize("means", [Means.TERMINAL, Means.DESK, Means.PASSKEY, Means.CLIENT])
def test_what_a_person_approved_is_not_reported(workspace: Workspace, means: Means) -> None:
    """By whichever means."""
    service = live(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=means)
    submit(service.deps, sheet_id)

    verdict = service.verify_audit()
    assert (verdict.broken, verdict.unapproved, verdict.older) == (None, (), ())


def test_what_an_allowance_covered_is_not_reported_and_a_rehearsal_needs_nothing(workspace: Workspace) -> None:
    """Both are spent without a question."""
    rehearsal = workspace.service()
    sheet_id = draft(rehearsal)
    submit(rehearsal.deps, sheet_id)
    assert (rehearsal.audit(), rehearsal.sheet(sheet_id).binding.account) == ([], "")
    service = live(workspace)
    service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    assert submit(service.deps, draft(service, shot(1))).status == "waiting"

    assert service.verify_audit().unapproved == ()


@pytest.mark.parametrize("state", ["waiting", "queued", "saved", "outcome_unknown", "abandoned"])
def test_every_live_task_without_consent_is_reported_in_whatever_state(workspace: Workspace, state: str) -> None:
    """Beside one that a person approved, in a trail that is whole."""
    service = live(workspace)
    true = draft(service, shot(1))
    service.approve(true, by=Means.TERMINAL)
    submit(service.deps, true)
    task_id = forge_task(workspace, service, draft(service, shot(2)), state=state)

    verdict = service.verify_audit()
    assert (verdict.broken, verdict.unapproved, verdict.older) == (None, (task_id,), ())


def test_a_live_task_of_a_rehearsal_is_reported(workspace: Workspace) -> None:
    """Its sheet needs no approval; a live task does."""
    service = workspace.service()
    task_id = forge_task(workspace, service, draft(service), state="queued")

    assert service.verify_audit().unapproved == (task_id,)


def test_a_spent_sheet_whose_task_is_gone_is_reported_unless_it_was_agreed_to(workspace: Workspace) -> None:
    """A row that says spent is a use, with or without its task."""
    service = live(workspace)
    taken_back_after_its_use(workspace, service)
    forged = draft(service, shot(2))
    edit(workspace, "UPDATE sheet SET state = 'spent' WHERE id = ?", forged)

    assert service.verify_audit().unapproved == (forged,)


def test_a_consent_that_comes_after_the_use_is_none(workspace: Workspace) -> None:
    """An act of consent precedes what it allows."""
    service = live(workspace)
    consent = service.deps.ledger().consent
    task_id = forge_task(workspace, service, draft(service))
    sheet = service.deps.ledger().task(task_id).sheet_id
    consent.record("spent", task_id, actor="terminal", now=START, detail={"sheet": sheet})
    consent.record("approved", sheet, actor="terminal", now=START)

    assert service.verify_audit().unapproved == (task_id,)


def test_a_use_of_an_allowance_that_nobody_made_is_reported(workspace: Workspace) -> None:
    """Neither the row of an allowance nor an entry about its use makes it one."""
    service = live(workspace)
    consent = service.deps.ledger().consent
    task_id = forge_task(workspace, service, draft(service))
    sheet = service.deps.ledger().task(task_id).sheet_id
    consent.record("approved", sheet, actor="allowance", now=START, detail={"allowance": "allow_none"})
    consent.record("spent", task_id, actor="allowance", now=START, detail={"sheet": sheet})

    assert service.verify_audit().unapproved == (task_id,)


# ------------------------------------------------------------------------------------------------- who writes the trail


async def test_an_id_that_a_person_replaces_stays_in_the_trail(workspace: Workspace) -> None:
    """The clip that was paid for can be found again when the new id is the wrong one."""
    service = live(workspace)
    workspace.gateway.replies = [accepted("job-1")]
    task_id = agree_and_spend(service, 1)
    await run_task(service.deps, task_id)

    service.resolve(task_id, accepted_as="job-2")

    assert json.loads(service.audit()[0].detail)["was"] == "job-1"


@pytest.mark.parametrize(("accepted_as", "action"), [("job-1", "resolved_accepted"), (None, "resolved_lost")])
async def test_what_a_person_says_of_an_unknown_outcome_is_in_the_trail(
    workspace: Workspace, accepted_as: str | None, action: str
) -> None:
    """With the id that they named; a refused answer leaves nothing."""
    service = live(workspace)
    workspace.gateway.replies = [reply({}, 500)]
    task_id = agree_and_spend(service, 1)
    await run_task(service.deps, task_id)
    with pytest.raises(InvalidRequest):
        service.resolve(task_id, accepted_as="../x")
    service.resolve(task_id, accepted_as=accepted_as)

    entry, spent, _ = service.audit()
    assert (entry.actor, entry.action, entry.subject) == ("terminal", action, task_id)
    sheet = service.find_task(task_id).sheet_id
    assert json.loads(entry.detail) == {"as": accepted_as or "lost", "sheet": sheet}
    assert spent.action == "spent"
    assert service.verify_audit() == replace(service.verify_audit(), broken=None, unapproved=(), older=())


def test_revoking_is_in_the_trail_once(workspace: Workspace) -> None:
    """With the means, and with what was used until then."""
    service = live(workspace)
    made = service.allow((MODEL,), clips=2, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    for means in (Means.DESK, Means.TERMINAL):
        service.revoke(made.id, by=means)

    entry, made_entry = service.audit()
    assert (entry.actor, entry.action, entry.subject) == ("desk", "allowance_revoked", made.id)
    assert json.loads(entry.detail) == {"use": "0 of 2 clips, 0.00 of 1.00 USD"}
    assert made_entry.action == "allowance_made"


def test_a_yes_a_no_and_a_spend_are_in_the_trail_with_what_they_were_about(workspace: Workspace) -> None:
    """The digest says which bytes, the price how much, and the name who."""
    service = live(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.PASSKEY, evidence={"who": "passkey Phone"})
    task_id = submit(service.deps, sheet_id).report.task.id
    other = draft(service, shot(2))
    service.decline(other, by=Means.DESK)

    no, spent, yes = service.audit()
    binding = service.sheet(sheet_id).binding
    about = {"digest": binding.digest, "price": binding.price}
    assert (yes.actor, yes.action, yes.subject) == ("passkey", "approved", sheet_id)
    assert json.loads(yes.detail) == {**about, "model": MODEL, "who": "passkey Phone", "ledger": ANY}
    assert (spent.actor, spent.action, spent.subject) == ("passkey", "spent", task_id)
    assert json.loads(spent.detail) == {**about, "sheet": sheet_id}
    assert (no.actor, no.action, no.subject) == ("desk", "declined", other)


# ---------------------------------------------------------------------------------------------------- a copied ledger


def copy_home(workspace: Workspace, directory: Path) -> Service:
    """The same policy, key, marks and ledger in another home that the person registered as well."""
    other, home = make_workspace(directory), workspace.ledger_file.parents[1]
    for source in sorted(home.rglob("*")):
        if source.is_file() and "runners" not in source.parts:
            target = other.home / source.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            target.touch(mode=0o600)
            target.write_bytes(source.read_bytes())
    other.environ |= {"POYO_API_KEY": workspace.environ["POYO_API_KEY"]}
    other.gateway, other.clock = workspace.gateway, workspace.clock
    return other.service()


async def test_an_approval_counts_only_in_the_ledger_where_it_was_given(workspace: Workspace, tmp_path: Path) -> None:
    """A copy of the home has it too, and would pay a second time: for a sheet, a task that waits, an allowance."""
    service = live(workspace)
    approved, waiting, allowed = (draft(service, shot(number)) for number in range(3))
    service.approve(approved, by=Means.TERMINAL)
    service.approve(waiting, by=Means.TERMINAL)
    task_id = submit(service.deps, waiting).report.task.id
    service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    copy = copy_home(workspace, tmp_path / "second")

    assert copy.sheet(approved).state is SheetState.APPROVED
    assert submit(copy.deps, approved).status == "approval_needed"
    assert submit(copy.deps, allowed).status == "approval_needed"
    await run_task(copy.deps, task_id)
    assert workspace.gateway.paid == []
    assert copy.verify_audit().unapproved == ()

    workspace.gateway.replies = [accepted(f"job-{number}") for number in range(3)]
    others = [submit(service.deps, sheet_id).report.task.id for sheet_id in (approved, allowed)]
    for each in (task_id, *others):
        workspace.clock.time += 60
        await run_task(service.deps, each)
    assert len(workspace.gateway.paid) == 3


# ----------------------------------------------------------------------------------------------- allowances as recorded


@pytest.mark.parametrize(
    "edited",
    [
        "clips = 9, used_clips = 1",
        "up_to_micros = 9000000",
        "used_clips = 0, used_micros = 0",
        "expires_at = expires_at + 86400",
        'models = \'["poyo/sora-2-official", "poyo/sora-2"]\'',
    ],
)
def test_an_allowance_that_was_edited_in_the_ledger_covers_nothing(workspace: Workspace, edited: str) -> None:
    """Its terms and how often it was used are those in the trail."""
    service = live(workspace)
    service.allow((MODEL,), clips=2, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    assert submit(service.deps, draft(service, shot(1))).status == "waiting"
    edit(workspace, f"UPDATE allowance SET {edited}")

    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"


def test_a_revoked_allowance_is_not_brought_back(workspace: Workspace) -> None:
    """The trail has the revocation."""
    service = live(workspace)
    made = service.allow((MODEL,), clips=2, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    service.revoke(made.id, by=Means.TERMINAL)
    edit(workspace, "UPDATE allowance SET revoked_at = NULL")

    assert submit(service.deps, draft(service)).status == "approval_needed"


def test_an_allowance_does_not_follow_an_edited_policy_by_an_edit_of_its_row(workspace: Workspace) -> None:
    """It was made under the policy that the trail names."""
    service = live(workspace)
    service.allow((MODEL,), clips=2, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    workspace.go_live("# an edit\n")
    edit(workspace, "UPDATE allowance SET policy = ?", service.policy.version)

    assert submit(service.deps, draft(service)).status == "approval_needed"


# ------------------------------------------------------------------------------------------------------------ the clock

CAP = '[caps]\nper_day = "0.50"\nper_month = "0.80"\n'


def agree_and_spend(service: Service, number: int) -> str:
    """A person approves a clip of 0.24 USD and it is spent."""
    sheet_id = draft(service, shot(number))
    service.approve(sheet_id, by=Means.TERMINAL)
    return submit(service.deps, sheet_id).report.task.id


def spend_and_send(workspace: Workspace, service: Service, number: int) -> None:
    """As above; and it was sent at the time that the clock says."""
    task_id = agree_and_spend(service, number)
    changes = {"state": TaskState.SAVED, "deadline": workspace.clock.time + 150}
    service.deps.ledger().touch(task_id, now=workspace.clock.time, changes=changes)


@pytest.mark.parametrize("back", [2 * DAY, 3 * DAY, 40 * DAY, 400 * DAY])
def test_a_clock_that_is_set_back_and_forward_again_frees_no_cap(workspace: Workspace, back: float) -> None:
    """Each step forward from there would be a new day: what is spent counts at the later of clock and trail."""
    service = live(workspace, CAP)
    service.allow((MODEL,), clips=9, up_to=Decimal(9), seconds=3600, by=Means.TERMINAL)
    workspace.clock.time -= back
    for number in range(2):
        spend_and_send(workspace, service, number)
        workspace.clock.time += DAY

    assert service.spending().today == Decimal("0.48")
    with pytest.raises(PolicyRefusal, match="per day"):
        agree_and_spend(service, 3)
    workspace.clock.time = START
    assert service.spending().today == Decimal("0.48")
    with pytest.raises(PolicyRefusal, match="per day"):
        agree_and_spend(service, 4)


def test_what_was_spent_while_the_clock_was_ahead_counts_after_it_is_set_right(workspace: Workspace) -> None:
    """And so does what was spent before: going ahead and back gains nothing."""
    service = live(workspace, CAP)
    spend_and_send(workspace, service, 1)
    workspace.clock.time += DAY
    spend_and_send(workspace, service, 2)
    workspace.clock.time -= DAY

    assert service.spending().today == Decimal("0.48")
    with pytest.raises(PolicyRefusal, match="per day"):
        agree_and_spend(service, 3)


def test_an_allowance_that_was_seen_to_be_over_stays_over(workspace: Workspace) -> None:
    """Any draft shows how late it was; no act of consent is needed for that."""
    service = live(workspace)
    service.allow((MODEL,), clips=9, up_to=Decimal(9), seconds=3600, by=Means.TERMINAL)
    workspace.clock.time += 7200
    draft(service, shot(1))
    workspace.clock.time -= 7000

    assert submit(service.deps, draft(service, shot(2))).status == "approval_needed"
    service.allow((MODEL,), clips=9, up_to=Decimal(9), seconds=3600, by=Means.TERMINAL)
    assert submit(service.deps, draft(service, shot(3))).status == "waiting"


def test_an_approval_that_was_seen_to_be_old_stays_old(workspace: Workspace) -> None:
    """The clock is set back to a time at which it was young."""
    service = live(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.clock.time += 7200
    draft(service, shot(2))
    workspace.clock.time -= 7000

    with pytest.raises(NotApproved, match="too old"):
        submit(service.deps, sheet_id)
