"""The process: hardening, the background watcher, the task runner, the desk's lock, loopback servers."""
