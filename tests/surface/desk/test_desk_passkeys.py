"""Passkeys: what one signs is exactly what is approved, once, by a person who was verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from desk_client import PASSPHRASE, Desk, ask, data, seen
from virtual_authenticator import PRESENT, Authenticator, challenge, register, sign

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.signatures import build_statement, challenge_of
from callsheet.core.tasks import SheetState
from callsheet.surface.desk.sessions import Session
from callsheet.surface.desk.step_up import CHALLENGE_SECONDS, MOST_CHALLENGES, Challenges
from workspace import draft

JSON = {"accept": "application/json"}
TERMS = {"models": "poyo/sora-2-official", "clips": "3", "up_to": "1.00", "seconds": "3600"}


def state(desk: Desk, sheet_id: str) -> SheetState:
    """The sheet's state in the ledger."""
    sheet = desk.service.deps.ledger().sheet(sheet_id)
    assert sheet is not None
    return sheet.state


async def test_a_passkey_approves_the_sheet_that_it_signed(desk: Desk) -> None:
    """Without passphrase; the trail has its name."""
    token, device = await desk.sign_in(), Authenticator()
    assert (await register(desk, token, device, "Red key")).status_code == 303
    sheet_id = draft(desk.service)

    answer = await desk.post(
        f"/sheets/{sheet_id}/approve", csrf=token, passkey=await sign(desk, token, device, sheet_id)
    )

    assert answer.status_code == 303
    sheet = desk.service.deps.ledger().sheet(sheet_id)
    assert sheet is not None
    assert sheet.approved_by is Means.PASSKEY
    entry = desk.service.audit()[0]
    assert (entry.action, entry.actor) == ("approved", "passkey")
    assert "Red key" in entry.detail
    assert desk.state.passkeys.all()[0].sign_count == 1


async def test_a_live_sheet_is_approved_by_a_passkey_with_its_amount_on_the_button(live_desk: Desk) -> None:
    """There is nothing to type then."""
    token, device = await live_desk.sign_in(), Authenticator()
    await register(live_desk, token, device)
    sheet_id = await ask(live_desk)

    assert "Approve and send 0.24 USD with a passkey" in seen(await live_desk.read(f"/sheets/{sheet_id}"))
    signed = await sign(live_desk, token, device, sheet_id)
    answer = await live_desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=signed)

    assert answer.status_code == 303
    assert state(live_desk, sheet_id) is SheetState.SPENT


async def test_a_signature_is_valid_only_for_its_sheet(desk: Desk) -> None:
    """And only once, also when it was refused."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    first, second = await ask(desk), await ask(desk, Shot.of("Another.", duration_seconds=4))
    signed = await sign(desk, token, device, first)

    elsewhere = await desk.post(f"/sheets/{second}/approve", csrf=token, passkey=signed)
    used_up = await desk.post(f"/sheets/{first}/approve", csrf=token, passkey=signed)

    assert elsewhere.status_code == used_up.status_code == 403
    assert "The passkey signature does not match" in seen(elsewhere.text)
    assert {state(desk, first), state(desk, second)} == {SheetState.AWAITING_APPROVAL}


async def test_a_signature_cannot_be_replayed(desk: Desk) -> None:
    """Not even on the sheet that it approved, after that was drafted again."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    sheet_id = draft(desk.service)
    signed = await sign(desk, token, device, sheet_id)
    await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=signed)
    desk.service.decline(sheet_id)

    again = await ask(desk, Shot.of("Another.", duration_seconds=4))
    answer = await desk.post(f"/sheets/{again}/approve", csrf=token, passkey=signed)

    assert answer.status_code == 403
    assert state(desk, again) is SheetState.AWAITING_APPROVAL


