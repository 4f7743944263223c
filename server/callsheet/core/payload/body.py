"""The body of a request and its values: build it, spell a value, read what a wrong one means, show it in a finding.

What is shown is bounded and harmless, and never a URL or a long text, which may be private. Any JSON value is accepted,
in bounded time. `core.payload.validation` judges whether a value is allowed.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.fields import Field, neutral_value, wire_value
from callsheet.core.security.redaction import clean
from callsheet.core.shot import INPUT_ROLES, PARAMETERS, JsonValue, Kind, Scalar, Shot

Body = dict[str, JsonValue]
Severity = Literal["error", "warning", "note"]

PIXEL_SIZES = {
    "1280x720": ("16:9", "720p"),
    "720x1280": ("9:16", "720p"),
    "1792x1024": ("16:9", "1024p"),
    "1024x1792": ("9:16", "1024p"),
    "1920x1080": ("16:9", "1080p"),
    "1080x1920": ("9:16", "1080p"),
}
SIZE_PARTS: tuple[str, ...] = ("aspect_ratio", "resolution")
_WHOLE_SECONDS = re.compile(r"([0-9]{1,6})(?:\.0{1,9})?\s*(?:s|secs?|seconds?)?")
# No host ends in a part that begins with a digit, so kling-3.0/standard is a model id; digits alone are an address.
_URL_LIKE = re.compile(r"\A[a-zA-Z][\w+.-]*:\S|//|\A\d+(?:\.\d+)+/|\.(?!\d[\w-]*/)\S*[/?]")
_NUMBER = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?:p|px|s|secs?|seconds?)?")
_RATIO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[:x*/\u00d7]\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_SHAPE_WORDS = {"landscape": "16:9", "horizontal": "16:9", "portrait": "9:16", "vertical": "9:16"}
_HEIGHT = re.compile(r"([0-9]{3,4})\s*p?", re.IGNORECASE)
_HEIGHT_WORDS = {"fhd": 1080, "fullhd": 1080, "2k": 1440, "qhd": 1440, "4k": 2160, "uhd": 2160, "8k": 4320}
_SHAPES = {"landscape": 16 / 9, "horizontal": 16 / 9, "wide": 16 / 9, "portrait": 9 / 16, "vertical": 9 / 16}
_HUGE = 10**15


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a shot or payload.

    `field` is the name that the caller used, `value` is what it held (bounded; of a URL only the host, of a prompt
    only its length), `rule` is what the gateway documents, `instead` is what to write. `now` is what the corrected form
    has in its place; None where something is left out, or a person decides.
    """

    severity: Severity
    field: str
    value: str
    rule: str
    instead: str
    now: str | None = None

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        instead = f" {self.instead}" if self.instead else ""
        return f"{self.field}{value}: {self.rule}{instead}"


def settle_shot(card: ModelCard, shot: Shot) -> Shot:
    """Write out what the shot leaves open, as the card fills it, so that price and result are certain."""
    settled = shot
    for field in settling_order(card, shot):
        limited = field.under(settled)
        if field.role == "size":
            settled = _settle_size(limited, settled)
        elif field.role in PARAMETERS and settled.get(field.role) is None and limited.fill is not None:
            settled = settled.having(**{field.role: neutral_value(field, limited.fill)})
        elif field.role == "option" and limited.fill is not None:
            settled = replace(settled, options={field.path[-1]: limited.fill, **settled.options})
    open_ = [name for name in card.implied if settled.get(name) is None and not carriers(card, name, shot.kind)]
    return settled.having(**{name: card.implied[name] for name in open_}) if open_ else settled


def present_fields(card: ModelCard, shot: Shot) -> tuple[Field, ...]:
    """The fields that a body for that shot may have, in their order."""
    kind = shot.kind
    return tuple(field for field in card.fields if field.exists_in(kind))


def settling_order(card: ModelCard, shot: Shot) -> tuple[Field, ...]:
    """The same, and those last whose limits depend on the value of another."""
    fields = present_fields(card, shot)
    return tuple(sorted(fields, key=_depends)) if any(field.limits for field in fields) else fields


