#!/usr/bin/env python3
"""Checks an exported audit trail of Callsheet offline: every seal, and every signature by a passkey.

    callsheet audit export > trail.json
    python verify_trail.py trail.json [--hash HASH] [--key FINGERPRINT ...]
    python verify_trail.py audit.jsonl --origin https://clips.example.com [--hash HASH] [--key FINGERPRINT ...]

The second is what the desk of a team exports; there each signature must be by a passkey of the person named. It needs
Python 3.10 and the package `cryptography`, and neither Callsheet nor a network. docs/audit-trail.md describes the
format. `--hash` is a latest hash that you kept elsewhere: the trail must contain it. `--key` names the passkeys
that may have signed. Exit code: 0 all holds, 1 something does not, 2 not everything could be checked.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FIRST_HASH = "0" * 64
STATEMENT = re.compile(r"16:callsheet desk 1;(\d{1,6}):(.*);43:[A-Za-z0-9_-]{43};", re.DOTALL)
LOCAL = re.compile(r"http://localhost:\d{1,5}")
TEAM_ACTS = ("budget_set", "let_in", "agent_token_made")
PROVEN = ("approved", "resumed", *TEAM_ACTS[1:])
"""What a passkey alone does in a team, beside rehearsals. A budget may be made smaller without one."""
TERMS = {"models", "use", "mode", "policy", "seconds"}
PRESENT, VERIFIED = 0x01, 0x04


class Wrong(Exception):
    """What does not hold."""


def check_chain(entries: list[dict[str, Any]]) -> str:
    """Check that each entry seals the one before it; returns the latest hash."""
    latest = FIRST_HASH
    for number, entry in enumerate(entries, 1):
        names = ("seq", "at", "actor", "action", "subject", "detail", "previous")
        text = json.dumps([entry[name] for name in names], ensure_ascii=True, separators=(",", ":"))
        if entry["seq"] != number or entry["previous"] != latest:
            raise Wrong(f"entry {number} is missing, or does not follow the one before it")
        if entry["hash"] != hashlib.sha256(text.encode()).hexdigest():
            raise Wrong(f"entry {number} was changed")
        latest = entry["hash"]
    return latest


def check_statement(entry: dict[str, Any], detail: dict[str, str]) -> None:
    """Check that what was signed is this very act: this sheet as bound, these terms, this answer."""
    match = STATEMENT.fullmatch(detail["statement"])
    if match is None or int(match[1]) != len(match[2]) or entry["actor"] != "passkey":
        raise Wrong("its statement is not one of Callsheet's")
    subject = match[2]
    if entry["action"] == "approved":
        if hashlib.sha256(detail["binding"].encode()).hexdigest() != detail["digest"]:
            raise Wrong("its binding was changed")
        if subject != f"sheet {entry['subject']} {detail['digest']}":
            raise Wrong("its statement is about another sheet")
    elif entry["action"] == "allowance_made":
        terms = json.loads(subject.removeprefix("allowance "))
        said = {**detail, "seconds": terms["seconds"]}
        if set(terms) != TERMS or any(said[name] != value for name, value in terms.items()):
            raise Wrong("its statement is about other terms")
        if detail["expires"] != f"{entry['at'] + terms['seconds']:.0f}":
            raise Wrong("it does not end when its terms say")
    elif subject != other_subject(entry, detail):
        raise Wrong("its statement is about something else")


def other_subject(entry: dict[str, Any], detail: dict[str, str]) -> str:
    """What a statement says that ends a pause, tells what became of a task, or widens what a team may do."""
    if entry["action"] in TEAM_ACTS:
        return json.dumps([entry["action"], entry["subject"], detail["terms"]])
    if entry["action"] == "resumed":
        return "resume submissions"
    if entry["action"] == "resolved_accepted":
        return f"resolve {entry['subject']} there {detail['as']}"
    if entry["action"] == "resolved_lost":
        return f"resolve {entry['subject']} not there "
    raise Wrong("it is no act that a passkey signs")


def check_signature(detail: dict[str, str], origin: str = "") -> str:
    """Check a signature by WebAuthn (level 2, section 7.2); returns the fingerprint of the passkey that made it."""
    data, client, key = (decode(detail[name]) for name in ("authenticator_data", "client_data", "public_key"))
    said = json.loads(client)
    challenge = hashlib.sha256(detail["statement"].encode("utf-8", "surrogatepass")).digest()
    if said.get("type") != "webauthn.get" or decode(said.get("challenge", "")) != challenge:
        raise Wrong("something else was signed")
    is_desk = said.get("origin") == origin if origin else LOCAL.fullmatch(said.get("origin", ""))
    host = urlsplit(origin or "http://localhost").hostname or ""
    if not is_desk or data[:32] != hashlib.sha256(host.encode()).digest():
        raise Wrong("it was signed for another page than the desk")
    if len(data) < 37 or data[32] & (PRESENT | VERIFIED) != PRESENT | VERIFIED:
        raise Wrong("the device did not verify the person")
    verify(read_cbor(key)[0], decode(detail["signature"]), data + hashlib.sha256(client).digest())
    return hashlib.sha256(key).hexdigest()[:16]


def verify(key: dict[int, Any], signature: bytes, signed: bytes) -> None:
    """Check a signature with a COSE key (RFC 9053): ES256, ES384, ES512, RS256 to RS512, EdDSA."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    algorithm, digests = key[3], {7: hashes.SHA256(), 35: hashes.SHA384(), 36: hashes.SHA512()}
    digests |= {257: hashes.SHA256(), 258: hashes.SHA384(), 259: hashes.SHA512()}
    try:
        if key[1] == 2:
            curve = {1: ec.SECP256R1(), 2: ec.SECP384R1(), 3: ec.SECP521R1()}[key[-1]]
            x, y = (int.from_bytes(key[name], "big") for name in (-2, -3))
            public = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
            public.verify(signature, signed, ec.ECDSA(digests[-algorithm]))
        elif key[1] == 3:
            n, e = (int.from_bytes(key[name], "big") for name in (-1, -2))
            rsa.RSAPublicNumbers(e, n).public_key().verify(signature, signed, padding.PKCS1v15(), digests[-algorithm])
        elif (key[1], algorithm, key[-1]) == (1, -8, 6):
            ed25519.Ed25519PublicKey.from_public_bytes(key[-2]).verify(signature, signed)
        else:
            raise Wrong("its kind of key is not known")
    except (InvalidSignature, KeyError, ValueError):
        raise Wrong("the signature does not fit the statement and the key") from None


