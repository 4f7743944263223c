"""Explaining: from a shot or a raw payload to the exact request, its price, and a call sheet. Sends nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from callsheet.core.catalogue.cards import Availability, GatewayFacts, ModelCard
from callsheet.core.catalogue.prices import Price, price_clip, to_micros
from callsheet.core.consent import DUPLICATE, Binding, amount_to_type, sheet_id_for, warns_of_duplicate
from callsheet.core.payload.body import Body, Finding, build_body
from callsheet.core.payload.form import freeze
from callsheet.core.payload.own_files import PICTURES
from callsheet.core.payload.prompt_lint import lint_prompt
from callsheet.core.payload.recognition import Recognised, recognise
from callsheet.core.payload.request import Payload, fold_name, name_known, offer_name
from callsheet.core.payload.validation import Hosts, Verdict, check_shot, nearest_shot
from callsheet.core.shot import JsonValue, OwnFile, Shot
from callsheet.core.tasks import APPROVAL_LIFETIME, SHEET_LIFETIME, IllegalEvent, Sheet, SheetEvent, SheetId, SheetState
from callsheet.errors import AFTER_A_NO, ANOTHER_MODEL, Action, InvalidRequest, NextStep, UnknownThing

from .blockers import declined_before, find_blockers, held_by
from .catalogue.ranking import MOST_OPTIONS, Option, price_terms, rank
from .consent import OPEN_SHEETS, bind_to_take, build_binding, earlier_takes, files_of, render_shown
from .dependencies import Dependencies
from .results import Blocker, Explanation, notice

_FRAME = re.compile(r"task:([A-Za-z0-9_-]{1,80}):(first|last)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
MOST_PICTURES = 20
"""Each may take seconds to read."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What was asked: a shot or a raw payload (not both), and perhaps a gateway and a model.

    An input of the shot may be the path of a picture, or a frame of a saved clip. `by_person`: a person asks at their
    own terminal, and may name any picture; otherwise the policy names the directories.
    """

    shot: Shot | None = None
    payload: Payload | None = None
    gateway: str | None = None
    model: str | None = None
    by_person: bool = False


def explain(deps: Dependencies, draft: Draft) -> Explanation:
    """Work out what would be sent, what is wrong with it and what it costs. Raises `InvalidRequest`, `UnknownThing`."""
    draft = _split_name(deps, keep_pictures(deps, draft))
    card = _named_card(deps, draft)
    if draft.payload is not None:
        gateway = card.gateway if card else draft.gateway
        found = recognise(draft.payload, deps.catalogue(), gateway=gateway, model=draft.model)
        if found.foreign:
            return _foreign(deps, found)
        if found.card is None:
            draft = replace(draft, gateway=found.gateway, model=None)
            return _choose(deps, found.shot, draft, what=found.what, findings=found.findings)
        what = found.what + (f"; it would also fit {', '.join(found.also)}" if found.also else "")
        return _explain_card(deps, found.card, found.shot, what=what, findings=found.findings)
    shot = draft.shot or Shot()
    if card is None:
        return _choose(deps, shot, draft, what="a shot", findings=())
    return _explain_card(deps, card, shot, what="a shot", findings=())


def _require_no_key(deps: Dependencies, draft: Draft) -> None:
    """A payload that carries one of the person's keys is refused, because it would be stored, logged or sent."""
    shot = draft.shot or Shot()
    said = [*map(str, shot.parameters.values()), *(item.url for item in shot.inputs), *_texts(dict(shot.options))]
    given = [shot.prompt, shot.callback_url, *said, *_texts(draft.payload)]
    if deps.redactor().finds("\n".join(text for text in given if text)):
        raise InvalidRequest(
            "The shot or payload contains one of the configured gateway keys.", next_step="Remove the key."
        )


def keep_pictures(deps: Dependencies, draft: Draft) -> Draft:
    """The draft with each picture of the person's own kept, and its name in place of its path. Sends nothing.

    It may take seconds, and runs in any thread. A second time it changes nothing. Raises as `explain`.
    """
    _require_no_key(deps, draft)
    if draft.shot is None:
        return draft
    own = [item for item in draft.shot.inputs if item.role in PICTURES and _is_own(item.url)]
    if len(own) > MOST_PICTURES:
        raise InvalidRequest(f"A shot has at most {MOST_PICTURES} files.", next_step="Leave some pictures out.")
    names = {url: _keep_picture(deps, url, draft.by_person).url for url in dict.fromkeys(item.url for item in own)}
    inputs = tuple(replace(item, url=names[item.url]) if item in own else item for item in draft.shot.inputs)
    return replace(draft, shot=replace(draft.shot, inputs=inputs))


