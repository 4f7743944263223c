"""The MCP surface: one server object for both protocol eras.

`build_server` makes it over use cases that exist; `serve_stdio` over use cases that are made when first needed,
and serves them until stdin closes. The only package that imports the MCP SDK.
"""

from __future__ import annotations

from .run import build_server, serve_stdio

__all__ = ["build_server", "serve_stdio"]
