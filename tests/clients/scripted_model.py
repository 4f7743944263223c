"""A model that plays a script, on loopback, in the three dialects that the clients speak.

It makes one clip: where the client offers a search of tools it searches, then it explains a shot, submits the sheet
with the copied price and text, waits until the clip is saved, looks at it, reads the resource whose address an answer
had, and ends. It reads every id from what the client shows it. What it does next depends only on the
conversation that a request carries, so that a client may repeat a request or ask several things at once.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from samples import SEARCHES

SHOT = {
    "prompt": "A red kite over dunes at dusk, slow pan, warm light.",
    "duration_seconds": 4,
    "gateway": "poyo",
    "model": "sora-2-official",
}
TOOLS = ("explain_payload", "submit_video", "get_task", "view_clip")
READ = "read_resource"
READERS = ("ReadMcpResourceTool", "read_mcp_resource", "callsheet__resources_read")
"""What the clients call their own tool that reads a resource."""
SEARCHERS = {"ToolSearch": "max_results", "tool_search": "limit"}
"""The clients' searches of tools, and what they call the number of results."""
MOST_LOOKS = 8
NO_TOOLS = "NO TOOLS"
SEEN = "SEEN"
WAITING = "WAITING"
AS_TASK = "server-side task"
"""Of a call that became an MCP task, Claude Code tells this, and later the result as a notification."""


@dataclass(frozen=True)
class Use:
    """A tool that the model used, and what the client showed it of the result: the blocks as the request has them."""

    tool: str
    shown: Any

    def fields(self) -> dict[str, Any]:
        """The answer's fields, read from its JSON, or from its lines where the client shows only the text."""
        text = "\n".join(strings_in(self.shown))
        for begin in re.finditer(r"\{", text):
            try:
                found, _ = json.JSONDecoder().raw_decode(text, begin.start())
            except ValueError:
                continue
            if isinstance(found, dict) and "summary" in found:
                return found
        return dict(re.findall(r"^([a-z_]+): (.*)$", text, re.MULTILINE))


@dataclass(frozen=True)
class Call:
    """A tool that the model wants to use."""

    tool: str
    arguments: Mapping[str, object]


@dataclass
class Turn:
    """One request of the client: the names of the tools that it offers, and what was used so far."""

    offered: tuple[str, ...]
    used: list[Use]
    answer: Call | str = ""


