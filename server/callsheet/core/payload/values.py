"""What single values and options of a shot a model card takes, and what instead of a wrong one.

`core.payload.validation` calls the steps in its order. A step returns its findings, and the shot with each wrong value
replaced by the nearest that is allowed or, where there is none, left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.fields import Field, neutral_value, wire_value
from callsheet.core.security.urls import check_url, url_host
from callsheet.core.shot import (
    IMAGE_TO_VIDEO,
    KIND_ROLES,
    PARAMETERS,
    PUBLIC_NAMES,
    Input,
    JsonValue,
    Kind,
    Scalar,
    Shot,
    format_word,
)
from callsheet.errors import ANOTHER_MODEL

from .body import (
    Finding,
    Severity,
    carriers,
    format_length,
    format_name,
    format_value,
    nearest_choice,
    nearest_value,
    present_fields,
    settle_shot,
    settling_order,
    size_value,
)

LONGEST_RANGE = 60
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
NOT_JSON_TEXT = "It has characters that JSON text cannot hold (NUL or half of a surrogate pair)."

Step = tuple[list[Finding], Shot]


def check_prompt(card: ModelCard, shot: Shot) -> Step:
    field = card.field_for("prompt")
    if field is None:
        return [], shot
    findings: list[Finding] = []
    prompt = _UNSENDABLE.sub("", shot.prompt)
    if prompt != shot.prompt:
        findings.append(build_error("prompt", format_length(shot.prompt), NOT_JSON_TEXT, "Remove them."))
        shot = replace(shot, prompt=prompt)
    if prompt.strip():
        findings.extend(_check_length(field, prompt))
    else:
        severity: Severity = "error" if field.required else "note"
        findings.append(Finding(severity, "prompt", "missing", "A prompt is required.", "Describe the shot."))
    return findings, shot


def _check_length(field: Field, prompt: str) -> list[Finding]:
    size, limit = len(prompt), field.max_length
    if field.min_length is not None and size < field.min_length:
        return [build_error("prompt", format_length(prompt), f"At least {field.min_length} characters.", "Write more.")]
    if limit is None:
        return []
    if size > limit:
        rule = f"At most {limit:,} {field.unit or 'characters'}; more than {limit:,} characters are refused."
        return [build_error("prompt", format_length(prompt), rule, f"Shorten it by {size - limit:,} characters.")]
    octets = len(prompt.encode())
    if field.unit == "tokens" and octets > limit:
        rule = (
            f"The limit is {limit:,} tokens; how they are counted is not documented, and {octets:,} bytes may be more."
        )
        return [Finding("warning", "prompt", format_length(prompt), rule, "Shorten it to be safe.")]
    return []


def check_fields_exist(card: ModelCard, shot: Shot) -> Step:
    """A value for which the card has no field is an error, never dropped silently."""
    findings: list[Finding] = []
    for name, value in shot.parameters.items():
        if carriers(card, name, shot.kind):
            continue
        if name in card.implied:
            implied = card.implied[name]
            if implied == value and type(implied) is type(value):
                continue
            rule = f"{card.id} has no {name} field; its clips have {PARAMETERS[name].shown(implied)}."
            findings.append(build_nearest(name, format_value(value), rule, format_word(implied)))
        else:
            rule = _no_field(card, name, shot.kind)
            findings.append(build_error(name, _said(name, value), rule, _without_field(name)))
        shot = shot.having(**{name: card.implied.get(name)})
    if shot.callback_url is not None and card.field_for("callback") is None:
        shown, rule = format_host(url_host(shot.callback_url)), f"{card.id} has no callback_url field."
        findings.append(build_error("callback_url", shown, rule, "Leave it out."))
        shot = replace(shot, callback_url=None)
    return findings, shot


def _without_field(name: str) -> str:
    return f"Leave it out. {ANOTHER_MODEL}" if name == "resolution" else "Leave it out."


def _no_field(card: ModelCard, name: str, kind: Kind) -> str:
    if name == "resolution" and not carriers(card, name):
        return f"{card.id} has no resolution field (its output size is not documented)."
    return f"{card.id} has no {name} field{f' for {kind}' if carriers(card, name) else ''}."


def _said(name: str, value: Scalar) -> str:
    return format_length(str(value)) if name == "negative_prompt" else format_value(value)


def check_values(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    for field in settling_order(card, shot):
        if field.role != "size" and field.role not in PARAMETERS:
            continue
        # What the card fills in limits the rest as what was said does.
        limited = field.under(settle_shot(card, shot)) if field.limits else field
        if field.role == "size":
            more, shot = _check_size(card, limited, shot)
        else:
            more, shot = _check_choice(card, field, limited, shot)
        findings.extend(more)
    return findings, shot


def _check_choice(card: ModelCard, field: Field, limited: Field, shot: Shot) -> Step:
    name = field.role
    value = shot.get(name)
    if value is None:
        missing = field.required and limited.fill is None
        shown = build_error(name, "missing", f"{card.id} requires it.", _choices_text(limited))
        return [shown] if missing else [], shot
    if name == "negative_prompt":
        complaint = _text_complaint(field, str(value))
        shot = shot.having(negative_prompt=_UNSENDABLE.sub("", str(value)))
        return [replace(complaint, field=name)] if complaint else [], shot
    if _offers(limited, value):
        return [], shot
    nearest = neutral_value(limited, nearest_value(limited, wire_value(limited, value)))
    note = _elsewhere(card, field, value, shot) or (f"; {limited.note}" if limited.note != field.note else "")
    rule = f"{card.id} offers {_choices_text(limited)}{note}."
    finding = build_nearest(name, _said(name, value), rule, format_word(nearest))
    return [finding], shot.having(**{name: nearest})


def _offers(field: Field, value: Scalar) -> bool:
    """Whether the field can say it. A gateway's own spelling is no value of a shot: `landscape` means 16:9."""
    wire = wire_value(field, value)
    return field.is_of_kind(wire) and field.takes(wire) and neutral_value(field, wire) == value


