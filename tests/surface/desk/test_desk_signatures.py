"""A passkey's signature stays with the trail, and holds later: here, and by the stand-alone script."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio.to_thread
import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from desk_client import ORIGIN, Desk
from virtual_authenticator import Authenticator, challenge, register, sign
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, parse_attestation_object

from callsheet.compose import Surroundings, build_program
from callsheet.core.audit import AuditEntry, build_entry
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.signatures import EVIDENCE, build_statement, challenge_of, read_evidence
from callsheet.edges.keys.passkeys import signing_key
from callsheet.service.submission import submit
from callsheet.surface.cli import run
from cases import cases
from workspace import SHOT, account_of, draft, reply

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_trail.py"
TERMS = {"models": "poyo/sora-2-official", "clips": "3", "up_to": "1.00", "seconds": "3600"}


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("verify_trail", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def approve(desk: Desk, token: str, device: Authenticator, shot: Shot = SHOT) -> str:
    """A sheet that a passkey approved for later, since nobody had put it forward."""
    sheet_id = draft(desk.service, shot)
    signed = await sign(desk, token, device, sheet_id)
    assert (await desk.post(f"/sheets/{sheet_id}/approve", csrf=token, passkey=signed)).status_code == 303
    return sheet_id


async def make_trail(desk: Desk) -> list[AuditEntry]:
    """A passkey, two approvals and an allowance by it, oldest first."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    await approve(desk, token, device)
    await approve(desk, token, device, Shot.of("Another.", duration_seconds=4))
    nonce, options = await challenge(desk, "/allowances/challenge", csrf=token, **TERMS)
    signed = json.dumps({"nonce": nonce, "credential": device.get(options)})
    assert (await desk.post("/allowances", csrf=token, passkey=signed, **TERMS)).status_code == 303
    return list(reversed(desk.service.audit(limit=-1)))


def write_trail(path: Path, entries: list[AuditEntry]) -> str:
    """What `callsheet audit export` writes."""
    document = {"format": "callsheet-trail", "version": 1, "entries": [asdict(entry) for entry in entries]}
    path.write_text(json.dumps(document))
    return str(path)


def seal_anew(entries: list[AuditEntry]) -> list[AuditEntry]:
    """The same acts as a whole new chain, as somebody can build it who can write the ledger."""
    chain: list[AuditEntry] = []
    for entry in entries:
        act = {"at": entry.at, "actor": entry.actor, "action": entry.action, "subject": entry.subject}
        chain.append(build_entry(chain[-1] if chain else None, **act, detail=json.loads(entry.detail)))  # type: ignore[arg-type]
    return chain


def holds_here(entries: list[AuditEntry]) -> bool:
    """Whether each signature holds by the program's own check, copies aside."""
    kept = [read_evidence(entry) for entry in entries]
    return all(signing_key(evidence) is not None for evidence in kept if evidence is not None)