def _keep_picture(deps: Dependencies, source: str, by_person: bool) -> OwnFile:
    frame = _FRAME.fullmatch(source)
    if frame is None:
        return deps.pictures.take(source, directories=None if by_person else deps.policy().input_directories)
    task = deps.ledger().task(frame[1])
    if task is None or task.clip is None:
        raise UnknownThing(
            "There is no saved clip of that task.",
            next_step=NextStep(Action.GET, target=task.id) if task else NextStep(Action.LIST),
        )
    clip = task.clip
    return deps.pictures.take_frame(clip.path, sha256=clip.sha256, last=frame[2] == "last", origin=source)


def _is_own(text: str) -> bool:
    return _FRAME.fullmatch(text) is not None or is_path(text)


def is_path(text: str) -> bool:
    """Whether an input is the path of a file, and no address; a relative one begins with a dot."""
    return text.startswith(("/", "~", "./", "../")) or _DRIVE.match(text) is not None


def _texts(value: JsonValue) -> Iterator[str]:
    """Every name and every text in a value, however deep, without recursion."""
    left: list[JsonValue] = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            left.extend(item)
        elif isinstance(item, dict):
            left.extend(item.keys())
            left.extend(item.values())


def _split_name(deps: Dependencies, draft: Draft) -> Draft:
    """The draft with known names as the catalogue spells them, and apart where a model is `gateway/model`."""
    catalogue = deps.catalogue()
    gateways = {fold_name(facts.id): facts.id for facts in catalogue.gateways}
    models = {fold_name(card.model): card.model for card in catalogue.cards}
    gateway, model = draft.gateway, draft.model
    first, found, rest = (model or "").partition("/")
    if gateway is not None:
        gateway = gateways.get(fold_name(gateway), gateway)
    if found and fold_name(first) in gateways and gateway in (None, gateways[fold_name(first)]):
        gateway, model = gateways[fold_name(first)], rest
    if model is not None and all(card.model != model for card in catalogue.cards):
        model = models.get(fold_name(model), model)
    return replace(draft, gateway=gateway, model=model)


def _named_card(deps: Dependencies, draft: Draft) -> ModelCard | None:
    """The card that gateway and model name together, or the one gateway that has such a model."""
    if draft.gateway is not None:
        deps.facts(draft.gateway)
    if draft.model is None:
        return None
    if draft.gateway is not None:
        return deps.card(draft.gateway, draft.model)
    cards = [card for card in deps.catalogue().cards if card.model == draft.model]
    if not cards:
        deps.policy()
        known = sorted({card.model for card in deps.catalogue().cards})
        raise InvalidRequest(
            f"No gateway has a model of that id ({name_known(draft.model, known)}).",
            next_step=offer_name(draft.model, known),
        )
    return cards[0] if len(cards) == 1 else None


def hosts_of(deps: Dependencies, shot: Shot) -> Hosts:
    """Which hosts the policy lets a shot name, and what is known of its files."""
    policy = deps.policy()
    uploads = tuple(facts.id for facts in deps.catalogue().gateways if facts.takes_files)
    return Hosts(policy.callback_hosts, policy.image_hosts, files=files_of(deps, shot), uploads=uploads)


def _foreign(deps: Dependencies, found: Recognised) -> Explanation:
    """A payload for a model that is not covered: no body, no price and no other model in its place."""
    step = NextStep(text="Say that this model is not covered. The user decides whether another model may be used.")
    return _without_card(deps, "invalid", found.shot, what=found.what, findings=found.findings, step=step)


def _choose(deps: Dependencies, shot: Shot, draft: Draft, *, what: str, findings: tuple[Finding, ...]) -> Explanation:
    hosts = hosts_of(deps, shot)
    ranking = rank(deps, shot, gateway=draft.gateway, model=draft.model, hosts=hosts)
    options = ranking.fitting[:MOST_OPTIONS]
    if options:
        # What was asked for cannot be had, so choosing in its place is not the agent's to do.
        replaced = any(finding.severity == "error" and finding.field == "model" for finding in findings)
        take = "name its gateway, model and terms."
        step = NextStep(Action.EXPLAIN, f"{ANOTHER_MODEL} Then {take}" if replaced else f"Choose one and {take}")
        answer = _without_card(deps, "choose", shot, what=what, findings=findings, step=step, options=options)
        return replace(answer, rest=ranking.rest(len(options)), fitting=len(ranking.fitting))
    nearest = nearest_shot([option.card for option in ranking.options], shot, hosts)
    wrong = [finding for finding in nearest[1].findings if finding.severity == "error"] if nearest else ()
    step = NextStep(text="No model can take this shot. The findings name the nearest; the user decides what to change.")
    answer = _without_card(deps, "invalid", shot, what=what, findings=(*findings, *wrong), step=step)
    return replace(answer, nearest=_nearest(*nearest) if nearest else None)


