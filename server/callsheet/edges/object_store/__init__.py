"""Clips of a team, in S3-compatible storage or in a directory. Only team mode imports this package."""
