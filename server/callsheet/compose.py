"""The composition root: builds the real edges and passes them on. `__main__` and the tests are the only callers."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.core.consent import Policy
from callsheet.core.gateway.endpoint import build_facts
from callsheet.core.gateway.protocol import Gateway
from callsheet.core.security.redaction import Redactor
from callsheet.edges.clips.pictures import Pictures
from callsheet.edges.clips.save import Clips
from callsheet.edges.clock import Clock, SystemClock
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.config.policy_file import FILE_NAME as POLICY_FILE
from callsheet.edges.config.policy_file import is_paused, judge_policy, read_policy
from callsheet.edges.config.published_files import PublishedCatalogues
from callsheet.edges.files.paths import (
    HOME_VARIABLE,
    Paths,
    expand_home,
    find_account_home,
    find_paths,
    is_same_or_below,
    load_registered,
)
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.keys.passkeys import PASSKEYS_FILE, Passkeys, signing_key
from callsheet.edges.keys.passphrase import STANDARD, Cost, load_verifier
from callsheet.edges.keys.sealed import OpenedKeys, is_sealed, load_sealed
from callsheet.edges.keys.store import SecretKey, build_redactor, find_all_keys, find_key
from callsheet.edges.ledger.ledger import SqliteLedger, SqlLedger
from callsheet.edges.notices import Notifier
from callsheet.edges.process.daemon import BackgroundRunner, Launch
from callsheet.edges.process.locks import FileLeases, find_desk, try_lock
from callsheet.edges.process.runner import Runner
from callsheet.edges.process.sent_mark import FileMark
from callsheet.service.dependencies import Dependencies
from callsheet.service.lifecycle import SandboxServer
from callsheet.surface.program import Program

from .errors import KeyProblem, SetupProblem, UnknownThing
from .gateways import build_endpoint, load_gateway
from .service import Service

if TYPE_CHECKING:
    import httpx2

Built = TypeVar("Built")
KeyFinder = Callable[[GatewayFacts, bool], SecretKey | None]

VERIFIER_FILE = "approval-verifier"
KEYS_DIRECTORY = "keys"
LEDGER_FILE = "ledger.sqlite3"
SANDBOX_DIRECTORY = "sandbox"
CATALOGUES_DIRECTORY = "catalogues"
INPUTS_DIRECTORY = "inputs"
RUNNERS_DIRECTORY = "runners"
MARKS_DIRECTORY = "sent"
SETTLED_NS = 2_000_000_000
Identity = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process was started with; tests pass their own.

    `account_home` is the home that the system names for the user, without the environment. Without one, nothing but
    the sandbox can be used. `command` starts the program again. `leaves_watcher` is whether a program that ends may
    start the background watcher: never in a test that has a clock or a transport of its own.
    """

    environ: Mapping[str, str]
    working_directory: Path
    clock: Clock
    transport: httpx2.MockTransport | None = None
    derivation_cost: Cost = STANDARD
    account_home: Path | None = None
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "callsheet")
    leaves_watcher: bool = False
    open_ledger: Callable[[Path], SqlLedger] = SqliteLedger

    @classmethod
    def of_process(cls) -> Surroundings:
        """The process's own environment, directory, clock and account."""
        return cls(
            environ=os.environ,
            working_directory=Path.cwd(),
            clock=SystemClock(),
            account_home=find_account_home(),
        )

    @classmethod
    def of_program(cls) -> Surroundings:
        """The same for a process that is the program itself, and not one that only uses it."""
        return replace(cls.of_process(), leaves_watcher=True)


def project_directory(surroundings: Surroundings) -> Path:
    """Where a policy may not be stored: the working directory, unless that is the home or contains it.

    The usual configuration is stored under the home, and a new terminal opens there. So the home is no project,
    and approving must work in it. A home that the environment names gets no such exception.
    """
    here, home = surroundings.working_directory, surroundings.account_home
    named = surroundings.environ.get(HOME_VARIABLE, "").strip()
    exempt = not named and home is not None and is_same_or_below(home, here)
    return Path(here.anchor) if exempt else here


