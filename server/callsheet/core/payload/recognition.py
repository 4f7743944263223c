"""Recognises a raw payload, even a wrong one, and turns it into a shot.

A score decides which card it is for: the model id, the fields in the places where that gateway wants
them, the envelope. A field in the wrong place, under another name or of the wrong type is still read,
with a finding; a field that is not known is a finding too. `core.payload.validation` judges the values.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from callsheet.core.catalogue import Availability, Catalogue, Field, ModelCard
from callsheet.core.shot import IMAGE_TO_VIDEO, ROLE_ATTRIBUTES, TEXT_TO_VIDEO, JsonValue, Kind, Shot

from .body import (
    PIXEL_SIZES,
    Finding,
    Severity,
    fixed_value,
    format_length,
    format_name,
    format_value,
    neutral_value,
    read_image,
    read_number,
    read_pixels,
    read_value,
    size_value,
    wire_value,
)

Payload = dict[str, JsonValue]
Taken = tuple[dict[str, JsonValue], list[Finding]]

MAX_LEAVES = 64
MAX_DEPTH = 4
WORST_MISSES = 3.0
"""Caps the penalty: however much is wrong, the model id still decides what a payload is for."""
OPENAI_FIELDS = frozenset({"seconds", "input_reference"})
OPENAI_MODELS = frozenset(
    {"sora-2", "sora-2-2025-10-06", "sora-2-2025-12-08", "sora-2-pro", "sora-2-pro-2025-10-06"},
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a raw payload seems to be.

    `card` is None when the payload is for no gateway of the catalogue (OpenAI's own shape) or says too
    little. `also` are the ids of other cards that it fits equally well.
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
    """Decide what a payload is and collect its shot; `gateway` and `model` narrow the choice."""
    if gateway is None and _is_openai(payload, catalogue):
        return _read_openai(payload)
    leaves, findings = _read_leaves(payload)
    named = _named_model(payload, leaves)
    cards = [
        card
        for card in catalogue.cards
        if (gateway is None or card.gateway == gateway) and (model is None or card.model == model)
    ]
    ranked = sorted(((_score(card, named, leaves), card) for card in cards), key=lambda pair: -pair[0])
    chosen_by_caller = gateway is not None and model is not None
    if not ranked or (ranked[0][0] <= 0 and not chosen_by_caller):
        return Recognised(None, _guess_shot(leaves), findings, "not recognised as a payload of any known gateway")
    best_score, best = ranked[0]
    also = tuple(card.id for score, card in ranked[1:] if score == best_score)
    shot, more = _collect(best, leaves)
    findings = (*_name_findings(best, payload, named), *more, *findings)
    return Recognised(best, shot, findings, f"a payload for {best.id}", also)


def _read_leaves(payload: Payload) -> tuple[tuple[_Leaf, ...], tuple[Finding, ...]]:
    """The values with their paths, up to a limit far above the number of fields of any gateway."""
    leaves = tuple(islice(_leaves(payload, ()), MAX_LEAVES + 1))
    if len(leaves) <= MAX_LEAVES:
        return leaves, ()
    rule = f"It has more than {MAX_LEAVES} fields; the rest was not read."
    return leaves[:MAX_LEAVES], (Finding("error", "payload", "", rule, "Leave out what the gateway does not know."),)


def _leaves(table: Payload, parents: tuple[str, ...]) -> Iterator[_Leaf]:
    """Every value with its path. The gateways nest one deep; people wrap a body once more."""
    for name, value in table.items():
        path = (*parents, name)
        if isinstance(value, dict) and len(path) < MAX_DEPTH:
            yield from _leaves(value, path)
        else:
            yield _Leaf(path, value)


def _named_model(payload: Payload, leaves: tuple[_Leaf, ...]) -> JsonValue:
    """The model id in a payload, in its place or deeper."""
    if "model" in payload:
        return payload["model"]
    return next((leaf.value for leaf in leaves if leaf.path[-1].lower() == "model"), None)


def _is_openai(payload: Payload, catalogue: Catalogue) -> bool:
    named, size = payload.get("model"), payload.get("size")
    if "input" in payload or _is_foreign(named, catalogue):
        return False
    return bool(OPENAI_FIELDS & payload.keys()) or (isinstance(size, str) and size in PIXEL_SIZES)


def _is_foreign(named: JsonValue, catalogue: Catalogue) -> bool:
    """Whether a payload names a model that only a gateway has."""
    is_theirs = isinstance(named, str) and named in OPENAI_MODELS
    return not is_theirs and any(card.model == named for card in catalogue.cards)


def _read_openai(payload: Payload) -> Recognised:
    size, seconds, prompt = payload.get("size"), payload.get("seconds"), payload.get("prompt")
    pixels = read_pixels(size)
    reference = payload.get("input_reference")
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    duration, _ = read_number(seconds)
    shot = Shot(
        prompt=prompt if isinstance(prompt, str) else "",
        duration_seconds=duration,
        aspect_ratio=pixels[0] if pixels else None,
        resolution=pixels[1] if pixels else None,
        image_url=reference if isinstance(reference, str) else None,
    )
    shut_down = Finding(
        "warning",
        "payload",
        "",
        "This is the shape of OpenAI's own Videos API, which was shut down on 2026-09-24.",
        "Choose a gateway and model from the options.",
    )
    read = {"model": True, "prompt": True, "seconds": duration is not None, "size": pixels is not None}
    read["input_reference"] = shot.image_url is not None
    lost = [name for name in islice(payload, MAX_LEAVES) if not read.get(name)]
    left_out = (
        Finding("warning", format_name(name), "", "It has no counterpart in a shot.", "It was left out.")
        for name in lost
    )
    what = "a payload for OpenAI's Videos API (shut down 2026-09-24)"
    return Recognised(None, shot, (shut_down, *left_out), what)


def _score(card: ModelCard, named: JsonValue, leaves: tuple[_Leaf, ...]) -> float:
    """How well a payload fits a card. The model id it names weighs most, then fields in their place."""
    paths = {field.path for field in card.fields}
    marks = {field.path for field in card.fields if field.role == "fixed"}
    hits = sum(leaf.path in paths for leaf in leaves if leaf.path != ("model",))
    misses = sum(leaf.path not in paths for leaf in leaves if leaf.path != ("model",))
    score = hits - min(0.25 * misses, WORST_MISSES)
    has_model_field = card.field_for("model") is not None
    if isinstance(named, str):
        score += 6.0 * difflib.SequenceMatcher(None, named[:80].lower(), card.model).ratio() ** 4
        score += 4.0 if named == card.model else 0.0
        score -= 0.0 if has_model_field else 3.0
    elif not has_model_field and any(leaf.path in marks for leaf in leaves):
        # That gateway has the model in the path, so its absence from the body is right.
        score += 1.0
    availability = card.lifecycle.availability
    return score - {Availability.DROPPED: 0.2, Availability.LEGACY: 0.1}.get(availability, 0.0)


def _name_findings(card: ModelCard, payload: Payload, named: JsonValue) -> list[Finding]:
    if card.field_for("model") is None:
        if "model" not in payload:
            return []
        rule = f"{card.gateway} takes the model in the path, not in the body."
        return [Finding("error", "model", format_value(payload["model"]), rule, "Leave it out of the body.")]
    if named == card.model:
        return []
    value = "missing" if named is None else format_value(named)
    rule = f"{card.gateway} needs one of its model ids in the body."
    return [Finding("error", "model", value, rule, f"Nearest: {card.model}.")]


def _collect(card: ModelCard, leaves: tuple[_Leaf, ...]) -> tuple[Shot, list[Finding]]:
    """The shot from the values, each read once: from its documented place if it is there, else as found."""
    findings: list[Finding] = []
    placed, sizes = _place(card, leaves, findings)
    values: dict[str, JsonValue] = {}
    for field, leaf in placed:
        if field.role == "image":
            values["image_url"], more = read_image(field, leaf.value)
            findings.extend(more)
    kind = IMAGE_TO_VIDEO if values.get("image_url") else TEXT_TO_VIDEO
    extras: dict[str, JsonValue] = {}
    fixed: list[tuple[Field, _Leaf]] = []
    for field, leaf in placed:
        if field.role == "fixed":
            fixed.append((field, leaf))
        elif field.role == "extra":
            extras[field.path[-1]] = leaf.value
        elif field.role != "image":
            taken, more = _take_size(card, field, leaf) if field.role == "size" else _take(card, field, leaf)
            findings.extend(more)
            if field.exists_in(kind):
                values.update(taken)
            else:
                findings.append(_wrong_kind(card, field, kind))
                values = {**{name: value for name, value in taken.items() if name == "resolution"}, **values}
    findings.extend(_take_pixels(card, leaf, kind, values) for leaf in sizes)
    shot = Shot(**values, extras=extras)  # type: ignore[arg-type]
    return shot, [*findings, *_check_fixed(card, shot, fixed), *_added(card, shot)]


def _place(
    card: ModelCard, leaves: tuple[_Leaf, ...], findings: list[Finding]
) -> tuple[list[tuple[Field, _Leaf]], list[_Leaf]]:
    """Which field each value is meant for, and the sizes in pixels that no field takes; the rest is a finding."""
    placed: dict[tuple[str, ...], tuple[Field, _Leaf]] = {}
    sizes: list[_Leaf] = []
    paths = {field.path for field in card.fields}
    for leaf in sorted(leaves, key=lambda leaf: leaf.path not in paths):
        name = format_name(".".join(leaf.path))
        field = _field_of(card, leaf)
        if leaf.path == ("model",):
            continue
        if (field is None or field.role in ("aspect_ratio", "resolution")) and read_pixels(leaf.value):
            sizes.append(leaf)
        elif field is None:
            shown = format_length(leaf.value) if isinstance(leaf.value, str) else format_value(leaf.value)
            findings.append(Finding("error", name, shown, f"{card.id} has no such field.", "Leave it out."))
        elif field.path in placed:
            rule = f"{card.gateway} has one such field, {field.name}, which is already given."
            findings.append(Finding("error", name, "", rule, "Leave it out."))
        else:
            placed[field.path] = field, leaf
            if leaf.path != field.path:
                rule = f"{card.gateway} reads it as {field.name}."
                findings.append(Finding("error", name, "", rule, f"Write {field.name}."))
    return list(placed.values()), sizes


def _field_of(card: ModelCard, leaf: _Leaf) -> Field | None:
    name = _folded(leaf.path[-1])
    exact = (field for field in card.fields if field.path == leaf.path)
    named = (field for field in card.fields if _folded(field.path[-1]) == name)
    aliased = (field for field in card.fields if name in map(_folded, field.aliases))
    return next((field for group in (exact, named, aliased) for field in group), None)


def _folded(name: str) -> str:
    return name[:80].lower().replace("_", "").replace("-", "")


def _wrong_kind(card: ModelCard, field: Field, kind: Kind) -> Finding:
    rule = f"{card.id} takes it only for {field.only}."
    other = next((item for item in card.fields if item.role in ("size", "resolution") and item.exists_in(kind)), None)
    instead = f"Write {other.name}." if other and field.role in ("size", "resolution") else "Leave it out."
    return Finding("error", field.name, "", rule, instead)


def _take(card: ModelCard, field: Field, leaf: _Leaf) -> Taken:
    """One attribute of the shot, if the value is clear; the findings are about its type and spelling."""
    if field.role == "model":
        return {}, []
    value, findings = read_value(field, leaf.value)
    if value is None:
        return {}, findings
    if field.role in ("duration", "aspect_ratio", "resolution"):
        neutral = neutral_value(field, value)
        wire = wire_value(field, neutral)
        if wire != value:
            rule = f"{card.gateway} spells it {wire}."
            findings.append(Finding("error", field.name, format_value(value), rule, f"Write {wire}."))
        value = neutral
    return {ROLE_ATTRIBUTES[field.role]: value}, findings


def _take_size(card: ModelCard, field: Field, leaf: _Leaf) -> Taken:
    """A field that holds both ratio and resolution, in the gateway's spelling or with another cross."""
    spelling, value = dict(field.spelling), leaf.value
    if isinstance(value, str) and value in spelling:
        return dict(spelling[value]), []
    found, right = read_pixels(value), None
    taken: dict[str, JsonValue] = {"resolution": value} if isinstance(value, str) else {}
    if found is not None:
        taken = {"aspect_ratio": found[0], "resolution": found[1]}
        right = size_value(field, Shot(aspect_ratio=found[0], resolution=found[1]))
    instead = f"Write {right}." if right else "Choose one of these."
    rule = f"{card.id} takes one of {', '.join(spelling)}."
    return taken, [Finding("error", field.name, format_value(value), rule, instead)]


