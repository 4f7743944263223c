"""`callsheet keys`: where gateway keys lie, and sealing them under the approval passphrase.

Sealing encrypts a key so that only who types the passphrase can have it used. It is opened again before any copy is
removed, and only copies of the very key that was sealed are removed. Keys and passphrases are read from the terminal
and never shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.edges.keys.sealed import SealedKey, load_sealed, open_key, remove_sealed, seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey, read_typed_key, remove_stored_key, store_key_file
from callsheet.errors import InvalidRequest, KeyProblem, NotApproved, SetupProblem
from callsheet.surface.cli.console.command import SET_UP, Command
from callsheet.surface.cli.console.completion import complete_gateways
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import indented
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.prompts import ask_passphrase, ask_until_right
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Person, open_terminal
from callsheet.surface.views.builders import JsonObject

EXAMPLES = ("keys", "keys seal poyo", "keys unseal poyo", "keys list --json")
ACTOR = "terminal"


class Wanted(StrEnum):
    """What to do with keys."""

    LIST = "list"
    SEAL = "seal"
    UNSEAL = "unseal"


def keys(
    context: typer.Context,
    wanted: Annotated[
        Wanted, typer.Argument(metavar="[list|seal|unseal]", help="Show where keys lie, seal one, or unseal it.")
    ] = Wanted.LIST,
    gateway: Annotated[
        str | None, typer.Argument(metavar="GATEWAY", help="Whose key.", autocompletion=complete_gateways)
    ] = None,
    as_json: Json = False,
) -> int:
    """Show where each gateway's key lies; seal one, so that only your passphrase can have it used, or unseal it.

    A sealed key is encrypted. `callsheet approve` opens it for the one sheet you agree to, sends that sheet itself and
    follows it; `callsheet watch` opens it to follow tasks. No agent, no edited file and no allowance can use it.
    Sealing and unsealing need a terminal and the approval passphrase, which nobody can recover for you.
    """
    session = begin(context, as_json)
    if wanted is Wanted.LIST:
        return _list(session)
    if gateway is None:
        raise InvalidRequest("Which gateway's key?", next_step=f"Run `callsheet keys {wanted.value} GATEWAY`.")
    facts = session.service.deps.facts(gateway)
    with open_terminal(session.program.environ, session.redactor.text, purpose=f"{wanted.value} a key") as person:
        told = _seal(session, person, facts) if wanted is Wanted.SEAL else _unseal(session, person, facts)
    if as_json:
        session.screen.answer(session.redactor.value({**_form(session, facts), "next_step": told}))
    else:
        session.screen.show(Text(told))
    return ExitCode.OK


def _list(session: Session) -> int:
    forms = [_form(session, facts) for facts in session.service.deps.catalogue().gateways]
    if session.as_json:
        session.screen.answer(session.redactor.value({"keys": [*forms]}))
        return ExitCode.OK
    table = session.screen.table("!Gateway", "Key", "!Fingerprint", "Goes to", "Unsealed copies")
    for form in forms:
        copies = form["unsealed"] if form["sealed"] and isinstance(form["unsealed"], list) else []
        cells = (form["gateway"], form["state"], form["fingerprint"], form["base_url"], ", ".join(map(str, copies)))
        table.add_row(*(Text(str(cell or "")) for cell in cells))
    session.screen.show(indented(table))
    return ExitCode.OK


def _form(session: Session, facts: GatewayFacts) -> JsonObject:
    """Where a gateway's key lies. `unsealed` names the places in which one lies unsealed, used or not."""
    deps = session.service.deps
    stored = deps.stored_keys(facts)
    form: JsonObject = {
        "gateway": facts.id,
        "sealed": deps.is_sealed(facts.id),
        "state": "missing",
        "fingerprint": None,
        "base_url": deps.live_base_url(facts),
        "unsealed": [f"{key.source} ({key.fingerprint})" for key in stored],
    }
    try:
        if deps.is_sealed(facts.id):
            sealed = _need_sealed(session, facts)
            return {**form, "state": "sealed", "fingerprint": sealed.fingerprint, "base_url": sealed.base_url}
        key = deps.find_key(facts)
    except KeyProblem as problem:
        return {**form, "state": problem.message}
    return form if key is None else {**form, "state": key.source, "fingerprint": key.fingerprint}


def _need_sealed(session: Session, facts: GatewayFacts) -> SealedKey:
    sealed = load_sealed(facts.id, keys_directory=session.program.keys_directory)
    if sealed is None:
        raise KeyProblem(f"The key for {facts.name} is not sealed.", next_step="Run `callsheet keys list`.")
    return sealed