def _nearest(card: ModelCard, verdict: Verdict) -> Option | None:
    """The card that comes nearest, at the terms that it offers; None where a person must decide more than a value."""
    if any(finding.severity == "error" and finding.now is None for finding in verdict.findings):
        return None
    shot = verdict.corrected
    return Option(card, price_clip(card, shot), terms=price_terms(shot), shot=shot)


def _without_card(  # noqa: PLR0913 - the parts of an answer
    deps: Dependencies,
    status: str,
    shot: Shot,
    *,
    what: str,
    findings: tuple[Finding, ...],
    step: NextStep,
    options: tuple[Option, ...] = (),
) -> Explanation:
    mode = deps.policy().mode
    return Explanation(
        status=status,
        notice=notice(deps, mode),
        what=what,
        findings=findings,
        prompt_notes=_notes(shot) if options else (),
        next_step=step,
        mode=mode,
        shot=shot,
        options=options,
    )


def _notes(shot: Shot) -> tuple[str, ...]:
    return lint_prompt(shot.prompt, duration_seconds=shot.seconds, with_image=bool(shot.inputs))


def _explain_card(
    deps: Dependencies, card: ModelCard, shot: Shot, *, what: str, findings: tuple[Finding, ...]
) -> Explanation:
    hosts = hosts_of(deps, shot)
    verdict, settled = _check_with_callback(deps, card, shot, hosts)
    if card.lifecycle.availability is Availability.DROPPED:
        # No body may name it: a person who copies that body pays for nothing.
        return _choose(deps, shot, Draft(), what=what, findings=(*verdict.findings[:1], *findings))
    body = build_body(card, settled)
    corrected = verdict.corrected
    verdict = Verdict((*verdict.findings, *findings, *_schema_findings(deps, card, body)), corrected)
    if verdict.is_mended and not check_shot(card, corrected, hosts).blocked:
        verdict = verdict.softened
    facts = deps.facts(card.gateway)
    frozen = freeze(facts.body, body)
    price, mode = price_clip(card, settled), deps.policy().mode
    binding = build_binding(deps, card, mode=mode, shot=settled, body=frozen, price=price)
    url = binding.base_url + binding.path
    explained = Explanation(
        status="invalid",
        notice=notice(deps, mode),
        what=what,
        findings=verdict.findings,
        prompt_notes=_notes(settled),
        next_step=NextStep(Action.EXPLAIN, "Fix what is marked as error. The body shown is the corrected form."),
        mode=mode,
        card=card,
        shot=settled,
        method=binding.method,
        url=url,
        curl=curl_line(facts, binding.method, url, body),
        body=body,
        price=price,
        chosen=tuple((name, value) for name, value in settled.parameters.items() if shot.get(name) is None),
        files=hosts.files,
    )
    if verdict.blocked:
        return explained
    held = held_by(deps, binding.shot_digest)
    if held is not None:
        first = "First look for it in the gateway's own task list. Nothing is sent until then."
        step = NextStep(Action.RESOLVE, first, held.id)
        return replace(explained, status="held", next_step=step, earlier=earlier_takes(deps, binding))
    sheet, earlier = _sheet(deps, card, binding, shot=settled, price=price, body=frozen)
    return _with_sheet(deps, explained, sheet, earlier)


def _check_with_callback(deps: Dependencies, card: ModelCard, shot: Shot, hosts: Hosts) -> tuple[Verdict, Shot]:
    """The verdict on a shot, and its corrected form with the address at which its gateway may ring.

    That address is this server's own and not judged, also where a shot that was explained before brings it back.
    """
    verdict = check_shot(card, replace(shot, callback_url=None), hosts)
    has_field = card.field_for("callback") is not None
    own = deps.callback_for(card.gateway, verdict.corrected) if has_field else None
    if shot.callback_url in (None, own):
        return verdict, replace(verdict.corrected, callback_url=own)
    verdict = check_shot(card, shot, hosts)
    return verdict, verdict.corrected


