"""The policy file: TOML that a person writes, read strictly.

It decides about money, so it must be a private file outside the working directory, where agents write. Every mistake is
a `SetupProblem`, and nothing is submitted then; only a missing file means the default policy, which is the sandbox. No
tool reads or writes it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from callsheet.core.consent import Caps, Floor, Mode, Policy, Rule
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import check_base_url, check_url
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.edges.files.paths import expand_home, find_account_home, find_paths, is_same_or_below
from callsheet.errors import Action, NextStep, SetupProblem

from .policy_form import NO_LIMIT

FILE_NAME = "policy.toml"
PAUSE_NAME = "paused"
MOST_CONCURRENT = 1000
FASTEST = 100_000.0

_WHAT = "policy file"
_DOLLARS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,4})?")
_GATEWAY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_CARD_ID = re.compile(_GATEWAY_ID.pattern + r"/[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
_T = TypeVar("_T")


def policy_path(environ: Mapping[str, str]) -> Path:
    """The path of this install's policy file."""
    return find_paths(environ, account_home=None).config / FILE_NAME


def load_policy(path: Path, *, working_directory: Path, trusted: bool) -> Policy:
    """The person's policy, or the default one (sandbox) when there is no file.

    Raises `SetupProblem` for a file that is a link, is not regular, belongs to another user, is open to group or
    others, cannot be read, breaks a rule, or is in or below the working directory. The root of the file system does
    not count as a working directory: some clients start every server there, and every file is below it. A file that
    is not `trusted`, because only the environment named its place, cannot arm live mode.
    """
    return judge_policy(read_policy(path), path, working_directory=working_directory, trusted=trusted)


def read_policy(path: Path) -> bytes | None:
    """The bytes of the policy file, None when there is none; raises `SetupProblem` for an exposed file."""
    return read_private(path, what=_WHAT)


def judge_policy(raw: bytes | None, path: Path, *, working_directory: Path, trusted: bool) -> Policy:
    """The policy in these bytes of the file at that path; see `load_policy`."""
    if raw is None:
        return Policy()
    if _is_under(path, working_directory):
        raise SetupProblem(
            f"The policy file {path} is under the working directory, where an agent may write, so it is not used.",
            next_step="Start the program in another directory, or keep the policy in your user configuration.",
        )
    policy = parse_policy(raw, where=str(path))
    if policy.mode is Mode.LIVE and not trusted:
        raise SetupProblem(
            f"The policy file {path} arms live mode, but its directory was chosen by the environment (HOME, XDG_* or"
            " CALLSHEET_HOME) and no person registered it, so it is not used.",
            next_step=NextStep(
                Action.SETUP,
                "Remove these variables, or register this place at a terminal, with the same variables set."
                " Then start the program again.",
            ),
        )
    return policy


def parse_policy(raw: bytes, *, where: str) -> Policy:
    """Parse a policy file; `where` names the file in the `SetupProblem` that a mistake raises."""
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(where, "the file", "is not UTF-8")
    except (ValueError, RecursionError) as error:
        _refuse(where, "the file", f"is not TOML ({clean(error, limit=120)})")
    top = _Table(table, where, "")
    caps, hosts, prices, inputs = (top.table(name) for name in ("caps", "hosts", "prices", "inputs"))
    sandbox, save, keys, gateways = top.table("sandbox"), top.table("save"), top.table("keys"), top.table("gateways")
    approval, models, tasks = top.table("approval"), top.table("models"), top.table("tasks")
    default, default_caps = Policy(), Caps()
    base_urls, gateway_rules = gateways.gateways()
    policy = Policy(
        version=hashlib.sha256(raw).hexdigest()[:12],
        mode=Mode(top.choice("mode", tuple(Mode), default.mode)),
        caps=Caps(
            per_clip=caps.dollars("per_clip", default_caps.per_clip),
            per_day=caps.dollars("per_day", default_caps.per_day),
            per_month=caps.dollars("per_month", default_caps.per_month),
            concurrent=caps.whole("concurrent", default_caps.concurrent, most=MOST_CONCURRENT),
        ),
        base_urls=base_urls,
        callback_hosts=hosts.hosts("callback"),
        image_hosts=hosts.hosts("image"),
        input_directories=inputs.directories("directories"),
        unknown_price_ceiling=prices.dollars("unknown_ceiling", default.unknown_price_ceiling) or None,
        sandbox_asks=sandbox.switch("asks", default.sandbox_asks),
        sandbox_speed=sandbox.factor("speed", default.sandbox_speed, most=FASTEST),
        save_directory=save.directory("directory"),
        use_keyring=keys.switch("keyring", default.use_keyring),
        background=tasks.switch("background", default.background),
        floor=Floor(approval.choice("floor", tuple(Floor), default.floor)),
        passphrase_from=approval.dollars("passphrase_from", default.passphrase_from),
        rules=gateway_rules + models.models(),
    )
    for part in (top, caps, hosts, prices, inputs, sandbox, save, keys, gateways, approval, models, tasks):
        part.close()
    return policy