def read_cbor(data: bytes) -> tuple[Any, bytes]:
    """One value of CBOR (RFC 8949) as a COSE key has them, numbers, bytes, text and maps, and what follows it."""
    if not data:
        raise ValueError("cut short")
    kind, count, rest = data[0] >> 5, data[0] & 31, data[1:]
    if count >= 24:
        size = 1 << (count - 24)
        count, rest = int.from_bytes(rest[:size], "big"), rest[size:]
    if kind in (0, 1):
        return (count if kind == 0 else -1 - count), rest
    if kind in (2, 3) and count <= len(rest):
        return rest[:count], rest[count:]
    if kind != 5:
        raise ValueError("not a key")
    found = {}
    for _ in range(count):
        name, rest = read_cbor(rest)
        found[name], rest = read_cbor(rest)
    return found, rest


def decode(text: str) -> bytes:
    """Base64url, with or without padding."""
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)


def check_owner(owners: dict[str, str], detail: dict[str, str]) -> str:
    """Check that the passkey which signed is one that the person named had added, and not removed; who that is."""
    if owners.get(detail["public_key"]) != detail["person"]:
        raise Wrong("its passkey is not one of the person named")
    if not detail["who"].endswith(f"({detail['person']})"):
        raise Wrong("it names two people")
    return f" of {detail['person']}"


