"""The composition root: builds the real edges and hands them on. `__main__` and the tests are the only callers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .core.catalogue import Catalogue, GatewayFacts
from .core.policy import Policy
from .core.redaction import Redactor
from .edges.catalogue_files import load_catalogue
from .edges.clips import Clips
from .edges.clock import Clock, SystemClock
from .edges.http import GatewayHttp
from .edges.ledger import Ledger
from .edges.places import Places, expand_home, find_places
from .edges.policy import load_policy
from .edges.secrets import SecretKey, build_redactor, find_key
from .edges.watcher import RunnerLock
from .errors import KeyProblem
from .gateways import load_gateway
from .service import Service
from .service.stage import Stage
from .service.world import World
from .surface.program import Program

if TYPE_CHECKING:
    import httpx2

Made = TypeVar("Made")

POLICY_FILE = "policy.toml"
VERIFIER_FILE = "approval-verifier"
KEYS_DIRECTORY = "keys"
LEDGER_FILE = "ledger.sqlite3"
SANDBOX_DIRECTORY = "sandbox"
RUNNERS_DIRECTORY = "runners"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process was started with; tests hand over their own."""

    environ: Mapping[str, str]
    working_directory: Path
    clock: Clock
    transport: httpx2.AsyncBaseTransport | None = None

    @classmethod
    def of_process(cls) -> Surroundings:
        """The process's own environment, directory and clock."""
        return cls(environ=os.environ, working_directory=Path.cwd(), clock=SystemClock())


def build_program(surroundings: Surroundings) -> Program:
    """Everything a surface needs. Opens nothing; raises `SetupProblem` for an unusable home."""
    places = find_places(surroundings.environ)

    def serve_mcp() -> None:
        from .surface.mcp import serve_stdio

        serve_stdio(build_service(surroundings))

    return Program(
        environ=surroundings.environ,
        working_directory=surroundings.working_directory,
        places=places,
        policy=policy_reader(surroundings, places),
        policy_path=places.config / POLICY_FILE,
        verifier_path=places.config / VERIFIER_FILE,
        keys_directory=places.config / KEYS_DIRECTORY,
        build_service=lambda: build_service(surroundings),
        serve_mcp=serve_mcp,
        with_environ=lambda environ: build_program(replace(surroundings, environ=environ)),
    )


def quiet_libraries() -> None:
    """Keep the HTTP libraries from logging URLs, and logging from printing what it cannot format."""
    logging.raiseExceptions = False
    for name in ("httpx2", "httpcore2", "hpack", "anyio", "mcp", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def build_service(surroundings: Surroundings) -> Service:
    """The use cases over the real edges. Opens nothing yet; raises `SetupProblem` for an unusable home."""
    places = find_places(surroundings.environ)
    policy = policy_reader(surroundings, places)
    keys = _key_finder(surroundings, places, policy)
    http = GatewayHttp(transport=surroundings.transport)
    stage = Stage(lambda: _open_sandbox(places, policy().sandbox_speed))
    lock = RunnerLock(places.state / RUNNERS_DIRECTORY)
    world = World(
        ledger=_once(lambda: Ledger(places.data / LEDGER_FILE)),
        http=http,
        clock=surroundings.clock,
        catalogue=load_catalogue,
        gateway=load_gateway,
        policy=policy,
        find_key=keys,
        redactor=_redactor(keys, load_catalogue),
        sandbox_url=stage.url,
        sandbox_plays=_sandbox_plays,
        sandbox_key=SecretKey("sandbox", "rehearsal-key", source="sandbox"),
        clips=Clips(http),
        save_directory=lambda current: _save_directory(current, places),
        runner_id=lock.runner_id,
    )
    return Service(world, lock, stage)


def policy_reader(surroundings: Surroundings, places: Places) -> Callable[[], Policy]:
    """Reads the policy anew each time, so that arming and disarming take effect at once."""
    return lambda: load_policy(places.config / POLICY_FILE, working_directory=surroundings.working_directory)


def _key_finder(
    surroundings: Surroundings, places: Places, policy: Callable[[], Policy]
) -> Callable[[GatewayFacts], SecretKey | None]:
    def find(facts: GatewayFacts) -> SecretKey | None:
        return find_key(
            facts.id,
            facts.key_env,
            environ=surroundings.environ,
            keys_directory=places.config / KEYS_DIRECTORY,
            use_keyring=policy().use_keyring,
        )

    return find


def _redactor(
    find: Callable[[GatewayFacts], SecretKey | None], catalogue: Callable[[], Catalogue]
) -> Callable[[], Redactor]:
    """A redactor for the keys that are configured now, made again only when they change."""

    @cache
    def made(keys: frozenset[SecretKey]) -> Redactor:
        return build_redactor(keys)

    def current() -> Redactor:
        found = set()
        for facts in catalogue().gateways:
            try:
                key = find(facts)
            except KeyProblem:
                # A malformed key is never used, so there is nothing of it to hide beyond its own message.
                continue
            if key is not None:
                found.add(key)
        return made(frozenset(found))

    return current


def _save_directory(policy: Policy, places: Places) -> Path:
    if policy.save_directory:
        return expand_home(policy.save_directory) or places.data / "clips"
    return places.data / "clips"


def _once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Calls `make` on first use and keeps what it made; a failure is not kept, so mending helps."""
    made: list[Made] = []

    def get() -> Made:
        if not made:
            made.append(make())
        return made[0]

    return get


def _sandbox_plays(gateway_id: str) -> bool:
    from callsheet.sandbox.stages import STAGES

    return gateway_id in STAGES


def _open_sandbox(places: Places, speed: float) -> AbstractAsyncContextManager[str]:
    from .sandbox.serving import serve_sandbox

    return serve_sandbox(places.data / SANDBOX_DIRECTORY, speed=speed)
