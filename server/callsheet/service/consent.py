"""Who has agreed to a sheet, and to what exactly. No argument of a tool can produce consent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from callsheet.core.audit import AuditVerdict
from callsheet.core.catalogue.cards import GatewayFacts, ModelCard
from callsheet.core.catalogue.prices import Price, dollars, price_clip, to_micros
from callsheet.core.consent import (
    DUPLICATE,
    PROMPT_SHOWN,
    ApprovalView,
    Binding,
    Floor,
    Means,
    Mode,
    amount_to_type,
    body_digest,
    cap_left,
    render_approval,
    warns_of_duplicate,
)
from callsheet.core.gateway.protocol import SubmitParts
from callsheet.core.payload.body import settle_shot
from callsheet.core.payload.form import JSON, content_type, read_frozen
from callsheet.core.payload.recognition import recognise
from callsheet.core.security.redaction import escape_block
from callsheet.core.security.urls import url_host
from callsheet.core.shot import OWN_FILE_SCHEME, PARAMETERS, PLAIN, OwnFile, Shot
from callsheet.core.signatures import read_evidence
from callsheet.core.spending import REFUSED, bearing_on_sheet
from callsheet.core.tasks import IllegalEvent, Sheet, SheetEvent, SheetState, TaskState
from callsheet.errors import (
    AFTER_A_NO,
    DECLINED,
    Action,
    Fate,
    InvalidRequest,
    KeyProblem,
    NextStep,
    NotApproved,
    UnknownThing,
)

from .blockers import floor_of, require_mode, require_unblocked, spending_now
from .dependencies import Dependencies, card_of, keep_taken_back
from .results import fate_of

NEW_SHEET = NextStep(Action.EXPLAIN, "A new sheet is needed.")
PROMPT_QUOTED = 60
OPEN_SHEETS = (SheetState.DRAFTED, SheetState.AWAITING_APPROVAL, SheetState.APPROVED)


def build_binding(deps: Dependencies, card: ModelCard, *, mode: Mode, shot: Shot, body: bytes, price: Price) -> Binding:
    """What an approval of this body, as a first take, would be bound to as things stand now."""
    facts = deps.facts(card.gateway)
    request = deps.gateway(card.gateway).build_submit(SubmitParts(card.model, body, idempotency_key=""))
    base_url, route = deps.live_way(facts)
    kind = content_type(body)
    return Binding(
        mode=mode.value,
        gateway=card.gateway,
        model=card.model,
        base_url=base_url,
        method=request.method,
        path=request.path,
        body_sha256=body_digest(body),
        account=deps.account(facts) if mode is Mode.LIVE else "",
        price=str(price),
        prices=facts.version,
        callback_host=url_host(shot.callback_url) or "" if shot.callback_url else "",
        # In the sandbox nothing depends on the policy, and a changed speed should not void a rehearsal.
        policy=bearing_on_sheet(deps.policy(), card.id, price, shot) if mode is Mode.LIVE else "",
        take="1",
        content_type="" if kind == JSON else kind,
        route=route.mark if mode is Mode.LIVE else "",
    )


def binding_now(deps: Dependencies, sheet: Sheet) -> Binding:
    """The sheet's binding, built again from its stored bytes and from what holds now, price included."""
    card = card_of(deps, sheet)
    shot = read_shot(deps, card, sheet.body)
    price = price_clip(card, shot)
    binding = build_binding(deps, card, mode=sheet.mode, shot=shot, body=sheet.body, price=price)
    return bind_to_take(deps, binding, sheet)


def bind_to_take(deps: Dependencies, binding: Binding, sheet: Sheet) -> Binding:
    """That binding for the take of this sheet. An older sheet names the whole policy, which must be the same file."""
    whole = sheet.binding.policy == deps.policy().version
    policy = sheet.binding.policy if whole else binding.policy
    return replace(binding, take=str(sheet.take), expires=str(sheet.expires_at), policy=policy)


