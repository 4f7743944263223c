"""What a single value of a raw payload was meant to be, and what to write instead of it.

Only the type and the spelling are looked at here: a number in quotes, a size in pixels, a lone URL where
a list is wanted. Whether a value is allowed is judged in `core.validation`. `core.recognition` calls it.
"""

from __future__ import annotations

import re

from callsheet.core.catalogue.cards import Field
from callsheet.core.shot import JsonValue

from .suggestions import format_value
from .validation import Finding

PIXEL_SIZES = {
    "1280x720": ("16:9", "720p"),
    "720x1280": ("9:16", "720p"),
    "1792x1024": ("16:9", "1024p"),
    "1024x1792": ("9:16", "1024p"),
    "1920x1080": ("16:9", "1080p"),
    "1080x1920": ("9:16", "1080p"),
}
_WHOLE_SECONDS = re.compile(r"([0-9]{1,6})(?:\.0{1,9})?\s*(?:s|secs?|seconds?)?")


def read_pixels(value: JsonValue) -> tuple[str, str] | None:
    """Ratio and resolution of a size in pixels, `1280x720`."""
    if not isinstance(value, str) or len(value) > 20:
        return None
    return PIXEL_SIZES.get(re.sub(r"\s*[x*\u00d7]\s*", "x", value.strip().lower()))


def read_value(field: Field, value: JsonValue) -> tuple[int | str | None, list[Finding]]:
    """The value as the shot holds it, None where it cannot be told; a finding when the wire wants another type."""
    if field.kind == "integer":
        number, instead = read_number(value)
        finding = Finding("error", field.name, format_value(value), "Must be a JSON integer.", instead)
        return number, [finding] if instead else []
    if isinstance(value, str):
        return value, []
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**9
    instead = "Leave it out." if value is None and not field.required else "Write a text."
    instead = "Put it in quotes." if is_number else instead
    shown = "" if field.role == "prompt" else format_value(value)
    return str(value) if is_number else None, [Finding("error", field.name, shown, "Must be a JSON string.", instead)]


def read_number(value: JsonValue) -> tuple[int | None, str]:
    """A whole number as it was meant, and what to write instead of it; whether it is allowed is judged later."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, ""
    if isinstance(value, float) and abs(value) < 10**6:
        return round(value), "Write a whole number, without a decimal point."
    if isinstance(value, str) and (found := _WHOLE_SECONDS.fullmatch(value[:40].strip().lower())):
        plain = value.strip() == found[1]
        return int(found[1]), "Write it without quotes." if plain else "Write the number alone, without quotes."
    return None, "Leave it out." if value is None else "Write a whole number."


def read_image(field: Field, value: JsonValue) -> tuple[str | None, list[Finding]]:
    """The one reference image's URL, which most gateways want in a list."""
    if value is None or value == []:
        return None, []
    is_list = field.kind == "array"
    shape = ("Must be a JSON array of one URL.", 'Write ["https://…"].')
    rule, instead = shape if is_list else ("Must be a JSON string, one URL.", 'Write "https://…".')
    wrong = Finding("error", field.name, "", rule, instead)
    if isinstance(value, str):
        return value, [wrong] if is_list else []
    urls = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(urls) < len(value):
        return urls[0] if urls else None, [wrong]
    limit = field.max_items or 1
    if len(urls) > limit:
        rule = f"At most {limit} reference image."
        return urls[0], [Finding("error", field.name, f"({len(urls):,} URLs)", rule, "Keep one.")]
    return urls[0], [] if is_list else [wrong]
