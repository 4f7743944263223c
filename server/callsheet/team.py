"""Composes team mode: web replicas that hold no gateway key, and workers that alone have them, over PostgreSQL.

`callsheet team serve|work|migrate|doctor|restored --config team.toml`. Needs the extra `callsheet[team]`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import anyio
from starlette.routing import Route

from callsheet.core.consent import Policy
from callsheet.core.gateway.callbacks import callback_token
from callsheet.core.people import PROGRAM
from callsheet.core.shot import Shot
from callsheet.edges.files.paths import Paths
from callsheet.edges.identity.provider import OAuthClient, Provider
from callsheet.edges.identity.verifier import AccessTokenVerifier, VerifierSettings
from callsheet.edges.keys.passkeys import signing_key
from callsheet.edges.object_store.clips import ObjectClips, open_bucket
from callsheet.edges.postgres.clock import DatabaseClock
from callsheet.edges.postgres.database import PostgresDatabase, allow_waiting, open_portals
from callsheet.edges.postgres.leases import PostgresLeases
from callsheet.edges.postgres.ledger import ACCOUNT_SECONDS, DatabaseMark, TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.schema import migrate
from callsheet.edges.postgres.wakeups import PostgresWakeups
from callsheet.edges.postgres.worker import NoRunner, build_worker
from callsheet.edges.process.http_protocol import ProxiedProtocol
from callsheet.edges.process.loopback import bind, build_web_server
from callsheet.edges.traces import start as start_traces
from callsheet.edges.traces import traced
from callsheet.errors import CallsheetError, SetupProblem
from callsheet.service import Service
from callsheet.surface.next_steps import for_administrator, in_team
from callsheet.surface.team.app import MCP_WORDS, Draining, TeamParts, build_team_app
from callsheet.surface.team.callbacks import Callbacks, Outcome, Signed
from callsheet.surface.team.config import TeamConfig, judge_team_policy, load_config, opening
from callsheet.surface.team.desk import build_login, build_team_desk
from callsheet.surface.team.doctor import Doctor
from callsheet.surface.team.metrics import TeamMetrics, serve_metrics
from callsheet.surface.team.viewer import as_viewer, current_viewer

from .compose import Surroundings, build_parts, quiet_libraries

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long a replica that is to end says so, before it closes: a balancer looks every few seconds."""
GRACE_SECONDS = 60
RECENT_BELL_SECONDS = 86_400.0
"""A gateway that called back within a day is believed to do it again."""
SWITCH_SECONDS = 0.0005
"""An answer of the database waits that long at most for a page or call that computes, not five milliseconds."""
STDIN = "-"
COMMANDS = {
    "migrate": "bring the database to this version",
    "serve": "answer agents and people",
    "work": "send and follow, with the gateways' keys in the environment",
    "doctor": "say what does not work",
    "restored": "after a backup was restored, send nothing twice",
}


@in_team("/")
def main(arguments: Sequence[str]) -> int:
    """Run one of the team's commands; the exit code."""
    told = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(prog="callsheet team", description=f"Run the server of a team. {told}.")
    parser.add_argument("command", choices=COMMANDS)
    default = os.environ.get("CALLSHEET_TEAM_CONFIG", "team.toml")
    parser.add_argument("--config", default=default, metavar="FILE", help="the configuration; else %(default)s")
    parser.add_argument("--token", default="", help="doctor: the access token of an agent to check; - reads it")
    chosen = parser.parse_args(arguments)
    quiet_libraries()
    _log_json()
    try:
        team = Team(load_config(Path(chosen.config)))
        try:
            return {
                "serve": lambda: anyio.run(team.serve),
                "work": lambda: anyio.run(team.work),
                "migrate": team.migrate,
                "doctor": lambda: anyio.run(team.doctor, chosen.token),
                "restored": team.restored,
            }[chosen.command]()
        finally:
            team.database.close()
            team.end_traces()
    except CallsheetError as error:
        sys.stderr.write(f"{error.message} {for_administrator(error.next_step)}\n")
        return 1