def build_program(surroundings: Surroundings) -> Program:
    """Everything a surface needs. Opens nothing; raises `SetupProblem` for an unusable home."""
    paths = find_paths(surroundings.environ, account_home=surroundings.account_home)

    def serve_mcp() -> None:
        from callsheet.surface.mcp.stdio import serve_stdio

        serve_stdio(lambda: build_service(surroundings))

    def serve_http(port: int) -> None:
        from callsheet.surface.mcp.http import serve_http

        serve_http(lambda: build_service(surroundings), port=port, state=paths.state)

    return Program(
        environ=surroundings.environ,
        working_directory=surroundings.working_directory,
        project_directory=project_directory(surroundings),
        paths=paths,
        account_home=surroundings.account_home,
        background=_background(surroundings, paths),
        policy=policy_reader(surroundings, paths),
        policy_path=paths.config / POLICY_FILE,
        verifier_path=paths.config / VERIFIER_FILE,
        keys_directory=paths.config / KEYS_DIRECTORY,
        build_service=lambda: build_service(surroundings),
        serve_mcp=serve_mcp,
        serve_http=serve_http,
        serve_desk=partial(_serve_desk, paths),
        with_environ=lambda environ: build_program(replace(surroundings, environ=environ)),
        derivation_cost=surroundings.derivation_cost,
    )


