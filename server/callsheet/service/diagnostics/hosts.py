"""Whether the hosts on this computer are connected to this version. Nothing is written or sent to a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from callsheet import __version__
from callsheet.core.security.redaction import clean
from callsheet.edges.config.mcp_hosts import SLOTS, TITLES, Host, Scope, find_config, is_present, read_entry
from callsheet.edges.process.installed import is_cached
from callsheet.edges.process.mcp_probe import ask_host, start_entry
from callsheet.errors import Action, NextStep, SetupProblem

from .installation import Check, Grade


def check_hosts(environ: Mapping[str, str], places: Mapping[str, Path] | None = None) -> Iterator[Check]:
    """Read and start the entry of each host on this computer; those of `places` are asked for their own word too."""
    found = [host for host in Host if is_present(host, environ)] if places is None else map(Host, places)
    versions: dict[str, str | None] = {}
    for host in found:
        usual = find_config(host, Scope.USER, environ, Path())
        path = places[host] if places else usual
        grade, text = _look(host, path, environ, versions)
        # A host is asked in the home directory, where it knows nothing of a project's file.
        if grade is Grade.OK and places and path == usual and ask_host(host, environ) is False:
            grade, text = Grade.WARNING, f"{text}, but {TITLES[host]} does not report it as connected"
        step = NextStep() if grade is Grade.OK or places else NextStep(Action.INSTALL, target=host.value)
        yield Check(TITLES[host], grade, text, step)


def _look(host: Host, path: Path, environ: Mapping[str, str], versions: dict[str, str | None]) -> tuple[Grade, str]:
    """`versions` holds what was started before: hosts usually have the same entry."""
    try:
        entry = read_entry(path, SLOTS[host])
    except SetupProblem as problem:
        return Grade.WARNING, problem.message
    if entry is None:
        return Grade.NOTE, f"not connected: {path} has no entry"
    if "command" not in entry:
        return Grade.NOTE, f"connected by an address in {path}, which is not checked"
    command, key = clean(entry["command"], limit=300), str((entry["command"], entry.get("args"), entry.get("env")))
    if is_cached(str(entry["command"])):
        return Grade.WARNING, f"its entry starts {command}, in a cache that may be deleted"
    if key not in versions:
        versions[key] = start_entry(entry, environ)
    if versions[key] is None:
        return Grade.PROBLEM, f"its entry does not start Callsheet: {command}"
    if versions[key] != __version__:
        return Grade.WARNING, f"its entry starts {versions[key]}, not this version ({command})"
    return Grade.OK, f"its entry starts this version, {__version__} ({command})"
