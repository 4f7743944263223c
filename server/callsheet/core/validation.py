"""Checks a shot against a model card: every violation at once, each with what to write instead.

`check_shot` is the one place where a value is judged; a raw payload is first turned into a shot
(`core.recognition`) and then judged here too. An `error` keeps a sheet from being made, a `warning`
is shown before the price, a `note` only tells what was added or meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from .catalogue import Availability, Field, ModelCard, Scalar
from .payload import neutral_value, settle_shot, size_value
from .redaction import clean
from .shot import IMAGE_TO_VIDEO, ROLE_ATTRIBUTES, JsonValue, Mode, Shot
from .urls import check_url

Severity = Literal["error", "warning", "note"]

PUBLIC_NAMES = {"image": "image_url", "callback": "callback_url", "duration": "duration_seconds"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a shot or payload.

    `field` is the name in the caller's own words, `value` is what stood there (bounded; of a URL only
    the host, of a prompt only its length), `rule` what the gateway documents, `instead` what to write.
    """

    severity: Severity
    field: str
    value: str
    rule: str
    instead: str

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        instead = f" {self.instead}" if self.instead else ""
        return f"{self.field}{value}: {self.rule}{instead}"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts the person's policy lets a shot name. Empty `images` allows any public host."""

    callbacks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings, and the shot with each wrong value replaced by the nearest that is allowed."""

    findings: tuple[Finding, ...]
    mended: Shot

    @property
    def blocked(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)


def check_shot(card: ModelCard, shot: Shot, hosts: Hosts) -> Verdict:
    """Judge every part of a shot for one card; see `Verdict`."""
    findings: list[Finding] = []
    mended = shot
    for step in (_check_lifecycle, _check_mode, _check_prompt, _check_resolution_exists, _check_values, _check_extras):
        more, mended = step(card, mended)
        findings.extend(more)
    findings.extend(check_urls(card, shot, hosts))
    return Verdict(tuple(findings), settle_shot(card, mended))


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
        instead="Choose another model (list_models)." if dropped else "",
    )
    return [finding], shot


def _check_mode(card: ModelCard, shot: Shot) -> Step:
    if shot.mode in card.modes:
        return [], shot
    if shot.mode == IMAGE_TO_VIDEO:
        rule = f"{card.id} takes no reference image."
        return [_error("image_url", "", rule, "Leave it out.")], replace(shot, image_url=None)
    if not card.modes:
        return [_error("model", card.id, "What it takes is not documented, or it films nothing.", "Choose another.")], shot
    return [_error("image_url", "missing", f"{card.id} works from a reference image only.", "Give one.")], shot


def _check_prompt(card: ModelCard, shot: Shot) -> Step:
    field = card.field_for("prompt")
    if field is None:
        return [], shot
    if not shot.prompt.strip():
        severity: Severity = "error" if field.required else "note"
        return [Finding(severity, "prompt", "missing", "A prompt is required.", "Describe the shot.")], shot
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in shot.prompt):
        rule = "It has characters that JSON text cannot carry (NUL or half of a surrogate pair)."
        return [_error("prompt", _length(shot.prompt), rule, "Remove them.")], shot
    return _check_length(field, shot.prompt), shot


def _check_length(field: Field, prompt: str) -> list[Finding]:
    size, limit = len(prompt), field.max_length
    if field.min_length is not None and size < field.min_length:
        return [_error("prompt", _length(prompt), f"At least {field.min_length} characters.", "Say more.")]
    if limit is None:
        return []
    if size > limit:
        rule = f"At most {limit:,} {field.unit or 'characters'}; more than {limit:,} characters are refused."
        return [_error("prompt", _length(prompt), rule, f"Shorten it by {size - limit:,} characters.")]
    octets = len(prompt.encode())
    if field.unit == "tokens" and octets > limit:
        rule = f"The gateway counts tokens (at most {limit:,}) and does not say how; {octets:,} bytes may exceed it."
        return [Finding("warning", "prompt", _length(prompt), rule, "Shorten it to be safe.")]
    return []


def _check_resolution_exists(card: ModelCard, shot: Shot) -> Step:
    if shot.resolution is None or any(
        field.role in ("resolution", "size") and field.exists_in(shot.mode) for field in card.fields
    ):
        return [], shot
    fixed = card.resolution_when_absent
    if fixed == shot.resolution:
        return [], shot
    known = f"it films in {fixed}" if fixed else "its output size is not documented"
    rule = f"{card.id} has no resolution field ({known})."
    return [_error("resolution", shot.resolution, rule, "Leave it out, or choose a pro model.")], replace(
        shot, resolution=None
    )


def _check_values(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    for field in card.fields:
        if not field.exists_in(shot.mode):
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
    allowed = neutral_choices(field, shot.mode)
    if not allowed or any(value == choice and type(value) is type(choice) for choice in allowed):
        return [], shot
    nearest = nearest_choice(value, allowed)
    rule = f"{card.id} offers {_listing(allowed)}{_only_with_image(field, value, shot.mode)}."
    finding = _error(PUBLIC_NAMES.get(field.role, field.role), clean(value, limit=60), rule, f"Nearest: {nearest}.")
    changed: dict[str, Any] = {attribute: nearest}
    return [finding], replace(shot, **changed)


def _only_with_image(field: Field, value: Scalar, mode: Mode) -> str:
    if mode != IMAGE_TO_VIDEO and value in field.values_with_image:
        return f"; {value} only with a reference image"
    return ""


def _check_size(card: ModelCard, field: Field, shot: Shot) -> Step:
    settled = settle_shot(card, shot)
    if size_value(field, settled) is not None:
        return [], shot
    pairs = [dict(meaning) for _, meaning in field.spelling]
    same_ratio = [pair for pair in pairs if pair["aspect_ratio"] == settled.aspect_ratio] or pairs
    nearest = next((pair for pair in same_ratio if pair["resolution"] == settled.resolution), same_ratio[0])
    offered = _listing(tuple(f"{pair['aspect_ratio']} at {pair['resolution']}" for pair in pairs))
    finding = _error(
        "resolution" if same_ratio is not pairs else "aspect_ratio",
        clean(f"{settled.aspect_ratio} at {settled.resolution}", limit=60),
        f"{card.id} offers {offered} from text.",
        f"Nearest: {nearest['aspect_ratio']} at {nearest['resolution']}.",
    )
    return [finding], replace(shot, aspect_ratio=nearest["aspect_ratio"], resolution=nearest["resolution"])


def _check_extras(card: ModelCard, shot: Shot) -> Step:
    findings: list[Finding] = []
    known = {field.path[-1]: field for field in card.fields if field.role == "extra" and field.exists_in(shot.mode)}
    kept = dict(shot.extras)
    for name, value in shot.extras.items():
        if name not in known:
            kept.pop(name)
            findings.append(_error(clean(name, limit=60), "", f"{card.id} has no such field.", "Leave it out."))
        elif (complaint := _extra_complaint(known[name], value)) is not None:
            kept.pop(name)
            findings.append(complaint)
    findings.extend(
        _error(name, "missing", f"{card.id} requires it.", field.note or "Give it in a raw payload.")
        for name, field in known.items()
        if field.required and name not in shot.extras
    )
    return findings, replace(shot, extras=kept) if kept != dict(shot.extras) else shot


_KINDS: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}


def _extra_complaint(field: Field, value: JsonValue) -> Finding | None:
    shown = clean(value, limit=60)
    if not isinstance(value, _KINDS[field.kind]) or (field.kind == "integer" and isinstance(value, bool)):
        return _error(field.name, shown, f"Must be of type {field.kind}.", "Write it so, or leave it out.")
    if field.values and value not in field.values:
        nearest = nearest_choice(shown, field.values)
        return _error(field.name, shown, f"One of {_listing(field.values)}.", f"Nearest: {nearest}.")
    if isinstance(value, str):
        return _text_complaint(field, value)
    return None


def _text_complaint(field: Field, value: str) -> Finding | None:
    if field.path[-1].endswith("_url"):
        verdict = check_url(value)
        return (
            _error(field.name, _host(verdict.host), verdict.problem, "Use a public https URL.")
            if (verdict.problem)
            else None
        )
    if field.max_length is not None and len(value) > field.max_length:
        return _error(field.name, _length(value), f"At most {field.max_length:,} characters.", "Shorten it.")
    if field.min_length is not None and len(value) < field.min_length:
        return _error(field.name, _length(value), f"At least {field.min_length:,} characters.", "Say more.")
    return None


def check_urls(card: ModelCard, shot: Shot, hosts: Hosts) -> list[Finding]:
    """The strict check of the two URLs an agent may give, and the policy's say on their hosts."""
    findings: list[Finding] = []
    if shot.image_url is not None:
        findings.extend(_check_image_url(card, shot.image_url, hosts))
    if shot.callback_url is not None:
        findings.extend(_check_callback_url(shot.callback_url, hosts))
    return findings


