"""The manifests of this release: those that are committed, and those that only a built bundle holds.

`surface.render` writes and checks the first; `tools/build_dist.py` puts the others into its bundles.
"""

from __future__ import annotations

from callsheet import __version__
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.mcp.tools import build_tools

from .manifests import (
    Release,
    build_bundle_manifest,
    build_gemini_extension,
    build_marketplace,
    build_plugin,
    build_plugin_servers,
    build_server_json,
    write_manifest,
)


def read_release() -> Release:
    """This version, the catalogue, and the tools as the server lists them."""
    tools = {tool.name: tool.description or "" for tool in build_tools()}
    return Release(__version__, load_catalogue(), tools)


def build_manifests() -> dict[str, str]:
    """Every committed manifest: path below the checkout -> text."""
    release = read_release()
    return {
        ".claude-plugin/marketplace.json": write_manifest(build_marketplace(release)),
        "server.json": write_manifest(build_server_json(release)),
        "manifest.json": write_manifest(build_bundle_manifest(release)),
        "gemini-extension.json": write_manifest(build_gemini_extension(release)),
    }


def build_plugin_files() -> dict[str, str]:
    """The manifests at the root of the Agent Plugins bundle."""
    return {
        "plugin.json": write_manifest(build_plugin(read_release())),
        "mcp.json": write_manifest(build_plugin_servers()),
    }


__all__ = ["build_manifests", "build_plugin_files", "read_release"]
