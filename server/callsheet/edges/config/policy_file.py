"""The policy file: TOML that a person wrote, read strictly or not at all.

What it allows decides about money, so it must be the person's own: a private file (see `private_files`)
outside the working directory, which agents write. Every doubt is a `SetupProblem` and nothing is
submitted; only a file that does not exist means the default policy, which is the sandbox. Only
`callsheet setup` writes it. Called by the composition root and the command line, by no tool.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from callsheet.core.consent.policy import Caps, Floor, Mode, Policy, Rule
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import check_base_url, check_url
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.edges.files.paths import expand_home, find_paths
from callsheet.errors import SetupProblem

FILE_NAME = "policy.toml"
PAUSE_NAME = "paused"
NO_LIMIT = "none"
MOST_CONCURRENT = 1000
FASTEST = 100_000.0

_WHAT = "policy file"
_DOLLARS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,4})?")
_GATEWAY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_CARD_ID = re.compile(_GATEWAY_ID.pattern + r"/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_T = TypeVar("_T")


def policy_path(environ: Mapping[str, str]) -> Path:
    """Where the policy file of this install lies."""
    return find_paths(environ).config / FILE_NAME


def load_policy(path: Path, *, working_directory: Path) -> Policy:
    """The person's policy, or the default one (sandbox) when there is no file.

    Raises `SetupProblem` for a file that is a link, is not regular, belongs to another user, is open to group or
    others, cannot be read, breaks a rule, or lies in or under the working directory. The root of the file system
    does not count as a working directory: some clients start every server there, and everything lies under it.
    """
    raw = read_private(path, what=_WHAT)
    if raw is None:
        return Policy()
    if _lies_under(path, working_directory):
        raise SetupProblem(
            f"The policy file {path} lies under the working directory, where an agent may write, so it is not used.",
            next_step="Start the program in another directory, or keep the policy in your user configuration.",
        )
    return parse_policy(raw, where=str(path))


def parse_policy(raw: bytes, *, where: str) -> Policy:
    """Turn the bytes of a policy file into a policy; `where` names the file in the `SetupProblem` that it raises."""
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(where, "the file", "is not UTF-8")
    except (ValueError, RecursionError) as error:
        _refuse(where, "the file", f"is not TOML ({clean(error, limit=120)})")
    top = _Table(table, where, "")
    caps, hosts, prices = top.table("caps"), top.table("hosts"), top.table("prices")
    sandbox, save, keys, gateways = top.table("sandbox"), top.table("save"), top.table("keys"), top.table("gateways")
    approval, models = top.table("approval"), top.table("models")
    usual, usual_caps = Policy(), Caps()
    base_urls, gateway_rules = gateways.gateways()
    policy = Policy(
        version=hashlib.sha256(raw).hexdigest()[:12],
        mode=Mode(top.choice("mode", tuple(Mode), usual.mode)),
        caps=Caps(
            per_clip=caps.dollars("per_clip", usual_caps.per_clip),
            per_day=caps.dollars("per_day", usual_caps.per_day),
            per_month=caps.dollars("per_month", usual_caps.per_month),
            concurrent=caps.whole("concurrent", usual_caps.concurrent, most=MOST_CONCURRENT),
        ),
        base_urls=base_urls,
        callback_hosts=hosts.hosts("callback"),
        image_hosts=hosts.hosts("image"),
        unknown_price_ceiling=prices.dollars("unknown_ceiling", usual.unknown_price_ceiling) or None,
        sandbox_asks=sandbox.switch("asks", usual.sandbox_asks),
        sandbox_speed=sandbox.factor("speed", usual.sandbox_speed, most=FASTEST),
        save_directory=save.directory("directory"),
        use_keyring=keys.switch("keyring", usual.use_keyring),
        floor=Floor(approval.choice("floor", tuple(Floor), usual.floor)),
        passphrase_from=approval.dollars("passphrase_from", usual.passphrase_from),
        rules=gateway_rules + models.models(),
    )
    for part in (top, caps, hosts, prices, sandbox, save, keys, gateways, approval, models):
        part.close()
    return policy


@cache
def _pause_path(path: Path) -> Path:
    return path.with_name(PAUSE_NAME)


def is_paused(path: Path) -> bool:
    """Whether the pause file lies beside that policy file. Whatever lies there pauses: a stop needs no proof."""
    return os.path.lexists(_pause_path(path))


def write_pause(path: Path, *, paused: bool) -> None:
    """Put the pause file beside that policy file, or take it away. Raises `SetupProblem` for the disk."""
    pause = _pause_path(path)
    if paused:
        write_private(pause, b"Nothing is submitted while this file is here.\n", what="pause file")
    else:
        remove_private(pause, what="pause file")


def write_policy(path: Path, policy_text: str) -> None:
    """Put a policy file in place, whole and private. Raises `SetupProblem`, also for a text that would not load."""
    raw = policy_text.encode("utf-8", "surrogateescape")
    parse_policy(raw, where=str(path))
    write_private(path, raw, what=_WHAT)


def render_policy(policy: Policy) -> str:
    """The policy as a commented TOML file that a person can edit; reading it gives the same policy again."""
    save = policy.save_directory
    return _FORM.format(
        mode=_quoted(policy.mode.value),
        per_clip=_limit(policy.caps.per_clip),
        per_day=_limit(policy.caps.per_day),
        per_month=_limit(policy.caps.per_month),
        concurrent=policy.caps.concurrent,
        unknown=_limit(policy.unknown_price_ceiling),
        callback=_list(policy.callback_hosts),
        image=_list(policy.image_hosts),
        asks=_truth(policy.sandbox_asks),
        speed=repr(policy.sandbox_speed),
        save='# directory = "~/Videos/Sora"' if save is None else f"directory = {_quoted(save)}",
        keyring=_truth(policy.use_keyring),
        floor=_quoted(policy.floor.value),
        passphrase_from=_limit(policy.passphrase_from),
        gateways="".join(_gateway_tables(policy)),
    )


def _gateway_tables(policy: Policy) -> Iterator[str]:
    rules = dict(policy.rules)
    for name in sorted({*rules, *dict(policy.base_urls)}):
        table = f"models.{_quoted(name)}" if "/" in name else f"gateways.{name}"
        url, rule = policy.base_url(name), rules.get(name, Rule())
        lines = [
            f"base_url = {_quoted(url)}\n" if url else "",
            "" if rule.allowed else "allowed = false\n",
            f"per_clip = {_limit(rule.per_clip)}\n" if rule.per_clip is not None else "",
            f"floor = {_quoted(rule.floor.value)}\n" if rule.floor else "",
        ]
        yield f"\n[{table}]\n{''.join(lines)}"


_FORM = """\
# Callsheet's policy: what may be spent, where, and who is asked. Only you change this file.
# Keep it private (chmod 600). Approvals are bound to its content: after an edit they must be given again.

