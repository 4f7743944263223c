"""The desk of a team: the pages of the local desk, for people who are signed in, from anywhere.

Sessions, challenges and passkeys are rows, so any replica answers any request. Nothing is approved with a passphrase:
who approves is an approver or admin, and signs with a passkey of their own.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.types import ASGIApp

from callsheet.edges.postgres.passkeys import Challenges, PersonPasskeys
from callsheet.edges.postgres.sessions import Sessions
from callsheet.surface.desk.application import build_routes
from callsheet.surface.desk.middleware import DeskMiddleware
from callsheet.surface.desk.state import DeskState
from callsheet.surface.desk.step_up import Signatures
from callsheet.surface.desk.templating import Templates

from .desk_parts import PresentSessions, SessionMiddleware, TeamDesk, TeamStepUp
from .pages import build_pages
from .sign_in import LOGOUT_PATH, build_sign_in
from .viewer import current_viewer

TEMPLATES = Path(__file__).parent / "templates"
COOKIE = "__Host-callsheet"


def build_team_desk(desk: TeamDesk) -> ASGIApp:
    """The whole desk, to be mounted at `/` behind everything else."""
    now, rp_id = desk.service.now, urlsplit(desk.public_url).hostname or ""
    passkeys = PersonPasskeys(desk.database, current_viewer, rp_id=rp_id)
    signatures = Signatures(passkeys, Challenges(desk.database, now), desk.public_url, now)
    sessions = PresentSessions(Sessions(desk.database, now))
    state = DeskState(
        service=desk.service,
        sessions=sessions,
        step_up=TeamStepUp(signatures, desk.ledger, desk.people, desk.four_eyes),
        passkeys=passkeys,
        templates=Templates(desk.service.redactor, before=[TEMPLATES], viewer=current_viewer),
        set_paused=desk.people.set_paused,
        origin=desk.public_url,
        cookie=COOKIE if desk.is_secure else COOKIE.removeprefix("__Host-"),
        is_local=False,
    )
    own = [*build_sign_in(desk, state, sessions.rows), *build_pages(desk, state)]
    app = SessionMiddleware(Starlette(routes=build_routes(state, own)), sessions, state.cookie)
    return DeskMiddleware(app, host=state.host, origin=state.origin, media=desk.media, open_paths=(LOGOUT_PATH,))


__all__ = ["TeamDesk", "build_team_desk"]
