"""Callsheet: draft, price, approve, submit, follow and save Sora 2 video jobs."""

__version__ = "0.1.0"
