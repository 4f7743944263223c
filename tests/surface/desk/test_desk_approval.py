"""What it takes to approve on the desk, and everything that is not enough."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial

import anyio
import pytest
from desk_client import PASSPHRASE, Desk, ask, open_desk, seen, set_passphrase

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import SHEET_LIFETIME, Sheet, SheetState
from callsheet.surface.desk.step_up import TRIES
from workspace import Workspace, draft

CONSENTS = ("confirm", "approved", "approve", "token", "force", "yes", "consent", "by", "means", "amount", "key", "ok")


def stored(desk: Desk, sheet_id: str) -> Sheet:
    """The sheet in the ledger."""
    sheet = desk.service.deps.ledger().sheet(sheet_id)
    assert sheet is not None
    return sheet


async def test_a_session_without_a_passphrase_approves_nothing(desk: Desk) -> None:
    """Whatever is in the form: an agent with a shell can get as far as that."""
    token = await desk.sign_in()
    sheet_id = await ask(desk)
    path = f"/sheets/{sheet_id}/approve"

    for name in CONSENTS:
        for value in ("true", "1", "yes", token, "0.24", PASSPHRASE):
            answer = await desk.post(path, csrf=token, **{name: value})
            assert answer.status_code in (403, 422)
    for forged in ("{}", "[]", "null", '{"nonce": "x", "credential": {}}', '{"nonce": "", "credential": {"id": "x"}}'):
        assert (await desk.post(path, csrf=token, passkey=forged)).status_code in (403, 422)

    assert stored(desk, sheet_id).state is SheetState.AWAITING_APPROVAL
    assert not desk.service.audit()


async def test_the_passphrase_approves_a_sheet(desk: Desk) -> None:
    """Once, with a redirect and a notice; the trail says where. Nobody submitted it, so nothing is sent."""
    token = await desk.sign_in()
    sheet_id = draft(desk.service)

    answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE)

    assert (answer.status_code, answer.headers["location"]) == (303, f"/sheets/{sheet_id}")
    assert stored(desk, sheet_id).approved_by is Means.DESK
    page = seen(await desk.read(f"/sheets/{sheet_id}"))
    assert "Approved with the passphrase, for one hour. Nothing was sent yet" in page
    assert "Approved with the passphrase" not in seen(await desk.read(f"/sheets/{sheet_id}"))
    assert [(entry.action, entry.actor) for entry in desk.service.audit()] == [("approved", "desk")]
    assert not desk.workspace.gateway.requests


async def test_an_approval_of_what_was_submitted_sends_it(live_desk: Desk) -> None:
    """The page says so before, and leads to the task after."""
    token = await live_desk.sign_in()
    sheet_id = await ask(live_desk)

    page = await live_desk.read(f"/sheets/{sheet_id}")
    form = {"csrf": token, "passphrase": PASSPHRASE, "amount": "0.24"}
    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", **form)

    sheet = stored(live_desk, sheet_id)
    assert "Allows exactly this request, once, now." in seen(page)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{sheet.task_id}")
    assert (sheet.state, sheet.approved_by) == (SheetState.SPENT, Means.DESK)
    assert len(live_desk.service.deps.ledger().tasks()) == 1


async def test_an_approval_is_for_the_sheet_that_was_shown(desk: Desk) -> None:
    """If its row is not what the form's page showed, nothing is approved, by whatever means."""
    token = await desk.sign_in()
    sheet_id, other = await ask(desk), await ask(desk, Shot.of("Another.", duration_seconds=4))

    for shown in ("", "x", desk.digest(other)):
        for path, form in (("approve", {"passphrase": PASSPHRASE}), ("challenge", {})):
            answer = await desk.post(f"/sheets/{sheet_id}/{path}", csrf=token, shown=shown, **form)
            assert answer.status_code == 403
            assert "changed after this form was shown" in answer.text

    assert stored(desk, sheet_id).state is SheetState.AWAITING_APPROVAL


@pytest.mark.parametrize("typed", ["", "wrong passphrase", PASSPHRASE.upper(), f"{PASSPHRASE} "])
async def test_a_wrong_passphrase_approves_nothing(desk: Desk, typed: str) -> None:
    """And is not shown again."""
    token = await desk.sign_in()
    sheet_id = await ask(desk)

    answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=typed)

    assert answer.status_code == 403
    assert "Nothing was sent; no money was spent." in seen(answer.text)
    assert 'aria-invalid="true"' in answer.text
    if typed:
        assert f'value="{typed}"' not in answer.text
    assert stored(desk, sheet_id).state is SheetState.AWAITING_APPROVAL


async def test_wrong_passphrases_on_sheets_count_as_well(desk: Desk) -> None:
    """Trying them on sheet after sheet is no way around."""
    token = await desk.sign_in()
    sheet_id = await ask(desk)
    path = f"/sheets/{sheet_id}/approve"

    for _ in range(TRIES):
        await desk.post(path, csrf=token, passphrase="wrong passphrase")
    answer = await desk.post(path, csrf=token, passphrase=PASSPHRASE)

    assert "Try again in 60 s" in seen(answer.text)
    assert stored(desk, sheet_id).state is SheetState.AWAITING_APPROVAL


