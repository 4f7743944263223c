"""Builds the answers about shots, sheets and models. `render` words a next step for the reader: agent or person.

`tasks` beside it builds those about submissions and tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from callsheet.core.catalogue.prices import dollars
from callsheet.core.consent import DUPLICATE, Mode
from callsheet.core.payload.body import Finding
from callsheet.core.payload.own_files import format_own_file
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PARAMETERS, Input, JsonValue, Shot
from callsheet.core.tasks import Sheet
from callsheet.errors import FATE_SENTENCES, Action, CallsheetError, Fate, NextStep
from callsheet.service import Explanation, Service
from callsheet.service.catalogue.ranking import MOST_LINES, Option, Query
from callsheet.service.results import Blocker, iso

from .answers import (
    ChangeAnswer,
    ErrorAnswer,
    ExplainAnswer,
    ExplainDetails,
    FindingAnswer,
    InputAnswer,
    ModelsAnswer,
    OptionAnswer,
    OptionDetails,
    SheetAnswer,
)
from .cards import availability_text, plain, polling_text, retention_text, source_text

JsonObject = dict[str, JsonValue]
Render = Callable[[NextStep], str]

NOTHING_SENT = FATE_SENTENCES[Fate.NOTHING_SENT]


def joined(*parts: str | None) -> str:
    """The parts that say something, as one text."""
    return " ".join(part for part in parts if part)


def mode_fields(mode: Mode) -> dict[str, Any]:
    """What every answer says of the mode."""
    return {"mode": mode.value, "rehearsal": True if mode is Mode.SANDBOX else None}


def error_answer(error: CallsheetError, mode: Mode | None, render: Render) -> ErrorAnswer:
    """An error; the mode is not known where the policy cannot be read."""
    return ErrorAnswer(
        summary=error.message,
        code=error.error_code,
        fate=error.fate.value,
        retry=error.retry,
        **(mode_fields(mode) if mode else {}),
        money=FATE_SENTENCES[error.fate],
        next_step=render(error.next_step),
    )


def explain_answer(explanation: Explanation, service: Service, render: Render) -> ExplainAnswer:
    """The answer to `explain_payload`."""
    return ExplainAnswer(**_explain_fields(explanation, service, render))


def _explain_fields(explanation: Explanation, service: Service, render: Render) -> dict[str, Any]:
    card, sheet = explanation.card, explanation.sheet
    quote = service.quote([sheet.id]) if sheet else None
    softened = explanation.status != "invalid"
    # The availability says what a finding on the model says; a note says what `chosen` does.
    told = [item for item in explanation.findings if item.severity != "note" and not (card and item.field == "model")]
    changed = [item for item in told if softened and item.now is not None]
    return {
        "summary": joined(*_summary(explanation)),
        "status": cast("Any", explanation.status),
        "sheet_id": sheet.id if sheet else None,
        "price": quote.price if quote else None,
        "what": quote.what if quote else None,
        "gateway": card.gateway if card else None,
        "model": card.model if card else None,
        "changed": [_change(item) for item in changed] or None,
        "chosen": [f"{name} {PARAMETERS[name].shown(value)}" for name, value in explanation.chosen] or None,
        "inputs": [_input(explanation, item) for item in explanation.shot.inputs] or None if explanation.shot else None,
        "availability": availability_text(card) if card else None,
        "findings": [finding_answer(item) for item in told if item not in changed] or None,
        "blocked": [_blocked(item) for item in explanation.blocked] or None,
        "options": [_option(option) for option in explanation.options] or None,
        "nearest": _option(explanation.nearest) if explanation.nearest else None,
        "rest": f"{more} more can take it." if (more := explanation.fitting - len(explanation.options)) > 0 else None,
        **mode_fields(explanation.mode),
        "money": NOTHING_SENT,
        "next_step": render(explanation.next_step),
    }


def _summary(explanation: Explanation) -> Iterable[str]:
    """What a person would say of it; a possible duplicate charge comes first."""
    card, price, shot = explanation.card, explanation.price, explanation.shot
    wrong = sum(finding.severity == "error" for finding in explanation.findings)
    if explanation.earlier.startswith(DUPLICATE):
        yield explanation.earlier
    if explanation.what != "a shot":
        yield f"It is {explanation.what}."
    match explanation.status:
        case "ready" | "blocked" if card and price and shot:
            ready = "Ready" if explanation.status == "ready" else "Blocked"
            yield f"{ready}: {shot.kind}, {price} (as of {price.as_of})."
            if any(finding.now and finding.severity == "warning" for finding in explanation.findings):
                yield "Some values were changed to fit: see changed."
            yield from (blocker.error.message for blocker in explanation.blocked if blocker.refuses)
        case "held":
            yield "Held: an earlier submission of this shot has an unknown outcome."
        case "choose":
            yield f"{explanation.fitting} models can take this shot, cheapest first."
        case _:
            yield f"Not valid: {wrong} thing{'s are' if wrong > 1 else ' is'} wrong."
    if not explanation.earlier.startswith(DUPLICATE):
        yield explanation.earlier


def _change(finding: Finding) -> ChangeAnswer:
    return ChangeAnswer(field=finding.field, was=finding.value, now=finding.now or "", why=finding.rule)


def _input(explanation: Explanation, item: Input) -> InputAnswer:
    file = explanation.files.get(item.url)
    return InputAnswer(role=item.role, host=url_host(item.url) or "", file=format_own_file(file) if file else None)


def explain_details(explanation: Explanation, service: Service, render: Render) -> ExplainDetails:
    """The same with everything that a program may want."""
    card, price, sheet, shot = explanation.card, explanation.price, explanation.sheet, explanation.shot
    fields = _explain_fields(explanation, service, render)
    fields |= {
        "notice": joined(explanation.earlier, explanation.notice),
        "read_as": explanation.what,
        "rest": explanation.rest or None,
        "options": [_option_details(option) for option in explanation.options] or None,
        "findings": [finding_answer(item) for item in explanation.findings] or None,
        "prompt_notes": list(explanation.prompt_notes) or None,
        "shot": _whole_shot(shot) if shot else None,
        "sheet": sheet_answer(sheet) if sheet else None,
    }
    if card and price and shot:
        fields |= {
            "kind": shot.kind,
            **{name: shot.get(name) for name in PARAMETERS},
            "price_text": str(price),
            "price_usd": None if price.usd is None else f"{price.usd:f}",
            "price_as_of": price.as_of,
            "price_source": source_text(service.catalogue, card, price.source),
            "retention": retention_text(card.retention),
            "polling": polling_text(card.poll, shot.seconds),
            "method": explanation.method,
            "url": explanation.url,
            "body": explanation.body,
            "curl": explanation.curl,
            "evidence": plain(card.lifecycle.evidence),
        }
    return ExplainDetails(**fields)


def _option_details(option: Option) -> OptionDetails:
    usd = None if option.price.usd is None else f"{option.price.usd:f}"
    return OptionDetails(**_option(option).model_dump(), price_usd=usd)


def _whole_shot(shot: Shot) -> dict[str, Any]:
    """Every value under the name by which people ask for it; of a first frame also `image_url`."""
    frames = shot.urls("first_frame")
    return {
        "prompt": shot.prompt,
        **shot.parameters,
        **({"image_url": frames[0]} if frames else {}),
        "inputs": plain(shot.inputs),
        "options": dict(shot.options),
        "callback_url": shot.callback_url,
    }


def finding_answer(finding: Finding) -> FindingAnswer:
    parts = (finding.value and f"{finding.value}:", finding.rule, finding.instead)
    return FindingAnswer(severity=finding.severity, field=finding.field, text=" ".join(part for part in parts if part))


def _blocked(blocker: Blocker) -> dict[str, Any]:
    return {"code": blocker.code, "text": blocker.error.message, "lifted_by": blocker.lifted_by}


def _option(option: Option) -> OptionAnswer:
    return OptionAnswer(
        gateway=option.card.gateway,
        model=option.card.model,
        price="unknown" if option.price.usd is None else f"{dollars(option.price.usd)} USD",
        terms=option.terms,
        availability=option.card.lifecycle.availability.value,
    )


def sheet_answer(sheet: Sheet) -> SheetAnswer:
    """A call sheet."""
    return SheetAnswer(
        sheet_id=sheet.id,
        status=sheet.state.value,
        mode=sheet.mode.value,
        take=sheet.take,
        gateway=sheet.binding.gateway,
        model=sheet.binding.model,
        price=str(sheet.price),
        body_sha256=sheet.binding.body_sha256,
        approval_text=sheet.shown,
        created_at=iso(sheet.made_at),
        expires_at=iso(sheet.expires_at),
        approved_by=sheet.approved_by.value if sheet.approved_by else None,
        approved_at=iso(sheet.approved_at),
        task_id=sheet.task_id,
    )


def models_answer(service: Service, query: Query, render: Render) -> ModelsAnswer:
    """The answer to `list_models`: at most `MOST_LINES` models that offer what was asked."""
    ranking = service.list_models(query)
    shown = ranking.fitting[:MOST_LINES]
    step = NextStep(Action.EXPLAIN, "With gateway and model, or without: then those that can take it are ranked.")
    return ModelsAnswer(
        summary=f"{len(ranking.fitting)} models offer that; the cheapest come first."
        if shown
        else "No model offers that.",
        models=[_option(option) for option in shown],
        rest=ranking.rest(len(shown)) or None,
        **mode_fields(service.policy.mode),
        money=NOTHING_SENT,
        next_step=render(step),
    )
