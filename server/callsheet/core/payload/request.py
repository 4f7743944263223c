"""A whole request around a body: a curl command, a request line, or an object with address, headers and body.

The address names the gateway, and APIXO's names the model too. Headers are dropped: they hold the key. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from callsheet.core.catalogue import Catalogue
from callsheet.core.security.urls import url_host
from callsheet.core.shot import JsonValue

Payload = dict[str, JsonValue]

MAX_TEXT = 200_000
_MOST_BRACES = 40
_ADDRESSES = ("url", "endpoint", "uri", "base_url", "api_base", "api_url")
_BODIES = ("json", "body", "data", "payload", "params")
_AROUND = (*_ADDRESSES, "headers", "method", "timeout", "verify")
_ADDRESS = re.compile(r"https?://[^\s'\"\\]{1,2048}")


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