def note_passkey(owners: dict[str, str], entry: dict[str, Any], detail: dict[str, str]) -> None:
    """Remember whose passkey was added, or forget one that was removed."""
    if entry["action"] == "passkey_registered" and "person" in detail:
        if detail["public_key"] in owners:
            raise Wrong("its passkey is somebody's already")
        owners[detail["public_key"]] = detail["person"]
    elif entry["action"] == "passkey_removed":
        owners.pop(detail["public_key"], None)


def check_signatures(
    entries: list[dict[str, Any]], allowed: list[str], origin: str = ""
) -> tuple[Counter[str], list[int]]:
    """Check every signature: who signed how often, and the entries by passkey without one (older versions)."""
    signers, unsigned, seen, owners = Counter[str](), list[int](), set[str](), dict[str, str]()
    for entry in entries:
        try:
            detail = json.loads(entry["detail"])
            note_passkey(owners, entry, detail)
            if "signature" not in detail and "statement" not in detail:
                if origin and entry["action"] in PROVEN and entry["actor"] != "rehearsal":
                    raise Wrong("in a team only a passkey does that")
                if entry["actor"] == "passkey" and entry["action"] in ("approved", "allowance_made"):
                    unsigned.append(entry["seq"])
                continue
            check_statement(entry, detail)
            if detail["statement"] in seen:
                raise Wrong("its signature was copied from an earlier entry")
            seen.add(detail["statement"])
            signer = check_signature(detail, origin)
            if allowed and signer not in allowed:
                raise Wrong(f"the passkey {signer} is not among those that you named")
            signers[signer + (check_owner(owners, detail) if origin else "")] += 1
        except (Wrong, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise Wrong(f"entry {entry['seq']}: {error if isinstance(error, Wrong) else 'it cannot be read'}") from None
    return signers, unsigned


def read_entries(text: str, *, is_team: bool) -> list[dict[str, Any]]:
    """The entries of a document, or of the lines that a team's desk exports."""
    if is_team:
        return [json.loads(line) for line in text.splitlines()]
    document = json.loads(text)
    if (document["format"], document["version"]) != ("callsheet-trail", 1):
        raise Wrong("this is not an audit trail, version 1")
    entries: list[dict[str, Any]] = document["entries"]
    return entries


def main(arguments: list[str] | None = None) -> int:
    """Check the file and say what holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trail", type=Path, help="what `callsheet audit export` wrote, or the desk of a team")
    parser.add_argument("--origin", default="", help="the address of the desk of a team, as https://clips.example.com")
    parser.add_argument("--hash", help="a latest hash that you kept: the trail must contain it")
    parser.add_argument("--key", action="append", default=[], help="a passkey that may have signed")
    asked = parser.parse_args(arguments)
    try:
        entries = read_entries(asked.trail.read_text(encoding="utf-8"), is_team=bool(asked.origin))
        latest = check_chain(entries)
        if asked.hash is not None and asked.hash not in [FIRST_HASH, *(entry["hash"] for entry in entries)]:
            raise Wrong("the hash that you kept is not in the trail: somebody wrote it again")
        print(f"Seals: {len(entries)} entries, each as it was written. Latest hash: {latest}")
        signers, unsigned = check_signatures(entries, asked.key, asked.origin.rstrip("/"))
    except ImportError:
        print("Signatures: not checked. Install the package `cryptography` first.", file=sys.stderr)
        return 2
    except Wrong as error:
        print(f"Does not hold: {error}.", file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        print(f"Cannot be read as an audit trail ({type(error).__name__}).", file=sys.stderr)
        return 1
    for signer, count in signers.items():
        print(f"Signatures: {count} by the passkey {signer}.")
    if unsigned:
        print(f"By passkey, without a signature (older versions kept none): {', '.join(map(str, unsigned))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
