"""The desk of a team: the pages of the local desk, for people who are signed in, from anywhere.

Sessions, challenges and passkeys are rows, so any replica answers any request. Nothing is approved with a passphrase:
who approves is an approver or admin, and signs with a passkey of their own.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.types import ASGIApp

from callsheet.core.clips import ClipLinks
from callsheet.core.tasks import Clip
from callsheet.edges.identity.login import LoginSettings, RelyingParty
from callsheet.edges.identity.provider import OAuthClient, Provider
from callsheet.edges.object_store.clips import ObjectClips
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.passkeys import Challenges, PersonPasskeys
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.sessions import Sessions
from callsheet.service import Service
from callsheet.service.ports import ClipStore
from callsheet.surface.desk.application import build_routes
from callsheet.surface.desk.middleware import DeskMiddleware
from callsheet.surface.desk.state import DeskState
from callsheet.surface.desk.step_up import Signatures
from callsheet.surface.desk.templating import Templates

from .config import TeamConfig
from .desk_parts import PresentSessions, SessionMiddleware, TeamDesk, TeamStepUp
from .pages import build_pages
from .sign_in import CALLBACK_PATH, LOGOUT_PATH, build_sign_in
from .viewer import current_viewer

TEMPLATES = Path(__file__).parent / "templates"
COOKIE = "__Host-callsheet"


def build_team_desk(
    config: TeamConfig,
    service: Service,
    database: PostgresDatabase,
    ledger: TeamLedger,
    login: RelyingParty,
    clips: ClipStore,
) -> ASGIApp:
    """The whole desk, to be mounted at `/` behind everything else."""
    origin, now = config.public_url, service.now
    # Without a storage of objects the clips are files of this server.
    links, media = (clips.links, clips.link_origin()) if isinstance(clips, ObjectClips) else (_no_links, "")
    desk = TeamDesk(config, service, People(database), ledger, login, links)
    passkeys = PersonPasskeys(database, current_viewer, rp_id=urlsplit(origin).hostname or "")
    signatures = Signatures(passkeys, Challenges(database, now), origin, now)
    sessions = PresentSessions(Sessions(database, now))
    step_up = TeamStepUp(signatures, ledger, desk.people, config.approval.four_eyes)
    state = DeskState(
        service=service,
        sessions=sessions,
        step_up=step_up,
        passkeys=passkeys,
        templates=Templates(service.redactor, before=[TEMPLATES], viewer=current_viewer),
        set_paused=ledger.set_paused,
        origin=origin,
        cookie=COOKIE if desk.is_secure else COOKIE.removeprefix("__Host-"),
        is_local=False,
        name_owner=desk.name_owner,
    )
    own = [*build_sign_in(desk, state, sessions.rows), *build_pages(desk, state, step_up)]
    app = SessionMiddleware(Starlette(routes=build_routes(state, own)), sessions, state.cookie, f"{origin}/")
    return DeskMiddleware(app, host=state.host, origin=origin, media=media, open_paths=(LOGOUT_PATH,))


def build_login(config: TeamConfig, provider: Provider, client: OAuthClient) -> RelyingParty:
    """The desk as the provider's client."""
    identity = config.identity
    settings = LoginSettings(
        client=client,
        redirect_uri=f"{config.public_url}{CALLBACK_PATH}",
        keys=tuple(config.keys()),
        scopes=identity.login_scopes,
        algorithms=identity.algorithms,
        subject_claim=identity.subject_claim,
        groups_claim=identity.groups_claim,
    )
    return RelyingParty(provider, settings)


async def _no_links(_: Clip) -> ClipLinks | None:
    return None


__all__ = ["build_login", "build_team_desk"]
