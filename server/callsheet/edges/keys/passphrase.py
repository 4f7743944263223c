"""The approval passphrase: its stored verifier, and the keys that are derived from it with Argon2id.

A passphrase proves that a person approves and not an agent. One line in a private file is stored, from which it can be
checked but not read. An attacker who can write the user's files can replace that line, so it guards only against agents
without that access (see SECURITY.md). A recipe is the same line without the hash: algorithm, costs and salt. Verifiers
and recipes come from files that somebody else may have written, so costs above `MOST_*` are refused before anything is
computed. No message contains any part of a passphrase.
"""

from __future__ import annotations

import base64
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import Action, InvalidRequest, NextStep, SetupProblem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SHORTEST = 8
"""The fewest characters of a passphrase."""

MOST_KIBIBYTES = 262_144
MOST_PASSES = 10

_WHAT = "approval verifier"
_SALT_BYTES = 16
_RECIPE = re.compile(r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=1\$([A-Za-z0-9+/]{22})")
_HASH = re.compile(r"[A-Za-z0-9+/]{43}")
_VERIFIER = re.compile(r"\$(?:argon2id|scrypt)\$[\x21-\x7e]{20,300}")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one derivation takes: memory, and passes over it. The default is the second choice of RFC 9106."""

    kibibytes: int = 65_536
    passes: int = 3


STANDARD = Cost()


class UnusableRecipe(ValueError):
    """The line is not a recipe, or asks for too much."""


def is_scrypt(line: str) -> bool:
    """Whether an early version stored that recipe or verifier; this one cannot use it."""
    return line.startswith("$scrypt$")


def require_length(passphrase: str) -> None:
    """Raises `InvalidRequest` for a passphrase that could be guessed."""
    if len(passphrase) < SHORTEST:
        raise InvalidRequest(
            f"The approval passphrase has fewer than {SHORTEST} characters.", next_step="Choose a longer one."
        )


def create_recipe(cost: Cost = STANDARD) -> str:
    """A recipe with a new salt."""
    salt = base64.b64encode(os.urandom(_SALT_BYTES)).decode("ascii").rstrip("=")
    return f"$argon2id$v=19$m={cost.kibibytes},t={cost.passes},p=1${salt}"


def derive_key(passphrase: str, recipe: str) -> bytes:
    """The 32 bytes that the recipe derives from the passphrase. Raises `UnusableRecipe` and `SetupProblem`."""
    with _argon2(recipe) as argon2:
        return argon2.derive(_bytes(passphrase))


def create_verifier(passphrase: str, cost: Cost = STANDARD) -> str:
    """One line from which the passphrase can be checked but not read. Raises `InvalidRequest` if it is too short."""
    require_length(passphrase)
    with _argon2(create_recipe(cost)) as argon2:
        return argon2.derive_phc_encoded(_bytes(passphrase))


def check_passphrase(passphrase: str, verifier: str) -> bool:
    """Whether this is the passphrase of the verifier; False for a verifier that cannot be read."""
    from cryptography.exceptions import InvalidKey

    recipe, _, expected = verifier.rpartition("$")
    try:
        with _argon2(recipe) as argon2:
            if not _HASH.fullmatch(expected):
                return False
            argon2.verify_phc_encoded(_bytes(passphrase), verifier)
    except (UnusableRecipe, InvalidKey):
        return False
    return True


def write_verifier(path: Path, passphrase: str, *, cost: Cost = STANDARD) -> None:
    """Store the verifier of a new passphrase. Raises `InvalidRequest` (too short) or `SetupProblem` (the disk)."""
    write_private(path, f"{create_verifier(passphrase, cost)}\n".encode("ascii"), what=_WHAT)


def load_verifier(path: Path) -> str | None:
    """The stored verifier, None when no passphrase was set. Raises `SetupProblem` for a file that cannot be trusted."""
    content = read_private(path, what=_WHAT)
    if content is None:
        return None
    line = content.decode("ascii", "replace").strip()
    again = NextStep(Action.SETUP, "Remove the file, then set a passphrase again.")
    if not _VERIFIER.fullmatch(line):
        raise SetupProblem(f"The {_WHAT} {path} is damaged.", next_step=again)
    if is_scrypt(line):
        raise SetupProblem(f"The {_WHAT} {path} uses scrypt, which is no longer supported.", next_step=again)
    return line


@contextmanager
def _argon2(recipe: str) -> Iterator[Argon2id]:
    """Argon2id with the costs and salt of that recipe."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    match = _RECIPE.fullmatch(recipe)
    if match is None:
        raise UnusableRecipe("not a recipe")
    kibibytes, passes, salt = int(match[1]), int(match[2]), base64.b64decode(match[3] + "==")
    if not (8 <= kibibytes <= MOST_KIBIBYTES and 1 <= passes <= MOST_PASSES):
        raise UnusableRecipe("the costs are out of bounds")
    try:
        yield Argon2id(salt=salt, length=32, iterations=passes, lanes=1, memory_cost=kibibytes)
    except UnsupportedAlgorithm:
        raise SetupProblem(
            "The `cryptography` package on this computer does not support Argon2id.",
            next_step="Install the package's own wheel from PyPI.",
        ) from None


def _bytes(passphrase: str) -> bytes:
    # The same words typed on two systems may come as different code points; a strict encoder would
    # put the passphrase into its exception.
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
