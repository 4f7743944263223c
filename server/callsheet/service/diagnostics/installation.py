"""Diagnostics: what is missing or wrong in this install, without sending anything.

Each look answers with `Check` values and raises nothing, so that one broken part does not hide the
others. No check holds any part of a key.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from callsheet import __version__
from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.consent import Mode, Policy
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import url_host
from callsheet.core.tasks import OPEN_STATES, TaskState
from callsheet.edges.files.paths import Paths
from callsheet.edges.keys.passphrase import load_verifier
from callsheet.errors import Action, CallsheetError, LedgerOlder, NextStep
from callsheet.service.catalogue.refresh import describe_lists
from callsheet.service.dependencies import Dependencies
from callsheet.service.ports import require_address

PACKAGES = ("mcp", "httpx2", "pydantic", "cryptography", "keyring", "av", "pillow", "typer", "rich", "uvicorn")
IGNORED = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
LITTLE_SPACE = 1_000_000_000
COUNTED = 1000


NO_STEP = NextStep()


class Grade(StrEnum):
    """How a check came out; only `PROBLEM` keeps something from working."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. The text of `next_step` is empty when there is nothing to do."""

    name: str
    grade: Grade
    text: str
    next_step: NextStep = NO_STEP


@dataclass(frozen=True, slots=True)
class Install:
    """Where this install keeps its things, and the environment it was started with."""

    paths: Paths
    policy_path: Path
    verifier_path: Path
    environ: Mapping[str, str]


def check_up(deps: Dependencies, install: Install) -> list[Check]:
    """Look at everything; in the order in which a person would fix it."""
    policy = _read_policy(deps)
    looks: tuple[Callable[[], Iterator[Check]], ...] = (
        _check_program,
        lambda: _check_catalogues(deps),
        lambda: _check_directories(install.paths),
        lambda: _check_policy(policy, install.policy_path),
        lambda: _check_notices(policy),
        lambda: _check_verifier(policy, install.verifier_path),
        lambda: _check_keys(deps, policy),
        lambda: _check_network(policy, install.environ),
        lambda: _check_ledger(deps),
        lambda: _check_sent(deps),
        lambda: _check_save_directory(deps, policy),
        _check_loopback,
        _check_video,
    )
    return [check for look in looks for check in look()]


def _read_policy(deps: Dependencies) -> Policy | CallsheetError:
    try:
        return deps.policy()
    except CallsheetError as error:
        return error


def _failed(name: str, error: CallsheetError) -> Check:
    return Check(name, Grade.PROBLEM, error.message, error.next_step)


def _check_catalogues(deps: Dependencies) -> Iterator[Check]:
    """How old what is known of models and prices is."""
    for facts in deps.catalogue().gateways:
        if why := deps.published.unusable.get(facts.id):
            step = NextStep(Action.MODELS, "Refresh it.")
            yield Check("catalogue", Grade.WARNING, f"{facts.name}: what it published is not used; {why}", step)
    yield Check("Published lists", Grade.OK, describe_lists(deps))


def _check_program() -> Iterator[Check]:
    yield Check("Callsheet", Grade.OK, f"{__version__}, {platform.system()} {platform.machine()}")
    yield Check("Python", Grade.OK, f"{platform.python_version()} ({sys.executable})")
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield Check("Packages", Grade.OK, ", ".join(found))
    if missing:
        yield Check(
            "Packages", Grade.PROBLEM, f"not installed: {', '.join(missing)}", NextStep(text="Install Callsheet again.")
        )


def _check_directories(paths: Paths) -> Iterator[Check]:
    for name, path in (("Configuration", paths.config), ("Data", paths.data), ("State", paths.state)):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Check(name, Grade.NOTE, f"{path} does not exist yet; it is created when needed")
            continue
        except OSError as error:
            yield Check(name, Grade.PROBLEM, f"{path}: {error.strerror}", NextStep(text="Check its owner and mode."))
            continue
        if os.name == "posix" and mode & 0o077:
            yield Check(
                name,
                Grade.WARNING,
                f"{path} is open to others (mode {mode:04o})",
                NextStep(text=f"Run: chmod 700 {path}"),
            )
        elif not os.access(path, os.W_OK):
            yield Check(name, Grade.PROBLEM, f"{path} is not writable", NextStep(text="Make yourself its owner."))
        else:
            yield Check(name, Grade.OK, f"{path} (mode {mode:04o})")


