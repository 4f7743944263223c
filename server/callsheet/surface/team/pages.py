"""The pages that only a team's desk has: people, budgets, agents' tokens, the trail's export, and clips by link."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from callsheet.core.catalogue.prices import from_micros, to_micros
from callsheet.core.clips import OBJECT
from callsheet.core.consent import Means
from callsheet.core.people import Budget, Payer, Period, Person, Role
from callsheet.core.security.redaction import clean
from callsheet.edges.identity.agent_tokens import MOST_DAYS, mint_agent_token
from callsheet.errors import InvalidRequest, NotApproved, UnknownThing
from callsheet.service.blockers import spending_windows
from callsheet.surface.desk.application import actions, pages
from callsheet.surface.desk.records import audit_page, bar
from callsheet.surface.desk.requests import RequestContext, View
from callsheet.surface.desk.state import DeskState
from callsheet.surface.desk.tasks import file_response, need_clip

from .desk_parts import TeamDesk
from .viewer import current_viewer

DAY = 86_400.0
MOST_TOKENS = 20
_AMOUNT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


class TeamPages:
    """The views. Who may see a page or act is decided here, on the session's person."""

    def __init__(self, desk: TeamDesk) -> None:
        self._desk = desk

    async def people(self, context: RequestContext) -> Response:
        """Everybody, for an admin."""
        _need_admin()
        return context.page("people.html", people=self._desk.people.all(), now=context.now)

    async def cut_off(self, context: RequestContext) -> Response:
        """End somebody's access now: their sessions, their agents' tokens, and what the provider still gives them."""
        admin, person = _need_admin(), context.path_param("person")
        if person == admin.id:
            raise InvalidRequest("You cannot cut yourself off.", next_step="Ask another admin.")
        cut = self._desk.people.cut_off(person, now=context.now)
        _record(context, "cut_off", cut.id, name=cut.name)
        return context.redirect("/people", f"{cut.name} has no access any more.")

    async def let_in(self, context: RequestContext) -> Response:
        """Give access back."""
        _need_admin()
        person = self._desk.people.let_in(context.path_param("person"))
        _record(context, "let_in", person.id, name=person.name)
        return context.redirect("/people", f"{person.name} can sign in again.")

    async def budgets(self, context: RequestContext) -> Response:
        """The budgets that bear on the person; all of them for those who approve."""
        person = _person()
        shown = [budget for budget in self._desk.people.budgets() if person.role.approves or _bears_on(budget, person)]
        payers = self._payers()
        known = [payers.get(f"{budget.payer} {budget.name}", budget.name) for budget in shown]
        subjects = [f"budget {budget.payer} {budget.name} {budget.period}" for budget in shown]
        names = dict(zip(subjects, known, strict=True))
        warnings = [
            {"at": row["at"], "name": names[row["subject"]], **json.loads(row["detail"])}
            for row in self._desk.ledger.warnings()
            if row["subject"] in names
        ]
        rows = [self._row(budget, name, context.now) for budget, name in zip(shown, known, strict=True)]
        payers = payers if person.role is Role.ADMIN else {}
        return context.page("budgets.html", budgets=rows, warnings=warnings, payers=payers, periods=list(Period))

    async def set_budget(self, context: RequestContext) -> Response:
        """Set a budget, or remove it where the amount is empty."""
        _need_admin()
        wanted, period, amount = (context.form.get(name, "").strip() for name in ("payer", "period", "amount"))
        if wanted not in self._payers() or period not in list(Period) or not (not amount or _AMOUNT.fullmatch(amount)):
            raise InvalidRequest(
                "That is no budget.", next_step="Choose whose it is, and an amount like 25 or 25.50, or none."
            )
        kind, _, name = wanted.partition(" ")
        micros = to_micros(Decimal(amount)) if amount else None
        self._desk.people.set_budget(Payer(kind), name, Period(period), micros)
        _record(context, "budget_set", f"budget {wanted} {period}", usd=amount or "none")
        return context.redirect("/budgets", "The budget is set." if amount else "The budget is removed.")

    async def agents(self, context: RequestContext) -> Response:
        """The person's own tokens for agents that cannot sign in."""
        return self._agents(context)

    async def make_token(self, context: RequestContext) -> Response:
        """A new token, which only this answer shows."""
        person, days = _person(), context.form.get("days", "")
        name = clean(context.form.get("name", ""), limit=60) or "Agent"
        if not context.session.first_use(context.form.get("once", "")):
            return context.redirect("/agents", "That form was already sent. The token was made only once.")
        if len(self._desk.people.agent_tokens(person.id)) >= MOST_TOKENS:
            raise InvalidRequest(f"You already have {MOST_TOKENS} tokens.", next_step="Revoke one first.")
        token = mint_agent_token(now=context.now, days=int(days) if re.fullmatch("[0-9]{1,3}", days) else 0)
        self._desk.people.add_agent_token(person.id, token.digest, name=name, now=context.now, ends_at=token.expires_at)
        _record(context, "agent_token_made", name, token=token.digest[:16], ends=str(token.expires_at))
        return self._agents(context, made=token.text)

    async def revoke_token(self, context: RequestContext) -> Response:
        """End one of the person's own tokens."""
        digest = context.path_param("token")
        if not self._desk.people.revoke_agent_token(_person().id, digest):
            raise UnknownThing("You have no such token.", next_step="Reload the list.")
        _record(context, "agent_token_revoked", digest[:16])
        return context.redirect("/agents", "The token is revoked.")

    async def audit(self, context: RequestContext) -> Response:
        """The page of the audit trail, which names everybody."""
        _need_approver()
        return await audit_page(context)

    async def export(self, context: RequestContext) -> Response:
        """The whole trail, one entry a line, oldest first."""
        _need_approver()
        service = context.state.service
        lines = [json.dumps(asdict(entry)) for entry in reversed(service.audit(limit=-1))]
        headers = {"content-disposition": "attachment; filename=audit.jsonl"}
        text = service.redactor().text("".join(f"{line}\n" for line in lines))
        return Response(text, media_type="application/jsonl", headers=headers)

    def media(self, file: str, link: str) -> View:
        """A view of one of a clip's files. Somebody who does not see the task gets no link."""

        async def view(context: RequestContext) -> Response:
            clip = need_clip(context)
            recorded = str(getattr(clip, file))
            links = await self._desk.links(clip) if recorded.startswith(OBJECT) else None
            return file_response(recorded) if links is None else RedirectResponse(getattr(links, link), 302)

        return view

    def _agents(self, context: RequestContext, made: str = "") -> Response:
        tokens = [
            {"digest": digest, "name": name, "ends_at": ends_at}
            for digest, name, ends_at in self._desk.people.agent_tokens(_person().id)
        ]
        once = secrets.token_urlsafe(16)
        return context.page("agents.html", tokens=tokens, made=made, most=MOST_DAYS, once=once, now=context.now)

    def _payers(self) -> dict[str, str]:
        """Whom a budget can be for, with what is shown."""
        people = self._desk.people.all()
        teams = sorted({*self._desk.config.teams, *(person.team for person in people)} - {""})
        return {
            **{f"{Payer.TEAM} {team}": f"Team {team}" for team in teams},
            **{f"{Payer.PERSON} {person.id}": person.name for person in people},
            **{f"{Payer.GATEWAY} {facts.id}": facts.name for facts in self._desk.service.catalogue.gateways},
        }

    def _row(self, budget: Budget, name: str, now: float) -> dict[str, Any]:
        day, month = spending_windows(now)
        spent = self._desk.ledger.spent(budget, {Period.DAY: day, Period.MONTH: month})
        # The start of the month that the 32nd day after this month's start is in.
        resets = day + DAY if budget.period is Period.DAY else spending_windows(month + 32 * DAY)[1]
        return {
            **bar(name, from_micros(spent), budget.in_dollars),
            "period": budget.period,
            "resets": resets,
        }


