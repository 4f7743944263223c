"""The people of a tenant, their agents' tokens and the budgets, as rows."""

from __future__ import annotations

from typing import Any

from callsheet.core.people import Budget, Payer, Period, Person, Role, person_id
from callsheet.errors import NotApproved, UnknownThing

from .database import PostgresConnection, PostgresDatabase

_BEARERS = ("session", "agent_token")


class People:
    """Who is in the team. Each call is its own transaction."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def sign_in(  # noqa: PLR0913 - what is known of a person
        self, issuer: str, subject: str, *, name: str, team: str, role: Role, now: float, said_at: float
    ) -> Person:
        """Store what the identity provider said of a person at `said_at`, if nothing newer is stored, and return them.

        A disabled one stays disabled.
        """
        made = person_id(issuer, subject)
        with self._database.transaction(alone=False) as db:
            db.execute(
                "INSERT INTO person (id, issuer, subject, name, team, role, made_at, seen_at, said_at) VALUES"
                " (:id, :issuer, :subject, :name, :team, :role, :now, :now, :said_at) ON CONFLICT (id) DO UPDATE SET"
                " name = excluded.name, team = excluded.team, role = excluded.role, seen_at = excluded.seen_at,"
                " said_at = excluded.said_at WHERE person.said_at <= excluded.said_at",
                {"id": made, "issuer": issuer, "subject": subject, "name": name, "team": team, "role": role.value,
                 "now": now, "said_at": said_at},
            )  # fmt: skip
            return _need(db, made)

    def find(self, person: str) -> Person | None:
        """The person with that id."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM person WHERE id = ?", (person,)).fetchone()
        return read_person(row) if row else None

    def need(self, person: str) -> Person:
        """The same; raises `UnknownThing`."""
        with self._database.reading() as db:
            return _need(db, person)

    def find_by_subject(self, issuer: str, subject: str) -> Person | None:
        """The person whom the identity provider calls that."""
        return self.find(person_id(issuer, subject))

    def all(self) -> list[Person]:
        """Everybody, by name."""
        with self._database.reading() as db:
            return [read_person(row) for row in db.execute("SELECT * FROM person ORDER BY name, id")]

    def cut_off(self, person: str, *, now: float) -> Person:
        """End a person's access in this moment: sessions, tokens of agents, and what a provider still gives them."""
        with self._database.transaction() as db:
            db.execute("UPDATE person SET disabled_at = ? WHERE id = ? AND disabled_at IS NULL", (now, person))
            _end_bearers(db, person)
            return _need(db, person)

    def end_access(self, issuer: str, subject: str, *, said_at: float) -> None:
        """End the sessions and tokens of somebody who had no role any more then; a later role lets them in again."""
        with self._database.transaction(alone=False) as db:
            person = person_id(issuer, subject)
            db.execute("UPDATE person SET team = '', said_at = ? WHERE id = ?", (said_at, person))
            _end_bearers(db, person)

    def let_in(self, person: str) -> Person:
        """Give access back; the person signs in again."""
        with self._database.transaction() as db:
            db.execute("UPDATE person SET disabled_at = NULL WHERE id = ?", (person,))
            return _need(db, person)

    def add_agent_token(self, person: str, token_hash: str, *, name: str, now: float, ends_at: float) -> None:
        """Store a token's hash."""
        with self._database.transaction(alone=False) as db:
            db.execute(
                "INSERT INTO agent_token (hash, person, name, made_at, ends_at) VALUES (?, ?, ?, ?, ?)",
                (token_hash, person, name, now, ends_at),
            )

    def find_agent_token(self, token_hash: str, *, now: float) -> tuple[Person, str] | None:
        """Whose token that is and its name, while it is valid and the person is not cut off."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT person.*, agent_token.name AS token_name FROM agent_token JOIN person"
                " ON person.id = agent_token.person WHERE hash = ? AND ends_at > ? AND disabled_at IS NULL",
                (token_hash, now),
            ).fetchone()
        return (read_person(row), str(row["token_name"])) if row else None

    def agent_tokens(self, person: str) -> list[tuple[str, str, float]]:
        """The tokens of a person: hash, name and end."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT hash, name, ends_at FROM agent_token WHERE person = ? ORDER BY made_at", (person,)
            )
            return [(row["hash"], row["name"], row["ends_at"]) for row in rows]

    def revoke_agent_token(self, person: str, token_hash: str) -> bool:
        """End one of a person's tokens; whether there was one."""
        with self._database.transaction(alone=False) as db:
            gone = db.execute("DELETE FROM agent_token WHERE hash = ? AND person = ?", (token_hash, person))
            return gone.rowcount == 1

    def set_budget(self, payer: Payer, name: str, period: Period, micros: int | None, *, may_widen: bool) -> None:
        """Set a budget, or remove it with None. Raises `NotApproved` where that widens one and may not."""
        with self._database.transaction() as db:
            old = db.execute(
                "DELETE FROM budget WHERE kind = ? AND name = ? AND period = ? RETURNING micros", (payer, name, period)
            ).fetchone()
            if old and not may_widen and (micros is None or micros > old["micros"]):
                raise NotApproved("This widens what may be spent.", next_step="Use the button for the passkey.")
            if micros is not None:
                db.execute("INSERT INTO budget VALUES (?, ?, ?, ?)", (payer, name, period, micros))

    def budgets(self) -> list[Budget]:
        """All budgets."""
        with self._database.reading() as db:
            return read_budgets(db)


def read_budgets(db: PostgresConnection) -> list[Budget]:
    """All budgets, in the caller's transaction."""
    rows = db.execute("SELECT * FROM budget ORDER BY kind, name, period")
    return [Budget(Payer(row["kind"]), row["name"], Period(row["period"]), row["micros"]) for row in rows]


def _end_bearers(db: PostgresConnection, person: str) -> None:
    for table in _BEARERS:
        db.execute(f"DELETE FROM {table} WHERE person = ?", (person,))


def _need(db: PostgresConnection, person: str) -> Person:
    row = db.execute("SELECT * FROM person WHERE id = ?", (person,)).fetchone()
    if row is None:
        raise UnknownThing("There is no such person.", next_step="Reload the list of people.")
    return read_person(row)


def read_person(row: Any) -> Person:
    """The person in a row, which may have more columns."""
    return Person(**{**{name: row[name] for name in Person.__slots__}, "role": Role(row["role"])})