def _depends(field: Field) -> bool:
    return any(name != "kind" for limit in field.limits for name, _ in limit.when)


def carriers(card: ModelCard, name: str, kind: Kind | None = None) -> tuple[Field, ...]:
    """The fields that can hold that parameter, in that kind of clip or in any."""
    roles = (name, "size") if name in SIZE_PARTS else (name,)
    return tuple(field for field in card.fields if field.role in roles and (kind is None or field.exists_in(kind)))


def build_body(card: ModelCard, shot: Shot) -> Body:
    """The request body for a shot that is valid for that card; field order follows the catalogue."""
    settled = settle_shot(card, shot)
    body: Body = {}
    for field in present_fields(card, settled):
        value = _wire_value(card, field.under(settled), settled)
        if value is not None:
            _put(body, field.path, value)
    return body


def freeze_body(body: Body) -> bytes:
    """The bytes that are hashed, approved and sent: compact UTF-8 JSON in the order of the fields.

    Half of a surrogate pair, which only a blocked shot can hold, becomes a JSON escape instead of an error.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="backslashreplace")


def size_value(field: Field, shot: Shot) -> str | None:
    """The one size that has the shot's ratio and resolution, or None when the gateway has no such size."""
    wanted = {name: shot.get(name) for name in SIZE_PARTS}
    return next((wire for wire, meaning in field.spelling if dict(meaning) == wanted), None)


def _settle_size(field: Field, shot: Shot) -> Shot:
    filled = dict(dict(field.spelling).get(str(field.fill), ()))
    return shot.having(**{name: filled.get(name) for name in SIZE_PARTS if shot.get(name) is None})


def _wire_value(card: ModelCard, field: Field, shot: Shot) -> JsonValue:
    match field.role:
        case "model":
            return card.model
        case "prompt":
            return shot.prompt
        case "callback":
            return shot.callback_url
        case "fixed":
            return fixed_value(field, shot)
        case "size":
            return size_value(field, shot)
        case "input":
            urls: list[JsonValue] = [*shot.urls(*field.inputs)]
            return (urls if field.kind == "array" else urls[0]) if urls else None
        case "option":
            return shot.options.get(field.path[-1], field.fill)
        case _:
            value = shot.get(field.role)
            return None if value is None else wire_value(field, value)


def fixed_value(field: Field, shot: Shot) -> Scalar | None:
    """The value that only the program writes, by the situation of the shot."""
    situations = {shot.kind, "always", "callback" if shot.callback_url is not None else "no_callback"}
    return next((value for situation, value in field.fixed if situation in situations), None)


def _put(body: Body, path: tuple[str, ...], value: JsonValue) -> None:
    *parents, leaf = path
    table = body
    for name in parents:
        table = table.setdefault(name, {})  # type: ignore[assignment]
        assert isinstance(table, dict)
    table[leaf] = value


def nearest_value(field: Field, value: JsonValue) -> Scalar:
    """The wire value nearest to a wrong one that the field takes: one of its values, or the nearer end of its range."""
    if field.values:
        return nearest_choice(value, field.values)
    if field.kind == "boolean":
        return read_yes_no(value) or False
    number = _number(value)
    low, high = field.minimum, field.maximum
    if number is None:
        return low if low is not None else high if high is not None else 0
    nearest = math.floor(number + 0.5)
    if low is not None:
        nearest = max(nearest, low)
    return nearest if high is None else min(nearest, high)


def nearest_choice(value: JsonValue, choices: tuple[Scalar, ...]) -> Scalar:
    """The allowed value nearest to a wrong one; among equally near ones the cheaper or the first.

    Numbers are compared by distance (ties to the smaller), shapes such as `4:3` or `portrait` by how much wider or
    taller one is than the other (ties to the first), everything else by spelling (ties to the first).
    """
    number, numbers = _number(value), [(found, choice) for choice in choices if (found := _number(choice)) is not None]
    if number is not None and numbers:
        return min(numbers, key=lambda pair: (abs(pair[0] - number), pair[0]))[1]
    shape, shapes = _shape(value), [(found, choice) for choice in choices if (found := _shape(choice)) is not None]
    if shape is not None and shapes:
        return min(shapes, key=lambda pair: round(abs(pair[0] - shape), 9))[1]
    text = value[:60].lower() if isinstance(value, str) else ""
    return max(choices, key=lambda choice: difflib.SequenceMatcher(None, text, str(choice).lower()).ratio())


