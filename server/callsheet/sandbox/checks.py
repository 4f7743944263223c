"""Checks a request body against a model card, as a strict gateway would. Pure.

Written against the catalogue only, and independently of `core.payload.validation`, which checks shots before they
are sent. A test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from callsheet.core.catalogue import Field, ModelCard
from callsheet.core.payload.body import neutral_value
from callsheet.core.shot import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, JsonValue
from callsheet.core.shot import Kind as ClipKind

Body = dict[str, JsonValue]
Kind = Literal["missing", "unknown", "type", "value", "too_long"]

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field's dotted path and a sentence that repeats no value of the request."""

    field: str
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a valid body asks for, in gateway-neutral terms. `width` and `height` are pixels."""

    prompt: str
    seconds: int
    resolution: str
    width: int
    height: int
    callback_url: str
    has_image: bool


SIZES: dict[str, tuple[int, int]] = {"720p": (1280, 720), "1024p": (1792, 1024), "1080p": (1920, 1080)}
SHORTEST_SECONDS, LONGEST_SECONDS = 1, 60


def check_body(card: ModelCard, body: Body, *, longest_callback_url: int | None = None) -> tuple[Violation, ...]:
    """Every rule of the card that the body breaks; empty when a gateway would accept it."""
    mode = _mode(card, body)
    violations = list(_check_unknown(card, body))
    for field in card.fields:
        value = _look(body, field.path)
        if value is _MISSING:
            if field.required and field.exists_in(mode):
                violations.append(Violation(field.name, "missing", f"Missing required field: {field.name}"))
        else:
            violations.extend(_check_field(field, value, mode))
    violations.extend(_check_situation(card, body, mode))
    violations.extend(_check_urls(card, body, longest_callback_url))
    return tuple(violations)


def read_parameters(card: ModelCard, body: Body) -> Parameters:
    """What a body that `check_body` accepted asks for, with the card's defaults."""
    mode = _mode(card, body)
    neutral: dict[str, JsonValue] = {}
    for field in card.fields:
        if field.exists_in(mode) and field.role in ("duration", "aspect_ratio", "resolution", "size"):
            value = _settled(field, body, mode)
            if isinstance(value, (str, int)):
                neutral[field.role] = neutral_value(field, value)
                neutral.update(dict(field.spelling).get(str(value), ()))
    resolution = str(neutral.get("resolution") or card.resolution_when_absent or "720p")
    width, height = SIZES.get(resolution, SIZES["720p"])
    if neutral.get("aspect_ratio") == "9:16":
        width, height = height, width
    return Parameters(
        prompt=_text(card, body, "prompt"),
        seconds=_seconds(neutral.get("duration")),
        resolution=resolution,
        width=width,
        height=height,
        callback_url=_text(card, body, "callback"),
        has_image=mode == IMAGE_TO_VIDEO,
    )


def read_prompt(card: ModelCard, body: Body) -> str:
    """The prompt of any body, valid or not; empty when there is none."""
    return _text(card, body, "prompt")


def _seconds(value: JsonValue) -> int:
    seconds = int(value) if isinstance(value, (int, str)) and re.fullmatch(r"[0-9]{1,4}", str(value)) else 4
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


def _settled(field: Field, body: Body, mode: ClipKind) -> object:
    value = _look(body, field.path)
    if value is not _MISSING:
        return value
    if mode == IMAGE_TO_VIDEO and field.default_with_image is not None:
        return field.default_with_image
    if field.default is not None:
        return field.default
    return next(iter(field.allowed(mode)), None)


def _text(card: ModelCard, body: Body, role: Literal["prompt", "callback"]) -> str:
    field = card.field_for(role)
    value = _look(body, field.path) if field else _MISSING
    return value if isinstance(value, str) else ""


def _mode(card: ModelCard, body: Body) -> ClipKind:
    field = card.field_for("image")
    value = _look(body, field.path) if field else _MISSING
    return IMAGE_TO_VIDEO if value is not _MISSING and value not in (None, [], "") else TEXT_TO_VIDEO


