"""What a real client is tried on: a live install whose gateway is the sandbox, its person at the desk, and its process.

Everything is on loopback. `make check-clients` installs the clients, each into a directory of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx2
import pytest
from other_servers import RealClock
from sandbox_client import KEY, SandboxClient, sandbox_in_thread
from scripted_model import SEEN, Call, ScriptedModel, Use, decide, scripted_model

from callsheet.compose import VERIFIER_FILE
from callsheet.edges.config.mcp_entries import Entry, put_entry
from callsheet.edges.config.mcp_hosts import SLOTS, TITLES, Host, Scope, find_config
from callsheet.edges.keys.passphrase import write_verifier
from callsheet.edges.process.locks import find_desk
from callsheet.sandbox.store import count_accepted, count_submits
from samples import CHEAP
from workspace import PASSPHRASE, command_for, trust

INSTALLED = Path(__file__).parents[2] / ".clients"
SECONDS = 240.0
NO_KEY = "no-key"
QUIET = {"DO_NOT_TRACK": "1", "NO_COLOR": "1", "TERM": "dumb", "CI": "1"}
REQUEST = "Generate a video of a red kite."


@dataclass
class Stage:
    """One client's world: the person's home, the client's home and project, the gateway and the model."""

    directory: Path
    model: ScriptedModel
    sandbox: SandboxClient

    @property
    def home(self) -> Path:
        """Callsheet's home."""
        return self.directory / "home"

    @property
    def account(self) -> Path:
        """The client's home, empty but for what a test writes there."""
        return self.directory / "account"

    @property
    def project(self) -> Path:
        """The directory in which the client runs."""
        return self.directory / "project"

    @property
    def clips(self) -> Path:
        """Where clips are saved."""
        return self.directory / "clips"

    @property
    def entry(self) -> Entry:
        """How the client starts the server."""
        command, *arguments = command_for({"CALLSHEET_HOME": str(self.home)}, "mcp")
        return Entry(command, tuple(arguments), {"CALLSHEET_HOME": str(self.home), "POYO_API_KEY": KEY})

    def paid(self) -> tuple[int, int]:
        """Paid requests that arrived at the gateway, and the jobs that were made of them."""
        return count_submits(self.sandbox.store), count_accepted(self.sandbox.store)

    def run(self, client: Client) -> str:
        """The client until it ends, with our server in its settings; what it printed."""
        client.write(self, self.entry)
        return self.command(client, *client.arguments)

    def command(self, client: Client, *arguments: str) -> str:
        """One command of the client, with the settings as they are; what it printed."""
        done = subprocess.run(
            client.command(*arguments),
            env=client.environ_on(self),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.stdout


@dataclass(frozen=True)
class Client:
    """A host: its program below node_modules, its arguments, and its own settings for a stage.

    The local server's entry is put into the settings as `callsheet install` does it.
    """

    host: Host
    script: str
    arguments: tuple[str, ...]
    settings: Callable[[Stage], str]
    environ: Callable[[Stage], dict[str, str]]

    @property
    def skip(self) -> pytest.MarkDecorator:
        """Skips where the client could not be installed."""
        reason = f"{TITLES[self.host]} is not installed: `make check-clients` does it"
        return pytest.mark.skipif(not (self._modules / self.script).exists(), reason=reason)

    @property
    def _modules(self) -> Path:
        return INSTALLED / self.host / "node_modules"

    def write(self, stage: Stage, entry: Entry | None = None) -> None:
        """Write the settings, with that entry of our server."""
        path = find_config(self.host, Scope.USER, {"HOME": str(stage.account)}, stage.project)
        path.parent.mkdir(exist_ok=True)
        own = self.settings(stage)
        path.write_text(own if entry is None else put_entry(own, SLOTS[self.host], entry))

    def command(self, *arguments: str) -> list[str]:
        """The client's program with these arguments, run by the Node.js that it brought along if any."""
        brought = sorted(self._modules.glob("node-linux-*/bin/node"))
        node = str(brought[0]) if brought else shutil.which("node")
        assert node is not None
        return [node, str(self._modules / self.script), *arguments]

    def environ_on(self, stage: Stage) -> dict[str, str]:
        """An environment with nothing of the tester's but PATH."""
        return {"PATH": os.environ["PATH"], "HOME": str(stage.account), **QUIET, **self.environ(stage)}


def _claude_settings(stage: Stage) -> str:
    known = {"hasCompletedOnboarding": True, "customApiKeyResponses": {"approved": [NO_KEY], "rejected": []}}
    return json.dumps({**known, "projects": {str(stage.project): {"hasTrustDialogAccepted": True}}})


def _codex_settings(stage: Stage) -> str:
    return f"""
model = "scripted"
model_provider = "scripted"
[analytics]
enabled = false
[model_providers.scripted]
name = "scripted"
base_url = "{stage.model.url}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
"""


def _gemini_settings(_: Stage) -> str:
    quiet = {"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}}
    security = {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}}
    return json.dumps({**quiet, "security": security})


def _openclaw_settings(stage: Stage, *, searches: bool = True) -> str:
    model = {"id": "scripted", "name": "scripted", "input": ["text", "image"], "contextWindow": 200_000}
    provider = {"baseUrl": stage.model.url, "apiKey": NO_KEY, "api": "anthropic-messages", "models": [model]}
    agents = {"defaults": {"model": {"primary": "scripted/scripted"}, "workspace": str(stage.project)}}
    models = {"mode": "replace", "providers": {"scripted": provider}}
    own = {} if searches else {"tools": {"toolSearch": False}}
    return json.dumps({"models": models, "agents": agents, "update": {"checkOnStart": False}, **own})


def _claude_environ(stage: Stage) -> dict[str, str]:
    quiet = dict.fromkeys(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"), "1")
    # A scripted model answers in milliseconds: without these, its turns are over before a server is connected that a
    # busy computer starts slowly.
    waits = {"MCP_CONNECTION_NONBLOCKING": "false", "MCP_CONNECT_TIMEOUT_MS": "60000"}
    return {**waits, "ANTHROPIC_BASE_URL": stage.model.url, "ANTHROPIC_API_KEY": NO_KEY, **quiet}


def _gemini_environ(stage: Stage) -> dict[str, str]:
    return {"GOOGLE_GEMINI_BASE_URL": stage.model.url, "GEMINI_API_KEY": NO_KEY}


CLAUDE = Client(
    Host.CLAUDE,
    "@anthropic-ai/claude-code/cli-wrapper.cjs",
    ("-p", REQUEST, "--allowedTools", "mcp__callsheet"),
    _claude_settings,
    _claude_environ,
)
CLAUDE_ON_A_TERMINAL = replace(CLAUDE, arguments=(REQUEST, "--allowedTools", "mcp__callsheet"))
# Nobody can be asked in `codex exec`: without this it refuses each tool that is not read-only.
ALLOWED = ("-c", "mcp_servers.callsheet.default_tools_approval_mode=approve")
CODEX = Client(
    Host.CODEX,
    "@openai/codex/bin/codex.js",
    ("exec", "--skip-git-repo-check", *ALLOWED, REQUEST),
    _codex_settings,
    lambda _: {"SCRIPTED_KEY": NO_KEY},
)
GEMINI = Client(
    Host.GEMINI,
    "@google/gemini-cli/bundle/gemini.js",
    ("-p", REQUEST, "-m", "gemini-2.5-pro", "--yolo"),
    _gemini_settings,
    _gemini_environ,
)
OPENCLAW = Client(
    Host.OPENCLAW,
    "openclaw/openclaw.mjs",
    ("agent", "--local", "--agent", "main", "--message", REQUEST),
    _openclaw_settings,
    lambda _: {},
)
OPENCLAW_WITHOUT_SEARCH = replace(OPENCLAW, settings=partial(_openclaw_settings, searches=False))


@contextmanager
def stage(directory: Path, policy: str = "", script: Callable[[Sequence[Use]], Call | str] = decide) -> Iterator[Stage]:
    """A live install whose person has a passphrase, before a sandbox that is sixty times as fast as a gateway."""
    with scripted_model(script) as model, sandbox_in_thread(directory / "store", RealClock(), speed=60) as sandbox:
        found = Stage(directory, model, sandbox)
        for own in (found.account, found.project, found.home / "config"):
            own.mkdir(parents=True, mode=0o700)
        path = found.home / "config" / "policy.toml"
        path.touch(mode=0o600)
        text = f'mode = "live"\n{policy}[save]\ndirectory = "{found.clips}"\n'
        path.write_text(f'{text}[gateways.poyo]\nbase_url = "{sandbox.base}/poyo"\n')
        trust(found.home, path.read_text())
        write_verifier(found.home / "config" / VERIFIER_FILE, PASSPHRASE, cost=CHEAP)
        yield found


def check_saved(found: Stage, sheet_id: str, said: str) -> Path:
    """The clip of that sheet is saved and was looked at, and one request was paid; the clip's path."""
    looked = found.model.last_use("get_task").fields()
    assert "saved" in (looked["status"], looked.get("task_status")), said
    assert Path(looked["clip_path"]).stat().st_size > 0
    assert found.model.last_use("explain_payload").fields()["sheet_id"] == sheet_id
    assert found.paid() == (1, 1)
    assert SEEN in [turn.answer for turn in found.model.turns]
    return Path(looked["clip_path"])


@dataclass
class Person:
    """Somebody who looks at a desk until a sheet waits there, and approves it."""

    approve: Callable[[], str]
    """Approves the first sheet that waits, and returns its id; "" where none does."""
    approved: list[str] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until something was approved."""
        try:
            while not self.approved and not self.over.wait(0.2):
                self.approved += filter(None, [self.approve()])
        except BaseException as problem:
            self.problems.append(problem)


def approve_at_desk(home: Path) -> str:
    """Sign in at the desk that a call opened, and approve the first sheet that waits, as the page's own form does."""
    origin = (find_desk(home / "state") or "").rstrip("/")
    if not origin:
        return ""
    with httpx2.Client(base_url=origin, headers={"origin": origin}) as browser:
        browser.post("/sign-in", data={"passphrase": PASSPHRASE})
        waiting = re.search(r'href="(/sheets/\w+)"', browser.get("/").text)
        if waiting is None:
            return ""
        page = browser.get(waiting[1]).text
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        amount = re.search(r"Type <strong>([^<]+)</strong>", page)
        assert amount is not None, page
        fields = {**hidden, "amount": amount[1], "passphrase": PASSPHRASE}
        answer = browser.post(f"{waiting[1]}/approve", data=fields)
        assert answer.status_code == 303, answer.text
        return waiting[1].rpartition("/")[2]


@contextmanager
def person_at_desk(approve: Callable[[], str]) -> Iterator[Person]:
    """The person, while the block runs."""
    person = Person(approve)
    thread = threading.Thread(target=person.run)
    thread.start()
    try:
        yield person
    finally:
        person.over.set()
        thread.join(30)
    assert not person.problems, person.problems
