"""The terminal: input, output, progress, exit codes."""
