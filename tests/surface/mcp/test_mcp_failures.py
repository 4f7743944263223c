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

from callsheet.core.redaction import Redactor
from callsheet.surface.mcp import build_server
from callsheet.surface.mcp.backstage import Backstage
from callsheet.surface.mcp.outgoing import fit_text, fit_value
from callsheet.surface.mcp.server import CallsheetServer
from callsheet.surface.mcp.serving import OneLine
from studio import KEY, Studio, accepted, reply, status


def spoil_ledger(studio: Studio) -> None:
    """The ledger's file holds something else."""
    path = studio.home / "data" / "ledger.sqlite3"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database, and long enough to be read as a header of one" * 20)


def spoil_policy(studio: Studio) -> None:
    """The policy file is open to others."""
    studio.write_policy('mode = "live"\n')
    (studio.home / "config" / "policy.toml").chmod(0o644)


def block_data(studio: Studio) -> None:
    """The data directory cannot be made, even by root."""
    studio.home.mkdir(parents=True)
    (studio.home / "data").write_text("in the way", encoding="utf-8")


BROKEN = {
    "a spoilt ledger": (spoil_ledger, "The ledger"),
    "an exposed policy": (spoil_policy, "The policy file"),
    "a blocked directory": (block_data, "cannot be"),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_install_still_lists_its_tools_and_answers_with_the_reason(
    studio: Studio, era: str, kind: str
) -> None:
    """A client that could not even list the tools would tell its person nothing."""
    spoil, told = BROKEN[kind]
    spoil(studio)
    async with connect(studio, era) as client:
        assert len((await client.list_tools()).tools) == 5
        explaining = await refused(client, "explain_payload", SHOT)
        submitting = await refused(client, "submit_video", {"sheet_id": "sheet_1"})
        looking = await refused(client, "list_tasks", {})

    assert told in explaining
    for text in (explaining, submitting):
        assert "Nothing was sent; no money was spent." in text
    assert all("Traceback" not in text for text in (explaining, submitting, looking))


async def test_an_unusable_home_is_answered_and_mending_it_helps(studio: Studio) -> None:
    """The use cases are made when they are needed, and tried again after a failure."""
    studio.environ["CALLSHEET_HOME"] = "not/absolute"
    async with Client(CallsheetServer(Backstage(studio.service)), mode="legacy") as client:
        text = await refused(client, "explain_payload", SHOT)
        studio.environ["CALLSHEET_HOME"] = str(studio.home)
        await explained(client)

    assert text.startswith("CALLSHEET_HOME is not an absolute path.")


async def test_a_submission_that_nobody_could_send_is_refused_before_the_sheet_is_spent(studio: Studio) -> None:
    """Without a runner the task would wait for ever; the sheet stays as it is."""
    (studio.home).mkdir(parents=True)
    (studio.home / "state").write_text("in the way", encoding="utf-8")
    async with connect(studio, "legacy") as client:
        sheet_id = await explained(client)
        text = await refused(client, "submit_video", {"sheet_id": sheet_id})

    assert "Nothing was sent; no money was spent." in text
    assert studio.service().world.ledger().sheet(sheet_id).task_id is None


async def test_a_crash_is_an_id_for_the_caller_and_a_type_on_stderr(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception's own text may hold anything, so neither of them gets it."""

    def crash() -> Any:
        raise RuntimeError(f"boom {KEY}")

    service = studio.service()
    object.__setattr__(service.world, "catalogue", crash)
    async with Client(build_server(service), mode="legacy") as client:
        with caplog.at_level(logging.WARNING):
            explaining = await refused(client, "submit_video", {"sheet_id": "sheet_1"})
            listing = await refused(client, "list_models", {})

    assert listing.startswith("Something went wrong inside Callsheet") or "cannot be told here" in listing
    assert "boom" not in explaining + listing + caplog.text
    assert KEY not in explaining + listing + caplog.text


def planted(studio: Studio) -> list[str]:
    """The key in the spellings under which it might turn up."""
    raw = KEY.encode()
    return [KEY, KEY[::-1], raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-1], KEY[4:20]]


@pytest.mark.parametrize("era", ERAS)
async def test_no_output_holds_the_key_wherever_it_was_planted(studio: Studio, era: str) -> None:
    """A gateway may echo it, an agent may paste it anywhere; it never comes back out."""
    studio.go_live()
    echo = f"your key {KEY} is fine; hex {KEY.encode().hex()}; base64 {base64.b64encode(KEY.encode()).decode()}"

    def play(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return accepted()
        return status("failed", error_message=echo)

    studio.gateway.on_request = play
    person = types_in("0.24")
    outputs: list[str] = []
    service = studio.service()
    async with connect(studio, era, person, service=service) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        let_time_pass(studio, service, 60)
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
        assert not any(spelling in output for spelling in planted(studio)), output
    assert not any(spelling in person.asked[0].message for spelling in planted(studio))


def test_a_logged_line_holds_neither_keys_nor_tracebacks(studio: Studio) -> None:
    """Libraries log what peers sent; stderr is read by clients, and kept."""
    studio.go_live()
    formatter = OneLine(Backstage(studio.service))
    error = RuntimeError(KEY)
    told = (KEY, "x" * 999)
    record = logging.LogRecord("mcp", logging.ERROR, "", 0, "bad line: %s\n%s", told, (RuntimeError, error, None))

    line = formatter.format(record)

    assert line.startswith("callsheet: bad line: [key hidden] xxx")
    assert line.endswith("(RuntimeError)")
    assert "\n" not in line
    assert len(line) < 400


def test_an_odd_file_name_leaves_as_text_that_json_can_carry() -> None:
    """A directory whose name is no UTF-8 must not end the connection."""
    directory = "/clips/\udcff"
    assert fit_text(Redactor(()), directory) == "/clips/?"
    assert fit_value(Redactor(()), {"path": [directory]}) == {"path": ["/clips/?"]}


async def test_reading_a_broken_install_as_a_resource_is_a_plain_error(studio: Studio) -> None:
    """The same sentence as the tools give."""
    spoil_ledger(studio)
    async with connect(studio, "legacy") as client:
        with pytest.raises(MCPError, match="The ledger"):
            await client.read_resource("callsheet://tasks/task_1")


async def test_the_policy_read_only_refuses_in_its_words(studio: Studio) -> None:
    """Read-only wins over everything, and explaining still works."""
    studio.write_policy('mode = "read-only"\n')
    async with connect(studio, "legacy", types_in("0.24")) as client:
        sheet_id = await explained(client)
        text = await refused(client, "submit_video", {"sheet_id": sheet_id})

    assert text.startswith("The policy is read-only. Nothing was sent; no money was spent.")


async def test_a_reply_that_is_no_json_makes_the_outcome_unknown_and_not_an_error(studio: Studio) -> None:
    """The request may have been taken on, so the model must not try again."""
    studio.go_live()
    studio.gateway.replies = [reply("oops", 502)]
    async with connect(studio, "legacy", types_in("0.24")) as client:
        result = await client.call_tool("submit_video", {"sheet_id": await explained(client)})

    assert result.structured_content["task_status"] == "outcome_unknown"
    assert "not known" in text_of(result)
