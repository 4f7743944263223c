"""`callsheet setup`: the only place that arms live mode, by questions to a person at a terminal.

The command line, the environment and standard input cannot answer a question. Live mode
needs an approval passphrase; once one is set, every change except disarming needs it. Nothing is
written before all answers are given and the change is shown.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.consent import Mode, Policy
from callsheet.edges.config.policy_file import load_policy, parse_policy, write_policy
from callsheet.edges.config.policy_form import render_policy
from callsheet.edges.files.paths import default_directories, is_same_or_below, register
from callsheet.edges.keys.passphrase import load_verifier, write_verifier
from callsheet.edges.keys.sealed import is_sealed
from callsheet.edges.keys.store import KEYRING_SERVICE, key_status, write_key_file
from callsheet.errors import Action, CallsheetError, NextStep, SetupProblem
from callsheet.surface.cli.commands.setup.reseal import OpenedKeys, open_all, seal_all
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import label_table
from callsheet.surface.cli.console.prompts import ask_passphrase
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.next_steps import program
from callsheet.surface.program import Program
from callsheet.surface.views.builders import JsonObject

from .places import ask_addresses, ask_home, discard_consent
from .questions import KEYRING, TypedKey, ask_keys, ask_new_passphrase, ask_policy

EXAMPLES = ("setup", "setup --show")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written after the person agrees."""

    policy: Policy
    keys: list[TypedKey]
    passphrase: str | None
    registers: bool = False
    addresses: tuple[tuple[str, str], ...] = ()


def setup(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--show", help="Only show the current policy.")] = False,
    as_json: Json = False,
) -> int:
    """Choose mode, limits, keys and the approval passphrase. Needs a terminal.

    Live mode, in which clips cost money, can be armed only here. Nothing is written before you have
    seen the changes and agreed.
    """
    session = begin(context, as_json)
    if show:
        return _write_policy(session)
    with session.open_terminal("set up Callsheet") as terminal:
        try:
            return _ask_and_write(session, terminal)
        except KeyboardInterrupt:
            terminal.write("\nInterrupted. Nothing was written.", style="yellow")
            return ExitCode.INTERRUPTED


def _write_policy(session: Session) -> int:
    policy, path = session.program.policy(), session.program.policy_path
    if session.as_json:
        form: JsonObject = {
            "path": str(path),
            "exists": path.exists(),
            "mode": policy.mode.value,
            "policy": render_policy(policy),
        }
        session.write_json(form)
        return ExitCode.OK
    where = f"# {path}" if path.exists() else f"# There is no policy file ({path}); these are the defaults:"
    session.output.write_unwrapped(where, indent=0, style="dim")
    for line in render_policy(policy).splitlines():
        session.output.write_unwrapped(line, indent=0, style="dim" if line.startswith("#") else "")
    return ExitCode.OK


def _ask_and_write(session: Session, terminal: Terminal) -> int:
    program = session.program
    _require_outside(program)
    old = _policy_before(program, terminal)
    # A passphrase and a policy in a place that no person registered may be anybody's.
    trusted = program.paths.trusted
    verifier = _load_verifier(program)
    terminal.write("Callsheet set-up. Press Enter to keep the value in brackets. Ctrl-C cancels; nothing is saved.")
    policy = ask_policy(terminal, old)
    catalogue = session.service.catalogue
    keys = ask_keys(terminal, program, catalogue, status=lambda facts_: _status(program, facts_, policy))
    if any(key.place == KEYRING for key in keys):
        policy = replace(policy, use_keyring=True)
    live = policy.mode is Mode.LIVE
    passphrase = ask_new_passphrase(terminal, known=trusted and verifier is not None, live=live)
    registers = live and not trusted
    if registers:
        ask_home(terminal, program)
    plan = Plan(policy, keys, passphrase, registers, ask_addresses(terminal, program, catalogue, policy))
    if not _write_change(terminal, program, plan):
        terminal.write("  nothing")
        return ExitCode.OK
    if not terminal.confirm("Write this?"):
        terminal.write("Nothing was written.", style="yellow")
        return ExitCode.NOT_APPROVED
    typed = None
    if verifier is not None and _needs_passphrase(old, plan):
        typed = ask_passphrase(session.service, terminal, verifier, question="The present approval passphrase")
    sealed = tuple(facts_.id for facts_ in catalogue.gateways if is_sealed(facts_.id, program.keys_directory))
    opened = open_all(session, terminal, sealed, typed if trusted else None) if plan.passphrase is not None else []
    if plan.registers:
        discard_consent(session)
    _write(program, plan, opened)
    # Built again: the place may be trusted now.
    _summarize(terminal, program.with_environ(program.environ), plan)
    return ExitCode.OK


def _load_verifier(program: Program) -> str | None:
    """The verifier that a change must satisfy: that of this place, or before it is registered, of the default one."""
    path = program.verifier_path
    if not program.paths.trusted and program.account_home is not None:
        path = default_directories(program.account_home)[0] / path.name
    return load_verifier(path)


