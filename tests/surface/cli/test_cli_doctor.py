"""`callsheet doctor`: what is missing or amiss, said without sending anything, and what is free to ask."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cli_terminal import CommandLine, store_cheap_verifier

from callsheet.core.consent import Means
from callsheet.sandbox.published import load_data, poyo_page
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, Workspace, accepted, draft, reply

WEEKLY = '[catalogue]\nrefresh = "weekly"\n'
OTHER_VERSION = '{"id": 1, "result": {"serverInfo": {"name": "callsheet", "version": "0.0.9"}}}'


def grades(answer: Any) -> dict[str, str]:
    """Each check's name and its worst grade."""
    order = ["ok", "note", "warning", "problem"]
    found: dict[str, str] = {}
    for check in answer["checks"]:
        worst = max(order.index(check["grade"]), order.index(found.get(check["name"], "ok")))
        found[check["name"]] = order[worst]
    return found


def test_a_fresh_install_is_healthy_and_nothing_is_sent(workspace: Workspace, cli: CommandLine) -> None:
    """What is not set yet is a note, not a problem."""
    ran, answer = cli("doctor"), cli("doctor", "--json")

    assert ran.code == answer.code == 0
    assert answer.json["healthy"] is True
    found = grades(answer.json)
    assert found["Ledger"] == found["Sandbox"] == found["Video"] == found["Policy"] == "ok"
    assert found["Passphrase"] == found["Key PoYo"] == "note"
    assert "No problems found" in ran.out
    assert workspace.gateway.requests == []


def test_doctor_says_where_notices_go_and_sends_a_test_only_when_asked(workspace: Workspace, cli: CommandLine) -> None:
    """Of the address only the host, which is all that a person needs to recognise it."""
    address = "https://hooks.example.com/services/T0/0123456789abcdef"
    workspace.write_policy(
        f'[hosts]\nnotify = ["hooks.example.com"]\n[notify]\naddress = "{address}"\nform = "slack"\n'
    )
    workspace.gateway.on_request = lambda _request: reply({}, 404)

    quiet, answer, shown = cli("doctor", "--json"), cli("doctor", "--notice", "--json"), cli("doctor", "--notice")

    [text] = [check["text"] for check in quiet.json["checks"] if check["name"] == "Notices"]
    assert ("hooks.example.com (slack)" in text, "notices" in quiet.json) == (True, False)
    assert answer.json["notices"] == [{"to": "hooks.example.com", "outcome": "refused (HTTP 404)"}]
    assert "refused (HTTP 404)" in shown.out
    assert [str(request.url) for request in workspace.gateway.requests] == [address] * 2
    assert not any("0123456789ab" in ran.out + ran.err for ran in (quiet, answer, shown))


def test_a_key_is_told_by_its_fingerprint_only(workspace: Workspace, cli: CommandLine) -> None:
    """Where it was found, and nothing of it."""
    workspace.environ["POYO_API_KEY"] = KEY
    workspace.environ["APIDOT_API_KEY"] = "not a key"

    answer = cli("doctor", "--json")

    texts = {check["name"]: check["text"] for check in answer.json["checks"]}
    assert texts["Key PoYo"].startswith("set (environment, fingerprint ")
    assert "malformed" in texts["Key APIDot"]
    assert grades(answer.json)["Key APIDot"] == "problem"
    assert KEY not in answer.out
    assert "not a key" not in answer.out


def test_live_mode_without_passphrase_or_key_is_a_problem(workspace: Workspace, cli: CommandLine) -> None:
    """Each thing that is missing is named, with the command that mends it."""
    workspace.write_policy('mode = "live"\n[caps]\nper_day = "none"\n')

    ran = cli("doctor", "--json")

    assert ran.code == ExitCode.SETUP
    found = grades(ran.json)
    assert found["Passphrase"] == found["Keys"] == "problem"
    assert found["Policy"] == "warning"


