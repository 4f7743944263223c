"""Where this install keeps its files: configuration, data, state and clips, each in a directory of its own.

`CALLSHEET_HOME` puts all of them below one directory, for tests and demonstrations. It selects a *different*
install with its own ledger and policy, so setting it gives no more than another copy of the program would.
`edges.config.policy_file` refuses a policy below the working directory, so a project cannot bring its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import SetupProblem

HOME_VARIABLE = "CALLSHEET_HOME"


@dataclass(frozen=True, slots=True)
class Paths:
    """`config` holds the settings, `data` the ledger and keys, `state` locks and logs, `clips` the videos."""

    config: Path
    data: Path
    state: Path
    clips: Path


def find_paths(environ: Mapping[str, str]) -> Paths:
    """Find the directories and create none of them. Raises `SetupProblem` for a home that is not absolute.

    An empty `CALLSHEET_HOME`, or a `${…}` that a client did not expand, counts as not set.
    """
    text = environ.get(HOME_VARIABLE, "").strip()
    if text and not text.startswith("${"):
        home = expand_home(text)
        if home is None:
            raise SetupProblem(
                f"{HOME_VARIABLE} is not an absolute path.",
                next_step=f"Set it to a path that starts with / or ~, or remove {HOME_VARIABLE}.",
            )
        return Paths(config=home / "config", data=home / "data", state=home / "state", clips=home / "clips")
    from platformdirs import PlatformDirs

    defaults = PlatformDirs("callsheet", appauthor=False)
    return Paths(
        config=defaults.user_config_path,
        data=defaults.user_data_path,
        state=defaults.user_state_path,
        clips=defaults.user_videos_path / "Callsheet",
    )


def expand_home(text: str) -> Path | None:
    """Expand `~` in a path; None when the path is relative or not valid."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        return None
    return path if path.is_absolute() and "\x00" not in text else None
