"""Checks the skills, the manifests, the server and deploy/ with the programs of those who will read them.

    PYTHONPATH=tools python -m check_skills [--allow-missing] [--only NAME ...] [--list]

Every program is pinned and needs no account. One line for each check: name, version, verdict. The exit code is 1
when a check fails, or could not be run and `--allow-missing` is not given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from . import files, hosts, server
from .folders import copy_all
from .programs import NPM, PYPI, FailedError, NotRunError, install


@dataclass(frozen=True)
class Check:
    """One line of the report. `run` returns a few words, or raises `FailedError`."""

    name: str
    tool: str
    run: Callable[[], str]


CHECKS = (
    Check("agentskills validate", "agentskills", files.agent_skills),
    Check("skillsaw lint skills", "skillsaw", files.skillsaw_skills),
    Check("skillsaw lint checkout", "skillsaw", files.skillsaw_checkout),
    Check("claude plugin validate", "claude", files.claude_plugin),
    Check("mcpb validate and pack", "mcpb", files.bundle),
    Check("json schemas", "skillsaw", files.schemas),
    Check("skill-scanner", "skill-scanner", files.scan_skills),
    Check("deploy/Containerfile", "hadolint", files.containerfile),
    Check("deploy/compose.yaml", "check-jsonschema", files.compose_file),
    Check("mcp-scanner yara", "mcp-scanner", server.scan_server),
    Check("openclaw skills install", "openclaw", hosts.openclaw_skills),
    Check("codex prompt-input", "codex", hosts.codex_skills),
    Check("gemini extensions validate", "gemini", files.gemini_extension),
    Check("claude plugin install", "claude", hosts.claude_installs),
    Check("openclaw plugins install", "openclaw", hosts.openclaw_installs),
    Check("codex plugin add", "codex", hosts.codex_installs),
    Check("mcp bundle under uv", "uv", server.bundle_starts),
    Check("claude mcp list", "claude", hosts.claude_list),
    Check("codex mcp list", "codex", hosts.codex_list),
    Check("openclaw mcp probe", "openclaw", hosts.openclaw_probe),
    Check("gemini mcp list", "gemini", hosts.gemini_list),
    Check("mcporter list", "mcporter", server.mcporter_list),
    Check("inspector legacy", "mcp-inspector", lambda: server.inspect("legacy")),
    Check("inspector modern", "mcp-inspector", lambda: server.inspect("modern")),
    Check("conformance 2025-11-25", "conformance", lambda: server.conformance("2025-11-25")),
    Check("conformance 2026-07-28", "conformance", lambda: server.conformance("2026-07-28")),
)


def report(check: Check) -> str:
    """Run one check and print its line; `passed`, `FAILED` or `not run`."""
    try:
        install(check.tool)
        verdict, detail = "passed", check.run()
    except NotRunError as error:
        verdict, detail = "not run", str(error)
    except FailedError as error:
        verdict, detail = "FAILED", str(error)
    version = (NPM | PYPI)[check.tool][1]
    print(f"{check.name:<28}{version:<16}{verdict:<9}{' '.join(detail.split())[:1500]}", flush=True)
    return verdict


def main() -> int:
    """Run the chosen checks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--allow-missing", action="store_true", help="a program that cannot be installed is no failure")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="only checks whose name begins so")
    parser.add_argument("--list", action="store_true", help="list the checks")
    options = parser.parse_args()
    chosen = [check for check in CHECKS if not options.only or check.name.startswith(tuple(options.only))]
    if options.list:
        print("\n".join(check.name for check in chosen))
        return 0
    copy_all()
    verdicts = [report(check) for check in chosen]
    bad = {"FAILED"} if options.allow_missing else {"FAILED", "not run"}
    failures = sum(verdict in bad for verdict in verdicts)
    print(f"{len(verdicts)} checks, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
