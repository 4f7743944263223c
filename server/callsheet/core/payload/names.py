"""The names that people give to the parts of a request: one table for every shape, and the ids of models.

A name is compared without case, spaces, hyphens and underscores. Sources: the gateways' pages, OpenAI's Videos API, and
the relays and tools whose payloads people publish (2026-11). Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from callsheet.core.catalogue import ModelCard, Role

_NAMES: dict[Role, str] = {
    "prompt": "prompt text description text_prompt prompt_text video_prompt video_description positive_prompt",
    "duration": "duration seconds n_seconds length duration_seconds duration_in_seconds duration_sec duration_s secs"
    " video_length video_duration clip_length clip_duration n_frames",
    "aspect_ratio": "aspect_ratio ratio orientation video_aspect_ratio",
    "resolution": "resolution quality video_resolution output_resolution video_quality",
    "size": "size dimensions video_size output_size",
    "image": "image image_url images image_urls image_uri input_reference input_references first_frame first_frame_url"
    " first_frame_image first_frame_image_url first_image first_image_url start_image start_image_url start_frame"
    " start_frame_url reference reference_url reference_image reference_images reference_image_url reference_image_urls"
    " ref_image ref_images ref_image_url img imgs img_url img_urls input_image input_images input_image_url"
    " input_image_urls init_image init_image_url source_image source_image_url prompt_image image_input image_list"
    " image_path image_prompt image_file image_reference keyframe keyframes",
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
_SAME_ID = 0.9


def role_of(name: str) -> Role | None:
    """What a field of that name means in any published shape."""
    return _ROLES.get(fold_name(name))


def model_key(named: str) -> str:
    """A model id for comparison, without a gateway before it and a date after it."""
    return fold_name(_DATE.sub("", named[:80].strip().lower().rpartition("/")[2]))


def offer_name(named: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the nearest known one, if it is near, and that the user decides."""
    names = {fold_name(name): name for name in known}
    near = difflib.get_close_matches(fold_name(named), names, n=1, cutoff=0.75)
    offered = f"Did you mean {names[near[0]]}? If not, it" if near else "It"
    return f"{offered} is not covered: the user decides whether another may be used."


def cards_named(cards: Iterable[ModelCard], named: str) -> tuple[ModelCard, ...]:
    """The cards whose model has that id, else those whose id differs only by a slip."""
    cards = tuple(cards)
    key = model_key(named)
    gateway = named[:80].strip().lower().rpartition("/")[0]
    same = tuple(card for card in cards if model_key(card.model) == key)
    if not same:
        near = [card for card in cards if _digits(card.model) == _digits(key) and _likeness(card, key) >= _SAME_ID]
        best = max((_likeness(card, key) for card in near), default=0.0)
        same = tuple(card for card in near if _likeness(card, key) == best)
    return tuple(card for card in same if gateway in ("", card.gateway))


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
