"""A ledger that an older version wrote: what was under way goes on, and a copy of the file as it was is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

from callsheet.core.consent import Means, sheet_id_for
from callsheet.core.shot import Shot
from callsheet.core.tasks import SheetState, TaskState
from callsheet.service.polling import run_task
from callsheet.service.submission import ATTEMPT_SECONDS, submit
from workspace import SHOT, Workspace, accepted, draft, status

# A moment as a real clock tells it, with more digits than SQL's own cast keeps.
PRECISE = 1_795_849_200.1234567

LIVE = hashlib.sha256(b'mode = "live"\n').hexdigest()[:12]
BACK_TO_VERSION_1 = (
    "DROP INDEX sheet_forward",
    "ALTER TABLE sheet DROP COLUMN forward_at",
    "DROP TABLE allowance",
    "DROP TABLE audit",
    "ALTER TABLE sheet DROP COLUMN allowance",
    "UPDATE sheet SET binding = json_remove(binding, '$.expires')",
    # It named the whole policy. Here that is the file of `go_live`; in the sandbox it was empty, as it is now.
    f"UPDATE sheet SET binding = json_set(binding, '$.policy', '{LIVE}') WHERE binding ->> '$.mode' = 'live'",
    "PRAGMA user_version = 1",
)


def shot(number: int) -> Shot:
    """A shot unlike the others."""
    return Shot.of(f"{SHOT.prompt} Take {number}.", duration_seconds=4)


def make_old(path: Path) -> dict[str, str]:
    """Take everything out of the file that version 2 brought; the ids that version 1 gave its sheets, by today's.

    The mark of what was sent goes as well: it came later still.
    """
    shutil.rmtree(path.parent.parent / "state" / "sent", ignore_errors=True)
    ids = {}
    with sqlite3.connect(path) as db:
        for statement in BACK_TO_VERSION_1:
            db.execute(statement)
        for sheet_id, binding in db.execute("SELECT id, binding FROM sheet").fetchall():
            text = json.dumps(json.loads(binding), sort_keys=True, separators=(",", ":"))
            ids[sheet_id] = sheet_id_for(hashlib.sha256(text.encode()).hexdigest())
            db.execute("UPDATE sheet SET id = ? WHERE id = ?", (ids[sheet_id], sheet_id))
            db.execute("UPDATE task SET sheet_id = ? WHERE sheet_id = ?", (ids[sheet_id], sheet_id))
        for sheet_id, written in db.execute("SELECT id, shot FROM sheet").fetchall():
            db.execute("UPDATE sheet SET shot = ? WHERE id = ?", (as_written_then(written), sheet_id))
    db.close()
    return ids


def as_written_then(written: str) -> str:
    """A shot as versions 1 and 2 stored it: an attribute for each value, one picture, and extras."""
    shot = json.loads(written)
    values = {name: shot["parameters"].get(name) for name in ("duration_seconds", "aspect_ratio", "resolution")}
    picture = next((item["url"] for item in shot["inputs"]), None)
    then = {"prompt": shot["prompt"], **values, "image_url": picture, "callback_url": shot["callback_url"]}
    return json.dumps({**then, "extras": shot["options"]})


async def test_what_an_older_version_left_open_is_neither_sent_twice_nor_called_forged(workspace: Workspace) -> None:
    """What was sent goes on. What was only approved needs a person: that version kept no record of who agreed."""
    workspace.go_live()
    workspace.clock.time = PRECISE
    service = workspace.service()
    ledger = service.deps.ledger()
    approved, *sheets = [draft(service, shot(number)) for number in range(4)]
    for sheet_id in (approved, *sheets):
        service.approve(sheet_id, by=Means.TERMINAL)
    waiting, submitting, queued = [submit(service.deps, sheet_id).report.task.id for sheet_id in sheets]
    workspace.gateway.replies = [accepted()]
    await run_task(service.deps, queued)
    deadline = workspace.clock.time + ATTEMPT_SECONDS
    ledger.touch(
        submitting,
        now=workspace.clock.time,
        changes={"state": TaskState.SUBMITTING, "attempt": "a", "deadline": deadline},
    )
    ledger.close()
    path = workspace.ledger_file
    ids = make_old(path)

    newer = workspace.service()
    workspace.gateway.replies = [status("running"), accepted("task-unified-1-abd")]
    await run_task(newer.deps, waiting)
    workspace.clock.time = max(deadline + 2, newer.task(queued).task.next_at)
    for task_id in (submitting, queued):
        await run_task(newer.deps, task_id)
    unproven = submit(newer.deps, ids[approved])
    newer.approve(ids[approved], by=Means.TERMINAL)
    await run_task(newer.deps, submit(newer.deps, ids[approved]).report.task.id)

    states = [newer.task(task_id).task.state for task_id in (waiting, submitting, queued)]
    assert states == [TaskState.WAITING, TaskState.OUTCOME_UNKNOWN, TaskState.RUNNING]
    assert newer.task(waiting).task.problem.code == "not_approved"
    assert unproven.status == "approval_needed"
    assert len(workspace.gateway.paid) == 2
    verdict = newer.verify_audit()
    assert (verdict.broken, verdict.unapproved) == (None, ())
    assert sorted(verdict.older) == sorted([waiting, submitting, queued])
    # What calls itself that old, but was created after the trail began, is not.
    newer.deps.ledger().touch(queued, now=workspace.clock.time, changes={"created_at": workspace.clock.time + 1})
    assert newer.verify_audit().unapproved == (queued,)
    backup = path.with_name("ledger.sqlite3.before-version-2")
    with sqlite3.connect(backup) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM task").fetchone() == (3,)
    db.close()


def test_a_sheet_of_an_older_version_is_handed_out_again_and_not_drafted_anew(workspace: Workspace) -> None:
    """Its end is bound exactly as the program writes it."""
    workspace.go_live()
    workspace.clock.time = PRECISE
    service = workspace.service()
    sheet_id = draft(service)
    service.deps.ledger().close()
    ids = make_old(workspace.ledger_file)

    newer = workspace.service()

    assert draft(newer) == ids[sheet_id]
    sheet = newer.deps.ledger().sheet(ids[sheet_id])
    assert (sheet.state, sheet.binding.expires) == (SheetState.DRAFTED, str(sheet.expires_at))


def test_a_shot_of_an_older_version_is_read_with_its_picture_and_extras(workspace: Workspace) -> None:
    """Every value that it held is in the shot as it is now, and the sheet is the same."""
    service = workspace.service()
    asked = Shot.of(
        "A red kite.",
        duration_seconds=8,
        aspect_ratio="9:16",
        first_frame="https://cdn.acme.com/a.png",
        options={"remove_watermark": False},
    )
    sheet_id = draft(service, asked, gateway="apixo", model="sora-2")
    before = service.deps.ledger().sheet(sheet_id)
    service.deps.ledger().close()
    ids = make_old(workspace.ledger_file)

    newer = workspace.service()

    after = newer.deps.ledger().sheet(ids[sheet_id])
    assert after.shot == before.shot
    assert (after.shot.urls("first_frame"), dict(after.shot.options)) == (
        ("https://cdn.acme.com/a.png",),
        {"remove_watermark": False},
    )
    assert draft(newer, asked, gateway="apixo", model="sora-2") == ids[sheet_id]


def test_a_clip_that_an_older_version_saved_is_read_and_compared_by_what_it_has(workspace: Workspace) -> None:
    """Its row has no audio, brightness or motion: none of that is a difference, and the length still is."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = draft(service, SHOT)
    service.approve(sheet_id, by=Means.TERMINAL)
    task = submit(service.deps, sheet_id).report.task
    measured = {"path": "/a.mp4", "size": 5, "sha256": "0" * 64, "poster": "/b", "contact_sheet": "/c"}
    written = json.dumps({**measured, "duration_seconds": 2.0, "width": 1280, "height": 720})
    with sqlite3.connect(workspace.ledger_file) as db:
        db.execute("UPDATE task SET state = 'saved', clip = ? WHERE id = ?", (written, task.id))
    db.close()

    report = workspace.service().task(task.id)

    assert report.task.state is TaskState.SAVED
    assert [finding.field for finding in report.findings] == ["duration_seconds"]
