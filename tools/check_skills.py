"""Checks the skills, the manifests and the server with the programs of those who will read them.

    python tools/check_skills.py [--allow-missing] [--only NAME ...] [--list]

Every program is pinned and installed once below `build/check-skills/`; none needs an account. Each runs with an
empty environment and a home of its own. One line for each check: name, version, verdict. The exit code is 1 when
one fails, or could not be run and `--allow-missing` is not given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from build_dist import BUNDLED, below, plugin_files, read_checkout, write_folder

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "check-skills"
STAGE = CACHE / "stage"
BUNDLE = STAGE / "bundle" / "callsheet"
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
}
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


class NotRunError(Exception):
    """The program could not be installed."""


class FailedError(Exception):
    """What the program found."""


@dataclass(frozen=True)
class Check:
    """One line of the report. `run` returns a few words, or raises `FailedError`."""

    name: str
    tool: str
    run: Callable[[], str]


def node_path() -> Path:
    """Where the pinned node is; some of the programs need a newer one than systems have."""
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


def call(tool: str, *arguments: str | Path, home: str = "", cwd: Path | None = None, **env: str) -> str:
    """What the program says; raises `FailedError` with it when the program ends with another code than 0."""
    return call_any(install(tool), *arguments, home=home or tool, cwd=cwd, env=env)


def call_any(
    program: Path, *arguments: str | Path, home: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The same for any program."""
    place = home_of(home)
    surroundings = {
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
            env=surroundings,
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
    """A home for one program, kept for the length of a run."""
    place = CACHE / "home" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def want(text: str, *expected: str) -> str:
    """The same text; raises `FailedError` when something is not in it."""
    missing = [word for word in expected if word not in text]
    if missing:
        raise FailedError(f"does not show {', '.join(missing)}: {text.strip()[-600:]}")
    return text


def skills() -> list[Path]:
    """The folders of the single skills."""
    return sorted(path.parent for path in (ROOT / "skill").glob("*/SKILL.md"))


def stage_all() -> None:
    """Copy what is in the checkout, and the root skill as a registry would get it, to folders with the right names."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.rmtree(CACHE / "home", ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = (ROOT / ".clawhubignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.rstrip("/") for line in lines if not line.startswith("#")}
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if not source.is_file():
            continue
        paths = [STAGE / "checkout" / "callsheet" / name]
        top = name.split("/")[0]
        if top not in ignored and not top.startswith("."):
            paths.append(STAGE / "root" / "callsheet" / name)
        for place in paths:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    write_folder(BUNDLE, plugin_files(read_checkout()))


def every_skill(run: Callable[[Path], None]) -> str:
    """Do that with the root skill and with each single one."""
    folders = [STAGE / "root" / "callsheet", *skills()]
    faults = []
    for folder in folders:
        try:
            run(folder)
        except FailedError as error:
            faults.append(f"{folder.name}: {error}")
    if faults:
        raise FailedError("; ".join(faults))
    if len(folders) == 1:
        raise FailedError("the root skill passes, but there is none below skill/")
    return f"{len(folders)} skills"


def agent_skills() -> str:
    return every_skill(lambda folder: bool(call("agentskills", "validate", folder)) and None)


def skillsaw_skills() -> str:
    return every_skill(lambda folder: bool(call("skillsaw", "lint", folder)) and None)


def skillsaw_checkout() -> str:
    told = call("skillsaw", "lint", STAGE / "checkout" / "callsheet")
    return "; ".join(line.strip() for line in told.splitlines() if re.search(r"rror|Grade|grade", line))[:120]


def claude_plugin() -> str:
    told = call("claude", "plugin", "validate", "--strict", STAGE / "checkout" / "callsheet")
    return (told.strip().splitlines() or [""])[-1][:120]


def bundle() -> str:
    """Validate, then pack what the ignore file leaves, twice: the same bytes."""
    folder = STAGE / "checkout" / "callsheet"
    call("mcpb", "validate", folder / "manifest.json")
    out = STAGE / "callsheet.mcpb"
    call("mcpb", "pack", folder, out)
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
    call_any(python, "-c", SCHEMA_CHECK, *pairs, home="skillsaw")
    return "server.json, plugin.json, mcp.json"


def scan_skills() -> str:
    def scan(folder: Path) -> None:
        told = call(
            "skill-scanner", "scan", folder, "--format", "json", "--use-behavioral", "--fail-on-severity", "medium"
        )
        if re.search(r'"severity":\s*"(MEDIUM|HIGH|CRITICAL)"', told):
            raise FailedError("a finding at MEDIUM or above")

    return every_skill(scan)


def scan_server() -> str:
    told = call(
        "mcp-scanner", "--analyzers", "yara", "--raw", "stdio", "--stdio-command", CALLSHEET, "--stdio-args", "mcp"
    )
    want(told, *TOOLS)
    safe, unsafe = (len(re.findall(rf'"is_safe":\s*{word}', told)) for word in ("true", "false"))
    if unsafe or safe < len(TOOLS):
        raise FailedError(told[-600:])
    return f"{safe} tools safe"


def openclaw_skills() -> str:
    def put(folder: Path) -> None:
        call("openclaw", "skills", "install", folder)

    told = every_skill(put)
    listed = call("openclaw", "skills", "list", "--json")
    want(listed, '"name": "callsheet"', *(f'"name": "{folder.name}"' for folder in skills()))
    return told


def codex_skills() -> str:
    place = home_of("codex") / ".agents" / "skills"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(STAGE / "root" / "callsheet", place / "callsheet")
    for folder in skills():
        shutil.copytree(folder, place / folder.name)
    told = call("codex", "debug", "prompt-input", "hi")
    want(told, "callsheet/SKILL.md", *(f"{folder.name}/SKILL.md" for folder in skills()))
    if not skills():
        raise FailedError("the root skill is shown, but there is none below skill/")
    return f"{len(skills()) + 1} skills shown"


def gemini_extension() -> str:
    return (
        want(call("gemini", "extensions", "validate", STAGE / "checkout" / "callsheet"), "successfully validated")
        and ""
    )


def tell(host: str, tool: str) -> None:
    """Set the host up as the README says, with `callsheet install`."""
    call_any(CALLSHEET, "install", host, home=tool)


def claude_list() -> str:
    tell("claude", "claude")
    return "Connected" if want(call("claude", "mcp", "list"), "callsheet", "Connected") else ""


def codex_list() -> str:
    tell("codex", "codex")
    found = json.loads(call("codex", "mcp", "list", "--json").split("\n\n")[0])
    if [entry["transport"]["command"] for entry in found] != [str(CALLSHEET)]:
        raise FailedError(str(found)[:300])
    return "reads the entry"


def openclaw_probe() -> str:
    tell("openclaw", "openclaw")
    want(call("openclaw", "mcp", "probe", "callsheet", "--json"), *TOOLS)
    return f"{len(TOOLS)} tools"


def gemini_list() -> str:
    place = home_of("gemini") / ".gemini"
    place.mkdir(exist_ok=True)
    settings = {"security": {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}}}
    (place / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    tell("gemini", "gemini")
    return "Connected" if want(call("gemini", "mcp", "list"), "callsheet", "Connected") else ""


def mcporter_list() -> str:
    want(call("mcporter", "list", "--stdio", f"{CALLSHEET} mcp", "--name", "callsheet", "--schema"), *TOOLS)
    return f"{len(TOOLS)} tools"


def inspect(era: str) -> str:
    told = call(
        "mcp-inspector", "--cli", CALLSHEET, "mcp", "--protocol-era", era, "--method", "tools/list", "--strict", "-q"
    )
    want(told, *TOOLS)
    return f"{len(TOOLS)} tools, {era}"


def claude_installs() -> str:
    """The plugin from a copy of the checkout, with every skill and a server that uv starts."""
    install("uv")
    alone = {"home": "claude-plugin"}
    call("claude", "plugin", "marketplace", "add", STAGE / "checkout" / "callsheet", **alone)
    call("claude", "plugin", "install", "callsheet@callsheet", **alone)
    want(call("claude", "plugin", "details", "callsheet@callsheet", **alone), f"Skills ({len(skills()) + 1})")
    want(call("claude", "mcp", "list", **alone), "plugin:callsheet:callsheet", "Connected")
    return f"{len(skills()) + 1} skills, server connected"


def openclaw_installs() -> str:
    """The Agent Plugins bundle."""
    alone = {"home": "openclaw-plugin"}
    call("openclaw", "plugins", "install", "--force", "--accept-capabilities", BUNDLE, **alone)
    listed = call("openclaw", "skills", "list", "--json", **alone)
    want(listed, *(f'"name": "{folder.name}"' for folder in skills()), '"name": "callsheet"')
    return f"{len(skills()) + 1} skills"


def codex_installs() -> str:
    """The same bundle, from a marketplace of its own."""
    place = home_of("codex-plugin") / "market"
    shutil.copytree(BUNDLE, place / "callsheet")
    entry = {"name": "callsheet", "source": {"source": "local", "path": "./callsheet"}}
    (place / ".agents" / "plugins").mkdir(parents=True)
    listing = place / ".agents" / "plugins" / "marketplace.json"
    listing.write_text(json.dumps({"name": "local", "plugins": [entry]}), encoding="utf-8")
    alone = {"home": "codex-plugin"}
    call("codex", "plugin", "marketplace", "add", place, **alone)
    call("codex", "plugin", "add", "callsheet@local", **alone)
    want(call("codex", "mcp", "list", **alone), "callsheet", "--frozen")
    want(call("codex", "debug", "prompt-input", "hi", **alone), *(f"callsheet:{folder.name}" for folder in skills()))
    return f"{len(skills()) + 1} skills, server listed"


def bundle_starts() -> str:
    """What the MCP bundle says is how it starts; the inspector asks for its tools."""
    install("mcp-inspector")
    place = STAGE / "unpacked"
    write_folder(place, below(read_checkout(), BUNDLED))
    config = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["server"]["mcp_config"]
    arguments = [word.replace("${__dirname}", str(place)) for word in config["args"]]
    call("uv", "sync", "--quiet", "--project", place, "--frozen", "--no-dev")
    told = call("mcp-inspector", "--cli", config["command"], *arguments, "--method", "tools/list", "-q")
    want(told, *TOOLS)
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
        told = call("conformance", "server", "--url", url, "--requirements", revision)
    package = install("conformance").parents[1] / "@modelcontextprotocol" / "conformance"
    listed = (package / "requirements" / f"{revision}.yaml").read_text(encoding="utf-8").split("\nserver:", 1)[1]
    required = re.findall(r"^\s+- (\S+)", re.split(r"\n(?=\w)", listed)[0], re.MULTILINE)
    passed = set(re.findall(r"^✓ (\S+): [1-9]\d* passed, 0 failed", told, re.MULTILINE))
    if missing := [name for name in required if name not in passed]:
        raise FailedError(f"required, and not passed: {', '.join(missing)}")
    return f"{len(required)} of {len(required)} required scenarios"


CHECKS = (
    Check("agentskills validate", "agentskills", agent_skills),
    Check("skillsaw lint skills", "skillsaw", skillsaw_skills),
    Check("skillsaw lint checkout", "skillsaw", skillsaw_checkout),
    Check("claude plugin validate", "claude", claude_plugin),
    Check("mcpb validate and pack", "mcpb", bundle),
    Check("json schemas", "skillsaw", schemas),
    Check("skill-scanner", "skill-scanner", scan_skills),
    Check("mcp-scanner yara", "mcp-scanner", scan_server),
    Check("openclaw skills install", "openclaw", openclaw_skills),
    Check("codex prompt-input", "codex", codex_skills),
    Check("gemini extensions validate", "gemini", gemini_extension),
    Check("claude plugin install", "claude", claude_installs),
    Check("openclaw plugins install", "openclaw", openclaw_installs),
    Check("codex plugin add", "codex", codex_installs),
    Check("mcp bundle under uv", "uv", bundle_starts),
    Check("claude mcp list", "claude", claude_list),
    Check("codex mcp list", "codex", codex_list),
    Check("openclaw mcp probe", "openclaw", openclaw_probe),
    Check("gemini mcp list", "gemini", gemini_list),
    Check("mcporter list", "mcporter", mcporter_list),
    Check("inspector legacy", "mcp-inspector", lambda: inspect("legacy")),
    Check("inspector modern", "mcp-inspector", lambda: inspect("modern")),
    Check("conformance 2025-11-25", "conformance", lambda: conformance("2025-11-25")),
    Check("conformance 2026-07-28", "conformance", lambda: conformance("2026-07-28")),
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
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--allow-missing", action="store_true", help="a program that cannot be installed is no failure")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="only checks whose name begins so")
    parser.add_argument("--list", action="store_true", help="list the checks")
    options = parser.parse_args()
    chosen = [check for check in CHECKS if not options.only or check.name.startswith(tuple(options.only))]
    if options.list:
        print("\n".join(check.name for check in chosen))
        return 0
    stage_all()
    verdicts = [report(check) for check in chosen]
    bad = {"FAILED"} if options.allow_missing else {"FAILED", "not run"}
    failures = sum(verdict in bad for verdict in verdicts)
    print(f"{len(verdicts)} checks, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