def changed_since(deps: Dependencies, sheet: Sheet) -> tuple[str, ...]:
    """The names of what has changed since the sheet was created, outside or in the sheet's own row."""
    now = binding_now(deps, sheet)
    changed = sheet.binding.differences(now)
    reserve = amount_to_type(sheet.price, deps.policy())
    same_price = str(sheet.price) == now.price and sheet.reserve_micros == (
        None if reserve is None else to_micros(reserve)
    )
    return changed if same_price or "price" in changed or "policy" in changed else (*changed, "price")


VOID_PARTS = {
    "policy": "the policy",
    "price": "the price",
    "prices": "the price table",
    "account": "the key",
    "base_url": "the address",
    "route": "the way to the gateway",
}


def find_void(deps: Dependencies, sheet: Sheet) -> str:
    """Why no approval can be for this sheet any more; empty while one can, even if something blocks it for now."""
    policy = deps.policy()
    if policy.mode not in (sheet.mode, Mode.READ_ONLY):
        return f"It is for {sheet.mode.value} mode, and the policy says {policy.mode.value}."
    try:
        changed = changed_since(deps, sheet)
    except (UnknownThing, InvalidRequest):
        return "Its model is no longer offered as it was."
    except KeyProblem:
        return ""
    names = ", ".join(VOID_PARTS.get(name, "the request") for name in changed)
    return f"Since it was drafted, this has changed: {names}." if names else ""


def read_shot(deps: Dependencies, card: ModelCard, body: bytes) -> Shot:
    """The shot that these bytes ask for: read back from what will be sent, not from what was asked for."""
    return recognise(read_frozen(body), deps.catalogue(), gateway=card.gateway, model=card.model).shot


def render_shown(
    deps: Dependencies, card: ModelCard, binding: Binding, *, body: bytes, price: Price, earlier: str
) -> str:
    """The text a person agrees to, rendered from the bytes that will be sent and not from what was asked for."""
    policy = deps.policy()
    shot = read_shot(deps, card, body)
    shot = settle_shot(card, shot)
    return render_approval(
        ApprovalView(
            mode=Mode(binding.mode),
            gateway_name=deps.facts(card.gateway).name,
            origin=binding.base_url,
            account=binding.account,
            model=card.id,
            shot=shot,
            price=price,
            ceiling=policy.unknown_price_ceiling,
            # A rehearsal takes nothing from the caps, so both modes show what is left of them.
            cap_left=cap_left(policy, spending_now(deps, Mode.LIVE)),
            callback_host=url_host(shot.callback_url) if shot.callback_url else None,
            availability=card.lifecycle.summary,
            body_bytes=len(body),
            body_sha256=binding.body_sha256,
            earlier=earlier,
            route=binding.route,
            files=files_of(deps, shot),
            upload_to=upload_address(deps.facts(card.gateway), binding.base_url),
        )
    )


def files_of(deps: Dependencies, shot: Shot) -> dict[str, OwnFile]:
    """The person's own files that a shot names and that are kept, by name."""
    return {name: file for name in shot.own_files if (file := deps.pictures.find(name)) is not None}


def upload_address(facts: GatewayFacts, base_url: str) -> str:
    """Where the gateway's files go. Another address of a person's replaces all of the gateway's own."""
    documented = facts.upload.url if facts.upload else None
    return documented if documented and base_url == facts.base_url else base_url


def own_files(deps: Dependencies, sheet: Sheet) -> list[OwnFile]:
    """The person's own files of a sheet, read from the bytes that will be sent, in their order."""
    if OWN_FILE_SCHEME.encode() not in sheet.body:
        return []
    return list(files_of(deps, read_shot(deps, card_of(deps, sheet), sheet.body)).values())


@dataclass(frozen=True, slots=True)
class Quote:
    """What sheets cost together and what they are, in two short texts from the bytes that will be sent.

    A caller copies them, so that a client's own dialog shows them. They approve nothing.
    """

    price: str
    what: str


