"""JSON schemas as small as they can be said: every client reads them into its model's context at the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

NEEDLESS = ("title", "default")
"""Titles repeat the names; defaults are said by the descriptions where they matter."""

SHORT = 80
"""A length limit up to this is enforced but not told: nobody comes near it by accident."""


def compact_schema(schema: Mapping[str, Any]) -> Schema:
    """The same schema without titles and defaults, with definitions put in place and "or null" left out.

    Leaving null out is right for both sides: an answer never holds null, and an argument of null counts as not given.
    What a model class says of itself goes too: it is written for readers of the code. So does what is required of
    the items of a list, which an answer always fulfils.
    """
    return _compact(schema, schema.get("$defs", {}))


def _compact(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "$ref" in schema:
        return _compact(definitions[str(schema["$ref"]).rsplit("/", 1)[-1]], definitions)
    kept = {key: value for key, value in schema.items() if key not in (*NEEDLESS, "$defs", "anyOf")}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        kept = {**_compact(options[0], definitions), **kept}
    elif options:
        kept["anyOf"] = [_compact(option, definitions) for option in options]
    if "properties" in kept:
        kept.pop("description", None)
        kept["properties"] = {name: _compact(value, definitions) for name, value in kept["properties"].items()}
    if isinstance(kept.get("items"), Mapping):
        kept["items"] = _compact(kept["items"], definitions)
        kept["items"].pop("required", None)
    if kept.get("maxLength", SHORT + 1) <= SHORT:
        del kept["maxLength"]
    if kept.get("additionalProperties") is True:
        del kept["additionalProperties"]
    return kept
