"""The MCP surface: one server object for both protocol eras. The only package that imports the MCP SDK.

`stdio.build_server` takes a service; `stdio.serve_stdio` takes a function that creates one when it is first needed,
and serves until stdin closes. This package itself imports nothing, because `snapshot` must load in milliseconds.
"""
