"""Recognises a raw payload, even a wrong one, and turns it into a shot.

The model id or the address decides which card it is for; without them, the fields that only one gateway has. No card
stands for another model: a payload for one that is dropped or that is another vendor's Sora leads to the cards that can
take its shot, and one for a model that is not known here to none. A field in the wrong place, under another name or of
the wrong type is still read, with a finding. `core.payload.validation` judges the values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.shot import (
    JsonValue,
    Shot,
)
from callsheet.errors import ANOTHER_MODEL

from .body import (
    PIXEL_SIZES,
    Finding,
    format_name,
    format_value,
    read_neutral,
    read_pixels,
)
from .placement import collect_shot
from .request import (
    Leaf,
    Payload,
    cards_named,
    fold_name,
    is_sora,
    named_model,
    read_leaves,
    read_model_id,
    read_request,
    role_of,
)

WORST_MISSES = 3.0
"""Caps the penalty: however much is wrong, the fields in their place still decide what a payload is for."""
MAX_SECONDS_OF_FRAMES = 60
"""Relays write seconds as `n_frames`; a larger number counts real frames, whose rate is not known."""
OPENAI_FIELDS = frozenset({"seconds", "input_reference"})
OPENAI_MODELS = frozenset(
    {"sora-2", "sora-2-2025-10-06", "sora-2-2025-12-08", "sora-2-pro", "sora-2-pro-2025-10-06"},
)
NOT_RECOGNISED = "not recognised as a payload of any known gateway"
_IMAGE_MODE = re.compile(r"i(?:mage)?[-_ ]?(?:to|2)[-_ ]?v(?:ideo)?(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a raw payload seems to be.

    `card` is None when the payload is for no model that can be had, or says too little. `also` are the ids of other
    cards that it fits equally well. `gateway` is the one that was given or that an address names. `foreign`: it names
    a model that is not known here and is not Sora.
    """

    card: ModelCard | None
    shot: Shot
    findings: tuple[Finding, ...]
    what: str
    also: tuple[str, ...] = ()
    gateway: str | None = None
    foreign: bool = False


def recognise(
    payload: Payload, catalogue: Catalogue, *, gateway: str | None = None, model: str | None = None
) -> Recognised:
    """Decide what a payload is and collect its shot; `gateway` and `model` narrow the choice."""
    request = read_request(payload, catalogue)
    body, gateway = request.body, gateway or request.gateway
    leaves, findings = read_leaves(body)
    named = named_model(body, leaves)
    if named is None and model is None and gateway == request.gateway:
        model = request.model
    if gateway is not None and model is not None and (card := catalogue.card(gateway, model)) is not None:
        return _for_card(card, body, leaves, named, findings, ())
    cards = tuple(card for card in catalogue.cards if gateway in (None, card.gateway) and model in (None, card.model))
    if request.elsewhere:
        cards, rule = (), "The address in the request belongs to no gateway that is known here."
        findings = (*findings, Finding("warning", "url", "", rule, "Choose a gateway and model from the options."))
    best, dropped = _choose(cards, leaves, named, by_caller=gateway is not None or model is not None)
    if best:
        return _for_card(best[0], body, leaves, named, findings, tuple(card.id for card in best[1:]))
    shot, left_out = _read_neutral(leaves, named)
    if (not cards and not request.elsewhere) or (shot == Shot() and not isinstance(named, str)):
        left_out = [] if not _is_openai(body, catalogue) else left_out
        named = named if cards else None
    what, about = _describe(body, named, dropped, catalogue, gateway)
    foreign = isinstance(named, str) and not dropped and not is_sora(named)
    softened = tuple(
        replace(finding, severity="warning") if finding.field != "payload" else finding for finding in findings
    )
    return Recognised(None, shot, (*about, *left_out, *softened), what, gateway=gateway, foreign=foreign)


def _for_card(
    card: ModelCard,
    body: Payload,
    leaves: tuple[Leaf, ...],
    named: JsonValue,
    findings: tuple[Finding, ...],
    also: tuple[str, ...],
) -> Recognised:
    shot, more = collect_shot(card, leaves)
    findings = (*_name_findings(card, body, named), *more, *findings, *_missing_image(leaves, named, shot, card))
    return Recognised(card, shot, findings, f"a payload for {card.id}", also, gateway=card.gateway)


def _choose(
    cards: tuple[ModelCard, ...], leaves: tuple[Leaf, ...], named: JsonValue, *, by_caller: bool
) -> tuple[tuple[ModelCard, ...], ModelCard | None]:
    """The cards that fit best, of sister brands perhaps several; or none, and the dropped card that was named."""
    marked = tuple(card for card in cards if _has_mark(card, leaves))
    dropped = None
    if isinstance(named, str):
        # A gateway that has the model in the path is meant only if something else says so.
        asked = tuple(card for card in cards if card.field_for("model") or card in marked or by_caller)
        asked = cards_named(asked, named)
        dropped = next((card for card in asked if _is_dropped(card)), None)
        cards = tuple(card for card in asked if not _is_dropped(card))
    else:
        cards = tuple(card for card in (marked or (cards if by_caller else ())) if not _is_dropped(card))
    scores = {card.id: _score(card, leaves) for card in cards}
    top = max(scores.values(), default=0.0)
    best = tuple(card for card in cards if scores[card.id] == top and (top > 0 or isinstance(named, str)))
    return best, None if best else dropped


def _is_dropped(card: ModelCard) -> bool:
    return card.lifecycle.availability is Availability.DROPPED


