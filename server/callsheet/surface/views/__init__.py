"""The shape of each answer, shared by the command line, MCP and the desk."""