def _choices_text(field: Field) -> str:
    """What the field takes: its values, or its range."""
    if field.kind == "boolean":
        return "true, false"
    if field.values:
        return format_listing(neutral_value(field, value) for value in field.values)
    low, high = field.minimum, field.maximum
    if low is None and high is None:
        return "any value"
    return (
        f"{low} to {high}"
        if low is not None and high is not None
        else f"at least {low}"
        if high is None
        else f"at most {high}"
    )


def _elsewhere(card: ModelCard, field: Field, value: Scalar, shot: Shot) -> str:
    """For which kind of clip the card would take the value, if only that is wrong."""
    for kind in card.kinds:
        other = field.under(_as_kind(shot, kind))
        if kind != shot.kind and field.exists_in(kind) and _offers(other, value):
            return f"; {value} only with a reference image" if kind == IMAGE_TO_VIDEO else f"; {value} only for {kind}"
    return ""


def _as_kind(shot: Shot, kind: Kind) -> Shot:
    return replace(shot, inputs=tuple(Input(role, "") for role in KIND_ROLES[kind]))


def _check_size(card: ModelCard, field: Field, shot: Shot) -> Step:
    settled = settle_shot(card, shot)
    if size_value(field, settled) is not None:
        return [], shot
    ratio_asked, resolution_asked = settled.get("aspect_ratio"), settled.get("resolution")
    pairs = [dict(meaning) for _, meaning in field.spelling]
    ratio = nearest_choice(ratio_asked, tuple(pair["aspect_ratio"] for pair in pairs))
    resolutions = tuple(pair["resolution"] for pair in pairs if pair["aspect_ratio"] == ratio)
    resolution = nearest_choice(resolution_asked, resolutions)
    offered = format_listing(tuple(f"{pair['aspect_ratio']} at {pair['resolution']}" for pair in pairs))
    finding = build_nearest(
        "resolution" if ratio == ratio_asked else "aspect_ratio",
        f"{format_value(ratio_asked)} at {format_value(resolution_asked)}",
        f"{card.id} offers {offered}.",
        f"{ratio} at {resolution}",
    )
    return [finding], shot.having(aspect_ratio=str(ratio), resolution=str(resolution))