def _check_policy(policy: Policy | CallsheetError, path: Path) -> Iterator[Check]:
    if isinstance(policy, CallsheetError):
        yield _failed("Policy", policy)
        return
    where = str(path) if path.exists() else "no policy file, so the defaults"
    caps = policy.caps
    yield Check(
        "Policy",
        Grade.OK,
        f"{policy.mode.value}; {', '.join(caps.in_words())}; {caps.concurrent} tasks at the same time ({where})",
    )
    if policy.mode is Mode.LIVE and None in (caps.per_clip, caps.per_day, caps.per_month):
        yield Check("Policy", Grade.WARNING, "live without every limit", NextStep(Action.SETUP, "Set the missing one."))
    if policy.paused:
        yield Check("Pause", Grade.WARNING, "a person paused all submissions", NextStep(Action.RESUME))
    for gateway, url in policy.base_urls:
        yield Check("Policy", Grade.NOTE, f"{gateway} is reached at {clean(url, limit=200)}, not at its own address")


def _check_notices(policy: Policy | CallsheetError) -> Iterator[Check]:
    """Where a notice goes when a clip waits; of a secret address only the host."""
    if isinstance(policy, CallsheetError):
        return
    notices = policy.notices
    places = [f"to {url_host(notices.address)} ({notices.form.value})"] if notices.address else []
    places += ["on this desktop"] if notices.desktop else []
    text = f"{' and '.join(places)}, {'with' if notices.prompt else 'without'} the prompt"
    off = "off: no notice is sent when a clip waits ([notify] in the policy file)"
    yield Check("Notices", Grade.OK if places else Grade.NOTE, text if places else off)


def _check_verifier(policy: Policy | CallsheetError, path: Path) -> Iterator[Check]:
    try:
        known = load_verifier(path) is not None
    except CallsheetError as error:
        yield _failed("Passphrase", error)
        return
    if known:
        yield Check("Passphrase", Grade.OK, "an approval passphrase is set")
        return
    asked = isinstance(policy, Policy) and (policy.mode is Mode.LIVE or policy.sandbox_asks)
    grade = Grade.PROBLEM if asked else Grade.NOTE
    yield Check("Passphrase", grade, "no approval passphrase is set", NextStep(Action.SETUP, "Choose one."))


def _check_keys(deps: Dependencies, policy: Policy | CallsheetError) -> Iterator[Check]:
    live = isinstance(policy, Policy) and policy.mode is Mode.LIVE
    found = 0
    for facts in deps.catalogue().gateways:
        if not facts.key_env:
            continue
        name = f"Key {facts.name}"
        if deps.is_sealed(facts.id):
            found += 1
            yield from _check_sealed(deps, facts, name)
            continue
        try:
            key = deps.find_key(facts)
            if key is not None and isinstance(policy, Policy):
                deps.require_named_address(facts)
        except CallsheetError as error:
            yield _failed(name, error)
            continue
        if key is None:
            yield Check(name, Grade.NOTE, f"missing ({facts.key_env} is not set, no key is stored)")
        else:
            found += 1
            yield Check(name, Grade.OK, f"set ({key.source}, fingerprint {key.fingerprint})")
    if live and not found:
        yield Check("Keys", Grade.PROBLEM, "live, but no gateway has a key", NextStep(Action.SETUP, "Store one."))


def _check_sealed(deps: Dependencies, facts: GatewayFacts, name: str) -> Iterator[Check]:
    """An unsealed copy makes a sealed key worthless, so copies are looked for."""
    try:
        sealed = deps.sealed_key(facts.id)
        where = deps.destination(facts)
        if sealed is None:
            return
        yield Check(
            name, Grade.OK, f"sealed (fingerprint {sealed.fingerprint}), for {clean(sealed.base_url, limit=200)}"
        )
        require_address(sealed, where)
    except CallsheetError as error:
        yield _failed(name, error)
        return
    for stored in deps.stored_keys(facts):
        where = (
            f"the environment variable {facts.key_env}" if stored.source == "environment" else f"the {stored.source}"
        )
        if stored.fingerprint == sealed.fingerprint:
            step = NextStep(text="Remove it there: until then the seal protects nothing.")
            yield Check(name, Grade.WARNING, f"an unsealed copy of the sealed key is in {where}", step)
        else:
            text = f"{where} holds another key (fingerprint {stored.fingerprint}), which is not used"
            yield Check(name, Grade.NOTE, text, NextStep(text="Remove it there."))


