"""A payload as it was written: its values with their places, and the whole request around it.

Such a request is a curl command, a request line, or an object with address, headers and body. The address names the
gateway, and APIXO's names the model too. Headers are dropped: they hold the key. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from callsheet.core.catalogue import Catalogue
from callsheet.core.security.urls import url_host
from callsheet.core.shot import JsonValue

from .body import Finding, format_name, image_url, read_number
from .names import CONTAINERS, fold_name, role_of

Payload = dict[str, JsonValue]

MAX_LEAVES = 64
MAX_DEPTH = 4
MAX_TEXT = 200_000
_MOST_BRACES = 40
_ADDRESSES = ("url", "endpoint", "uri", "base_url", "api_base", "api_url")
_BODIES = ("json", "body", "data", "payload", "params")
_AROUND = (*_ADDRESSES, "headers", "method", "timeout", "verify")
_ADDRESS = re.compile(r"https?://[^\s'\"\\]{1,2048}")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of a payload, with its place."""

    path: tuple[str, ...]
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Request:
    """The body, and the gateway and model that the address names. `elsewhere`: the address is of no known gateway."""

    body: Payload
    gateway: str | None = None
    model: str | None = None
    elsewhere: bool = False


def parse_request(text: str) -> Payload | None:
    """The request in a curl command or a request line, or None when there is no JSON object in the text."""
    if len(text) > MAX_TEXT:
        return None
    for written in (text, text.replace('\\"', '"')):
        for start in [found.start() for found in re.finditer(r"\{", written)][:_MOST_BRACES]:
            try:
                body, end = json.JSONDecoder().raw_decode(written, start)
            except (ValueError, RecursionError):
                continue
            if not body:
                continue
            address = _ADDRESS.search(f"{written[:start]} {written[end:]}")
            return {"url": address[0], "json": body} if address else body
    return None


def parse_object(value: JsonValue) -> Payload | None:
    """The object that a JSON text holds, or None."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_request(payload: Payload, catalogue: Catalogue) -> Request:
    """Take a payload out of the request around it, if there is one."""
    name = next((name for name in _ADDRESSES if isinstance(payload.get(name), str)), None)
    if name is None:
        return Request(payload)
    address = str(payload[name])[:2048]
    host = url_host(address) or url_host(f"https://{address}") or ""
    inner = next((body for key in _BODIES if (body := _object(payload.get(key))) is not None), None)
    facts = next((item for item in catalogue.gateways if _is_of(host, url_host(item.base_url) or "")), None)
    if facts is None and inner is None:
        return Request(payload)
    body = inner if inner is not None else {key: value for key, value in payload.items() if key not in _AROUND}
    if facts is None:
        return Request(body, elsewhere=True)
    path = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    in_path = "{model}" in facts.submit_path and any(path == card.model for card in facts.models)
    return Request(body, gateway=facts.id, model=path if in_path else None)


def _object(value: JsonValue) -> Payload | None:
    return value if isinstance(value, dict) else parse_object(value)


def _is_of(host: str, base: str) -> bool:
    """Whether a host is the gateway's own or a sister below the same domain."""
    domain = ".".join(base.rsplit(".", 2)[-2:])
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def read_leaves(payload: Payload) -> tuple[tuple[Leaf, ...], tuple[Finding, ...]]:
    """The values with their paths, up to a limit far above the number of fields of any gateway."""
    findings: list[Finding] = []
    leaves = tuple(islice(_leaves(payload, (), findings), MAX_LEAVES + 1))
    if len(leaves) > MAX_LEAVES:
        rule = f"It has more than {MAX_LEAVES} fields; the rest was not read."
        findings.append(Finding("error", "payload", "", rule, "Leave out what the gateway does not know."))
    return _join_sides(leaves[:MAX_LEAVES]), tuple(findings)


def _leaves(table: Payload, parents: tuple[str, ...], findings: list[Finding]) -> Iterator[Leaf]:
    """Every value with its path. The gateways nest one deep; people wrap a body once more. Empty is "not given"."""
    for name, value in table.items():
        path = (*parents, name)
        inner = list(_objects(name, value)) if len(path) < MAX_DEPTH else []
        if inner and not isinstance(value, dict):
            rule = f"Must be a JSON object, not {'text' if isinstance(value, str) else 'a list'}."
            findings.append(Finding("error", format_name(".".join(path)), "", rule, "Write {…}. It was read as one."))
        for item in inner:
            yield from _leaves(item, path, findings)
        if not inner and not is_empty(value):
            yield Leaf(path, value)


def _objects(name: str, value: JsonValue) -> Iterable[Payload]:
    """The objects that a value holds: itself, or in a container's place a list or a JSON text of them."""
    if isinstance(value, dict):
        return [] if role_of(name) == "image" and image_url(value) else [value] if value else []
    if fold_name(name) not in CONTAINERS:
        return []
    items = value[:4] if isinstance(value, list) else [value]
    found = [item if isinstance(item, dict) else parse_object(item) for item in items]
    return [item for item in found if item]


def is_empty(value: JsonValue) -> bool:
    """Whether a value counts as not given."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def _join_sides(leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """Width and height as one size in pixels."""
    sides = {name: leaf for leaf in leaves if (name := leaf.path[-1].lower()) in ("width", "height")}
    width, height = sides.get("width"), sides.get("height")
    pixels = [read_number(leaf.value)[0] for leaf in (width, height) if leaf]
    if not width or any(number is None or not 0 < number < 10**5 for number in pixels) or len(pixels) < 2:
        return leaves
    size = Leaf((*width.path[:-1], "size"), f"{pixels[0]}x{pixels[1]}")
    return (*(leaf for leaf in leaves if leaf not in (width, height)), size)
