"""The ledger for people's own books, and what is old taken out of it."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from callsheet.core.consent import Means, Mode
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, Clip, Problem, Pruned, TaskState
from callsheet.errors import UnknownThing
from callsheet.service import Service
from callsheet.service.export import COLUMNS, EXPORT_VERSION, export_rows
from callsheet.service.submission import submit
from workspace import KEY, START, Workspace, draft

DAY = 24 * 3600.0
MONTH_BEGAN = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
CLIP = Clip("/clips/a.mp4", 5, "ab" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")
LASTING = (*OPEN_STATES, TaskState.OUTCOME_UNKNOWN)


def make_task(service: Service, state: TaskState, prompt: str = "A red kite.", **changes: Any) -> str:
    """A live task that has come to that state; its id."""
    sheet_id = draft(service, Shot.of(prompt, duration_seconds=4))
    service.approve(sheet_id, by=Means.TERMINAL)
    report = submit(service.deps, sheet_id).report
    assert report is not None
    service.deps.ledger().touch(report.task.id, now=service.deps.clock.now(), changes={"state": state, **changes})
    return report.task.id


@pytest.fixture
def service(workspace: Workspace) -> Service:
    """A live install without limits."""
    workspace.go_live('[caps]\nper_clip = "none"\nper_day = "none"\nper_month = "none"\n')
    return workspace.service()


def test_the_document_has_every_sheet_and_task_with_its_history(workspace: Workspace, service: Service) -> None:
    """Plain values under stable names; oldest first; a version."""
    saved = make_task(service, TaskState.SAVED, charge="48 credits", clip=CLIP, finished_at=START + 90)
    workspace.clock.time += 10
    failed = make_task(
        service, TaskState.FAILED, "A harbour.", problem=Problem("policy", "the gateway said: no", "unknown", "no")
    )
    workspace.clock.time += 1
    waiting = draft(service, Shot.of("Never sent.", duration_seconds=4))

    document: Any = service.export()

    assert json.loads(json.dumps(document)) == document
    assert (document["format"], document["version"]) == ("callsheet-export", EXPORT_VERSION)
    assert document["exported_at"] == "2026-09-21T14:13:31Z"
    assert [task["task_id"] for task in document["tasks"]] == [saved, failed]
    assert document["sheets"][-1]["sheet_id"] == waiting
    assert [event["kind"] for event in document["sheets"][0]["events"]] == ["drafted", "approved"]
    first, second = document["tasks"]
    assert first["events"][0]["kind"] == "created"
    assert first["events"][0]["at"] == first["created_at"] == "2026-09-21T14:13:20Z"
    assert first["finished_at"] == "2026-09-21T14:14:50Z"
    assert (first["prompt"], first["gateway"], first["model"]) == ("A red kite.", "poyo", "sora-2-official")
    assert (first["price"], first["price_usd"], first["reserved_usd"]) == ("0.24 USD (48 credits)", "0.24", "0.24")
    assert (first["approved_by"], first["charge"], first["state"]) == ("terminal", "48 credits", "saved")
    assert (first["clip"]["path"], first["clip"]["sha256"]) == ("/clips/a.mp4", "ab" * 32)
    assert (second["problem"]["code"], second["clip"]) == ("policy", None)


def test_an_export_can_begin_at_a_date(workspace: Workspace, service: Service) -> None:
    """A task brings its sheet along even if that was made before."""
    make_task(service, TaskState.SAVED, "An old one.")
    older = draft(service, Shot.of("Made before, sent after.", duration_seconds=4))
    service.approve(older, by=Means.TERMINAL)
    workspace.clock.time += 100
    submit(service.deps, older)

    document: Any = service.export(since=START + 50)

    assert document["since"] == "2026-09-21T14:14:10Z"
    assert [sheet["sheet_id"] for sheet in document["sheets"]] == [older]
    assert [task["sheet_id"] for task in document["tasks"]] == [older]
    assert service.export(since=START + 1000)["tasks"] == []


def test_csv_has_one_harmless_row_for_each_task(workspace: Workspace, service: Service) -> None:
    """One line each; no formula is executed, no invisible character gets through."""
    make_task(service, TaskState.SAVED, "=HYPERLINK(1)\nof two \x1b[31mlines", clip=CLIP)
    make_task(service, TaskState.FAILED, "Plain.", problem=Problem("x", "@SUM(1)", "unknown"))

    text = export_rows(service.export())

    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert len(text.splitlines()) == 3
    by_state = {row["state"]: row for row in rows}
    assert by_state["saved"]["prompt"] == "'=HYPERLINK(1) of two lines"
    assert by_state["saved"]["clip_sha256"] == "ab" * 32
    assert by_state["saved"]["reference_image"] == "no"
    assert by_state["saved"]["events"].startswith("2026-09-21T14:13:20Z created")
    assert (by_state["failed"]["problem_code"], by_state["failed"]["problem"]) == ("x", "'@SUM(1)")
    assert by_state["failed"]["clip_path"] == ""


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"duration_seconds": 2.1, "motion": 0}, ["duration_seconds", "picture"]),
        ({"width": 640}, ["aspect_ratio"]),
    ],
)
def test_what_was_delivered_differently_is_in_the_report_and_the_export(
    service: Service, changes: dict[str, Any], fields: list[str]
) -> None:
    """Each difference with its field; the row has them in one column."""
    task_id = make_task(service, TaskState.SAVED, clip=replace(CLIP, **changes))

    report = service.task(task_id)
    document: Any = service.export()

    assert [finding.field for finding in report.findings] == fields
    assert [item["field"] for item in document["tasks"][0]["differences"]] == fields
    row = next(csv.DictReader(io.StringIO(export_rows(document))))
    assert row["differences"] == " ".join(finding.rule for finding in report.findings)
    assert row["state"] == "saved"


def test_no_export_holds_a_key(workspace: Workspace, service: Service) -> None:
    """Not even where somebody wrote it into the ledger."""
    make_task(service, TaskState.FAILED, problem=Problem("x", f"bad key {KEY}", "unknown", KEY), charge=KEY)

    document = service.export()

    assert KEY not in json.dumps(document) + export_rows(document)
    assert "[key hidden]" in export_rows(document)


def test_an_export_is_of_one_moment(workspace: Workspace, service: Service) -> None:
    """What another process writes meanwhile is seen wholly or not at all."""
    make_task(service, TaskState.SAVED)
    ledger = service.deps.ledger()

    with ledger.snapshot():
        before = len(ledger.tasks())
        writer = threading.Thread(target=lambda: make_task(workspace.service(), TaskState.SAVED, "Another."))
        writer.start()
        writer.join()
        during = len(ledger.tasks())

    assert (before, during, len(ledger.tasks())) == (1, 1, 2)


def prune(service: Service, days: float, *, dry_run: bool = False) -> Pruned:
    """What `callsheet prune` does."""
    return service.prune(service.prune_limits(days * DAY), dry_run=dry_run)


def test_pruning_removes_what_is_old_and_has_ended_and_nothing_else(workspace: Workspace, service: Service) -> None:
    """Every ended state goes, whatever is open or unknown stays, and so does what is younger."""
    made = {state: make_task(service, state, f"A shot that is {state.value}.") for state in TaskState}
    never_sent = draft(service, Shot.of("Never sent.", duration_seconds=4))
    workspace.clock.time += 100 * DAY
    young = make_task(service, TaskState.SAVED, "A young one.")
    ledger = service.deps.ledger()

    counted = prune(service, 90, dry_run=True)
    assert len(ledger.tasks(limit=-1)) == len(TaskState) + 1
    removed = prune(service, 90)

    assert counted == removed
    assert removed.tasks == len(TaskState) - len(LASTING)
    assert removed.sheets == removed.tasks + 1
    assert {task.id for task in ledger.tasks(limit=-1)} == {young, *(made[state] for state in LASTING)}
    assert ledger.sheet(never_sent) is None
    assert ledger.history(never_sent) == ledger.history(made[TaskState.SAVED]) == []
    assert ledger.history(made[TaskState.OUTCOME_UNKNOWN]) != []
    assert prune(service, 90) == Pruned(0, 0, 0)
    with pytest.raises(UnknownThing):
        service.task(made[TaskState.SAVED])


def test_what_counts_against_this_months_limits_is_kept(workspace: Workspace, service: Service) -> None:
    """However short an age was given: the sum that is spent must stay the same. START is the 21st of a month."""
    saved = make_task(service, TaskState.SAVED)
    rejected = make_task(service, TaskState.REJECTED, "Refused.")
    workspace.clock.time += 5 * DAY
    month = service.prune_limits(0).month_start
    ledger = service.deps.ledger()
    before = ledger.spending(Mode.LIVE, (month, month))

    prune(service, 1)

    assert ledger.spending(Mode.LIVE, (month, month)) == before
    assert ledger.task(saved) is not None
    assert ledger.task(rejected) is None
    workspace.clock.time += 10 * DAY
    prune(service, 1)
    assert ledger.task(saved) is None


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (TaskState.FAILED, {"deadline": MONTH_BEGAN + 150}),
        (TaskState.ABANDONED, {"deadline": MONTH_BEGAN + 150, "gateway_task_id": "task-unified-1-abc"}),
    ],
)
def test_what_was_sent_this_month_counts_whenever_it_was_made_and_though_it_was_given_up(
    workspace: Workspace, service: Service, state: TaskState, changes: dict[str, Any]
) -> None:
    """Pruning keeps what the caps count, and not what was made this month."""
    workspace.clock.time = MONTH_BEGAN - 60
    made = make_task(service, state, **changes)
    workspace.clock.time = MONTH_BEGAN + 5 * DAY
    before = service.spending()
    assert before.this_month > 0

    prune(service, 1)

    assert service.spending() == before
    assert service.task(made).task.state is state


def test_a_sheet_that_could_still_be_sent_is_kept(workspace: Workspace, service: Service) -> None:
    """An age of zero does not take a sheet away from the person who is just approving it."""
    sheet_id = draft(service)
    workspace.clock.time += 10

    assert prune(service, 0) == Pruned(0, 0, 0)
    assert service.deps.ledger().sheet(sheet_id) is not None


def test_a_pruned_take_never_comes_up_again(workspace: Workspace, service: Service) -> None:
    """The id of a sheet is what a gateway recognises a repeated request by, so the same shot gets another one."""
    ledger = service.deps.ledger()
    seen = set()
    for take in range(1, 5):
        task = ledger.task(make_task(service, TaskState.SAVED))
        assert task is not None
        sheet = ledger.sheet(task.sheet_id)
        assert sheet is not None
        assert sheet.take == take
        seen.add(sheet.id)
        workspace.clock.time += 100 * DAY
        if take != 2:
            prune(service, 90)

    assert len(seen) == 4
    assert ledger.tasks() == []
    assert len(ledger.history(sheet.binding.shot_digest)) == 1
