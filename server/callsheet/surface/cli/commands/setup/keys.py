"""`callsheet keys`: where gateway keys are stored, and sealing them with the approval passphrase.

Sealing encrypts a key so that it can be used only with the passphrase. The sealed key is opened as a check before any
copy is removed, and only copies of that same key are removed. Keys and passphrases are read from the terminal
and never shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.edges.keys.sealed import SealedKey, load_sealed, open_key, remove_sealed, seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey, read_typed_key, remove_stored_key, store_key_file
from callsheet.errors import Action, InvalidRequest, KeyProblem, NextStep, NotApproved, SetupProblem
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.completion import complete_gateways
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import indent
from callsheet.surface.cli.console.prompts import ask_passphrase, ask_until_right, require_verifier
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.next_steps import program
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
        Wanted, typer.Argument(metavar="[list|seal|unseal]", help="Show where keys are stored, seal one, or unseal it.")
    ] = Wanted.LIST,
    gateway: Annotated[
        str | None, typer.Argument(metavar="GATEWAY", help="The gateway.", autocompletion=complete_gateways)
    ] = None,
    as_json: Json = False,
) -> int:
    """Show where each gateway's key is stored. Seal a key, so that it works only with your passphrase, or unseal it.

    A sealed key is encrypted. `callsheet approve` unlocks it for the one sheet you approve, sends that sheet and
    follows it; `callsheet watch` unlocks it to follow tasks. No agent, no edited file and no allowance can use it.
    Sealing and unsealing need a terminal and the approval passphrase, which cannot be recovered.
    """
    session = begin(context, as_json)
    if wanted is Wanted.LIST:
        return _list(session)
    if gateway is None:
        raise InvalidRequest("No gateway was named.", next_step=f"Run `{program()} keys {wanted.value} GATEWAY`.")
    facts = session.service.facts(gateway)
    with session.open_terminal(f"{wanted.value} a key") as terminal:
        text = _seal(session, terminal, facts) if wanted is Wanted.SEAL else _unseal(session, terminal, facts)
    if as_json:
        session.write_json({**_key_answer(session, facts), "next_step": text})
    else:
        session.output.write(Text(text))
    return ExitCode.OK


def _list(session: Session) -> int:
    forms = [_key_answer(session, facts) for facts in session.service.catalogue.gateways]
    if session.as_json:
        session.write_json({"keys": [*forms]})
        return ExitCode.OK
    table = session.output.build_table("!Gateway", "Key", "!Fingerprint", "Goes to", "Unsealed copies")
    for form in forms:
        copies = form["unsealed"] if form["sealed"] and isinstance(form["unsealed"], list) else []
        cells = (form["gateway"], form["state"], form["fingerprint"], form["base_url"], ", ".join(map(str, copies)))
        table.add_row(*(Text(str(cell or "")) for cell in cells))
    session.output.write(indent(table))
    return ExitCode.OK


def _key_answer(session: Session, facts: GatewayFacts) -> JsonObject:
    """Where a gateway's key is stored. `unsealed` names the places with an unsealed copy, used or not."""
    service = session.service
    stored = service.stored_keys(facts)
    form: JsonObject = {
        "gateway": facts.id,
        "sealed": service.is_sealed(facts.id),
        "state": "missing",
        "fingerprint": None,
        "base_url": service.key_address(facts),
        "unsealed": [f"{key.source} ({key.fingerprint})" for key in stored],
    }
    try:
        if service.is_sealed(facts.id):
            sealed = _require_sealed(session, facts)
            return {**form, "state": "sealed", "fingerprint": sealed.fingerprint, "base_url": sealed.base_url}
        key = service.find_key(facts)
    except KeyProblem as problem:
        return {**form, "state": problem.message}
    return form if key is None else {**form, "state": key.source, "fingerprint": key.fingerprint}


def _require_sealed(session: Session, facts: GatewayFacts) -> SealedKey:
    sealed = load_sealed(facts.id, keys_directory=session.program.keys_directory)
    if sealed is None:
        raise KeyProblem(f"The key for {facts.name} is not sealed.", next_step=NextStep(Action.LIST_KEYS))
    return sealed


