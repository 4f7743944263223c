"""Checks a request body against a model card, as a strict gateway would. Pure.

Written against the catalogue only, and independently of `core.payload.validation`, which checks shots before they
are sent. A test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.fields import Field, neutral_value
from callsheet.core.shot import (
    KINDS,
    PARAMETERS,
    REFERENCE_TO_VIDEO,
    TEXT_TO_VIDEO,
    Input,
    InputRole,
    JsonValue,
    Scalar,
    Shot,
    format_word,
)
from callsheet.core.shot import Kind as ClipKind

Body = dict[str, JsonValue]
Kind = Literal["missing", "unknown", "type", "value", "too_long"]

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
    shot: Shot


SIZES: dict[str, tuple[int, int]] = {"720p": (1280, 720), "1024p": (1792, 1024), "1080p": (1920, 1080)}
LINES = {"2k": 1440, "4k": 2160}
SHORTEST_SECONDS, LONGEST_SECONDS = 1, 60


def check_body(card: ModelCard, body: Body, *, longest_callback_url: int | None = None) -> tuple[Violation, ...]:
    """Every rule of the card that the body breaks; empty when a gateway would accept it."""
    shot = _shot(card, body)
    violations = list(_check_unknown(card, body))
    for field in card.fields:
        value = _look(body, field.path)
        if value is _MISSING:
            if field.required and field.exists_in(shot.kind):
                violations.append(Violation(field.name, "missing", f"Missing required field: {field.name}"))
        else:
            violations.extend(_check_field(field.under(shot), value, shot.kind))
    violations.extend(_check_inputs(card, shot))
    violations.extend(_check_situation(card, body, shot.kind))
    violations.extend(_check_urls(card, body, longest_callback_url))
    return tuple(violations)


def read_parameters(card: ModelCard, body: Body) -> Parameters:
    """What a body that `check_body` accepted asks for, with the card's defaults."""
    shot = _shot(card, body)
    neutral: dict[str, Scalar] = {}
    for field in card.fields:
        value = _settled(field.under(shot), body)
        if not field.exists_in(shot.kind) or value is None:
            continue
        if field.role in PARAMETERS and isinstance(value, str | int):
            neutral[field.role] = neutral_value(field, value)
        elif field.role == "size":
            neutral.update(dict(field.spelling).get(str(value), ()))
    neutral = {**card.implied, **neutral}
    resolution = str(neutral.get("resolution") or "720p")
    width, height = _pixels(resolution, str(neutral.get("aspect_ratio") or ""))
    seconds = _seconds(neutral.get("duration_seconds"))
    return Parameters(
        prompt=_text(card, body, "prompt"),
        seconds=seconds,
        resolution=resolution,
        width=width,
        height=height,
        callback_url=_text(card, body, "callback"),
        shot=replace(shot, parameters={**neutral, "duration_seconds": seconds}),
    )


def _pixels(resolution: str, ratio: str) -> tuple[int, int]:
    """Width and height: the resolution is the shorter side; a ratio that is left to the gateway is 16:9."""
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,2})", ratio)
    across, down = (int(found[1]), int(found[2])) if found else (16, 9)
    if resolution in SIZES and {across, down} == {16, 9}:
        longer, lines = SIZES[resolution]
    else:
        lines = LINES.get(resolution) or int("".join(filter(str.isdigit, resolution)) or 720)
        longer = round(lines * max(across, down) / min(across, down) / 2) * 2
    return (longer, lines) if across >= down else (lines, longer)


def read_prompt(card: ModelCard, body: Body) -> str:
    """The prompt of any body, valid or not; empty when there is none."""
    return _text(card, body, "prompt")


def _seconds(value: Scalar | None) -> int:
    seconds = int(value) if isinstance(value, (int, str)) and re.fullmatch(r"[0-9]{1,4}", str(value)) else 4
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


def _settled(field: Field, body: Body) -> object:
    value = _look(body, field.path)
    if value is not _MISSING:
        return value
    return field.default if field.default is not None else next(iter(field.values), field.minimum)


def _text(card: ModelCard, body: Body, role: Literal["prompt", "callback"]) -> str:
    field = card.field_for(role)
    value = _look(body, field.path) if field else _MISSING
    return value if isinstance(value, str) else ""


