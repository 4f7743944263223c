"""Recognises a raw payload that somebody wrote, even a wrong one, and turns it into a shot.

Which card it was meant for is decided by score: the model id it names, the fields that stand where
that gateway wants them, the envelope. What stands in the wrong place, under another name or in the
wrong type is a finding and is understood all the same; what is left over is a finding too. Values are
not judged here but in `core.validation`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from .catalogue import Availability, Catalogue, Field, ModelCard
from .payload import fixed_value, neutral_value, wire_value
from .redaction import clean
from .shot import ROLE_ATTRIBUTES, JsonValue, Shot
from .validation import Finding, Severity

Payload = dict[str, JsonValue]

MAX_LEAVES = 64
OPENAI_FIELDS = frozenset({"seconds", "input_reference"})
OPENAI_SIZES = {
    "1280x720": ("16:9", "720p"),
    "720x1280": ("9:16", "720p"),
    "1792x1024": ("16:9", "1024p"),
    "1024x1792": ("9:16", "1024p"),
    "1920x1080": ("16:9", "1080p"),
    "1080x1920": ("9:16", "1080p"),
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a raw payload seems to be.

    `card` is None when it was written for no gateway of the catalogue (OpenAI's own shape) or names
    too little. `also` are the ids of other cards that it fits equally well.
    """

    card: ModelCard | None
    shot: Shot
    findings: tuple[Finding, ...]
    what: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: tuple[str, ...]
    value: JsonValue


def recognise(
    payload: Payload, catalogue: Catalogue, *, gateway: str | None = None, model: str | None = None
) -> Recognised:
    """Tell what a payload is and collect its shot; `gateway` and `model` narrow the choice."""
    leaves = tuple(_leaves(payload))
    if gateway is None and _is_openai(payload):
        return _read_openai(payload)
    cards = [
        card
        for card in catalogue.cards
        if (gateway is None or card.gateway == gateway) and (model is None or card.model == model)
    ]
    ranked = sorted(((_score(card, payload, leaves), card) for card in cards), key=lambda pair: -pair[0])
    if not ranked or ranked[0][0] <= 0:
        return Recognised(None, _guess_shot(leaves), (), "not recognised as a payload of any known gateway")
    best_score, best = ranked[0]
    also = tuple(card.id for score, card in ranked[1:] if score == best_score)
    shot, findings = _collect(best, leaves)
    return Recognised(best, shot, (*_name_findings(best, payload), *findings), f"a payload for {best.id}", also)