def _check_image_url(card: ModelCard, url: str, hosts: Hosts) -> list[Finding]:
    verdict = check_url(url, max_query=1024)
    if verdict.problem:
        return [_error("image_url", _host(verdict.host), verdict.problem, "Give a public https URL.")]
    if hosts.images and verdict.host not in hosts.images:
        rule = "The policy does not list this host under [hosts] image."
        return [_error("image_url", _host(verdict.host), rule, "A person may add it to the policy file.")]
    formats = card.image.formats if card.image else ()
    name = url.split("?", 1)[0].rsplit("/", 1)[-1].lower()
    if formats and "." in name and not name.endswith(formats):
        rule = f"The name does not end in {_listing(formats)}."
        return [Finding("warning", "image_url", _host(verdict.host), rule, "Use one of these formats.")]
    return []


def _check_callback_url(url: str, hosts: Hosts) -> list[Finding]:
    verdict = check_url(url)
    if verdict.problem:
        return [_error("callback_url", _host(verdict.host), verdict.problem, "Leave it out: polling needs none.")]
    if verdict.host not in hosts.callbacks:
        rule = "Callback hosts must be listed by a person in the policy file, under [hosts] callback."
        return [_error("callback_url", _host(verdict.host), rule, "Leave it out: polling needs none.")]
    return []


