"""Renders what is generated from the catalogue: references, skills, manifests. Build time only."""
