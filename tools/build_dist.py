"""Builds everything that is released into `dist/`, the same bytes from the same checkout, and tests the wheel.

    python tools/build_dist.py [--no-smoke]

It builds the wheel and source archive, the MCP bundle, the Agent Plugins bundle (a folder and an archive), an archive
for each skill, and SHA256SUMS. The smoke test installs the wheel into a new environment and uses it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from callsheet import __version__
from render.manifests import NAME, build_plugin_files

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
BACKEND = "hatchling==1.27.0"
EPOCH = 1_577_836_800  # 2020-01-01; archives cannot say "no time"
MOMENT = (2020, 1, 1, 0, 0, 0)
RUNNABLE = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "server/", "references/")
TOOLS_LIST: tuple[str, dict[str, str]] = ("tools/list", {})
READ_REFERENCE = ("resources/read", {"uri": "callsheet://reference/models"})
BUNDLED = (*RUNNABLE, "manifest.json")
ROOT_SKILL = ("SKILL.md", "LICENSE-SKILLS", "references/", "scripts/")

Files = dict[str, bytes]


def read_checkout() -> Files:
    """What is in the checkout: no caches, nothing that git ignores."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())
    links = [name for name in names if (ROOT / name).is_symlink()]
    if links:
        raise SystemExit(f"Symbolic links cannot be shipped: {', '.join(links)}")
    return {name: (ROOT / name).read_bytes() for name in names}


def below(files: Files, wanted: Iterable[str], *, under: str = "") -> Files:
    """Those of the files that are named, or are in a named folder; moved below another folder."""
    chosen = tuple(wanted)
    folders = tuple(name for name in chosen if name.endswith("/"))
    return {under + name: content for name, content in files.items() if name in chosen or name.startswith(folders)}


def skill_folders(files: Files) -> dict[str, Files]:
    """Each skill by name, with the files that are installed; the root skill is included."""
    skills = {NAME: below(files, ROOT_SKILL)}
    names = [path.split("/")[1] for path in files if path.startswith("skill/") and path.endswith("/SKILL.md")]
    for name in sorted(names):
        start = f"skill/{name}/"
        skills[name] = {path.removeprefix(start): content for path, content in below(files, [start]).items()}
    return skills


def plugin_files(files: Files) -> Files:
    """The Agent Plugins bundle: its manifests, the skills, and the server with its locked versions."""
    found = {name: text.encode() for name, text in build_plugin_files().items()}
    found |= below(files, (*RUNNABLE, "LICENSE-SKILLS"))
    for name, skill in skill_folders(files).items():
        found |= {f"skills/{name}/{path}": content for path, content in skill.items()}
    return found


def wheel_names(files: Iterable[str]) -> set[str]:
    """What the wheel holds besides its metadata: the package, and the references that the server publishes."""
    package = {name.removeprefix("server/") for name in files if name.startswith("server/callsheet/")}
    return package | {f"callsheet/_{name}" for name in files if name.startswith("references/")}


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip whose bytes depend on nothing but the files: names in order, one date, two modes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, files[name])


