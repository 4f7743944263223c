"""The questions of `callsheet setup`. They collect answers and write nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.core.catalogue.prices import dollars
from callsheet.core.consent import Caps, Mode, Policy
from callsheet.core.security.urls import check_url
from callsheet.edges.config.policy_file import MOST_CONCURRENT
from callsheet.edges.config.policy_form import NO_LIMIT
from callsheet.edges.config.policy_table import DOLLARS
from callsheet.edges.files.paths import expand_home
from callsheet.edges.keys.passphrase import SHORTEST
from callsheet.edges.keys.sealed import is_sealed
from callsheet.edges.keys.store import find_key
from callsheet.errors import Action, KeyProblem, NextStep, NotApproved
from callsheet.surface.cli.console.output import label_table
from callsheet.surface.cli.console.terminal import TRIES, Terminal
from callsheet.surface.next_steps import command
from callsheet.surface.program import Program
from callsheet.surface.text import join_words

FILE, KEYRING = "file", "keyring"

MODES = (
    (Mode.SANDBOX, "A rehearsal on this computer: real requests, real MP4 files, no gateway, no money."),
    (Mode.LIVE, "The real gateways. You see each clip with its price, and it waits for your approval."),
    (Mode.READ_ONLY, "Payloads and prices are explained; nothing can be submitted."),
)


@dataclass(frozen=True, slots=True)
class TypedKey:
    """A gateway key that the person typed, and where to store it."""

    gateway: str
    place: str
    value: str = field(repr=False)


def ask_policy(terminal: Terminal, old: Policy) -> Policy:
    """Mode, limits, hosts and the directory for clips; everything else is unchanged."""
    mode = _ask_mode(terminal, old.mode)
    terminal.write("\nLimits, in US dollars", style="bold")
    terminal.write(f"They apply to live clips and are checked before anything is sent. {NO_LIMIT} removes a limit.")
    caps = Caps(
        per_clip=_ask_amount(terminal, "  For one clip", old.caps.per_clip),
        per_day=_ask_amount(terminal, "  For one day (UTC)", old.caps.per_day),
        per_month=_ask_amount(terminal, "  For one month", old.caps.per_month),
        concurrent=_ask_count(terminal, "  Concurrent tasks", old.caps.concurrent),
    )
    terminal.write("\nSome gateways document no price. Such a clip is refused unless you set a maximum price for it.")
    ceiling = _ask_amount(terminal, "  Maximum for a clip of unknown price", old.unknown_price_ceiling)
    terminal.write("\nApproval", style="bold")
    terminal.write(
        "A client can show you a form in which you type the amount. Anyone who can change the client's settings can"
        " answer it, also an agent with a shell, so expensive clips need the passphrase. 0 asks for it each time."
    )
    passphrase_from = _ask_amount(terminal, "  The passphrase is needed from", old.passphrase_from)
    terminal.write("\nHosts", style="bold")
    terminal.write("A gateway can notify a server of yours when a clip is done. Empty allows no callbacks.")
    hosts = _ask_hosts(terminal, "  Callback hosts, by name", old.callback_hosts)
    terminal.write("\nClips", style="bold")
    directory = _ask_directory(terminal, old.save_directory)
    return replace(
        old,
        mode=mode,
        caps=caps,
        unknown_price_ceiling=ceiling,
        passphrase_from=passphrase_from,
        callback_hosts=hosts,
        save_directory=directory,
    )


def _ask_mode(terminal: Terminal, usual: Mode) -> Mode:
    terminal.write("\nMode", style="bold")
    terminal.write(label_table([(f"  {mode.value}", meaning) for mode, meaning in MODES]))
    known = [mode.value for mode, _ in MODES]
    answer = terminal.ask_until(
        "  Type the mode",
        usual=usual.value,
        check=lambda typed: "" if typed in known else f"One of {join_words(known)}.",
    )
    return Mode(answer)


def _ask_amount(terminal: Terminal, question: str, usual: Decimal | None) -> Decimal | None:
    def check(typed: str) -> str:
        return "" if typed == NO_LIMIT or DOLLARS.fullmatch(typed) else f"An amount like 2.00, or {NO_LIMIT}."

    answer = terminal.ask_until(question, usual=NO_LIMIT if usual is None else dollars(usual), check=check)
    return None if answer == NO_LIMIT else Decimal(answer)


def _ask_count(terminal: Terminal, question: str, usual: int) -> int:
    def check(typed: str) -> str:
        good = typed.isascii() and typed.isdigit() and 1 <= int(typed) <= MOST_CONCURRENT
        return "" if good else f"A whole number from 1 to {MOST_CONCURRENT}."

    return int(terminal.ask_until(question, usual=str(usual), check=check))


def _ask_hosts(terminal: Terminal, question: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    def names(typed: str) -> tuple[str, ...]:
        return () if typed == NO_LIMIT else tuple(typed.replace(",", " ").split())

    def check(typed: str) -> str:
        wrong = [name for name in names(typed) if check_url(f"https://{name}/").host != name]
        return f"Not a public host name in lower case: {join_words(wrong)}." if wrong else ""

    return names(terminal.ask_until(question, usual=" ".join(usual) or NO_LIMIT, check=check))


def _ask_directory(terminal: Terminal, usual: str | None) -> str | None:
    def check(typed: str) -> str:
        return "" if typed == "usual" or expand_home(typed) else "An absolute path, or one that begins with ~/."

    answer = terminal.ask_until("  Directory for saved clips", usual=usual or "usual", check=check)
    return None if answer == "usual" else str(expand_home(answer))


def ask_keys(
    terminal: Terminal, program: Program, catalogue: Catalogue, *, status: Callable[[GatewayFacts], str]
) -> list[TypedKey]:
    """Show where keys were found, and ask for keys to store. Keys are never shown."""
    terminal.write("\nGateway keys", style="bold")
    with_key = [gateway for gateway in catalogue.gateways if gateway.key_env]
    terminal.write(label_table([(f"  {gateway.name}", status(gateway)) for gateway in with_key]))
    terminal.write("Keys in the environment are used directly. A key to store is typed here and not shown.")
    typed: dict[str, TypedKey] = {}
    known = [gateway.id for gateway in with_key]
    while True:
        answer = terminal.ask_until(
            f"  Store a key for ({join_words(known)})",
            usual=NO_LIMIT,
            check=lambda name: "" if name in (*known, NO_LIMIT) else f"One of {join_words(known)}, or {NO_LIMIT}.",
        )
        gateway = catalogue.gateway(answer)
        if gateway is None:
            return list(typed.values())
        key = _ask_key(terminal, program, gateway)
        if key is not None:
            typed[key.gateway] = key


def _ask_key(terminal: Terminal, program: Program, gateway: GatewayFacts) -> TypedKey | None:
    if is_sealed(gateway.id, program.keys_directory):
        unseal = command(NextStep(Action.UNSEAL_KEY, target=gateway.id))
        terminal.write(f"  It is sealed, so another key would not be used. First run: {unseal}", "yellow")
        return None
    if gateway.key_page:
        terminal.write(f"  Get a key at {gateway.key_page}", style="dim")
    value = terminal.ask_secret(f"  The key for {gateway.name} (not shown)").strip()
    # Checked with the rule that will read it, as if it came from the environment: nothing is stored yet.
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
        terminal.write(
            "  That is not a key: a key has 8 to 512 printable characters without spaces. Not stored.", style="yellow"
        )
        return None
    choices = (FILE, KEYRING)
    place = terminal.ask_until(
        "  Store it in a private file, or in your system's keyring",
        usual=FILE,
        check=lambda typed: "" if typed in choices else f"One of {join_words(choices)}.",
    )
    return TypedKey(gateway.id, place, value)


def ask_new_passphrase(terminal: Terminal, *, known: bool, live: bool) -> str | None:
    """A new approval passphrase, typed twice; None to change nothing. Live mode needs one."""
    terminal.write("\nApproval passphrase", style="bold")
    terminal.write(
        "It distinguishes you from an agent. Type it only into Callsheet, in your own terminal or on its desk."
        " Do not share it."
    )
    if known and not terminal.confirm("  One is set. Change it?"):
        return None
    if not known and not live and not terminal.confirm("  None is set. Choose one now?"):
        return None
    for _ in range(TRIES):
        first = terminal.ask_secret(f"  New passphrase, at least {SHORTEST} characters (not shown)")
        if len(first) < SHORTEST:
            terminal.write(f"  Shorter than {SHORTEST} characters.", style="yellow")
        elif terminal.ask_secret("  Repeat it") == first:
            return first
        else:
            terminal.write("  The passphrases do not match.", style="yellow")
    raise NotApproved(
        "No passphrase was chosen; nothing was written.", next_step=NextStep(Action.SETUP, "Start again.")
    )
