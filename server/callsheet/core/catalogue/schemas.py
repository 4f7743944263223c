"""The fields of a published JSON schema, with the neutral meaning of each by its name.

Only the words of JSON Schema that the gateways use are read: type, enum, minimum, maximum, default, required, lengths
and item counts. What is not understood becomes an option of its own name; the schema itself is checked all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from callsheet.core.shot import InputRole, JsonValue, Kind, Scalar

from .fields import Field, InputRule, Role
from .published import SOURCE

Schema = Mapping[str, JsonValue]

_ROLES: dict[str, Role] = {
    "prompt": "prompt",
    "duration": "duration_seconds",
    "resolution": "resolution",
    "quality": "resolution",
    "aspect_ratio": "aspect_ratio",
    "generate_audio": "audio",
    "sound": "audio",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
}
_INPUTS: dict[str, tuple[InputRole, ...]] = {
    "image_url": ("first_frame",),
    "image_urls": ("first_frame", "last_frame"),
    "image_start": ("first_frame",),
    "start_image_url": ("first_frame",),
    "image_end": ("last_frame",),
    "end_image_url": ("last_frame",),
    "reference_image_url": ("reference_image",),
    "reference_image_urls": ("reference_image",),
    "reference_video_urls": ("reference_video",),
    "reference_audio_urls": ("reference_audio",),
}
_NOT_COVERED = frozenset({"video_url", "video_urls", "audio_url", "task_id", "source_task_id", "keyframes"})
"""Fields that make a model edit, extend or follow something else when it requires them."""
_OTHER_WORK = re.compile(r"edit|extend|motion-control|avatar|animate|upscal|background|video-to-video|lip")
_KINDS_BY_ID: dict[str, tuple[Kind, ...]] = {
    "text-to-video": ("text-to-video",),
    "first-last-frame": ("first-last-frame",),
    "image-to-video": ("image-to-video", "first-last-frame"),
    "reference-to-video": ("reference-to-video",),
}
_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object"})
MOST_FIELDS = 60
MOST_VALUES = 100


def read_fields(schema: Schema, path: tuple[str, ...]) -> tuple[Field, ...]:
    """The fields of an object schema that lies at that path of the body; ValueError for no such schema."""
    properties = schema.get("properties")
    required = schema.get("required") or []
    if schema.get("type") != "object" or not isinstance(properties, dict) or not isinstance(required, list):
        raise ValueError("its schema is not that of an object")
    if not 0 < len(properties) <= MOST_FIELDS:
        raise ValueError("its schema has no fields, or far too many")
    return tuple(_field(name, rule, path, name in required) for name, rule in properties.items())


def _field(name: str, rule: JsonValue, path: tuple[str, ...], required: bool) -> Field:
    kind = rule.get("type") if isinstance(rule, dict) else None
    if not isinstance(rule, dict) or kind not in _TYPES or not 0 < len(name) <= 60 or not name.isidentifier():
        raise ValueError("a field of its schema is not understood")
    values = rule.get("enum") or []
    if not isinstance(values, list) or len(values) > MOST_VALUES:
        raise ValueError("a field of its schema has a list of values that is not understood")
    allowed = tuple(value for value in values if isinstance(value, str | int))
    inputs = _INPUTS.get(name, ()) if kind in ("string", "array") else ()
    most = _whole(rule, "maxItems")
    role: Role = "input" if inputs else _ROLES.get(name, "option")
    if role == "audio" and kind != "boolean":
        role = "option"
    default = rule.get("default")
    known = default if isinstance(default, str | int) and (not allowed or default in allowed) else None
    low, high = _whole(rule, "minimum"), _whole(rule, "maximum")
    return Field(
        path=(*path, name),
        role=role,
        kind=kind,  # type: ignore[arg-type]
        source=SOURCE,
        required=required,
        inputs=inputs[: 1 if most == 1 or kind == "string" else None],
        values=allowed,
        minimum=low,
        maximum=high,
        default=known,
        fill=_fill(role, known, allowed, low, required=required),
        spelling=tuple(
            (value, ((role, value.lower()),))
            for value in allowed
            if role == "resolution" and isinstance(value, str) and value != value.lower()
        ),
        min_length=_whole(rule, "minLength") if kind == "string" else None,
        max_length=_whole(rule, "maxLength") if kind == "string" else None,
        unit="characters" if kind == "string" and "maxLength" in rule else None,
        max_items=most,
    )


def _fill(
    role: Role, default: Scalar | None, values: tuple[Scalar, ...], low: int | None, *, required: bool
) -> Scalar | None:
    """What is written where the shot leaves a field open on which price or result depend."""
    if role not in ("duration_seconds", "resolution", "aspect_ratio", "audio"):
        return default if required and role == "option" else None
    if default is not None:
        return default
    if role == "audio":
        return False if required else None
    return next(iter(values), low) if required or role != "aspect_ratio" else None


def _whole(rule: Schema, name: str) -> int | None:
    value = rule.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**12 else None


def read_inputs(fields: tuple[Field, ...]) -> tuple[InputRule, ...]:
    """How many inputs each field takes; a last frame needs a first one, a sound something to see."""
    rules = []
    frames = [role for field in fields for role in field.inputs if role.endswith("_frame")]
    others = [role for field in fields for role in field.inputs if not role.endswith("_frame")]
    for field in fields:
        if not field.inputs:
            continue
        needs: tuple[InputRole, ...] = ()
        if field.inputs == ("last_frame",) and "first_frame" in frames:
            needs = ("first_frame",)
        if field.inputs == ("reference_audio",):
            needs = tuple(cast("list[InputRole]", [role for role in others if role != "reference_audio"]))
        most = field.max_items if field.kind == "array" else 1
        rules.append(InputRule(roles=field.inputs, source=SOURCE, most=most, needs=needs))
    return tuple(rules)


def kinds_of(model: str, fields: tuple[Field, ...]) -> tuple[Kind, ...]:
    """The kinds of clip that a model makes, by its fields and by what its id says; none where it does something else.

    Some gateways publish one schema for a whole family, and only the id says which part of it a model takes.
    """
    if _OTHER_WORK.search(model):
        return ()
    required = {field.path[-1] for field in fields if field.required}
    if required & _NOT_COVERED or not any(field.role == "prompt" for field in fields):
        return ()
    roles = {role for field in fields for role in field.inputs}
    needed = {role for field in fields if field.required for role in field.inputs}
    found: list[Kind] = [] if needed else ["text-to-video"]
    if "first_frame" in roles and not needed - {"first_frame", "last_frame"}:
        found.append("image-to-video")
    if "last_frame" in roles and not needed - {"first_frame", "last_frame"}:
        found.append("first-last-frame")
    if roles & {"reference_image", "reference_video", "reference_audio"}:
        found.append("reference-to-video")
    said = next((kinds for word, kinds in _KINDS_BY_ID.items() if word in model), tuple(found))
    return tuple(kind for kind in found if kind in said)