@pytest.mark.parametrize("typed", [None, "", "0", "0.00", "0.42", "0.24 EUR", "24", "yes", PASSPHRASE])
async def test_a_live_sheet_also_needs_its_amount(live_desk: Desk, typed: str | None) -> None:
    """Any other is a no, and does not count as a wrong passphrase."""
    token = await live_desk.sign_in()
    sheet_id = await ask(live_desk)
    form = {} if typed is None else {"amount": typed}

    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, **form)

    assert answer.status_code == 403
    assert "The amount typed is not the amount shown (0.24 USD)." in seen(answer.text)
    assert stored(live_desk, sheet_id).state is SheetState.AWAITING_APPROVAL
    assert live_desk.state.passphrase_check.wrong == 0
    right = {"csrf": token, "passphrase": PASSPHRASE, "amount": "$0.24"}
    assert (await live_desk.post(f"/sheets/{sheet_id}/approve", **right)).status_code == 303
    assert stored(live_desk, sheet_id).state is SheetState.SPENT


async def test_a_session_may_decline_and_withdraw(desk: Desk) -> None:
    """That can only prevent."""
    token = await desk.sign_in()
    first = draft(desk.service)
    await desk.post(f"/sheets/{first}/approve", csrf=token, passphrase=PASSPHRASE)

    answer = await desk.post(f"/sheets/{first}/decline", csrf=token)

    assert answer.status_code == 303
    assert stored(desk, first).state is SheetState.DECLINED
    assert "can no longer be submitted; nothing was sent" in seen(await desk.read("/"))
    again = await desk.post(f"/sheets/{first}/approve", csrf=token, passphrase=PASSPHRASE)
    assert again.status_code == 303
    assert stored(desk, first).state is SheetState.DECLINED


async def test_what_changed_since_the_sheet_was_made_is_said_instead_of_asked(live_desk: Desk) -> None:
    """An edited policy voids it, before and while somebody types."""
    token = await live_desk.sign_in()
    sheet_id = await ask(live_desk)
    live_desk.workspace.go_live('[caps]\nper_day = "9.00"\n')

    page = await live_desk.read(f"/sheets/{sheet_id}")
    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")

    assert "this has changed: policy" in seen(page)
    assert 'name="passphrase"' not in page
    assert "this has changed: policy" in seen(answer.text)
    assert stored(live_desk, sheet_id).state is SheetState.AWAITING_APPROVAL


async def test_a_sheet_over_a_cap_is_not_asked_about_and_not_approved(live_desk: Desk) -> None:
    """The page says why instead of asking, and no form or passkey gets an approval that would be refused after it."""
    live_desk.workspace.go_live('[caps]\nper_clip = "0.20"\n')
    token = await live_desk.sign_in()
    sheet_id = draft(live_desk.service)

    page = await live_desk.read(f"/sheets/{sheet_id}")
    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")
    challenge = await live_desk.post(f"/sheets/{sheet_id}/challenge", csrf=token)

    assert "would exceed the cap per clip" in seen(page)
    assert 'name="passphrase"' not in page
    assert (answer.status_code, challenge.status_code) == (409, 409)
    assert stored(live_desk, sheet_id).state is SheetState.DRAFTED


async def test_a_sheet_that_is_too_old_cannot_be_approved(desk: Desk) -> None:
    """And its page says so."""
    token = await desk.sign_in()
    sheet_id = await ask(desk)
    desk.workspace.clock.time += SHEET_LIFETIME + 1

    page = await desk.read(f"/sheets/{sheet_id}")
    answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE)

    assert "Expired. Nothing was sent." in seen(page)
    assert answer.status_code == 403
    assert stored(desk, sheet_id).state is SheetState.EXPIRED
    assert sheet_id not in await desk.read("/")


async def test_read_only_wins_over_the_passphrase(live_desk: Desk) -> None:
    """Whatever is typed."""
    token = await live_desk.sign_in()
    sheet_id = await ask(live_desk)
    live_desk.workspace.write_policy('mode = "read-only"\n')

    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24")

    assert answer.status_code in (403, 409)
    assert stored(live_desk, sheet_id).state is SheetState.AWAITING_APPROVAL


async def test_where_approval_is_automatic_nothing_is_asked(workspace: Workspace) -> None:
    """A free rehearsal needs no approval."""
    set_passphrase(workspace.home)
    desk = open_desk(workspace)
    await desk.sign_in()
    explained = draft(desk.service)

    page = await desk.read(f"/sheets/{explained}")

    assert "approval is automatic" in page
    assert 'name="passphrase"' not in page


