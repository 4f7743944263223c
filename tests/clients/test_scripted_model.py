"""The scripted model without a client: it plays its script in each dialect, and reads what clients show it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from scripted_model import NO_TOOLS, SEEN, SHOT, Call, Use, decide, scripted_model

from samples import SEARCHES

TASK = "task_0123456789abcdef"
ANSWERS = {
    "explain_payload": {"summary": "Ready.", "sheet_id": "sheet_a", "price": "0.24 USD", "what": "A kite · 4 s"},
    "submit_video": {"summary": "Accepted.", "status": "accepted", "task_id": TASK},
    "get_task": {"summary": "Saved.", "status": "saved", "task_id": TASK},
    "view_clip": {"summary": "contact_sheet"},
}
ARGUMENTS = {
    "explain_payload": SHOT,
    "submit_video": {"sheet_ids": ["sheet_a"], "price": "0.24 USD", "what": "A kite · 4 s"},
    "get_task": {"task_ids": [TASK], "wait_seconds": 45},
    "view_clip": {"task_id": TASK},
}


def post(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def ask_anthropic(url: str, used: dict[str, str]) -> tuple[str, Any]:
    """The tool that the model wants and its arguments, or its text."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Go."}]
    for tool, shown in used.items():
        use = {"type": "tool_use", "id": tool, "name": f"mcp__callsheet__{tool}", "input": {}}
        result = {"type": "tool_result", "tool_use_id": tool, "content": shown}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    tools = [{"name": f"mcp__callsheet__{tool}"} for tool in ANSWERS]
    begun, delta = post(f"{url}/v1/messages", {"messages": messages, "tools": tools})[1:3]
    if begun["content_block"]["type"] == "text":
        return "", delta["delta"]["text"]
    return begun["content_block"]["name"], json.loads(delta["delta"]["partial_json"])


def ask_openai(url: str, used: dict[str, str]) -> tuple[str, Any]:
    """The same, of the tools in a namespace."""
    items: list[dict[str, Any]] = []
    for tool, shown in used.items():
        items.append({"type": "function_call", "call_id": tool, "name": tool, "arguments": "{}"})
        items.append({"type": "function_call_output", "call_id": tool, "output": f"Wall time: 1 s\nOutput:\n{shown}"})
    tools = [{"type": "namespace", "name": "callsheet", "tools": [{"name": tool} for tool in ANSWERS]}]
    item = post(f"{url}/v1/responses", {"input": items, "tools": tools})[1]["item"]
    if item["type"] == "message":
        return "", item["content"][0]["text"]
    return f"{item['namespace']}/{item['name']}", json.loads(item["arguments"])


def ask_gemini(url: str, used: dict[str, str]) -> tuple[str, Any]:
    """The same; the client shows the text of an answer, not its JSON."""
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Go."}]}]
    for tool, shown in used.items():
        text = "\n".join(f"{name}: {value}" for name, value in json.loads(shown).items())
        response = {"name": f"mcp_callsheet_{tool}", "response": {"output": text}}
        contents.append({"role": "user", "parts": [{"functionResponse": response}]})
    tools = [{"functionDeclarations": [{"name": f"mcp_callsheet_{tool}"} for tool in ANSWERS]}]
    path = "/v1beta/models/scripted:streamGenerateContent?alt=sse"
    [part] = post(url + path, {"contents": contents, "tools": tools})[0]["candidates"][0]["content"]["parts"]
    return ("", part["text"]) if "text" in part else (part["functionCall"]["name"], part["functionCall"]["args"])


@pytest.mark.parametrize("ask", [ask_anthropic, ask_openai, ask_gemini])
def test_the_script_is_played_to_its_end_in_each_dialect(ask: Any) -> None:
    """Every id and copied text comes from what the model was shown."""
    used: dict[str, str] = {}
    with scripted_model() as model:
        for tool, arguments in ARGUMENTS.items():
            name, given = ask(model.url, used)
            assert name.endswith(tool)
            assert given == arguments
            used[tool] = json.dumps(ANSWERS[tool], ensure_ascii=False)
        assert ask(model.url, used) == ("", SEEN)

    assert model.strange == []
    assert model.last_use("submit_video").fields()["task_id"] == TASK


def test_a_client_that_searches_its_tools_is_searched_first() -> None:
    """Each query once; then the found tool is called through the client's own tool for that."""
    with scripted_model() as model:
        messages: list[dict[str, Any]] = []
        body = {"messages": messages, "tools": [{"name": "tool_search"}, {"name": "tool_call"}]}
        for number, (query, tool) in enumerate(SEARCHES.items()):
            begun, delta = list(model.answer("/v1/messages", json.dumps(body).encode()) or ())[1:3]
            assert (begun["content_block"]["name"], query in delta["delta"]["partial_json"]) == ("tool_search", True)
            use = {"type": "tool_use", "id": str(number), "name": "tool_search", "input": {}}
            result = {"type": "tool_result", "tool_use_id": str(number), "content": f"mcp:callsheet__{tool}"}
            messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        begun, delta = list(model.answer("/v1/messages", json.dumps(body).encode()) or ())[1:3]

    assert begun["content_block"]["name"] == "tool_call"
    assert json.loads(delta["delta"]["partial_json"]) == {"id": "mcp:callsheet__explain_payload", "args": SHOT}
    assert model.searches() == SEARCHES


def test_without_the_tools_the_model_says_so_and_an_answer_that_does_not_help_ends_the_script() -> None:
    """So that a test fails with what the client showed."""
    with scripted_model() as model:
        model.answer("/v1/messages", json.dumps({"messages": [], "tools": [{"name": "Bash"}]}).encode())

    assert model.turns[0].answer == NO_TOOLS
    assert decide([]) == Call("explain_payload", SHOT)
    assert str(decide([Use("submit_video", "refused: no")])).startswith("STOPPED after submit_video: refused: no")
