"""The commands that the help lists under "Set up", one module each."""
