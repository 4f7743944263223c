"""The passkeys of a team's people as rows, and the challenges that they sign.

Who signs is always the person who acts now, so nobody signs with, sees or removes the passkey of somebody else. The
counter of a passkey is compared and set in one statement, so a copied one is noticed across replicas too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from callsheet.core.people import Person, Viewer
from callsheet.core.signatures import build_statement, challenge_of, unknown_challenge
from callsheet.edges.keys.passkeys import Passkey, PasskeySet, unknown_passkey
from callsheet.errors import InvalidRequest, NotApproved

from .database import PostgresDatabase

CHALLENGE_SECONDS = 300.0
MOST_CHALLENGES = 64
_COLUMNS = "id, name, public_key, sign_count, made_at, used_at"


class Identified(Protocol):
    """A session."""

    @property
    def id(self) -> str: ...


class PersonPasskeys(PasskeySet):
    """The passkeys of the person who acts now."""

    def __init__(self, database: PostgresDatabase, viewer: Callable[[], Viewer], *, rp_id: str) -> None:
        super().__init__(rp_id)
        self._database = database
        self._viewer = viewer

    def all(self) -> list[Passkey]:
        """Theirs, oldest first."""
        with self._database.reading() as db:
            found = db.execute(
                f"SELECT {_COLUMNS} FROM passkey WHERE person = ? ORDER BY made_at, id", (self._person().id,)
            )
            return [Passkey(**dict(row)) for row in found]

    def add(self, passkey: Passkey) -> None:
        """Keep a new one. Raises `InvalidRequest` if somebody has that one already."""
        values = (passkey.id, passkey.name, passkey.public_key, passkey.sign_count, passkey.made_at, passkey.used_at)
        with self._database.transaction(alone=False) as db:
            added = db.execute(
                f"INSERT INTO passkey ({_COLUMNS}, person) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*values, self._person().id),
            )
            if not added.rowcount:
                raise InvalidRequest("That passkey is registered already.", next_step="Use another device.")

    def keep_use(self, before: Passkey, after: Passkey) -> None:
        """Keep that one was used; raises `NotApproved` if it was used meanwhile, or its person is cut off."""
        with self._database.transaction(alone=False) as db:
            kept = db.execute(
                "UPDATE passkey SET sign_count = ?, used_at = ? WHERE id = ? AND person = ? AND sign_count = ?"
                " AND person IN (SELECT id FROM person WHERE disabled_at IS NULL)",
                (after.sign_count, after.used_at, before.id, self._person().id, before.sign_count),
            )
            if not kept.rowcount:
                raise NotApproved("The passkey was used or removed meanwhile.", next_step="Use it again.")

    def remove(self, passkey_id: str) -> Passkey:
        """Remove one of theirs; raises `UnknownThing`."""
        with self._database.transaction(alone=False) as db:
            row = db.execute(
                f"DELETE FROM passkey WHERE id = ? AND person = ? RETURNING {_COLUMNS}", (passkey_id, self._person().id)
            ).fetchone()
        if row is None:
            raise unknown_passkey()
        return Passkey(**dict(row))

    def user(self) -> tuple[bytes, str]:
        """The person. Their device keeps one passkey for each id."""
        person = self._person()
        return person.id.encode(), person.name or person.id

    def _person(self) -> Person:
        person = self._viewer().person
        if person is None:
            raise NotApproved("Only a person has passkeys.", next_step="Sign in.")
        return person


class Challenges:
    """The challenges that were issued and not yet signed. `now` is in seconds since the epoch."""

    def __init__(self, database: PostgresDatabase, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    def issue(self, session: Identified, subject: str) -> tuple[str, bytes]:
        """A new nonce, and the challenge to sign."""
        nonce, now = secrets.token_urlsafe(32), self._now()
        with self._database.transaction(lasting=False, alone=False) as db:
            db.execute("DELETE FROM challenge WHERE ends_at < ?", (now,))
            db.execute(
                "DELETE FROM challenge WHERE session = ? AND nonce NOT IN"
                " (SELECT nonce FROM challenge WHERE session = ? ORDER BY ends_at DESC LIMIT ?)",
                (session.id, session.id, MOST_CHALLENGES - 1),
            )
            db.execute("INSERT INTO challenge VALUES (?, ?, ?, ?)",
                (nonce, session.id, subject, now + CHALLENGE_SECONDS))  # fmt: skip
        return nonce, challenge_of(build_statement(subject, nonce))

    def redeem(self, session: Identified, subject: str, nonce: str) -> str:
        """The statement of that nonce, which cannot be used again. Raises `NotApproved` if it does not match."""
        with self._database.transaction(alone=False) as db:
            issued = db.execute(
                "DELETE FROM challenge WHERE nonce = ? AND session = ? RETURNING subject, ends_at", (nonce, session.id)
            ).fetchone()
        if issued is None or self._now() > issued["ends_at"] or issued["subject"] != subject:
            raise unknown_challenge()
        return build_statement(subject, nonce)
