"""A team with its desk, without a socket: a tenant of its own, people who sign in at a scripted provider, devices."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import httpx2
from scripted_provider import CLIENT_ID, ISSUER, SECRET, ScriptedProvider, sign
from starlette.types import ASGIApp
from virtual_authenticator import Authenticator

from callsheet.compose import Surroundings, build_parts
from callsheet.core.consent import Caps, Floor, Means, Policy
from callsheet.core.people import PROGRAM, Person, Role, Viewer, person_id
from callsheet.core.shot import Shot
from callsheet.core.spending import SpendTerms
from callsheet.core.tasks import Clip, SheetEvent, Task, TaskState
from callsheet.edges.clock import Clock
from callsheet.edges.config.policy_file import parse_policy
from callsheet.edges.files.paths import Paths
from callsheet.edges.identity.provider import OAuthClient, Provider
from callsheet.edges.keys.passkeys import signing_key
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.schema import migrate
from callsheet.errors import Action
from callsheet.service import Draft, Service
from callsheet.service.ports import ClipStore
from callsheet.surface.team.config import (
    ApprovalSettings,
    DatabaseSettings,
    IdentitySettings,
    RolesSettings,
    TeamConfig,
)
from callsheet.surface.team.desk import build_login, build_team_desk
from callsheet.surface.team.viewer import as_viewer, current_viewer
from samples import a_task
from workspace import KEY, VirtualClock

URL = "https://clips.example.com"
CLIP = Path(__file__).parents[1] / "fixtures"
POLICY = 'mode = "live"\n[caps]\nper_day = "500.00"\nper_month = "5000.00"\nconcurrent = 400\n'
GROUPS = {Role.MEMBER: ["makers"], Role.APPROVER: ["deciders"], Role.ADMIN: ["owners"]}
OWN_COMMANDS = "|".join(sorted({each.value.split()[0] for each in Action} - {"team"}))
OWN_COMMAND = re.compile(rf"callsheet\S* (?:{OWN_COMMANDS}|desk(?! 1;)|generate)\b")
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass
class DeskTeam:
    """One tenant, its service and its desk."""

    directory: Path
    config: TeamConfig
    database: PostgresDatabase
    ledger: TeamLedger
    people: People
    service: Service
    clock: Clock
    app: ASGIApp
    number: int = 0

    def person(self, name: str, role: Role = Role.MEMBER, team: str = "default") -> Person:
        """Somebody who has signed in before."""
        now = self.clock.now()
        return self.people.sign_in(ISSUER, name, name=name, team=team, role=role, now=now, said_at=now)

    def draft(self, person: Person, *, asks: bool = True) -> str:
        """That person's agent drafts another shot and asks for it; the sheet's id."""
        self.number += 1
        shot = Shot.of(f"A red kite over dunes, number {self.number}.", duration_seconds=4)
        with as_viewer(Viewer(person, "agent")):
            explained = self.service.explain(Draft(shot, gateway="poyo", model="sora-2-official"))
            assert explained.sheet is not None, explained.findings
            if asks:
                self.ledger.move_sheet(explained.sheet.id, SheetEvent.ASKED, now=self.clock.now())
        return explained.sheet.id

    def spend(self, person: Person, state: TaskState = TaskState.OUTCOME_UNKNOWN, **changes: Any) -> Task:
        """A live task of that person which is in that state."""
        sheet_id, now = self.draft(person), self.clock.now()
        with as_viewer(PROGRAM):
            sheet = self.ledger.move_sheet(sheet_id, SheetEvent.APPROVED, now=now, by=Means.PASSKEY)
            times = {"created_at": now, "updated_at": now, "next_at": now, "deadline": now}
            task = a_task(sheet, f"task_{sheet_id}", state=state, **{**times, **changes})
            terms = SpendTerms(sheet.binding.digest, Caps(None, None, None), (0.0, 0.0))
            return self.ledger.spend(sheet_id, task=task, terms=terms, now=now)

    def save(self, person: Person, path: str = "") -> Task:
        """A task of that person with a saved clip: an object's name, or a file."""
        file = self.directory / "clip.mp4"
        file.write_bytes(b"a clip")
        name = path or str(file)
        shutil.copy(file, picture := self.directory / "clip.jpg")
        pictures = path.replace(".mp4", ".jpg") or str(picture)
        clip = Clip(name, 6, "0" * 64, 4.0, 1280, 720, pictures, pictures)
        return self.spend(person, TaskState.SAVED, clip=clip, finished_at=self.clock.now())

    def trail(self) -> list[dict[str, Any]]:
        """The audit trail, newest first, with its details."""
        return [
            {"action": entry.action, "subject": entry.subject, "actor": entry.actor, **json.loads(entry.detail)}
            for entry in self.service.audit(limit=-1)
        ]

    def close(self) -> None:
        """Close the database."""
        self.database.close()


