"""From a passphrase to a key, slowly: Argon2id, or scrypt where the OpenSSL in use has no Argon2id.

What is needed to do the same again is one line of text, a recipe: name, costs and salt in the form that Argon2's own
verifiers have. Recipes come from files that others may have planted, so costs beyond `MOST_*` are never paid.
For `edges.passphrase` and `edges.sealed_keys`; nobody else calls.
"""

from __future__ import annotations

import base64
import os
import re
import unicodedata

from callsheet.errors import InvalidRequest, SetupProblem

SHORTEST = 8
"""How many characters a passphrase has at least."""

MOST_KIBIBYTES = 262_144
MOST_PASSES = 10
MOST_LOG_COST = 20

_PASSES = 3
_KIBIBYTES = 65_536
_LOG_COST = 17
_LENGTH = 32
_ARGON2 = re.compile(r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=1\$([A-Za-z0-9+/]{22})")
_SCRYPT = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=8,p=1\$([A-Za-z0-9+/]{22})")


class UnusableRecipe(ValueError):
    """The line is no recipe, or one that asks for too much."""


def require_length(passphrase: str) -> None:
    """Raises `InvalidRequest` for a passphrase that could be guessed."""
    if len(passphrase) < SHORTEST:
        raise InvalidRequest(
            f"The approval passphrase has fewer than {SHORTEST} characters.", next_step="Choose a longer one."
        )


def make_recipe() -> str:
    """A recipe with a fresh salt, of the best kind that this computer has."""
    return (
        f"$argon2id$v=19$m={_KIBIBYTES},t={_PASSES},p=1${_salt()}" if _has_argon2() else make_scrypt_recipe(_LOG_COST)
    )


def make_scrypt_recipe(log_cost: int) -> str:
    """A recipe for scrypt; `log_cost` is the binary logarithm of its n."""
    return f"$scrypt$ln={log_cost},r=8,p=1${_salt()}"


def derive_key(passphrase: str, recipe: str) -> bytes:
    """The 32 bytes that the recipe makes of the passphrase.

    Raises `UnusableRecipe`, and `SetupProblem` for a recipe of which this computer does not have the kind.
    """
    secret = _bytes(passphrase)
    if match := _ARGON2.fullmatch(recipe):
        kibibytes, passes = int(match[1]), int(match[2])
        if not (8 <= kibibytes <= MOST_KIBIBYTES and 1 <= passes <= MOST_PASSES):
            raise UnusableRecipe("the costs are out of bounds")
        return _argon2(secret, _unbase64(match[3]), kibibytes, passes)
    if match := _SCRYPT.fullmatch(recipe):
        if not 1 <= int(match[1]) <= MOST_LOG_COST:
            raise UnusableRecipe("the costs are out of bounds")
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=_unbase64(match[2]), length=_LENGTH, n=1 << int(match[1]), r=8, p=1).derive(secret)
    raise UnusableRecipe("not a recipe")


def _has_argon2() -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id(salt=bytes(16), length=_LENGTH, iterations=1, lanes=1, memory_cost=8)
    except UnsupportedAlgorithm:
        return False
    return True


def _argon2(secret: bytes, salt: bytes, kibibytes: int, passes: int) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        return Argon2id(salt=salt, length=_LENGTH, iterations=passes, lanes=1, memory_cost=kibibytes).derive(secret)
    except UnsupportedAlgorithm:
        raise SetupProblem(
            "This was made with Argon2id, which the OpenSSL in use does not have.",
            next_step="Use the Callsheet that made it, or set the passphrase anew with `callsheet setup`.",
        ) from None


def _salt() -> str:
    return base64.b64encode(os.urandom(16)).decode("ascii").rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "==")


def _bytes(passphrase: str) -> bytes:
    # The same words typed on two systems may come as different code points; a strict encoder would
    # put the passphrase into its exception.
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")


__all__ = [
    "MOST_KIBIBYTES",
    "MOST_LOG_COST",
    "MOST_PASSES",
    "SHORTEST",
    "UnusableRecipe",
    "derive_key",
    "make_recipe",
    "make_scrypt_recipe",
    "require_length",
]
