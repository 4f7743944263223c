"""The process: hardening, the task runner, the background runner, locks, loopback servers."""
