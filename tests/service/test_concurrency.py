"""Two calls on one sheet at the same moment: each reports what holds, and neither an internal error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from callsheet.core.consent import Means
from callsheet.core.tasks import SHEET_LIFETIME
from callsheet.errors import InvalidRequest, NotApproved
from callsheet.service import Draft, Service
from callsheet.service.consent import approve
from callsheet.service.dependencies import Dependencies
from callsheet.service.drafts import explain
from callsheet.service.submission import submit
from workspace import SHOT, Workspace, draft

MODEL = "poyo/sora-2-official"


class Overtaken:
    """A ledger before one call of which somebody else does something, once."""

    def __init__(self, ledger: Any, call: str, act: Callable[[], object]) -> None:
        self._ledger = ledger
        self._acts = {call: act}

    def __getattr__(self, name: str) -> Any:
        if act := self._acts.pop(name, None):
            act()
        return getattr(self._ledger, name)


def overtaken(service: Service, call: str, act: Callable[[], object]) -> Dependencies:
    """The service's dependencies, with such a ledger."""
    ledger = Overtaken(service.deps.ledger(), call, act)
    return replace(service.deps, ledger=lambda: ledger)


def meeting(workspace: Workspace) -> tuple[Service, Service, str]:
    """Two live processes and a sheet."""
    workspace.go_live()
    service = workspace.service()
    return service, workspace.service(), draft(service)


def test_a_sheet_that_is_approved_while_its_caller_is_being_told_to_ask_is_sent(workspace: Workspace) -> None:
    """The person was faster than the answer."""
    service, other, sheet_id = meeting(workspace)
    deps = overtaken(service, "move_sheet", lambda: other.approve(sheet_id, by=Means.DESK))

    assert submit(deps, sheet_id).status == "waiting"


def test_a_sheet_that_is_declined_while_an_allowance_is_about_to_spend_it_is_not_sent(workspace: Workspace) -> None:
    """The person's no wins, and uses nothing up."""
    service, other, sheet_id = meeting(workspace)
    service.allow((MODEL,), clips=1, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    deps = overtaken(service, "spend", lambda: other.decline(sheet_id, by=Means.DESK))

    with pytest.raises(InvalidRequest, match=r"is already declined.*Nothing was sent"):
        submit(deps, sheet_id)

    assert service.tasks() == []
    assert service.allowances()[0].used_clips == 0


def test_a_sheet_that_is_declined_while_it_grows_too_old_says_so(workspace: Workspace) -> None:
    """When it is submitted, and when it is approved."""
    for act in (submit, lambda deps, sheet_id: approve(deps, sheet_id, by=Means.TERMINAL)):
        service, other, sheet_id = meeting(workspace)
        workspace.clock.time += SHEET_LIFETIME + 1
        deps = overtaken(service, "move_sheet", lambda other=other, sheet_id=sheet_id: other.decline(sheet_id))
        with pytest.raises(InvalidRequest, match="is already declined"):
            act(deps, sheet_id)


def test_who_comes_too_late_to_approve_is_told_what_the_sheet_is_now(workspace: Workspace) -> None:
    """And not what it was when they looked."""
    service, other, sheet_id = meeting(workspace)
    deps = overtaken(service, "move_sheet", lambda: other.decline(sheet_id))

    with pytest.raises(InvalidRequest, match="is already declined"):
        approve(deps, sheet_id, by=Means.TERMINAL)


def test_two_that_draft_an_old_shot_anew_get_the_same_sheet(workspace: Workspace) -> None:
    """And not two that could both be sent."""
    service, other, sheet_id = meeting(workspace)
    workspace.clock.time += SHEET_LIFETIME + 1
    theirs: list[str] = []
    deps = overtaken(service, "move_sheet", lambda: theirs.append(draft(other)))

    mine = explain(deps, Draft(shot=SHOT, gateway="poyo", model="sora-2-official")).sheet

    assert mine is not None
    assert theirs == [mine.id]
    assert mine.id != sheet_id
    with pytest.raises((InvalidRequest, NotApproved)):
        service.approve(sheet_id, by=Means.TERMINAL)
