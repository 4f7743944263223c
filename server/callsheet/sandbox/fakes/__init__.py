"""The four stages, by gateway id: what each gateway's answers look like. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import apidot, apixo, evolink, poyo
from .protocol import Stage

STAGES: Mapping[str, Stage] = MappingProxyType({"poyo": poyo, "apidot": apidot, "apixo": apixo, "evolink": evolink})
"""Gateway id -> the module that plays it."""

__all__ = ["STAGES"]
