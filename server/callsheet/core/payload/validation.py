"""Checks a shot against a model card: all violations together, each with what to write instead.

`check_shot` is the one place where a value is judged; a raw payload is first turned into a shot
(`core.payload.recognition`) and then judged here too. An `error` prevents a sheet, a `warning`
is shown before the price, a `note` only says what was added or meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.security.urls import check_url
from callsheet.core.shot import (
    INPUT_ROLES,
    KIND_ROLES,
    OWN_FILE_SCHEME,
    PLAIN,
    TEXT_TO_VIDEO,
    Input,
    OwnFile,
    Scalar,
    Shot,
)
from callsheet.errors import ANOTHER_MODEL

from .body import (
    Finding,
    carriers,
    format_value,
    nearest_choice,
    settle_shot,
)
from .own_files import check_own_file
from .values import (
    Step,
    build_error,
    build_nearest,
    check_fields_exist,
    check_options,
    check_prompt,
    check_values,
    format_host,
    format_listing,
    neutral_choices,
)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts the person's policy lets a shot name. Empty `images` allows any public host.

    `files` are the person's own that the shot names and that are kept; `uploads` are the gateways that take files.
    """

    callbacks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    files: Mapping[str, OwnFile] = field(default_factory=dict)
    uploads: tuple[str, ...] = ()


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

    @property
    def is_mended(self) -> bool:
        """Whether there are errors, and the corrected shot has a value in the place of each."""
        return self.blocked and all(item.now is not None for item in self.findings if item.severity == "error")

    @property
    def softened(self) -> Verdict:
        """With warnings for errors: nothing is left out or open, and a person decides on what was changed."""
        findings = tuple(replace(item, severity="warning") if item.now else item for item in self.findings)
        return Verdict(findings, self.corrected)


def check_shot(card: ModelCard, shot: Shot, hosts: Hosts) -> Verdict:
    """Judge every part of a shot for one card; see `Verdict`."""
    findings: list[Finding] = []
    corrected = shot
    steps = (_check_lifecycle, _check_kind, _check_inputs, check_prompt, check_fields_exist, check_values)
    for step in (*steps, check_options):
        more, corrected = step(card, corrected)
        findings.extend(more)
    wrong_urls = check_urls(card, shot, hosts)
    findings.extend(wrong_urls)
    if any(finding.field == "callback_url" for finding in wrong_urls):
        corrected = replace(corrected, callback_url=None)
    return Verdict(tuple(findings), settle_shot(card, corrected))


def nearest_shot(cards: Iterable[ModelCard], shot: Shot, hosts: Hosts) -> tuple[ModelCard, Verdict] | None:
    """For a shot that no card can take: the card that comes nearest, and what to change for it.

    A value that no card offers is first replaced by the nearest that any of them does, so that `4k` becomes 1080p
    although the cheapest card ends at 1024p.
    """
    usable = [card for card in cards if card.kinds and card.lifecycle.availability is not Availability.DROPPED]
    if not usable:
        return None
    findings: list[Finding] = []
    wanted = shot
    for name in PLAIN:
        value, offered = wanted.get(name), offered_values(usable, shot, name)
        if value is not None and offered and value not in offered:
            nearest = nearest_choice(value, offered)
            rule = f"No model here offers it; they offer {format_listing(offered)}."
            findings.append(build_nearest(name, format_value(value), rule, str(nearest)))
            wanted = wanted.having(**{name: nearest})
    judged = [(card, check_shot(card, wanted, hosts)) for card in usable]
    card, verdict = min(judged, key=lambda pair: sum(finding.severity == "error" for finding in pair[1].findings))
    return card, Verdict((*findings, *verdict.findings), verdict.corrected)


def offered_values(cards: Iterable[ModelCard], shot: Shot, name: str) -> tuple[Scalar, ...]:
    """What any of the cards takes for one parameter beside the rest of the shot, in order; a range value by value."""
    values: set[Scalar] = set()
    for card in cards:
        fields = carriers(card, name, shot.kind)
        if not fields and name in card.implied:
            values.add(card.implied[name])
        for carrier in fields:
            if carrier.role == "size":
                values.update(dict(meaning)[name] for _, meaning in carrier.spelling if name in dict(meaning))
            else:
                values.update(neutral_choices(carrier.under(shot)))
    return tuple(sorted(values, key=lambda value: (len(str(value)), str(value))))


def _check_lifecycle(card: ModelCard, shot: Shot) -> Step:
    life = card.lifecycle
    if life.availability in (Availability.LIVE, Availability.LISTED):
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
    """Whether the model makes such a clip at all; inputs of a role that it takes nowhere go."""
    if not card.kinds:
        rule = "This model's input is not documented, or it does not generate video."
        return [build_error("model", card.id, rule, ANOTHER_MODEL)], shot
    if not shot.inputs and TEXT_TO_VIDEO in card.kinds:
        return [], shot
    held = {kind: {role for field in card.input_fields(kind) for role in field.inputs} for kind in card.kinds}
    taken = {role for kind, roles in held.items() for role in roles if role in KIND_ROLES[kind]}
    unknown = [role for role in INPUT_ROLES if role not in taken and shot.urls(role)]
    findings = [build_error(role, "", f"{card.id} takes no {_words(role)}.", "Leave it out.") for role in unknown]
    shot = shot.without(*unknown)
    if shot.kind in card.kinds:
        return findings, shot
    if shot.kind == TEXT_TO_VIDEO:
        needed = next((role for role in INPUT_ROLES if role in taken), "first_frame")
        rule = f"{card.id} needs a {_words(needed)}."
        return [*findings, build_error(needed, "missing", rule, "Give one.")], shot
    rule = f"{card.id} makes {format_listing(card.kinds)}, not {shot.kind}."
    return [*findings, build_error("model", card.id, rule, f"Leave the input out. {ANOTHER_MODEL}")], shot


