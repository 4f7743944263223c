"""The manifests: generated, of one mind with the program, and within what their readers accept."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import callsheet
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.keys.store import find_key
from callsheet.surface.mcp.tools import TOOLS
from render import manifests
from render.__main__ import REMEDY, build_documents
from render.manifests import build_manifests, build_plugin_files

ROOT = Path(callsheet.__file__).parents[2]
KEYS = [facts.key_env for facts in load_catalogue().gateways]
EVERY = {**build_manifests(), **build_plugin_files()}


def load(name: str) -> Any:
    """A manifest as its reader sees it."""
    return json.loads(EVERY[name])


@pytest.mark.parametrize("name", build_manifests())
def test_a_manifest_is_what_would_be_written_now(name: str) -> None:
    """`make render` writes them with the references."""
    assert name in build_documents()
    assert (ROOT / name).read_text(encoding="utf-8") == EVERY[name], f"{name} is out of date. {REMEDY}"


def test_what_the_package_says_of_itself_is_what_the_manifests_say() -> None:
    """Name, description, licence, words, version: the same everywhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["name"] == manifests.NAME
    assert project["description"] == manifests.DESCRIPTION
    assert project["license"] == manifests.LICENSE
    assert tuple(project["keywords"]) == manifests.KEYWORDS
    assert project["requires-python"] == manifests.REQUIRES_PYTHON
    assert all(f'"version": "{callsheet.__version__}"' in text for name, text in EVERY.items() if name != "mcp.json")


def test_every_key_is_optional_and_masked() -> None:
    """In each manifest that names keys, and all of them are named."""
    plugin, bundle = load(".claude-plugin/marketplace.json")["plugins"][0], load("manifest.json")
    variables = load("server.json")["packages"][0]["environmentVariables"]

    for options in (plugin["userConfig"], bundle["user_config"]):
        assert [name.upper() for name in options] == KEYS
        for option in options.values():
            assert option["sensitive"] is True
            assert option["required"] is False
            assert "default" not in option
            assert option["title"]
            assert option["description"]
    assert [variable["name"] for variable in variables if variable["isSecret"] is True] == KEYS
    assert not any(variable["isRequired"] for variable in variables)
    settings = load("gemini-extension.json")["settings"]
    assert [setting["envVar"] for setting in settings] == KEYS
    assert all(setting["sensitive"] is True for setting in settings)


def test_no_manifest_holds_a_key() -> None:
    """Only names of options are written where values would be."""
    for name, text in EVERY.items():
        values = re.findall(r'"[A-Z]+_API_KEY": "([^"]*)"', text)
        assert all(re.fullmatch(r"\$\{user_config\.[a-z_]+\}", value) for value in values), name


def test_an_option_that_a_host_left_unfilled_is_no_key(tmp_path: Path) -> None:
    """Some hosts pass the empty text, some the option's name."""
    env = load("manifest.json")["server"]["mcp_config"]["env"]
    for facts in load_catalogue().gateways:
        for value in ("", env[facts.key_env]):
            found = find_key(
                facts.id, facts.key_env, environ={facts.key_env: value}, keys_directory=tmp_path, use_keyring=False
            )
            assert found is None


def test_the_bundle_names_every_tool_as_the_server_lists_it() -> None:
    """In the same order, each with its description."""
    tools = load("manifest.json")["tools"]

    assert [tool["name"] for tool in tools] == [listing.function.__name__ for listing in TOOLS]
    assert all(tool["description"] for tool in tools)


def test_the_registrys_document_is_within_its_schema() -> None:
    """The rules of the schema of 2025-12-11 that touch it, and the mark in the README that the registry looks for."""
    document = load("server.json")
    package = document["packages"][0]

    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", document["name"])
    assert 3 <= len(document["name"]) <= 200
    assert 1 <= len(document["description"]) <= 100
    assert 1 <= len(document["title"]) <= 100
    assert document["version"] == package["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert (package["registryType"], package["identifier"]) == ("pypi", "callsheet")
    assert package["transport"] == {"type": "stdio"}
    assert package["packageArguments"] == [{"type": "positional", "value": "mcp"}]
    assert set(document) <= {"$schema", "name", "title", "description", "version", "packages"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"mcp-name: {document['name']} -->" in readme


def test_the_server_starts_with_locked_versions_from_the_copy_that_the_host_has() -> None:
    """Nothing is looked up anew at each start, and nothing of development is installed."""
    commands = [
        load(".claude-plugin/marketplace.json")["plugins"][0]["mcpServers"]["callsheet"],
        load("manifest.json")["server"]["mcp_config"],
        load("gemini-extension.json")["mcpServers"]["callsheet"],
        load("mcp.json")["mcpServers"]["callsheet"],
    ]
    for command in commands:
        assert command["command"] == "uv"
        assert {"--frozen", "--no-dev"} < set(command["args"])
        assert command["args"][-2:] == ["callsheet", "mcp"]
    assert (ROOT / load("manifest.json")["server"]["entry_point"]).is_file()


def test_the_checkout_is_a_plugin_without_being_taken_for_one() -> None:
    """Registries of skills refuse a folder with one of these files."""
    plugin = load(".claude-plugin/marketplace.json")["plugins"][0]

    assert plugin["strict"] is False
    assert plugin["skills"] == ["./", "./skill"]
    for name in (".claude-plugin", ".codex-plugin", ".cursor-plugin"):
        assert not (ROOT / name / "plugin.json").exists()
    for name in ("openclaw.plugin.json", "package.json", "plugin.json"):
        assert not (ROOT / name).exists()


def test_the_plugins_files_are_of_the_closed_form() -> None:
    """No field beyond those of Agent Plugins 1.0, no variable but its own two, no secret."""
    plugin, servers = load("plugin.json"), load("mcp.json")

    assert set(plugin) <= {
        "$schema", "name", "version", "description", "author", "homepage", "repository", "license", "keywords",
        "extensions",
    }  # fmt: skip
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", plugin["name"])
    assert set(servers) == {"$schema", "mcpServers"}
    assert set(re.findall(r"\$\{(\w+)\}", EVERY["mcp.json"])) == {"PLUGIN_ROOT", "PLUGIN_DATA"}
    assert not any(key in EVERY["mcp.json"] for key in KEYS)


def test_the_published_root_skill_leaves_everything_else_out() -> None:
    """Whatever stands at the root is either part of the skill or left out by name."""
    lines = (ROOT / ".clawhubignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.rstrip("/") for line in lines if line and not line.startswith("#")}
    published = {"SKILL.md", "references", "scripts", "LICENSE-SKILLS"}

    assert not published & ignored
    present = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert present - published - ignored == set()