def check_options(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    fields = [field for field in present_fields(card, shot) if field.role == "option"]
    settled = settle_shot(card, shot) if any(field.limits for field in fields) else shot
    known = {field.path[-1]: field.under(settled) for field in fields}
    kept = dict(shot.options)
    for name, value in shot.options.items():
        if name not in known:
            kept.pop(name)
            findings.append(build_error(format_name(name), "", f"{card.id} has no such field.", "Leave it out."))
        elif (complaint := _option_complaint(known[name], value)) is not None:
            kept.pop(name)
            findings.append(complaint)
    findings.extend(
        build_error(field.name, "missing", f"{card.id} requires it.", field.note or "Give it in a raw payload.")
        for name, field in known.items()
        if field.required and field.fill is None and name not in shot.options
    )
    return findings, replace(shot, options=kept) if kept != dict(shot.options) else shot


def _option_complaint(field: Field, value: JsonValue) -> Finding | None:
    shown = format_value(value)
    if not field.is_of_kind(value):
        return build_error(field.name, shown, f"Must be of type {field.kind}.", "Correct it, or leave it out.")
    if not field.takes(value):
        nearest = format_word(nearest_value(field, value))
        rule = f"One of {format_listing(field.values)}." if field.values else f"Must be {_choices_text(field)}."
        return build_error(field.name, shown, rule, f"Nearest: {nearest}.")
    if isinstance(value, list) and not all(isinstance(item, str) and not _UNSENDABLE.search(item) for item in value):
        return build_error(field.name, shown, "Must be an array of strings.", "Correct it, or leave it out.")
    if isinstance(value, list) and field.max_items is not None and len(value) > field.max_items:
        return build_error(field.name, shown, f"At most {field.max_items} items.", "Leave some out.")
    return _text_complaint(field, value) if isinstance(value, str) else None


def _text_complaint(field: Field, value: str) -> Finding | None:
    if field.path[-1].endswith("_url"):
        verdict = check_url(value)
        if verdict.problem:
            return build_error(field.name, format_host(verdict.host), verdict.problem, "Use a public https URL.")
        return None
    if _UNSENDABLE.search(value):
        return build_error(field.name, format_length(value), NOT_JSON_TEXT, "Remove them.")
    if field.max_length is not None and len(value) > field.max_length:
        return build_error(field.name, format_length(value), f"At most {field.max_length:,} characters.", "Shorten it.")
    if field.min_length is not None and len(value) < field.min_length:
        return build_error(
            field.name, format_length(value), f"At least {field.min_length:,} characters.", "Write more."
        )
    return None


def neutral_choices(field: Field) -> tuple[Scalar, ...]:
    """The field's allowed values, or those of a range of at most a minute, in the words of a shot; empty when any."""
    if not field.values and field.minimum is not None and field.maximum is not None and field.maximum <= LONGEST_RANGE:
        return tuple(range(field.minimum, field.maximum + 1))
    return tuple(neutral_value(field, value) for value in field.values)


def build_error(field: str, value: str, rule: str | None, instead: str) -> Finding:
    return Finding("error", PUBLIC_NAMES.get(field, field), value, rule or "", instead)


def build_nearest(field: str, value: str, rule: str, nearest: str) -> Finding:
    """An error whose value the corrected shot replaces by the nearest that is allowed."""
    return replace(build_error(field, value, rule, f"Nearest: {nearest}."), now=nearest)


def format_host(host: str | None) -> str:
    return f"(host {host})" if host else ""


def format_listing(choices: Iterable[Scalar]) -> str:
    return ", ".join(str(choice) for choice in choices)
