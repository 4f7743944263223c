"""What the composition root hands to a surface: where it runs, and how to make the use cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from callsheet.core.consent.policy import Policy
from callsheet.edges.files.paths import Paths
from callsheet.edges.keys.passphrase import Cost
from callsheet.service import Service


class ServeDesk(Protocol):
    """Serves the desk until cancelled; `on_open` is told its address, with the bearer, once it answers."""

    def __call__(self, service: Service, *, port: int, on_open: Callable[[str], object]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Program:
    """One start of the program. `build_service` opens nothing by itself; `serve_mcp` blocks until stdin closes,
    `serve_http`, given a port, until a signal ends it.

    Relative names that a person writes are under `working_directory`; no policy may lie under
    `project_directory`. `policy` reads the policy file anew; `policy_path`, `verifier_path` and
    `keys_directory` are what `callsheet setup` writes. `with_environ` makes the program again for
    another environment, as the demonstration needs it: a home of its own and no key. `derivation_cost` is what
    a new passphrase or sealed key costs to check; tests lower it.
    """

    environ: Mapping[str, str]
    working_directory: Path
    project_directory: Path
    paths: Paths
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