def quote(deps: Dependencies, sheet_ids: Sequence[str]) -> Quote:
    """The price is the sum in dollars, or `unknown` where one of them is."""
    sheets, parts = [need_sheet(deps, sheet_id) for sheet_id in sheet_ids], []
    for sheet in sheets:
        shot = read_shot(deps, card_of(deps, sheet), sheet.body)
        terms = [PARAMETERS[name].shown(value) for name in PLAIN if (value := shot.get(name)) is not None]
        parts.append(" · ".join([escape_block(shot.prompt, PROMPT_QUOTED), *terms, sheet.card_id]).lstrip(" ·"))
    known = [sheet.price.usd for sheet in sheets if sheet.price.usd is not None]
    price = f"{dollars(sum(known, Decimal(0)))} USD" if len(known) == len(sheets) else "unknown"
    return Quote(price, "; ".join(parts))


def approval_text(deps: Dependencies, sheet_id: str) -> str:
    """The text for a person who is about to agree, rendered from the stored bytes and the caps of this moment.

    The text stored with the sheet is in a file that other programs of the user can write. Raises as `approvable`.
    """
    sheet = approvable(deps, sheet_id)
    earlier = earlier_takes(deps, sheet.binding)
    # `approvable` has seen that address, price and bytes are those that the sheet is bound to.
    return render_shown(deps, card_of(deps, sheet), sheet.binding, body=sheet.body, price=sheet.price, earlier=earlier)


def whole_prompt(deps: Dependencies, sheet_id: str) -> str:
    """The whole prompt, from the bytes, if the text for the person cuts it off; else the empty text."""
    sheet = need_sheet(deps, sheet_id)
    prompt = escape_block(read_shot(deps, card_of(deps, sheet), sheet.body).prompt, len(sheet.body) * 20)
    return prompt if len(prompt) > PROMPT_SHOWN else ""


def need_sheet(deps: Dependencies, sheet_id: str) -> Sheet:
    """That sheet; raises `UnknownThing`."""
    sheet = deps.ledger().sheet(sheet_id)
    if sheet is None:
        raise UnknownThing(
            "There is no sheet with that id.",
            next_step=NextStep(Action.EXPLAIN, "Explaining a shot returns its sheet_id."),
        )
    return sheet


def approve(deps: Dependencies, sheet_id: str, *, by: Means, evidence: Mapping[str, str] = {}) -> Sheet:
    """Record a person's consent to this sheet, as bound now; `evidence` is what proves it, for the audit trail.

    Raises `NotApproved` when something changed, or when the policy asks for more than these means.
    """
    sheet = approvable(deps, sheet_id)
    if sheet.state is SheetState.APPROVED:
        return sheet
    if by is Means.CLIENT and floor_of(deps, sheet) is Floor.PASSPHRASE:
        raise NotApproved(
            "For this clip the policy asks for the approval passphrase or a passkey. A client's form is not enough.",
            next_step=NextStep(Action.APPROVE, target=sheet_id, home=deps.home),
        )
    if sheet.mode is Mode.LIVE and by in (Means.REHEARSAL, Means.ALLOWANCE):
        raise NotApproved(
            "A live sheet cannot be approved this way.", next_step=NextStep(Action.SUBMIT, target=sheet_id)
        )
    try:
        return deps.ledger().move_sheet(sheet_id, SheetEvent.APPROVED, now=deps.clock.now(), by=by, evidence=evidence)
    except IllegalEvent as error:
        raise not_open(deps, sheet_id) from error


def require_unchanged(sheet: Sheet, changed: Sequence[str]) -> None:
    """Raise `NotApproved` if parts of the sheet have changed."""
    if changed:
        raise NotApproved(
            f"Since sheet {sheet.id} was created, this has changed: {', '.join(changed)}.", next_step=NEW_SHEET
        )


