"""The program over HTTP: which requests it accepts, what it shows, and how it ends."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from connection import ERAS, SHOT, UpdateLog, receive_until_saved, text_of
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from consent.live_server import (
    KEY,
    CountingGateway,
    Served,
    approve,
    arm,
    counting_gateway,
    environ_of,
    serving,
    write_policy,
)
from consent.wire import FORMS, MODERN, told
from warm_start import run, start

ACCEPT = "application/json, text/event-stream"
ABOUT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": ABOUT}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in the sandbox, shared by the tests that only need a refusal."""
    home = tmp_path_factory.mktemp("served")
    write_policy(home, "[sandbox]\nspeed = 300.0\n")
    with serving("http", environ_of(home)) as running:
        yield running


@pytest.fixture
def gateway() -> Iterator[CountingGateway]:
    """A gateway that counts what would cost money."""
    with counting_gateway() as counting:
        yield counting


def knock(
    served: Served,
    method: str = "POST",
    *,
    path: str = "/mcp",
    body: bytes | None = None,
    headers: Any = (),
    length: Any = None,
) -> tuple[int, str, dict[str, str]]:
    """One raw request, with exactly those headers beside length and type."""
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    content = json.dumps(INITIALIZE).encode() if body is None else body
    connection.putrequest(method, path, skip_host=True)
    own = (("content-type", "application/json"), ("accept", ACCEPT), length or ("content-length", str(len(content))))
    for name, value in (*own, *headers):
        connection.putheader(name, value)
    connection.endheaders(content)
    response = connection.getresponse()
    found = response.status, response.read().decode(), {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return found


def here(served: Served) -> tuple[str, str]:
    """The host header of the server's own name."""
    return ("host", urlsplit(served.url).netloc)


def bearer(served: Served) -> tuple[str, str]:
    """The header with the token."""
    return ("authorization", f"Bearer {served.token_file.read_text(encoding='ascii')}")


def size_of(path: str) -> int:
    """How many bytes a file has."""
    return Path(path).stat().st_size


@pytest.mark.parametrize("era", ERAS)
async def test_a_shot_goes_from_explained_to_saved_over_http(served: Served, era: str) -> None:
    """The SDK's own client, in both eras on one port."""
    async with (
        httpx2.AsyncClient(headers=dict([bearer(served)]), timeout=60) as web,
        Client(streamable_http_client(served.url, http_client=web), mode=era) as client,
    ):
        explained = await client.call_tool("explain_payload", SHOT)
        sheet_id = explained.structured_content["sheet_id"]
        submitted = await client.call_tool("submit_video", {"sheet_id": sheet_id})
        assert not submitted.is_error, text_of(submitted)
        arguments = {"task_id": submitted.structured_content["task_id"], "wait_seconds": 45, "details": True}
        done = await client.call_tool("get_task", arguments)

    assert done.structured_content["status"] == "saved", done.structured_content
    assert size_of(done.structured_content["clip_path"]) == done.structured_content["size_bytes"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_subscriber_over_http_gets_updates_and_the_poster(served: Served, era: str) -> None:
    """In the older era on the connection's own stream, in the newer on one that the client opened for it."""
    log = UpdateLog()
    async with (
        httpx2.AsyncClient(headers=dict([bearer(served)]), timeout=60) as web,
        Client(streamable_http_client(served.url, http_client=web), mode=era, message_handler=log.on_message) as client,
    ):
        explained = await client.call_tool("explain_payload", {**SHOT, "prompt": f"A red kite, as received in {era}."})
        submitted = await client.call_tool("submit_video", {"sheet_id": explained.structured_content["sheet_id"]})
        uri = f"callsheet://tasks/{submitted.structured_content['task_id']}"
        await receive_until_saved(client, log, uri)
        poster = (await client.read_resource(f"{uri}/poster")).contents[0]

    assert poster.mime_type == "image/jpeg"
    assert base64.b64decode(poster.blob).startswith(b"\xff\xd8\xff")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
async def test_subscribers_get_the_end_of_the_stream_and_do_not_delay_the_exit(tmp_path: Path) -> None:
    """The stream ends as the protocol requires, and then the program ends."""
    with serving("http", environ_of(tmp_path)) as served:
        async with (
            httpx2.AsyncClient(headers=dict([bearer(served)]), timeout=60) as web,
            Client(streamable_http_client(served.url, http_client=web), mode=MODERN) as client,
            client.listen(tools_list_changed=True) as stream,
        ):
            served.process.terminate()
            with anyio.fail_after(20):
                received = [event async for event in stream]
        assert served.process.wait(20) == 0

    assert received == []
    assert "Traceback" not in "".join(served.stderr_lines)


def test_the_token_is_in_a_private_file_and_nowhere_else(tmp_path: Path) -> None:
    """Neither arguments nor environment nor output hold it; with the program it goes."""
    with serving("http", environ_of(tmp_path)) as served:
        token = served.token_file.read_text(encoding="ascii")
        process = Path(f"/proc/{served.process.pid}")
        shown = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
        knock(served, headers=[here(served), bearer(served)])

        assert stat.S_IMODE(served.token_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(served.token_file.parent.stat().st_mode) == 0o700
        assert len(token) >= 43
        assert token.encode() not in shown
    assert not served.token_file.exists()
    assert token not in "".join(served.stderr_lines)
    with serving("http", environ_of(tmp_path)) as again:
        assert again.token_file.read_text(encoding="ascii") != token


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS", "PUT", "HEAD"])
@pytest.mark.parametrize("path", ["/mcp", "/", "/mcp/", "/anything"])
def test_every_request_without_the_token_is_refused(served: Served, method: str, path: str) -> None:
    """For every method and path: 401, with the scheme to use."""
    status, text, headers = knock(served, method, path=path, headers=[here(served)])

    assert status == 401
    assert headers["www-authenticate"] == 'Bearer realm="callsheet"'
    assert method == "HEAD" or text.startswith("The token is missing or wrong.")
    assert not {name for name in headers if name.startswith("access-control")} | {"server"} & set(headers)


def test_what_is_nearly_the_token_is_not_the_token(served: Served) -> None:
    """Cut, longer, in another case, under another scheme, in the address, in a cookie, or twice."""
    _, value = bearer(served)
    token = value.removeprefix("Bearer ")
    tries: dict[str, list[tuple[str, str]]] = {
        "cut": [("authorization", value[:-1])],
        "longer": [("authorization", f"{value}A")],
        "other case": [("authorization", value.swapcase())],
        "no scheme": [("authorization", token)],
        "basic": [("authorization", f"Basic {token}")],
        "empty": [("authorization", "Bearer ")],
        "not ASCII": [("authorization", "Bearer \u00e9\u00e9")],
        "cookie": [("cookie", f"token={token}")],
        "own header": [("x-api-key", token)],
    }
    answers = {name: knock(served, headers=[here(served), *extra])[0] for name, extra in tries.items()}
    in_address = knock(served, path=f"/mcp?token={token}", headers=[here(served)])[0]
    twice = knock(served, headers=[here(served), bearer(served), bearer(served)])[0]

    assert answers == dict.fromkeys(tries, 401)
    assert in_address == 401
    assert twice == 400
    assert knock(served, headers=[here(served), bearer(served)])[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:80", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1.evil.com"]
)
def test_a_request_with_another_host_name_is_refused(served: Served, host: str) -> None:
    """Rebinding a name to 127.0.0.1 brings a browser here, but with its own name in the request; token or not."""
    assert knock(served, headers=[("host", host), bearer(served)])[0] == 421
    assert knock(served, headers=[("host", host)])[0] == 421
    # Two names, or none, are no HTTP at all; the web server closes on whatever else such a request carries.
    assert knock(served, "GET", body=b"", headers=[here(served), ("host", host), bearer(served)])[0] == 400
    assert knock(served, "GET", body=b"", headers=[bearer(served)])[0] == 400


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_request_from_another_origin_is_refused(served: Served, origin: str) -> None:
    """Token or not; a program sends no origin, and the port's own page may call."""
    assert knock(served, headers=[here(served), ("origin", origin), bearer(served)])[0] == 403
    assert knock(served, headers=[here(served), ("origin", origin)])[0] == 403
    own = f"http://{urlsplit(served.url).netloc}"
    assert knock(served, headers=[here(served), ("origin", own), bearer(served)])[0] == 200


def test_a_large_body_is_refused_before_it_is_read(served: Served) -> None:
    """By its announced length, and without the token not even that far."""
    announced = ("content-length", "1048577")

    assert knock(served, length=announced, headers=[here(served), bearer(served)])[0] == 413
    assert knock(served, length=announced, headers=[here(served)])[0] == 401
    assert knock(served, headers=[here(served), bearer(served)])[0] == 200


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("depth", [250, 2_000, 200_000])
def test_a_body_that_cannot_be_read_is_answered_with_an_error(served: Served, era: str, depth: int) -> None:
    """In time and in both eras; the server goes on."""
    deep = f'{{"x":{"[" * depth}{"]" * depth}}}'
    body = f'{{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{deep}}}'.encode()
    headers = [here(served), bearer(served), *([("mcp-protocol-version", era)] if era == MODERN else [])]

    status, text, _ = knock(served, body=body, headers=headers)

    assert status == 400
    # The newer era's reader takes 250; then it is the request that is not right.
    assert json.loads(text)["error"]["code"] in {-32700, -32602}
    assert knock(served, headers=[here(served), bearer(served)])[0] == 200


def test_it_listens_only_on_loopback(served: Served) -> None:
    """As the system tells it."""
    port = f":{urlsplit(served.url).port:04X} "
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    local = {line.split()[1] for line in lines if port in f"{line.split()[1]} " and line.split()[3] == "0A"}

    assert local == {f"0100007F{port.strip()}"}


@pytest.mark.parametrize("era", ERAS)
def test_keys_are_hidden_and_logs_hold_nothing_private(tmp_path: Path, gateway: CountingGateway, era: str) -> None:
    """The same gates as on a pipe: a configured key that comes in does not come out, and a prompt is not logged."""
    with serving("http", environ_of(arm(tmp_path, gateway))) as served:
        wire = served.connect(era, FORMS)
        answers = [
            wire.call("explain_payload", {**SHOT, "prompt": f"private words {KEY}"}),
            wire.call("explain_payload", {"payload": {"model": KEY, "input": {"prompt": "private words"}}}),
            wire.call("submit_video", {"sheet_id": KEY}),
            wire.ask("resources/read", {"uri": f"callsheet://tasks/{KEY}"}),
            wire.call("explain_payload", {**SHOT, "prompt": "half of a pair \ud83d"}),
        ]
        bad = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": "private words"}'
        knock(served, body=bad, headers=[here(served), bearer(served)])
        knock(served, body=b"private words {", headers=[here(served), bearer(served)])

    assert [answer for answer in answers if KEY in json.dumps(answer)] == []
    assert "private words" not in "".join(served.stderr_lines)
    assert KEY not in "".join(served.stderr_lines)
    assert "error" in answers[-1] or "surrogate pair" in told(answers[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_waits_for_the_answer_to_a_paid_request(
    tmp_path: Path, gateway: CountingGateway, number: signal.Signals
) -> None:
    """The outcome is stored, nothing new is let in, and the end comes within bounds; nothing is sent twice."""
    environ = environ_of(arm(tmp_path, gateway))
    with serving("http", environ) as served:
        wire = served.connect(MODERN, {})
        sheet_id = wire.call("explain_payload", SHOT)["structuredContent"]["sheet_id"]
        approve(tmp_path, sheet_id)
        gateway.may_answer.clear()
        beside = start(
            [sys.executable, "-c", SUBMIT, served.url, str(served.token_file), sheet_id], stdout=subprocess.PIPE
        )
        assert gateway.arrived.wait(20)
        served.process.send_signal(number)
        while (late := knock(served, headers=[here(served), bearer(served)]))[0] == 200:
            pass
        gateway.may_answer.set()
        assert served.process.wait(15) == 0
        beside.communicate(timeout=20)
    assert late[0] == 503
    assert "no money was spent" in late[1]
    assert "still open" in "".join(served.stderr_lines)
    with serving("stdio", environ) as again:
        wire = again.connect(MODERN, {})
        [task] = wire.call("list_tasks", {})["structuredContent"]["tasks"]
        assert task["status"] == "queued"
        assert wire.call("submit_video", {"sheet_id": sheet_id})["structuredContent"]["status"] == "already_accepted"
    assert len(gateway.paid) == 1


SUBMIT = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from consent.wire import HttpWire, MODERN
url, token, sheet = sys.argv[1:]
print(HttpWire(url, Path(token).read_text(), era=MODERN, capabilities={}).call("submit_video", {"sheet_id": sheet}))
"""


def test_a_port_in_use_is_reported_and_no_file_is_left(served: Served, tmp_path: Path) -> None:
    """With the exit code of a set-up that cannot be used."""
    port = str(urlsplit(served.url).port)
    done = run(
        [sys.executable, "-P", "-m", "callsheet", "mcp", "--http", port],
        text=True,
        cwd="/",
        env={**environ_of(tmp_path / "other"), "COLUMNS": "200"},
    )

    assert done.returncode == 8
    assert f"MCP cannot be served on port {port} (Address already in use)." in done.stderr
    assert "Choose another port with --http" in done.stderr
    assert not (tmp_path / "other" / "state" / "mcp-http").exists()


def test_serving_a_pipe_loads_nothing_of_it() -> None:
    """Start-up time is the time in which a client believes that there are no tools."""
    code = (
        "import sys; from callsheet.compose import Surroundings, build_program;"
        "build_program(Surroundings.of_process()); import callsheet.surface.mcp.stdio;"
        "print([name for name in sys.modules if name.endswith(('.over_http', 'mcp.guard'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stdout.strip() == "[]"