def _take_pixels(card: ModelCard, leaf: _Leaf, kind: Kind, values: dict[str, JsonValue]) -> Finding:
    """A size in pixels where the gateway has words for it; a ratio or resolution that is given too wins."""
    ratio, resolution = read_pixels(leaf.value) or ("", "")
    write: list[str] = []
    for field in card.fields:
        if not field.exists_in(kind):
            continue
        if field.role in ("aspect_ratio", "size"):
            values.setdefault("aspect_ratio", ratio)
        if field.role in ("resolution", "size"):
            values.setdefault("resolution", resolution)
        wanted = {"aspect_ratio": wire_value(field, ratio), "resolution": resolution}.get(field.role)
        if field.role == "size":
            wanted = size_value(field, Shot(aspect_ratio=ratio, resolution=resolution))
        if wanted is not None:
            write.append(f"{field.name} {wanted}")
    rule = f"{card.id} takes no size in pixels there."
    instead = f"Write {' and '.join(write)}." if write else "Leave it out."
    return Finding("error", format_name(".".join(leaf.path)), format_value(leaf.value), rule, instead)


def _check_fixed(card: ModelCard, shot: Shot, given: list[tuple[Field, _Leaf]]) -> list[Finding]:
    findings: list[Finding] = []
    for field, leaf in given:
        right = fixed_value(field, shot)
        if leaf.value != right or type(leaf.value) is not type(right):
            rule = field.note or f"For this shot {card.gateway} needs {right}."
            instead = "Leave it out." if right is None else f"Write {right}."
            findings.append(Finding("error", field.name, format_value(leaf.value), rule, instead))
    present = {field.path for field, _ in given}
    for field in card.fields:
        right = fixed_value(field, shot) if field.role == "fixed" and field.exists_in(shot.kind) else None
        if right is not None and field.path not in present:
            severity: Severity = "error" if field.required else "note"
            rule = field.note or f"{card.gateway} needs it."
            findings.append(Finding(severity, field.name, "missing", rule, f"Write {right}."))
    return findings


def _added(card: ModelCard, shot: Shot) -> list[Finding]:
    """Notes on what is written out although the payload left it open."""
    rule = "Written out so that the price and the result are certain."
    return [
        Finding("note", field.name, "missing", rule, f"Added: {filled}.")
        for field in card.fields
        if field.exists_in(shot.kind) and _is_open(field, shot) and (filled := field.filled(shot.kind)) is not None
    ]


def _is_open(field: Field, shot: Shot) -> bool:
    """Whether the shot leaves the field's value to the card."""
    if field.role == "size":
        return shot.aspect_ratio is None and shot.resolution is None
    if field.role == "extra":
        return field.path[-1] not in shot.extras
    return field.role in ROLE_ATTRIBUTES and getattr(shot, ROLE_ATTRIBUTES[field.role]) is None


def _guess_shot(leaves: tuple[_Leaf, ...]) -> Shot:
    prompt = next((leaf.value for leaf in leaves if leaf.path[-1] == "prompt" and isinstance(leaf.value, str)), "")
    return Shot(prompt=prompt)