def write_folder(place: Path, files: Mapping[str, bytes]) -> None:
    """The same as a folder."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)


def build_packages(files: Files) -> None:
    """Wheel and source archive, by the pinned backend, from a copy of the checkout without anything else in it."""
    tools = ROOT / "build" / "dist-tools"
    python = tools / "bin" / "python"
    if not (tools / "bin" / "hatchling").exists():
        venv.create(tools, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", BACKEND], check=True)
    with tempfile.TemporaryDirectory() as place:
        write_folder(Path(place), files)
        env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONPATH": ""}
        subprocess.run([python, "-m", "hatchling", "build", "-d", DIST], cwd=place, env=env, check=True, stdout=2)


def write_sums() -> None:
    """SHA256SUMS of every file that is released."""
    names = sorted(path for path in DIST.rglob("*") if path.is_file() and "plugin" not in path.relative_to(DIST).parts)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(DIST).as_posix()}" for path in names]
    (DIST / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_wheel(files: Files) -> None:
    """The wheel holds its files and no other: nothing that only a build reads."""
    with zipfile.ZipFile(next(DIST.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    if held != wheel_names(files):
        raise SystemExit(f"The wheel should not differ in {sorted(held ^ wheel_names(files))}")


def smoke() -> None:
    """Install the wheel as a stranger does, draft a clip, list the tools over MCP, find the references."""
    wheel = next(DIST.glob("*.whl"))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        # The versions that this checkout was tested with, where it has an environment.
        locked = place / "constraints.txt"
        locked.write_text(installed_versions(), encoding="utf-8")
        subprocess.run([*pip, "-c", locked, wheel], check=True)
        env = {"PATH": os.environ["PATH"], "HOME": name, "LANG": "C.UTF-8", "CALLSHEET_HOME": str(place / "home")}
        program = place / "venv" / "bin" / "callsheet"

        explain = ("explain", "A red kite over dunes", "--gateway", "poyo", "--model", "sora-2-official")
        command = [program, *explain, "--duration", "4", "--json"]
        sheet = subprocess.run(command, capture_output=True, text=True, env=env, cwd=place, check=True).stdout
        assert json.loads(sheet)["sheet_id"], sheet
        tools, page = converse([program, "mcp"], env, TOOLS_LIST, READ_REFERENCE)
        assert '"explain_payload"' in tools, tools[:500]
        assert "2026-09-24" in page, page[:500]
        count = sum(1 for entry in zipfile.ZipFile(wheel).namelist() if entry.startswith("callsheet/_references/"))
        assert count == len(list((ROOT / "references").glob("*.md")))
        visit_desk(program, env, place)
    print(f"the wheel works: explain, tools/list, {count} references, the desk")


def visit_desk(program: Path, env: Mapping[str, str], place: Path) -> None:
    """Open the desk and look at a page and its look: templates and static files are in the wheel too."""
    command = [program, "desk", "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, cwd=place, text=True) as desk:
        assert desk.stdout is not None
        address = json.loads(desk.stdout.readline())["address"]
        try:
            for path, part in (("sign-in", "Who is there?"), ("static/desk.css", "prefers-color-scheme")):
                with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:
                    assert part in answer.read().decode(), path
        finally:
            desk.terminate()


def installed_versions() -> str:
    """What runs this program, as constraints."""
    from importlib.metadata import distributions

    found = {entry.name: entry.version for entry in distributions() if entry.name != NAME}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def converse(command: list[str | Path], env: Mapping[str, str], *asked: tuple[str, dict[str, str]]) -> list[str]:
    """Ask a server that is started for it, one question after the other; its answers as they came."""
    prefix = "io.modelcontextprotocol"
    meta = {f"{prefix}/protocolVersion": "2026-07-28", f"{prefix}/clientCapabilities": {}}
    told = []
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for number, (method, params) in enumerate(asked):
            question = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}
            server.stdin.write(json.dumps(question) + "\n")
            server.stdin.flush()
            told.append(server.stdout.readline())
        server.stdin.close()
    return told


def main(arguments: list[str]) -> int:
    """Build all; 2 for arguments that are none."""
    if arguments not in ([], ["--no-smoke"]):
        sys.stderr.write((__doc__ or "").splitlines()[2].strip() + "\n")
        return 2
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    files = read_checkout()
    build_packages(files)
    check_wheel(files)
    write_archive(DIST / f"{NAME}-{__version__}.mcpb", below(files, BUNDLED))
    plugin = plugin_files(files)
    write_folder(DIST / "plugin" / NAME, plugin)
    write_archive(DIST / f"{NAME}-plugin-{__version__}.zip", plugin)
    for name, skill in skill_folders(files).items():
        write_archive(DIST / "skills" / f"{name}.zip", {f"{name}/{path}": content for path, content in skill.items()})
    write_sums()
    if not arguments:
        smoke()
    sys.stdout.write((DIST / "SHA256SUMS").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
