"""What was agreed to and what was charged, side by side: one clip's receipt, the export, the sums."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from callsheet.core.catalogue.prices import Price, charge_in_usd
from callsheet.core.consent import Means, Mode
from callsheet.core.tasks import Clip, TaskState
from callsheet.errors import UnknownThing
from callsheet.service import Service
from callsheet.service.polling import run_task
from callsheet.service.submission import submit
from cases import cases
from workspace import KEY, Workspace, accepted, draft

CLIP = Clip("/clips/a.mp4", 5, "ab" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")


def credits(amount: str = "48", usd: str | None = "0.24") -> Price:  # noqa: A001 - the unit
    return Price(Decimal(amount), "credits", None if usd is None else Decimal(usd), "2026-08-07", "page")


@cases(
    ("price", "charge", "usd"),
    [
        (credits(), "48 credits", "0.24"),
        (credits(), "24 credits", "0.12"),
        (credits(), "0 credits", "0"),
        (credits(), "96.5 credits", "0.4825"),
        (credits("3", "1"), "1 credits", "0.333333"),
        (credits(), "0.24 USD", "0.24"),
        (credits(), None, None),
        (credits(), "", None),
        (credits(), "48 points", None),
        (credits(), "many credits", None),
        (credits(), "NaN credits", None),
        (credits(), "-1 credits", None),
        (credits(), "Infinity USD", None),
        (credits(), "1e999999 credits", None),
        (credits(usd=None), "48 credits", None),
        (credits("0", "0"), "48 credits", None),
        (Price(Decimal("0.339"), "USD", Decimal("0.339"), "", ""), "23.04 credits", None),
        (Price(None, "credits", None, "", ""), "48 credits", None),
    ],
)
def test_a_charge_is_told_in_dollars_only_where_its_unit_is_that_of_the_price(
    price: Price, charge: str | None, usd: str | None
) -> None:
    """An unknown rate is not guessed."""
    assert charge_in_usd(price, charge) == (None if usd is None else Decimal(usd))


def send(workspace: Workspace, service: Service, by: Means = Means.TERMINAL, **evidence: str) -> str:
    """A sheet that was approved and spent; the id of its task."""
    sheet_id = draft(service)
    service.approve(sheet_id, by=by, evidence=evidence)
    report = submit(service.deps, sheet_id).report
    assert report is not None
    return report.task.id


async def test_a_receipt_has_the_whole_way_of_one_clip(workspace: Workspace) -> None:
    """The shot, the price, the consent with its entry in the trail, the request, the charge, the file."""
    workspace.go_live()
    service = workspace.service()
    task_id = send(workspace, service, Means.PASSKEY, who="passkey Red")
    workspace.gateway.replies = [accepted()]
    await run_task(service.deps, task_id)
    changes = {"state": TaskState.SAVED, "clip": CLIP, "charge": "24 credits", "finished_at": service.now() + 60}
    service.deps.ledger().touch(task_id, now=service.now(), changes=changes)

    found: Any = service.receipt(task_id)

    sheet = service.sheet(found["sheet_id"])
    agreed = next(entry for entry in service.audit() if entry.action == "approved")
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["version"], found["task_id"], found["mode"]) == (
        *("callsheet-receipt", 1),
        *(task_id, "live"),
    )
    assert (found["shot"]["gateway"], found["shot"]["duration_seconds"]) == ("poyo", 4)
    assert found["shot"]["prompt"] == sheet.shot.prompt
    assert (found["price"]["price"], found["price"]["price_usd"]) == ("0.24 USD (48 credits)", "0.24")
    assert (found["price"]["charged"], found["price"]["charged_usd"]) == ("0.12 USD (24 credits)", "0.12")
    consent = found["consent"]
    assert (consent["means"], consent["who"], consent["signed"]) == ("passkey", "passkey Red", False)
    assert (consent["entry"], consent["hash"], consent["at"]) == (agreed.seq, agreed.hash, "2026-09-21T14:13:20Z")
    sent = workspace.gateway.paid[0]
    assert (found["sent"]["url"], found["sent"]["method"]) == (str(sent.url), sent.method)
    assert (found["sent"]["body_bytes"], found["sent"]["body_sha256"]) == (len(sheet.body), sheet.binding.body_sha256)
    assert found["sent"]["at"] == found["sent"]["accepted_at"] == "2026-09-21T14:13:20Z"
    assert found["delivered"]["sha256"] == CLIP.sha256
    exported: Any = service.export()
    assert (exported["tasks"][0]["price_usd"], exported["tasks"][0]["charged_usd"]) == ("0.24", "0.12")


async def test_a_receipt_under_an_allowance_names_who_created_it(workspace: Workspace) -> None:
    """The allowance is the consent; its own entry says by which means."""
    workspace.go_live()
    service = workspace.service()
    limits: Any = {"clips": 2, "up_to": Decimal(1), "seconds": 3600.0}
    allowance = service.allow(("poyo/sora-2-official",), **limits, by=Means.DESK)
    report = submit(service.deps, draft(service)).report
    assert report is not None

    consent: Any = service.receipt(report.task.id)["consent"]

    assert (consent["means"], consent["allowance"]["means"], consent["allowance"]["subject"]) == (
        *("allowance", "desk"),
        allowance.id,
    )


@pytest.mark.parametrize(
    ("state", "charge", "charged"),
    [
        (TaskState.WAITING, None, "nothing"),
        (TaskState.REJECTED, None, "nothing"),
        (TaskState.OUTCOME_UNKNOWN, None, "not reported by the gateway"),
        (TaskState.RUNNING, None, "not reported by the gateway"),
        (TaskState.FAILED, "0 credits", "0.00 USD (0 credits)"),
        (TaskState.SAVED, "7 points", "7 points"),
        (TaskState.SAVED, "0.30 USD", "0.30 USD"),
    ],
)
def test_what_was_charged_is_never_claimed_beyond_what_is_known(
    workspace: Workspace, state: TaskState, charge: str | None, charged: str
) -> None:
    """Nothing where nothing was accepted; else the gateway's word."""
    workspace.go_live()
    service = workspace.service()
    task_id = send(workspace, service)
    service.deps.ledger().touch(task_id, now=service.now(), changes={"state": state, "charge": charge})

    found: Any = service.receipt(task_id)

    assert found["price"]["charged"] == charged
    assert found["delivered"] is None


def test_a_rehearsal_charges_nothing_whatever_the_sandbox_says(workspace: Workspace) -> None:
    """And nobody agreed."""
    service = workspace.service()
    report = submit(service.deps, draft(service)).report
    assert report is not None
    assert report.task.mode is Mode.SANDBOX
    changes = {"state": TaskState.SAVED, "charge": "48 credits"}
    service.deps.ledger().touch(report.task.id, now=service.now(), changes=changes)

    found: Any = service.receipt(report.task.id)

    assert (found["price"]["charged"], found["price"]["charged_usd"]) == ("nothing", None)
    assert found["consent"]["means"] == "rehearsal"


def test_no_receipt_holds_a_key_and_an_unknown_task_has_none(workspace: Workspace) -> None:
    """Not even where somebody wrote it into the ledger."""
    workspace.go_live()
    service = workspace.service()
    task_id = send(workspace, service, Means.DESK, who=KEY)
    service.deps.ledger().touch(task_id, now=service.now(), changes={"charge": KEY, "state": TaskState.SAVED})
    assert KEY not in json.dumps(service.receipt(task_id))
    with pytest.raises(UnknownThing):
        service.receipt("task_none")