def _look(body: Body, path: tuple[str, ...]) -> object:
    table: object = body
    for name in path:
        if not isinstance(table, dict) or name not in table:
            return _MISSING
        table = table[name]
    return table


def _check_unknown(card: ModelCard, body: Body) -> Iterator[Violation]:
    known = {field.path for field in card.fields} | {("model",)}
    tables = {path[:depth] for path in known for depth in range(1, len(path))}
    waiting: list[tuple[tuple[str, ...], JsonValue]] = [((name,), value) for name, value in body.items()]
    for path, value in waiting:
        name = ".".join(path)[:80]
        if path in tables:
            if isinstance(value, dict):
                waiting.extend(((*path, key), inner) for key, inner in value.items())
            else:
                yield Violation(name, "type", f"{name} must be an object")
        elif path not in known:
            yield Violation(name, "unknown", f"Unknown field: {name}")


def _check_field(field: Field, value: object, mode: ClipKind) -> Iterator[Violation]:
    name = field.name
    kind = _TYPES[field.kind]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield Violation(name, "type", f"{name} must be of type {field.kind}")
        return
    if not field.exists_in(mode):
        yield Violation(name, "value", f"{name} is only available for {field.only}")
    elif field.role not in ("model", "image"):
        allowed = field.allowed(mode) or tuple(wire for _, wire in field.fixed)
        if allowed and value not in allowed:
            yield Violation(name, "value", f"{name} must be one of {', '.join(_word(item) for item in allowed)}")
    if isinstance(value, str):
        yield from _check_text(field, value)
    if isinstance(value, list):
        yield from _check_list(field, value)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_text(field: Field, value: str) -> Iterator[Violation]:
    if field.required and not value.strip():
        yield Violation(field.name, "missing", f"{field.name} must not be empty")
    elif field.min_length is not None and len(value) < field.min_length:
        yield Violation(field.name, "value", f"{field.name} must have at least {field.min_length} characters")
    if field.max_length is not None and len(value) > field.max_length:
        unit = field.unit or "characters"
        yield Violation(field.name, "too_long", f"{field.name} must have at most {field.max_length} {unit}")


def _check_list(field: Field, value: list[JsonValue]) -> Iterator[Violation]:
    if not all(isinstance(item, str) for item in value):
        yield Violation(field.name, "type", f"{field.name} must be an array of strings")
    if not value:
        yield Violation(field.name, "value", f"{field.name} must not be empty")
    if field.max_items is not None and len(value) > field.max_items:
        yield Violation(field.name, "value", f"{field.name} must have at most {field.max_items} item(s)")


def _check_situation(card: ModelCard, body: Body, mode: ClipKind) -> Iterator[Violation]:
    """A value that announces an image or a callback must come with one."""
    image, callback = card.field_for("image"), card.field_for("callback")
    for field in card.fields:
        value = _look(body, field.path)
        announced = [situation for situation, wire in field.fixed if wire == value]
        if image is not None and "image" in announced and mode != IMAGE_TO_VIDEO:
            yield Violation(image.name, "missing", f"Missing required field: {image.name}")
        if callback is not None and "callback" in announced and not _text(card, body, "callback"):
            yield Violation(callback.name, "missing", f"Missing required field: {callback.name}")


def _check_urls(card: ModelCard, body: Body, longest: int | None) -> Iterator[Violation]:
    image = card.field_for("image")
    found = _look(body, image.path) if image else _MISSING
    for url in found if isinstance(found, list) else [found]:
        if image is not None and isinstance(url, str) and not url.startswith(("https://", "http://", "data:image/")):
            yield Violation(image.name, "value", f"{image.name} must be a publicly accessible http(s) URL")
    callback = card.field_for("callback")
    target = _text(card, body, "callback")
    if callback is None or not target:
        return
    if not target.startswith(("https://", "http://")) or not all("!" <= letter <= "~" for letter in target):
        yield Violation(callback.name, "value", f"{callback.name} must be an http(s) URL")
    if longest is not None and len(target) > longest:
        yield Violation(callback.name, "too_long", f"{callback.name} must have at most {longest} characters")
