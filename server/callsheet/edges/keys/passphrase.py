"""The approval passphrase: what proves, out of band, that a person and not an agent approves.

Only a verifier is stored, one line in a private file: a recipe of `edges.key_derivation` and what it makes of the
passphrase. Anyone who may write the user's files can replace it, so it guards against agents without that access, as
SECURITY.md says. No message says any part of a passphrase. Called by `callsheet setup`, `approve` and the desk.
"""

from __future__ import annotations

import base64
import hmac
import re
from pathlib import Path

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

from .kdf import SHORTEST, UnusableRecipe, derive_key, make_recipe, make_scrypt_recipe, require_length

_WHAT = "approval verifier"
_VERIFIER = re.compile(r"\$(?:argon2id|scrypt)\$[\x21-\x7e]{20,300}")


def make_verifier(passphrase: str) -> str:
    """One line from which a passphrase can be checked but not read. Raises `InvalidRequest` when it is too short."""
    require_length(passphrase)
    return _verifier(passphrase, make_recipe())


def make_scrypt_verifier(passphrase: str, *, log_cost: int) -> str:
    """The verifier for an OpenSSL without Argon2id; `log_cost` is the binary logarithm of scrypt's n."""
    return _verifier(passphrase, make_scrypt_recipe(log_cost))


def check_passphrase(passphrase: str, verifier: str) -> bool:
    """Whether this is the passphrase behind the verifier; False for a verifier that cannot be read."""
    recipe, _, expected = verifier.rpartition("$")
    try:
        return hmac.compare_digest(_text(derive_key(passphrase, recipe)).encode(), expected.encode())
    except UnusableRecipe:
        return False


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


def _verifier(passphrase: str, recipe: str) -> str:
    return f"{recipe}${_text(derive_key(passphrase, recipe))}"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii").rstrip("=")


__all__ = ["SHORTEST", "check_passphrase", "load_verifier", "make_scrypt_verifier", "make_verifier", "store_verifier"]