@cache
def _pause_path(path: Path) -> Path:
    return path.with_name(PAUSE_NAME)


def is_paused(path: Path) -> bool:
    """Whether there is a pause file beside that policy file. Any file pauses: stopping needs no check."""
    return os.path.lexists(_pause_path(path))


def write_pause(path: Path, *, paused: bool) -> None:
    """Create the pause file beside that policy file, or remove it. Raises `SetupProblem` for the disk."""
    pause = _pause_path(path)
    if paused:
        write_private(pause, b"Nothing is submitted while this file exists.\n", what="pause file")
    else:
        remove_private(pause, what="pause file")


def write_policy(path: Path, policy_text: str) -> None:
    """Replace the policy file in one step. Raises `SetupProblem`, also for a text that would not load."""
    raw = policy_text.encode("utf-8", "surrogateescape")
    parse_policy(raw, where=str(path))
    write_private(path, raw, what=_WHAT)


class _Table:
    """Takes keys from one TOML table. A key that is left at the end is a mistake."""

    def __init__(self, table: dict[str, Any], where: str, name: str) -> None:
        self._left = dict(table)
        self._where = where
        self._name = name

    def table(self, key: str) -> _Table:
        return _Table(self.take(key, dict, "must be a table") or {}, self._where, f"{self._name}{key}.")

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.take(key, str, f"must be one of {', '.join(allowed)}")
        if value is not None and value not in allowed:
            self._refuse(key, f"must be one of {', '.join(allowed)}")
        return default if value is None else value

    def dollars(self, key: str, default: Decimal | None) -> Decimal | None:
        rule = f'must be an amount of US dollars in quotes, like "2.00", or "{NO_LIMIT}"'
        value = self.take(key, str, rule)
        if value is None:
            return default
        if value == NO_LIMIT:
            return None
        if not _DOLLARS.fullmatch(value):
            self._refuse(key, rule)
        return Decimal(value)

    def whole(self, key: str, default: int, *, most: int) -> int:
        rule = f"must be a whole number from 1 to {most}"
        value = self.take(key, int, rule)
        if value is not None and not 1 <= value <= most:
            self._refuse(key, rule)
        return default if value is None else value

    def factor(self, key: str, default: float, *, most: float) -> float:
        rule = f"must be a number above 0 and at most {most:.0f}"
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            self._refuse(key, rule)
        return float(value)

    def switch(self, key: str, default: bool) -> bool:
        value = self.take(key, bool, "must be true or false")
        return default if value is None else value

    def hosts(self, key: str) -> tuple[str, ...]:
        rule = "must be a list of public host names in lower case, without https:// or a path"
        names = self.take(key, list, rule) or []
        for name in names:
            if not isinstance(name, str) or check_url(f"https://{name}/").host != name:
                self._refuse(key, rule)
        return tuple(cast("list[str]", names))

    def directory(self, key: str) -> str | None:
        value = self.take(key, str, "must be a path in quotes")
        return None if value is None else self._path(key, value)

    def directories(self, key: str) -> tuple[str, ...]:
        """`~` is the home that the system names: with another `HOME`, other files would be in them."""
        home = find_account_home()
        values = self.take(key, list, "must be a list of paths") or []
        if home is not None:
            values = [
                re.sub(r"^~(?=/|$)", lambda _: str(home), value) if type(value) is str else value for value in values
            ]
        return tuple(self._path(key, value) for value in values)

    def _path(self, key: str, value: object) -> str:
        path = expand_home(value) if isinstance(value, str) else None
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
        # Not isinstance: in Python a bool is an int.
        if value is not None and type(value) is not kind:
            self._refuse(key, rule)
        return value

    def _refuse(self, key: str, rule: str) -> NoReturn:
        _refuse(self._where, f"{self._name}{key}", rule)


def _stated(rules: list[tuple[str, Rule]]) -> tuple[tuple[str, Rule], ...]:
    """Those that differ from the default."""
    return tuple((name, rule) for name, rule in rules if rule != Rule())


def _refuse(where: str, key: str, rule: str) -> NoReturn:
    raise SetupProblem(
        f"The policy file {where} is not used: {key} {rule}.",
        next_step=NextStep(Action.SETUP, "Fix that line, or write the file again."),
    ) from None


def _is_under(path: Path, directory: Path) -> bool:
    # Check the path as written and as resolved: an agent could change a link in the project.
    outside = directory.resolve()
    if outside == outside.parent:
        return False
    return any(is_same_or_below(parent, outside) for parent in (path.parent.absolute(), path.parent.resolve()))