def approvable(deps: Dependencies, sheet_id: str) -> Sheet:
    """The sheet, if it can be approved as it stands and then submitted; raises what prevents it."""
    sheet = need_sheet(deps, sheet_id)
    if sheet.state not in OPEN_SHEETS:
        raise not_open(deps, sheet_id)
    require_mode(deps.policy(), sheet)
    if deps.clock.now() > sheet.expires_at:
        _move(deps, sheet_id, SheetEvent.EXPIRED)
        raise NotApproved(f"Sheet {sheet_id} is too old.", next_step=NEW_SHEET)
    require_unchanged(sheet, changed_since(deps, sheet))
    is_live = sheet.mode is Mode.LIVE
    if is_live and sheet.state is SheetState.APPROVED and deps.ledger().consent.consent_to(sheet) is None:
        # An approval of which the audit trail knows nothing is none: a person is asked.
        sheet = _move(deps, sheet_id, SheetEvent.UNPROVEN)
    require_unblocked(deps, sheet)
    earlier = earlier_takes(deps, sheet.binding)
    if earlier.startswith(DUPLICATE) and not warns_of_duplicate(sheet.shown):
        raise NotApproved(
            f"Since sheet {sheet_id} was created, an earlier take of this shot got an unknown outcome. {earlier}",
            next_step=NextStep(Action.EXPLAIN, "The approval text of a new sheet shows this."),
        )
    return sheet


def _move(deps: Dependencies, sheet_id: str, event: SheetEvent, *, by: Means | None = None) -> Sheet:
    try:
        return deps.ledger().move_sheet(sheet_id, event, now=deps.clock.now(), by=by)
    except IllegalEvent as error:
        raise not_open(deps, sheet_id) from error


def decline(deps: Dependencies, sheet_id: str, *, by: Means = Means.TERMINAL) -> Sheet:
    """A person's no: the sheet cannot be spent any more. Raises `InvalidRequest` when it already was."""
    need_sheet(deps, sheet_id)
    declined = _move(deps, sheet_id, SheetEvent.DECLINED, by=by)
    keep_taken_back(deps)
    return declined


def verify_audit(deps: Dependencies) -> AuditVerdict:
    """Whether the trail is as it was written, with a consent for each live spend, and its kept signatures are right."""
    log = deps.ledger().consent
    verdict, keys, unsigned, seen = log.verify(), Counter[str](), list[int](), set[str]()
    for entry in reversed(log.entries(limit=-1)):
        evidence = read_evidence(entry)
        if evidence is None:
            unsigned += [entry.seq] if entry.actor == Means.PASSKEY and entry.action != REFUSED else []
            continue
        key = deps.signing_key(evidence)
        # A signature that an earlier entry has too was copied from there.
        if verdict.broken is None and (key is None or evidence["statement"] in seen):
            problem = f"the signature of entry {entry.seq} is not right, or is of something else"
            verdict = replace(verdict, broken=entry.seq, problem=problem)
        elif key is not None:
            seen.add(evidence["statement"])
            keys[key] += 1
    return replace(verdict, keys=keys, unsigned=tuple(unsigned))


def earlier_takes(deps: Dependencies, binding: Binding) -> str:
    """A sentence on earlier takes of the same shot; a possible duplicate charge comes first."""
    tasks = deps.ledger().takes(binding.shot_digest)
    if not tasks:
        return ""
    # Giving a task up proves nothing: the gateway may have it all the same.
    unsettled = (TaskState.OUTCOME_UNKNOWN, TaskState.ABANDONED)
    unknown = next((task for task in tasks if task.state in unsettled and fate_of(task) is Fate.UNKNOWN), None)
    if unknown is not None:
        return f"{DUPLICATE}: task {unknown.id} of this same shot may already have been accepted."
    latest = tasks[0]
    return f"Another take: this same shot was submitted before as task {latest.id} ({latest.state.value})."


def not_open(deps: Dependencies, sheet_id: str) -> InvalidRequest:
    """The error for a sheet that is spent, declined or over."""
    sheet = need_sheet(deps, sheet_id)
    task = deps.ledger().task(sheet.task_id) if sheet.task_id else None
    fate = fate_of(task) if task else Fate.NOTHING_SENT
    step = NextStep(Action.GET, target=sheet.task_id) if sheet.task_id else NEW_SHEET
    code = retry = None
    if sheet.state is SheetState.DECLINED:
        step, code, retry = AFTER_A_NO, DECLINED, "never"
    text = f"Sheet {sheet.id} is already {sheet.state.value}."
    return InvalidRequest(text, next_step=step, fate=fate, code=code, retry=retry)
