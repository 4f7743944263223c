"""Files that a person or another program writes: the policy, the fact files, the hosts' MCP entries."""