def _shot(card: ModelCard, body: Body) -> Shot:
    """The inputs and plain values of a body, by which its fields are limited."""
    marks = [(field, _look(body, field.path)) for field in card.fields if field.role == "fixed"]
    said = {kind for field, value in marks for kind, wire in field.fixed if wire == value}
    inputs: list[Input] = []
    values: dict[str, Scalar] = {}
    options: dict[str, JsonValue] = {}
    for field in card.fields:
        value = _look(body, field.path)
        if field.role == "input":
            urls = value if isinstance(value, list) else [value] if isinstance(value, str) and value else []
            inputs += map(Input, _roles(field, len(urls), means_reference=REFERENCE_TO_VIDEO in said), map(str, urls))
        elif field.role in PARAMETERS and isinstance(value, str | int):
            values[field.role] = neutral_value(field, value)
        elif field.role == "option" and value is not _MISSING:
            options[field.path[-1]] = value  # type: ignore[assignment]
        elif field.role == "size":
            values.update(dict(field.spelling).get(str(value), ()))
    return Shot(parameters=values, inputs=tuple(inputs), options=options)


def _roles(field: Field, count: int, *, means_reference: bool) -> list[InputRole]:
    """What each address in a list is: frames first, references where the mode or the number says so."""
    frames = [role for role in field.inputs if role.endswith("_frame")]
    others = [role for role in field.inputs if not role.endswith("_frame")]
    if others and (means_reference or not frames or count > len(frames)):
        return others[:1] * count
    return (frames + frames[-1:] * count)[:count]


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
    if not field.is_of_kind(value):
        yield Violation(name, "type", f"{name} must be of type {field.kind}")
        return
    if not field.exists_in(mode):
        yield Violation(name, "value", f"{name} is only available for {' or '.join(field.only)}")
    elif field.role not in ("model", "input"):
        allowed = field.values or tuple(wire for _, wire in field.fixed)
        if allowed and value not in allowed:
            yield Violation(name, "value", f"{name} must be one of {', '.join(format_word(item) for item in allowed)}")
        elif isinstance(value, int | float) and not field.takes(value):
            yield Violation(name, "value", f"{name} must be between {field.minimum} and {field.maximum}")
    if isinstance(value, str):
        yield from _check_text(field, value)
    if isinstance(value, list):
        yield from _check_list(field, value)


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


def _check_inputs(card: ModelCard, shot: Shot) -> Iterator[Violation]:
    """How many inputs there are, and which go together."""
    names = {role: field.name for field in reversed(card.fields) for role in field.inputs}
    for rule in card.inputs:
        count, name = len(shot.urls(*rule.roles)), names[rule.roles[0]]
        if not count:
            continue
        if rule.most is not None and count > rule.most:
            yield Violation(name, "value", f"{name} must have at most {rule.most} item(s)")
        if rule.least is not None and count < rule.least:
            yield Violation(name, "value", f"{name} must have at least {rule.least} item(s)")
        if shot.urls(*rule.excludes):
            yield Violation(name, "value", f"{name} cannot be used together with the other inputs")
        if rule.needs and not shot.urls(*rule.needs):
            yield Violation(name, "value", f"{name} needs another input")
    if card.kinds and shot.kind not in card.kinds:
        name = next(iter(names.values()), "model")
        yield Violation(name, "missing" if shot.kind == TEXT_TO_VIDEO else "value", f"{name} does not fit this model")


def _check_situation(card: ModelCard, body: Body, mode: ClipKind) -> Iterator[Violation]:
    """A value that announces an image or a callback must come with one."""
    image, callback = card.field_for("input"), card.field_for("callback")
    for field in card.fields:
        value = _look(body, field.path)
        announced = {situation for situation, wire in field.fixed if wire == value}
        if image is not None and announced & {*KINDS} and not announced & {mode, TEXT_TO_VIDEO}:
            if mode == TEXT_TO_VIDEO:
                yield Violation(image.name, "missing", f"Missing required field: {image.name}")
            else:
                yield Violation(field.name, "value", f"{field.name} does not fit the inputs")
        if callback is not None and "callback" in announced and not _text(card, body, "callback"):
            yield Violation(callback.name, "missing", f"Missing required field: {callback.name}")


def _check_urls(card: ModelCard, body: Body, longest: int | None) -> Iterator[Violation]:
    for field in card.fields:
        found = _look(body, field.path) if field.role == "input" else _MISSING
        for url in found if isinstance(found, list) else [found]:
            if isinstance(url, str) and not url.startswith(("https://", "http://", "data:image/")):
                yield Violation(field.name, "value", f"{field.name} must be a publicly accessible http(s) URL")
    callback = card.field_for("callback")
    target = _text(card, body, "callback")
    if callback is None or not target:
        return
    if not target.startswith(("https://", "http://")) or not all("!" <= letter <= "~" for letter in target):
        yield Violation(callback.name, "value", f"{callback.name} must be an http(s) URL")
    if longest is not None and len(target) > longest:
        yield Violation(callback.name, "too_long", f"{callback.name} must have at most {longest} characters")
