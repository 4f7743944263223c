"""A payload as it was written: its values with their places, and the whole request around it.

Such a request is a curl command, a request line, or an object with address, headers and body. The address names the
gateway, and APIXO's names the model too. Headers are dropped: they hold the key.

A name is compared without case, spaces, hyphens and underscores. Sources of the names: the gateways' pages, OpenAI's
Videos API, and the relays and tools whose payloads people publish (2026-11). Pure.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from callsheet.core.catalogue.cards import Catalogue, ModelCard
from callsheet.core.security.urls import url_host
from callsheet.core.shot import INPUT_ROLES, InputRole, JsonValue, ParameterName

from .body import Finding, format_name, image_url, read_number

Meaning = ParameterName | InputRole | Literal["prompt", "size", "callback", "model"]

_NAMES: dict[Meaning, str] = {
    "prompt": "prompt text description text_prompt prompt_text video_prompt video_description positive_prompt",
    "duration_seconds": "duration seconds n_seconds length duration_seconds duration_in_seconds duration_sec duration_s"
    " secs video_length video_duration clip_length clip_duration n_frames",
    "aspect_ratio": "aspect_ratio ratio orientation video_aspect_ratio",
    "resolution": "resolution quality video_resolution output_resolution video_quality",
    "audio": "audio sound generate_audio with_audio enable_audio include_audio",
    "seed": "seed random_seed",
    "negative_prompt": "negative_prompt neg_prompt negative_text",
    "size": "size dimensions video_size output_size",
    "first_frame": "image image_url images image_urls image_uri input_reference input_references first_frame"
    " first_frame_url first_frame_image first_frame_image_url first_image first_image_url start_image start_image_url"
    " start_frame start_frame_url image_start reference reference_url reference_image reference_images"
    " reference_image_url reference_image_urls ref_image ref_images ref_image_url img imgs img_url img_urls input_image"
    " input_images input_image_url input_image_urls init_image init_image_url source_image source_image_url"
    " prompt_image image_input image_list image_path image_prompt image_file image_reference keyframe keyframes",
    "last_frame": "last_frame last_frame_url last_frame_image last_image last_image_url end_image end_image_url"
    " end_frame end_frame_url image_end tail_image tail_image_url image_tail",
    "reference_video": "video video_url videos video_urls reference_video reference_videos reference_video_url"
    " reference_video_urls",
    "reference_audio": "audio_url audio_urls reference_audio reference_audio_url reference_audio_urls",
    "callback": "callback callback_url webhook webhook_url hook_url notify_url notify_hook notification_url",
    "model": "model model_id model_name",
}


def fold_name(name: str) -> str:
    """A name for comparison: lower case, without spaces, hyphens and underscores; at most 80 characters."""
    return re.sub(r"[\s_-]", "", name[:80].lower())


_ROLES = {fold_name(name): role for role, names in _NAMES.items() for name in names.split()}

CONTAINERS = frozenset(
    {"input", "inputs", "parameters", "params", "body", "json", "data", "request", "payload", "options", "content"}
)
"""Objects in which people wrap a body or its fields."""

_DATE = re.compile(r"-?20[0-9]{2}-?[0-9]{2}-?[0-9]{2}\Z")
_ID_RATIO = {"portrait": "9:16", "vertical": "9:16", "landscape": "16:9", "horizontal": "16:9"}
_ID_SECONDS = re.compile(r"(?<![a-z0-9])([0-9]{1,2})s(?:ec)?(?![a-z0-9])")
_ID_HEIGHT = re.compile(r"(?<![0-9])(720|1024|1080)p")
# So near is a slip of the keyboard: "sora2-oficial". Another number is another model.
MOST_NAMED = 6
_SAME_ID = 0.9


def role_of(name: str) -> Meaning | None:
    """What a field of that name means in any published shape."""
    return _ROLES.get(fold_name(name))


def model_key(named: str) -> str:
    """A model id for comparison, without a date after it. It may hold a slash: `kling-3.0/standard`."""
    return fold_name(_DATE.sub("", named[:80].strip().lower()))


def offer_name(named: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the nearest known one, if it is near, and that the user decides."""
    names = {fold_name(name): name for name in known}
    near = difflib.get_close_matches(fold_name(named), names, n=1, cutoff=0.75)
    offered = f"Did you mean {names[near[0]]}? If not, it" if near else "It"
    return f"{offered} is not covered: the user decides whether to use another model."


def name_known(named: str, known: Iterable[str]) -> str:
    """A few known names to say of an unknown one: all where they are few, else the nearest."""
    names = list(dict.fromkeys(known))
    if len(names) <= MOST_NAMED:
        return f"known: {', '.join(names)}"
    folded = {fold_name(name): name for name in names}
    near = difflib.get_close_matches(fold_name(named), folded, n=MOST_NAMED, cutoff=0.0)
    return f"{len(names)} are known, nearest: {', '.join(folded[name] for name in near)}"


def cards_named(cards: Iterable[ModelCard], named: str) -> tuple[ModelCard, ...]:
    """The cards whose model has that id, perhaps after its gateway's, else those whose id differs only by a slip."""
    cards = tuple(cards)
    key = model_key(named)
    gateway, _, rest = key.partition("/")
    if own := tuple(card for card in cards if rest and fold_name(card.gateway) == gateway):
        cards, key = own, rest
    same = tuple(card for card in cards if model_key(card.model) == key)
    if not same:
        near = [card for card in cards if _digits(card.model) == _digits(key) and _likeness(card, key) >= _SAME_ID]
        best = max((_likeness(card, key) for card in near), default=0.0)
        same = tuple(card for card in near if _likeness(card, key) == best)
    return same


def is_sora(named: str) -> bool:
    """Whether a model id, of whatever relay, is one of Sora's."""
    return "sora" in named[:80].lower()


def read_model_id(named: str) -> dict[str, str | int]:
    """What an id such as `sora2-portrait-12s` says of the shot, as attributes of `Shot`."""
    text = named[:80].lower()
    said: dict[str, str | int] = {}
    if ratio := next((ratio for word, ratio in _ID_RATIO.items() if word in text), None):
        said["aspect_ratio"] = ratio
    if seconds := _ID_SECONDS.search(text):
        said["duration_seconds"] = int(seconds[1])
    if height := _ID_HEIGHT.search(text):
        said["resolution"] = height[0]
    return said


def _likeness(card: ModelCard, key: str) -> float:
    return difflib.SequenceMatcher(None, key, model_key(card.model)).ratio()


def _digits(text: str) -> str:
    return re.sub("[^0-9]", "", text)


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
            findings.append(
                Finding("error", format_name(".".join(path)), "", rule, "Write {…}. It was read as one.", "{…}")
            )
        for item in inner:
            yield from _leaves(item, path, findings)
        if not inner and not is_empty(value):
            yield Leaf(path, value)


def _objects(name: str, value: JsonValue) -> Iterable[Payload]:
    """The objects that a value holds: itself, or in a container's place a list or a JSON text of them."""
    if isinstance(value, dict):
        return [] if role_of(name) in INPUT_ROLES and image_url(value) else [value] if value else []
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


def named_model(payload: Payload, leaves: tuple[Leaf, ...]) -> JsonValue:
    """The model id in a payload, in its place or deeper."""
    if not is_empty(payload.get("model")):
        return payload["model"]
    return next((leaf.value for leaf in leaves if role_of(leaf.path[-1]) == "model"), None)
