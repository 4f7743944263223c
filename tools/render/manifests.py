"""The manifests that hosts and registries read, built from the catalogue and the server's tools.

Each states the same facts: name, version, how the server is started, which keys it can use, which tools it has.
A key is optional everywhere, and marked so that hosts mask it. `build_manifests` are committed;
`tools/build_dist.py` puts `build_plugin_files` into the Agent Plugins bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callsheet import __version__
from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.process.installed import PACKAGE
from callsheet.surface.mcp.tools import build_tools

NAME = PACKAGE
TITLE = "Callsheet"
PUBLISHER = "callsheet"
"""The GitHub account that publishes; the MCP registry checks it against the mark in the README."""
REGISTRY_NAME = f"io.github.{PUBLISHER}/{NAME}"
AUTHOR = "The Callsheet authors"
LICENSE = "MIT"
REQUIRES_PYTHON = ">=3.11"
SUMMARY = "AI video from a coding agent: drafted, priced, approved by a person, paid for at most once."
"""At most 100 characters, as the MCP registry demands."""
DESCRIPTION = (
    "Draft, price, get approved, submit, follow and save AI video jobs from a coding agent: an MCP server,"
    " agent skills and a command line."
)
KEYWORDS = ("mcp", "ai-video", "sora-2", "text-to-video", "agent", "skill")
SYSTEMS = ("darwin", "linux")
HOME_VARIABLE = "CALLSHEET_HOME"

SERVER_SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
PLUGIN_SCHEMA = "https://agent-plugins.org/schemas/1.0.0/plugin.schema.json"
PLUGIN_MCP_SCHEMA = "https://agent-plugins.org/schemas/1.0.0/mcp.schema.json"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """What all manifests are built from. `tools` maps a tool's name to what it does."""

    version: str
    catalogue: Catalogue
    tools: Mapping[str, str]


def read_release() -> Release:
    """This version, the catalogue, and the tools as the server lists them."""
    tools = {tool.name: tool.description or "" for tool in build_tools()}
    return Release(__version__, load_catalogue(), tools)


def build_manifests() -> dict[str, str]:
    """Every committed manifest: path below the checkout -> text."""
    release = read_release()
    return {
        ".claude-plugin/marketplace.json": render_manifest(build_marketplace(release)),
        "server.json": render_manifest(build_server_json(release)),
        "manifest.json": render_manifest(build_bundle_manifest(release)),
        "gemini-extension.json": render_manifest(build_gemini_extension(release)),
    }


def build_plugin_files() -> dict[str, str]:
    """The manifests at the root of the Agent Plugins bundle."""
    return {
        "plugin.json": render_manifest(build_plugin(read_release())),
        "mcp.json": render_manifest(build_plugin_servers()),
    }