class _JsonLines(logging.Formatter):
    """One line of JSON for each entry. No request, prompt or link is ever logged."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        return json.dumps({**said, "message": record.getMessage()})


def _log_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class Team:
    """What one process of the team is made of."""

    def __init__(self, config: TeamConfig) -> None:
        self.config = config
        dsn = config.secret(config.database.dsn_file)
        self.database = PostgresDatabase(dsn, tenant=config.tenant, pooled=config.database.pooled)
        listen = config.secret(config.database.listen_dsn_file) if config.database.listen_dsn_file else dsn
        self.wakeups = PostgresWakeups(
            self.database, listen=None if config.database.pooled and listen == dsn else listen
        )
        self.clock = DatabaseClock(self.database)
        self.people = People(self.database)
        self.ledger = TeamLedger(self.database, current_viewer)
        self.draining = Draining()
        self.callback_outcomes: Mapping[Outcome, int] = {}
        self.end_traces: Callable[[], None] = lambda: None
        # A request asks for it many times: the same bytes are judged once.
        self.judge_policy = lru_cache(maxsize=2)(partial(judge_team_policy, where=config.policy))
        self.policy_path = config.path(config.policy)
        identity = config.identity
        self.client = OAuthClient(
            identity.client_id, config.secret(identity.client_secret_file), in_body=identity.secret_in_body
        )
        self.provider = Provider(identity.issuer, now=time.time, trusted_hosts=identity.trusted_hosts)
        self.verifier = AccessTokenVerifier(
            self.provider,
            VerifierSettings(
                audiences=identity.audiences or (config.mcp_url,),
                scopes=identity.scopes,
                algorithms=identity.algorithms,
                require_type=identity.typed_tokens,
                subject_claim=identity.subject_claim,
                groups_claim=identity.groups_claim,
                allowed_clients=identity.allowed_clients,
                introspection=self.client if identity.introspection else None,
            ),
        )

    def build_service(self, *, works: bool) -> Service:
        """The use cases of a worker, which has the gateways' keys, or of a web replica, which has none."""
        config, ledger = self.config, lambda: self.ledger
        home = config.path(config.home)
        paths = Paths(
            config=home if works else home / "web",
            data=home / "data",
            state=home / "state",
            clips=home / "clips",
            trusted=True,
        )
        surroundings = Surroundings(
            environ=os.environ if works else {},
            working_directory=home,
            clock=self.clock,
            open_ledger=lambda _: self.ledger,
        )
        local, _, sandbox = build_parts(surroundings, paths, self.policy)
        fetched = traced(local.clips, keep="clip download", keep_own="clip download")
        leases = PostgresLeases(self.database, works=works)
        deps = replace(
            local,
            sent=DatabaseMark(ledger),
            http=traced(local.http, post_paid="gateway submit", fetch="gateway read", post_file="gateway upload"),
            clips=self.build_clips(fetched),
            save_directory=lambda _: home / "clips",
            runner_id=leases.runner_id,
            desk_url=lambda: f"{config.public_url}/",
            signing_key=partial(signing_key, origin=config.public_url),
            is_named_address=lambda _gateway, _url: True,
            has_passphrase=lambda: True,
            is_followed=lambda: True,
            start_watcher=lambda: False,
            only_desk=True,
            known_account=None if works else self.ledger.account,
            has_sender=lambda gateway: works or gateway in self.ledger.senders(now=self.clock.now()),
            callback_for=self.callback_for,
            called_back=lambda task: self.ledger.is_called_back(task, since=self.clock.now() - RECENT_BELL_SECONDS),
            changes=self.wakeups,
        )

        def build_runner(run_task: Callable[[str], Any]) -> Any:
            if not works:
                return NoRunner()
            return build_worker(ledger=ledger, clock=self.clock, leases=leases, wakeups=self.wakeups, run_task=run_task)

        async def no_desk(*_: object, **__: object) -> None:
            raise SetupProblem("The desk is a part of the server.", next_step="Open it in a browser.")

        return Service(deps, leases, sandbox, build_runner, no_desk)

    def build_clips(self, local: Any) -> Any:
        """Where clips go."""
        url = self.config.storage.url
        return ObjectClips(local, open_bucket(url), tenant=self.config.tenant) if url else local

    def policy(self) -> Policy:
        """The policy file, and what always holds in a team: only a passkey approves, and a pause is a row."""
        return self.read_policy(paused=self.ledger.is_paused())

    def read_policy(self, *, paused: bool = False) -> Policy:
        """The policy file, with a pause or without; raises `SetupProblem`."""
        try:
            return self.judge_policy(self.policy_path.read_bytes(), paused=paused)
        except OSError as error:
            raise SetupProblem(
                f"The policy {self.policy_path} cannot be read ({error.strerror}).",
                next_step="Write it there, or set `policy` to its path: docs/team.md shows one.",
            ) from None

    def migrate(self) -> int:
        """Bring the database to this version."""
        sys.stdout.write(f"{migrate(self.database)} migrations applied.\n")
        return 0

    def restored(self) -> int:
        """After a backup was restored: nothing that may have been sent meanwhile is sent again."""
        self.ledger.require_version()
        if PostgresLeases(self.database, works=False).others_live():
            raise SetupProblem("A worker is running.", next_step="Stop all workers, wait ten seconds, then try again.")
        with as_viewer(PROGRAM):
            DatabaseMark(lambda: self.ledger).accept_ledger(now=self.clock.now())
        sys.stdout.write("Approvals have ended, and what waited is of unknown outcome: compare with the gateways.\n")
        return 0

    def _prepare(self) -> None:
        """Refuse to start without what would be missed only at the first clip. Raises `CallsheetError`."""
        self.read_policy()
        home = self.config.path(self.config.home)
        try:
            home.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=home).close()
        except OSError as error:
            raise SetupProblem(
                f"`home`: {home} cannot be written to ({error.strerror}).",
                next_step="Give it to the user of this process, or set `home` to another directory.",
            ) from None
        self.ledger.require_version()

    async def missing(self) -> str:
        """What keeps this process from being ready."""
        await allow_waiting()
        try:
            self.ledger.require_version()
            await self.provider.load()
        except CallsheetError as error:
            return error.message
        return ""

    async def serve(self) -> int:
        """A web replica, until a signal ends it: not ready first, then closed, so that no request is lost."""
        await open_portals()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._prepare()
        service = self.build_service(works=False)
        clips, login = service.deps.clips, build_login(self.config, self.provider, self.client)
        desk = build_team_desk(self.config, service, self.database, self.ledger, login, clips)
        parts = TeamParts(
            config=self.config,
            service=service,
            people=self.people,
            verifier=self.verifier,
            is_ready=self.missing,
            draining=self.draining,
            routes=[self.callbacks(service)] if self.config.callbacks.gateways else [],
            desk=desk,
        )
        proxies = list(self.config.trusted_proxies)
        server = build_web_server(
            build_team_app(parts),
            lifespan="on",
            http=ProxiedProtocol,
            timeout_keep_alive=ProxiedProtocol.keep_alive_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies or None,
        )
        host, _, port = self.config.listen.rpartition(":")
        with opening("listen", self.config.listen):
            listener = bind(host.strip("[]"), int(port))
        with listener:
            self._report("callsheet-web")
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_on_signal, lambda: setattr(server, "should_exit", True))
                log.info("serving %s", self.config.public_url)
                await server.serve(sockets=[listener])
                group.cancel_scope.cancel()
        return 0

    async def work(self) -> int:
        """A worker, until a signal ends it: paid requests under way are answered first."""
        await open_portals()
        self._prepare()
        with as_viewer(PROGRAM):
            service = self.build_service(works=True)
            self._report("callsheet-worker")
            async with service.running():
                log.info("working as %s", service.deps.runner_id)
                async with anyio.create_task_group() as group:
                    group.start_soon(self._write_accounts, service)
                    await self._end_on_signal(group.cancel_scope.cancel)
        return 0

    async def doctor(self, token: str) -> int:
        """Say of each part whether it works, and why not; of a token, which check it fails."""
        await open_portals()
        given = sys.stdin.readline().strip() if token == STDIN else token
        doctor = Doctor(
            config=self.config,
            ledger=self.ledger,
            provider=self.provider,
            verifier=self.verifier,
            read_policy=self.read_policy,
            build_clips=lambda: self.build_clips(None),
            now=self.clock.now,
        )
        return await doctor.examine(given)

    async def _end_on_signal(self, end: Callable[[], object]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self.draining.begin()
                await anyio.sleep(DRAIN_SECONDS if self.config.drains else 0)
                end()
                return

    async def _write_accounts(self, service: Service) -> None:
        """Tell web replicas which keys the workers have, by fingerprint."""
        await allow_waiting()
        while True:
            with suppress(CallsheetError):
                for facts in service.deps.catalogue().gateways:
                    if fingerprint := service.deps.account(facts):
                        self.ledger.set_account(facts.id, fingerprint, now=self.clock.now())
            await anyio.sleep(ACCOUNT_SECONDS / 3)

    def callback_for(self, gateway: str, shot: Shot) -> str | None:
        """The address at which that gateway may ring for a person's shot, before there is a sheet. Under newer keys it
        stays the same: with another one in its bytes, nothing would warn that the shot was sent before."""
        viewer = current_viewer()
        if gateway not in self.config.callbacks.gateways or viewer.person is None:
            return None
        said = json.dumps([viewer.person.id, asdict(shot)], sort_keys=True, default=str)
        bell, place = hashlib.sha256(said.encode()).hexdigest()[:32], f"{self.config.public_url}/callbacks/{gateway}/"
        given = self.ledger.callback_of(f"{gateway}/{bell}")
        return given if given.startswith(f"{place}{bell}.") else place + callback_token(bell, self.config.keys())

    def callbacks(self, service: Service) -> Route:
        """The doorbell of the gateways."""
        settings = self.config.callbacks
        secret = self.config.secret(settings.poyo_secret_file).encode() if settings.poyo_secret_file else b""

        async def ring(gateway: str, bell: str) -> None:
            await allow_waiting()
            with as_viewer(PROGRAM):
                self.ledger.ring(f"{gateway}/{bell}", now=self.clock.now())

        async def find_task_id(bell: str) -> str:
            await allow_waiting()
            with as_viewer(PROGRAM):
                task = self.ledger.task_of_bell(f"poyo/{bell}")
            return (task.gateway_task_id or "") if task else ""

        signed = {"poyo": Signed(secret, find_task_id)} if secret else {}
        gateways = {name: signed.get(name) for name in settings.gateways}
        made = Callbacks(gateways, self.config.keys(), ring, now=service.now)
        self.callback_outcomes = made.outcomes
        return made.route

    def _report(self, process: str) -> None:
        """Serve figures and send traces, where the configuration wants them."""
        self.end_traces = start_traces(process, known=MCP_WORDS, collector=self.config.traces)
        if self.config.metrics:
            metrics = TeamMetrics(self.ledger, self.people, self.clock.now, self.callback_outcomes)
            with opening("metrics", self.config.metrics):
                serve_metrics(self.config.metrics, metrics)