def neutral_choices(field: Field, mode: Mode) -> tuple[Scalar, ...]:
    """The field's allowed values in the words of a shot; empty when any."""
    return tuple(neutral_value(field, value) for value in field.allowed(mode))


def nearest_choice(value: JsonValue, choices: tuple[Scalar, ...]) -> Scalar:
    """The allowed value nearest to a wrong one: by distance for numbers (ties to the cheaper), else by spelling."""
    number = _number(value)
    numbers = [choice for choice in choices if isinstance(choice, int) and not isinstance(choice, bool)]
    if number is not None and numbers:
        return min(numbers, key=lambda choice: (abs(choice - number), choice))
    if number is not None:
        numbered = [(abs(found - number), choice) for choice in choices if (found := _number(choice)) is not None]
        if numbered:
            return min(numbered, key=lambda pair: pair[0])[1]
    close = difflib.get_close_matches(
        str(value)[:60].lower(), [str(choice).lower() for choice in choices], n=1, cutoff=0
    )
    return next((choice for choice in choices if close and str(choice).lower() == close[0]), choices[0])


def _number(value: JsonValue) -> float | None:
    digits = str(value).strip().lower().removesuffix("seconds").removesuffix("sec").rstrip("sp ")
    try:
        number = float(digits[:20])
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None


def _error(field: str, value: str, rule: str | None, instead: str) -> Finding:
    return Finding("error", field, value, rule or "", instead)


def _length(text: str) -> str:
    return f"({len(text):,} characters)"


def _host(host: str | None) -> str:
    return f"(host {host})" if host else ""


def _listing(choices: Iterable[Scalar]) -> str:
    return ", ".join(str(choice) for choice in choices)
