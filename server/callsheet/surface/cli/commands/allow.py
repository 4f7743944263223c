"""`callsheet allow`, `allowances` and `revoke`: a person's consent to several clips at once, within bounds.

Making one is approving, so it is done as `callsheet approve` is: at a terminal, with the passphrase, after the
terms were shown. No option answers for the person. Revoking needs no passphrase.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.pricing import dollars, from_micros
from callsheet.core.consent.approval import Means
from callsheet.core.consent.policy import Mode
from callsheet.core.security.redaction import clean
from callsheet.core.spending.allowances import Allowance
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.errors import InvalidRequest, SetupProblem
from callsheet.service.results import iso
from callsheet.surface.cli.console.command import MAKE, Command
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import facts
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.terminal import open_terminal
from callsheet.surface.cli.console.wording import joined, length
from callsheet.surface.views.builders import JsonObject

from .approve import ask_passphrase

ALLOW_EXAMPLES = ("allow --clips 10 --up-to 5.00 --for 2h --models poyo/sora-2-official",)
LIST_EXAMPLES = ("allowances", "allowances --open --json")
REVOKE_EXAMPLES = ("revoke allow_74020a54bb92db46",)

_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
_SPAN_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600}
_SUM = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,4})?")


def allow(
    context: typer.Context,
    clips: Annotated[int, typer.Option(metavar="N", help="How many clips at most.", show_default=False)],
    up_to: Annotated[str, typer.Option(metavar="USD", help="What they cost together at most.", show_default=False)],
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long it holds: 30m, 2h, 1d.", show_default=False)
    ],
    models: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Models, as gateway/model, with commas between.", show_default=False),
    ],
    as_json: Json = False,
) -> int:
    """Allow an agent several clips without being asked for each: so many, up to a sum, for a time, of named models.

    Needs a terminal and the approval passphrase. The limits of the policy hold all the same, clips of unknown price
    and possible duplicates are still asked for, and an edit of the policy ends it.
    """
    session = begin(context, as_json)
    named = tuple(name for name in models.replace(",", " ").split() if name)
    amount, seconds = _read_sum(up_to), _read_span(lasting)
    policy = session.service.allowable(named, clips=clips, up_to=amount, seconds=seconds)
    verifier = load_verifier(session.program.verifier_path)
    if verifier is None:
        raise SetupProblem(
            "No approval passphrase has been set, so nobody can allow anything here.",
            next_step="Run `callsheet setup` in your own terminal and choose one.",
        )
    with open_terminal(session.program.environ, session.redactor.text, purpose="allow clips") as person:
        person.say()
        person.say(
            f"{clips} clips at most, {dollars(amount)} USD together at most, for {length(seconds)}", style="bold"
        )
        live = "LIVE: each costs real money, and you are not asked again"
        money = live if policy.mode is Mode.LIVE else "SANDBOX REHEARSAL: free"
        person.say(facts([("Models", joined(named)), ("Mode", money)]))
        ask_passphrase(person, verifier)
    session.service.require_policy(policy.version)
    made = session.service.allow(named, clips=clips, up_to=amount, seconds=seconds, by=Means.TERMINAL)
    return _tell(session, made, f"Allowed until {iso(made.expires_at)}. To end it before: callsheet revoke {made.id}")


def allowances(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that still hold.")] = False,
    as_json: Json = False,
) -> int:
    """List allowances and what of each is used, newest first."""
    session = begin(context, as_json)
    found = session.service.allowances(only_open=only_open)
    if as_json:
        session.screen.answer({"allowances": [_form(session, item) for item in found]})
        return ExitCode.OK
    if not found:
        session.screen.show(Text("Nothing is allowed beforehand: each clip is asked for."))
        return ExitCode.OK
    rows = []
    for item in found:
        end = session.service.allowance_end(item)
        holds = Text(f"until {iso(item.expires_at)}" if end is None else end, style="dim" if end else "green")
        rows.append((item.id, Text(item.use)))
        rows.append(("", holds + Text(f" · {joined(item.models)}", style="dim")))
    session.screen.show(facts(rows))
    return ExitCode.OK


def revoke(
    context: typer.Context,
    allowance: Annotated[str, typer.Argument(metavar="ALLOWANCE", help="Its id.")],
    as_json: Json = False,
) -> int:
    """End an allowance now. Clips that were submitted under it are finished and saved. Needs no passphrase."""
    session = begin(context, as_json)
    ended = session.service.revoke(allowance, by=Means.TERMINAL)
    return _tell(session, ended, f"Revoked; {ended.use} were used.")


def _tell(session: Session, allowance: Allowance, text: str) -> int:
    if session.as_json:
        session.screen.answer({**_form(session, allowance), "next_step": text})
    else:
        session.screen.whole(allowance.id, indent=0, style="bold cyan")
        session.screen.show(Text(text))
    return ExitCode.OK


def _form(session: Session, allowance: Allowance) -> JsonObject:
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
        raise InvalidRequest("--up-to is an amount of US dollars.", next_step="Write it as 5.00.")
    return Decimal(text)


def _read_span(text: str) -> float:
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(
            f"--for is minutes, hours or days, not {clean(text, limit=20)}.", next_step="Write it as 30m, 2h or 1d."
        )
    return int(found[1]) * _SPAN_SECONDS[found[2]]


COMMANDS = (
    Command("allow", allow, MAKE, "allow several clips beforehand, with the passphrase", ALLOW_EXAMPLES),
    Command("allowances", allowances, MAKE, "what is allowed beforehand, and what of it is used", LIST_EXAMPLES),
    Command("revoke", revoke, MAKE, "end an allowance", REVOKE_EXAMPLES),
)

__all__ = ["COMMANDS"]