async def test_a_signature_that_comes_late_or_in_another_session_is_no_yes(desk: Desk) -> None:
    """A challenge is for the one who asked for it, and for five minutes."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    sheet_id = await ask(desk)
    late = await sign(desk, token, device, sheet_id)
    desk.clock.time += CHALLENGE_SECONDS + 1
    assert (await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=late)).status_code == 403

    stolen = await sign(desk, token, device, sheet_id)
    await desk.post("/sign-out", csrf=token)
    await desk.post("/sign-in", passphrase=PASSPHRASE)
    other = await desk.token()
    assert (await desk.post(f"/sheets/{sheet_id}/approve", csrf=other, passkey=stolen)).status_code == 403

    assert state(desk, sheet_id) is SheetState.AWAITING_APPROVAL


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "http://localhost:3000"},
        {"origin": "https://localhost:43117"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": 0},
    ],
    ids=["another port", "another scheme", "another name", "not verified", "not present"],
)
async def test_a_signature_made_elsewhere_or_without_the_person_is_no_yes(
    desk: Desk, changes: dict[str, object]
) -> None:
    """Each claim of the device is checked."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    sheet_id = await ask(desk)
    for name, value in changes.items():
        setattr(device, name, value)

    answer = await desk.post(
        f"/sheets/{sheet_id}/approve", csrf=token, passkey=await sign(desk, token, device, sheet_id)
    )

    assert answer.status_code == 403
    assert "The passkey's signature is not valid" in seen(answer.text)
    assert state(desk, sheet_id) is SheetState.AWAITING_APPROVAL


async def test_another_devices_signature_is_no_yes(desk: Desk) -> None:
    """Neither an unregistered one nor one that uses the name of a registered one."""
    token, device, stranger = await desk.sign_in(), Authenticator(), Authenticator()
    await register(desk, token, device)
    sheet_id = await ask(desk)
    path = f"/sheets/{sheet_id}/approve"

    unknown = await desk.post(path, csrf=token, passkey=await sign(desk, token, stranger, sheet_id))
    stranger.id = device.id
    posing = await desk.post(path, csrf=token, passkey=await sign(desk, token, stranger, sheet_id))

    assert unknown.status_code == posing.status_code == 403
    assert state(desk, sheet_id) is SheetState.AWAITING_APPROVAL


async def test_a_counter_that_did_not_go_up_is_a_copied_key(desk: Desk) -> None:
    """The copy approves nothing."""
    token, device = await desk.sign_in(), Authenticator(count=7)
    await register(desk, token, device)
    sheet_id = await ask(desk)
    device.count = 3

    answer = await desk.post(
        f"/sheets/{sheet_id}/approve", csrf=token, passkey=await sign(desk, token, device, sheet_id)
    )

    assert answer.status_code == 403
    assert state(desk, sheet_id) is SheetState.AWAITING_APPROVAL


async def test_registering_and_removing_need_the_passphrase(desk: Desk) -> None:
    """A session gets no challenge, and what it makes up is not kept."""
    token, device = await desk.sign_in(), Authenticator()
    for typed in ("", "wrong passphrase"):
        answer = await desk.client.post(
            "/passkeys/challenge", data={"csrf": token, "passphrase": typed}, headers={**desk.headers, **JSON}
        )
        assert answer.status_code == 403
        assert "options" not in data(answer)
    made_up = json.dumps({"challenge": "AAAA"})
    forged = json.dumps({"nonce": "x", "credential": device.create(made_up)})
    assert (await desk.post("/passkeys", csrf=token, name="x", passkey=forged)).status_code == 403
    assert not desk.state.passkeys.all()

    await register(desk, token, device)
    (passkey,) = desk.state.passkeys.all()
    path = f"/passkeys/{passkey.id}/remove"
    assert (await desk.post(path, csrf=token)).status_code == 403
    assert (await desk.post(path, csrf=token, passphrase="wrong passphrase")).status_code == 403
    assert desk.state.passkeys.all()
    assert (await desk.post(path, csrf=token, passphrase=PASSPHRASE)).status_code == 303
    assert not desk.state.passkeys.all()
    assert [entry.action for entry in desk.service.audit()] == ["passkey_removed", "passkey_registered"]


