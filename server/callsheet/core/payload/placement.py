"""Which field of a card each value of a payload is meant for, and the shot that they say together.

A field in the wrong place, under another name or of the wrong type is still read, with a finding.
`core.payload.validation` judges the values.
"""

from __future__ import annotations

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.fields import Field, neutral_value, wire_value
from callsheet.core.shot import (
    INPUT_ROLES,
    PARAMETERS,
    Input,
    InputRole,
    JsonValue,
    Kind,
    Scalar,
    Shot,
    format_word,
)

from .body import (
    Finding,
    Severity,
    fixed_value,
    format_length,
    format_name,
    format_value,
    present_fields,
    read_inputs,
    read_pixels,
    read_value,
    settle_shot,
    size_value,
)
from .request import Leaf, Meaning, fold_name, role_of

Taken = tuple[dict[str, JsonValue], list[Finding]]


def collect_shot(card: ModelCard, leaves: tuple[Leaf, ...]) -> tuple[Shot, list[Finding]]:
    """The shot from the values, each read once: from its documented place if it is there, else as found."""
    findings: list[Finding] = []
    placed, sizes = _place(card, leaves, findings)
    fixed = [(field, leaf) for field, leaf in placed if field.role == "fixed"]
    inputs = _take_inputs(card, placed, fixed, findings)
    kind = Shot(inputs=inputs).kind
    shot = Shot(inputs=inputs)
    options: dict[str, JsonValue] = {}
    values: dict[str, JsonValue] = {}
    for field, leaf in placed:
        if field.role == "option":
            options[field.path[-1]] = leaf.value
        elif field.role not in ("fixed", "input"):
            taken, more = _take_size(card, field, leaf) if field.role == "size" else _take(card, field, leaf)
            findings.extend(more)
            if field.exists_in(kind):
                values.update(taken)
            else:
                findings.append(_wrong_kind(card, field, kind))
                values = {**{name: value for name, value in taken.items() if name == "resolution"}, **values}
    findings.extend(_take_pixels(card, leaf, kind, values) for leaf in sizes)
    prompt, callback = str(values.pop("prompt", "")), values.pop("callback", None)
    shot = Shot(prompt, inputs=inputs, options=options, callback_url=None if callback is None else str(callback))
    shot = shot.having(**values)  # type: ignore[arg-type]
    return shot, [*findings, *_check_fixed(card, shot, fixed), *_added(card, shot)]


def _take_inputs(
    card: ModelCard, placed: list[tuple[Field, Leaf]], fixed: list[tuple[Field, Leaf]], findings: list[Finding]
) -> tuple[Input, ...]:
    """The inputs with their roles: where a field holds several, by another name, the payload's mode or the number."""
    said: set[str] = {kind for field, leaf in fixed for kind, wire in field.fixed if wire == leaf.value}
    found: list[Input] = []
    for field, leaf in placed:
        if field.role == "input":
            urls, more = read_inputs(field, leaf.value)
            findings.extend(more)
            named = _named_role(field, leaf)
            found.extend(map(Input, [named] * len(urls) if named else _roles(field, len(urls), said), urls))
    order = {role: place for place, role in enumerate(INPUT_ROLES)}
    return tuple(sorted(found, key=lambda item: order[item.role]))


def _named_role(field: Field, leaf: Leaf) -> InputRole | None:
    """The role that another name than the field's own says, where the field holds several."""
    if leaf.path[-1] == field.path[-1] or len(field.inputs) < 2:
        return None
    return next((role for role in field.inputs if role in _meanings(leaf)[:1] and role != "first_frame"), None)


def _roles(field: Field, count: int, said: set[str]) -> list[InputRole]:
    frames = [role for role in field.inputs if role.endswith("_frame")]
    others = [role for role in field.inputs if not role.endswith("_frame")]
    means_reference = "reference-to-video" in said or not (said & {"image-to-video", "first-last-frame"} or frames)
    if not others or (frames and count <= len(frames) and not means_reference):
        return [frames[min(place, len(frames) - 1)] for place in range(count)]
    return [others[0]] * count


def _place(
    card: ModelCard, leaves: tuple[Leaf, ...], findings: list[Finding]
) -> tuple[list[tuple[Field, Leaf]], list[Leaf]]:
    """Which field each value is meant for, and the sizes in pixels that no field takes; the rest is a finding."""
    placed: dict[tuple[tuple[str, ...], str | None], tuple[Field, Leaf]] = {}
    sizes: list[Leaf] = []
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
        elif (place := (field.path, _named_role(field, leaf))) in placed:
            rule = f"{card.gateway} has one such field, {field.name}, which is already given."
            findings.append(Finding("error", name, "", rule, "Leave it out."))
        else:
            placed[place] = field, leaf
            if leaf.path != field.path:
                rule = f"{card.gateway} reads it as {field.name}."
                findings.append(Finding("error", name, "", rule, f"Write {field.name}.", field.name))
    return list(placed.values()), sizes


def _field_of(card: ModelCard, leaf: Leaf) -> Field | None:
    name = fold_name(leaf.path[-1])
    exact = (field for field in card.fields if field.path == leaf.path)
    named = (field for field in card.fields if fold_name(field.path[-1]) == name)
    aliased = (field for field in card.fields if name in map(fold_name, field.aliases))
    meant = (field for role in _meanings(leaf) for field in card.fields if role in (field.role, *field.inputs))
    return next((field for group in (exact, named, aliased, meant) for field in group), None)