# "sandbox" rehearses on this computer and costs nothing, "live" may spend money, "read-only" submits nothing.
mode = {mode}

# Upper limits in US dollars, in quotes; "none" lifts one. `concurrent` is how many tasks may be open at once.
[caps]
per_clip = {per_clip}
per_day = {per_day}
per_month = {per_month}
concurrent = {concurrent}

# What approves a clip: "client" lets the form of your client do (you type the amount there), "passphrase" asks for
# the approval passphrase, or a passkey, in a terminal or on the desk page. From `passphrase_from` US dollars on it is
# always asked for; "none" never asks by price. An agent that can write your client's settings can answer its form.
[approval]
floor = {floor}
passphrase_from = {passphrase_from}

# What a clip of unknown price is taken to cost at most; "none" refuses such clips.
[prices]
unknown_ceiling = {unknown}

# Exact host names. An empty callback list allows no callback; an empty image list allows any public host.
[hosts]
callback = {callback}
image = {image}

# `asks` rehearses the approval too. `speed` is how many times faster than life the sandbox runs.
[sandbox]
asks = {asks}
speed = {speed}

# Where clips are saved; without it, Callsheet/ in your videos directory.
[save]
{save}

# Whether the keyring of the operating system is asked for gateway keys.
[keys]
keyring = {keyring}