def strings_in(value: object) -> Iterator[str]:
    """All texts in a JSON value that are no pictures, in order."""
    if isinstance(value, str):
        if not value.startswith("data:") and not re.fullmatch(r"[A-Za-z0-9+/=]{2000,}", value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings_in(item)


def pictures_in(shown: object) -> Iterator[bytes]:
    """The pictures that a model gets as pictures, in any of the three dialects."""
    if isinstance(shown, Mapping):
        data = shown.get("data") if shown.get("media_type", shown.get("mimeType")) == "image/jpeg" else None
        url = str(shown.get("image_url", ""))
        if data or url.startswith("data:image/jpeg;base64,"):
            yield base64.b64decode(data or url.partition(",")[2])
        for item in shown.values():
            yield from pictures_in(item)
    elif isinstance(shown, Sequence) and not isinstance(shown, str):
        for item in shown:
            yield from pictures_in(item)


def decide(used: Sequence[Use]) -> Call | str:
    """What the script does next; a text ends it."""
    if not used:
        return Call("explain_payload", SHOT)
    last, fields = used[-1], used[-1].fields()
    if last.tool == "explain_payload" and "sheet_id" in fields:
        copies = {name: fields[name] for name in ("price", "what")}
        return Call("submit_video", {"sheet_ids": [fields["sheet_id"]], **copies})
    if last.tool in ("submit_video", "get_task") and "task_id" in fields:
        if "saved" in (fields.get("status"), fields.get("task_status")):
            return Call("view_clip", {"task_id": fields["task_id"]})
        if sum(use.tool == "get_task" for use in used) < MOST_LOOKS:
            return Call("get_task", {"task_ids": [fields["task_id"]], "wait_seconds": 45})
    if last.tool == "submit_video" and AS_TASK in " ".join(strings_in(last.shown)):
        return WAITING
    address = re.search(r"callsheet://tasks/\w+/contact-sheet", " ".join(strings_in([use.shown for use in used])))
    if last.tool == "view_clip" and address:
        return Call(READ, {"uri": address[0]})
    done = last.tool in ("view_clip", READ)
    return SEEN if done else f"STOPPED after {last.tool}: {' '.join(strings_in(last.shown))[:2000]}"


def end(_: Sequence[Use]) -> str:
    """A script that only looks at the tools of the first turn."""
    return SEEN


def route(call: Call, turn: Turn) -> Call | None:
    """The call as the client takes it: by the offered name, or through the client's search of tools; None without."""
    search = next((name for name in turn.offered if name in SEARCHERS), "")
    found = [" ".join(strings_in(use.shown)) for use in turn.used if use.tool == search]
    names = [f"mcp__callsheet__{tool}" for tool in TOOLS]
    asked = [*SEARCHES, *([f"select:{','.join(names)},{READERS[0]}"] if search == "ToolSearch" else [])]
    if search and len(found) < len(asked):
        return Call(search, {"query": asked[len(found)], SEARCHERS[search]: 3})
    if search == "tool_search":
        # The client's own reader of resources is not searched for: the call may name it.
        own = "resources_read" if call.tool == READ else call.tool
        name = re.search(rf"[\w:-]*callsheet__{own}\b", " ".join(found))
        return Call("tool_call", {"id": name[0] if name else f"callsheet__{own}", "args": dict(call.arguments)})
    direct = next((name for name in turn.offered if bare(name) == call.tool), "")
    server = {"server": "callsheet"} if direct == READERS[0] else {}
    return Call(direct, {**call.arguments, **server}) if direct else None


def bare(name: str, arguments: Mapping[str, Any] | None = None) -> str:
    """A tool's own name, without what the client puts before it; of a call through a search, the tool that it names."""
    name = str((arguments or {}).get("id", name)) if name == "tool_call" else name
    return READ if name.endswith(READERS) else next((tool for tool in TOOLS if name.endswith(tool)), name)


def read_anthropic(request: Mapping[str, Any]) -> Turn:
    """A request to /v1/messages."""
    names: dict[str, str] = {}
    used = []
    for message in request["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_use":
                names[block["id"]] = bare(block["name"], block["input"])
            elif block["type"] == "tool_result":
                used.append(Use(names[block["tool_use_id"]], block.get("content")))
            elif "<task-notification>" in block.get("text", ""):
                # How the end of an MCP task is told.
                used.append(Use("get_task", block["text"]))
    return Turn(tuple(tool["name"] for tool in request.get("tools", ())), used)


def write_anthropic(answer: Call | str, number: int) -> Iterator[dict[str, Any]]:
    """The events of a message."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "scripted", "content": []}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    if isinstance(answer, Call):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": answer.tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(answer.arguments)}
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": answer}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    reason = "tool_use" if isinstance(answer, Call) else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def read_openai(request: Mapping[str, Any]) -> Turn:
    """A request to /v1/responses. Tools of a server may stand in a namespace."""
    offered = []
    for tool in request.get("tools", ()):
        inner = tool.get("tools") if tool["type"] == "namespace" else None
        offered += [f"{tool['name']}/{item['name']}" for item in inner] if inner else [tool.get("name", tool["type"])]
    names: dict[str, str] = {}
    used = []
    for item in request["input"]:
        if item.get("type") == "function_call":
            names[item["call_id"]] = item["name"]
        elif item.get("type") == "function_call_output":
            used.append(Use(bare(names[item["call_id"]]), item["output"]))
    return Turn(tuple(offered), used)


def write_openai(answer: Call | str, number: int) -> Iterator[dict[str, Any]]:
    """The events of a response."""
    response = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": response}
    if isinstance(answer, Call):
        space, _, own = answer.tool.rpartition("/")
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": own}
        item |= {"arguments": json.dumps(answer.arguments), **({"namespace": space} if space else {})}
    else:
        content = [{"type": "output_text", "text": answer, "annotations": []}]
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield {"type": "response.completed", "response": {**response, "status": "completed", "usage": usage}}


def read_gemini(request: Mapping[str, Any]) -> Turn:
    """A request to …:streamGenerateContent."""
    offered = [
        declared["name"] for tool in request.get("tools", ()) for declared in tool.get("functionDeclarations", ())
    ]
    used = []
    for content in request["contents"]:
        for part in content["parts"]:
            if "functionResponse" in part:
                # Pictures may follow the response as parts of their own.
                used.append(Use(bare(part["functionResponse"]["name"]), [part["functionResponse"]]))
            elif used and content["role"] == "user":
                used[-1].shown.append(part)
    return Turn(tuple(offered), used)


def write_gemini(answer: Call | str, number: int) -> Iterator[dict[str, Any]]:
    """The one event of an answer."""
    if isinstance(answer, Call):
        part: dict[str, Any] = {
            "functionCall": {"id": f"call_{number}", "name": answer.tool, "args": dict(answer.arguments)}
        }
    else:
        part = {"text": answer}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    yield {"candidates": [candidate], "usageMetadata": usage}


DIALECTS = {
    "/messages": (read_anthropic, write_anthropic),
    "/responses": (read_openai, write_openai),
    "GenerateContent": (read_gemini, write_gemini),
    ":generateContent": (read_gemini, write_gemini),
}


@dataclass
class ScriptedModel:
    """The server. `turns` and `bodies` are the requests that offered tools, `strange` the paths it does not know."""

    script: Callable[[Sequence[Use]], Call | str] = decide
    url: str = ""
    turns: list[Turn] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> list[dict[str, Any]] | None:
        """The events of the answer to a request; None for a path that is not a model's."""
        found = next((both for end, both in DIALECTS.items() if path.partition("?")[0].endswith(end)), None)
        if found is None:
            self.strange.append(path)
            return None
        read, write = found
        turn = read(json.loads(body))
        turn.answer = self._answer(turn)
        if turn.offered:
            self.turns.append(turn)
            self.bodies.append(body)
        return list(write(turn.answer, len(self.turns)))

    def _answer(self, turn: Turn) -> Call | str:
        if not turn.offered:
            # A title, or whatever else the client asks beside the conversation.
            return "An answer."
        wanted = self.script([use for use in turn.used if use.tool in (*TOOLS, READ)])
        return (route(wanted, turn) or NO_TOOLS) if isinstance(wanted, Call) else wanted

    def last_use(self, tool: str) -> Use:
        """The last use of that tool, with what the client showed the model of its result."""
        return next(use for turn in reversed(self.turns) for use in reversed(turn.used) if use.tool == tool)

    def searches(self) -> dict[str, str]:
        """For each search that the client made, the first of our tools in what it found."""
        shown = [
            " ".join(strings_in(use.shown))
            for use in max(self.turns, key=lambda turn: len(turn.used)).used
            if use.tool in SEARCHERS
        ]
        # Found tools of others stand between ours, so only the order of ours is read.
        first = [re.search(r"callsheet__(\w+)", text) for text in shown]
        return {query: name[1] if name else "" for query, name in zip(SEARCHES, first, strict=False)}


@contextmanager
def scripted_model(script: Callable[[Sequence[Use]], Call | str] = decide) -> Iterator[ScriptedModel]:
    """The model, listening on loopback while the block runs."""
    model = ScriptedModel(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            events = model.answer(self.path, self.rfile.read(int(self.headers["content-length"])))
            if events is None:
                self._send(b"{}", "application/json", 404)
            elif len(events) == 1 and "alt=sse" not in self.path:
                self._send(json.dumps(events[0]).encode(), "application/json")
            else:
                # Gemini CLI takes no line with the event's name.
                named = (f"event: {event['type']}\n" if "type" in event else "" for event in events)
                lines = (f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(named, events, strict=True))
                self._send("".join(lines).encode(), "text/event-stream")

        def do_GET(self) -> None:
            model.strange.append(self.path)
            self._send(b"{}", "application/json", 404)

        def _send(self, content: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join(10)
