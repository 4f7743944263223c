"""Where this install keeps its files: configuration, data, state and clips, each in a directory of its own.

`CALLSHEET_HOME` puts all of them below one directory, for tests and demonstrations. It selects a *different*
install, with its own ledger and its own policy, so whoever can set it gains nothing that starting another
copy of the program would not give; and a policy below the working directory is refused by `edges.policy`,
so that a project cannot bring one along. Anyone may call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import SetupProblem

HOME_VARIABLE = "CALLSHEET_HOME"


@dataclass(frozen=True, slots=True)
class Paths:
    """`config` holds what a person decides, `data` what must last, `state` locks and logs, `clips` the videos."""

    config: Path
    data: Path
    state: Path
    clips: Path


def find_paths(environ: Mapping[str, str]) -> Paths:
    """The directories, none of them created. Raises `SetupProblem` for a home that is not absolute.

    An empty `CALLSHEET_HOME`, or a `${…}` that a client left unexpanded, counts as not set.
    """
    named = environ.get(HOME_VARIABLE, "").strip()
    if named and not named.startswith("${"):
        home = expand_home(named)
        if home is None:
            raise SetupProblem(
                f"{HOME_VARIABLE} is not an absolute path.",
                next_step=f"Set it to a path that begins at the root or with ~, or remove {HOME_VARIABLE}.",
            )
        return Paths(config=home / "config", data=home / "data", state=home / "state", clips=home / "clips")
    from platformdirs import PlatformDirs

    usual = PlatformDirs("callsheet", appauthor=False)
    return Paths(
        config=usual.user_config_path,
        data=usual.user_data_path,
        state=usual.user_state_path,
        clips=usual.user_videos_path / "Callsheet",
    )


def expand_home(named: str) -> Path | None:
    """The absolute path that a person wrote, `~` expanded; None when it is relative or cannot be a path."""
    try:
        path = Path(named).expanduser()
    except RuntimeError:
        return None
    return path if path.is_absolute() and "\x00" not in named else None
