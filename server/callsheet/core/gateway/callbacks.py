"""Callbacks of gateways: the token in their address, and the signature that a gateway may add. Pure.

A callback is a doorbell: it may cause one look at a task, and nothing that it says is believed. So the token only has
to be unforgeable. It is derived from the sheet, because the address is part of the bytes that a person approves, and
the task does not exist then. Nothing is stored: every replica with the keys can check it. It never expires, and using
it again does no harm.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

LEAST_KEY_BYTES = 32
MOST_SIGNATURE_AGE_SECONDS = 300
"""PoYo's figure, quoted 2026-08-05, and that of its own n8n workflow."""

_PURPOSE = "callsheet callback 1:"
_SEAL_BYTES = 20
_TOKEN = re.compile(r"([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{27})")
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")


def callback_token(sheet_id: str, keys: Sequence[bytes]) -> str:
    """The token of a sheet, under the newest of the keys, which comes first. Raises `ValueError` for unusable ones."""
    _require_keys(keys)
    token = f"{sheet_id}.{_seal(sheet_id, keys[0])}"
    if not _TOKEN.fullmatch(token):
        raise ValueError("that is no id of a sheet")
    return token


def read_callback_token(token: str, keys: Sequence[bytes]) -> str | None:
    """The sheet that a token was made for under any of the keys; None for every other text."""
    _require_keys(keys)
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    # The written form is compared, because more than one text decodes to the same bytes. No key is left out early.
    known = [hmac.compare_digest(match[2], _seal(match[1], key)) for key in keys]
    return match[1] if any(known) else None


def is_signed_callback(task_id: str, timestamp: str, signature: str, *, secret: bytes, now: float) -> bool:
    """Whether PoYo signed a callback about its task not long ago: base64(HMAC-SHA256(task id "." timestamp)).

    `timestamp` and `signature` are the headers `X-Webhook-Timestamp` and `X-Webhook-Signature` (PoYo's documentation,
    quoted 2026-08-05). The body is not covered.
    """
    if not task_id or not secret or not _UNIX_SECONDS.fullmatch(timestamp):
        return False
    expected = base64.b64encode(hmac.digest(secret, f"{task_id}.{timestamp}".encode(), hashlib.sha256))
    is_fresh = abs(now - int(timestamp)) <= MOST_SIGNATURE_AGE_SECONDS
    return hmac.compare_digest(signature.encode("utf-8", "replace"), expected) and is_fresh


def _seal(sheet_id: str, key: bytes) -> str:
    seal = hmac.digest(key, f"{_PURPOSE}{sheet_id}".encode(), hashlib.sha256)[:_SEAL_BYTES]
    return base64.urlsafe_b64encode(seal).rstrip(b"=").decode()


def _require_keys(keys: Sequence[bytes]) -> None:
    """Fail loudly: a short key, or none, would let anybody make tokens."""
    if not keys or min(map(len, keys)) < LEAST_KEY_BYTES:
        raise ValueError(f"callback tokens need at least one key, and each of {LEAST_KEY_BYTES} bytes or more")


__all__ = ["MOST_SIGNATURE_AGE_SECONDS", "callback_token", "is_signed_callback", "read_callback_token"]
