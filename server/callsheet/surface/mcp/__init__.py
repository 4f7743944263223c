"""The MCP surface: one server object for both protocol eras.

`build_server` takes a service; `serve_stdio` takes a function that creates one when it is first needed, and serves
until stdin closes. The only package that imports the MCP SDK.
"""

from __future__ import annotations

from .stdio import build_server, serve_stdio

__all__ = ["build_server", "serve_stdio"]
