"""How a tool is listed and called: its schemas, the check of its arguments, the shape of its failures.

The schemas are as small as possible: every client puts them into its model's context at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import InputRequiredResult, ToolAnnotations

from .arguments import check_arguments
from .elicitation import DESK, DeskRequest, answer_deadline, sheet_ids_of, state_of
from .rendering import render_tool_failure

SEARCH_HINT = "anthropic/searchHint"


class Listing(NamedTuple):
    """How a tool is listed. `hidden` arguments are the form of an earlier release, which still works.

    Without `structured` there is no output schema: clients drop pictures beside one. `hint` has words for the search
    of Claude Code, which ranks a word in a tool's name far above one in its description (2.1.332, 2026-11-29).
    """

    function: Callable[..., Any]
    title: str
    annotations: ToolAnnotations
    required: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    defaults: tuple[tuple[str, object], ...] = ()
    structured: bool = True
    meta: dict[str, Any] | None = None
    hint: str = ""


class CheckedTool(Tool):
    """A tool whose arguments are checked in plain words, and whose failures say what became of the money."""

    required: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run the tool; a failure is a result in the shape of every other answer."""
        try:
            checked = check_arguments(self, arguments, required=self.required, hidden=self.hidden)
            with self._question_deadline(checked, context):
                return await super().run(checked, context, convert_result)
        except Exception as error:
            if isinstance(error.__cause__, DeskRequest):
                return InputRequiredResult(input_requests={DESK: error.__cause__.request})
            return render_tool_failure(self.name, arguments, error, state_of(context))

    def _question_deadline(self, arguments: dict[str, Any], context: Context[Any, Any]) -> AbstractContextManager[None]:
        """How long the one tool that asks the user waits for the answer; a client may never give one."""
        if self.name != "submit_video":
            return nullcontext()
        state = state_of(context)
        return answer_deadline(lambda: state.service, sheet_ids_of(arguments), state.longest_question_seconds)


def build_tool(listing: Listing) -> Tool:
    """The tool, with compact schemas that allow no other argument."""
    function = listing.function
    tool = CheckedTool.from_function(
        function,
        title=listing.title,
        description=" ".join((function.__doc__ or "").split()),
        annotations=listing.annotations,
        meta={**(listing.meta or {}), **({SEARCH_HINT: listing.hint} if listing.hint else {})} or None,
        structured_output=listing.structured,
    )
    assert isinstance(tool, CheckedTool)
    tool.required, tool.hidden = listing.required, listing.hidden
    schema = compact_schema(tool.parameters)
    for name in listing.hidden:
        del schema["properties"][name]
    for name, value in listing.defaults:
        schema["properties"][name]["default"] = value
    required = [*listing.required, *schema.pop("required", ())]
    tool.parameters = {**schema, **({"required": required} if required else {}), "additionalProperties": False}
    if tool.fn_metadata.output_schema is not None:
        output = compact_schema(tool.fn_metadata.output_schema)
        output["properties"] = {name: _flat(value) for name, value in output["properties"].items()}
        tool.fn_metadata.output_schema = output
    return tool


Schema = dict[str, Any]

EMPTY: tuple[object, ...] = ("", None, False, [])
"""Defaults that say nothing: left out."""

SHORT = 5_000
"""A length limit up to this is enforced but not published: no caller reaches it by accident."""


def compact_schema(schema: Mapping[str, Any]) -> Schema:
    """The same schema without titles, empty defaults and "or null", with definitions inlined.

    Null can go on both sides: an answer never contains null, and an argument of null counts as not given. The
    docstring of a model class goes because it is for readers of the code, and `required` of list items because an
    answer always fulfils it.
    """
    return _compact(schema, schema.get("$defs", {}))


def _flat(schema: Schema) -> Schema:
    """Of an object, and of the entries of a list, only the kind: an answer explains its own fields."""
    if schema.get("type") == "array":
        return {"type": "array", "items": _flat(schema["items"])}
    return {"type": "object"} if schema.get("type") == "object" else schema


def _compact(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "$ref" in schema:
        return _compact(definitions[str(schema["$ref"]).rsplit("/", 1)[-1]], definitions)
    # Titles repeat the names.
    kept = {key: value for key, value in schema.items() if key not in ("title", "$defs", "anyOf")}
    if kept.get("default", "") in EMPTY or kept.get("default") == 0:
        kept.pop("default", None)
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
    if kept.get("minimum", 2) < 2:
        del kept["minimum"]
    if kept.get("additionalProperties") is True:
        del kept["additionalProperties"]
    return kept
