"""What a client learns when something is broken, and what never leaves."""

from __future__ import annotations

import base64
import logging
from typing import Any

import httpx2
import pytest
from connection import ERAS, SHOT, connect, explained, let_time_pass, refused, text_of, types_in, whole
from mcp import Client
from mcp.shared.exceptions import MCPError

from callsheet.core.security.redaction import Redactor
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.redaction import redact_text, redact_value
from callsheet.surface.mcp.server import build_mcp_server
from callsheet.surface.mcp.stdio import OneLine, build_server
from workspace import KEY, Workspace, accepted, reply, status


def spoil_ledger(workspace: Workspace) -> None:
    """The ledger's file holds something else."""
    path = workspace.home / "data" / "ledger.sqlite3"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database, and long enough to be read as a header of one" * 20)


def spoil_policy(workspace: Workspace) -> None:
    """The policy file is open to others."""
    workspace.write_policy('mode = "live"\n')
    (workspace.home / "config" / "policy.toml").chmod(0o644)


def block_data(workspace: Workspace) -> None:
    """The data directory cannot be created, even by root."""
    workspace.home.mkdir(parents=True)
    (workspace.home / "data").write_text("in the way", encoding="utf-8")


BROKEN = {
    "a spoilt ledger": (spoil_ledger, "The ledger"),
    "an exposed policy": (spoil_policy, "The policy file"),
    "a blocked directory": (block_data, "cannot be"),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_install_still_lists_its_tools_and_answers_with_the_reason(
    workspace: Workspace, era: str, kind: str
) -> None:
    """A client that could not even list the tools would tell its person nothing."""
    spoil, told = BROKEN[kind]
    spoil(workspace)
    async with connect(workspace, era) as client:
        assert len((await client.list_tools()).tools) == 7
        explaining = await refused(client, "explain_payload", SHOT)
        submitting = await refused(client, "submit_video", {"sheet_id": "sheet_1"})
        looking = await refused(client, "list_tasks", {})

    assert told in explaining
    for text in (explaining, submitting):
        assert "Nothing was sent; no money was spent." in text
    assert all("Traceback" not in text for text in (explaining, submitting, looking))


async def test_an_unusable_home_is_an_error_until_it_is_repaired(workspace: Workspace) -> None:
    """The service is built when it is needed, and again after a failure."""
    workspace.environ["CALLSHEET_HOME"] = "not/absolute"
    async with Client(build_mcp_server(ServerState(workspace.service)), mode="legacy") as client:
        text = await refused(client, "explain_payload", SHOT)
        workspace.environ["CALLSHEET_HOME"] = str(workspace.home)
        await explained(client)

    assert text.startswith("CALLSHEET_HOME is not an absolute path.")


async def test_a_submission_that_nobody_could_send_is_refused_before_the_sheet_is_spent(workspace: Workspace) -> None:
    """Without a runner the task would wait forever; the sheet is unchanged."""
    (workspace.home).mkdir(parents=True)
    (workspace.home / "state").write_text("in the way", encoding="utf-8")
    async with connect(workspace, "legacy") as client:
        sheet_id = await explained(client)
        text = await refused(client, "submit_video", {"sheet_id": sheet_id})

    assert "Nothing was sent; no money was spent." in text
    assert workspace.service().deps.ledger().sheet(sheet_id).task_id is None


async def test_a_crash_is_an_id_for_the_caller_and_a_type_on_stderr(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception's own text may hold anything, so neither of them gets it."""

    def crash() -> Any:
        raise RuntimeError(f"boom {KEY}")

    service = workspace.service()
    object.__setattr__(service.deps, "catalogue", crash)
    async with Client(build_server(service), mode="legacy") as client:
        with caplog.at_level(logging.WARNING):
            explaining = await refused(client, "submit_video", {"sheet_id": "sheet_1"})
            listing = await refused(client, "list_models", {})

    assert listing.startswith(("Something went wrong inside Callsheet", "Details withheld"))
    assert "boom" not in explaining + listing + caplog.text
    assert KEY not in explaining + listing + caplog.text


def planted(workspace: Workspace) -> list[str]:
    """The key in the spellings under which it might turn up."""
    raw = KEY.encode()
    return [KEY, KEY[::-1], raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-1], KEY[4:20]]


@pytest.mark.parametrize("era", ERAS)
async def test_no_output_holds_the_key_wherever_it_was_planted(workspace: Workspace, era: str) -> None:
    """A gateway may echo it, an agent may paste it anywhere; it never comes back out."""
    workspace.go_live()
    echo = f"your key {KEY} is fine; hex {KEY.encode().hex()}; base64 {base64.b64encode(KEY.encode()).decode()}"

    def play(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return accepted()
        return status("failed", error_message=echo)

    workspace.gateway.on_request = play
    person = types_in("0.24")
    outputs: list[str] = []
    service = workspace.service()
    async with connect(workspace, era, person, service=service) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        let_time_pass(workspace, service, 60)
        outputs.append(whole(await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 5})))
        outputs.append(whole(await client.call_tool("list_tasks", {})))
        resource = await client.read_resource(f"callsheet://tasks/{task_id}")
        outputs.append(resource.model_dump_json())
        outputs += [
            await refused(client, "explain_payload", {**SHOT, "prompt": f"film {KEY}"}),
            await refused(client, "explain_payload", {"payload": {"prompt": "x", "api_key": KEY}}),
            await refused(client, "explain_payload", {**SHOT, KEY: "x"}),
            await refused(client, "explain_payload", {**SHOT, "model": KEY}),
            await refused(client, "get_task", {"task_id": KEY}),
            await refused(client, "submit_video", {"sheet_id": KEY}),
            await refused(client, KEY, {}),
        ]
        prompt = await client.get_prompt("draft_shot", {"idea": f"a film about {KEY}"})
        outputs.append(prompt.model_dump_json())
        with pytest.raises(MCPError) as missing:
            await client.read_resource(f"callsheet://tasks/{KEY}")
        outputs.append(str(missing.value))

    assert "failed" in outputs[0]
    assert "[key hidden]" in outputs[0]
    for output in outputs:
        assert not any(spelling in output for spelling in planted(workspace)), output
    assert not any(spelling in person.asked[0].message for spelling in planted(workspace))


