"""From a shot and a card to the exact request body, and to the bytes that are frozen in a sheet."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from callsheet.core.catalogue.cards import Field, ModelCard, Scalar
from callsheet.core.shot import IMAGE_TO_VIDEO, ROLE_ATTRIBUTES, JsonValue, Shot

Body = dict[str, JsonValue]


def settle_shot(card: ModelCard, shot: Shot) -> Shot:
    """Write out what the shot leaves open, as the card fills it, so that price and result are certain."""
    settled = shot
    for field in card.fields:
        if not field.exists_in(shot.kind):
            continue
        if field.role == "size":
            settled = _settle_size(field, settled)
        elif field.role in ("duration", "aspect_ratio", "resolution"):
            attribute = ROLE_ATTRIBUTES[field.role]
            filled = field.filled(shot.kind)
            if getattr(settled, attribute) is None and filled is not None:
                changed: dict[str, Any] = {attribute: neutral_value(field, filled)}
                settled = replace(settled, **changed)
    if settled.resolution is None and card.resolution_when_absent and not _has_resolution(card, shot):
        settled = replace(settled, resolution=card.resolution_when_absent)
    return settled


def build_body(card: ModelCard, shot: Shot) -> Body:
    """The request body for a shot that is valid for that card; field order follows the catalogue."""
    settled = settle_shot(card, shot)
    body: Body = {}
    for field in card.fields:
        if field.exists_in(settled.kind):
            value = _wire_value(card, field, settled)
            if value is not None:
                _put(body, field.path, value)
    return body


def freeze_body(body: Body) -> bytes:
    """The bytes that are hashed, approved and sent: compact UTF-8 JSON in the order of the fields.

    Half of a surrogate pair, which only a blocked shot can hold, becomes a JSON escape instead of an error.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="backslashreplace")


def neutral_value(field: Field, wire: Scalar) -> Scalar:
    """What a wire value means in the words of a shot: APIXO's `landscape` is `16:9`."""
    neutral = dict(dict(field.spelling).get(str(wire), ())) if field.spelling else {}
    return neutral.get(field.role, wire)


def wire_value(field: Field, neutral: Scalar) -> Scalar:
    """How the gateway spells a shot's value; unchanged where it spells it the same way."""
    for wire, meaning in field.spelling:
        if dict(meaning).get(field.role) == neutral:
            return wire
    return neutral


def size_value(field: Field, shot: Shot) -> str | None:
    """The one size that has the shot's ratio and resolution, or None when the gateway has no such size."""
    wanted = {"aspect_ratio": shot.aspect_ratio, "resolution": shot.resolution}
    return next((wire for wire, meaning in field.spelling if dict(meaning) == wanted), None)


def _settle_size(field: Field, shot: Shot) -> Shot:
    filled = dict(dict(field.spelling).get(str(field.filled(shot.kind)), ()))
    return replace(
        shot,
        aspect_ratio=filled.get("aspect_ratio") if shot.aspect_ratio is None else shot.aspect_ratio,
        resolution=filled.get("resolution") if shot.resolution is None else shot.resolution,
    )


def _has_resolution(card: ModelCard, shot: Shot) -> bool:
    return any(field.role in ("resolution", "size") and field.exists_in(shot.kind) for field in card.fields)


def _wire_value(card: ModelCard, field: Field, shot: Shot) -> JsonValue:
    match field.role:
        case "model":
            return card.model
        case "fixed":
            return fixed_value(field, shot)
        case "size":
            return size_value(field, shot)
        case "image":
            url = shot.image_url or None
            return [url] if url is not None and field.kind == "array" else url
        case "extra":
            return shot.extras.get(field.path[-1], field.filled(shot.kind))
        case _:
            value = getattr(shot, ROLE_ATTRIBUTES[field.role])
            return None if value is None else wire_value(field, value)


def fixed_value(field: Field, shot: Shot) -> Scalar | None:
    """The value that only the program writes, by the situation of the shot."""
    situations = {
        "always": True,
        "image": shot.kind == IMAGE_TO_VIDEO,
        "text": shot.kind != IMAGE_TO_VIDEO,
        "callback": shot.callback_url is not None,
        "no_callback": shot.callback_url is None,
    }
    return next((value for situation, value in field.fixed if situations[situation]), None)


def _put(body: Body, path: tuple[str, ...], value: JsonValue) -> None:
    *parents, leaf = path
    table = body
    for name in parents:
        table = table.setdefault(name, {})  # type: ignore[assignment]
        assert isinstance(table, dict)
    table[leaf] = value