def _has_mark(card: ModelCard, leaves: tuple[Leaf, ...]) -> bool:
    marks = {field.path for field in card.fields if field.role == "fixed"}
    return any(leaf.path in marks for leaf in leaves)


def _describe(
    body: Payload, named: JsonValue, dropped: ModelCard | None, catalogue: Catalogue, gateway: str | None
) -> tuple[str, tuple[Finding, ...]]:
    """What a payload without a card is, and what to know about it."""
    if gateway is None and _is_openai(body, catalogue):
        rule = "This is the shape of OpenAI's own Videos API, which was shut down on 2026-09-24."
        what = "a payload for OpenAI's Videos API (shut down 2026-09-24)"
        return what, (Finding("warning", "payload", "", rule, "Choose a gateway and model from the options."),)
    if not isinstance(named, str):
        return NOT_RECOGNISED, ()
    shown = format_value(named)
    if dropped is not None:
        rule, instead = dropped.lifecycle.summary, ANOTHER_MODEL
        return f"a payload for {dropped.id}, which is dropped", (Finding("error", "model", shown, rule, instead),)
    if is_sora(named):
        rule = "No gateway here has a model of this id."
        finding = Finding("warning", "model", shown, rule, "Choose a gateway and model from the options.")
        return "a payload for another vendor's Sora", (finding,)
    rule = "This model is not known here. It is another model than Sora 2, so nothing is drafted in its place."
    what = f"a payload for a model that is not known here: {shown}"
    return what, (Finding("error", "model", shown, rule, ANOTHER_MODEL),)


def _read_neutral(leaves: tuple[Leaf, ...], named: JsonValue) -> tuple[Shot, list[Finding]]:
    """The shot from values under any published name; what has no place in a shot is a warning each."""
    values: dict[str, JsonValue] = {}
    findings: list[Finding] = []
    # A ratio or resolution that is given outright wins over a size in pixels.
    for leaf in sorted(leaves, key=lambda leaf: read_pixels(leaf.value) is not None):
        role = role_of(leaf.path[-1])
        taken = read_neutral(role, leaf.value)
        seconds = taken.get("duration_seconds")
        if fold_name(leaf.path[-1]) == "nframes" and isinstance(seconds, int) and seconds > MAX_SECONDS_OF_FRAMES:
            taken = {}
        if role == "model":
            continue
        if not taken or any(values.get(name, value) != value for name, value in taken.items()):
            rule = "Its value is not clear." if role else "It has no counterpart in a shot."
            rule = "It is given twice, with another value." if taken else rule
            findings.append(Finding("warning", format_name(".".join(leaf.path)), "", rule, "It was left out."))
        values = {**taken, **values}
    if isinstance(named, str) and is_sora(named):
        values = {**read_model_id(named), **values}
    prompt, callback = str(values.pop("prompt", "")), values.pop("callback", None)
    shot = Shot.of(prompt, callback_url=None if callback is None else str(callback), **values)  # type: ignore[arg-type]
    return shot, [*findings, *_missing_image(leaves, named, shot)]


def _missing_image(
    leaves: tuple[Leaf, ...], named: JsonValue, shot: Shot, card: ModelCard | None = None
) -> list[Finding]:
    """A payload that says image-to-video, but in which no image was found."""
    said = [leaf.value for leaf in leaves if role_of(leaf.path[-1]) != "prompt" and isinstance(leaf.value, str)]
    texts = (text for text in (*said, named) if isinstance(text, str) and len(text) < 80)
    if shot.inputs or not any(map(_IMAGE_MODE.search, texts)):
        return []
    rule = "The payload asks for image-to-video, but no reference image was found in it."
    return [Finding("error" if card else "warning", "image_url", "missing", rule, "Give the image as image_url.")]


def _is_openai(payload: Payload, catalogue: Catalogue) -> bool:
    named, size = payload.get("model"), payload.get("size")
    if "input" in payload or (isinstance(named, str) and named not in OPENAI_MODELS):
        return False
    shape = bool(OPENAI_FIELDS & payload.keys()) or (isinstance(size, str) and size in PIXEL_SIZES)
    return shape or isinstance(named, str)


def _score(card: ModelCard, leaves: tuple[Leaf, ...]) -> float:
    """How well the fields of a payload fit a card, by their places."""
    paths = {field.path for field in card.fields}
    hits = sum(leaf.path in paths for leaf in leaves if leaf.path != ("model",))
    misses = sum(leaf.path not in paths for leaf in leaves if leaf.path != ("model",))
    return hits - min(0.25 * misses, WORST_MISSES) - 0.1 * (card.lifecycle.availability is Availability.LEGACY)


def _name_findings(card: ModelCard, payload: Payload, named: JsonValue) -> list[Finding]:
    if card.field_for("model") is None:
        if "model" not in payload:
            return []
        rule = f"{card.gateway} takes the model in the path, not in the body."
        now = "in the path" if cards_named((card,), str(named)) else None
        return [Finding("error", "model", format_value(payload["model"]), rule, "Leave it out of the body.", now)]
    if named == card.model:
        return []
    value = "missing" if named is None else format_value(named)
    rule = f"{card.gateway} needs one of its model ids in the body."
    # Only where the payload names no model, or this one in other letters: another is a person's choice.
    now = card.model if named is None or fold_name(str(named)) == fold_name(card.model) else None
    return [Finding("error", "model", value, rule, f"Nearest: {card.model}.", now)]
