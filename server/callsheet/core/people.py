"""People of a team: their roles, what each may see, and the budgets that hold for them. Local mode has one person.

A person is known by the identity provider's issuer and subject, never by an e-mail address, which can be given to
somebody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from callsheet.core.catalogue.prices import from_micros
from callsheet.errors import NotApproved, PolicyRefusal

WARN_AT = (50, 80, 100)
"""Per cent of a budget at which a warning is recorded."""


class Role(StrEnum):
    """A member drafts and submits, an approver also says yes, an admin also runs the team. Nobody escapes a budget."""

    MEMBER = "member"
    APPROVER = "approver"
    ADMIN = "admin"

    @property
    def approves(self) -> bool:
        """Whether this role may approve, and see what everybody in the team asks for."""
        return self is not Role.MEMBER


def find_role(groups: Iterable[str], roles: Mapping[Role, Iterable[str]]) -> Role | None:
    """The highest role that one of these groups has; None for somebody without one, who is not let in."""
    own = set(groups)
    return next((role for role in reversed(Role) if own & set(roles.get(role, ()))), None)


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a tenant. `disabled_at` cuts them off from that moment.

    `said_at` is when the identity provider said which team and role they have, by its clock. No team: it gave no role.
    """

    id: str
    issuer: str
    subject: str
    name: str
    team: str
    role: Role
    made_at: float
    seen_at: float
    disabled_at: float | None = None
    said_at: float = 0.0


def person_id(issuer: str, subject: str) -> str:
    """The id of a person, which names neither."""
    return "person_" + hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Viewer:
    """On whose behalf something happens, and through which agent: the provider's client id, a token's name, or empty.

    Without a `person` it is the program itself, which sees everything.
    """

    person: Person | None = None
    agent: str = ""

    @property
    def sees_all(self) -> bool:
        """Whether other people's sheets and tasks are visible."""
        return self.person is None or self.person.role.approves

    @property
    def who(self) -> str:
        """For the audit trail: the person, and the agent they used."""
        if self.person is None:
            return ""
        return f"{self.person.name} ({self.person.id})" + (f" via {self.agent}" if self.agent else "")


PROGRAM = Viewer()


def require_approver(viewer: Viewer, *, owner: str, four_eyes: bool) -> Person:
    """The person who may say yes to a sheet of that owner; raises `NotApproved`."""
    person = viewer.person
    if person is None or not person.role.approves:
        raise NotApproved("Only an approver can do that.", next_step="Ask one of your team's approvers.")
    if four_eyes and person.id == owner:
        raise NotApproved(
            "You asked for this clip yourself, and your team wants a second person to approve.",
            next_step="Ask another approver.",
        )
    return person


class Period(StrEnum):
    """How long a budget lasts before it starts again, in UTC."""

    DAY = "day"
    MONTH = "month"


class Payer(StrEnum):
    """What a budget is for."""

    TEAM = "team"
    PERSON = "person"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent in a period, in millionths of a US dollar. `name` is a team, a person's id or a gateway."""

    payer: Payer
    name: str
    period: Period
    micros: int

    @property
    def in_dollars(self) -> Decimal:
        """The same in US dollars."""
        return from_micros(self.micros)


def require_within_budget(budget: Budget, *, spent: int, price: int) -> tuple[int, ...]:
    """The warnings (per cent) that this price crosses; raises `PolicyRefusal` if it does not fit. All in micros."""
    after = spent + price
    if after > budget.micros:
        raise PolicyRefusal(
            f"{from_micros(price)} USD would exceed the budget of {budget.in_dollars} USD a {budget.period} of this"
            f" {budget.payer} ({from_micros(spent)} USD is reserved or spent).",
            next_step=f"Only an admin can raise it. It starts again with the next {budget.period} (UTC).",
        )
    return tuple(share for share in WARN_AT if spent * 100 < share * budget.micros <= after * 100)