async def test_a_challenge_to_register_approves_nothing(desk: Desk) -> None:
    """And one to approve registers nothing."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    sheet_id = await ask(desk)
    nonce, options = await challenge(desk, "/passkeys/challenge", csrf=token, passphrase=PASSPHRASE)
    crossed = json.dumps({"nonce": nonce, "credential": device.get(options)})
    assert (await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=crossed)).status_code == 403

    nonce, options = await challenge(desk, f"/sheets/{sheet_id}/challenge", csrf=token)
    crossed = json.dumps({"nonce": nonce, "credential": Authenticator().create(options)})
    assert (await desk.post("/passkeys", csrf=token, name="x", passkey=crossed)).status_code == 403
    assert len(desk.state.passkeys.all()) == 1


@pytest.mark.parametrize("flags", [PRESENT, 0])
async def test_a_device_that_did_not_verify_the_person_is_not_registered(desk: Desk, flags: int) -> None:
    """It must ask for a finger, a face or a PIN."""
    token = await desk.sign_in()

    answer = await register(desk, token, Authenticator(flags=flags))

    assert answer.status_code == 422
    assert not desk.state.passkeys.all()


async def test_a_passkey_makes_the_allowance_whose_terms_it_signed(live_desk: Desk) -> None:
    """And no other: one more clip, dollar, hour or model is another allowance."""
    desk = live_desk
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    wider = ({"clips": "4"}, {"up_to": "1.01"}, {"seconds": "7200"}, {"models": "apidot/sora-2-official"})

    for change in wider:
        nonce, options = await challenge(desk, "/allowances/challenge", csrf=token, **TERMS)
        signed = json.dumps({"nonce": nonce, "credential": device.get(options)})
        assert (await desk.post("/allowances", csrf=token, passkey=signed, **{**TERMS, **change})).status_code == 403
    assert not desk.service.allowances()

    nonce, options = await challenge(desk, "/allowances/challenge", csrf=token, **TERMS)
    signed = json.dumps({"nonce": nonce, "credential": device.get(options)})
    assert (await desk.post("/allowances", csrf=token, passkey=signed, **TERMS)).status_code == 303
    assert [item.made_by for item in desk.service.allowances()] == [Means.PASSKEY]


async def test_terms_that_were_signed_under_another_policy_are_not_allowed(live_desk: Desk) -> None:
    """What was a rehearsal must not become live by an edit in between."""
    desk = live_desk
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    nonce, options = await challenge(desk, "/allowances/challenge", csrf=token, **TERMS)
    signed = json.dumps({"nonce": nonce, "credential": device.get(options)})
    desk.workspace.go_live('[caps]\nper_day = "9.00"\n')

    assert (await desk.post("/allowances", csrf=token, passkey=signed, **TERMS)).status_code == 403
    assert not desk.service.allowances()


def test_challenges_depend_on_their_subject_and_are_bounded() -> None:
    """No two subjects and nonces give the same one; too many open ones push out the oldest."""
    session = Session(ends=1e9)
    challenges = Challenges(lambda: 0.0)
    issued = [challenges.issue(session, "sheet a b") for _ in range(MOST_CHALLENGES + 1)]

    assert len({challenge for _, challenge in issued}) == len(issued)
    assert build_statement("a", "bc") != build_statement("ab", "c")
    assert challenge_of(challenges.redeem(session, "sheet a b", issued[-1][0])) == issued[-1][1]
    with pytest.raises(Exception, match="does not match"):
        challenges.redeem(session, "sheet a b", issued[0][0])


async def test_a_list_of_passkeys_that_others_can_write_is_not_used(desk: Desk) -> None:
    """Somebody might have added their own."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    sheet_id = await ask(desk)
    signed = await sign(desk, token, device, sheet_id)
    open_to_others(desk.state.passkeys.path)

    answer = await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=signed)

    assert answer.status_code == 409
    assert "which is open to others" in seen(answer.text)
    assert state(desk, sheet_id) is SheetState.AWAITING_APPROVAL


def open_to_others(path: Path) -> None:
    """Let the group write the file."""
    path.chmod(0o620)
