"""`callsheet endpoint`: a person declares a server at a terminal; only free questions are asked of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import httpx2
import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.edges.config.policy_file import parse_policy
from callsheet.edges.files.paths import load_registered
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, Workspace, account_of, reply

PASSPHRASE = "a heron over the reeds"


class Box(BaseHTTPRequestHandler):
    """SGLang, as far as it is asked for free."""

    asked: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["authorization"]))
        known = {"/v1/models": {"data": [{"id": "wan-2.2"}]}, "/v1/videos?limit=20": {"data": []}}
        body = json.dumps(known.get(self.path, {"detail": "Video not found"})).encode()
        self.send_response(200 if self.path in known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.asked.append((self.command, self.path, None))

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def box() -> Iterator[str]:
    """The base URL of a server on this computer."""
    Box.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Box)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def table(base_url: str) -> str:
    """An endpoint that is declared by hand."""
    head = f'mode = "live"\n[endpoints.box]\nbase_url = "{base_url}"\nkey_env = "BOX_KEY"\n'
    return head + '[endpoints.box.models."wan-2.1"]\nseconds = [4]\nprice = "none"\n'


def test_a_server_is_declared_in_a_conversation(workspace: Workspace, program: Program, box: str) -> None:
    """The passphrase comes first, then the server's own list of models; the table is added and the rest stays."""
    workspace.environ["BOX_KEY"] = KEY
    workspace.write_policy('# mine\nmode = "live"\n')
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    with Terminal(["endpoint", "add"], workspace.environ, program.working_directory) as talk:
        for question, typed in (
            ("passphrase", PASSPHRASE),
            ("short name", "box"),
            ("base URL", box),
            ("address", ""),
            ("certificates", ""),
            ("variable", "BOX_KEY"),
            ("Model", ""),
            ("Lengths", "2, 4"),
            ("Sizes", "832x480"),
            ("Price", "none"),
            ("Another model?", "no"),
            ("Write this?", "yes"),
        ):
            talk.expect(question)
            talk.type(typed)
        assert talk.finish() == ExitCode.OK
        assert KEY not in talk.text

    raw = program.policy_path.read_text(encoding="utf-8")
    [declared] = parse_policy(raw.encode(), where="").endpoints
    assert raw.startswith("# mine\n")
    assert (declared.id, declared.base_url, declared.models[0].seconds) == ("box", box, (2, 4))
    assert ("box", box) in load_registered(account_of(workspace.home)).addresses
    assert [(method, path.partition("?")[0]) for method, path, _ in Box.asked] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/videos/video_callsheet_check_no_such_job"),
        ("GET", "/v1/videos"),
    ]


def test_nobody_declares_a_server_without_a_terminal(workspace: Workspace, program: Program) -> None:
    """No argument, no environment, no pipe."""
    done = run_without_terminal(["endpoint", "add"], workspace.environ, program.working_directory)
    assert done.returncode == ExitCode.NOT_APPROVED


def answer(request: httpx2.Request) -> httpx2.Response:
    """What that server answers, without a socket."""
    models = request.url.path == "/v1/models"
    return reply({"data": [{"id": "wan-2.2"}]} if models else {"detail": "Video not found"}, 200 if models else 404)


def test_check_says_what_answers_and_what_the_table_lacks(cli: CommandLine, workspace: Workspace) -> None:
    """With the key, because a person has named that address."""
    workspace.environ["BOX_KEY"] = KEY
    workspace.write_policy(table("http://127.0.0.1:8000/v1"))
    workspace.gateway.on_request = answer
    found = cli("endpoint", "check", "box", "--json").json

    assert (found["dialect"], found["models"]) == ("sglang", ["wan-2.2"])
    assert found["replies"]["a job that does not exist"].startswith("HTTP 404")
    assert any("wan-2.1" in text for text in found["advice"])
    assert {request.headers["authorization"] for request in workspace.gateway.requests} == {f"Bearer {KEY}"}
    assert workspace.gateway.paid == []


def test_check_takes_no_key_to_an_address_that_no_person_named(cli: CommandLine, workspace: Workspace) -> None:
    """An edited policy and a command are not enough to read a key."""
    workspace.environ["BOX_KEY"] = KEY
    workspace.write_policy(table("http://127.0.0.1:9/v1"))
    edited = workspace.home / "config" / "policy.toml"
    edited.write_text(table("http://127.0.0.1:8000/v1"), encoding="utf-8")
    assert cli("endpoint", "check", "box").code == ExitCode.KEY
    assert workspace.gateway.requests == []


def test_check_names_the_endpoints_that_there_are(cli: CommandLine, workspace: Workspace, box: str) -> None:
    """For a slip of the keyboard."""
    workspace.write_policy(table(box))
    done = cli("endpoint", "check", "bix")
    assert done.code == ExitCode.INVALID
    assert "box" in done.err
