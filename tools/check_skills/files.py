"""Checks that read files: linters, validators, scanners and schemas."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .folders import BUNDLE, CHECKOUT, COPIES, every_skill
from .programs import ROOT, FailedError, install, require, run_program, run_tool

SCHEMAS = {
    "server.json": "mcp_registry/v2025_12_11/server",
    "plugin.json": "agent_plugins/v1_0_0/plugin",
    "mcp.json": "agent_plugins/v1_0_0/mcp",
}
# Run by the Python that skillsaw is installed in: it brings the schemas and the validator.
SCHEMA_CHECK = """
import json, pathlib, sys, jsonschema, skillsaw
root = pathlib.Path(skillsaw.__file__).parent / "schemas"
faults = []
for path, name in zip(sys.argv[1::2], sys.argv[2::2]):
    schema = json.loads((root / (name + ".schema.json")).read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = json.loads(pathlib.Path(path).read_text())
    faults += [path + ": " + fault.message for fault in validator.iter_errors(document)]
print(chr(10).join(faults))
sys.exit(bool(faults))
"""


def agent_skills() -> str:
    return every_skill(lambda folder: bool(run_tool("agentskills", "validate", folder)) and None)


def skillsaw_skills() -> str:
    return every_skill(lambda folder: bool(run_tool("skillsaw", "lint", folder)) and None)


def skillsaw_checkout() -> str:
    output = run_tool("skillsaw", "lint", CHECKOUT)
    return "; ".join(line.strip() for line in output.splitlines() if re.search(r"rror|Grade|grade", line))[:120]


def claude_plugin() -> str:
    output = run_tool("claude", "plugin", "validate", "--strict", CHECKOUT)
    return (output.strip().splitlines() or [""])[-1][:120]


def bundle() -> str:
    """Validate, then pack what the ignore file leaves, twice: the same bytes."""
    folder = CHECKOUT
    run_tool("mcpb", "validate", folder / "manifest.json")
    out = COPIES / "callsheet.mcpb"
    run_tool("mcpb", "pack", folder, out)
    names = subprocess.run(["unzip", "-Z1", out], capture_output=True, text=True, check=True).stdout.splitlines()
    unwanted = [name for name in names if name.startswith(("tests/", ".git", "bench/")) or "__pycache__" in name]
    if unwanted:
        raise FailedError(f"packs {unwanted[:3]}")
    return f"{len(names)} files, {out.stat().st_size // 1000} kB"


def schemas() -> str:
    python = install("skillsaw").with_name("python")
    pairs: list[str | Path] = [ROOT / "server.json", SCHEMAS["server.json"]]
    for name in ("plugin.json", "mcp.json"):
        pairs += [BUNDLE / name, SCHEMAS[name]]
    run_program(python, "-c", SCHEMA_CHECK, *pairs, home="skillsaw")
    return "server.json, plugin.json, mcp.json"


def scan_skills() -> str:
    def scan(folder: Path) -> None:
        output = run_tool(
            "skill-scanner", "scan", folder, "--format", "json", "--use-behavioral", "--fail-on-severity", "medium"
        )
        if re.search(r'"severity":\s*"(MEDIUM|HIGH|CRITICAL)"', output):
            raise FailedError("a finding at MEDIUM or above")

    return every_skill(scan)


def gemini_extension() -> str:
    return require(run_tool("gemini", "extensions", "validate", CHECKOUT), "successfully validated") and ""


def containerfile() -> str:
    return run_tool("hadolint", ROOT / "deploy" / "Containerfile") and ""


def compose_file() -> str:
    file = ROOT / "deploy" / "compose.yaml"
    return require(run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file), "ok")