# Rules for one gateway or one model, a table each; all keys may be left out. `base_url` (gateways only) is another
# address for it: https, or http on this computer.
# [gateways.poyo]
# base_url = "https://proxy.example.com"
# allowed = true
# per_clip = "0.50"
# floor = "passphrase"
# [models."poyo/sora-2-pro-official"]
# allowed = false
{gateways}"""


class _Table:
    """Takes keys out of one TOML table; what is left at the end is a mistake."""

    def __init__(self, table: dict[str, Any], where: str, name: str) -> None:
        self._left = dict(table)
        self._where = where
        self._name = name

    def table(self, key: str) -> _Table:
        return _Table(self.take(key, dict, "must be a table") or {}, self._where, f"{self._name}{key}.")

    def choice(self, key: str, allowed: tuple[str, ...], usual: str) -> str:
        value = self.take(key, str, f"must be one of {', '.join(allowed)}")
        if value is not None and value not in allowed:
            self._refuse(key, f"must be one of {', '.join(allowed)}")
        return usual if value is None else value

    def dollars(self, key: str, usual: Decimal | None) -> Decimal | None:
        rule = f'must be an amount of US dollars in quotes, like "2.00", or "{NO_LIMIT}"'
        value = self.take(key, str, rule)
        if value is None:
            return usual
        if value == NO_LIMIT:
            return None
        if not _DOLLARS.fullmatch(value):
            self._refuse(key, rule)
        return Decimal(value)

    def whole(self, key: str, usual: int, *, most: int) -> int:
        rule = f"must be a whole number from 1 to {most}"
        value = self.take(key, int, rule)
        if value is not None and not 1 <= value <= most:
            self._refuse(key, rule)
        return usual if value is None else value

    def factor(self, key: str, usual: float, *, most: float) -> float:
        rule = f"must be a number above 0 and at most {most:.0f}"
        value = self._left.pop(key, usual)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            self._refuse(key, rule)
        return float(value)

    def switch(self, key: str, usual: bool) -> bool:
        value = self.take(key, bool, "must be true or false")
        return usual if value is None else value

    def hosts(self, key: str) -> tuple[str, ...]:
        rule = "must be a list of public host names in lower case, without https:// or a path"
        names = self.take(key, list, rule) or []
        for name in names:
            if not isinstance(name, str) or check_url(f"https://{name}/").host != name:
                self._refuse(key, rule)
        return tuple(cast("list[str]", names))

    def directory(self, key: str) -> str | None:
        value = self.take(key, str, "must be a path in quotes")
        if value is None:
            return None
        path = expand_home(value)
        if path is None:
            self._refuse(key, "must be an absolute path, or begin with ~/")
        return str(path)

    def gateways(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Rule], ...]]:
        """Other base URLs and rules, by gateway."""
        urls, rules = [], []
        for gateway_id in list(self._left):
            if not _GATEWAY_ID.fullmatch(gateway_id):
                self._refuse(clean(gateway_id, limit=40), "is not the id of a gateway")
            gateway = self.table(gateway_id)
            url = gateway.take("base_url", str, "must be a URL in quotes")
            rules.append((gateway_id, gateway.rule()))
            if url is None:
                continue
            if problem := check_base_url(url).problem:
                self._refuse(f"{gateway_id}.base_url", f"cannot be used. {problem.removesuffix('.')}")
            urls.append((gateway_id, url))
        return tuple(urls), _stated(rules)

    def models(self) -> tuple[tuple[str, Rule], ...]:
        """Rules by model."""
        rules = []
        for card_id in list(self._left):
            if not _CARD_ID.fullmatch(card_id):
                self._refuse(clean(card_id, limit=80), 'is not a model, like "poyo/sora-2-official"')
            rules.append((card_id, self.table(card_id).rule()))
        return _stated(rules)

    def rule(self) -> Rule:
        floor = self.choice("floor", tuple(Floor), "")
        rule = Rule(
            allowed=self.switch("allowed", True),
            per_clip=self.dollars("per_clip", None),
            floor=Floor(floor) if floor else None,
        )
        self.close()
        return rule

    def close(self) -> None:
        for key in self._left:
            self._refuse(clean(key, limit=40), "is not a key that this version knows")

    def take(self, key: str, kind: type[_T], rule: str) -> _T | None:
        value: _T | None = self._left.pop(key, None)
        # A subclass will not do: in Python a truth value is a number.
        if value is not None and type(value) is not kind:
            self._refuse(key, rule)
        return value

    def _refuse(self, key: str, rule: str) -> NoReturn:
        _refuse(self._where, f"{self._name}{key}", rule)


def _stated(rules: list[tuple[str, Rule]]) -> tuple[tuple[str, Rule], ...]:
    """Those that say something."""
    return tuple((name, rule) for name, rule in rules if rule != Rule())


def _refuse(where: str, key: str, rule: str) -> NoReturn:
    raise SetupProblem(
        f"The policy file {where} is not used: {key} {rule}.",
        next_step="Mend that line, or write the file again with `callsheet setup`.",
    ) from None


def _lies_under(path: Path, directory: Path) -> bool:
    # Both where the path says it is and where links lead it: an agent could turn a link of the project.
    outside = directory.resolve()
    if outside == outside.parent:
        return False
    named, real = path.parent.absolute(), path.parent.resolve()
    return any(place.is_relative_to(root) for place in (named, real) for root in (outside, directory.absolute()))


def _quoted(text: str) -> str:
    # TOML's quoted text is JSON's, except that DEL must be escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _limit(amount: Decimal | None) -> str:
    return _quoted(NO_LIMIT if amount is None else f"{amount:f}")


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(_quoted(name) for name in names)}]"


def _truth(value: bool) -> str:
    return "true" if value else "false"


__all__ = [
    "FILE_NAME",
    "NO_LIMIT",
    "is_paused",
    "load_policy",
    "parse_policy",
    "policy_path",
    "render_policy",
    "write_pause",
    "write_policy",
]