async def _no_desk(*_: object, **__: object) -> None:
    """A team's desk is a part of its server."""


def _no_runner(*_: object) -> NoReturn:
    raise AssertionError("a web replica sends nothing")


def make_desk_team(
    directory: Path,
    dsn: str,
    tenant: str,
    *,
    provider: Provider,
    client: OAuthClient,
    url: str = URL,
    clock: Clock,
    four_eyes: bool = False,
    policy: str = POLICY,
    by_workers: bool = False,
    clips: Callable[[ClipStore], Any] = lambda local: local,
    build_runner: Callable[..., Any] = _no_runner,
) -> DeskTeam:
    """A new tenant. The provider may be another one; with `by_workers`, only workers have keys."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "keys").write_text("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    config = TeamConfig(
        public_url=url,
        home="home",
        keys_file="keys",
        tenant=tenant,
        database=DatabaseSettings(dsn_file="dsn"),
        identity=IdentitySettings(issuer=provider.issuer, client_id=client.client_id, client_secret_file="secret"),
        roles=RolesSettings(member=("makers",), approver=("deciders",), admin=("owners",)),
        teams={"red": ("makers",)},
        approval=ApprovalSettings(four_eyes=four_eyes),
        directory=directory,
    )
    database = PostgresDatabase(dsn, tenant=tenant)
    migrate(database)
    ledger = TeamLedger(database, current_viewer)
    home = directory / "home"
    paths = Paths(config=home, data=home, state=home, clips=home / "clips", trusted=True)
    surroundings = Surroundings({"POYO_API_KEY": KEY}, Path("/nowhere"), clock, open_ledger=lambda _: ledger)

    def read() -> Policy:
        rules = parse_policy(policy.encode(), where="policy.toml")
        return replace(rules, floor=Floor.PASSPHRASE, paused=ledger.is_paused())

    deps, leases, sandbox = build_parts(surroundings, paths, read)
    deps = replace(
        deps,
        clips=clips(deps.clips),
        desk_url=lambda: f"{url}/",
        signing_key=partial(signing_key, origin=url),
        is_named_address=lambda _gateway, _url: True,
        has_passphrase=lambda: True,
        only_desk=True,
        known_account=ledger.account if by_workers else None,
        has_sender=lambda gateway: not by_workers or gateway in ledger.senders(now=clock.now()),
    )
    service = Service(deps, leases, sandbox, build_runner, _no_desk)
    app = build_team_desk(config, service, database, ledger, build_login(config, provider, client), service.deps.clips)
    return DeskTeam(directory, config, database, ledger, People(database), service, clock, app)


@dataclass
class ScriptedDesk:
    """A team whose provider is a script."""

    team: DeskTeam
    idp: ScriptedProvider

    def browser(self) -> DeskBrowser:
        """A browser with no cookies."""
        return DeskBrowser(self)


def make_scripted(directory: Path, dsn: str, tenant: str, **options: Any) -> ScriptedDesk:
    """A new tenant of that name."""
    clock = VirtualClock()
    idp = ScriptedProvider(time=clock.now())
    client = OAuthClient(CLIENT_ID, SECRET)
    team = make_desk_team(directory, dsn, tenant, provider=idp.provider(), client=client, clock=clock, **options)
    return ScriptedDesk(team, idp)


@dataclass
class DeskBrowser:
    """A browser that is a plain client: it keeps cookies, sends the headers of a page of ours, and follows nothing."""

    desk: ScriptedDesk
    csrf: str = ""
    device: Authenticator = field(default_factory=lambda: Authenticator(origin=URL, rp_id=str(urlsplit(URL).hostname)))

    def __post_init__(self) -> None:
        transport = httpx2.ASGITransport(app=self.desk.team.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url=URL)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Open an address."""
        return names_no_command(await self.client.get(path, headers=headers))

    async def read(self, path: str) -> str:
        """A page's text; it must be there."""
        answer = await self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.text

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        """Post a form as a page of ours does."""
        headers = {"origin": URL}
        return names_no_command(await self.client.post(path, data={"csrf": self.csrf, **fields}, headers=headers))

    async def act(self, path: str, **fields: str) -> httpx2.Response:
        """Post a form that the device signs first."""
        return await self.post(path, **fields, passkey=await self.sign(f"{path}/challenge", **fields))

    async def start(self, path: str = "/oidc/start") -> dict[str, str]:
        """Begin to sign in: what the provider is asked."""
        answer = await self.get(path)
        assert answer.status_code == 303, answer.text
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    async def answer(self, asked: dict[str, str], name: str, *groups: str, **claims: Any) -> httpx2.Response:
        """The provider sends the person back."""
        idp = self.desk.idp
        idp.time = self.desk.team.clock.now()
        known = {"aud": CLIENT_ID, "sub": name, "name": name.capitalize(), "groups": list(groups), "sid": f"s-{name}"}
        said = idp.claims(**{**known, "nonce": asked["nonce"], "scope": None, "client_id": None, **claims})
        idp.id_token = sign(said, idp.keys[0], {"alg": "RS256", "kid": "one", "typ": "JWT"})
        query = {"code": "c1", "state": asked["state"], "iss": ISSUER}
        return await self.client.get("/oidc/callback", params=query, headers={"sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"})  # fmt: skip

    async def sign_in(self, name: str, *groups: str, fresh: bool = False, **claims: Any) -> httpx2.Response:
        """All of it, and the token of the session's forms."""
        asked = await self.start("/oidc/start?fresh=1&next=/passkeys" if fresh else "/oidc/start")
        claims = {"auth_time": int(self.desk.team.clock.now()), **claims} if fresh else claims
        answer = await self.answer(asked, name, *groups, **claims)
        if answer.status_code == 303:
            found = re.search(r'name="csrf" value="([^"]+)"', await self.read("/agents"))
            assert found is not None
            self.csrf = found[1]
        return answer

    async def register(self, name: str = "Phone") -> httpx2.Response:
        """Register the device."""
        asked = await self.post("/passkeys/challenge")
        if asked.status_code != 200:
            return asked
        issued = asked.json()
        signed = {"nonce": issued["nonce"], "credential": self.device.create(issued["options"])}
        return await self.post("/passkeys", name=name, passkey=json.dumps(signed))

    async def sign(self, path: str, **fields: str) -> str:
        """What the script puts into a form after the device signed; empty where the desk asks for nothing."""
        answer = await self.post(path, **fields)
        if answer.status_code != 200:
            return ""
        issued = answer.json()
        return json.dumps({"nonce": issued["nonce"], "credential": self.device.get(issued["options"])})

    def shown(self, sheet_id: str) -> str:
        """What a sheet is bound to, as its page says."""
        with as_viewer(PROGRAM):
            return self.desk.team.service.sheet(sheet_id).binding.digest

    async def approve(self, sheet_id: str) -> httpx2.Response:
        """Approve a sheet with the device."""
        shown = self.shown(sheet_id)
        signed = await self.sign(f"/sheets/{sheet_id}/challenge", shown=shown)
        return await self.post(f"/sheets/{sheet_id}/approve", shown=shown, passkey=signed)


def names_no_command(answer: httpx2.Response) -> httpx2.Response:
    """Nobody in a team has the program: an answer names only what an administrator can run."""
    assert not OWN_COMMAND.search(answer.text), OWN_COMMAND.findall(answer.text)
    return answer


def logout_token(idp: ScriptedProvider, **changes: Any) -> str:
    """What the provider's server posts when it ends a session."""
    said = {"aud": CLIENT_ID, "sub": None, "scope": None, "client_id": None, "groups": None,
        "events": {LOGOUT_EVENT: {}}, "jti": "logout-1"}  # fmt: skip
    claims = idp.claims(**{**said, **changes})
    return sign(claims, idp.keys[0], {"alg": "RS256", "kid": "one", "typ": "logout+jwt"})


def id_of(name: str) -> str:
    """The id of a person of the scripted provider."""
    return person_id(ISSUER, name)
