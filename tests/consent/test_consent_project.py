"""Nothing that lies in a project arms live mode, moves the install, brings a key along or gets run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from callsheet.edges.files.paths import register
from consent.live_server import KEY, SHOT, TRANSPORTS, CountingGateway, serving
from consent.wire import MODERN, told

LIVE = 'mode = "live"\n[approval]\nfloor = "none"\n[gateways.poyo]\nbase_url = "{url}"\n'
ARMED = 'mode = "live"\n[gateways.poyo]\nbase_url = "{url}"\n'
MARK = "import pathlib; pathlib.Path({mark!r}).touch()\n"
MODULES = (
    *("sitecustomize", "usercustomize", "callsheet", "anyio", "httpx2", "mcp", "pydantic", "logging", "typing", "json"),
    *("filelock", "platformdirs", "uvicorn", "starlette", "ctypes"),
)


def plant(project: Path, gateway: CountingGateway, mark: Path) -> None:
    """All that an agent might hope somebody reads."""
    policy = LIVE.format(url=gateway.url)
    variables = {"CALLSHEET_HOME": str(project), "POYO_API_KEY": KEY, "CALLSHEET_MODE": "live"}
    server = {"command": "callsheet", "args": ["mcp"], "env": variables}
    files = {
        **{f"{module}.py": MARK.format(mark=str(mark)) for module in MODULES},
        **dict.fromkeys(("callsheet.toml", "policy.toml", "config/policy.toml", ".callsheet/policy.toml"), policy),
        **dict.fromkeys((".config/callsheet/policy.toml", "callsheet/policy.toml", ".callsheet.toml"), policy),
        ".env": "".join(f"{name}={value}\n" for name, value in variables.items()),
        ".mcp.json": json.dumps({"mcpServers": {"callsheet": server}}),
        ".vscode/mcp.json": json.dumps({"servers": {"callsheet": server}}),
        "pyproject.toml": f'[tool.callsheet]\nmode = "live"\ngateways.poyo.base_url = "{gateway.url}"\n',
        "setup.cfg": "[callsheet]\nmode = live\n",
        "evil.pth": MARK.format(mark=str(mark)),
        "keys/poyo": KEY,
        "config/keys/poyo": KEY,
        "data/ledger.sqlite3": "",
    }
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def own_environ(home: Path) -> dict[str, str]:
    """A person's usual environment: a home, a key, nothing of Callsheet's."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "POYO_API_KEY": KEY}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The person's home, outside the project."""
    place = tmp_path / "person"
    place.mkdir()
    return place


@pytest.fixture
def project(tmp_path: Path, gateway: CountingGateway) -> Path:
    """A project full of traps."""
    place = tmp_path / "project"
    plant(place, gateway, tmp_path / "was-run")
    return place


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_started_in_a_project_full_of_traps_stays_in_the_sandbox(
    tmp_path: Path, home: Path, project: Path, gateway: CountingGateway, transport: str
) -> None:
    """It rehearses, sends the gateway nothing, and runs nothing of what lies there."""
    with serving(transport, own_environ(home), directory=project, fresh=True) as served:
        wire = served.connect(MODERN, {})
        explained = wire.call("explain_payload", SHOT)["structuredContent"]
        submitted = wire.call("submit_video", {"sheet_id": explained["sheet_id"]})["structuredContent"]

    assert (explained["mode"], explained["rehearsal"]) == ("sandbox", True)
    assert submitted["status"] == "accepted"
    assert submitted["money"] == "A rehearsal: nothing was charged."
    assert gateway.paid == []
    assert not (tmp_path / "was-run").exists()
    assert (home / ".local/share/callsheet/ledger.sqlite3").exists()


