"""Files of the person's own in a shot: what a card takes of them, how they are shown, and their links in a body.

A body is frozen, hashed and approved with a name in place of each file. The name has the file's SHA-256, so the
approval is bound to the content. Just before sending, and only in the fields that hold inputs, the names are replaced
by the links that the gateway gave for the files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.security.redaction import clean, escape_block
from callsheet.core.security.urls import url_host
from callsheet.core.shot import PUBLIC_NAMES, Input, InputRole, JsonValue, OwnFile, Shot

from .body import Body, Finding, freeze_body
from .values import build_error, format_listing

PICTURES: tuple[InputRole, ...] = ("first_frame", "last_frame", "reference_image")
"""The roles that a file of the person's own may have."""
ORIGIN_SHOWN = 160
ENDINGS = {"jpg": (".jpg", ".jpeg"), "png": (".png",)}


def format_own_file(file: OwnFile) -> str:
    """The file as a text shows it; of a long path the end, because that is where the name is."""
    path = file.origin if len(file.origin) <= ORIGIN_SHOWN else f"…{file.origin[1 - ORIGIN_SHOWN :]}"
    shown = escape_block(path.replace('"', "'"), 2 * ORIGIN_SHOWN)
    return f'"{shown}" ({file.width}x{file.height} pixels, {file.size:,} bytes, SHA-256 {file.sha256[:12]})'


def format_inputs(shot: Shot, files: Mapping[str, OwnFile], upload_to: str) -> str:
    """The inputs as the person sees them who is about to agree: host or file of each, and where files go."""
    counts: dict[str, int] = {}
    for item in shot.inputs:
        file = files.get(item.url)
        source = f"your file {format_own_file(file)}" if file else clean(url_host(item.url), limit=260) or "nowhere"
        where = f"{item.role.replace('_', ' ')} from {source}"
        counts[where] = counts.get(where, 0) + 1
    text = ", ".join(f"{where} ({count})" if count > 1 else where for where, count in counts.items()) or "none"
    return f"{text} · UPLOADED to {clean(upload_to, limit=120)} after you approve" if shot.own_files else text


def check_own_file(
    card: ModelCard, item: Input, files: Mapping[str, OwnFile], uploads: Collection[str]
) -> list[Finding]:
    """Whether the card takes that file: errors, else a note on what happens to it.

    `files` are those that are kept, by name; `uploads` are the gateways that take files.
    """
    file = files.get(item.url)
    if file is None:
        return [build_error(item.role, "(a file)", "No such file is kept here.", "Give the picture by its path.")]
    if item.role not in PICTURES:
        return [build_error(item.role, "(a file)", "Only a picture can be a file.", "Give a public https URL.")]
    if card.gateway not in uploads:
        rule = f"No source documents how {card.gateway} takes a file."
        instead = f"Give a public https URL, or choose a gateway that takes files: {format_listing(uploads)}."
        return [build_error(item.role, "(a file)", rule, instead)]
    findings = list(_broken_limits(card, item.role, file))
    if not findings:
        rule = "It is uploaded to the gateway after the approval. The request then has its link in place of this name."
        if any(limit.files_only for limit in card.rules_for(item.role)):
            rule = "It is sent in the request, after the approval."
        name = PUBLIC_NAMES.get(item.role, item.role)
        findings.append(Finding("note", name, f"your file {format_own_file(file)}", rule, ""))
    return findings


def _broken_limits(card: ModelCard, role: InputRole, file: OwnFile) -> list[Finding]:
    findings: list[Finding] = []
    pixels, sides = f"({file.width}x{file.height} pixels)", (file.width, file.height)
    for rule in card.rules_for(role):
        if rule.max_bytes is not None and file.size > rule.max_bytes:
            text = f"{card.id} takes at most {rule.max_bytes:,} bytes."
            findings.append(build_error(role, f"({file.size:,} bytes)", text, "Use a smaller picture."))
        if rule.formats and not set(rule.formats) & {*ENDINGS[file.format]}:
            text = f"{card.id} takes {format_listing(rule.formats)}."
            findings.append(build_error(role, f"({file.format})", text, "Convert it to one of these formats."))
        if rule.min_side is not None and min(sides) < rule.min_side:
            text = f"{card.id} takes at least {rule.min_side:,} pixels on each side."
            findings.append(build_error(role, pixels, text, "Use a larger picture."))
        if rule.max_side is not None and max(sides) > rule.max_side:
            text = f"{card.id} takes at most {rule.max_side:,} pixels on each side."
            findings.append(build_error(role, pixels, text, "Use a smaller picture."))
    return findings


def place_links(card: ModelCard, body: bytes, links: Mapping[str, str]) -> bytes:
    """The frozen body with links in place of the names of files, in the card's fields for inputs and nowhere else.

    Raises `ValueError` for bytes that reading and writing would change anywhere else.
    """
    if not links:
        return body
    table: Body = json.loads(body)
    if freeze_body(table) != body:
        raise ValueError("the body is not as it was frozen")
    for field in card.fields:
        if field.role == "input":
            _place(table, field.path, links)
    return freeze_body(table)


def _place(table: Body, path: tuple[str, ...], links: Mapping[str, str]) -> None:
    *parents, leaf = path
    for name in parents:
        inner = table.get(name)
        if not isinstance(inner, dict):
            return
        table = inner
    if leaf in table:
        table[leaf] = _linked(table[leaf], links)


def _linked(value: JsonValue, links: Mapping[str, str]) -> JsonValue:
    if isinstance(value, list):
        return [_linked(item, links) for item in value]
    return links.get(value, value) if isinstance(value, str) else value
