"""What the composition root gives to a surface: where the program runs, and how to build the use cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from callsheet.core.consent import Policy
from callsheet.edges.files.paths import Paths
from callsheet.edges.keys.passphrase import Cost
from callsheet.edges.process.daemon import BackgroundRunner
from callsheet.service import Service


class ServeDesk(Protocol):
    """Serves the desk until cancelled; calls `on_open` with its address, bearer included, once it listens."""

    def __call__(self, service: Service, *, port: int, on_open: Callable[[str], object]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Program:
    """One start of the program. `build_service` opens nothing; `serve_mcp` blocks until stdin closes, `serve_http`
    (given a port) until a signal ends it.

    Relative paths from a person are resolved against `working_directory`; no policy may be below
    `project_directory`. `account_home` is the home that the system names. `background` is the
    background watcher. `policy` reads the policy file each
    time; `policy_path`, `verifier_path` and `keys_directory` are what `callsheet setup`
    writes. `with_environ` builds the program again for
    another environment: the demo needs a home of its own and no key. `derivation_cost` is the cost of checking a
    new passphrase or sealed key; tests lower it.
    """

    environ: Mapping[str, str]
    working_directory: Path
    project_directory: Path
    paths: Paths
    account_home: Path | None
    background: BackgroundRunner
    policy: Callable[[], Policy]
    policy_path: Path
    verifier_path: Path
    keys_directory: Path
    build_service: Callable[[], Service]
    serve_mcp: Callable[[], None]
    serve_http: Callable[[int], None]
    serve_desk: ServeDesk
    with_environ: Callable[[Mapping[str, str]], Program]
    derivation_cost: Cost
