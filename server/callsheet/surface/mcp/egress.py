"""Redacts everything that the server sends: API keys are hidden, and text that JSON cannot carry is replaced.

It covers results, resources, prompts, completions and errors. Nothing can be hidden inside a picture or a sound, so
one that contains a key is withheld. The program itself sends no binary except the pictures that it drew of a saved
clip; a video is given by its path and never goes through the protocol.
"""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, CallToolResult
from pydantic import ValidationError

from callsheet.errors import CallsheetError, Fate

from .arguments import unknown_tool
from .extensions.tasks import METHODS
from .lifespan import ServerState
from .redaction import find_parts, has_binary, redact_result
from .rendering import render_error, render_refusal

STALE = (
    "Invalid or expired requestState. The answer does not belong to this question: it is too old, was given for another"
    " call, or the server has restarted since."
)
UNUSABLE = "Invalid request parameters. The client's answer is not a valid form."
ASK_AGAIN = (
    "Not approved; this call sent nothing and spent no money. Call submit_video again to get a new approval request."
)
COVERED = frozenset(
    {"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete", *METHODS}
)
"""The methods whose results and errors may repeat what was sent. The others must not load the service."""


class EgressMiddleware:
    """The outermost middleware of a server. Its results are what the client receives."""

    def __init__(self, mcp: MCPServer[ServerState], state: ServerState) -> None:
        self._mcp = mcp
        self._state = state

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass the request on, then redact its result or its error."""
        if ctx.method not in COVERED:
            return await call_next(ctx)
        params = ctx.params or {}
        try:
            result = await call_next(ctx)
        except MCPError as error:
            reason = error.data.get("reason") if isinstance(error.data, dict) else None
            text = f"{STALE} {ASK_AGAIN}" if reason == "invalid_request_state" else error.message
            data = self._state.redact_value(error.data)
            raise MCPError(code=error.code, message=self._state.redact_text(text), data=data) from None
        except ValidationError:
            if not params.get("inputResponses"):
                raise
            raise MCPError(code=INVALID_PARAMS, message=f"{UNUSABLE} {ASK_AGAIN}", data="") from None
        except ValueError:
            if ctx.method != "prompts/get":
                raise
            known = ", ".join(prompt.name for prompt in await self._mcp.list_prompts())
            message = f"There is no such prompt, or one of its arguments is missing or unknown (known: {known})."
            raise MCPError(code=INVALID_PARAMS, message=message) from None
        if not isinstance(result, dict):
            return result
        if ctx.method == "tools/call" and result.get("isError"):
            await self._name_unknown_tool(str(params.get("name")), result)
        fate = Fate.UNKNOWN if params.get("name") == "submit_video" else Fate.NOTHING_SENT
        return await self._redact(ctx.method, result, fate)

    async def _name_unknown_tool(self, name: str, result: dict[str, Any]) -> None:
        if name not in {tool.name for tool in await self._mcp.list_tools()}:
            result |= _as_failure(unknown_tool(name), "unknown_tool")

    async def _redact(self, method: str, result: dict[str, Any], fate: Fate) -> dict[str, Any]:
        try:
            redactor = self._state.service.redactor()
        except CallsheetError as error:
            told = result.get("structuredContent") or {}
            if result.get("isError") and told.get("summary") == error.message:
                # The same reason, in the program's own words: it holds no key.
                return {**result, **_as_dict(render_error(error))}
            return self._withhold(method, result, self._state.redact_text(""), fate)
        except Exception:
            texts = [part["text"] for part in find_parts(result) if isinstance(part.get("text"), str)]
            return self._withhold(method, result, self._state.redact_text(" ".join(texts)), fate)
        try:
            return (
                await to_thread.run_sync(redact_result, redactor, result)
                if has_binary(result)
                else redact_result(redactor, result)
            )
        except ValueError as error:
            text = f"Result withheld: {error}."
            return self._withhold(method, result, text, fate)

    def _withhold(self, method: str, result: dict[str, Any], text: str, fate: Fate) -> dict[str, Any]:
        """An error in the place of the result."""
        if method != "tools/call":
            raise MCPError(code=INTERNAL_ERROR, message=text)
        return {**result, **_as_failure(text, "withheld", fate=fate)}


def _as_failure(text: str, code: str, *, fate: Fate = Fate.NOTHING_SENT) -> dict[str, Any]:
    """A failure in the place of the content of a result."""
    return _as_dict(render_refusal(text, code, fate=fate))


def _as_dict(failure: CallToolResult) -> dict[str, Any]:
    return failure.model_dump(
        mode="json", by_alias=True, exclude_none=True, include={"content", "structured_content", "is_error"}
    )
