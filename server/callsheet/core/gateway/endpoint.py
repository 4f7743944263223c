"""An endpoint: a server that speaks `/v1/videos`, as a person declares it in the policy, and what follows from that.

Its cards have the shapes of the catalogue, with the policy as their source. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import gcd
from typing import Literal

from callsheet.core.catalogue import cards
from callsheet.core.catalogue.fields import Field, InputRule
from callsheet.core.catalogue.prices import ANY, DECLARED
from callsheet.core.security.urls import is_loopback
from callsheet.core.shot import IMAGE_TO_VIDEO, TEXT_TO_VIDEO

from .protocol import Route

FREE = "none"
"""The declared price of what costs nothing."""
PRICE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) USD per (second|clip)")
SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
LIKE = 0.04
"""Sizes are multiples of 16, so 832x480 is called 16:9."""
MAX_PICTURE_BYTES = 20 << 20


@dataclass(frozen=True, slots=True)
class Offer:
    """One model of an endpoint. `price` is as written: `none`, `0.02 USD per second`, or empty where not declared."""

    model: str
    seconds: tuple[int, ...]
    sizes: tuple[str, ...] = ()
    price: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One `[endpoints.<id>]` table. The names are those of its keys; `ca` is what `ca_file` holds."""

    id: str
    base_url: str
    address: str = ""
    ca_file: str = ""
    fingerprint: str = ""
    insecure: str = ""
    key_over_plain_http: bool = False
    body: Literal["multipart", "json"] = "multipart"
    seconds_as: Literal["string", "integer"] = "string"
    image: Literal["none", "file", "image_url", "data_url"] = "none"
    extras: tuple[str, ...] = ()
    key_env: str = ""
    content: Literal["route", "url"] = "route"
    result_hosts: tuple[str, ...] = ()
    strict_model: bool = False
    free: str = ""
    clips_per_day: int = 40
    concurrent: int = 1
    patience_minutes: int = 120
    models: tuple[Offer, ...] = ()
    ca: str = field(default="", repr=False)

    def route(self, *, proxy: str = "", ca: str = "") -> Route:
        """How it is reached. The network's proxy and certificates are for public hosts."""
        if self.address or is_loopback(self.base_url):
            proxy = ca = ""
        return Route(
            address=self.address,
            looked_up=not self.address and not is_loopback(self.base_url),
            proxy=proxy,
            ca=self.ca or ca,
            only_ca=bool(self.ca),
            fingerprint=self.fingerprint,
            plain_key=self.key_over_plain_http,
            open=bool(self.insecure),
        )


def build_facts(endpoint: Endpoint) -> cards.GatewayFacts:
    """What the catalogue holds of an endpoint. `version` is the digest of all that was declared."""
    return cards.GatewayFacts(
        id=endpoint.id,
        name=endpoint.id,
        base_url=endpoint.base_url,
        submit_path="/videos",
        key_env=endpoint.key_env,
        key_page="",
        docs="",
        callback=cards.CallbackRule("none", DECLARED),
        errors=(),
        sources={DECLARED: cards.Source(DECLARED, DECLARED, "", "undated", "you")},
        models=tuple(_build_card(endpoint, offer) for offer in endpoint.models),
        as_of="undated",
        version=hashlib.sha256(repr(endpoint).encode()).hexdigest()[:12],
        result_hosts=endpoint.result_hosts,
        body=endpoint.body,
        own=True,
    )


