"""What a person does on the desk beside deciding on a sheet.

Whatever can only prevent spending, or only drafts, needs the session. Ending a pause, and saying what became of a live
task of unknown outcome, need the passphrase or a passkey in that same request, as they do at a terminal.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio.to_thread
from starlette.responses import JSONResponse, Response

from callsheet.core.consent import Means, Mode
from callsheet.core.shot import Shot
from callsheet.core.signatures import RESUME, resolution_subject
from callsheet.core.tasks import Task
from callsheet.edges.process.desktop import find_opener, show_in_folder
from callsheet.errors import InvalidRequest, SetupProblem, UnknownThing
from callsheet.service import Draft, Explanation

from .requests import RequestContext
from .sheets import send
from .step_up import Proof

SAMPLE = Shot.of("A red kite over dunes at dusk, slow pan, warm low light, wind in the grass.", duration_seconds=4)
SAMPLE_MODEL = ("poyo", "sora-2-official")
DRAFTED = "Drafted, with its price. Nothing was sent: approve it to have it generated."


async def pause(context: RequestContext) -> Response:
    """Stop all submissions. Needs no passphrase, because it can only prevent spending; in a team, who approves."""
    context.state.step_up.require_permitted("")
    context.state.set_paused(True)
    context.state.service.record_audit("paused", "everything", actor=Means.DESK.value)
    return context.redirect("/", "Paused. Nothing is submitted until you resume.")


async def resume(context: RequestContext) -> Response:
    """Let submissions go on."""
    proof = await context.state.step_up.prove(context.form, context.session, RESUME)
    context.state.set_paused(False)
    context.state.service.record_audit("resumed", "everything", actor=proof.means.value, detail=proof.evidence)
    return context.redirect("/", "Submissions are resumed.")


async def resume_challenge(context: RequestContext) -> Response:
    """What a passkey must sign to resume."""
    return JSONResponse(context.state.step_up.ask(context.session, RESUME))


async def dismiss(context: RequestContext) -> Response:
    """Take tasks off the first page until they change."""
    context.state.service.dismiss(context.form.all_values("task"))
    return context.redirect("/")


async def sample(context: RequestContext) -> Response:
    """Rehearse one clip: free, and only in the sandbox."""
    service = context.state.service
    if service.policy.mode is not Mode.SANDBOX:
        raise InvalidRequest("A sample clip is for the sandbox only.", next_step="Ask your agent for a clip.")
    explanation = service.explain(Draft(SAMPLE, gateway=SAMPLE_MODEL[0], model=SAMPLE_MODEL[1]))
    context.request.path_params["sheet_id"] = _sheet_of(explanation)
    return await send(context)


async def renew(context: RequestContext) -> Response:
    """Draft a sheet again that no longer holds; the old one ends."""
    sheet = context.state.service.sheet(context.path_param("sheet_id"))
    return _draft(context, sheet.shot, sheet.card_id)


async def again(context: RequestContext) -> Response:
    """Draft another take of a task's shot, on the same model or another."""
    task, shot = _task_and_shot(context)
    card = context.form.get("card", "") or task.card_id
    # Options are fields of one model only.
    return _draft(context, shot if card == task.card_id else replace(shot, options={}), card)


async def models_page(context: RequestContext) -> Response:
    """The models that can take a task's shot, the cheapest first."""
    task, shot = _task_and_shot(context)
    found = context.state.service.explain(Draft(replace(shot, options={})))
    options = [
        {"card": item.card.id, "price": item.price.in_dollars if item.price.known else "unknown", "terms": item.terms}
        for item in found.options
        if item.card.id != task.card_id
    ]
    return context.page("models.html", task_id=task.id, prompt=shot.prompt, options=options, rest=found.rest)


async def resolve(context: RequestContext) -> Response:
    """Say what became of a task of unknown outcome."""
    service = context.state.service
    task, accepted_as, subject = _read_resolution(context)
    proof = Proof(Means.DESK)
    if task.mode is Mode.LIVE:
        step_up = context.state.step_up
        proof = await step_up.prove(context.form, context.session, subject, sheet_id=task.sheet_id)
    service.resolve(task.id, accepted_as=accepted_as, by=proof.means, evidence=proof.evidence)
    said = "It is given up." if accepted_as is None else "It is followed to its clip."
    return context.redirect(f"/tasks/{task.id}", said)


async def resolve_challenge(context: RequestContext) -> Response:
    """What a passkey must sign for that answer."""
    task, _, subject = _read_resolution(context)
    return JSONResponse(context.state.step_up.ask(context.session, subject, sheet_id=task.sheet_id))


async def reveal(context: RequestContext) -> Response:
    """Show a saved clip in its folder."""
    task = context.state.service.task(context.path_param("task_id")).task
    if task.clip is None:
        raise UnknownThing("That task has no clip.", next_step="Open the task to see its state.")
    opener = find_opener()
    if opener is None or not await anyio.to_thread.run_sync(show_in_folder, opener, Path(task.clip.path)):
        raise SetupProblem("No file manager could be opened here.", next_step="Copy the path instead.")
    return context.redirect(f"/tasks/{task.id}", "The folder is open in your file manager.")


def _read_resolution(context: RequestContext) -> tuple[Task, str | None, str]:
    """The task, the gateway's id for it (None: the gateway does not have it), and what a passkey signs of that."""
    task = context.state.service.task(context.path_param("task_id")).task
    answer, found = context.form.get("answer", ""), context.form.get("found", "").strip()
    if answer not in ("there", "not there") or (answer == "there" and not found):
        raise InvalidRequest("Say what became of the task.", next_step="If it is there, paste its id.")
    accepted_as = found if answer == "there" else None
    return task, accepted_as, resolution_subject(task.id, accepted_as)


def _task_and_shot(context: RequestContext) -> tuple[Task, Shot]:
    task = context.state.service.task(context.path_param("task_id")).task
    return task, context.state.service.sheet(task.sheet_id).shot


def _draft(context: RequestContext, shot: Shot, card_id: str) -> Response:
    gateway, _, model = card_id.partition("/")
    sheet_id = _sheet_of(context.state.service.explain(Draft(shot, gateway=gateway, model=model)))
    return context.redirect(f"/sheets/{sheet_id}", DRAFTED)


def _sheet_of(explanation: Explanation) -> str:
    """The sheet that was drafted; raises `InvalidRequest` with why there is none."""
    if explanation.sheet is not None:
        return explanation.sheet.id
    errors = [finding.rule for finding in explanation.findings if finding.severity == "error"]
    reason = explanation.earlier or " ".join(errors) or "No sheet could be drafted."
    raise InvalidRequest(reason, next_step=explanation.next_step)
