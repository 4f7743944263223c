"""Sealed keys when the approval passphrase changes: opened with the old one before anything is written, sealed anew."""

from __future__ import annotations

from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import SealedKey, load_sealed, open_key, seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import NotApproved
from callsheet.surface.program import Program

from .prompts import ask_until_right
from .terminal import Person

Opened = list[tuple[SealedKey, SecretKey]]


def open_all(person: Person, program: Program, gateways: tuple[str, ...], passphrase: str | None) -> Opened:
    """The sealed keys of these gateways, opened with the passphrase that was typed just now, else with one asked for.

    Raises `NotApproved` for one that it does not open, `KeyProblem` for one that cannot be used; nothing is written.
    """
    found = [load_sealed(gateway, keys_directory=program.keys_directory) for gateway in gateways]
    sealed = [item for item in found if item is not None]
    if sealed and passphrase is None:
        # Somebody removed the verifier: that alone must not be enough to seal the keys under other words.
        passphrase = ask_until_right(
            person, lambda typed: _opens(sealed[0], typed), question="The passphrase that your keys are sealed with"
        )
    return [(item, _open(item, passphrase or "")) for item in sealed]


def seal_all(program: Program, opened: Opened, passphrase: str) -> None:
    """Seal them under the new passphrase, each for the address that it was sealed for."""
    for sealed, key in opened:
        recipe = create_recipe(program.derivation_cost)
        again = seal_key(key, passphrase, base_url=sealed.base_url, recipe=recipe)
        write_sealed(again, keys_directory=program.keys_directory)


def _opens(sealed: SealedKey, passphrase: str) -> bool:
    try:
        open_key(sealed, passphrase, base_url=sealed.base_url)
    except NotApproved:
        return False
    return True


def _open(sealed: SealedKey, passphrase: str) -> SecretKey:
    try:
        return open_key(sealed, passphrase, base_url=sealed.base_url)
    except NotApproved:
        raise NotApproved(
            f"The key for {sealed.gateway} is sealed with another passphrase, so it cannot be sealed anew. Nothing was"
            " changed.",
            next_step=f"Run `callsheet keys unseal {sealed.gateway}` with that passphrase, or remove the sealed file;"
            " then change the passphrase, and seal the key again.",
        ) from None


__all__ = ["open_all", "seal_all"]
