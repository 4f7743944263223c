"""The pages that only a team's desk has: people, budgets, agents' tokens, the trail's export, and clips by link."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from callsheet.core.catalogue.prices import from_micros, to_micros
from callsheet.core.clips import OBJECT
from callsheet.core.consent import Means
from callsheet.core.people import Budget, Payer, Period, Person, Role
from callsheet.core.security.redaction import clean
from callsheet.core.signatures import act_subject
from callsheet.edges.identity.agent_tokens import MOST_DAYS, mint_agent_token
from callsheet.errors import InvalidRequest, NotApproved, UnknownThing
from callsheet.service.blockers import spending_windows
from callsheet.surface.desk.application import actions, pages
from callsheet.surface.desk.records import audit_page, bar
from callsheet.surface.desk.requests import RequestContext, View
from callsheet.surface.desk.state import DeskState
from callsheet.surface.desk.step_up import Proof
from callsheet.surface.desk.tasks import file_response, need_clip

from .desk_parts import TeamDesk, TeamStepUp
from .viewer import current_viewer

DAY = 86_400.0
MOST_TOKENS = 20
BY_SESSION = Proof(Means.DESK)
_AMOUNT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Act:
    """What widens who gets in or what may be spent: it takes a passkey, as an approval does."""

    action: str
    subject: str
    terms: str = ""

    @property
    def signed(self) -> str:
        """What the passkey signs."""
        return act_subject(self.action, self.subject, self.terms)


class TeamPages:
    """The views. Who may see a page or act is decided here, on the session's person."""

    def __init__(self, desk: TeamDesk, step_up: TeamStepUp) -> None:
        self._desk = desk
        self._step_up = step_up

    def challenge(self, read: Callable[[RequestContext], Act]) -> View:
        """A view of what the person's passkey must sign for the act in the form."""

        async def view(context: RequestContext) -> Response:
            return JSONResponse(self._step_up.signatures.ask(context.session, read(context).signed))

        return view

    async def people(self, context: RequestContext) -> Response:
        """Everybody, for an admin."""
        _need_admin()
        return context.page(
            "people.html", people=self._desk.people.all(), ways=self._step_up.own_ways(), now=context.now
        )

    async def cut_off(self, context: RequestContext) -> Response:
        """End somebody's access now: their sessions, their agents' tokens, and what the provider still gives them."""
        admin, person = _need_admin(), context.path_param("person")
        if person == admin.id:
            raise InvalidRequest("You cannot cut yourself off.", next_step="Ask another admin.")
        cut = self._desk.people.cut_off(person, now=context.now)
        _record(context, Act("cut_off", cut.id, cut.name))
        return context.redirect("/people", f"{cut.name} has no access any more.")

    async def let_in(self, context: RequestContext) -> Response:
        """Give access back."""
        act = self.read_let_in(context)
        proof = self._prove(context, act)
        person = self._desk.people.let_in(act.subject)
        _record(context, act, proof)
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
        return context.page(
            "budgets.html",
            budgets=rows,
            warnings=warnings,
            payers=payers,
            periods=list(Period),
            ways=self._step_up.own_ways(),
        )

    async def set_budget(self, context: RequestContext) -> Response:
        """Set a budget, or remove it where the amount is empty. A new or lower one needs no passkey."""
        act = self.read_budget(context)
        proof = self._prove(context, act) if context.form.get("passkey") else BY_SESSION
        kind, _, name = context.form["payer"].strip().partition(" ")
        micros = to_micros(Decimal(act.terms)) if act.terms else None
        period, may_widen = Period(context.form["period"].strip()), proof.means is Means.PASSKEY
        self._desk.people.set_budget(Payer(kind), name, period, micros, may_widen=may_widen)
        _record(context, act, proof)
        return context.redirect("/budgets", "The budget is set." if act.terms else "The budget is removed.")

    async def agents(self, context: RequestContext) -> Response:
        """The person's own tokens for agents that cannot sign in."""
        return self._agents(context)

    async def make_token(self, context: RequestContext) -> Response:
        """A new token, which only this answer shows."""
        person, act = _person(), self.read_token(context)
        if len(self._desk.people.agent_tokens(person.id)) >= MOST_TOKENS:
            raise InvalidRequest(f"You already have {MOST_TOKENS} tokens.", next_step="Revoke one first.")
        days = int(act.terms) if re.fullmatch("[0-9]{1,3}", act.terms) else 0
        token = mint_agent_token(now=context.now, days=days)
        proof = self._prove(context, act)
        self._desk.people.add_agent_token(
            person.id, token.digest, name=act.subject, now=context.now, ends_at=token.expires_at
        )
        _record(context, act, proof, token=token.digest[:16], ends=str(token.expires_at))
        return self._agents(context, made=token.text)

    async def revoke_token(self, context: RequestContext) -> Response:
        """End one of the person's own tokens."""
        digest = context.path_param("token")
        if not self._desk.people.revoke_agent_token(_person().id, digest):
            raise UnknownThing("You have no such token.", next_step="Reload the list.")
        _record(context, Act("agent_token_revoked", digest[:16]))
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

    def read_let_in(self, context: RequestContext) -> Act:
        """An admin gives somebody access back."""
        _need_admin()
        return Act("let_in", self._desk.people.need(context.path_param("person")).id)

    def read_budget(self, context: RequestContext) -> Act:
        """An admin sets a budget."""
        _need_admin()
        payer, period, amount = (context.form.get(name, "").strip() for name in ("payer", "period", "amount"))
        if payer not in self._payers() or period not in list(Period) or not (not amount or _AMOUNT.fullmatch(amount)):
            raise InvalidRequest(
                "That is no budget.", next_step="Choose whose it is, and an amount like 25 or 25.50, or none."
            )
        return Act("budget_set", f"budget {payer} {period}", amount)

    def read_token(self, context: RequestContext) -> Act:
        """Somebody makes a token for an agent of theirs."""
        name = clean(context.form.get("name", ""), limit=60) or "Agent"
        return Act("agent_token_made", name, context.form.get("days", ""))

    def _prove(self, context: RequestContext, act: Act) -> Proof:
        return self._step_up.prove_own(context.form, context.session, act.signed)

    def _agents(self, context: RequestContext, made: str = "") -> Response:
        tokens = [
            {"digest": digest, "name": name, "ends_at": ends_at}
            for digest, name, ends_at in self._desk.people.agent_tokens(_person().id)
        ]
        ways = self._step_up.own_ways()
        return context.page("agents.html", tokens=tokens, made=made, most=MOST_DAYS, ways=ways, now=context.now)

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


def _record(context: RequestContext, act: Act, proof: Proof = BY_SESSION, **detail: str) -> None:
    known = {"terms": act.terms, **detail, **proof.evidence}
    context.state.service.record_audit(act.action, act.subject, actor=proof.means.value, detail=known)


async def _no_allowances(_: RequestContext) -> Response:
    raise UnknownThing(
        "A team has no allowances: an approver decides on each clip.", next_step="Set budgets to limit what is spent."
    )


def build_pages(desk: TeamDesk, state: DeskState, step_up: TeamStepUp) -> list[Route]:
    """The routes."""
    own = TeamPages(desk, step_up)
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
        ("/people/{person}/let-in/challenge", own.challenge(own.read_let_in)),
        ("/budgets", own.set_budget),
        ("/budgets/challenge", own.challenge(own.read_budget)),
        ("/agents", own.make_token),
        ("/agents/challenge", own.challenge(own.read_token)),
        ("/agents/{token}/revoke", own.revoke_token),
        ("/allowances", _no_allowances),
        ("/allowances/{rest:path}", _no_allowances),
    ]
    return [*pages(state, read), *actions(state, posted)]


__all__ = ["TeamPages", "build_pages"]
