"""Reads the fact files that come with the package. The one caller is the composition root."""

from __future__ import annotations

import hashlib
import tomllib
from functools import lru_cache
from importlib import resources

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.core.catalogue.loading import read_facts
from callsheet.gateways import GATEWAYS


@lru_cache(maxsize=1)
def load_catalogue() -> Catalogue:
    """Every gateway's facts, in the order of `GATEWAYS`; each `version` is 12 hex digits of its file's SHA-256.

    Raises:
        CatalogueMistake: when a file breaks the catalogue's rules.
    """
    return Catalogue(tuple(_load_facts(gateway_id) for gateway_id in GATEWAYS))


def _load_facts(gateway_id: str) -> GatewayFacts:
    raw = resources.files("callsheet.gateways").joinpath(f"{gateway_id}.toml").read_bytes()
    return read_facts(tomllib.loads(raw.decode()), version=hashlib.sha256(raw).hexdigest()[:12])