def test_a_logged_line_holds_neither_keys_nor_tracebacks(workspace: Workspace) -> None:
    """Libraries log what peers sent; stderr is read by clients, and kept."""
    workspace.go_live()
    formatter = OneLine(ServerState(workspace.service))
    error = RuntimeError(KEY)
    told = (KEY, "x" * 999)
    record = logging.LogRecord("mcp", logging.ERROR, "", 0, "bad line: %s\n%s", told, (RuntimeError, error, None))

    line = formatter.format(record)

    assert line.startswith("callsheet: bad line: [key hidden] xxx")
    assert line.endswith("(RuntimeError)")
    assert "\n" not in line
    assert len(line) < 400


def test_an_odd_file_name_is_sent_as_text_that_json_can_hold() -> None:
    """A directory whose name is no UTF-8 must not end the connection."""
    directory = "/clips/\udcff"
    assert redact_text(Redactor(()), directory) == "/clips/?"
    assert redact_value(Redactor(()), {"path": [directory]}) == {"path": ["/clips/?"]}


async def test_reading_a_broken_install_as_a_resource_is_a_plain_error(workspace: Workspace) -> None:
    """The same sentence as the tools give."""
    spoil_ledger(workspace)
    async with connect(workspace, "legacy") as client:
        with pytest.raises(MCPError, match="The ledger"):
            await client.read_resource("callsheet://tasks/task_1")


async def test_read_only_mode_refuses_a_submission(workspace: Workspace) -> None:
    """Read-only wins over everything, and explaining still works."""
    workspace.write_policy('mode = "read-only"\n')
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        sheet_id = await explained(client, status="blocked")
        text = await refused(client, "submit_video", {"sheet_id": sheet_id})

    assert text.startswith("blocked: The policy is read-only. Nothing was sent; no money was spent.")


async def test_a_reply_that_is_not_json_makes_the_outcome_unknown_and_not_an_error(workspace: Workspace) -> None:
    """The request may have been taken on, so the model must not try again."""
    workspace.go_live()
    workspace.gateway.replies = [reply("oops", 502)]
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        result = await client.call_tool("submit_video", {"sheet_id": await explained(client)})

    assert result.structured_content["task_status"] == "outcome_unknown"
    assert "not known" in text_of(result)
