"""Where this install keeps its files: configuration, data, state and clips, each in a directory of its own.

`HOME`, `XDG_*` and `CALLSHEET_HOME` move the directories, and a project's client configuration can set these. So they
are trusted only in the default place below the home that the password database names, or where a person registered
them at a terminal. An install that is not trusted has the sandbox and no more: `edges.config.policy_file` refuses its
live mode, without which no allowance, passkey or verifier of it counts.

The registration is a private file in the default place. It also names the addresses, other than the gateways' own,
to which an unsealed key may go.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from callsheet.errors import SetupProblem

from .files import read_private, write_private

HOME_VARIABLE = "CALLSHEET_HOME"
REGISTERED_FILE = "registered.json"
ROOT_FILE = Path("/etc/callsheet-home")
"""Names the home where the password database has no entry, as in some containers. Only root can write it."""

_WHAT = "registration"
_WINDOWS_OVERRIDE = "WIN_PD_OVERRIDE_"


@dataclass(frozen=True, slots=True)
class Paths:
    """`config` holds the settings, `data` the ledger, `state` locks and logs, `clips` the videos.

    `trusted` says whether live mode may be used there.
    """

    config: Path
    data: Path
    state: Path
    clips: Path
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """What a person registered: homes, each as its three directories, and addresses as (gateway id, base URL)."""

    homes: tuple[tuple[Path, Path, Path], ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()


def find_paths(environ: Mapping[str, str], *, account_home: Path | None) -> Paths:
    """Find the directories and create none of them; `account_home` is the home that the system names.

    Raises `SetupProblem` for a home that is not absolute, and without any home. An empty `CALLSHEET_HOME`, or a
    `${…}` that a client did not expand, counts as not set.
    """
    paths = _find_named(environ) or _find_usual()
    named = (paths.config, paths.data, paths.state)
    for known in _trusted_homes(account_home):
        # The same spelling first: another process may create one of the directories between two looks.
        if known == named or tuple(map(_place, known)) == tuple(map(_place, named)):
            # As the person spelled them: a link in the other spelling could be changed later.
            config, data, state = known
            return replace(paths, config=config, data=data, state=state, trusted=True)
    return paths


def find_account_home(*, root_file: Path = ROOT_FILE) -> Path | None:
    """The user's home by the password database, else the one that root's file names; never by the environment.

    On Windows, which has no such database, the system's own answer.
    """
    if sys.platform == "win32":
        return None if any(name.startswith(_WINDOWS_OVERRIDE) for name in os.environ) else Path.home()
    import pwd

    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        text = _read_root_file(root_file)
        home = Path(text)
    return home if home.is_absolute() else None


def default_directories(account_home: Path) -> tuple[Path, Path, Path]:
    """Configuration, data and state in the default place of that home, whatever the environment says."""
    if sys.platform == "win32":
        usual = _find_usual()
        return usual.config, usual.data, usual.state
    if sys.platform == "darwin":
        support = account_home / "Library" / "Application Support" / "callsheet"
        return support, support, support
    return (
        account_home / ".config" / "callsheet",
        account_home / ".local" / "share" / "callsheet",
        account_home / ".local" / "state" / "callsheet",
    )


def load_registered(account_home: Path | None) -> Registered:
    """What is registered; nothing without an account home. Raises `SetupProblem` for a file that cannot be used."""
    if account_home is None:
        return Registered()
    path = registered_path(account_home)
    raw = read_private(path, what=_WHAT)
    if raw is None:
        return Registered()
    try:
        found = json.loads(raw)
        homes = tuple((Path(config), Path(data), Path(state)) for config, data, state in found["homes"])
        addresses = tuple((str(gateway), str(url)) for gateway, url in found["addresses"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SetupProblem(
            f"The registration {path} is damaged.", next_step="Remove it, then register again at a terminal."
        ) from None
    return Registered(homes, addresses)


def register(account_home: Path, *, home: Paths | None = None, addresses: tuple[tuple[str, str], ...] = ()) -> None:
    """Add a home and addresses. Only what a person agreed to at a terminal. Raises `SetupProblem`."""
    old = load_registered(account_home)
    added = [] if home is None else [(home.config, home.data, home.state)]
    new = Registered(
        homes=tuple(dict.fromkeys((*old.homes, *added))), addresses=tuple(dict.fromkeys((*old.addresses, *addresses)))
    )
    if new != old:
        text = json.dumps(asdict(new), indent=2, default=str)
        write_private(registered_path(account_home), f"{text}\n".encode(), what=_WHAT)


def registered_path(account_home: Path) -> Path:
    """The registration of that account."""
    return default_directories(account_home)[0] / REGISTERED_FILE


def is_same_or_below(path: Path, directory: Path) -> bool:
    """Whether the directory is that path or one of its parents, by device and inode: the spelling may differ."""
    try:
        sought = directory.stat()
    except OSError:
        return path.is_relative_to(directory)
    for parent in (path, *path.parents):
        try:
            found = parent.stat()
        except OSError:
            continue
        if os.path.samestat(sought, found):
            return True
    return False


def expand_home(text: str) -> Path | None:
    """Expand `~` in a path; None when the path is relative or not valid."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        return None
    return path if path.is_absolute() and "\x00" not in text else None


def _find_named(environ: Mapping[str, str]) -> Paths | None:
    text = environ.get(HOME_VARIABLE, "").strip()
    if not text or text.startswith("${"):
        return None
    home = expand_home(text)
    if home is None:
        raise SetupProblem(
            f"{HOME_VARIABLE} is not an absolute path.",
            next_step=f"Set it to a path that starts with / or ~, or remove {HOME_VARIABLE}.",
        )
    return Paths(config=home / "config", data=home / "data", state=home / "state", clips=home / "clips")


def _find_usual() -> Paths:
    from platformdirs import PlatformDirs

    defaults = PlatformDirs("callsheet", appauthor=False)
    try:
        return Paths(
            config=defaults.user_config_path,
            data=defaults.user_data_path,
            state=defaults.user_state_path,
            clips=defaults.user_videos_path / "Callsheet",
        )
    except RuntimeError:
        raise SetupProblem(
            "This user has no home directory: HOME is not set, and the password database has no entry.",
            next_step=f"Set HOME or {HOME_VARIABLE} to a directory of this user.",
        ) from None


def _trusted_homes(account_home: Path | None) -> tuple[tuple[Path, Path, Path], ...]:
    """The default place first. A registration that cannot be used registers nothing."""
    if account_home is None:
        return ()
    try:
        registered = load_registered(account_home).homes
    except SetupProblem:
        registered = ()
    return (default_directories(account_home), *registered)


def _place(path: Path) -> tuple[object, ...]:
    """What a directory is: device and inode of the closest parent that exists, and the names below it."""
    for parent in (path, *path.parents):
        try:
            status = parent.stat()
        except OSError:
            continue
        return status.st_dev, status.st_ino, path.relative_to(parent).parts
    return (path,)


def _read_root_file(path: Path) -> str:
    """The text of a file that only root can write, in a directory that only root can write; else empty."""
    try:
        statuses = [path.lstat(), *(parent.lstat() for parent in path.parents)]
        if any(s.st_uid != 0 or s.st_mode & 0o022 or stat.S_ISLNK(s.st_mode) for s in statuses):
            return ""
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