def _with_sheet(deps: Dependencies, explained: Explanation, sheet: Sheet, earlier: str) -> Explanation:
    """The answer for a shot that the card takes: its sheet, and what blocks it now."""
    blocked = find_blockers(deps, sheet)
    no = _declined_text(deps, sheet.binding)
    return replace(
        explained,
        status="blocked" if any(blocker.refuses for blocker in blocked) else "ready",
        next_step=_next_step(sheet, blocked, declined=bool(no)),
        sheet=sheet,
        earlier=f"{no} {earlier}".strip(),
        blocked=blocked,
    )


def _declined_text(deps: Dependencies, binding: Binding) -> str:
    """A sentence on a person's no to the same shot; empty without one."""
    sheet = declined_before(deps, binding.shot_digest)
    return f"A person declined this same shot, as sheet {sheet.id}." if sheet else ""


def _schema_findings(deps: Dependencies, card: ModelCard, body: Body) -> Iterator[Finding]:
    """What of a body breaks the schema that the gateway publishes, where a model has no other card."""
    for field, rule in deps.published.problems(card, body) if card.schema else ():
        said = f"The gateway's published schema says {rule}."
        yield Finding("error", field, "", said, "Correct it, or leave it out.")


def _sheet(
    deps: Dependencies, card: ModelCard, binding: Binding, *, shot: Shot, price: Price, body: bytes
) -> tuple[Sheet, str]:
    """The open sheet of this shot if nothing has changed, else a new take; and a sentence on earlier takes."""
    ledger, now = deps.ledger(), deps.clock.now()
    latest = ledger.latest_sheet(binding.shot_digest)
    earlier = earlier_takes(deps, binding)
    if latest is not None and latest.state in OPEN_SHEETS:
        same = bind_to_take(deps, binding, latest) == latest.binding
        # The text that a person agrees to must itself warn of a possible duplicate charge.
        warned = not earlier.startswith(DUPLICATE) or warns_of_duplicate(latest.shown)
        if same and warned and now < _usable_until(latest):
            return latest, earlier
        try:
            ledger.move_sheet(latest.id, SheetEvent.EXPIRED, now=now)
        except IllegalEvent:
            # Another call ended or spent it at this moment, and may have created the next take.
            return _sheet(deps, card, binding, shot=shot, price=price, body=body)
    expires_at = now + SHEET_LIFETIME
    binding = replace(binding, take=str(ledger.next_take(binding.shot_digest)), expires=str(expires_at))
    reserve = amount_to_type(price, deps.policy())
    sheet = Sheet(
        id=SheetId(sheet_id_for(binding.digest)),
        take=int(binding.take),
        state=SheetState.DRAFTED,
        binding=binding,
        shot=shot,
        price=price,
        body=body,
        reserve_micros=None if reserve is None else to_micros(reserve),
        shown=render_shown(deps, card, binding, body=body, price=price, earlier=earlier),
        made_at=now,
        expires_at=expires_at,
    )
    return ledger.add_sheet(sheet, now=now), earlier


def _usable_until(sheet: Sheet) -> float:
    """Until when a sheet may be handed out again: an approved sheet is of no use once the approval is old."""
    return (
        sheet.expires_at if sheet.approved_at is None else min(sheet.approved_at + APPROVAL_LIFETIME, sheet.expires_at)
    )


def _next_step(sheet: Sheet, blocked: tuple[Blocker, ...], *, declined: bool) -> NextStep:
    for blocker in blocked:
        if blocker.refuses:
            return blocker.error.next_step
    text = "Show the price first; submit only on request."
    return NextStep(Action.SUBMIT, f"{AFTER_A_NO.text} {text}" if declined else text, target=sheet.id)


def curl_line(facts: GatewayFacts, method: str, url: str, body: Body) -> str:
    """The request as a curl command that reads the body from `payload.json` and the key from the environment."""
    key = f' --header "Authorization: Bearer ${facts.key_env}"' if facts.key_env else ""
    data = " --header 'Content-Type: application/json' --data @payload.json"
    if facts.body == "multipart":
        data = "".join(f" --form-string {shlex.quote(f'{name}={value}')}" for name, value in body.items())
    return f"curl --request {method} --url {shlex.quote(url)}{key}{data}"