def _build_card(endpoint: Endpoint, offer: Offer) -> cards.ModelCard:
    patience, said, takes = 60.0 * endpoint.patience_minutes, "Declared in your policy.", endpoint.image != "none"
    only = endpoint.image != "image_url"
    picture = InputRule(
        ("first_frame",), DECLARED, most=1, max_bytes=MAX_PICTURE_BYTES, formats=(".jpg", ".png"), files_only=only
    )
    evidence = (cards.Evidence("undated", said, DECLARED),)
    return cards.ModelCard(
        gateway=endpoint.id,
        model=offer.model,
        title=offer.model,
        kinds=(TEXT_TO_VIDEO, IMAGE_TO_VIDEO) if takes else (TEXT_TO_VIDEO,),
        fields=tuple(_build_fields(endpoint, offer)),
        price=build_price(endpoint, offer.price),
        lifecycle=cards.Lifecycle(cards.Availability.LISTED, said, evidence),
        # A GPU box renders one clip after the other: only patience says how long is too long.
        poll=cards.PollAdvice(5, 15, DECLARED, (10, patience / 2), least_every_seconds=5, patience=True),
        retention=cards.Retention(DECLARED),
        rate_limit=cards.RateLimit(120, DECLARED, concurrent_tasks=endpoint.concurrent),
        inputs=(picture,) if takes else (),
    )


def _build_fields(endpoint: Endpoint, offer: Offer) -> Iterator[Field]:
    """The fields that leave, and no others: these servers also take paths on themselves."""
    yield Field(("model",), "model", "string", DECLARED, required=True)
    yield Field(("prompt",), "prompt", "string", DECLARED, required=True)
    seconds = Field(("seconds",), "duration_seconds", "string", DECLARED)
    if endpoint.seconds_as == "integer":
        yield replace(seconds, kind="integer", values=offer.seconds, fill=offer.seconds[0])
    else:
        named = tuple((str(value), (("duration_seconds", value),)) for value in offer.seconds)
        yield replace(seconds, values=tuple(map(str, offer.seconds)), fill=named[0][0], spelling=named)
    if sizes := offer.sizes:
        meant = tuple((size, tuple(name_size(size, sizes).items())) for size in sizes)
        yield Field(("size",), "size", "string", DECLARED, values=sizes, fill=sizes[0], spelling=meant)
    if "seed" in endpoint.extras:
        yield Field(("seed",), "seed", "integer", DECLARED, minimum=0, maximum=2**31 - 1)
    if "negative_prompt" in endpoint.extras:
        yield Field(("negative_prompt",), "negative_prompt", "string", DECLARED)
    if endpoint.image != "none":
        path = ("input_reference",) if endpoint.image == "file" else ("input_reference", "image_url")
        yield Field(path, "input", "string", DECLARED, inputs=("first_frame",))


def name_size(size: str, sizes: tuple[str, ...]) -> dict[str, str]:
    """Ratio and resolution of a size in pixels. The exact ratio where an earlier size would have the same names."""
    named: dict[str, dict[str, str]] = {}
    for each in sizes:
        width, height = (int(side) for side in each.split("x"))
        exact = f"{width // gcd(width, height)}:{height // gcd(width, height)}"
        near = (ratio for ratio in RATIOS if abs(_shape(ratio) / (width / height) - 1) < LIKE)
        meaning = {"aspect_ratio": next(near, exact), "resolution": f"{min(width, height)}p"}
        named[each] = {**meaning, "aspect_ratio": exact} if meaning in named.values() else meaning
    return named[size]


def _shape(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return int(width) / int(height)


def build_price(endpoint: Endpoint, said: str) -> cards.PriceRule:
    """The declared price. `note` is what a person reads beside it."""
    found, note = (
        PRICE.fullmatch(said),
        f"you declared {endpoint.id} free; a render still takes GPU time others wait for",
    )
    if found:
        note = f"your own figure: {said} for {endpoint.id}, set in your policy; the server confirms no price"
    elif said != FREE:
        return cards.PriceRule("unknown", "undated", DECLARED, note="The server may bill more.")
    amounts = {ANY: Decimal(found[1] if found else 0)}
    per: Literal["clip", "second"] = "second" if found and found[2] == "second" else "clip"
    return cards.PriceRule(per, "undated", DECLARED, "USD", amounts=amounts, usd_per_unit=Decimal(1), note=note)
