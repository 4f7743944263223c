"""What became of each change that was tried, in a file, so that a run that was stopped can go on.

A verdict counts only for the tree of files that it was found with. After another change of the tree all are tried
again; then the earlier ones still say which test to run first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path


class Outcome(StrEnum):
    """What became of a change."""

    NOTICED = "noticed"
    TIME_LIMIT = "time_limit"
    """A test did not end."""
    SURVIVED = "survived"
    UNREACHED = "unreached"
    """No test reaches the function."""
    BROKEN = "broken"
    """The process that tried it ended before its tests: it counts as a survivor until somebody has looked."""

    @property
    def is_noticed(self) -> bool:
        return self in (Outcome.NOTICED, Outcome.TIME_LIMIT)


@dataclass(frozen=True)
class Verdict:
    """What became of one change, the test that noticed it, and how long that took."""

    outcome: Outcome
    test: str = ""
    seconds: float = 0.0


class Verdicts:
    """The verdicts by mutmut's name of the change; `earlier` has the test that noticed it in any tree before."""

    def __init__(self, path: Path, tree: str) -> None:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = {
            name: Verdict(Outcome(fields["outcome"]), fields["test"], fields["seconds"])
            for name, fields in stored.get("verdicts", {}).items()
        }
        self.earlier: dict[str, str] = stored.get("earlier", {})
        self._path = path
        self._tree = tree
        self._by_name = found if stored.get("tree") == tree else {}

    @property
    def by_name(self) -> Mapping[str, Verdict]:
        return self._by_name

    def record(self, name: str, verdict: Verdict) -> None:
        """Keep a verdict; the file is whole at any moment."""
        self._by_name[name] = verdict
        if verdict.test:
            self.earlier[name] = verdict.test
        text = json.dumps(
            {
                "tree": self._tree,
                "verdicts": {key: asdict(value) for key, value in self._by_name.items()},
                "earlier": self.earlier,
            },
            indent=1,
        )
        whole = self._path.with_suffix(".new")
        whole.write_text(text, encoding="utf-8")
        whole.replace(self._path)


def read_tree(root: Path, names: Iterable[str], *, without: Path) -> str:
    """A digest of these files and folders: what can change a verdict."""
    digest = sha256()
    for name in names:
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else (top,):
            if path.is_file() and path != without and "__pycache__" not in path.parts:
                content = sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(root)}\n{content}\n".encode())
    return digest.hexdigest()
