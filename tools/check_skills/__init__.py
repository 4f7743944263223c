"""Checks the skills, the manifests and the server with the programs of those who will read them."""