def _check_network(policy: Policy | CallsheetError, environ: Mapping[str, str]) -> Iterator[Check]:
    """The way to gateways and endpoints, and what of the environment is not used for it."""
    if isinstance(policy, CallsheetError):
        return
    if policy.proxy or policy.ca:
        yield Check("Network", Grade.OK, policy.route("").mark)
    ignored = [name for name in IGNORED if environ.get(name) or environ.get(name.lower())]
    if ignored:
        step = NextStep(text="If this network needs them, set `proxy` and `ca_file` under [network] in the policy.")
        yield Check("Network", Grade.NOTE, f"ignored: {', '.join(ignored)}", step)
    for item in policy.endpoints:
        route, prices = policy.route(item.id), {offer.price or "unknown" for offer in item.models}
        text = f"{route.destination(item.base_url)}; {len(item.models)} models, price: {', '.join(sorted(prices))}"
        bounds = f"; {item.clips_per_day} clips a day, {item.concurrent} together"
        yield Check(f"Endpoint {item.id}", Grade.WARNING if route.open else Grade.OK, text + bounds)


def _check_ledger(deps: Dependencies) -> Iterator[Check]:
    try:
        ledger = deps.ledger()
        verdict = ledger.check()
        tasks = ledger.tasks(states=(TaskState.OUTCOME_UNKNOWN, *OPEN_STATES), limit=COUNTED)
    except CallsheetError as error:
        yield _failed("Ledger", error)
        return
    except OSError as error:
        yield Check(
            "Ledger", Grade.PROBLEM, f"{error.filename}: {error.strerror}", NextStep(text="Check its owner and mode.")
        )
        return
    if verdict != "ok":
        step = NextStep(text="Keep a copy of the file: it holds your task ids. Then restore an older copy.")
        yield Check("Ledger", Grade.PROBLEM, f"{ledger.path} is damaged: {clean(verdict, limit=200)}", step)
        return
    unknown = [task for task in tasks if task.state is TaskState.OUTCOME_UNKNOWN]
    still = len(tasks) - len(unknown)
    yield Check("Ledger", Grade.OK, f"{ledger.path}, whole; {still} task{'' if still == 1 else 's'} open")
    text = f'to copy it, end Callsheet and run: sqlite3 {ledger.path} ".backup COPY"; never copy that file alone'
    yield Check("Ledger copies", Grade.NOTE, text)
    if unknown:
        step = NextStep(Action.RESOLVE, "First look at the gateway's task list.", target=unknown[0].id)
        yield Check("Tasks", Grade.WARNING, f"{len(unknown)} of unknown outcome: they may have been charged", step)


def _check_sent(deps: Dependencies) -> Iterator[Check]:
    """What was sent and is not in the ledger is of unknown outcome."""
    try:
        deps.sent.require_current()
    except CallsheetError as error:
        yield _failed("Sent", error)
        for request in deps.sent.forgotten() if isinstance(error, LedgerOlder) else ():
            sent_for = f"{request.card_id}, {request.binding.price}"
            text = f"sheet {request.sheet_id}, task {request.task_id} ({sent_for}): it may have been charged for"
            yield Check("Unknown outcome", Grade.PROBLEM, text, error.next_step)


def _check_save_directory(deps: Dependencies, policy: Policy | CallsheetError) -> Iterator[Check]:
    if isinstance(policy, CallsheetError):
        return
    wanted = deps.save_directory(policy)
    existing = next((path for path in (wanted, *wanted.parents) if path.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        step = NextStep(Action.SETUP, "Name another directory.")
        yield Check("Clips", Grade.PROBLEM, f"{wanted} cannot be written", step)
        return
    free = shutil.disk_usage(existing).free
    text = f"{wanted}, {free / 1e9:.1f} GB free"
    little = free < LITTLE_SPACE
    yield Check(
        "Clips", Grade.WARNING if little else Grade.OK, text, NextStep(text="Free some space." if little else "")
    )


def _check_loopback() -> Iterator[Check]:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
    except OSError as error:
        step = NextStep(text="Let this program listen on 127.0.0.1; without it only live mode works.")
        yield Check("Sandbox", Grade.PROBLEM, f"cannot listen on loopback ({error.strerror})", step)
        return
    yield Check("Sandbox", Grade.OK, "can listen on loopback")


def _check_video() -> Iterator[Check]:
    try:
        import av
        import PIL
    except ImportError as error:
        yield Check(
            "Video", Grade.PROBLEM, f"a library does not load ({error.name})", NextStep(text="Install Callsheet again.")
        )
        return
    codec = "H.264" if "libx264" in av.codecs_available else "MPEG-4 (this build cannot encode H.264)"
    yield Check(
        "Video", Grade.OK, f"PyAV {av.__version__} and Pillow {PIL.__version__} load; the sandbox encodes {codec}"
    )
