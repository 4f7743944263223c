"""What is released: only what belongs there, and the same bytes each time."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import grimp
import pytest

import callsheet

ROOT = Path(callsheet.__file__).parents[2]

FILES = {
    "SKILL.md": b"root",
    "LICENSE": b"licence",
    "LICENSE-SKILLS": b"licence of skills",
    "README.md": b"readme",
    "pyproject.toml": b"",
    "uv.lock": b"",
    "manifest.json": b"{}",
    "references/models.md": b"models",
    "scripts/run.sh": b"#!/bin/sh\n",
    "server/callsheet/__init__.py": b"",
    "skill/one-skill/SKILL.md": b"one",
    "skill/one-skill/references/api.md": b"api",
    "skill/evals/evals.json": b"{}",
    "tests/test_dist.py": b"",
}


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The build script as a module."""
    spec = importlib.util.spec_from_file_location("build_dist", ROOT / "tools" / "build_dist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_an_archive_depends_on_its_files_alone(build: ModuleType, tmp_path: Path) -> None:
    """Not on the day, the order or the modes of the machine; scripts can be run."""
    for name, files in (("a", FILES), ("b", dict(reversed(FILES.items())))):
        build.write_archive(tmp_path / name, files)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.namelist() == sorted(FILES)
        assert archive.getinfo("scripts/run.sh").external_attr >> 16 == 0o100755
        assert archive.getinfo("README.md").external_attr >> 16 == 0o100644


def test_a_skill_is_a_folder_with_a_skill_file(build: ModuleType) -> None:
    """The root one takes its references, scripts and licence along; what only tests skills is none."""
    skills = build.skill_folders(FILES)

    assert list(skills) == ["callsheet", "one-skill"]
    assert sorted(skills["callsheet"]) == ["LICENSE-SKILLS", "SKILL.md", "references/models.md", "scripts/run.sh"]
    assert sorted(skills["one-skill"]) == ["SKILL.md", "references/api.md"]


def test_the_plugin_has_its_manifests_the_skills_and_the_server(build: ModuleType) -> None:
    """Every skill is an immediate child of `skills/`; tests stay at home."""
    files = build.plugin_files(FILES)

    assert {"plugin.json", "mcp.json", "uv.lock", "server/callsheet/__init__.py", "references/models.md"} < set(files)
    assert {"skills/callsheet/SKILL.md", "skills/one-skill/SKILL.md"} < set(files)
    assert not any(name.startswith(("tests/", "skill/", "SKILL.md")) for name in files)


def test_the_wheel_holds_the_package_and_the_references(build: ModuleType) -> None:
    """The build checks the wheel it built against this list."""
    names = [
        "server/callsheet/__init__.py",
        "references/models.md",
        "tools/render/cards.py",
        "skill/a/SKILL.md",
        "SKILL.md",
    ]

    assert build.wheel_names(names) == {"callsheet/__init__.py", "callsheet/_references/models.md"}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert wheel == {"packages": ["server/callsheet"], "force-include": {"references": "callsheet/_references"}}


def test_every_module_of_the_package_is_used_by_the_program() -> None:
    """A module that only a build imports belongs to `tools`. The program finds its gateways by listing them."""
    graph = grimp.build_graph("callsheet", cache_dir=None)
    used = {"callsheet.__main__", *graph.find_children("callsheet.gateways")}
    used |= {found for module in used for found in graph.find_upstream_modules(module)}
    packages = {".".join(module.split(".")[:end]) for module in used for end in range(1, module.count(".") + 1)}

    assert graph.modules - used - packages == set()


def test_every_other_file_of_the_package_is_read_by_the_program() -> None:
    """Facts of gateways are found by the name of the gateway; the desk names its templates and static files."""
    package = ROOT / "server" / "callsheet"
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    templates = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.html"))
    facts = {path for path in files if path.parent.name == "gateways" and path.with_suffix(".py").is_file()}

    assert {path.suffix for path in facts} == {".toml"}
    assert [path.name for path in files if path not in facts and path.name not in code + templates] == []
