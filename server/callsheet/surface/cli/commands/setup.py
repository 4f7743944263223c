"""`callsheet setup`: the one place that arms live mode. A person at a terminal, question by question.

Nothing on the command line, in the environment or on standard input answers a question. Live mode
needs an approval passphrase; once there is one, every change but disarming needs it. All answers are
gathered, the change is shown, and only then is anything written.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.catalogue.pricing import dollars
from callsheet.core.consent.policy import Mode, Policy
from callsheet.edges.config.policy_file import load_policy, parse_policy, render_policy, write_policy
from callsheet.edges.keys.passphrase import load_verifier, write_verifier
from callsheet.edges.keys.sealed import is_sealed
from callsheet.edges.keys.store import KEYRING_SERVICE, key_status, write_key_file
from callsheet.errors import CallsheetError, SetupProblem
from callsheet.surface.cli.console.command import SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import facts
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.prompts import ask_passphrase
from callsheet.surface.cli.console.reseal import Opened, open_all, seal_all
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Person, open_terminal
from callsheet.surface.program import Program
from callsheet.surface.views.builders import JsonObject

from .setup_questions import KEYRING, TypedKey, ask_keys, ask_new_passphrase, ask_policy

EXAMPLES = ("setup", "setup --show")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written once the person has agreed."""

    policy: Policy
    keys: list[TypedKey]
    passphrase: str | None


def setup(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--show", help="Only show the policy that is in force.")] = False,
    as_json: Json = False,
) -> int:
    """Choose mode, limits, keys and the approval passphrase. Needs a terminal, and you.

    Live mode, in which clips cost money, can be armed here and nowhere else. Nothing is written before
    you have seen what changes and agreed.
    """
    session = begin(context, as_json)
    if show:
        return _show(session)
    with open_terminal(session.program.environ, session.redactor.text, purpose="set Callsheet up") as person:
        try:
            return _converse(session, person)
        except KeyboardInterrupt:
            person.say("\nInterrupted. Nothing was written.", style="yellow")
            return ExitCode.INTERRUPTED


def _show(session: Session) -> int:
    policy, path = session.program.policy(), session.program.policy_path
    if session.as_json:
        form: JsonObject = {
            "path": str(path),
            "exists": path.exists(),
            "mode": policy.mode.value,
            "policy": render_policy(policy),
        }
        session.screen.answer(session.redactor.value(form))
        return ExitCode.OK
    where = f"# {path}" if path.exists() else f"# There is no policy file ({path}); this is in force:"
    session.screen.whole(where, indent=0, style="dim")
    for line in render_policy(policy).splitlines():
        session.screen.whole(line, indent=0, style="dim" if line.startswith("#") else "")
    return ExitCode.OK


def _converse(session: Session, person: Person) -> int:
    program = session.program
    _require_outside(program)
    old = _policy_before(program, person)
    verifier = load_verifier(program.verifier_path)
    person.say("Callsheet's set-up. Enter keeps what stands in brackets; Ctrl-C ends it and writes nothing.")
    policy = ask_policy(person, old)
    catalogue = session.service.deps.catalogue()
    keys = ask_keys(person, program, catalogue, status=lambda facts_: _status(program, facts_, policy))
    if any(key.place == KEYRING for key in keys):
        policy = replace(policy, use_keyring=True)
    passphrase = ask_new_passphrase(person, known=verifier is not None, live=policy.mode is Mode.LIVE)
    plan = Plan(policy, keys, passphrase)
    if not _show_change(person, program.policy_path, plan):
        person.say("  nothing")
        return ExitCode.OK
    if not person.agree("Write this?"):
        person.say("Nothing was written.", style="yellow")
        return ExitCode.NOT_APPROVED
    typed = None
    if verifier is not None and _needs_passphrase(old, plan):
        typed = ask_passphrase(person, verifier, question="The approval passphrase that is set now")
    sealed = tuple(facts_.id for facts_ in catalogue.gateways if is_sealed(facts_.id, program.keys_directory))
    opened = open_all(person, program, sealed, typed) if plan.passphrase is not None else []
    _write(program, plan, opened)
    _summarize(person, program, plan)
    return ExitCode.OK


def _needs_passphrase(old: Policy, plan: Plan) -> bool:
    """Everything does but disarming: what is loosened in the sandbox today is live tomorrow."""
    only_mode = replace(plan.policy, mode=old.mode) == old
    disarms = plan.policy.mode is not Mode.LIVE and only_mode
    return not disarms or bool(plan.keys) or plan.passphrase is not None