def _leaves(table: Payload, parents: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    """Every value with its path; tables nest at most one deep in the gateways' formats."""
    for count, (name, value) in enumerate(table.items()):
        if count >= MAX_LEAVES:
            return
        if isinstance(value, dict) and not parents:
            yield from _leaves(value, (name,))
        else:
            yield _Leaf((*parents, name), value)


def _is_openai(payload: Payload) -> bool:
    return "input" not in payload and (bool(OPENAI_FIELDS & set(payload)) or str(payload.get("size")) in OPENAI_SIZES)


def _read_openai(payload: Payload) -> Recognised:
    ratio, resolution = OPENAI_SIZES.get(str(payload.get("size")), (None, None))
    reference = payload.get("input_reference")
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    seconds = str(payload.get("seconds", ""))
    shot = Shot(
        prompt=str(payload.get("prompt", "")),
        duration_seconds=int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 5 else None,
        aspect_ratio=ratio,
        resolution=resolution,
        image_url=reference if isinstance(reference, str) else None,
    )
    finding = Finding(
        "warning",
        "payload",
        "",
        "This is the shape of OpenAI's own Videos API, which was shut down on 2026-09-24.",
        "Choose a gateway and model from the options.",
    )
    return Recognised(None, shot, (finding,), "a payload for OpenAI's Videos API (shut down 2026-09-24)")


def _score(card: ModelCard, payload: Payload, leaves: tuple[_Leaf, ...]) -> float:
    """How well a payload fits a card. The model id it names weighs most, then fields in their place."""
    paths = {field.path for field in card.fields}
    score = sum(1.0 if leaf.path in paths else -0.25 for leaf in leaves if leaf.path != ("model",))
    named = payload.get("model")
    has_model_field = card.field_for("model") is not None
    if isinstance(named, str):
        score += 6.0 * difflib.SequenceMatcher(None, named.lower()[:80], card.model).ratio() ** 4
        score += 4.0 if named == card.model else 0.0
        score -= 0.0 if has_model_field else 3.0
    elif not has_model_field:
        # The model stands in the path there, so its absence from the body is right.
        score += 1.0
    availability = card.lifecycle.availability
    return score - {Availability.DROPPED: 0.2, Availability.LEGACY: 0.1}.get(availability, 0.0)


def _name_findings(card: ModelCard, payload: Payload) -> list[Finding]:
    field, named = card.field_for("model"), payload.get("model")
    if field is None:
        if named is None:
            return []
        rule = f"{card.gateway} takes the model in the path, not in the body."
        return [Finding("error", "model", clean(named, limit=60), rule, "Leave it out of the body.")]
    if named == card.model:
        return []
    value = "missing" if named is None else clean(named, limit=60)
    rule = f"{card.gateway} needs a model id that it knows in the body."
    return [Finding("error", "model", value, rule, f"Nearest: {card.model}.")]


def _collect(card: ModelCard, leaves: tuple[_Leaf, ...]) -> tuple[Shot, list[Finding]]:
    findings: list[Finding] = []
    values: dict[str, JsonValue] = {}
    extras: dict[str, JsonValue] = {}
    fixed: list[tuple[Field, _Leaf]] = []
    for leaf in leaves:
        field = _field_of(card, leaf)
        if leaf.path == ("model",):
            continue
        if field is None:
            rule = f"{card.id} has no such field."
            findings.append(Finding("error", ".".join(leaf.path), _shown(leaf.value), rule, "Leave it out."))
            continue
        if leaf.path != field.path:
            rule = f"{card.gateway} reads it as {field.name}."
            findings.append(Finding("error", ".".join(leaf.path), "", rule, f"Write {field.name}."))
        if field.role == "fixed":
            fixed.append((field, leaf))
        elif field.role == "extra":
            extras[field.path[-1]] = leaf.value
        else:
            findings.extend(_take(card, field, leaf, values))
    shot = Shot(**values, extras=extras)  # type: ignore[arg-type]
    return shot, [*findings, *_check_fixed(card, shot, fixed), *_added(card, shot, leaves)]


def _field_of(card: ModelCard, leaf: _Leaf) -> Field | None:
    exact = [field for field in card.fields if field.path == leaf.path]
    if exact:
        return exact[0]
    name = _folded(leaf.path[-1])
    named = [field for field in card.fields if _folded(field.path[-1]) == name]
    return (
        named or [field for field in card.fields if name in map(_folded, field.aliases)] or [None]  # type: ignore[list-item]
    )[0]


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _take(card: ModelCard, field: Field, leaf: _Leaf, values: dict[str, JsonValue]) -> list[Finding]:
    """Put one value into the shot's attributes; the findings are about its type and spelling."""
    if field.role == "model":
        return []
    if field.role == "size":
        pair = dict(dict(field.spelling).get(str(leaf.value).replace("x", "*"), ()))
        values.update(pair if pair else {"resolution": clean(leaf.value, limit=60)})
        return [] if str(leaf.value) in dict(field.spelling) else [_spelling(field, leaf, pair)]
    value, findings = _typed(field, leaf)
    if field.role in ("duration", "aspect_ratio", "resolution") and isinstance(value, str | int):
        neutral = neutral_value(field, value)
        wire = wire_value(field, neutral)
        if wire != value:
            rule = f"{card.gateway} spells it {wire}."
            findings.append(Finding("error", field.name, _shown(value), rule, f"Write {wire}."))
        value = neutral
    values[ROLE_ATTRIBUTES[field.role]] = value
    return findings


def _spelling(field: Field, leaf: _Leaf, pair: dict[str, str]) -> Finding:
    choices = ", ".join(wire for wire, _ in field.spelling)
    instead = f"Write {str(leaf.value).replace('x', '*')}." if pair else "Choose one of these."
    return Finding("error", field.name, _shown(leaf.value), f"One of {choices}.", instead)


def _typed(field: Field, leaf: _Leaf) -> tuple[JsonValue, list[Finding]]:
    """The value as the shot holds it: images are a list on the wire, durations a number."""
    value = leaf.value
    if field.role == "image":
        return _image(field, value)
    if field.kind == "integer" and not (isinstance(value, int) and not isinstance(value, bool)):
        text = str(value).strip().lower().removesuffix("s")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
        instead = f"Write {number}." if number is not None else "Write a number."
        finding = Finding("error", field.name, _shown(value), "Must be a JSON integer.", instead)
        return number, [finding]
    if field.kind == "string" and not isinstance(value, str):
        finding = Finding("error", field.name, _shown(value), "Must be a JSON string.", "Put it in quotes.")
        return (None if value is None or isinstance(value, dict | list) else str(value)), [finding]
    return value, []


def _image(field: Field, value: JsonValue) -> tuple[JsonValue, list[Finding]]:
    if value is None or value == []:
        return None, []
    if isinstance(value, str):
        finding = Finding("error", field.name, "", "Must be a JSON array of one URL.", 'Write ["https://…"].')
        return value, [finding] if field.kind == "array" else []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None, [Finding("error", field.name, "", "Must be a JSON array of one URL.", 'Write ["https://…"].')]
    limit = field.max_items or 1
    if len(value) > limit:
        rule = f"At most {limit} reference image."
        return value[0], [Finding("error", field.name, f"({len(value)} URLs)", rule, "Keep one.")]
    return value[0], []


def _check_fixed(card: ModelCard, shot: Shot, given: list[tuple[Field, _Leaf]]) -> list[Finding]:
    findings: list[Finding] = []
    for field, leaf in given:
        right = fixed_value(field, shot)
        if leaf.value != right:
            rule = field.note or f"For this shot {card.gateway} needs {right}."
            findings.append(Finding("error", field.name, _shown(leaf.value), rule, f"Write {right}."))
    present = {field.path for field, _ in given}
    for field in card.fields:
        right = fixed_value(field, shot) if field.role == "fixed" else None
        if right is not None and field.path not in present:
            severity: Severity = "error" if field.required else "note"
            rule = field.note or f"{card.gateway} needs it."
            findings.append(Finding(severity, field.name, "missing", rule, f"Write {right}."))
    return findings


def _added(card: ModelCard, shot: Shot, leaves: tuple[_Leaf, ...]) -> list[Finding]:
    """Notes on what is written out although the payload left it to the gateway."""
    present = {leaf.path for leaf in leaves} | {
        field.path for leaf in leaves if (field := _field_of(card, leaf)) is not None
    }
    return [
        Finding(
            "note", field.name, "missing", "Written out so that price and picture are certain.", f"Added: {filled}."
        )
        for field in card.fields
        if field.role not in ("fixed", "model", "prompt")
        and field.path not in present
        and field.exists_in(shot.mode)
        and (filled := field.filled(shot.mode)) is not None
    ]


def _guess_shot(leaves: tuple[_Leaf, ...]) -> Shot:
    prompt = next((leaf.value for leaf in leaves if leaf.path[-1] == "prompt" and isinstance(leaf.value, str)), "")
    return Shot(prompt=prompt)


def _shown(value: JsonValue) -> str:
    """A value in a finding: bounded, and without the parts of a URL that may be private."""
    text = clean(value, limit=60)
    return "(a URL)" if "://" in text else text
