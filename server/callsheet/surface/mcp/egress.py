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
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import ValidationError

from .arguments import NOTHING_SENT, unknown_tool
from .lifespan import ServerState
from .redaction import find_parts, has_binary, redact_result

STALE = (
    "Invalid or expired requestState. The answer does not belong to this question: it is too old, was given for another"
    " call, or the server has restarted since."
)
UNUSABLE = "Invalid request parameters. The client's answer is not a valid form."
ASK_AGAIN = (
    "Not approved; this call sent nothing and spent no money. Call submit_video again to get a new approval request."
)
COVERED = frozenset({"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"})
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
        return await self._redact(ctx.method, result)

    async def _name_unknown_tool(self, name: str, result: dict[str, Any]) -> None:
        if name not in {tool.name for tool in await self._mcp.list_tools()}:
            result["content"] = [{"type": "text", "text": unknown_tool(name)}]

    async def _redact(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        try:
            redactor = self._state.service.redactor()
        except Exception:
            texts = [part["text"] for part in find_parts(result) if isinstance(part.get("text"), str)]
            return self._withhold(method, result, self._state.redact_text(" ".join(texts)))
        try:
            return (
                await to_thread.run_sync(redact_result, redactor, result)
                if has_binary(result)
                else redact_result(redactor, result)
            )
        except ValueError as error:
            text = f"Result withheld: {error}."
            return self._withhold(method, result, f"{text} {NOTHING_SENT}" if method == "tools/call" else text)

    def _withhold(self, method: str, result: dict[str, Any], text: str) -> dict[str, Any]:
        """An error in the place of the result."""
        if method != "tools/call":
            raise MCPError(code=INTERNAL_ERROR, message=text)
        kept = {name: value for name, value in result.items() if name not in ("content", "structuredContent")}
        return {**kept, "content": [{"type": "text", "text": text}], "isError": True}