def _needs_passphrase(old: Policy, plan: Plan) -> bool:
    """All changes except disarming: what is relaxed in the sandbox today also applies in live mode later."""
    only_mode = replace(plan.policy, mode=old.mode) == old
    disarms = plan.policy.mode is not Mode.LIVE and only_mode
    return not disarms or bool(plan.keys or plan.addresses) or plan.passphrase is not None


def _require_outside(program: Program) -> None:
    """A policy below the working directory is not read, so it is not written either."""
    here = program.project_directory.resolve()
    if here != here.parent and is_same_or_below(program.policy_path.parent.resolve(), here):
        raise SetupProblem(
            f"The policy would be below this directory ({here}), where an agent may write, so it would not be used.",
            next_step=NextStep(Action.SETUP, "Change to another directory, for example a project, and try again."),
        )


def _policy_before(program: Program, terminal: Terminal) -> Policy:
    """The current policy; the default, with a remark, if the file cannot be used."""
    try:
        return load_policy(program.policy_path, working_directory=program.project_directory, trusted=True)
    except CallsheetError as error:
        terminal.write(f"{error.message} It is replaced here, starting from the defaults.", style="yellow")
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


def _write_change(terminal: Terminal, program: Program, plan: Plan) -> bool:
    """Show the changes to the policy, keys, passphrase and registration. Returns whether there are any."""
    path = program.policy_path
    terminal.write("\nChanges", style="bold")
    # What nobody is known to have chosen is shown whole.
    before, origin = (render_policy(Policy()), "compared with the defaults") if plan.registers else _text_before(path)
    terminal.write(f"{path} ({origin})", style="dim")
    after = render_policy(plan.policy).splitlines()
    lines = list(difflib.unified_diff(before.splitlines(), after, lineterm="", n=0))[2:]
    added = [f"+a key for {key.gateway}, in the {key.place}" for key in plan.keys]
    added += ["+a new approval passphrase"] if plan.passphrase is not None else []
    added += [f"+{url} may receive the key for {gateway}" for gateway, url in plan.addresses]
    added += ["+live mode counts in this place; its passkeys, allowances and approvals end"] if plan.registers else []
    for line in [*lines, *added]:
        if not line.startswith("@@"):
            terminal.write(f"  {line[0]} {line[1:]}", style="green" if line[0] == "+" else "red")
    if plan.policy.mode is Mode.LIVE:
        terminal.write("\nIn LIVE mode an approved clip costs real money.", style="bold yellow")
    return bool(lines or added) or not path.exists()


def _text_before(path: Path) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
        parse_policy(raw, where=str(path))
    except FileNotFoundError:
        return render_policy(Policy()), "a new file, compared with the defaults"
    except (OSError, CallsheetError):
        return "", "the old file cannot be used"
    return raw.decode("utf-8", "replace"), "compared with the present file"


def _write(program: Program, plan: Plan, opened: OpenedKeys) -> None:
    """Write the passphrase before the policy, so that live mode is never armed without one; reseal the keys."""
    if plan.passphrase is not None:
        seal_all(program, opened, plan.passphrase)
        write_verifier(program.verifier_path, plan.passphrase)
    for key in plan.keys:
        if key.place == KEYRING:
            _store_in_keyring(key)
        else:
            write_key_file(key.gateway, key.value, keys_directory=program.keys_directory)
    write_policy(program.policy_path, render_policy(plan.policy))
    if program.account_home is not None:
        register(program.account_home, home=program.paths if plan.registers else None, addresses=plan.addresses)


def _store_in_keyring(key: TypedKey) -> None:
    import keyring
    import keyring.errors

    try:
        keyring.set_password(KEYRING_SERVICE, key.gateway, key.value)
    except keyring.errors.KeyringError as error:
        raise SetupProblem(
            f"The keyring did not store the key ({type(error).__name__}); the policy was not written.",
            next_step=NextStep(Action.SETUP, "Unlock the keyring, or choose a file for the key."),
        ) from None


def _summarize(terminal: Terminal, started: Program, plan: Plan) -> None:
    policy = started.policy()
    terminal.write("\nDone", style="bold green")
    known = load_verifier(started.verifier_path) is not None
    rows = [
        ("Policy", str(started.policy_path)),
        ("Mode", policy.mode.value),
        ("Limits", " · ".join(policy.caps.in_words())),
        ("Passphrase", "set" if known else "not set"),
    ]
    rows += [("Key stored", f"{key.gateway}, in the {key.place}") for key in plan.keys]
    terminal.write(label_table(rows))
    if plan.registers:
        terminal.write("Programs that run already, such as MCP servers, see the registration after they are restarted.")
    terminal.write("\nNext", style="bold")
    steps = [
        (f"{program()} doctor", "checks the installation"),
        (f"{program()} demo", "generates a clip in the sandbox"),
        (f"{program()} install", "adds Callsheet to the clients of your agents"),
    ]
    terminal.write(label_table((f"  {step}", meaning) for step, meaning in steps))
    if policy.mode is Mode.LIVE:
        terminal.write(
            f"An agent can now request clips. You approve each in the client's form, with `{program()} approve SHEET`,"
            f" or on the page that `{program()} desk` opens."
        )


COMMANDS = (Command("setup", setup, SET_UP, "mode, limits, keys, approval passphrase", EXAMPLES),)