def _person() -> Person:
    person = current_viewer().person
    assert person is not None
    return person


def _need_admin() -> Person:
    person = _person()
    if person.role is not Role.ADMIN:
        raise NotApproved("Only an admin can do that.", next_step="Ask an admin of your team.")
    return person


def _need_approver() -> None:
    if not _person().role.approves:
        raise NotApproved("Only an approver or admin can see that.", next_step="Ask one of them.")


def _bears_on(budget: Budget, person: Person) -> bool:
    names = {Payer.PERSON: person.id, Payer.TEAM: person.team, Payer.GATEWAY: budget.name}
    return names[budget.payer] == budget.name


def _record(context: RequestContext, action: str, subject: str, **detail: str) -> None:
    context.state.service.record_audit(action, subject, actor=Means.DESK.value, detail=detail)


async def _no_allowances(_: RequestContext) -> Response:
    raise UnknownThing(
        "A team has no allowances: an approver decides on each clip.", next_step="Set budgets to limit what is spent."
    )


def build_pages(desk: TeamDesk, state: DeskState) -> list[Route]:
    """The routes."""
    own = TeamPages(desk)
    read = [
        ("/people", own.people),
        ("/budgets", own.budgets),
        ("/agents", own.agents),
        ("/audit", own.audit),
        ("/audit.jsonl", own.export),
        ("/tasks/{task_id}/clip", own.media("path", "video")),
        ("/tasks/{task_id}/poster", own.media("poster", "poster")),
        ("/tasks/{task_id}/contact-sheet", own.media("contact_sheet", "contact_sheet")),
        ("/allowances", _no_allowances),
    ]
    posted = [
        ("/people/{person}/cut-off", own.cut_off),
        ("/people/{person}/let-in", own.let_in),
        ("/budgets", own.set_budget),
        ("/agents", own.make_token),
        ("/agents/{token}/revoke", own.revoke_token),
        ("/allowances", _no_allowances),
        ("/allowances/{rest:path}", _no_allowances),
    ]
    return [*pages(state, read), *actions(state, posted)]


__all__ = ["TeamPages", "build_pages"]