def quiet_libraries() -> None:
    """Keep the HTTP libraries from logging URLs, and logging from printing what it cannot format."""
    logging.raiseExceptions = False
    for name in ("httpx2", "httpcore2", "hpack", "anyio", "mcp", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


Parts = tuple[Dependencies, FileLeases, SandboxServer]


def build_service(surroundings: Surroundings) -> Service:
    """The use cases over the real edges. Opens nothing yet; raises `SetupProblem` for an unusable home."""
    paths = find_paths(surroundings.environ, account_home=surroundings.account_home)
    deps, leases, sandbox = build_parts(surroundings, paths, policy_reader(surroundings, paths))
    runner = partial(_build_runner, deps, leases)
    return Service(deps, leases, sandbox, runner, partial(_serve_desk, paths))


def build_parts(surroundings: Surroundings, paths: Paths, policy: Callable[[], Policy]) -> Parts:
    """The real edges, below those directories and under that policy. Opens nothing."""
    unsealed = partial(_find_unsealed, surroundings.environ, paths)
    directory = paths.config / KEYS_DIRECTORY
    opened, account_home = OpenedKeys(), surroundings.account_home
    http = GatewayHttp(transport=surroundings.transport)
    sandbox = SandboxServer(lambda: _open_sandbox(paths, policy().sandbox_speed))
    lock = FileLeases(paths.state / RUNNERS_DIRECTORY)
    background = _background(surroundings, paths)
    ledger = _once(lambda: surroundings.open_ledger(paths.data / LEDGER_FILE))
    catalogues = PublishedCatalogues(load_catalogue, paths.data / CATALOGUES_DIRECTORY, load_gateway, try_lock)
    catalogue, gateway = _with_endpoints(catalogues.current, policy)
    # A stored key that is not used, because of an environment variable or a seal, is still a secret.
    redactor = _redactor((unsealed, partial(_find_unsealed, {}, paths)), policy, catalogue, opened)
    deps = Dependencies(
        ledger=ledger,
        sent=FileMark(paths.state / MARKS_DIRECTORY, ledger),
        http=http,
        clock=surroundings.clock,
        catalogue=catalogue,
        published=catalogues,
        gateway=gateway,
        policy=policy,
        find_key=lambda facts: None if is_sealed(facts.id, directory) else unsealed(facts, _usable(policy).use_keyring),
        is_sealed=lambda gateway_id: is_sealed(gateway_id, directory),
        sealed_key=lambda gateway_id: load_sealed(gateway_id, keys_directory=directory),
        stored_keys=partial(_stored_keys, surroundings, paths, policy),
        opened=opened,
        redactor=redactor,
        sandbox_url=sandbox.url,
        sandbox_plays=_sandbox_plays,
        sandbox_key=SecretKey("sandbox", "rehearsal-key", source="sandbox"),
        clips=Clips(http),
        notices=Notifier(http, surroundings.clock, policy=policy, ledger=ledger, redactor=redactor),
        pictures=Pictures(paths.data / INPUTS_DIRECTORY),
        signing_key=signing_key,
        save_directory=lambda now: (now.save_directory and expand_home(now.save_directory)) or paths.clips,
        runner_id=lock.runner_id,
        home=surroundings.environ.get(HOME_VARIABLE, "").strip(),
        desk_url=lambda: find_desk(paths.state),
        is_named_address=lambda gateway_id, url: (gateway_id, url) in load_registered(account_home).addresses,
        has_passphrase=lambda: _has_passphrase(paths),
        is_followed=lambda: _is_followed(lock, background),
        start_watcher=background.ensure if surroundings.leaves_watcher else lambda: False,
    )

    return deps, lock, sandbox


def _build_runner(deps: Dependencies, leases: FileLeases, run_task: Callable[[str], Awaitable[None]]) -> Runner:
    queue = cast("Callable[[], SqlLedger]", deps.ledger)
    wait = deps.changes.wait
    return Runner(ledger=queue, clock=deps.clock, leases=leases, run_task=run_task, wait_for_change=wait)


async def _serve_desk(paths: Paths, service: Service, *, port: int, on_open: Callable[[str], object]) -> None:
    from callsheet.surface.desk import serve_desk

    verifier = paths.config / VERIFIER_FILE
    await serve_desk(service, config=paths.config, state=paths.state, verifier=verifier, port=port, on_open=on_open)


def _is_followed(lock: FileLeases, background: BackgroundRunner) -> bool:
    try:
        return lock.any_live() or background.is_running()
    except SetupProblem:
        # A state directory that cannot be written must not prevent an answer about a task.
        return False


def _background(surroundings: Surroundings, paths: Paths) -> BackgroundRunner:
    command = (*surroundings.command, "--verbose", "watch", "--background")
    return BackgroundRunner(paths.state, Launch(command, surroundings.environ, surroundings.working_directory))


def _has_passphrase(paths: Paths) -> bool:
    passkeys = Passkeys(paths.config / PASSKEYS_FILE)
    return load_verifier(paths.config / VERIFIER_FILE) is not None or bool(passkeys.all())


def policy_reader(surroundings: Surroundings, paths: Paths) -> Callable[[], Policy]:
    """Looks at the policy file each time, so that arming and disarming take effect immediately.

    It is read again unless it is certainly the same file: one that changed a moment ago may change again without a new
    time stamp. The same bytes in it are judged once, and again when a file of certificates that they name has changed.
    """
    path, here = paths.config / POLICY_FILE, project_directory(surroundings)
    kept: tuple[list[Identity], bool, bytes | None, Policy] = ([None], False, None, Policy())

    def from_file() -> Policy:
        nonlocal kept
        # One look at what is kept: another thread may replace it.
        old, was_settled, old_raw, policy = kept
        identities, settled = _identify(path, policy)
        same = identities[0] is not None and identities == old
        if same and was_settled:
            return policy
        raw = read_policy(path)
        if not same or (not was_settled and (raw != old_raw or len(identities) > 1)):
            policy = judge_policy(raw, path, working_directory=here, trusted=paths.trusted)
            identities, settled = _identify(path, policy)
        kept = (identities, settled, raw, policy)
        return policy

    def read() -> Policy:
        policy = from_file()
        return replace(policy, paused=True) if is_paused(path) else policy

    return read


def _identify(path: Path, policy: Policy) -> tuple[list[Identity], bool]:
    """What tells the policy file and its certificates from others, and whether none has changed a moment ago."""
    found: list[Identity] = []
    for each in (path, *map(Path, policy.certificate_files)):
        try:
            # The policy file is no link; certificates of the system often are.
            it = each.lstat() if each == path else each.stat()
            found.append((it.st_mtime_ns, it.st_ctime_ns, it.st_dev, it.st_ino, it.st_size, it.st_mode))
        except OSError:
            found.append(None)
    return found, all(it is not None and time.time_ns() - max(it[:2]) >= SETTLED_NS for it in found)


def _with_endpoints(
    known: Callable[[], Catalogue], policy: Callable[[], Policy]
) -> tuple[Callable[[], Catalogue], Callable[[str], Gateway]]:
    """The catalogue and the gateways, with the endpoints of the policy; those of its last reading if it is unusable."""
    facts_of, kept = lru_cache(maxsize=64)(build_facts), Policy()

    def current() -> Policy:
        nonlocal kept
        with suppress(SetupProblem):
            kept = policy()
        return kept

    def catalogue() -> Catalogue:
        own = tuple(facts_of(item) for item in current().endpoints)
        return Catalogue((*known().gateways, *own)) if own else known()

    def gateway(gateway_id: str) -> Gateway:
        endpoint = current().endpoint(gateway_id)
        try:
            return load_gateway(gateway_id) if endpoint is None else build_endpoint(endpoint)
        except KeyError:
            raise UnknownThing("The policy no longer declares this endpoint.", next_step="Declare it again.") from None

    return catalogue, gateway


def _find_unsealed(
    environ: Mapping[str, str], paths: Paths, facts: GatewayFacts, use_keyring: bool
) -> SecretKey | None:
    """The unsealed key in the first place that has one, the keyring among them if it may be used."""
    if not facts.key_env:
        return None
    directory = paths.config / KEYS_DIRECTORY
    return find_key(facts.id, facts.key_env, environ=environ, keys_directory=directory, use_keyring=use_keyring)


def _stored_keys(
    surroundings: Surroundings, paths: Paths, policy: Callable[[], Policy], facts: GatewayFacts
) -> list[SecretKey]:
    """All unsealed keys of a gateway, in use or not."""
    environ, directory = surroundings.environ, paths.config / KEYS_DIRECTORY
    use_keyring = _usable(policy).use_keyring
    return find_all_keys(facts.id, facts.key_env, environ=environ, keys_directory=directory, use_keyring=use_keyring)


def _usable(policy: Callable[[], Policy]) -> Policy:
    try:
        return policy()
    except SetupProblem:
        # Nothing can be sent under such a policy, but the keys must still be hidden.
        return Policy()


def _redactor(
    finders: tuple[KeyFinder, ...],
    policy: Callable[[], Policy],
    catalogue: Callable[[], Catalogue],
    opened: OpenedKeys,
) -> Callable[[], Redactor]:
    """A redactor for the keys that are configured or open now, built again only when they change."""

    # Only one is kept: an older redactor would hold a key that must be forgotten.
    build = lru_cache(maxsize=1)(build_redactor)

    def current() -> Redactor:
        found, usable = {*opened.keys()}, _usable(policy)
        if secret := usable.notices.secret:
            found.add(SecretKey("notices", secret, source="file"))
        for find, facts in product(finders, catalogue().gateways):
            try:
                key = find(facts, usable.use_keyring)
            except KeyProblem:
                # A malformed key is never used, so there is nothing of it to hide beyond its own message.
                continue
            if key is not None:
                found.add(key)
        return build(frozenset(found))

    return current


def _once(build: Callable[[], Built]) -> Callable[[], Built]:
    """Calls `build` on first use and keeps its result. A failure is not kept, so a later call can succeed."""
    kept: list[Built] = []

    def get() -> Built:
        if not kept:
            kept.append(build())
        return kept[0]

    return get


def _sandbox_plays(gateway_id: str) -> bool:
    from callsheet.sandbox.fakes import FAKES

    return gateway_id in FAKES


def _open_sandbox(paths: Paths, speed: float) -> AbstractAsyncContextManager[str]:
    from callsheet.sandbox.server import serve_sandbox

    return serve_sandbox(paths.data / SANDBOX_DIRECTORY, speed=speed)
