"""Callsheet: draft, price, approve, submit, follow and save AI video jobs."""

__version__ = "0.1.0"