def _seal(session: Session, terminal: Terminal, facts: GatewayFacts) -> str:
    service, directory = session.service, session.program.keys_directory
    if service.is_sealed(facts.id):
        raise InvalidRequest(
            f"The key for {facts.name} is already sealed.",
            next_step=NextStep(Action.UNSEAL_KEY, "To seal another key, unseal this one first.", target=facts.id),
        )
    verifier = require_verifier(session.program)
    base_url = service.key_address(facts)
    key = service.find_key(facts) or _ask_key(terminal, facts)
    terminal.write(
        f"The key for {facts.name} ({key.source}, fingerprint {key.fingerprint}) will be sent only to {base_url}."
    )
    if base_url != facts.base_url:
        terminal.write(
            f"That is not {facts.name}'s own address, {facts.base_url}. It is set in the policy.", style="yellow"
        )
        if not terminal.confirm("Seal it for that address?"):
            raise NotApproved("Nothing was sealed.", next_step="Check [gateways] in the policy file.")
    terminal.write("Without the passphrase nobody can use or recover it, not even you.")
    passphrase = ask_passphrase(session.service, terminal, verifier)
    write_sealed(seal_key(key, passphrase, base_url=base_url), keys_directory=directory)
    _require_opens(session, facts, key, passphrase)
    session.service.record_audit("key_sealed", facts.id, actor=ACTOR, detail=_detail(key, base_url))
    return _remove_copies(session, facts, key)


def _ask_key(terminal: Terminal, facts: GatewayFacts) -> SecretKey:
    terminal.write(f"No key for {facts.name} was found. Get one at {facts.key_page}", style="dim")
    return read_typed_key(facts.id, terminal.ask_secret(f"The key for {facts.name} (not shown)"))


def _require_opens(session: Session, facts: GatewayFacts, key: SecretKey, passphrase: str) -> None:
    """Opens the new sealed key as a check; if that fails, removes it and leaves the old key in place."""
    try:
        sealed = _require_sealed(session, facts)
        same = open_key(sealed, passphrase, base_url=sealed.base_url) == key
    except (KeyProblem, NotApproved):
        same = False
    if not same:
        remove_sealed(facts.id, keys_directory=session.program.keys_directory)
        raise SetupProblem(
            "The sealed key could not be opened, so it was removed. The old key is unchanged.",
            next_step=NextStep(Action.DOCTOR, "Check the installation, then try again."),
        )


def _remove_copies(session: Session, facts: GatewayFacts, key: SecretKey) -> str:
    """Remove the unsealed copies of the key; returns what was removed and what stays, in sentences."""
    sentences = [f"Sealed. The key for {facts.name} now works only with your passphrase."]
    for stored in session.service.stored_keys(facts):
        if stored != key:
            sentences.append(f"The {stored.source} has another key (fingerprint {stored.fingerprint}); it is not used.")
        elif remove_stored_key(stored, keys_directory=session.program.keys_directory):
            sentences.append(f"Its copy in the {stored.source} was removed.")
        else:
            sentences.append(f"The environment variable {facts.key_env} still contains it: remove it where it is set.")
    sentences.append("Anyone who could read it before may have a copy. Sealing a new key from the gateway is safest.")
    return " ".join(sentences)


def _unseal(session: Session, terminal: Terminal, facts: GatewayFacts) -> str:
    directory = session.program.keys_directory
    sealed = _require_sealed(session, facts)
    found: list[SecretKey] = []

    def opens(typed: str) -> bool:
        try:
            found[:] = [open_key(sealed, typed, base_url=sealed.base_url)]
        except NotApproved:
            return False
        return True

    terminal.write(f"The key for {facts.name} will be stored in a private file that all your programs can read.")
    ask_until_right(session.service, terminal, opens, question="The passphrase it was sealed with")
    path = store_key_file(found[0], keys_directory=directory)
    remove_sealed(facts.id, keys_directory=directory)
    session.service.record_audit("key_unsealed", facts.id, actor=ACTOR, detail=_detail(found[0], sealed.base_url))
    return f"Unsealed: {path}"


def _detail(key: SecretKey, base_url: str) -> dict[str, str]:
    return {"fingerprint": key.fingerprint, "address": base_url}


COMMANDS = (Command("keys", keys, SET_UP, "where keys are stored; seal one with your passphrase", EXAMPLES),)
