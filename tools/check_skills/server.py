"""Checks of the running server: its tools, its start from the MCP bundle, and the protocol's conformance suite."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from build_dist import BUNDLED, below, read_checkout, write_folder

from .folders import COPIES
from .programs import CALLSHEET, ROOT, TOOLS, FailedError, install, require, run_tool


def scan_server() -> str:
    output = run_tool(
        "mcp-scanner", "--analyzers", "yara", "--raw", "stdio", "--stdio-command", CALLSHEET, "--stdio-args", "mcp"
    )
    require(output, *TOOLS)
    safe, unsafe = (len(re.findall(rf'"is_safe":\s*{word}', output)) for word in ("true", "false"))
    if unsafe or safe < len(TOOLS):
        raise FailedError(output[-600:])
    return f"{safe} tools safe"


def mcporter_list() -> str:
    require(run_tool("mcporter", "list", "--stdio", f"{CALLSHEET} mcp", "--name", "callsheet", "--schema"), *TOOLS)
    return f"{len(TOOLS)} tools"


def inspect(era: str) -> str:
    output = run_tool(
        "mcp-inspector", "--cli", CALLSHEET, "mcp", "--protocol-era", era, "--method", "tools/list", "--strict", "-q"
    )
    require(output, *TOOLS)
    return f"{len(TOOLS)} tools, {era}"


def bundle_starts() -> str:
    """What the MCP bundle says is how it starts; the inspector asks for its tools."""
    install("mcp-inspector")
    place = COPIES / "unpacked"
    write_folder(place, below(read_checkout(), BUNDLED))
    config = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["server"]["mcp_config"]
    arguments = [word.replace("${__dirname}", str(place)) for word in config["args"]]
    run_tool("uv", "sync", "--quiet", "--project", place, "--frozen", "--no-dev")
    output = run_tool("mcp-inspector", "--cli", config["command"], *arguments, "--method", "tools/list", "-q")
    require(output, *TOOLS)
    return f"{len(TOOLS)} tools"


@contextmanager
def http_server() -> Iterator[str]:
    """The URL of the server with the suite's fixtures, while the block runs."""
    process = subprocess.Popen(
        [ROOT / ".venv/bin/python", ROOT / "tests/conformance/serve.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def conformance(revision: str) -> str:
    with http_server() as url:
        output = run_tool("conformance", "server", "--url", url, "--requirements", revision)
    package = install("conformance").parents[1] / "@modelcontextprotocol" / "conformance"
    listed = (package / "requirements" / f"{revision}.yaml").read_text(encoding="utf-8").split("\nserver:", 1)[1]
    required = re.findall(r"^\s+- (\S+)", re.split(r"\n(?=\w)", listed)[0], re.MULTILINE)
    passed = set(re.findall(r"^✓ (\S+): [1-9]\d* passed, 0 failed", output, re.MULTILINE))
    if missing := [name for name in required if name not in passed]:
        raise FailedError(f"required, and not passed: {', '.join(missing)}")
    return f"{len(required)} of {len(required)} required scenarios"
