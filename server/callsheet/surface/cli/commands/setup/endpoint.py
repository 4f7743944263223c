"""`callsheet endpoint`: declares a server of the person's own that speaks `/v1/videos`, or asks it free questions.

Declaring needs a person at a terminal, and the approval passphrase once there is one. What is added to the policy file
is read by the same rules as what a person writes there by hand.
"""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from functools import partial
from typing import Annotated

import anyio
import typer
from rich.text import Text

from callsheet.core.consent import Policy
from callsheet.core.gateway.endpoint import FREE, Endpoint
from callsheet.edges.config.endpoint_tables import FREE_AT_A_PUBLIC_HOST
from callsheet.edges.config.policy_file import judge_policy, read_policy, write_policy
from callsheet.edges.config.policy_form import quote, render_policy
from callsheet.edges.files.paths import register
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.errors import CallsheetError, InvalidRequest, NotApproved
from callsheet.service.diagnostics.online import EndpointAnswer
from callsheet.surface.cli.console.command import SET_UP, Command, Json
from callsheet.surface.cli.console.completion import complete_gateways
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.prompts import ask_passphrase
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.next_steps import program

EXAMPLES = ("endpoint add", "endpoint check gpu-box", "endpoint check gpu-box --json")


class Wanted(StrEnum):
    """What to do with endpoints."""

    ADD = "add"
    CHECK = "check"


def endpoint(
    context: typer.Context,
    wanted: Annotated[Wanted, typer.Argument(metavar="[add|check]", help="Declare a server, or ask one.")],
    name: Annotated[
        str | None, typer.Argument(metavar="ID", help="The endpoint.", autocompletion=complete_gateways)
    ] = None,
    as_json: Json = False,
) -> int:
    """Declare a server of your own that speaks /v1/videos, or see what it answers.

    Only free questions are asked: which models it has, a job that does not exist, the list of its jobs. Adding needs
    a terminal, and the approval passphrase if you have one; it writes a table into the policy file.
    """
    session = begin(context, as_json)
    if wanted is Wanted.ADD:
        with session.open_terminal("declare an endpoint") as terminal:
            return _add(session, terminal)
    known = session.program.policy().endpoint(name or "")
    if known is None:
        names = ", ".join(item.id for item in session.program.policy().endpoints) or "none"
        raise InvalidRequest(f"No such endpoint (declared: {names}).", next_step=f"Run `{program()} endpoint add`.")
    answer = anyio.run(session.service.ask_endpoint, known)
    if as_json:
        session.write_json({"endpoint": known.id, **asdict(answer), "replies": dict(answer.replies)})
    else:
        session.output.write(_describe(answer))
    return ExitCode.OK


def _describe(answer: EndpointAnswer) -> Text:
    rows = [*answer.replies, ("lists", ", ".join(answer.models) or "no models"), ("dialect", answer.dialect)]
    return Text("\n".join([*(f"  {what}: {said}" for what, said in rows), *(f"  ! {text}" for text in answer.advice)]))


def _add(session: Session, terminal: Terminal) -> int:
    started = session.program
    if (verifier := load_verifier(started.verifier_path)) is not None:
        # First: from here on a key may be sent to a server that is named now.
        ask_passphrase(session.service, terminal, verifier)
    terminal.write("A server of your own that speaks /v1/videos. Press Enter to keep what is in brackets.")
    while True:
        lines = _ask_server(terminal)
        try:
            draft = _read(session, _table(lines, [("model", "1", "", "")])).endpoints[-1]
            answer = anyio.run(partial(session.service.ask_endpoint, draft, named_now=True))
            break
        except CallsheetError as error:
            terminal.write(f"  {error.message}", style="yellow")
            if not terminal.confirm("  Try again?"):
                raise
    terminal.write(_describe(answer))
    models = [_ask_model(terminal, draft, answer)]
    while terminal.confirm("  Another model?"):
        models.append(_ask_model(terminal, draft, answer))
    if draft.route().looked_up and any(price == FREE for *_, price in models):
        lines["free"] = quote(terminal.ask(f"  To declare a public server free, type: {FREE_AT_A_PUBLIC_HOST}"))
    table = _table(lines, models)
    policy = _read(session, table)
    terminal.write(f"\nAdded to {started.policy_path}:\n{table}", style="green")
    if not terminal.confirm("Write this?"):
        raise NotApproved("Nothing was written.", next_step=f"Run `{program()} endpoint add` again.")
    write_policy(started.policy_path, _text_with(session, table))
    if draft.key_env and started.account_home is not None:
        where = policy.route(draft.id).destination(draft.base_url)
        register(started.account_home, addresses=((draft.id, where),))
    terminal.write(f"Declared. Check it with: {program()} endpoint check {draft.id}")
    return ExitCode.OK


def _ask_server(terminal: Terminal) -> dict[str, str]:
    """The keys of the table, values as TOML."""
    said = {"id": terminal.ask("  A short name for it", usual="gpu-box")}
    said["base_url"] = quote(terminal.ask("  Its base URL", usual="https://gpu-box.lan:8443/v1"))
    asked = {
        "address": "  Its address, if it is in your own network",
        "ca_file": "  A file with its certificates, if they are your own",
        "key_env": "  The environment variable with its key, if it has one",
    }
    said |= {name: quote(value) for name, question in asked.items() if (value := terminal.ask(question))}
    if said["base_url"].startswith('"http:') and "address" in said:
        phrase = f"no TLS on {said['address'][1:-1]}"
        said["insecure"] = quote(terminal.ask(f"  Nothing is encrypted. To go on, type: {phrase}"))
        if "key_env" in said and terminal.confirm("  May the key travel where everybody on the network can read it?"):
            said["key_over_plain_http"] = "true"
    return said


def _ask_model(terminal: Terminal, draft: Endpoint, answer: EndpointAnswer) -> tuple[str, str, str, str]:
    model = terminal.ask("  Model", usual=answer.models[0] if answer.models else "")
    seconds = terminal.ask("  Lengths in seconds", usual="2, 3, 4, 5")
    sizes = ", ".join(quote(size.strip()) for size in terminal.ask("  Sizes", usual="832x480, 1280x720").split(","))
    return model, seconds, sizes, terminal.ask('  Price, like "0.02 USD per second", or "none"', usual="unknown")


def _table(lines: dict[str, str], models: list[tuple[str, str, str, str]]) -> str:
    head = f"\n[endpoints.{lines['id']}]\n"
    keys = "".join(f"{name} = {value}\n" for name, value in lines.items() if name != "id")
    tables = (
        f"[endpoints.{lines['id']}.models.{quote(model)}]\nseconds = [{seconds}]\nsizes = [{sizes}]\n"
        + (f"price = {quote(price)}\n" if price not in ("", "unknown") else "")
        for model, seconds, sizes, price in models
    )
    return head + keys + "".join(tables)


def _text_with(session: Session, table: str) -> str:
    raw = read_policy(session.program.policy_path)
    return (render_policy(Policy()) if raw is None else raw.decode("utf-8", "surrogateescape")) + table


def _read(session: Session, table: str) -> Policy:
    """The policy as it would be; raises `SetupProblem` for what breaks a rule."""
    started, raw = session.program, _text_with(session, table).encode("utf-8", "surrogateescape")
    return judge_policy(
        raw, started.policy_path, working_directory=started.project_directory, trusted=started.paths.trusted
    )


COMMANDS = (Command("endpoint", endpoint, SET_UP, "a server of your own: declare it, or ask it", EXAMPLES),)
