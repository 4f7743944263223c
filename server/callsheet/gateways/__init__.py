"""The gateways: one `.py` (the wire) and one `.toml` (the facts) each, and one line below.

`openai_videos` is the wire of all endpoints, whose facts are in the person's policy.

The modules are pure and independent of each other. Each module is an implementation of `Gateway` and of those
readers in `core.gateway.protocol` that it documents; it is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import cast

from callsheet.core.gateway.endpoint import Endpoint
from callsheet.core.gateway.protocol import Gateway

GATEWAYS = (
    "poyo",
    "apidot",
    "apixo",
    "evolink",
)


def load_gateway(gateway_id: str) -> Gateway:
    """The module of that gateway.

    Raises:
        KeyError: for an id that is not in `GATEWAYS`, so that no caller can import another module.
    """
    if gateway_id not in GATEWAYS:
        raise KeyError(gateway_id)
    return cast("Gateway", importlib.import_module(f".{gateway_id}", __name__))


def build_endpoint(endpoint: Endpoint) -> Gateway:
    """The gateway of an endpoint: one wire for all."""
    from .openai_videos import OpenAIVideos

    return OpenAIVideos(endpoint)