def test_what_is_broken_does_not_hide_the_rest(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """A policy, a verifier and a ledger that cannot be used are three problems, not one crash."""
    workspace.write_policy('mode = "live')
    store_cheap_verifier(program.verifier_path, "a heron over the reeds")
    program.verifier_path.chmod(0o644)
    program.paths.data.mkdir(parents=True)
    (program.paths.data / "ledger.sqlite3").write_bytes(b"this is no database" * 100)

    ran = cli("doctor", "--json")

    assert ran.code == ExitCode.SETUP
    found = grades(ran.json)
    assert found["Policy"] == found["Passphrase"] == found["Ledger"] == "problem"
    assert found["Sandbox"] == "ok"


def test_directories_open_to_others_and_unknown_outcomes_are_warnings(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Nothing stops working, but a person should look."""
    program.paths.data.mkdir(parents=True, mode=0o755)
    program.paths.data.chmod(0o755)
    workspace.go_live()
    service = program.build_service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [httpx2.ReadError("gone")]
    task_id = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]

    answer = cli("doctor", "--json").json

    found = grades(answer)
    assert found["Data"] == found["Tasks"] == "warning"
    [tasks] = [check for check in answer["checks"] if check["name"] == "Tasks"]
    assert f"callsheet resolve {task_id}" in tasks["next_step"]


def test_online_asks_the_balance_with_the_key_and_the_listing_without(
    workspace: Workspace, cli: CommandLine, program: Program
) -> None:
    """Only what is free, only at the gateway's own address; what is not documented is not asked."""
    workspace.environ["POYO_API_KEY"] = KEY

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/api/user/balance":
            return reply({"code": 200, "data": {"credits_amount": 1234, "email": "person@example.com"}})
        if request.url.path == "/v1/catalog/models/sora-2-official":
            return reply({"code": 200, "data": {"model_id": "sora-2-official"}})
        return reply({"code": 404}, 404)

    workspace.gateway.on_request = answer
    ran = cli("doctor", "--online", "--json")

    assert ran.code == 0
    by_gateway = {entry["gateway"]: entry for entry in ran.json["online"]}
    poyo = by_gateway["poyo"]
    assert poyo["balance"] == {"amount": "1234", "unit": "credits"}
    assert poyo["asked_at"].endswith("Z")
    listed = {listing["model"]: listing["listed"] for listing in poyo["listings"]}
    assert listed["sora-2-official"] is True
    assert listed["sora-2-beta"] is False
    assert by_gateway["apidot"]["balance"] is None
    assert by_gateway["apidot"]["listings"] == []
    with_key = [request for request in workspace.gateway.requests if KEY in request.headers.get("authorization", "")]
    assert [(request.url.host, request.url.path) for request in with_key] == [("api.poyo.ai", "/api/user/balance")]
    assert {request.method for request in workspace.gateway.requests} == {"GET"}
    assert KEY not in ran.out
    assert "person@example.com" not in ran.out
    shown = cli("doctor", "--online").out
    assert "1234 credits left" in shown
    assert "not listed" in shown


def test_online_a_gateway_at_another_address_is_not_asked(workspace: Workspace, cli: CommandLine) -> None:
    """The key goes to the gateway's own address and nowhere else."""
    workspace.environ["POYO_API_KEY"] = KEY
    workspace.write_policy('[gateways.poyo]\nbase_url = "https://proxy.example.com"\n')
    workspace.gateway.on_request = lambda request: reply({}, 404)

    ran = cli("doctor", "--online", "--json")

    poyo = next(entry for entry in ran.json["online"] if entry["gateway"] == "poyo")
    assert poyo["said"].startswith("not asked")
    assert not any(KEY in str(request.headers.raw) for request in workspace.gateway.requests)


@pytest.mark.parametrize(
    "answer", [reply({"error": KEY}, 401), httpx2.ConnectError("refused"), reply({"code": 200, "data": {}})]
)
def test_online_an_answer_that_says_nothing_is_told_as_such(
    workspace: Workspace, cli: CommandLine, answer: httpx2.Response | Exception
) -> None:
    """Unknown is a value, and asking is never a failure of the check-up."""
    workspace.environ["POYO_API_KEY"] = KEY

    def respond(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    workspace.gateway.on_request = respond
    ran = cli("doctor", "--online", "--json")

    assert ran.code == 0
    poyo = next(entry for entry in ran.json["online"] if entry["gateway"] == "poyo")
    assert poyo["balance"] is None
    assert poyo["said"]
    assert KEY not in ran.out


def test_open_tasks_are_counted(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """What the next start will follow."""
    workspace.go_live()
    service = program.build_service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [accepted()]
    assert cli("submit", sheet_id, "--no-wait").code == 0

    [ledger] = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "Ledger"]
    assert ledger["text"].endswith("whole; 1 task open")


@pytest.mark.process
@pytest.mark.parametrize(
    ("entry", "grade"),
    [
        (None, "note"),
        ({"command": "/nowhere/callsheet", "args": ["mcp"]}, "problem"),
        ({"command": "/h/.cache/uv/archive-v0/x/bin/callsheet", "args": ["mcp"]}, "warning"),
        ({"command": sys.executable, "args": ["-P", "-m", "callsheet", "mcp"]}, "ok"),
        ({"command": "printf", "args": [OTHER_VERSION]}, "warning"),
        ({"url": "http://127.0.0.1:8765/mcp"}, "note"),
        ("not an entry", "warning"),
    ],
)
def test_each_host_is_looked_at(workspace: Workspace, cli: CommandLine, tmp_path: Path, entry: Any, grade: str) -> None:
    """Whether its entry starts this version; what does not is told with the command that repairs it."""
    (tmp_path / ".cursor").mkdir()
    servers = {} if entry is None else {"callsheet": entry}
    (tmp_path / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    workspace.environ |= {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    ran = cli("doctor", "--json")

    [found] = [check for check in ran.json["checks"] if check["name"] == "Cursor"]
    assert found["grade"] == grade
    assert ("callsheet install cursor" in found["next_step"]) is (grade != "ok")
    assert ran.code == (ExitCode.SETUP if grade == "problem" else 0)


def test_the_end_is_one_verdict_and_one_next_step(workspace: Workspace, cli: CommandLine) -> None:
    """The first problem's step; without any, what to do with a program that works."""
    sound = cli("doctor")
    workspace.write_policy("mode = 1\n")
    broken = cli("doctor")

    for ran, code in ((sound, ExitCode.OK), (broken, ExitCode.SETUP)):
        assert ran.code == code
        assert len([line for line in ran.out.splitlines() if line.startswith("Next ")]) == 1
    assert "callsheet generate" in sound.out


@pytest.mark.parametrize(("policy", "how"), [("", "only when you ask"), (WEEKLY, "every week")])
def test_when_the_published_lists_were_fetched_and_whether_that_goes_on(
    workspace: Workspace, cli: CommandLine, policy: str, how: str
) -> None:
    """By the check-up and by the list of models."""
    workspace.write_policy(policy)
    items = load_data("poyo_catalogue.json")["items"]
    data = {**poyo_page("", ""), "items": items, "next_cursor": None, "has_more": False}
    workspace.gateway.on_request = lambda _request: reply({"code": 200, "data": data})
    cli("models", "refresh", "poyo")

    [text] = [row["text"] for row in cli("doctor", "--json").json["checks"] if row["name"] == "Published lists"]

    assert "PoYo 2026-09-21, APIXO never, EvoLink never" in text
    assert how in text
    assert text in " ".join(cli("models", "poyo").out.split())