def _check_inputs(card: ModelCard, shot: Shot) -> Step:
    """Whether a field of this kind holds each, how many there are, and which of them go together."""
    if not shot.inputs:
        return [], shot
    held = {role for field in card.input_fields(shot.kind) for role in field.inputs}
    lost = [role for role in INPUT_ROLES if shot.urls(role) and role not in held and shot.kind in card.kinds]
    findings = [
        build_error(role, "", f"{card.id} takes no {_words(role)} for {shot.kind}.", "Leave it out.") for role in lost
    ]
    shot = shot.without(*lost)
    for rule in card.inputs:
        count = len(shot.urls(*rule.roles))
        name = rule.roles[0]
        if not count:
            continue
        others = [role for role in rule.excludes if shot.urls(role)]
        if others:
            text = f"{card.id} does not take a {_words(name)} together with a {_words(others[0])}."
            findings.append(build_error(name, "", text, "Keep one of them."))
        if rule.needs and not shot.urls(*rule.needs):
            needed = " or a ".join(_words(role) for role in rule.needs)
            findings.append(build_error(name, "", f"{card.id} takes it only with a {needed}.", f"Give a {needed}."))
        if rule.most is not None and count > rule.most:
            findings.append(build_error(name, f"({count})", f"At most {rule.most}.", "Leave some out."))
        if rule.least is not None and count < rule.least:
            findings.append(build_error(name, f"({count})", f"At least {rule.least}.", "Give more, or none."))
    told = {finding.field for finding in findings}
    return [*findings, *(finding for finding in _overfull(card, shot) if finding.field not in told)], shot


def _overfull(card: ModelCard, shot: Shot) -> Iterator[Finding]:
    """More inputs than a field holds: the rest would be dropped silently."""
    for carrier in card.input_fields(shot.kind):
        count, most = len(shot.urls(*carrier.inputs)), carrier.max_items if carrier.kind == "array" else 1
        if most is not None and count > most:
            name = next(role for role in carrier.inputs if shot.urls(role))
            yield build_error(name, f"({count})", f"{carrier.name} holds at most {most}.", "Leave some out.")


def _words(role: str) -> str:
    return "first frame (reference image)" if role == "first_frame" else role.replace("_", " ")


def check_urls(card: ModelCard, shot: Shot, hosts: Hosts) -> list[Finding]:
    """Checks the addresses that an agent may give, and their hosts against the policy."""
    findings: list[Finding] = []
    for item in shot.inputs:
        findings.extend(_check_input_url(card, item, hosts))
    if shot.callback_url is not None:
        findings.extend(_check_callback_url(shot.callback_url, hosts))
    return findings


def _check_input_url(card: ModelCard, item: Input, hosts: Hosts) -> list[Finding]:
    if item.url.startswith(OWN_FILE_SCHEME):
        return check_own_file(card, item, hosts.files, hosts.uploads)
    if any(rule.files_only for rule in card.rules_for(item.role)):
        rule = f"{card.gateway} takes the picture itself, in the request."
        return [build_error(item.role, "(a URL)", rule, "Give a file by its path.")]
    verdict = check_url(item.url)
    if verdict.problem:
        return [build_error(item.role, format_host(verdict.host), verdict.problem, "Give a public https URL.")]
    if hosts.images and verdict.host not in hosts.images:
        rule = "The policy does not list this host under [hosts] image."
        return [build_error(item.role, format_host(verdict.host), rule, "A person can add it to the policy file.")]
    formats = tuple(ending for rule in card.rules_for(item.role) for ending in rule.formats)
    name = item.url.split("?", 1)[0].rsplit("/", 1)[-1].lower()
    if formats and "." in name and not name.endswith(formats):
        rule = f"The name does not end in {format_listing(formats)}."
        finding = build_error(item.role, format_host(verdict.host), rule, "Use one of these formats.")
        return [replace(finding, severity="warning")]
    return []


def _check_callback_url(url: str, hosts: Hosts) -> list[Finding]:
    verdict = check_url(url)
    if verdict.problem:
        return [
            build_error(
                "callback_url", format_host(verdict.host), verdict.problem, "Leave it out; polling does not need it."
            )
        ]
    if verdict.host not in hosts.callbacks:
        rule = "Callback hosts must be listed by a person in the policy file, under [hosts] callback."
        return [build_error("callback_url", format_host(verdict.host), rule, "Leave it out; polling does not need it.")]
    return []