async def test_what_was_signed_is_kept_and_verified_without_callsheet(
    live_desk: Desk, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The statement, the key, the signature, and everything that the sheet was bound to."""
    entries = await make_trail(live_desk)
    registered, approved, _, allowed = entries
    detail = json.loads(approved.detail)

    assert {name for name in EVIDENCE if detail[name]} == set(EVIDENCE)
    assert json.loads(detail["binding"])["price"] == "0.24 USD (48 credits)"
    assert detail["public_key"] == json.loads(registered.detail)["public_key"]
    assert "binding" not in json.loads(allowed.detail)
    verdict = live_desk.service.verify_audit()
    (key,) = verdict.keys
    assert (verdict.broken, verdict.keys[key], verdict.unsigned) == (None, 3, ())
    path = write_trail(tmp_path / "trail.json", entries)
    assert script.main([path, "--hash", entries[1].hash, "--key", key]) == 0
    assert f"3 by the passkey {key}" in capsys.readouterr().out
    assert script.main([path, "--hash", "ab" * 32]) == 1
    assert script.main([path, "--key", "ab" * 8]) == 1


def edit(place: int, **changes: str) -> Callable[[list[AuditEntry]], list[AuditEntry]]:
    """Other details in one entry."""

    def change(entries: list[AuditEntry]) -> list[AuditEntry]:
        detail = json.dumps({**json.loads(entries[place].detail), **changes})
        return [replace(entry, detail=detail) if n == place else entry for n, entry in enumerate(entries)]

    return change


def flip(name: str) -> Callable[[list[AuditEntry]], list[AuditEntry]]:
    """Another last byte in one part of the first approval."""

    def change(entries: list[AuditEntry]) -> list[AuditEntry]:
        raw = bytearray(base64url_to_bytes(json.loads(entries[1].detail)[name]))
        raw[-1] ^= 1
        return edit(1, **{name: bytes_to_base64url(bytes(raw))})(entries)

    return change


def cheaper(entries: list[AuditEntry]) -> list[AuditEntry]:
    """The binding says another price."""
    binding = json.loads(entries[1].detail)["binding"]
    return edit(1, binding=binding.replace("0.24 USD", "9.24 USD"))(entries)


def move(**changes: str) -> Callable[[list[AuditEntry]], list[AuditEntry]]:
    """Another actor, action or subject of the first approval."""
    return lambda entries: [replace(entry, **changes) if n == 1 else entry for n, entry in enumerate(entries)]  # type: ignore[arg-type]


def swap(entries: list[AuditEntry]) -> list[AuditEntry]:
    """The evidence of the second approval in the first."""
    other = json.loads(entries[2].detail)
    return edit(1, **{name: other[name] for name in EVIDENCE})(entries)


def another_key(entries: list[AuditEntry]) -> list[AuditEntry]:
    """A stranger's key, whose signature it is not."""
    stranger = Authenticator()
    options = json.dumps({"challenge": "AAAA"})
    answer = stranger.create(options)["response"]["attestationObject"]
    found = parse_attestation_object(base64url_to_bytes(answer)).auth_data.attested_credential_data
    assert found is not None
    return edit(1, public_key=bytes_to_base64url(found.credential_public_key))(entries)


def unsign(entries: list[AuditEntry]) -> list[AuditEntry]:
    """The statement without its signature."""
    detail = json.loads(entries[1].detail)
    del detail["signature"]
    return [replace(entry, detail=json.dumps(detail)) if n == 1 else entry for n, entry in enumerate(entries)]


FORGERIES = {
    "signature": flip("signature"),
    "authenticator data": flip("authenticator_data"),
    "client data": flip("client_data"),
    "public key": flip("public_key"),
    "another key": another_key,
    "not base64": edit(1, signature="?"),
    "no key": edit(1, public_key=""),
    "another nonce": edit(1, statement="16:callsheet desk 1;1:a;43:" + "A" * 43 + ";"),
    "no statement": edit(1, statement=""),
    "price": cheaper,
    "digest": edit(1, digest="ab" * 32),
    "sheet": move(subject="sheet_other"),
    "action": move(action="declined"),
    "actor": move(actor="terminal"),
    "evidence of another": swap,
    "signature removed": unsign,
    "more clips": edit(3, use="0 of 9 clips, 0.00 of 1.00 USD"),
    "more money": edit(3, use="0 of 3 clips, 0.00 of 100.00 USD"),
    "other models": edit(3, models="apidot/sora-2-official"),
    "later end": edit(3, expires="9999999999"),
    "other policy": edit(3, policy="x"),
}


async def settle(desk: Desk) -> list[AuditEntry]:
    """A passkey's answers to two live tasks, and its end of a pause, oldest first."""
    token, device = await desk.sign_in(), Authenticator()
    await register(desk, token, device)
    for number, answer in enumerate(({"answer": "there", "found": "task-1"}, {"answer": "not there"})):
        desk.workspace.gateway.replies = [reply({"code": 500, "message": "no"}, 500)]
        sheet_id = draft(desk.service, Shot.of(f"Boat {number}.", duration_seconds=4))
        desk.service.approve(sheet_id, by=Means.DESK)
        async with desk.service.running():
            submission = await desk.service.submit(sheet_id, wait_seconds=5)
        assert submission.report is not None
        await sign_and_post(desk, token, device, f"/tasks/{submission.report.task.id}/resolve", **answer)
    await desk.post("/pause", csrf=token)
    await sign_and_post(desk, token, device, "/resume")
    return list(reversed(desk.service.audit(limit=-1)))


async def sign_and_post(desk: Desk, token: str, device: Authenticator, path: str, **fields: str) -> None:
    """Post a form that the passkey signs."""
    nonce, options = await challenge(desk, f"{path}/challenge", csrf=token, **fields)
    signed = json.dumps({"nonce": nonce, "credential": device.get(options)})
    assert (await desk.post(path, csrf=token, passkey=signed, **fields)).status_code == 303


async def test_what_a_passkey_settles_or_resumes_is_kept_and_verified_too(
    live_desk: Desk, script: ModuleType, tmp_path: Path
) -> None:
    """The program and the script agree on what holds, and on each entry that says something else."""
    entries = await settle(live_desk)
    path = tmp_path / "trail.json"
    acts = {entry.action: entry for entry in entries if entry.actor == "passkey"}
    verdict = live_desk.service.verify_audit()

    assert set(acts) == {"resolved_accepted", "resolved_lost", "resumed"}
    assert (verdict.broken, verdict.unsigned, sum(verdict.keys.values())) == (None, (), 3)
    assert script.main([write_trail(path, entries)]) == 0
    accepted, lost, resumed = (acts[name] for name in ("resolved_accepted", "resolved_lost", "resumed"))
    another_id = json.dumps({**json.loads(accepted.detail), "as": "task-2"})
    for act, changes in (
        (accepted, {"subject": lost.subject}),
        (accepted, {"detail": another_id}),
        (accepted, {"action": "resolved_lost"}),
        (lost, {"action": "resolved_accepted"}),
        (lost, {"subject": accepted.subject}),
        (resumed, {"action": "paused"}),
        (resumed, {"detail": lost.detail}),
        (resumed, {"actor": "desk"}),
    ):
        forged = seal_anew([replace(entry, **changes) if entry is act else entry for entry in entries])
        assert script.main([write_trail(path, forged)]) == 1, changes
        assert not holds_here(forged), changes


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_chain_that_was_built_anew_with_another_consent_does_not_hold(
    live_desk: Desk, script: ModuleType, tmp_path: Path, name: str
) -> None:
    """Every hash fits; the signature tells. The program and the script agree."""
    forged = seal_anew(FORGERIES[name](await make_trail(live_desk)))

    assert script.main([write_trail(tmp_path / "trail.json", forged)]) == 1
    assert not holds_here(forged)


async def test_a_signature_counts_for_one_entry(live_desk: Desk, script: ModuleType, tmp_path: Path) -> None:
    """A copy of a signed allowance is no second one."""
    entries = await make_trail(live_desk)
    copied = seal_anew([*entries, replace(entries[3], subject="allow_again")])
    assert script.main([write_trail(tmp_path / "trail.json", copied)]) == 1

    log, detail = live_desk.service.deps.ledger().consent, json.loads(entries[3].detail)
    log.record("allowance_made", "allow_again", actor="passkey", now=entries[3].at, detail=detail)
    assert live_desk.service.verify_audit().broken == 5


async def test_an_approval_of_an_older_version_has_no_signature_and_is_named(
    live_desk: Desk, script: ModuleType, tmp_path: Path
) -> None:
    """It is no change of the trail."""
    sheet_id = draft(live_desk.service)
    live_desk.service.approve(sheet_id, by=Means.PASSKEY, evidence={"who": "passkey Red"})
    entries = list(reversed(live_desk.service.audit(limit=-1)))

    verdict = live_desk.service.verify_audit()

    assert (verdict.broken, verdict.unsigned, dict(verdict.keys)) == (None, (1,), {})
    assert script.main([write_trail(tmp_path / "trail.json", entries)]) == 0


async def test_an_allowance_that_a_passkey_signed_covers_its_clips(live_desk: Desk) -> None:
    """What proves it is not one of its terms."""
    await make_trail(live_desk)
    sheet_id = draft(live_desk.service, Shot.of("A third.", duration_seconds=4))
    assert submit(live_desk.service.deps, sheet_id).status == "waiting"


def run_script(directory: Path, *without: str) -> int:
    """Run the script where these packages cannot be imported."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = f"import sys, runpy; {blocked}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(SCRIPT), "trail.json"]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode


async def test_the_command_exports_what_the_script_verifies_without_callsheet(
    live_desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `cryptography` it says that it could not check all."""
    await make_trail(live_desk)
    workspace = live_desk.workspace
    program = build_program(
        Surroundings(
            environ=workspace.environ,
            working_directory=tmp_path,
            clock=workspace.clock,
            account_home=account_of(workspace.home),
        )
    )
    capsys.readouterr()
    assert run(program, ["audit", "export"]) == 0
    (tmp_path / "trail.json").write_text(capsys.readouterr().out)
    assert run(program, ["audit", "verify", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["signatures"].values()) == [3]

    assert await anyio.to_thread.run_sync(run_script, tmp_path, "callsheet") == 0
    assert await anyio.to_thread.run_sync(run_script, tmp_path, "callsheet", "cryptography") == 2


@cases("content", ["", "{}", "[]", '{"format": "callsheet-trail", "version": 2, "entries": []}', "[" * 100_000])
def test_what_is_no_trail_is_said_to_be_none(script: ModuleType, tmp_path: Path, content: str) -> None:
    """Without a traceback."""
    path = tmp_path / "trail.json"
    path.write_text(content)
    assert script.main([str(path)]) == 1


def es256() -> tuple[dict[int, Any], Callable[[bytes], bytes]]:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
    return cose, lambda data: key.sign(data, ec.ECDSA(hashes.SHA256()))


def rs256() -> tuple[dict[int, Any], Callable[[bytes], bytes]]:
    key = rsa.generate_private_key(65537, 2048)
    n = key.public_key().public_numbers().n
    cose = {1: 3, 3: -257, -1: n.to_bytes(256, "big"), -2: b"\x01\x00\x01"}
    return cose, lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def eddsa() -> tuple[dict[int, Any], Callable[[bytes], bytes]]:
    key = ed25519.Ed25519PrivateKey.generate()
    return {1: 1, 3: -8, -1: 6, -2: key.public_key().public_bytes_raw()}, key.sign


@cases("make", [es256, rs256, eddsa])
def test_every_kind_of_key_that_the_desk_asks_for_is_verified(
    script: ModuleType, make: Callable[[], tuple[dict[int, Any], Callable[[bytes], bytes]]]
) -> None:
    """By the program and by the script, with the same fingerprint."""
    cose, sign_with = make()
    statement = build_statement("sheet a b", "A" * 43)
    said = {"type": "webauthn.get", "challenge": bytes_to_base64url(challenge_of(statement)), "origin": ORIGIN}
    client = json.dumps(said).encode()
    data = hashlib.sha256(b"localhost").digest() + b"\x05" + bytes(4)
    parts = {"public_key": cbor2.dumps(cose), "authenticator_data": data, "client_data": client}
    parts["signature"] = sign_with(data + hashlib.sha256(client).digest())
    evidence = {"statement": statement, **{name: bytes_to_base64url(part) for name, part in parts.items()}}

    assert script.check_signature(evidence) == signing_key(evidence) is not None
    evidence["statement"] += " "
    assert signing_key(evidence) is None
    with pytest.raises(script.Wrong):
        script.check_signature(evidence)