async def test_without_a_passphrase_nothing_is_approved_on_the_desk(workspace: Workspace) -> None:
    """The page says what a person has to do first."""
    workspace.write_policy("[sandbox]\nasks = true\n")
    desk = open_desk(workspace)
    token = await desk.sign_in()
    sheet_id = await ask(desk)

    page = await desk.read(f"/sheets/{sheet_id}")
    answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passphrase="")

    assert "No approval passphrase has been set" in seen(page)
    assert answer.status_code == 409
    assert stored(desk, sheet_id).state is SheetState.AWAITING_APPROVAL


async def test_an_allowance_needs_the_passphrase_and_bounds(live_desk: Desk) -> None:
    """A session is not enough; all values out of bounds are reported together."""
    desk = live_desk
    token = await desk.sign_in()
    terms = {"csrf": token, "models": "poyo/sora-2-official", "clips": "3", "up_to": "1.00", "seconds": "3600"}

    alone = await desk.post("/allowances", **terms)
    unbounded = await desk.post("/allowances", csrf=token, passphrase=PASSPHRASE, clips="0", up_to="x", seconds="1")
    assert not desk.service.allowances()
    created = await desk.post("/allowances", **terms, passphrase=PASSPHRASE)

    assert (alone.status_code, unbounded.status_code, created.status_code) == (403, 422, 303)
    for rule in (
        "at least one model",
        "clips must be 1 to 100",
        "the sum must be above 0",
        "between 1 minute and 7 days",
    ):
        assert rule in seen(unbounded.text)
    (allowance,) = desk.service.allowances()
    assert (allowance.clips, allowance.up_to_micros, allowance.made_by) == (3, 1_000_000, Means.DESK)
    assert "Allowed: 3 clips, up to 1.00 USD." in seen(await desk.read("/allowances"))


async def test_an_allowance_form_that_is_sent_twice_allows_once(live_desk: Desk) -> None:
    """A second click, or the browser's way back, must not double what may be spent."""
    desk = live_desk
    token = await desk.sign_in()
    page = await desk.read("/allowances")
    hidden = dict(re.findall(r'name="(shown|once)" value="([^"]+)"', page))
    terms = {
        "csrf": token,
        "models": "poyo/sora-2-official",
        "clips": "3",
        "up_to": "1.00",
        "seconds": "3600",
        **hidden,
    }

    async with anyio.create_task_group() as both:
        for _ in range(2):
            both.start_soon(partial(desk.post, "/allowances", **terms, passphrase=PASSPHRASE))

    assert len(desk.service.allowances()) == 1
    nameless = await desk.post("/allowances", **{**terms, "once": ""}, passphrase=PASSPHRASE)
    assert (nameless.status_code, len(desk.service.allowances())) == (303, 1)


async def test_an_allowance_form_that_showed_another_policy_allows_nothing(desk: Desk) -> None:
    """Terms that were shown for rehearsals must not become live because the mode was changed meanwhile."""
    token = await desk.sign_in()
    page = await desk.read("/allowances")
    hidden = dict(re.findall(r'name="(shown|once)" value="([^"]+)"', page))
    assert "this allowance would apply only to rehearsals" in seen(page)
    terms = {
        "csrf": token,
        "models": "poyo/sora-2-official",
        "clips": "3",
        "up_to": "1.00",
        "seconds": "3600",
        **hidden,
    }
    desk.workspace.go_live()

    answer = await desk.post("/allowances", **terms, passphrase=PASSPHRASE)

    assert answer.status_code == 403
    assert "has changed since these terms were shown" in seen(answer.text)
    assert not desk.service.allowances()


async def test_a_session_may_revoke_an_allowance(live_desk: Desk) -> None:
    """That can only prevent."""
    desk = live_desk
    token = await desk.sign_in()
    terms = {"models": "poyo/sora-2-official", "clips": "3", "up_to": "1.00", "seconds": "3600"}
    await desk.post("/allowances", csrf=token, passphrase=PASSPHRASE, **terms)
    (allowance,) = desk.service.allowances()

    answer = await desk.post(f"/allowances/{allowance.id}/revoke", csrf=token)

    assert answer.status_code == 303
    assert not desk.service.allowances(only_open=True)
    page = seen(await desk.read("/allowances"))
    assert "Every live clip needs your approval." in page
    assert "revoked" in page


async def test_an_allowance_for_what_is_free_is_shown_and_revoked_like_any_other(workspace: Workspace) -> None:
    """It has no sum to divide by."""
    workspace.go_live(
        '[endpoints.gpu-box]\nwire = "openai-videos"\nbase_url = "https://gpu-box.lan:8443/v1"\naddress = "10.20.0.7"\n'
        '[endpoints.gpu-box.models."wan"]\nseconds = [4]\nsizes = ["832x480"]\nprice = "none"\n'
    )
    opened = open_desk(workspace)
    async with opened.client:
        token = await opened.sign_in()
        made = opened.service.allow(("gpu-box/wan",), clips=3, up_to=Decimal(0), seconds=3600, by=Means.DESK)
        assert "0 of 3 clips" in seen(await opened.read("/allowances"))
        await opened.post(f"/allowances/{made.id}/revoke", csrf=token)
        assert opened.service.allowances()[0].revoked_at is not None
        await opened.read("/allowances")
