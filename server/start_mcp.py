"""Starts the MCP server when a host runs this file by its path, as hosts of MCP bundles may do."""

from __future__ import annotations

import sys

from callsheet.__main__ import main

if __name__ == "__main__":
    sys.argv[1:] = ["mcp"]
    main()
