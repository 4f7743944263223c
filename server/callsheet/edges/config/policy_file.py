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
from dataclasses import replace
from functools import cache
from pathlib import Path

from callsheet.core.catalogue.cards import GATEWAY_ID
from callsheet.core.consent import Caps, Floor, Mode, Policy, Rule
from callsheet.core.notices import LEAST_SECRET, NoticeForm, Notices
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import check_base_url, check_url
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.edges.files.paths import find_paths, is_same_or_below
from callsheet.errors import Action, NextStep, SetupProblem

from .endpoint_tables import load_certificates, read_endpoints, read_network
from .policy_table import PolicyTable, refuse

FILE_NAME = "policy.toml"
PAUSE_NAME = "paused"
MOST_CONCURRENT = 1000
FASTEST = 100_000.0

_WHAT = "policy file"
_CARD_ID = re.compile(GATEWAY_ID.pattern + r"/[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


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
    policy = load_certificates(
        parse_policy(raw, where=str(path)), is_under_project=lambda named: _is_under(named, working_directory)
    )
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
    # A place that only the environment named sends nothing anywhere by itself.
    return policy if trusted else replace(policy, notices=Notices(), weekly_refresh=False)


def parse_policy(raw: bytes, *, where: str) -> Policy:
    """Parse a policy file; `where` names the file in the `SetupProblem` that a mistake raises."""
    top = _read_toml(raw, where)
    hosts, prices, inputs, published = (top.table(name) for name in ("hosts", "prices", "inputs", "catalogue"))
    sandbox, save, keys, gateways = top.table("sandbox"), top.table("save"), top.table("keys"), top.table("gateways")
    approval, tasks, endpoints = top.table("approval"), top.table("tasks"), read_endpoints(top.table("endpoints"))
    default = Policy()
    base_urls, gateway_rules = _read_gateways(gateways)
    for name in {item.id for item in endpoints} & dict(base_urls).keys():
        gateways.refuse(f"{name}.base_url", f"is in [endpoints.{name}]")
    proxy, ca_file = read_network(top.table("network"))
    policy = Policy(
        version=hashlib.sha256(raw).hexdigest()[:12],
        mode=Mode(top.choice("mode", tuple(Mode), default.mode)),
        caps=_read_caps(top.table("caps"), default.caps),
        base_urls=base_urls,
        callback_hosts=hosts.hosts("callback"),
        image_hosts=hosts.hosts("image"),
        input_directories=inputs.directories("directories"),
        unknown_price_ceiling=prices.dollars("unknown_ceiling", default.unknown_price_ceiling) or None,
        sandbox_asks=sandbox.switch("asks", default.sandbox_asks),
        sandbox_speed=sandbox.factor("speed", default.sandbox_speed, most=FASTEST),
        save_directory=save.directory("directory"),
        save_name=save.name_template("name"),
        save_tags=save.switch("metadata", default.save_tags),
        use_keyring=keys.switch("keyring", default.use_keyring),
        background=tasks.switch("background", default.background),
        weekly_refresh=published.choice("refresh", ("never", "weekly"), "never") == "weekly",
        floor=Floor(approval.choice("floor", tuple(Floor), default.floor)),
        passphrase_from=approval.dollars("passphrase_from", default.passphrase_from),
        rules=gateway_rules + _read_models(top.table("models")),
        endpoints=endpoints,
        proxy=proxy,
        ca_file=ca_file,
        notices=_read_notices(top.table("notify"), hosts.hosts("notify")),
    )
    top.close()
    return policy


def _read_toml(raw: bytes, where: str) -> PolicyTable:
    try:
        return PolicyTable(tomllib.loads(raw.decode("utf-8")), where, "")
    except UnicodeDecodeError:
        refuse(where, "the file", "is not UTF-8")
    except (ValueError, RecursionError) as error:
        refuse(where, "the file", f"is not TOML ({clean(error, limit=120)})")


def _read_caps(table: PolicyTable, default: Caps) -> Caps:
    return Caps(
        per_clip=table.dollars("per_clip", default.per_clip),
        per_day=table.dollars("per_day", default.per_day),
        per_month=table.dollars("per_month", default.per_month),
        concurrent=table.whole("concurrent", default.concurrent, most=MOST_CONCURRENT),
    )


def _read_notices(table: PolicyTable, hosts: tuple[str, ...]) -> Notices:
    """No problem repeats the address, which is a secret."""
    form = NoticeForm(table.choice("form", tuple(NoticeForm), NoticeForm.JSON))
    found = Notices(table.text("address"), form, table.switch("prompt", False), table.switch("desktop", False))
    if not found.address:
        return found
    verdict = check_url(found.address)
    if verdict.problem:
        table.refuse("address", f"cannot be used. {verdict.problem.removesuffix('.')}")
    if verdict.host not in hosts:
        table.refuse("address", "is at a host that is not in [hosts] notify")
    if len(found.secret) < LEAST_SECRET:
        table.refuse("address", f"must end in a secret part of at least {LEAST_SECRET} characters")
    return found


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


def _read_gateways(table: PolicyTable) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Rule], ...]]:
    """Other base URLs and rules, by gateway."""
    urls, rules = [], []
    for gateway_id in table.names():
        if not GATEWAY_ID.fullmatch(gateway_id):
            table.refuse(clean(gateway_id, limit=40), "is not the id of a gateway")
        gateway = table.table(gateway_id)
        url = gateway.take("base_url", str, "must be a URL in quotes")
        rules.append((gateway_id, _read_rule(gateway)))
        if url is None:
            continue
        if problem := check_base_url(url).problem:
            table.refuse(f"{gateway_id}.base_url", f"cannot be used. {problem.removesuffix('.')}")
        urls.append((gateway_id, url))
    return tuple(urls), _stated(rules)


def _read_models(table: PolicyTable) -> tuple[tuple[str, Rule], ...]:
    """Rules by model."""
    rules = []
    for card_id in table.names():
        if not _CARD_ID.fullmatch(card_id):
            table.refuse(clean(card_id, limit=80), 'is not a model, like "poyo/sora-2-official"')
        rules.append((card_id, _read_rule(table.table(card_id))))
    return _stated(rules)


def _read_rule(table: PolicyTable) -> Rule:
    floor = table.choice("floor", tuple(Floor), "")
    return Rule(
        allowed=table.switch("allowed", True),
        per_clip=table.dollars("per_clip", None),
        floor=Floor(floor) if floor else None,
    )


def _stated(rules: list[tuple[str, Rule]]) -> tuple[tuple[str, Rule], ...]:
    """Those that differ from the default."""
    return tuple((name, rule) for name, rule in rules if rule != Rule())


def _is_under(path: Path, directory: Path) -> bool:
    # Check the path as written and as resolved: an agent could change a link in the project.
    outside = directory.resolve()
    if outside == outside.parent:
        return False
    return any(
        is_same_or_below(each, outside) for each in (path.parent.absolute(), path.parent.resolve(), path.resolve())
    )
