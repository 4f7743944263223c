"""A new gateway is one module, one fact file and one line, and then works end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import callsheet
from workspace import account_of, trust

PACKAGE = Path(callsheet.__file__).parent

MODULE = '''
"""A pretend gateway: the simplest wire that there could be."""

from __future__ import annotations

import json

from callsheet.core.gateway.protocol import (
    Accepted, GatewayProblem, HttpReply, HttpRequest, Phase, Progress, Rejected, StatusOutcome, StatusUnavailable,
    SubmitOutcome, SubmitParts, TaskRef,
)


def build_submit(parts: SubmitParts) -> HttpRequest:
    return HttpRequest("POST", "/jobs", parts.body)


def read_submit(reply: HttpReply) -> SubmitOutcome:
    if reply.status != 201:
        return Rejected(GatewayProblem(reply.status, "no", reply.body.decode()))
    return Accepted(json.loads(reply.body)["job"])


def build_status(task: TaskRef) -> HttpRequest:
    return HttpRequest("GET", f"/jobs/{task.gateway_task_id}")


def read_status(reply: HttpReply) -> StatusOutcome:
    if reply.status != 200:
        return StatusUnavailable(GatewayProblem(reply.status, "", ""))
    return Progress(Phase.RUNNING, json.loads(reply.body)["state"], percent=50)
'''

FACTS = """
id = "pretend"
name = "Pretend"
base_url = "https://api.pretend.example.com"
submit_path = "/jobs"
key_env = "PRETEND_API_KEY"
key_page = "https://pretend.example.com/keys"
docs = "https://pretend.example.com/docs"
as_of = "2026-11-01"
errors = []

[poll]
first_after_seconds = 0
every_seconds = 1
usual_seconds = [1, 5]
source = "docs"

[retention]
source = "docs"

[rate_limit]
assumed_per_minute = 600
source = "docs"

[callback]
signature = "none"
source = "docs"

[sources.docs]
title = "Pretend's documentation"
url = "https://pretend.example.com/docs"
date = "2026-11-01"
authority = "gateway"

[[models]]
id = "pretend-video"
title = "Pretend Video"
kinds = ["text-to-video"]

[models.price]
per = "clip"
unit = "USD"
usd_per_unit = "1"
as_of = "2026-11-01"
source = "docs"
amounts = { any = "0.10" }

[models.lifecycle]
availability = "live"
summary = "Seen working."
evidence = [{ date = "2026-11-01", text = "It works.", source = "docs" }]

[[models.fields]]
path = "text"
role = "prompt"
kind = "string"
required = true
source = "docs"
"""

DRIVE = """
import anyio, os, pathlib, sys
from dataclasses import replace
from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.service import Draft

async def main():
    service = build_service(replace(Surroundings.of_process(), account_home=pathlib.Path(sys.argv[1])))
    explanation = service.explain(Draft(shot=Shot.of("A kite."), gateway="pretend", model="pretend-video"))
    print(explanation.price, explanation.url)
    service.approve(explanation.sheet.id, by=Means.TERMINAL)
    async with service.running():
        done = await service.submit(explanation.sheet.id)
        report = await service.wait_for(done.report.task.id, wait_seconds=20, until=lambda task: task.percent == 50)
        print(report.task.state.value, report.task.gateway_task_id)

anyio.run(main)
"""


class Pretend(BaseHTTPRequestHandler):
    """The far end: takes one job, says that it runs, remembers what it was sent."""

    bodies: list[dict[str, object]] = []  # noqa: RUF012 - one server, one test
    keys: list[str | None] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.append(json.loads(body))
        self.keys.append(self.headers["authorization"])
        self._answer(201, {"job": "job-1"})

    def do_GET(self) -> None:
        self._answer(200, {"state": "cooking"})

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _answer(self, code: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def add_gateway(root: Path) -> list[str]:
    """Copy the package and add the pretend gateway to it; returns what was touched."""
    shutil.copytree(PACKAGE, root / "callsheet", ignore=shutil.ignore_patterns("__pycache__"))
    gateways = root / "callsheet" / "gateways"
    (gateways / "pretend.py").write_text(MODULE, encoding="utf-8")
    (gateways / "pretend.toml").write_text(FACTS, encoding="utf-8")
    register = gateways / "__init__.py"
    before = register.read_text(encoding="utf-8")
    after = before.replace('    "evolink",\n', '    "evolink",\n    "pretend",\n')
    register.write_text(after, encoding="utf-8")
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    changed = {path.relative_to(root) for path in (root / "callsheet").rglob("*") if path.is_file()}
    known = {Path("callsheet") / path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_file()}
    return [*sorted(path.name for path in changed - known if path.suffix != ".pyc"), "__init__.py"]


def test_a_fifth_gateway_is_one_module_one_fact_file_and_one_line(tmp_path: Path) -> None:
    """With no other file touched it is explained, priced, approved, submitted with its own key and followed."""
    assert add_gateway(tmp_path) == ["pretend.py", "pretend.toml", "__init__.py"]
    server = HTTPServer(("127.0.0.1", 0), Pretend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    policy = tmp_path / "home" / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text(
        f'mode = "live"\n[gateways.pretend]\nbase_url = "http://127.0.0.1:{server.server_port}/api"\n', encoding="utf-8"
    )
    trust(tmp_path / "home", policy.read_text(encoding="utf-8"))
    try:
        done = subprocess.run(
            [sys.executable, "-c", DRIVE, str(account_of(tmp_path / "home"))],
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path),
                "CALLSHEET_HOME": str(tmp_path / "home"),
                "PRETEND_API_KEY": "pretend-key-0001",
            },
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"0.10 USD http://127.0.0.1:{server.server_port}/api/jobs",
        "running job-1",
    ]
    assert Pretend.bodies == [{"text": "A kite."}]
    assert Pretend.keys == ["Bearer pretend-key-0001"]
