"""Configuration files: the policy, the fact files, the hosts' MCP entries."""
