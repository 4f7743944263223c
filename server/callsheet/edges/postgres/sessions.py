"""Sessions of a team's desk as rows, and what may be used only once.

A cookie is stored as its SHA-256, so the rows let nobody in. A session ends after twelve hours, after half an hour
without a request of its person, with the person's access, or when the provider says so.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from callsheet.core.people import Person

from .database import PostgresConnection, PostgresDatabase
from .people import read_person

LIFE_SECONDS = 12 * 3600.0
IDLE_SECONDS = 30 * 60.0
SEEN_SECONDS = 60.0
"""How exactly the last request is known: a row is not written for every one."""
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One browser of a person. `signed_in_at` is when the provider saw them sign in; 0 if it does not say.

    `id_token` is sealed.
    """

    id: str
    csrf: str
    person: Person
    signed_in_at: float
    id_token: str = field(repr=False)
    notices: str = field(repr=False)
    _rows: Sessions = field(repr=False)

    def first_use(self, form: str) -> bool:
        """Whether that form is used for the first time; False for a form without an id."""
        return bool(form) and self._rows.use_once(f"form {self.id} {form}", seconds=LIFE_SECONDS)

    def add_notice(self, notice: str) -> None:
        """Show it on the next page."""
        self._rows.add_notice(self.id, notice)

    def take_notices(self) -> list[str]:
        """The notices to show, once."""
        return self._rows.take_notices(self.id, self.notices)


class Sessions:
    """The sessions of a tenant. `now` is in seconds since the epoch."""

    def __init__(self, database: PostgresDatabase, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    def begin(self, person: str, *, signed_in_at: float, provider_session: str, id_token: str) -> str:
        """A new session's cookie."""
        cookie, now = secrets.token_urlsafe(TOKEN_BYTES), self._now()
        with self._database.transaction(alone=False) as db:
            db.execute("DELETE FROM session WHERE ends_at < ? OR seen_at < ?", (now, now - IDLE_SECONDS))
            db.execute(
                "INSERT INTO session (id, person, provider_session, csrf, signed_in_at, made_at, seen_at, ends_at,"
                " id_token) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name_session(cookie), person, provider_session, secrets.token_urlsafe(TOKEN_BYTES), signed_in_at, now,
                 now, now + LIFE_SECONDS, id_token),
            )  # fmt: skip
        return cookie

    def find(self, cookie: str, *, is_act: bool = True) -> SessionRow | None:
        """The session of that cookie. An act of the person keeps it from ending; a page that refreshes does not."""
        now = self._now()
        with self._database.reading() as db:
            row = db.execute(
                "SELECT person.*, session.id AS session_id, session.seen_at AS used_at, csrf, signed_in_at, id_token,"
                " notices FROM session JOIN person ON person.id = session.person"
                " WHERE session.id = ? AND ends_at > ? AND session.seen_at > ? AND disabled_at IS NULL",
                (name_session(cookie), now, now - IDLE_SECONDS),
            ).fetchone()
        if row is None:
            return None
        if is_act and now - row["used_at"] > SEEN_SECONDS:
            with self._database.transaction(lasting=False, alone=False) as db:
                db.execute("UPDATE session SET seen_at = ? WHERE id = ?", (now, row["session_id"]))
                db.execute("UPDATE person SET seen_at = ? WHERE id = ?", (now, row["id"]))
        return SessionRow(
            row["session_id"], row["csrf"], read_person(row), row["signed_in_at"], row["id_token"], row["notices"], self
        )

    def end(self, cookie: str) -> None:
        """Sign out."""
        with self._database.transaction(alone=False) as db:
            db.execute("DELETE FROM session WHERE id = ?", (name_session(cookie),))

    def end_by_provider(self, notice: str, *, ends_at: float, provider_session: str, person: str) -> bool:
        """End one session of the provider's, or all of a person; False, and nothing, if that notice came before."""
        with self._database.transaction() as db:
            if not self._use_once(db, notice, ends_at):
                return False
            if provider_session:
                db.execute("DELETE FROM session WHERE provider_session = ?", (provider_session,))
            else:
                db.execute("DELETE FROM session WHERE person = ?", (person,))
        return True

    def use_once(self, name: str, *, seconds: float) -> bool:
        """Whether that is used for the first time in as many seconds."""
        with self._database.transaction(alone=False) as db:
            return self._use_once(db, name, self._now() + seconds)

    def add_notice(self, session: str, notice: str) -> None:
        """Keep a notice for the next page of a session."""
        with self._database.transaction(lasting=False, alone=False) as db:
            db.execute(
                "UPDATE session SET notices = CAST(CAST(notices AS JSONB) || CAST(CAST(? AS TEXT) AS JSONB) AS TEXT)"
                " WHERE id = ?",
                (json.dumps([notice]), session),
            )

    def take_notices(self, session: str, known: str) -> list[str]:
        """The `known` notices of a session, which then has none; empty if another page has shown them."""
        notices: list[str] = json.loads(known)
        if not notices:
            return []
        with self._database.transaction(lasting=False, alone=False) as db:
            taken = db.execute("UPDATE session SET notices = '[]' WHERE id = ? AND notices = ?", (session, known))
            return notices if taken.rowcount else []

    def _use_once(self, db: PostgresConnection, name: str, ends_at: float) -> bool:
        db.execute("DELETE FROM used_token WHERE ends_at < ?", (self._now(),))
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        used = db.execute(
            "INSERT INTO used_token (id, ends_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, ends_at)
        )
        return used.rowcount == 1


def name_session(cookie: str) -> str:
    """The id under which the session of a cookie is stored."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