def _meanings(leaf: Leaf) -> tuple[Meaning, ...]:
    """What a value's name may mean, the likeliest first: where no reference image is taken, it is the first frame."""
    role = role_of(leaf.path[-1])
    if role == "first_frame" and fold_name(leaf.path[-1]).startswith("ref"):
        return ("reference_image", role)
    return (role,) if role else ()


def _wrong_kind(card: ModelCard, field: Field, kind: Kind) -> Finding:
    rule = f"{card.id} takes it only for {' or '.join(field.only)}."
    other = next((item for item in card.fields if item.role in ("size", "resolution") and item.exists_in(kind)), None)
    instead = f"Write {other.name}." if other and field.role in ("size", "resolution") else "Leave it out."
    return Finding("error", field.name, "", rule, instead)


def _take(card: ModelCard, field: Field, leaf: Leaf) -> Taken:
    """One attribute of the shot, if the value is clear; the findings are about its type and spelling."""
    if field.role == "model":
        return {}, []
    value, findings = read_value(field, leaf.value)
    if value is None or field.role not in PARAMETERS:
        return {} if value is None else {field.role: value}, findings
    neutral = neutral_value(field, value)
    wire = wire_value(field, neutral)
    if wire != value:
        rule = f"{card.gateway} spells it {wire}."
        findings.append(Finding("error", field.name, format_value(value), rule, f"Write {wire}.", str(wire)))
    return {field.role: neutral}, findings


def _take_size(card: ModelCard, field: Field, leaf: Leaf) -> Taken:
    """A field that holds both ratio and resolution, in the gateway's spelling or with another cross."""
    spelling, value = dict(field.spelling), leaf.value
    if isinstance(value, str) and value in spelling:
        return dict(spelling[value]), []
    found, right = read_pixels(value), None
    taken: dict[str, JsonValue] = {"resolution": value} if isinstance(value, str) else {}
    if found is not None:
        taken = {"aspect_ratio": found[0], "resolution": found[1]}
        right = size_value(field, Shot.of(aspect_ratio=found[0], resolution=found[1]))
    instead = f"Write {right}." if right else "Choose one of these."
    rule = f"{card.id} takes one of {', '.join(spelling)}."
    return taken, [Finding("error", field.name, format_value(value), rule, instead, right)]


def _take_pixels(card: ModelCard, leaf: Leaf, kind: Kind, values: dict[str, JsonValue]) -> Finding:
    """A size in pixels where the gateway has words for it; a ratio or resolution that is given too wins."""
    ratio, resolution = read_pixels(leaf.value) or ("", "")
    # Kept even where the card has no such field: it is then refused here as it is for a shot.
    values.setdefault("aspect_ratio", ratio)
    values.setdefault("resolution", resolution)
    write: list[str] = []
    for field in card.fields:
        if not field.exists_in(kind):
            continue
        wanted: Scalar | None = {"aspect_ratio": wire_value(field, ratio), "resolution": resolution}.get(field.role)
        if field.role == "size":
            wanted = size_value(field, Shot.of(aspect_ratio=ratio, resolution=resolution))
        if wanted is not None:
            write.append(f"{field.name} {wanted}")
    rule = f"{card.id} takes no size in pixels there."
    now = " and ".join(write) or None
    instead = f"Write {now}." if now else "Leave it out."
    return Finding("error", format_name(".".join(leaf.path)), format_value(leaf.value), rule, instead, now)


def _check_fixed(card: ModelCard, shot: Shot, given: list[tuple[Field, Leaf]]) -> list[Finding]:
    findings: list[Finding] = []
    for field, leaf in given:
        right = fixed_value(field, shot)
        if leaf.value != right or type(leaf.value) is not type(right):
            rule = field.note or f"For this shot {card.gateway} needs {right}."
            instead = "Leave it out." if right is None else f"Write {right}."
            now = None if right is None else str(right)
            findings.append(Finding("error", field.name, format_value(leaf.value), rule, instead, now))
    present = {field.path for field, _ in given}
    for field in card.fields:
        right = fixed_value(field, shot) if field.role == "fixed" and field.exists_in(shot.kind) else None
        if right is not None and field.path not in present:
            severity: Severity = "error" if field.required else "note"
            rule = field.note or f"{card.gateway} needs it."
            findings.append(Finding(severity, field.name, "missing", rule, f"Write {right}.", str(right)))
    return findings


def _added(card: ModelCard, shot: Shot) -> list[Finding]:
    """Notes on what is written out although the payload left it open."""
    rule = "Written out so that the price and the result are certain."
    settled = settle_shot(card, shot)
    return [
        Finding("note", field.name, "missing", rule, f"Added: {format_word(filled)}.")
        for field in present_fields(card, shot)
        if _is_open(field, shot) and (filled := field.under(settled).fill) is not None
    ]


def _is_open(field: Field, shot: Shot) -> bool:
    """Whether the shot leaves the field's value to the card."""
    if field.role == "size":
        return shot.get("aspect_ratio") is None and shot.get("resolution") is None
    if field.role == "option":
        return field.path[-1] not in shot.options
    return field.role in PARAMETERS and shot.get(field.role) is None