def _require_outside(program: Program) -> None:
    """A policy below the working directory would not be read, so it is not written either."""
    here = program.project_directory.resolve()
    if here != here.parent and program.policy_path.parent.resolve().is_relative_to(here):
        raise SetupProblem(
            f"The policy would lie below this directory ({here}), where an agent may write, and would not be used.",
            next_step="Change to another directory, for example a project's, and run `callsheet setup` again.",
        )


def _policy_before(program: Program, person: Person) -> Policy:
    """The policy in force; the usual one when the file cannot be used, which is said."""
    try:
        return load_policy(program.policy_path, working_directory=program.project_directory)
    except CallsheetError as error:
        person.say(f"{error.message} It is written anew here, from the usual policy.", style="yellow")
        return Policy()


def _status(program: Program, gateway: GatewayFacts, policy: Policy) -> str:
    if is_sealed(gateway.id, program.keys_directory):
        return "sealed with your passphrase"
    return key_status(
        gateway.id,
        gateway.key_env,
        environ=program.environ,
        keys_directory=program.keys_directory,
        use_keyring=policy.use_keyring,
    )


def _show_change(person: Person, path: Path, plan: Plan) -> bool:
    """Show what would be written: lines of the policy, keys, the passphrase. Whether there is anything."""
    person.say("\nWhat changes", style="bold")
    before, origin = _text_before(path)
    person.say(f"{path} ({origin})", style="dim")
    after = render_policy(plan.policy).splitlines()
    lines = list(difflib.unified_diff(before.splitlines(), after, lineterm="", n=0))[2:]
    added = [f"+a key for {key.gateway}, in the {key.place}" for key in plan.keys]
    added += ["+a new approval passphrase"] if plan.passphrase is not None else []
    for line in [*lines, *added]:
        if not line.startswith("@@"):
            person.say(f"  {line[0]} {line[1:]}", style="green" if line[0] == "+" else "red")
    if plan.policy.mode is Mode.LIVE:
        person.say("\nIn LIVE mode an approved clip costs real money.", style="bold yellow")
    return bool(lines or added) or not path.exists()


def _text_before(path: Path) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
        parse_policy(raw, where=str(path))
    except FileNotFoundError:
        return render_policy(Policy()), "a new file, compared with the usual policy"
    except (OSError, CallsheetError):
        return "", "the old file cannot be used"
    return raw.decode("utf-8", "replace"), "compared with the file as it is"


def _write(program: Program, plan: Plan, opened: Opened) -> None:
    """The passphrase before the policy: live mode is never armed without one. Sealed keys follow the passphrase."""
    if plan.passphrase is not None:
        seal_all(program, opened, plan.passphrase)
        write_verifier(program.verifier_path, plan.passphrase)
    for key in plan.keys:
        if key.place == KEYRING:
            _store_in_keyring(key)
        else:
            write_key_file(key.gateway, key.value, keys_directory=program.keys_directory)
    write_policy(program.policy_path, render_policy(plan.policy))


def _store_in_keyring(key: TypedKey) -> None:
    import keyring
    import keyring.errors

    try:
        keyring.set_password(KEYRING_SERVICE, key.gateway, key.value)
    except keyring.errors.KeyringError as error:
        raise SetupProblem(
            f"The keyring did not take the key ({type(error).__name__}); the policy was not written.",
            next_step="Unlock the keyring, or run `callsheet setup` again and keep the key in a file.",
        ) from None


def _summarize(person: Person, program: Program, plan: Plan) -> None:
    policy = program.policy()
    caps = policy.caps
    limits = ((caps.per_clip, "a clip"), (caps.per_day, "a day"), (caps.per_month, "a month"))
    said = " · ".join(f"{dollars(cap)} USD {what}" if cap is not None else f"no limit {what}" for cap, what in limits)
    person.say("\nDone", style="bold green")
    known = load_verifier(program.verifier_path) is not None
    rows = [
        ("Policy", str(program.policy_path)),
        ("Mode", policy.mode.value),
        ("Limits", said),
        ("Passphrase", "set" if known else "not set"),
    ]
    rows += [("Key stored", f"{key.gateway}, in the {key.place}") for key in plan.keys]
    person.say(facts(rows))
    person.say("\nNext", style="bold")
    steps = [
        ("callsheet doctor", "looks whether anything is missing"),
        ("callsheet demo", "films a clip in the sandbox"),
        ("callsheet install HOST", "has your agent's client start Callsheet: claude, codex, …"),
    ]
    person.say(facts((f"  {command}", meaning) for command, meaning in steps))
    if policy.mode is Mode.LIVE:
        person.say(
            "An agent can now ask for clips. You agree to each in the form of its client, with `callsheet approve"
            " SHEET`, or on the page that `callsheet desk` opens."
        )


COMMANDS = (Command("setup", setup, SET_UP, "mode, limits, keys, approval passphrase", EXAMPLES),)

__all__ = ["COMMANDS"]
