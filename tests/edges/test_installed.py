"""How the program was installed: a command in a cache is known as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.edges.process.installed import is_cached


@pytest.mark.parametrize(
    ("command", "cached"),
    [
        ("/h/.cache/uv/archive-v0/kX3/bin/callsheet", True),
        ("/elsewhere/uv/archive-v0/kX3/bin/callsheet", True),
        ("/elsewhere/uv/archive-v1/kX3/bin/python", True),
        ("/elsewhere/uv/builds-v0/.tmp1/bin/callsheet", True),
        ("/elsewhere/uv/environments-v2/a-1/bin/python3", True),
        ("/h/.local/pipx/.cache/88776e8afc611ed/bin/callsheet", True),
        ("/h/Library/Caches/pipx/88776e8afc611ed/bin/callsheet", True),
        ("/h/.cache/pipx/88776e8afc611ed/bin/callsheet", True),
        ("/h/.local/bin/callsheet", False),
        ("/h/.local/share/uv/tools/callsheet/bin/callsheet", False),
        ("/h/.local/share/pipx/venvs/callsheet/bin/callsheet", False),
        ("/h/src/callsheet/.venv/bin/callsheet", False),
        ("/h/my-archive-v0-copy/bin/callsheet", False),
        ("uvx", False),
    ],
)
def test_a_cache_of_uv_or_pipx_is_recognised(command: str, cached: bool) -> None:
    """Wherever the cache is, and not what is only named like one."""
    assert is_cached(command) is cached


def test_a_link_into_a_cache_is_recognised(tmp_path: Path) -> None:
    """The link lives on, and its target does not."""
    target = tmp_path / ".cache" / "uv" / "archive-v0" / "x" / "callsheet"
    target.parent.mkdir(parents=True)
    target.touch()
    link = tmp_path / "callsheet"
    link.symlink_to(target)

    assert is_cached(str(link))
