"""A shot: the video that a person asks for, in words that belong to no gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["text-to-video", "image-to-video"]
JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

TEXT_TO_VIDEO: Kind = "text-to-video"
IMAGE_TO_VIDEO: Kind = "image-to-video"


@dataclass(frozen=True, slots=True)
class Shot:
    """The gateway-neutral request.

    `duration_seconds` is whole seconds; `aspect_ratio` is `16:9`, `9:16` or `auto`; `resolution` is `720p`, `1024p`
    or `1080p`. None means that the shot leaves it open: the card's own choice is then written out in full. `extras`
    holds values of fields that only some models have (say `style`), by wire name.
    """

    prompt: str = ""
    duration_seconds: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    image_url: str | None = None
    callback_url: str | None = None
    extras: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def kind(self) -> Kind:
        """Image-to-video when there is a reference image, else text-to-video."""
        return IMAGE_TO_VIDEO if self.image_url else TEXT_TO_VIDEO


ROLE_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "prompt": "prompt",
        "duration": "duration_seconds",
        "aspect_ratio": "aspect_ratio",
        "resolution": "resolution",
        "image": "image_url",
        "callback": "callback_url",
    }
)
"""The neutral role of a catalogue field -> the attribute of `Shot` that it carries."""
