"""Checks a shot against a model card: all violations together, each with what to write instead.

`check_shot` is the one place where a value is judged; a raw payload is first turned into a shot
(`core.recognition`) and then judged here too. An `error` prevents a sheet, a `warning`
is shown before the price, a `note` only says what was added or meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from callsheet.core.catalogue import Availability, Field, ModelCard, Role, Scalar
from callsheet.core.security.urls import check_url, url_host
from callsheet.core.shot import IMAGE_TO_VIDEO, ROLE_ATTRIBUTES, JsonValue, Kind, Shot
from callsheet.errors import ANOTHER_MODEL

from .body import (
    Finding,
    Severity,
    format_length,
    format_name,
    format_value,
    nearest_choice,
    neutral_value,
    settle_shot,
    size_value,
)

PUBLIC_NAMES = {"image": "image_url", "callback": "callback_url", "duration": "duration_seconds"}

_CARRIERS: Mapping[Role, tuple[Role, ...]] = MappingProxyType(
    {
        "duration": ("duration",),
        "aspect_ratio": ("aspect_ratio", "size"),
        "resolution": ("resolution", "size"),
        "callback": ("callback",),
    }
)
"""What a shot may ask for -> the fields that can hold it."""

_UNSENDABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts the person's policy lets a shot name. Empty `images` allows any public host."""

    callbacks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings, and the shot with each wrong value replaced by the nearest that is allowed.

    What only a person can fix is unchanged: a missing or too long prompt, an image URL, a missing required field.
    """

    findings: tuple[Finding, ...]
    corrected: Shot

    @property
    def blocked(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)


def check_shot(card: ModelCard, shot: Shot, hosts: Hosts) -> Verdict:
    """Judge every part of a shot for one card; see `Verdict`."""
    findings: list[Finding] = []
    corrected = shot
    for step in (_check_lifecycle, _check_kind, _check_prompt, _check_fields_exist, _check_values, _check_extras):
        more, corrected = step(card, corrected)
        findings.extend(more)
    wrong_urls = check_urls(card, shot, hosts)
    findings.extend(wrong_urls)
    if any(finding.field == "callback_url" for finding in wrong_urls):
        corrected = replace(corrected, callback_url=None)
    return Verdict(tuple(findings), settle_shot(card, corrected))


def nearest_shot(cards: Iterable[ModelCard], shot: Shot, hosts: Hosts) -> tuple[ModelCard, Verdict] | None:
    """For a shot that no card can take: the card that comes nearest, and what to change for it.

    A length, ratio or resolution that no card offers is first replaced by the nearest that any of them does, so that
    `4k` becomes 1080p although the cheapest card ends at 1024p.
    """
    usable = [card for card in cards if card.kinds and card.lifecycle.availability is not Availability.DROPPED]
    if not usable:
        return None
    findings: list[Finding] = []
    wanted = shot
    for attribute in ("duration_seconds", "aspect_ratio", "resolution"):
        value, offered = getattr(wanted, attribute), _offered(usable, shot.kind, attribute)
        if value is not None and offered and value not in offered:
            nearest = nearest_choice(value, offered)
            rule = f"No model here offers it; they offer {_listing(offered)}."
            findings.append(_error(attribute, format_value(value), rule, f"Nearest: {nearest}."))
            changed: dict[str, Any] = {attribute: nearest}
            wanted = replace(wanted, **changed)
    judged = [(card, check_shot(card, wanted, hosts)) for card in usable]
    card, verdict = min(judged, key=lambda pair: sum(finding.severity == "error" for finding in pair[1].findings))
    return card, Verdict((*findings, *verdict.findings), verdict.corrected)


def _offered(cards: Iterable[ModelCard], kind: Kind, attribute: str) -> tuple[Scalar, ...]:
    """What any of the cards can make of one attribute, in order."""
    values: set[Scalar] = set()
    for card in cards:
        for field in card.fields:
            if field.exists_in(kind) and ROLE_ATTRIBUTES.get(field.role) == attribute:
                values.update(neutral_choices(field, kind))
            elif field.exists_in(kind) and field.role == "size":
                values.update(dict(meaning)[attribute] for _, meaning in field.spelling if attribute in dict(meaning))
    return tuple(sorted(values, key=lambda value: (len(str(value)), str(value))))


Step = tuple[list[Finding], Shot]


def _check_lifecycle(card: ModelCard, shot: Shot) -> Step:
    life = card.lifecycle
    if life.availability is Availability.LIVE:
        return [], shot
    dropped = life.availability is Availability.DROPPED
    finding = Finding(
        severity="error" if dropped else "warning",
        field="model",
        value=card.id,
        rule=life.summary,
        instead=ANOTHER_MODEL if dropped else "",
    )
    return [finding], shot


def _check_kind(card: ModelCard, shot: Shot) -> Step:
    if shot.kind in card.kinds:
        return [], shot
    if not card.kinds:
        rule = "This model's input is not documented, or it does not generate video."
        return [_error("model", card.id, rule, ANOTHER_MODEL)], shot
    if shot.kind == IMAGE_TO_VIDEO:
        rule = f"{card.id} takes no reference image."
        return [_error("image_url", "", rule, "Leave it out.")], replace(shot, image_url=None)
    return [_error("image_url", "missing", f"{card.id} needs a reference image.", "Give one.")], shot


def _check_prompt(card: ModelCard, shot: Shot) -> Step:
    field = card.field_for("prompt")
    if field is None:
        return [], shot
    findings: list[Finding] = []
    prompt = _UNSENDABLE.sub("", shot.prompt)
    if prompt != shot.prompt:
        rule = "It has characters that JSON text cannot hold (NUL or half of a surrogate pair)."
        findings.append(_error("prompt", format_length(shot.prompt), rule, "Remove them."))
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
        return [_error("prompt", format_length(prompt), f"At least {field.min_length} characters.", "Write more.")]
    if limit is None:
        return []
    if size > limit:
        rule = f"At most {limit:,} {field.unit or 'characters'}; more than {limit:,} characters are refused."
        return [_error("prompt", format_length(prompt), rule, f"Shorten it by {size - limit:,} characters.")]
    octets = len(prompt.encode())
    if field.unit == "tokens" and octets > limit:
        rule = (
            f"The limit is {limit:,} tokens; how they are counted is not documented, and {octets:,} bytes may be more."
        )
        return [Finding("warning", "prompt", format_length(prompt), rule, "Shorten it to be safe.")]
    return []


def _check_fields_exist(card: ModelCard, shot: Shot) -> Step:
    """A value for which the card has no field is an error, never dropped silently."""
    findings: list[Finding] = []
    roles = {field.role for field in card.fields if field.exists_in(shot.kind)}
    for role, carriers in _CARRIERS.items():
        attribute = ROLE_ATTRIBUTES[role]
        value = getattr(shot, attribute)
        if value is None or roles & set(carriers) or (role == "resolution" and value == card.resolution_when_absent):
            continue
        shown = _host(url_host(value)) if role == "callback" else format_value(value)
        findings.append(_error(attribute, shown, _no_field(card, role, shot.kind), _without_field(role)))
        absent: dict[str, Any] = {attribute: None}
        shot = replace(shot, **absent)
    return findings, shot


def _no_field(card: ModelCard, role: Role, kind: Kind) -> str:
    if role == "resolution":
        fixed = card.resolution_when_absent
        known = f"its output is {fixed}" if fixed else "its output size is not documented"
        return f"{card.id} has no resolution field ({known})."
    elsewhere = any(field.role in _CARRIERS[role] for field in card.fields)
    return f"{card.id} has no {ROLE_ATTRIBUTES[role]} field{f' for {kind}' if elsewhere else ''}."


def _without_field(role: Role) -> str:
    return f"Leave it out. {ANOTHER_MODEL}" if role == "resolution" else "Leave it out."


def _check_values(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    for field in card.fields:
        if not field.exists_in(shot.kind):
            continue
        if field.role == "size":
            more, shot = _check_size(card, field, shot)
            findings.extend(more)
        elif field.role in ("duration", "aspect_ratio", "resolution"):
            more, shot = _check_choice(card, field, shot)
            findings.extend(more)
    return findings, shot


def _check_choice(card: ModelCard, field: Field, shot: Shot) -> Step:
    attribute = ROLE_ATTRIBUTES[field.role]
    value: Scalar | None = getattr(shot, attribute)
    if value is None:
        return [], shot
    allowed = neutral_choices(field, shot.kind)
    if not allowed or any(value == choice and type(value) is type(choice) for choice in allowed):
        return [], shot
    nearest = nearest_choice(value, allowed)
    rule = f"{card.id} offers {_listing(allowed)}{_only_with_image(field, value, shot.kind)}."
    finding = _error(PUBLIC_NAMES.get(field.role, field.role), format_value(value), rule, f"Nearest: {nearest}.")
    changed: dict[str, Any] = {attribute: nearest}
    return [finding], replace(shot, **changed)


def _only_with_image(field: Field, value: Scalar, kind: Kind) -> str:
    if kind != IMAGE_TO_VIDEO and value in field.values_with_image:
        return f"; {value} only with a reference image"
    return ""


def _check_size(card: ModelCard, field: Field, shot: Shot) -> Step:
    settled = settle_shot(card, shot)
    if size_value(field, settled) is not None:
        return [], shot
    pairs = [dict(meaning) for _, meaning in field.spelling]
    ratio = nearest_choice(settled.aspect_ratio, tuple(pair["aspect_ratio"] for pair in pairs))
    resolutions = tuple(pair["resolution"] for pair in pairs if pair["aspect_ratio"] == ratio)
    resolution = nearest_choice(settled.resolution, resolutions)
    offered = _listing(tuple(f"{pair['aspect_ratio']} at {pair['resolution']}" for pair in pairs))
    finding = _error(
        "resolution" if ratio == settled.aspect_ratio else "aspect_ratio",
        f"{format_value(settled.aspect_ratio)} at {format_value(settled.resolution)}",
        f"{card.id} offers {offered} from text.",
        f"Nearest: {ratio} at {resolution}.",
    )
    return [finding], replace(shot, aspect_ratio=str(ratio), resolution=str(resolution))


def _check_extras(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    known = {field.path[-1]: field for field in card.fields if field.role == "extra" and field.exists_in(shot.kind)}
    kept = dict(shot.extras)
    for name, value in shot.extras.items():
        if name not in known:
            kept.pop(name)
            findings.append(_error(format_name(name), "", f"{card.id} has no such field.", "Leave it out."))
        elif (complaint := _extra_complaint(known[name], value)) is not None:
            kept.pop(name)
            findings.append(complaint)
    findings.extend(
        _error(field.name, "missing", f"{card.id} requires it.", field.note or "Give it in a raw payload.")
        for name, field in known.items()
        if field.required and name not in shot.extras
    )
    return findings, replace(shot, extras=kept) if kept != dict(shot.extras) else shot


_KINDS: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}


def _extra_complaint(field: Field, value: JsonValue) -> Finding | None:
    shown = format_value(value)
    if not isinstance(value, _KINDS[field.kind]) or (field.kind == "integer" and isinstance(value, bool)):
        return _error(field.name, shown, f"Must be of type {field.kind}.", "Correct it, or leave it out.")
    if field.values and value not in field.values:
        nearest = nearest_choice(value, field.values)
        return _error(field.name, shown, f"One of {_listing(field.values)}.", f"Nearest: {nearest}.")
    if isinstance(value, list) and not all(isinstance(item, str) and not _UNSENDABLE.search(item) for item in value):
        return _error(field.name, shown, "Must be an array of strings.", "Correct it, or leave it out.")
    if isinstance(value, list) and field.max_items is not None and len(value) > field.max_items:
        return _error(field.name, shown, f"At most {field.max_items} items.", "Leave some out.")
    return _text_complaint(field, value) if isinstance(value, str) else None


def _text_complaint(field: Field, value: str) -> Finding | None:
    if field.path[-1].endswith("_url"):
        verdict = check_url(value)
        if verdict.problem:
            return _error(field.name, _host(verdict.host), verdict.problem, "Use a public https URL.")
        return None
    if _UNSENDABLE.search(value):
        rule = "It has characters that JSON text cannot hold (NUL or half of a surrogate pair)."
        return _error(field.name, format_length(value), rule, "Remove them.")
    if field.max_length is not None and len(value) > field.max_length:
        return _error(field.name, format_length(value), f"At most {field.max_length:,} characters.", "Shorten it.")
    if field.min_length is not None and len(value) < field.min_length:
        return _error(field.name, format_length(value), f"At least {field.min_length:,} characters.", "Write more.")
    return None


def check_urls(card: ModelCard, shot: Shot, hosts: Hosts) -> list[Finding]:
    """Checks the two URLs that an agent may give, and their hosts against the policy."""
    findings: list[Finding] = []
    if shot.image_url is not None:
        findings.extend(_check_image_url(card, shot.image_url, hosts))
    if shot.callback_url is not None:
        findings.extend(_check_callback_url(shot.callback_url, hosts))
    return findings


def _check_image_url(card: ModelCard, url: str, hosts: Hosts) -> list[Finding]:
    verdict = check_url(url)
    if verdict.problem:
        return [_error("image_url", _host(verdict.host), verdict.problem, "Give a public https URL.")]
    if hosts.images and verdict.host not in hosts.images:
        rule = "The policy does not list this host under [hosts] image."
        return [_error("image_url", _host(verdict.host), rule, "A person can add it to the policy file.")]
    formats = card.image.formats if card.image else ()
    name = url.split("?", 1)[0].rsplit("/", 1)[-1].lower()
    if formats and "." in name and not name.endswith(formats):
        rule = f"The name does not end in {_listing(formats)}."
        return [Finding("warning", "image_url", _host(verdict.host), rule, "Use one of these formats.")]
    return []


def _check_callback_url(url: str, hosts: Hosts) -> list[Finding]:
    verdict = check_url(url)
    if verdict.problem:
        return [_error("callback_url", _host(verdict.host), verdict.problem, "Leave it out; polling does not need it.")]
    if verdict.host not in hosts.callbacks:
        rule = "Callback hosts must be listed by a person in the policy file, under [hosts] callback."
        return [_error("callback_url", _host(verdict.host), rule, "Leave it out; polling does not need it.")]
    return []


def neutral_choices(field: Field, kind: Kind) -> tuple[Scalar, ...]:
    """The field's allowed values in the words of a shot; empty when any."""
    return tuple(neutral_value(field, value) for value in field.allowed(kind))


def _error(field: str, value: str, rule: str | None, instead: str) -> Finding:
    return Finding("error", field, value, rule or "", instead)


def _host(host: str | None) -> str:
    return f"(host {host})" if host else ""


def _listing(choices: Iterable[Scalar]) -> str:
    return ", ".join(str(choice) for choice in choices)