def _number(value: JsonValue) -> float | None:
    """The number that a value is or begins with a unit of length or height: `8`, `8.0`, `8 s`, `720p`."""
    if isinstance(value, str):
        text = value[:60].strip().lower()
        if text in _HEIGHT_WORDS:
            return float(_HEIGHT_WORDS[text])
        found = _NUMBER.fullmatch(text)
        return float(found[1]) if found else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return float(min(max(value, -_HUGE), _HUGE))


def _shape(value: JsonValue) -> float | None:
    """The logarithm of width by height, so that 16:9 is as far from 1:1 as 9:16 is."""
    if not isinstance(value, str):
        return None
    text = value[:60].strip().lower()
    found = _RATIO.fullmatch(text)
    width, height = (float(found[1]), float(found[2])) if found else (_SHAPES.get(text, 0.0), 1.0)
    return math.log(width / height) if width > 0 and height > 0 else None


def format_value(value: JsonValue) -> str:
    """A wrong value in a finding: bounded, harmless, and without a URL or a long text, which may be private."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return "(a huge number)" if abs(value) >= _HUGE else str(value)
        case str():
            return _shown_text(value)
        case list():
            return f"(a list of {len(value):,})"
        case _:
            return "(an object)"


def _shown_text(text: str) -> str:
    shown = clean(text[:240], limit=60)
    if _URL_LIKE.search(shown):
        return "(a URL)"
    is_prose = len(text) > 40 or len(shown.split()) > 2
    return format_length(text) if is_prose else shown or "(empty)"


def format_name(name: str) -> str:
    """A field's name as written, bounded and harmless."""
    shown = clean(name[:240], limit=60)
    return "(a URL)" if "//" in shown else shown or "(nameless)"


def format_length(text: str) -> str:
    """What a finding shows of a long or private text."""
    return f"({len(text):,} characters)"


def read_pixels(value: JsonValue) -> tuple[str, str] | None:
    """Ratio and resolution of a size in pixels, `1280x720`."""
    if not isinstance(value, str) or len(value) > 20:
        return None
    return PIXEL_SIZES.get(re.sub(r"\s*[x*\u00d7]\s*", "x", value.strip().lower()))


def read_value(field: Field, value: JsonValue) -> tuple[Scalar | None, list[Finding]]:
    """The value as the shot holds it, None where it is not clear; a finding when the wire wants another type."""
    if field.kind in ("integer", "number"):
        number, instead = read_number(value)
        now = None if number is None else format_value(number)
        finding = Finding("error", field.name, format_value(value), "Must be a JSON integer.", instead, now)
        return number, [finding] if instead else []
    if field.kind == "boolean":
        return _read_boolean(field, value)
    if isinstance(value, str):
        return value, []
    if isinstance(value, bool) and dict(field.spelling):
        wire = wire_value(field, value)
        finding = Finding(
            "error", field.name, format_value(value), "Must be a JSON string.", f"Write {wire}.", str(wire)
        )
        return wire, [finding]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**9
    instead = "Leave it out." if value is None and not field.required else "Write a string."
    instead = "Put it in quotes." if is_number else instead
    shown = "" if field.role == "prompt" else format_value(value)
    text = str(value) if is_number else None
    return text, [Finding("error", field.name, shown, "Must be a JSON string.", instead, text)]


def _read_boolean(field: Field, value: JsonValue) -> tuple[bool | None, list[Finding]]:
    if isinstance(value, bool):
        return value, []
    said = read_yes_no(value)
    now = None if said is None else str(said).lower()
    instead = "Write true or false." if now is None else f"Write {now}."
    return said, [Finding("error", field.name, format_value(value), "Must be true or false.", instead, now)]


def read_yes_no(value: JsonValue) -> bool | None:
    """Yes or no as people write it, None where it is neither."""
    if isinstance(value, bool):
        return value
    word = value[:10].strip().lower() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    return True if word in ("true", "on", "yes", "1") else False if word in ("false", "off", "no", "0") else None


