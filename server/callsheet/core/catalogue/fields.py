"""The fields of a request body, and the limits on what they hold: by themselves, in a kind of clip, beside a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from callsheet.core.shot import InputRole, JsonValue, Kind, ParameterName, Scalar, Shot

Role = ParameterName | Literal["prompt", "size", "input", "callback", "model", "fixed", "option"]
Situation = Kind | Literal["always", "callback", "no_callback"]
Unit = Literal["characters", "tokens"]

JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """What a field takes under a condition. The first limit that applies replaces the field's own values.

    Attributes:
        when: `kind`, `video_input`, a parameter or an option -> the values for which it applies. All of them must.
        values, minimum, maximum: as in `Field`.
        default, fill: as in `Field`; None leaves the field's own.
        note: why, or what the gateway says of it.
    """

    when: tuple[tuple[str, tuple[Scalar, ...]], ...]
    values: tuple[Scalar, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    default: Scalar | None = None
    fill: Scalar | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model's request body.

    Attributes:
        path: its place in the body, `("input", "duration")`.
        role: the neutral meaning. `size` carries ratio and resolution together; `input` carries the inputs of the
            roles in `inputs`; only the program writes `fixed`; an `option` exists only for this model.
        kind: JSON type.
        inputs: for role `input`: the roles of the inputs that it holds, in their order.
        values: allowed wire values, empty when any; for a number `minimum` and `maximum` instead.
        limits: what it takes under a condition.
        default: what the gateway documents it assumes; None is "not stated".
        fill: what is written when the shot leaves it open; None sends nothing.
        fixed: wire value for role `fixed`, by situation. The first situation that applies is written.
        only: the kinds of clip that have the field; empty for all.
        spelling: wire value -> neutral values, `{"landscape": {"aspect_ratio": "16:9"}}`.
        aliases: names that people write instead, beside those of the role.
        max_length, min_length, unit: of a string, in the unit that the gateway counts.
        max_items: of an array.
    """

    path: tuple[str, ...]
    role: Role
    kind: Literal["string", "integer", "number", "boolean", "array", "object"]
    source: str
    required: bool = False
    inputs: tuple[InputRole, ...] = ()
    values: tuple[Scalar, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    limits: tuple[Limit, ...] = ()
    default: Scalar | None = None
    fill: Scalar | None = None
    fixed: tuple[tuple[Situation, Scalar], ...] = ()
    only: tuple[Kind, ...] = ()
    spelling: tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...] = ()
    aliases: tuple[str, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    unit: Unit | None = None
    max_items: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The dotted path, `input.duration`."""
        return ".".join(self.path)

    def exists_in(self, kind: Kind) -> bool:
        """Whether the field may be sent for that kind of clip."""
        return not self.only or kind in self.only

    def under(self, shot: Shot) -> Field:
        """The field as that shot meets it: with the first limit that applies in place of its own values."""
        limit = next((limit for limit in self.limits if _applies(limit, shot)), None)
        return self if limit is None else self.limited_by(limit)

    def limited_by(self, limit: Limit) -> Field:
        """The field with that limit in place of its own values."""
        own = limit.values or limit.minimum is not None or limit.maximum is not None
        return replace(
            self,
            values=limit.values if own else self.values,
            minimum=limit.minimum if own else self.minimum,
            maximum=limit.maximum if own else self.maximum,
            default=self.default if limit.default is None else limit.default,
            fill=self.fill if limit.fill is None else limit.fill,
            limits=(),
            note=limit.note or self.note,
        )

    def is_of_kind(self, value: object) -> bool:
        """Whether the value has the field's JSON type."""
        return isinstance(value, JSON_TYPES[self.kind]) and isinstance(value, bool) == (self.kind == "boolean")

    def takes(self, wire: JsonValue) -> bool:
        """Whether that wire value is among the allowed ones; types are judged elsewhere."""
        if self.values:
            return any(wire == value and type(wire) is type(value) for value in self.values)
        if not isinstance(wire, int | float) or isinstance(wire, bool):
            return True
        return (self.minimum is None or wire >= self.minimum) and (self.maximum is None or wire <= self.maximum)


def _applies(limit: Limit, shot: Shot) -> bool:
    video = bool(shot.urls("reference_video"))
    said: Mapping[str, object] = {"kind": shot.kind, "video_input": video, **shot.options, **shot.parameters}
    return all(said.get(name) in values for name, values in limit.when)


def neutral_value(field: Field, wire: Scalar) -> Scalar:
    """What a wire value means in the words of a shot: APIXO's `landscape` is `16:9`."""
    neutral = dict(dict(field.spelling).get(str(wire), ())) if field.spelling else {}
    return neutral.get(field.role, wire)


def wire_value(field: Field, neutral: Scalar) -> Scalar:
    """How the gateway spells a shot's value; unchanged where it spells it the same way."""
    for wire, meaning in field.spelling:
        said = dict(meaning).get(field.role)
        if said == neutral and type(said) is type(neutral):
            return wire
    return neutral


@dataclass(frozen=True, slots=True)
class InputRule:
    """Limits on the inputs of some roles; None and empty are "not documented".

    Attributes:
        roles: the roles that are counted together.
        least, most: how many there may be, where there are any.
        needs: at least one input of these roles must be there too.
        excludes: no input of these roles may be there.
        max_bytes, formats: of each file.
        min_side, max_side: of a picture's sides, in pixels.
        min_seconds, max_seconds, max_seconds_in_all: of videos and sounds.
        files_only: the input travels in the request itself, so it must be a file of the person's own.
    """

    roles: tuple[InputRole, ...]
    source: str
    least: int | None = None
    most: int | None = None
    needs: tuple[InputRole, ...] = ()
    excludes: tuple[InputRole, ...] = ()
    max_bytes: int | None = None
    formats: tuple[str, ...] = ()
    min_side: int | None = None
    max_side: int | None = None
    min_seconds: int | None = None
    max_seconds: int | None = None
    max_seconds_in_all: int | None = None
    files_only: bool = False
    note: str = ""
