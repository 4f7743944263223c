"""The gateways: one `.py` (the wire) and one `.toml` (the facts) each, and one line below.

The modules are pure and do not know each other. A module itself is the implementation of
`core.gateway.Gateway`; it is imported only when somebody asks for it.
"""

from __future__ import annotations

import importlib
from typing import cast

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
        KeyError: for an id that is not in `GATEWAYS`, so that no caller can have another module imported.
    """
    if gateway_id not in GATEWAYS:
        raise KeyError(gateway_id)
    return cast("Gateway", importlib.import_module(f".{gateway_id}", __name__))