def read_number(value: JsonValue) -> tuple[int | None, str]:
    """A whole number as it was meant, and what to write instead of it; whether it is allowed is judged later."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, ""
    if isinstance(value, float) and abs(value) < 10**6:
        return round(value), "Write a whole number, without a decimal point."
    if isinstance(value, str) and (found := _WHOLE_SECONDS.fullmatch(value[:40].strip().lower())):
        plain = value.strip() == found[1]
        return int(found[1]), "Write it without quotes." if plain else "Write only the number, without quotes."
    return None, "Leave it out." if value is None else "Write a whole number."


def read_inputs(field: Field, value: JsonValue) -> tuple[tuple[str, ...], list[Finding]]:
    """The addresses of inputs, which most gateways want in a list."""
    if value is None or value == []:
        return (), []
    is_list = field.kind == "array"
    one = field.max_items in (None, 1)
    shape = (f"Must be a JSON array of {'one URL' if one else 'URLs'}.", 'Write ["https://…"].')
    rule, instead = shape if is_list else ("Must be a JSON string, one URL.", 'Write "https://…".')
    wrong = Finding("error", field.name, "", rule, instead)
    if isinstance(value, str):
        return (value,), [replace(wrong, now="a list of it")] if is_list else []
    urls = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(urls) < len(value):
        found = image_url(value)
        # Of several, only the first is read: that is no complete translation.
        alone = found is not None and (not isinstance(value, list) or len(value) == 1)
        return (found,) if found else (), [replace(wrong, now="its address") if alone else wrong]
    limit = (field.max_items or len(urls)) if is_list else 1
    if len(urls) > limit:
        rule = f"At most {limit} reference image{'s' if limit > 1 else ''}."
        finding = Finding("error", field.name, f"({len(urls):,} URLs)", rule, f"Keep {'one' if limit == 1 else limit}.")
        return tuple(urls[:limit]), [finding]
    return tuple(urls), [] if is_list else [replace(wrong, now="its address")]


def image_url(value: JsonValue) -> str | None:
    """The address of an image, alone, in a list, or in an object such as `{"url": …}`."""
    for _ in range(4):
        if isinstance(value, list):
            value = next((item for item in value[:20] if isinstance(item, str | dict)), None)
        if isinstance(value, dict):
            value = next((value[name] for name in ("url", "image_url", "uri", "image") if name in value), None)
    return value if isinstance(value, str) and value.strip() else None


def read_neutral(role: str | None, value: JsonValue) -> dict[str, JsonValue]:
    """What a value says of a shot where no gateway is meant, by parameter or role; empty where it is not clear."""
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is int and 0 < value < _HUGE else ""
    found: JsonValue = None
    match role:
        case "duration_seconds" | "seed":
            found = read_number(value)[0]
        case "audio":
            found = read_yes_no(value)
        case "prompt" | "callback" | "negative_prompt":
            found = value if isinstance(value, str) else None
        case "size" | "aspect_ratio" | "resolution" if len(text) <= 40:
            return _read_format(role, text)
        case _ if role in INPUT_ROLES:
            urls = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
            found = [*urls] if len(urls) > 1 else image_url(value)
    return {} if role is None or found is None else {role: found}


def _read_format(role: str, text: str) -> dict[str, JsonValue]:
    """Ratio and resolution, in words or pixels."""
    word = text.lower()
    if pixels := read_pixels(text):
        return {"aspect_ratio": pixels[0], "resolution": pixels[1]}
    if word in _SHAPE_WORDS:
        return {"aspect_ratio": _SHAPE_WORDS[word]}
    if _RATIO.fullmatch(word) and len(text) <= 5 and (role == "aspect_ratio" or ":" in word):
        return {"aspect_ratio": re.sub(r"\s*[:x*/\u00d7]\s*", ":", word)}
    if role != "aspect_ratio" and (height := _HEIGHT.fullmatch(text)):
        return {"resolution": f"{height[1]}p"}
    if role != "size" and text and (role == "aspect_ratio" or word in _HEIGHT_WORDS):
        return {role: word if role == "resolution" else text}
    return {}
