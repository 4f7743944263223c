"""The approval passphrase: what proves, out of band, that a person and not an agent approves.

Only a verifier is stored, one line in a private file: Argon2id, or scrypt where the OpenSSL in use has no
Argon2id. Anyone who may write the user's files can replace it, so it guards against agents without that access, as
SECURITY.md says. No message says any part of a passphrase. Called by `callsheet setup`, `approve` and the desk.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import unicodedata
from pathlib import Path

from callsheet.errors import InvalidRequest, SetupProblem

from .private_files import read_private, write_private

SHORTEST = 8

_WHAT = "approval verifier"
_ARGON2 = "$argon2id$"
_ARGON2_PASSES = 3
_ARGON2_KIBIBYTES = 65_536
_SCRYPT_LOG_COST = 17
_SCRYPT = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=8,p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})")
_VERIFIER = re.compile(r"\$(?:argon2id|scrypt)\$[\x21-\x7e]{20,300}")


def make_verifier(passphrase: str) -> str:
    """One line from which a passphrase can be checked but not read. Raises `InvalidRequest` when it is too short."""
    if len(passphrase) < SHORTEST:
        raise InvalidRequest(
            f"The approval passphrase has fewer than {SHORTEST} characters.", next_step="Choose a longer one."
        )
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        kdf = Argon2id(
            salt=os.urandom(16), length=32, iterations=_ARGON2_PASSES, lanes=1, memory_cost=_ARGON2_KIBIBYTES
        )
        return kdf.derive_phc_encoded(_bytes(passphrase))
    except UnsupportedAlgorithm:
        return make_scrypt_verifier(passphrase, log_cost=_SCRYPT_LOG_COST)


def make_scrypt_verifier(passphrase: str, *, log_cost: int) -> str:
    """The verifier for an OpenSSL without Argon2id; `log_cost` is the binary logarithm of scrypt's n."""
    salt = os.urandom(16)
    return f"$scrypt$ln={log_cost},r=8,p=1${_text(salt)}${_text(_scrypt(passphrase, salt, log_cost))}"


def check_passphrase(passphrase: str, verifier: str) -> bool:
    """Whether this is the passphrase behind the verifier; False for a verifier that cannot be read."""
    if verifier.startswith(_ARGON2):
        return _check_argon2(passphrase, verifier)
    match = _SCRYPT.fullmatch(verifier)
    if match is None or not 1 <= int(match[1]) <= 20:
        return False
    salt = base64.b64decode(match[2] + "==")
    return hmac.compare_digest(_text(_scrypt(passphrase, salt, int(match[1]))), match[3])


def store_verifier(path: Path, passphrase: str) -> None:
    """Write the verifier of a new passphrase. Raises `InvalidRequest` (too short) or `SetupProblem` (the disk)."""
    write_private(path, f"{make_verifier(passphrase)}\n".encode("ascii"), what=_WHAT)


def load_verifier(path: Path) -> str | None:
    """The stored verifier, None when no passphrase was set. Raises `SetupProblem` for a file that cannot be trusted."""
    content = read_private(path, what=_WHAT)
    if content is None:
        return None
    line = content.decode("ascii", "replace").strip()
    if not _VERIFIER.fullmatch(line):
        raise SetupProblem(
            f"The {_WHAT} {path} is damaged.",
            next_step="Remove it and set a passphrase again with `callsheet setup` in your own terminal.",
        )
    return line


def _check_argon2(passphrase: str, verifier: str) -> bool:
    from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(_bytes(passphrase), verifier)
    except (InvalidKey, ValueError):
        return False
    except UnsupportedAlgorithm:
        raise SetupProblem(
            "The approval passphrase was set with Argon2id, which the OpenSSL in use does not have.",
            next_step="Set the passphrase again with `callsheet setup` in your own terminal.",
        ) from None
    return True


def _scrypt(passphrase: str, salt: bytes, log_cost: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=1 << log_cost, r=8, p=1).derive(_bytes(passphrase))


def _bytes(passphrase: str) -> bytes:
    # The same words typed on two systems may come as different code points; a strict encoder would
    # put the passphrase into its exception.
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii").rstrip("=")


__all__ = ["SHORTEST", "check_passphrase", "load_verifier", "make_scrypt_verifier", "make_verifier", "store_verifier"]
