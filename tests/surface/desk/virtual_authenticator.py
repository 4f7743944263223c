"""A passkey in software: what a browser and its device answer, so that each part of it can be made wrong."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import cbor2
import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from desk_client import ORIGIN, PASSPHRASE, Desk, data
from webauthn.helpers import bytes_to_base64url

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One device with one key. `origin`, `flags` and `count` are what it claims."""

    origin: str = ORIGIN
    rp_id: str = "localhost"
    flags: int = PRESENT | VERIFIED
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: bytes = field(default_factory=lambda: os.urandom(32))

    def create(self, options: str) -> dict[str, Any]:
        """The answer to a request for a new passkey."""
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(public)
        statement = {"fmt": "none", "attStmt": {}, "authData": self._data(ATTESTED) + attested}
        client = self._client("webauthn.create", json.loads(options)["challenge"])
        return self._credential({"clientDataJSON": client, "attestationObject": cbor2.dumps(statement)})

    def get(self, options: str) -> dict[str, Any]:
        """The answer to a challenge, signed; the counter goes up."""
        self.count += 1
        client, data = self._client("webauthn.get", json.loads(options)["challenge"]), self._data(0)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential({"clientDataJSON": client, "authenticatorData": data, "signature": signature})

    def _data(self, more: int) -> bytes:
        head = hashlib.sha256(self.rp_id.encode()).digest()
        return head + bytes([self.flags | more]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said).encode()

    def _credential(self, response: dict[str, bytes]) -> dict[str, Any]:
        named = bytes_to_base64url(self.id)
        urls = {name: bytes_to_base64url(value) for name, value in response.items()}
        return {"id": named, "rawId": named, "type": "public-key", "response": urls, "clientExtensionResults": {}}


async def challenge(desk: Desk, path: str, **form: str) -> tuple[str, str]:
    """Nonce and options for something to sign."""
    answer = await desk.post(path, **form)
    assert answer.status_code == 200, answer.text
    found = data(answer)
    return str(found["nonce"]), str(found["options"])


async def register(desk: Desk, token: str, device: Authenticator, name: str = "Device") -> httpx2.Response:
    """Register a device, as the script of the page does."""
    nonce, options = await challenge(desk, "/passkeys/challenge", csrf=token, passphrase=PASSPHRASE)
    signed = json.dumps({"nonce": nonce, "credential": device.create(options)})
    return await desk.post("/passkeys", csrf=token, name=name, passkey=signed)


async def sign(desk: Desk, token: str, device: Authenticator, sheet_id: str) -> str:
    """What the page's script puts into the form of a sheet."""
    nonce, options = await challenge(desk, f"/sheets/{sheet_id}/challenge", csrf=token)
    return json.dumps({"nonce": nonce, "credential": device.get(options)})