def _seal(session: Session, person: Person, facts: GatewayFacts) -> str:
    deps, directory = session.service.deps, session.program.keys_directory
    if deps.is_sealed(facts.id):
        raise InvalidRequest(
            f"The key for {facts.name} is sealed already.",
            next_step=f"To seal another one, run `callsheet keys unseal {facts.id}` first.",
        )
    verifier = load_verifier(session.program.verifier_path)
    if verifier is None:
        raise SetupProblem(
            "No approval passphrase has been set, so there is nothing to seal a key with.",
            next_step="Run `callsheet setup` in your own terminal and choose one.",
        )
    base_url = deps.live_base_url(facts)
    key = deps.find_key(facts) or _ask_key(person, facts)
    person.say(f"The key for {facts.name} ({key.source}, fingerprint {key.fingerprint}) will go to {base_url} alone.")
    if base_url != facts.base_url:
        person.say(f"That is not {facts.name}'s own address, {facts.base_url}: the policy names it.", style="yellow")
        if not person.agree("Seal it for that address?"):
            raise NotApproved("Nothing was sealed.", next_step="Look at [gateways] in the policy file.")
    person.say("Without the passphrase nobody can use it or get it back, you included.")
    passphrase = ask_passphrase(person, verifier)
    write_sealed(seal_key(key, passphrase, base_url=base_url), keys_directory=directory)
    _require_opens(session, facts, key, passphrase)
    session.service.record_audit("key_sealed", facts.id, actor=ACTOR, detail=_detail(key, base_url))
    return _remove_copies(session, facts, key)


def _ask_key(person: Person, facts: GatewayFacts) -> SecretKey:
    person.say(f"No key for {facts.name} was found. {facts.name} gives keys out at {facts.key_page}", style="dim")
    return read_typed_key(facts.id, person.ask_secret(f"The key for {facts.name} (not shown)"))


def _require_opens(session: Session, facts: GatewayFacts, key: SecretKey, passphrase: str) -> None:
    """Opens what was just written; when that fails, nothing is left of it and the old key is where it was."""
    try:
        sealed = _need_sealed(session, facts)
        same = open_key(sealed, passphrase, base_url=sealed.base_url) == key
    except (KeyProblem, NotApproved):
        same = False
    if not same:
        remove_sealed(facts.id, keys_directory=session.program.keys_directory)
        raise SetupProblem(
            "The sealed key could not be opened again, so it was removed; the key is where it was.",
            next_step="Run `callsheet doctor`, then try again.",
        )


def _remove_copies(session: Session, facts: GatewayFacts, key: SecretKey) -> str:
    """Remove the unsealed copies of the key; what to say of them, and of what stays."""
    told = [f"Sealed. The key for {facts.name} can now be used with your passphrase alone."]
    for stored in session.service.deps.stored_keys(facts):
        if stored != key:
            told.append(f"Another key lies in the {stored.source} (fingerprint {stored.fingerprint}); it is not used.")
        elif remove_stored_key(stored, keys_directory=session.program.keys_directory):
            told.append(f"Its copy in the {stored.source} was removed.")
        else:
            told.append(f"The environment variable {facts.key_env} still holds it: take it out wherever it is set.")
    told.append("Whoever could read it before may have a copy: a new key from the gateway is the safest to seal.")
    return " ".join(told)


def _unseal(session: Session, person: Person, facts: GatewayFacts) -> str:
    directory = session.program.keys_directory
    sealed = _need_sealed(session, facts)
    found: list[SecretKey] = []

    def opens(typed: str) -> bool:
        try:
            found[:] = [open_key(sealed, typed, base_url=sealed.base_url)]
        except NotApproved:
            return False
        return True

    person.say(f"The key for {facts.name} will lie in a private file, where any program of yours can read it.")
    ask_until_right(person, opens, question="The passphrase that it was sealed with")
    path = store_key_file(found[0], keys_directory=directory)
    remove_sealed(facts.id, keys_directory=directory)
    session.service.record_audit("key_unsealed", facts.id, actor=ACTOR, detail=_detail(found[0], sealed.base_url))
    return f"Unsealed: {path}"


def _detail(key: SecretKey, base_url: str) -> dict[str, str]:
    return {"fingerprint": key.fingerprint, "address": base_url}


COMMANDS = (Command("keys", keys, SET_UP, "where keys lie; seal one under your passphrase", EXAMPLES),)

__all__ = ["COMMANDS"]
