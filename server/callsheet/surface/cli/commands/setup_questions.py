"""The questions that `callsheet setup` asks. They gather answers and write nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.core.catalogue.pricing import dollars
from callsheet.core.consent.policy import Caps, Mode, Policy
from callsheet.core.security.urls import check_url
from callsheet.edges.config.policy_file import MOST_CONCURRENT, NO_LIMIT
from callsheet.edges.files.paths import expand_home
from callsheet.edges.keys.passphrase import SHORTEST
from callsheet.edges.keys.sealed import is_sealed
from callsheet.edges.keys.store import find_key
from callsheet.errors import KeyProblem, NotApproved
from callsheet.surface.cli.console.output import facts
from callsheet.surface.cli.console.terminal import TRIES, Person
from callsheet.surface.cli.console.wording import joined
from callsheet.surface.program import Program

FILE, KEYRING = "file", "keyring"
_AMOUNT = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,4})?")

MODES = (
    (Mode.SANDBOX, "Rehearsal on this computer. Real requests, real MP4 files, no gateway, no money."),
    (Mode.LIVE, "The real gateways. Every clip is shown to you with its price and waits for your approval."),
    (Mode.READ_ONLY, "Payloads and prices are explained; nothing can be submitted at all."),
)


@dataclass(frozen=True, slots=True)
class TypedKey:
    """A gateway key that the person typed, and where it is to be kept."""

    gateway: str
    place: str
    value: str = field(repr=False)


def ask_policy(person: Person, old: Policy) -> Policy:
    """Mode, limits, hosts and the directory for clips; what is not asked stays as it was."""
    mode = _ask_mode(person, old.mode)
    person.say("\nLimits, in US dollars", style="bold")
    person.say(f"They hold for live clips and are checked before anything is sent. {NO_LIMIT} lifts a limit.")
    caps = Caps(
        per_clip=_ask_amount(person, "  For one clip", old.caps.per_clip),
        per_day=_ask_amount(person, "  For one day (UTC)", old.caps.per_day),
        per_month=_ask_amount(person, "  For one month", old.caps.per_month),
        concurrent=_ask_count(person, "  Tasks at once", old.caps.concurrent),
    )
    person.say("\nSome gateways document no price. Such a clip is refused, unless you say what it costs at most.")
    ceiling = _ask_amount(person, "  At most, for a clip of unknown price", old.unknown_price_ceiling)
    person.say("\nApproval", style="bold")
    person.say(
        "A client can show you a form in which you type the amount. Whoever writes the client's settings can"
        " answer it, an agent with a shell too, so dear clips need the passphrase. 0 asks for it each time."
    )
    passphrase_from = _ask_amount(person, "  The passphrase is needed from", old.passphrase_from)
    person.say("\nHosts", style="bold")
    person.say("A gateway may tell a server of yours when a clip is done. Empty allows no such callback.")
    hosts = _ask_hosts(person, "  Callback hosts, by name", old.callback_hosts)
    person.say("\nClips", style="bold")
    directory = _ask_directory(person, old.save_directory)
    return replace(
        old,
        mode=mode,
        caps=caps,
        unknown_price_ceiling=ceiling,
        passphrase_from=passphrase_from,
        callback_hosts=hosts,
        save_directory=directory,
    )


def _ask_mode(person: Person, usual: Mode) -> Mode:
    person.say("\nMode", style="bold")
    person.say(facts([(f"  {mode.value}", meaning) for mode, meaning in MODES]))
    known = [mode.value for mode, _ in MODES]
    answer = person.ask_until(
        "  Type the mode", usual=usual.value, check=lambda typed: "" if typed in known else f"One of {joined(known)}."
    )
    return Mode(answer)


def _ask_amount(person: Person, question: str, usual: Decimal | None) -> Decimal | None:
    def check(typed: str) -> str:
        return "" if typed == NO_LIMIT or _AMOUNT.fullmatch(typed) else f"An amount like 2.00, or {NO_LIMIT}."

    answer = person.ask_until(question, usual=NO_LIMIT if usual is None else dollars(usual), check=check)
    return None if answer == NO_LIMIT else Decimal(answer)


def _ask_count(person: Person, question: str, usual: int) -> int:
    def check(typed: str) -> str:
        good = typed.isascii() and typed.isdigit() and 1 <= int(typed) <= MOST_CONCURRENT
        return "" if good else f"A whole number from 1 to {MOST_CONCURRENT}."

    return int(person.ask_until(question, usual=str(usual), check=check))


def _ask_hosts(person: Person, question: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    def names(typed: str) -> tuple[str, ...]:
        return () if typed == NO_LIMIT else tuple(typed.replace(",", " ").split())

    def check(typed: str) -> str:
        wrong = [name for name in names(typed) if check_url(f"https://{name}/").host != name]
        return f"Not a public host name in lower case: {joined(wrong)}." if wrong else ""

    return names(person.ask_until(question, usual=" ".join(usual) or NO_LIMIT, check=check))


def _ask_directory(person: Person, usual: str | None) -> str | None:
    def check(typed: str) -> str:
        return "" if typed == "usual" or expand_home(typed) else "An absolute path, or one that begins with ~/."

    answer = person.ask_until("  Directory they are saved in", usual=usual or "usual", check=check)
    return None if answer == "usual" else str(expand_home(answer))


def ask_keys(
    person: Person, program: Program, catalogue: Catalogue, *, status: Callable[[GatewayFacts], str]
) -> list[TypedKey]:
    """Show where keys were found, and take those that the person wants to store. Keys are never shown."""
    person.say("\nGateway keys", style="bold")
    person.say(facts([(f"  {gateway.name}", status(gateway)) for gateway in catalogue.gateways]))
    person.say("Keys in the environment are used as they are. A stored key is typed here, unseen.")
    typed: dict[str, TypedKey] = {}
    known = [gateway.id for gateway in catalogue.gateways]
    while True:
        answer = person.ask_until(
            f"  Store a key for ({joined(known)})",
            usual=NO_LIMIT,
            check=lambda name: "" if name in (*known, NO_LIMIT) else f"One of {joined(known)}, or {NO_LIMIT}.",
        )
        gateway = catalogue.gateway(answer)
        if gateway is None:
            return list(typed.values())
        key = _ask_key(person, program, gateway)
        if key is not None:
            typed[key.gateway] = key


def _ask_key(person: Person, program: Program, gateway: GatewayFacts) -> TypedKey | None:
    if is_sealed(gateway.id, program.keys_directory):
        person.say(f"  It is sealed, so another would not be used. First: callsheet keys unseal {gateway.id}", "yellow")
        return None
    person.say(f"  {gateway.name} gives keys out at {gateway.key_page}", style="dim")
    value = person.ask_secret(f"  The key for {gateway.name} (not shown)").strip()
    # Judged by the rule that will read it, as if it came from the environment: nothing is stored yet.
    try:
        found = find_key(
            gateway.id,
            gateway.key_env,
            environ={gateway.key_env: value},
            keys_directory=program.keys_directory / "none",
            use_keyring=False,
        )
    except KeyProblem:
        found = None
    if found is None:
        person.say("  That is no key: 8 to 512 printable characters without spaces. Not stored.", style="yellow")
        return None
    paths = (FILE, KEYRING)
    place = person.ask_until(
        "  Keep it in a private file, or in the keyring of your system",
        usual=FILE,
        check=lambda typed: "" if typed in paths else f"One of {joined(paths)}.",
    )
    return TypedKey(gateway.id, place, value)


def ask_new_passphrase(person: Person, *, known: bool, live: bool) -> str | None:
    """A new approval passphrase, typed twice; None to leave things as they are. Live mode needs one."""
    person.say("\nApproval passphrase", style="bold")
    person.say(
        "It is what tells you from an agent. Type it into Callsheet alone, in your own terminal or on its desk;"
        " tell it to nobody."
    )
    if known and not person.agree("  One is set. Change it?"):
        return None
    if not known and not live and not person.agree("  None is set. Choose one now?"):
        return None
    for _ in range(TRIES):
        first = person.ask_secret(f"  New passphrase, at least {SHORTEST} characters (not shown)")
        if len(first) < SHORTEST:
            person.say(f"  Shorter than {SHORTEST} characters.", style="yellow")
        elif person.ask_secret("  The same again") == first:
            return first
        else:
            person.say("  The two were not the same.", style="yellow")
    raise NotApproved("No passphrase was chosen; nothing was written.", next_step="Run `callsheet setup` again.")


__all__ = ["FILE", "KEYRING", "TypedKey", "ask_keys", "ask_new_passphrase", "ask_policy"]
