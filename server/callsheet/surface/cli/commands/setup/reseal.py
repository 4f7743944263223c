"""Sealed keys when the approval passphrase changes: opened with the old passphrase, then sealed with the new one."""

from __future__ import annotations

from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import SealedKey, load_sealed, open_key, seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import Action, NextStep, NotApproved
from callsheet.surface.cli.console.prompts import ask_until_right
from callsheet.surface.cli.console.session import Session
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.program import Program

OpenedKeys = list[tuple[SealedKey, SecretKey]]


def open_all(session: Session, terminal: Terminal, gateways: tuple[str, ...], passphrase: str | None) -> OpenedKeys:
    """The sealed keys of these gateways, opened with the passphrase just typed, or with one asked for here.

    Raises `NotApproved` for a key that it does not open, `KeyProblem` for an unusable one. Writes nothing.
    """
    found = [load_sealed(gateway, keys_directory=session.program.keys_directory) for gateway in gateways]
    sealed = [item for item in found if item is not None]
    if sealed and passphrase is None:
        # The verifier was removed: that must not be enough to seal the keys with another passphrase.
        question = "The passphrase your keys are sealed with"
        passphrase = ask_until_right(
            session.service, terminal, lambda typed: _opens(sealed[0], typed), question=question
        )
    return [(item, _open(item, passphrase or "")) for item in sealed]


def seal_all(program: Program, opened: OpenedKeys, passphrase: str) -> None:
    """Seal them with the new passphrase, each for the same address as before."""
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
            f"The key for {sealed.gateway} is sealed with another passphrase, so it cannot be resealed. Nothing was"
            " changed.",
            next_step=NextStep(
                Action.UNSEAL_KEY,
                "Unseal it with that passphrase or remove its file. Then change the passphrase and seal it again.",
                target=sealed.gateway,
            ),
        ) from None
