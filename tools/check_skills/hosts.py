"""Checks of the hosts: each installs the skills, the plugin or the server, and lists what it found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .folders import BUNDLE, CHECKOUT, ROOT_SKILL, every_skill, skills
from .programs import CALLSHEET, TOOLS, FailedError, home_of, install, require, run_program, run_tool


def openclaw_skills() -> str:
    def put(folder: Path) -> None:
        run_tool("openclaw", "skills", "install", folder)

    output = every_skill(put)
    listed = run_tool("openclaw", "skills", "list", "--json")
    require(listed, '"name": "callsheet"', *(f'"name": "{folder.name}"' for folder in skills()))
    return output


def codex_skills() -> str:
    place = home_of("codex") / ".agents" / "skills"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ROOT_SKILL, place / "callsheet")
    for folder in skills():
        shutil.copytree(folder, place / folder.name)
    output = run_tool("codex", "debug", "prompt-input", "hi")
    require(output, "callsheet/SKILL.md", *(f"{folder.name}/SKILL.md" for folder in skills()))
    if not skills():
        raise FailedError("the root skill is shown, but there is none below skill/")
    return f"{len(skills()) + 1} skills shown"


def set_up(host: str, tool: str) -> None:
    """Set the host up as the README says, with `callsheet install`."""
    run_program(CALLSHEET, "install", host, home=tool)


def claude_list() -> str:
    set_up("claude", "claude")
    return "Connected" if require(run_tool("claude", "mcp", "list"), "callsheet", "Connected") else ""


def codex_list() -> str:
    set_up("codex", "codex")
    found = json.loads(run_tool("codex", "mcp", "list", "--json").split("\n\n")[0])
    if [entry["transport"]["command"] for entry in found] != [str(CALLSHEET)]:
        raise FailedError(str(found)[:300])
    return "reads the entry"


def openclaw_probe() -> str:
    set_up("openclaw", "openclaw")
    require(run_tool("openclaw", "mcp", "probe", "callsheet", "--json"), *TOOLS)
    return f"{len(TOOLS)} tools"


def gemini_list() -> str:
    place = home_of("gemini") / ".gemini"
    place.mkdir(exist_ok=True)
    settings = {"security": {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}}}
    (place / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    set_up("gemini", "gemini")
    return "Connected" if require(run_tool("gemini", "mcp", "list"), "callsheet", "Connected") else ""


def claude_installs() -> str:
    """The plugin from a copy of the checkout, with every skill and a server that uv starts."""
    install("uv")
    home = {"home": "claude-plugin"}
    run_tool("claude", "plugin", "marketplace", "add", CHECKOUT, **home)
    run_tool("claude", "plugin", "install", "callsheet@callsheet", **home)
    require(run_tool("claude", "plugin", "details", "callsheet@callsheet", **home), f"Skills ({len(skills()) + 1})")
    require(run_tool("claude", "mcp", "list", **home), "plugin:callsheet:callsheet", "Connected")
    return f"{len(skills()) + 1} skills, server connected"


def openclaw_installs() -> str:
    """The Agent Plugins bundle."""
    home = {"home": "openclaw-plugin"}
    run_tool("openclaw", "plugins", "install", "--force", "--accept-capabilities", BUNDLE, **home)
    listed = run_tool("openclaw", "skills", "list", "--json", **home)
    require(listed, *(f'"name": "{folder.name}"' for folder in skills()), '"name": "callsheet"')
    return f"{len(skills()) + 1} skills"


def codex_installs() -> str:
    """The same bundle, from a marketplace of its own."""
    place = home_of("codex-plugin") / "market"
    shutil.copytree(BUNDLE, place / "callsheet")
    entry = {"name": "callsheet", "source": {"source": "local", "path": "./callsheet"}}
    (place / ".agents" / "plugins").mkdir(parents=True)
    listing = place / ".agents" / "plugins" / "marketplace.json"
    listing.write_text(json.dumps({"name": "local", "plugins": [entry]}), encoding="utf-8")
    home = {"home": "codex-plugin"}
    run_tool("codex", "plugin", "marketplace", "add", place, **home)
    run_tool("codex", "plugin", "add", "callsheet@local", **home)
    require(run_tool("codex", "mcp", "list", **home), "callsheet", "--frozen")
    require(
        run_tool("codex", "debug", "prompt-input", "hi", **home), *(f"callsheet:{folder.name}" for folder in skills())
    )
    return f"{len(skills()) + 1} skills, server listed"