def render_manifest(document: Document) -> str:
    """The text of a manifest."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def build_marketplace(release: Release) -> Document:
    """`.claude-plugin/marketplace.json`: the checkout as a plugin, with the root skill and those below `skill/`.

    No `plugin.json` stands beside it, because skill registries take a folder with one for a plugin.
    """
    env = {facts.key_env: f"${{user_config.{_option(facts)}}}" for facts in release.catalogue.gateways}
    plugin = {
        "name": NAME,
        "source": "./",
        "strict": False,
        "description": DESCRIPTION,
        "version": release.version,
        "author": {"name": AUTHOR},
        "license": LICENSE,
        "keywords": list(KEYWORDS),
        "skills": ["./", "./skill"],
        "mcpServers": {
            NAME: {
                "command": "uv",
                "args": _arguments("${CLAUDE_PLUGIN_ROOT}"),
                "env": {"UV_PROJECT_ENVIRONMENT": "${CLAUDE_PLUGIN_DATA}/venv", **env},
            }
        },
        "userConfig": _options(release.catalogue),
    }
    return {
        "name": NAME,
        "owner": {"name": AUTHOR},
        "metadata": {"description": SUMMARY, "version": release.version},
        "plugins": [plugin],
    }


def build_server_json(release: Release) -> Document:
    """`server.json` for the MCP registry: the package on PyPI, started by uv."""
    keys = [
        {"name": facts.key_env, "description": _about_key(facts), "isRequired": False, "isSecret": True}
        for facts in release.catalogue.gateways
    ]
    home = {
        "name": HOME_VARIABLE,
        "description": "Puts all of the program's files below one directory.",
        "isRequired": False,
        "isSecret": False,
        "format": "filepath",
    }
    package = {
        "registryType": "pypi",
        "identifier": NAME,
        "version": release.version,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "packageArguments": [{"type": "positional", "value": "mcp"}],
        "environmentVariables": [*keys, home],
    }
    return {
        "$schema": SERVER_SCHEMA,
        "name": REGISTRY_NAME,
        "title": TITLE,
        "description": SUMMARY,
        "version": release.version,
        "packages": [package],
    }


def build_bundle_manifest(release: Release) -> Document:
    """`manifest.json` of the MCP bundle; uv makes its environment on the person's own machine."""
    env = {facts.key_env: f"${{user_config.{_option(facts)}}}" for facts in release.catalogue.gateways}
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": TITLE,
        "version": release.version,
        "description": SUMMARY,
        "long_description": DESCRIPTION,
        "author": {"name": AUTHOR},
        "license": LICENSE,
        "keywords": list(KEYWORDS),
        "server": {
            "type": "uv",
            "entry_point": "server/start_mcp.py",
            "mcp_config": {"command": "uv", "args": _arguments("${__dirname}"), "env": env},
        },
        "tools": [{"name": name, "description": about} for name, about in release.tools.items()],
        "compatibility": {"platforms": list(SYSTEMS), "runtimes": {"python": REQUIRES_PYTHON}},
        "user_config": _options(release.catalogue),
    }


def build_gemini_extension(release: Release) -> Document:
    """`gemini-extension.json`; only the variables that are declared here reach the server."""
    return {
        "name": NAME,
        "version": release.version,
        "description": SUMMARY,
        "mcpServers": {NAME: {"command": "uv", "args": _arguments("${extensionPath}")}},
        "settings": [
            {
                "name": f"{facts.name} API key",
                "description": _about_key(facts),
                "envVar": facts.key_env,
                "sensitive": True,
            }
            for facts in release.catalogue.gateways
        ],
    }


def build_plugin(release: Release) -> Document:
    """`plugin.json` of the Agent Plugins bundle, for Codex, Cursor and OpenClaw."""
    return {
        "$schema": PLUGIN_SCHEMA,
        "name": NAME,
        "version": release.version,
        "description": DESCRIPTION,
        "author": {"name": AUTHOR},
        "license": LICENSE,
        "keywords": list(KEYWORDS),
    }


def build_plugin_servers() -> Document:
    """`mcp.json` of that bundle. The format has no secrets; keys come from `callsheet setup`."""
    server = {
        "type": "stdio",
        "command": "uv",
        "args": _arguments("${PLUGIN_ROOT}"),
        "env": {"UV_PROJECT_ENVIRONMENT": "${PLUGIN_DATA}/venv"},
    }
    return {"$schema": PLUGIN_MCP_SCHEMA, "mcpServers": {NAME: server}}


def _arguments(root: str) -> Sequence[str]:
    """How uv starts the server from a copy of the checkout, with the locked versions and no more than it needs."""
    return ["run", "--quiet", "--project", root, "--frozen", "--no-dev", NAME, "mcp"]


def _options(catalogue: Catalogue) -> Document:
    return {
        _option(facts): {
            "type": "string",
            "title": f"{facts.name} API key",
            "description": _about_key(facts),
            "required": False,
            "sensitive": True,
        }
        for facts in catalogue.gateways
    }


def _option(facts: GatewayFacts) -> str:
    return facts.key_env.lower()


def _about_key(facts: GatewayFacts) -> str:
    return f"Optional, for live submissions through {facts.name} only. Made at {facts.key_page}"


__all__ = [
    "AUTHOR",
    "DESCRIPTION",
    "KEYWORDS",
    "LICENSE",
    "NAME",
    "REGISTRY_NAME",
    "REQUIRES_PYTHON",
    "SUMMARY",
    "Release",
    "build_bundle_manifest",
    "build_gemini_extension",
    "build_marketplace",
    "build_plugin",
    "build_plugin_servers",
    "build_server_json",
    "render_manifest",
]