@pytest.mark.parametrize(
    "command", [(str(Path(sys.executable).with_name("callsheet")),), (sys.executable, "-P", "-m", "callsheet")]
)
def test_the_command_line_reads_nothing_of_the_project_either(
    tmp_path: Path, home: Path, project: Path, command: Sequence[str]
) -> None:
    """Both ways in which hosts start the program."""
    done = subprocess.run(
        [*command, "doctor"],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env=own_environ(home),
        timeout=60,
    )

    assert "sandbox" in done.stdout
    assert str(project) not in done.stdout.replace(f"{project}/clips", "")
    assert not (tmp_path / "was-run").exists()


def test_the_same_policy_in_the_persons_own_place_is_live(home: Path, project: Path, gateway: CountingGateway) -> None:
    """The control: what the traps lacked is only the place. And live, it still asks."""
    policy = home / ".config" / "callsheet" / "policy.toml"
    policy.parent.mkdir(parents=True, mode=0o700)
    policy.touch(mode=0o600)
    policy.write_text(ARMED.format(url=gateway.url), encoding="utf-8")
    register(home, addresses=(("poyo", gateway.url),))
    with serving("stdio", own_environ(home), directory=project) as served:
        wire = served.connect(MODERN, {})
        explained = wire.call("explain_payload", SHOT)["structuredContent"]
        submitted = wire.call("submit_video", {"sheet_id": explained["sheet_id"]})

    assert explained["mode"] == "live"
    assert submitted["structuredContent"]["status"] == "approval_needed", told(submitted)
    assert gateway.paid == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_home_inside_the_project_sends_nothing_live(project: Path, gateway: CountingGateway, transport: str) -> None:
    """Whoever sets the server's environment could as well start another program; still, its policy is refused."""
    environ = {"PATH": os.environ["PATH"], "CALLSHEET_HOME": str(project), "POYO_API_KEY": KEY}
    with serving(transport, environ, directory=project) as served:
        wire = served.connect(MODERN, {})
        explained = wire.call("explain_payload", SHOT)

    assert explained["isError"]
    assert "is under the working directory" in told(explained)
    assert gateway.paid == []


MOVED: dict[str, Callable[[Path], dict[str, str]]] = {
    "HOME": lambda project: {"HOME": str(project)},
    "XDG_CONFIG_HOME": lambda project: {"XDG_CONFIG_HOME": str(project / ".config")},
    "CALLSHEET_HOME": lambda project: {"CALLSHEET_HOME": str(project)},
    "a link": lambda project: {"CALLSHEET_HOME": str(project.parent / "link")},
}


@pytest.mark.parametrize("moved", MOVED)
@pytest.mark.parametrize("started_in", ["/", "project", "project/keys", "elsewhere"])
def test_no_variable_of_a_project_arms_live_mode(
    tmp_path: Path, project: Path, gateway: CountingGateway, moved: str, started_in: str
) -> None:
    """The shipped command, whose account is the tester's own: wherever it starts, the planted policy is refused."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(project)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "elsewhere"), "POYO_API_KEY": KEY}
    environ |= MOVED[moved](project)
    command = (sys.executable, "-P", "-m", "callsheet")
    with serving("stdio", environ, directory=tmp_path / started_in, command=command) as served:
        explained = served.connect(MODERN, {}).call("explain_payload", SHOT)

    assert explained["isError"]
    assert "is not used" in told(explained)
    assert gateway.paid == []
    assert gateway.reads == 0


def test_a_planted_policy_in_the_sandbox_still_rehearses(tmp_path: Path, project: Path) -> None:
    """The variables may move everything for the sandbox."""
    (project / "config/policy.toml").write_text('mode = "sandbox"\n', encoding="utf-8")
    environ = {"PATH": os.environ["PATH"], "CALLSHEET_HOME": str(project), "POYO_API_KEY": KEY}
    command = (sys.executable, "-P", "-m", "callsheet")
    with serving("stdio", environ, directory=Path("/"), command=command) as served:
        explained = served.connect(MODERN, {}).call("explain_payload", SHOT)["structuredContent"]

    assert (explained["mode"], explained["rehearsal"]) == ("sandbox", True)
