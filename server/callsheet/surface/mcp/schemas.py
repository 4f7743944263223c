"""Makes JSON schemas as small as possible: every client puts them into its model's context at the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

NEEDLESS = ("title", "default")
"""Titles repeat the names; descriptions give the defaults that matter."""

SHORT = 80
"""A length limit up to this is enforced but not published: no caller reaches it by accident."""


def compact_schema(schema: Mapping[str, Any]) -> Schema:
    """The same schema without titles, defaults and "or null", with definitions inlined.

    Null can go on both sides: an answer never contains null, and an argument of null counts as not given. The
    docstring of a model class goes because it is for readers of the code, and `required` of list items because an
    answer always fulfils it.
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
