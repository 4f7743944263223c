"""Read-only wins over everything: each tool over each transport in each era, with sheets that were approved before."""

from __future__ import annotations

from typing import Any

import pytest

from consent.live_server import AMOUNT, SHOT, WAYS, SharedServers, approve, arm
from consent.wire import Wire, told

EXPLAINED = {**SHOT, "prompt": "Another kite."}
CALLS: dict[str, dict[str, Any]] = {
    "explain_payload": EXPLAINED,
    "submit_video": {},
    "get_task": {"task_id": "task_0123456789abcdef", "wait_seconds": 0.1},
    "list_tasks": {},
    "list_models": {},
    "view_clip": {"task_id": "task_0123456789abcdef"},
    "cancel": {"id": "task_0123456789abcdef"},
}
REFUSED = {"submit_video", "get_task", "view_clip", "cancel"}


def typed(_: object) -> dict[str, Any]:
    """A person who would agree."""
    return {"action": "accept", "content": {"amount_usd": AMOUNT}}


def explain(wire: Wire, prompt: str) -> str:
    """A sheet of its own."""
    return str(wire.call("explain_payload", {**SHOT, "prompt": prompt})["structuredContent"]["sheet_id"])


@pytest.mark.parametrize(("transport", "era"), WAYS, ids=["-".join(way) for way in WAYS])
def test_read_only_wins_on_every_transport_whatever_was_approved(
    servers: SharedServers, transport: str, era: str
) -> None:
    """A live sheet that is approved, one that waits, one explained in read-only mode: no tool spends any of them."""
    client = servers.connect(transport, era)
    wire, gateway = client.wire, client.gateway
    approved, waiting = explain(wire, "A kite."), explain(wire, "A harbour.")
    approve(client.home, approved)
    arm(client.home, gateway, mode="read-only")
    read_only = explain(wire, "A street.")
    assert {tool["name"] for tool in wire.ask("tools/list", {})["tools"]} == set(CALLS)
    refused = set()
    for tool, arguments in CALLS.items():
        for sheet_id in (approved, waiting, read_only):
            own = {"sheet_id": sheet_id} if tool == "submit_video" else arguments
            result = wire.call(tool, own, answer=typed)
            if result.get("isError"):
                refused.add(tool)
            if tool == "submit_video":
                assert "The policy is read-only." in told(result)
                assert "Nothing was sent; no money was spent." in told(result)
    assert refused == REFUSED
    assert wire.questions == []
    assert gateway.paid == []

    arm(client.home, gateway)
    # The control: live again, the sheet that waited can be bought.
    assert wire.call("submit_video", {"sheet_id": waiting}, answer=typed)["structuredContent"]["task_id"]
    assert len(gateway.paid) == 1
