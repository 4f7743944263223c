"""A shot: the video that a person asks for, in words that belong to no gateway.

A shot is data. `PARAMETERS` and `INPUT_ROLES` say what it can hold; validation, bodies, prices, approval texts and
answers go through these tables, so a new parameter or role is a row here and a row in a fact file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Scalar = str | int | bool
JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

Kind = Literal["text-to-video", "image-to-video", "first-last-frame", "reference-to-video"]
KINDS: tuple[Kind, ...] = ("text-to-video", "image-to-video", "first-last-frame", "reference-to-video")
TEXT_TO_VIDEO, IMAGE_TO_VIDEO, FIRST_LAST_FRAME, REFERENCE_TO_VIDEO = KINDS

ParameterName = Literal["duration_seconds", "aspect_ratio", "resolution", "audio", "seed", "negative_prompt"]
InputRole = Literal["first_frame", "last_frame", "reference_image", "reference_video", "reference_audio"]
INPUT_ROLES: tuple[InputRole, ...] = (
    "first_frame",
    "last_frame",
    "reference_image",
    "reference_video",
    "reference_audio",
)

KIND_ROLES: Mapping[Kind, tuple[InputRole, ...]] = MappingProxyType(
    {
        TEXT_TO_VIDEO: (),
        IMAGE_TO_VIDEO: ("first_frame",),
        FIRST_LAST_FRAME: ("first_frame", "last_frame"),
        REFERENCE_TO_VIDEO: INPUT_ROLES,
    }
)
"""The roles that the inputs of such a clip may have."""
PUBLIC_NAMES: Mapping[str, str] = MappingProxyType({"first_frame": "image_url"})
"""How a role is named to those who ask, where that differs: a picture that the clip begins with is the usual input."""


def format_word(value: object) -> str:
    """A value in a text or in a table of prices, `true` for yes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One neutral parameter. `type` is how a shot holds it, `label` is its word in a text, `unit` follows a number."""

    name: ParameterName
    type: type[str] | type[int] | type[bool]
    label: str
    unit: str = ""

    def shown(self, value: Scalar) -> str:
        """The value as a text shows it: `8 s`, `16:9`, `no audio`."""
        if self.type is bool:
            return self.label if value else f"no {self.label}"
        if self.unit:
            return f"{value} {self.unit}"
        return str(value) if self.name in PLAIN else f"{self.label} {value}"


PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        row.name: row
        for row in (
            Parameter("duration_seconds", int, "length", "s"),
            Parameter("aspect_ratio", str, "ratio"),
            Parameter("resolution", str, "resolution"),
            Parameter("audio", bool, "audio"),
            Parameter("seed", int, "seed"),
            Parameter("negative_prompt", str, "negative prompt"),
        )
    }
)
"""What a shot may say beside its prompt and inputs, whatever the model. Order is the order in texts."""
PLAIN: tuple[ParameterName, ...] = ("duration_seconds", "aspect_ratio", "resolution")
"""The parameters whose value needs no label, and which every explanation of a price names."""


@dataclass(frozen=True, slots=True)
class Input:
    """A picture, video or sound that the shot uses, at a public address; or the name of an `OwnFile`."""

    role: InputRole
    url: str


OWN_FILE_SCHEME = "callsheet-file:"
"""It begins the name that stands for a file of the person's own. No address on the internet begins with it."""
_OWN_FILE = re.compile(OWN_FILE_SCHEME + r"([0-9a-f]{64})\.(jpg|png)")


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A picture of the person's own: the copy without metadata that is kept and would be uploaded.

    `sha256` and `size` (bytes) are of that copy. `format` is `jpg` or `png`. `origin` is the path that it came from.
    """

    sha256: str
    format: str
    origin: str
    size: int
    width: int
    height: int

    @property
    def url(self) -> str:
        """What stands for it in a shot and in a frozen body, so that both are bound to its content."""
        return f"{OWN_FILE_SCHEME}{self.sha256}.{self.format}"


def split_own_file(url: str) -> tuple[str, str] | None:
    """SHA-256 and format in such a name; None for anything else."""
    found = _OWN_FILE.fullmatch(url)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Shot:
    """The gateway-neutral request.

    Attributes:
        prompt: what the video shows.
        parameters: name of `PARAMETERS` -> value. One that is missing is left open: the card's own choice is then
            written out in full. `duration_seconds` is whole seconds, `aspect_ratio` is `16:9`, `9:16`, … or `auto`,
            `resolution` is `720p`, `1080p`, `2k`, `4k`, …, `audio` is whether the clip has sound.
        inputs: in the order in which the model numbers them.
        options: values of fields that only some models have (say `style`), by wire name.
        callback_url: where the gateway reports the end.
    """

    prompt: str = ""
    parameters: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))
    inputs: tuple[Input, ...] = ()
    options: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    callback_url: str | None = None

    @classmethod
    def of(
        cls,
        prompt: str = "",
        *,
        callback_url: str | None = None,
        options: Mapping[str, JsonValue] | None = None,
        **said: Scalar | Iterable[str] | None,
    ) -> Shot:
        """A shot from named values: parameters by name, inputs by role (one address or several); None is "not said".

        >>> Shot.of("A cat", duration_seconds=8, first_frame="https://example.com/cat.png").kind
        'image-to-video'
        """
        inputs = [Input(role, url) for role in INPUT_ROLES for url in _addresses(said.pop(role, None))]
        return cls(prompt, inputs=tuple(inputs), options=options or {}, callback_url=callback_url).having(**said)

    @property
    def kind(self) -> Kind:
        """What the inputs make of it."""
        roles = {item.role for item in self.inputs}
        if roles - {"first_frame", "last_frame"}:
            return REFERENCE_TO_VIDEO
        if "last_frame" in roles:
            return FIRST_LAST_FRAME
        return IMAGE_TO_VIDEO if roles else TEXT_TO_VIDEO

    def get(self, name: str) -> Scalar | None:
        """That parameter, None where it is left open."""
        return self.parameters.get(name)

    @property
    def seconds(self) -> int | None:
        """The length, None where it is left open."""
        value = self.get("duration_seconds")
        return value if isinstance(value, int) else None

    def urls(self, *roles: InputRole) -> tuple[str, ...]:
        """The addresses of the inputs of these roles, in their order."""
        return tuple(item.url for role in roles for item in self.inputs if item.role == role)

    @property
    def own_files(self) -> tuple[str, ...]:
        """The names of the person's own files, each once."""
        return tuple(dict.fromkeys(item.url for item in self.inputs if item.url.startswith(OWN_FILE_SCHEME)))

    def having(self, **said: Scalar | Iterable[str] | None) -> Shot:
        """The shot with these parameters; None leaves one open."""
        values: dict[str, Scalar | Iterable[str] | None] = {**self.parameters, **said}
        if values.keys() - PARAMETERS.keys():
            raise TypeError(f"no such parameter: {', '.join(values.keys() - PARAMETERS.keys())}")
        # Values of a wrong type are kept: validation names them.
        kept: dict[str, Any] = {name: value for name in PARAMETERS if (value := values.get(name)) is not None}
        return replace(self, parameters=kept)

    def without(self, *roles: InputRole) -> Shot:
        """The shot without the inputs of these roles."""
        return replace(self, inputs=tuple(item for item in self.inputs if item.role not in roles))


def _addresses(value: Scalar | Iterable[str] | None) -> tuple[str, ...]:
    if value is None or isinstance(value, bool | int):
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
