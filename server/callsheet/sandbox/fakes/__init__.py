"""The four fake gateways by gateway id: what each gateway's answers look like. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import apidot, apixo, evolink, poyo
from .protocol import FakeGateway

FAKES: Mapping[str, FakeGateway] = MappingProxyType(
    {"poyo": poyo, "apidot": apidot, "apixo": apixo, "evolink": evolink}
)
"""Gateway id -> its fake."""

__all__ = ["FAKES"]
