"""Sign-in to a team's desk at the identity provider, and sign-out on either side.

The provider says who somebody is and in which groups; the groups decide the role, at each sign-in. Nobody without a
role is let in, nor somebody who is cut off.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from callsheet.core.people import find_role, person_id
from callsheet.core.security.redaction import clean
from callsheet.edges.identity.login import FLOW_SECONDS, SignedIn, build_cookie_name
from callsheet.edges.identity.provider import ProviderProblem
from callsheet.edges.identity.tokens import Check, TokenRefused
from callsheet.edges.postgres.sessions import LIFE_SECONDS, SessionRow, Sessions
from callsheet.errors import CallsheetError, NotApproved
from callsheet.surface.desk.application import actions
from callsheet.surface.desk.requests import RequestContext, page_values, read_form, render_error
from callsheet.surface.desk.state import DeskState

from .desk_parts import TeamDesk

log = logging.getLogger(__name__)

CALLBACK_PATH = "/oidc/callback"
LOGOUT_PATH = "/oidc/logout"
NAME_SHOWN = 80
_OWN_PATH = re.compile(r"(?!/oidc)(?:/[A-Za-z0-9_.-]+)+")


class SignIn:
    """The endpoints."""

    def __init__(self, desk: TeamDesk, state: DeskState, sessions: Sessions) -> None:
        self._desk = desk
        self._state = state
        self._sessions = sessions

    async def page(self, request: Request) -> Response:
        """One button."""
        return self._render("sign_in.html", next=own_path(request.query_params.get("next", "/")))

    async def start(self, request: Request) -> Response:
        """To the provider; with `fresh`, it asks the person to sign in even if it still knows them."""
        max_age = 0 if "fresh" in request.query_params else None
        try:
            begun = await self._desk.login.begin(
                return_to=own_path(request.query_params.get("next", "/")), max_age=max_age
            )
        except ProviderProblem as problem:
            return self._refuse(problem, HTTPStatus.SERVICE_UNAVAILABLE)
        answer = RedirectResponse(begun.url, HTTPStatus.SEE_OTHER)
        self._set_cookie(answer, self._name(begun.cookie_name), begun.cookie, FLOW_SECONDS)
        return answer

    async def callback(self, request: Request) -> Response:
        """Back from the provider: begin a session, in the browser that started and no other."""
        query = dict(request.query_params)
        flow_cookie = self._name(build_cookie_name(query.get("state", "")))
        try:
            found = await self._desk.login.finish(query, request.cookies.get(flow_cookie))
            answer = self._begin(request, found)
        except ProviderProblem as problem:
            answer = self._refuse(problem, HTTPStatus.SERVICE_UNAVAILABLE)
        except TokenRefused as refusal:
            log.warning("a sign-in was refused at the check %s", refusal.check.value)
            answer = self._refuse(refusal, HTTPStatus.BAD_REQUEST)
        except NotApproved as refusal:
            answer = self._refuse(refusal, HTTPStatus.FORBIDDEN)
        self._set_cookie(answer, flow_cookie, "", 0)
        return answer

    async def sign_out(self, context: RequestContext) -> Response:
        """End the session here, then at the provider. No redirect: a form may lead nowhere else."""
        session, url = context.session, None
        self._state.sessions.end(context.request.cookies.get(self._state.cookie, ""))
        with suppress(ProviderProblem):
            id_token = self._desk.login.open_id_token(session.id_token) if isinstance(session, SessionRow) else ""
            back = f"{self._desk.config.public_url}/signed-out"
            url = await self._desk.login.build_logout_url(return_to=back, id_token=id_token)
        answer = self._render("signed_out.html", url=url)
        self._set_cookie(answer, self._state.cookie, "", 0)
        return answer

    async def signed_out(self, _: Request) -> Response:
        """Back from the provider after that."""
        return self._render("signed_out.html", url=None)

    async def logout(self, request: Request) -> Response:
        """The provider's server says that it ended a session: the token proves it, once."""
        try:
            notice = await self._desk.login.check_logout_token((await read_form(request)).get("logout_token", ""))
        except ProviderProblem as problem:
            return JSONResponse({"error": problem.error_code}, HTTPStatus.SERVICE_UNAVAILABLE)
        except CallsheetError as refusal:
            return JSONResponse({"error": refusal.error_code}, HTTPStatus.BAD_REQUEST)
        is_new = self._sessions.end_by_provider(
            f"logout {notice.jti}",
            ends_at=notice.expires_at,
            provider_session=notice.sid,
            person=person_id(notice.issuer, notice.subject),
        )
        return Response(status_code=HTTPStatus.OK if is_new else HTTPStatus.BAD_REQUEST)

    def _begin(self, request: Request, found: SignedIn) -> Response:
        # The provider refuses a code that was used, or should.
        if not self._sessions.use_once(f"sign-in {request.query_params['state']}", seconds=FLOW_SECONDS):
            raise TokenRefused(Check.CODE)
        now, role = self._state.service.now(), find_role(found.groups, self._desk.config.roles.by_role())
        if role is None:
            self._desk.people.end_access(found.issuer, found.subject, said_at=found.issued_at)
            raise NotApproved(
                "You are signed in, but you have no role in this team.", next_step="Ask your administrator for one."
            )
        team, name = self._desk.config.team_of(found.groups), clean(found.name or found.subject, limit=NAME_SHOWN)
        person = self._desk.people.sign_in(
            found.issuer, found.subject, name=name, team=team, role=role, now=now, said_at=found.issued_at
        )
        if person.disabled_at is not None:
            raise NotApproved("Your access to this team was ended.", next_step="Ask your administrator.")
        # A browser has one session: the one before is not left behind.
        self._sessions.end(request.cookies.get(self._state.cookie, ""))
        cookie = self._sessions.begin(
            person.id,
            signed_in_at=min(found.auth_time or 0, now),
            provider_session=found.sid,
            id_token=self._desk.login.seal_id_token(found.id_token),
        )
        answer = RedirectResponse(found.return_to, HTTPStatus.SEE_OTHER)
        self._set_cookie(answer, self._state.cookie, cookie, int(LIFE_SECONDS))
        return answer

    def _name(self, cookie: str) -> str:
        return cookie if self._desk.is_secure else cookie.removeprefix("__Host-")

    def _set_cookie(self, answer: Response, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(
            name, value, max_age=seconds, path="/", secure=self._desk.is_secure, httponly=True, samesite="lax"
        )

    def _refuse(self, error: CallsheetError, status: HTTPStatus) -> Response:
        return self._render("problem.html", status, error=render_error(error))

    def _render(self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
        text = self._state.templates.render(template, **page_values(self._state, is_signed_in=False), **values)
        return HTMLResponse(text, status)


def own_path(path: str) -> str:
    """Where to go after sign-in: only a page of ours."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def build_sign_in(desk: TeamDesk, state: DeskState, sessions: Sessions) -> list[Route]:
    """The routes."""
    own = SignIn(desk, state, sessions)
    return [
        Route("/sign-in", own.page, methods=["GET"]),
        Route("/oidc/start", own.start, methods=["GET"]),
        Route(CALLBACK_PATH, own.callback, methods=["GET"]),
        Route(LOGOUT_PATH, own.logout, methods=["POST"]),
        Route("/signed-out", own.signed_out, methods=["GET"]),
        *actions(state, [("/sign-out", own.sign_out)]),
    ]


__all__ = ["SignIn", "build_sign_in", "own_path"]
