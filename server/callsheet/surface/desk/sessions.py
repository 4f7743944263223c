"""Sessions: the bearer of this start, the sessions that begin with it, and their CSRF tokens. In memory only.

A session can read, decline and revoke. It cannot approve: see `step_up`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

BEARER_SECONDS = 600.0
SESSION_SECONDS = 12 * 3600.0
MOST = 32
TOKEN_BYTES = 32


class DeskSession(Protocol):
    """What the pages need of a session."""

    @property
    def id(self) -> str: ...
    @property
    def csrf(self) -> str: ...
    def first_use(self, form: str) -> bool: ...
    def add_notice(self, notice: str) -> None: ...
    def take_notices(self) -> list[str]: ...


class SessionStore(Protocol):
    """The sessions by their cookies."""

    def find(self, cookie: str) -> DeskSession | None: ...
    def end(self, cookie: str) -> None: ...


@dataclass
class Session:
    """One browser. `notices` are shown once, on the next page; `forms` are those already used."""

    ends: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    notices: list[str] = field(default_factory=list)

    forms: set[str] = field(default_factory=set)

    def first_use(self, form: str) -> bool:
        """Whether that form is used for the first time; False for a form without an id."""
        if not form or form in self.forms:
            return False
        self.forms.add(form)
        return True

    def add_notice(self, notice: str) -> None:
        """Show it on the next page."""
        self.notices.append(notice)

    def take_notices(self) -> list[str]:
        """The notices to show, once."""
        notices, self.notices = self.notices, []
        return notices


class Sessions:
    """The sessions of one start of the desk. `now` is a monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sessions: dict[bytes, Session] = {}
        self._bearer: str | None = secrets.token_urlsafe(TOKEN_BYTES)
        self._bearer_ends = now() + BEARER_SECONDS

    @property
    def bearer(self) -> str | None:
        """The bearer of this start; None after it was used."""
        return self._bearer

    def exchange(self, bearer: str) -> str | None:
        """A new session's cookie for the bearer, which works once and within ten minutes; None otherwise."""
        if self._bearer is None or self._now() > self._bearer_ends:
            return None
        if not hmac.compare_digest(bearer.encode("utf-8", "replace"), self._bearer.encode()):
            return None
        self._bearer = None
        return self.begin()

    def begin(self) -> str:
        """A new session's cookie; the oldest session ends when there are too many."""
        cookie = secrets.token_urlsafe(TOKEN_BYTES)
        self._forget_ended()
        while len(self._sessions) >= MOST:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[_name(cookie)] = Session(self._now() + SESSION_SECONDS)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of that cookie. Looked up by digest, so that timing reveals nothing about a cookie."""
        session = self._sessions.get(_name(cookie))
        return session if session is not None and self._now() <= session.ends else None

    def end(self, cookie: str) -> None:
        """Sign out."""
        self._sessions.pop(_name(cookie), None)

    def _forget_ended(self) -> None:
        now = self._now()
        self._sessions = {name: session for name, session in self._sessions.items() if now <= session.ends}


def is_csrf_valid(session: DeskSession, token: str) -> bool:
    """Whether the token is that of the session."""
    return hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


def _name(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
