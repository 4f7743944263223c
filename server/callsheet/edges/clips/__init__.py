"""A finished clip: downloaded, checked, saved, and its still pictures."""
