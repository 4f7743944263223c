"""`callsheet team doctor`: says of each part of a team's server whether it works, and why not."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from callsheet.core.consent import Mode, Policy
from callsheet.core.people import find_role
from callsheet.core.security.redaction import clean
from callsheet.edges.identity.provider import Provider
from callsheet.edges.identity.verifier import AccessTokenVerifier
from callsheet.edges.object_store.clips import ObjectClips
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.errors import CallsheetError, SetupProblem
from callsheet.service.ports import ClipStore
from callsheet.surface.next_steps import for_administrator

from .config import TeamConfig

FOUND_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Doctor:
    """The checks of one process. They change nothing, except that the storage is given a probe."""

    config: TeamConfig
    ledger: TeamLedger
    provider: Provider
    verifier: AccessTokenVerifier
    read_policy: Callable[[], Policy]
    build_clips: Callable[[], ClipStore | None]
    now: Callable[[], float]

    async def examine(self, token: str) -> int:
        """Write a line for each part; the exit code. Never repeats the token."""
        checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("keys", self._keys),
            ("policy", self._policy),
            ("database", self._database),
            ("identity provider", self._provider),
            ("storage", self._storage),
            ("workers", self._workers),
        ]
        if token:
            checks.append(("token", partial(self._token, token)))
        failed = 0
        for name, check in checks:
            try:
                sys.stdout.write(f"ok       {name}: {await check()}\n")
            except CallsheetError as error:
                failed += 1
                sys.stdout.write(f"problem  {name}: {error.message} {for_administrator(error.next_step)}\n")
        return 1 if failed else 0

    async def _keys(self) -> str:
        return f"{len(self.config.keys())} in {self.config.keys_file}"

    async def _policy(self) -> str:
        return f"mode {self.read_policy().mode}"

    async def _database(self) -> str:
        self.ledger.require_version()
        return f"{self.ledger.path}, of this version"

    async def _provider(self) -> str:
        return (await self.provider.load()).issuer

    async def _storage(self) -> str:
        clips = self.build_clips()
        if not isinstance(clips, ObjectClips):
            return f"the disk at {self.config.path(self.config.home)}"
        await clips.check()
        return self.config.storage.url

    async def _workers(self) -> str:
        if self.read_policy().mode is not Mode.LIVE:
            return "they need no key in this mode"
        senders = self.ledger.senders(now=self.now())
        if not senders:
            raise SetupProblem(
                "No worker has said within three minutes that it has the key of a gateway.",
                next_step="Run `callsheet team work` where POYO_API_KEY, or the key of another gateway, is set.",
            )
        return f"they have keys of {', '.join(senders)}"

    async def _token(self, token: str) -> str:
        access = await self.verifier.verify(token)
        role = find_role(access.groups, self.config.roles.by_role())
        if role is None:
            claim, groups = self.config.identity.groups_claim, clean(", ".join(access.groups), limit=FOUND_SHOWN)
            raise SetupProblem(
                f"It is good, but none of its groups has a role. Its claim `{claim}` has: {groups or 'nothing'}.",
                next_step="Let the provider put the groups there, or name them in [roles].",
            )
        return f"{role} of team {self.config.team_of(access.groups)}, through {access.client_id}"
