"""`callsheet allow`, `allowances` and `revoke`: a person's consent to several clips, within limits.

Creating an allowance is an approval. It needs what `callsheet approve` needs: a terminal, the terms on it, and the
passphrase. No option answers for the person. Revoking needs no passphrase.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.prices import dollars, from_micros
from callsheet.core.consent import Means, Mode
from callsheet.core.security.redaction import clean
from callsheet.core.spending import Allowance
from callsheet.errors import InvalidRequest
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import MAKE, Command, Json
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import label_table
from callsheet.surface.cli.console.prompts import ask_passphrase, require_verifier
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import program
from callsheet.surface.text import format_duration, join_words
from callsheet.surface.views.builders import JsonObject

ALLOW_EXAMPLES = ("allow --clips 10 --up-to 5.00 --for 2h --models poyo/sora-2-official",)
LIST_EXAMPLES = ("allowances", "allowances --open --json")
REVOKE_EXAMPLES = ("revoke allow_74020a54bb92db46",)

_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
_SPAN_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600}
_SUM = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,4})?")


def allow(
    context: typer.Context,
    clips: Annotated[int, typer.Option(metavar="N", help="The maximum number of clips.", show_default=False)],
    up_to: Annotated[str, typer.Option(metavar="USD", help="The maximum total cost.", show_default=False)],
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long it is valid: 30m, 2h, 1d.", show_default=False)
    ],
    models: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Models as gateway/model, separated by commas.", show_default=False),
    ],
    as_json: Json = False,
) -> int:
    """Allow an agent several clips without asking you about each: a number, a total, a time, and named models.

    Needs a terminal and the approval passphrase. The limits of the policy still apply. Clips of unknown price
    and possible duplicates still need your approval. Any change of the policy ends the allowance.
    """
    session = begin(context, as_json)
    named = tuple(name for name in models.replace(",", " ").split() if name)
    amount, seconds = _read_sum(up_to), _read_span(lasting)
    policy = session.service.allowable(named, clips=clips, up_to=amount, seconds=seconds)
    verifier = require_verifier(session.program)
    with session.open_terminal("allow clips") as terminal:
        terminal.write()
        terminal.write(
            f"At most {clips} clips and {dollars(amount)} USD in total, for {format_duration(seconds)}", style="bold"
        )
        live = "LIVE: each clip costs real money, and you are not asked again"
        money = live if policy.mode is Mode.LIVE else "SANDBOX REHEARSAL: free"
        terminal.write(label_table([("Models", join_words(named)), ("Mode", money)]))
        ask_passphrase(session.service, terminal, verifier)
    session.service.require_policy(policy.version)
    allowed = session.service.allow(named, clips=clips, up_to=amount, seconds=seconds, by=Means.TERMINAL)
    return _write_answer(
        session, allowed, f"Allowed until {iso(allowed.expires_at)}. To end it earlier: {program()} revoke {allowed.id}"
    )


def allowances(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only valid ones.")] = False,
    as_json: Json = False,
) -> int:
    """List allowances and how much of each is used, newest first."""
    session = begin(context, as_json)
    found = session.service.allowances(only_open=only_open)
    if as_json:
        session.write_json({"allowances": [_allowance_answer(session, item) for item in found]})
        return ExitCode.OK
    if not found:
        session.output.write(Text("There are no allowances. Each clip needs your approval."))
        return ExitCode.OK
    rows = []
    for item in found:
        end = session.service.allowance_end(item)
        validity = Text(f"until {iso(item.expires_at)}" if end is None else end, style="dim" if end else "green")
        rows.append((item.id, Text(item.use)))
        rows.append(("", validity + Text(f" · {join_words(item.models)}", style="dim")))
    session.output.write(label_table(rows))
    return ExitCode.OK


def revoke(
    context: typer.Context,
    allowance: Annotated[str, typer.Argument(metavar="ALLOWANCE", help="Its id.")],
    as_json: Json = False,
) -> int:
    """End an allowance now. Clips submitted under it are still followed and saved. Needs no passphrase."""
    session = begin(context, as_json)
    ended = session.service.revoke(allowance, by=Means.TERMINAL)
    return _write_answer(session, ended, f"Revoked. Used: {ended.use}.")


def _write_answer(session: Session, allowance: Allowance, text: str) -> int:
    if session.as_json:
        session.write_json({**_allowance_answer(session, allowance), "next_step": text})
    else:
        session.output.write_unwrapped(allowance.id, indent=0, style="bold cyan")
        session.output.write_unwrapped(text, indent=0)
    return ExitCode.OK


def _allowance_answer(session: Session, allowance: Allowance) -> JsonObject:
    return {
        "allowance": allowance.id,
        "mode": allowance.mode.value,
        "models": list(allowance.models),
        "clips": allowance.clips,
        "used_clips": allowance.used_clips,
        "up_to_usd": dollars(from_micros(allowance.up_to_micros)),
        "used_usd": dollars(from_micros(allowance.used_micros)),
        "made_at": iso(allowance.made_at),
        "made_by": allowance.made_by.value,
        "expires_at": iso(allowance.expires_at),
        "ended": session.service.allowance_end(allowance),
    }


def _read_sum(text: str) -> Decimal:
    if not _SUM.fullmatch(text):
        raise InvalidRequest("--up-to must be an amount in US dollars.", next_step="For example: 5.00.")
    return Decimal(text)


def _read_span(text: str) -> float:
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(
            f"--for must be minutes, hours or days, not {clean(text, limit=20)}.",
            next_step="For example: 30m, 2h or 1d.",
        )
    return int(found[1]) * _SPAN_SECONDS[found[2]]


COMMANDS = (
    Command("allow", allow, MAKE, "allow several clips in advance, with the passphrase", ALLOW_EXAMPLES),
    Command("allowances", allowances, MAKE, "allowances and how much of each is used", LIST_EXAMPLES),
    Command("revoke", revoke, MAKE, "end an allowance", REVOKE_EXAMPLES),
)
