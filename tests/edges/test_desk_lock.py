"""The running desk's address is believed only while its process lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.edges.files.files import write_private
from callsheet.edges.process.locks import ADDRESS_FILE, find_desk, hold_desk, write_address
from callsheet.errors import SetupProblem

URL = "http://localhost:43117/"


def test_a_running_desk_is_found_and_gone_with_its_end(tmp_path: Path) -> None:
    """Its file is for this user alone, and holds the address and nothing else."""
    assert find_desk(tmp_path) is None
    with hold_desk(tmp_path) as alone:
        assert alone
        assert find_desk(tmp_path) is None
        write_address(tmp_path, URL)
        assert find_desk(tmp_path) == URL
        assert (tmp_path / ADDRESS_FILE).stat().st_mode & 0o777 == 0o600
        assert json.loads((tmp_path / ADDRESS_FILE).read_text()) == {"url": URL}
    assert find_desk(tmp_path) is None


def test_there_is_one_desk_at_a_time(tmp_path: Path) -> None:
    """The second one leaves the first one's address alone."""
    with hold_desk(tmp_path):
        write_address(tmp_path, URL)
        with hold_desk(tmp_path) as alone:
            assert not alone
        assert find_desk(tmp_path) == URL


def test_a_killed_desk_is_not_believed_any_more(tmp_path: Path) -> None:
    """Its file is still there, its lock is not; the next desk removes the file."""
    code = (
        "import sys, time; from pathlib import Path; from callsheet.edges.process.locks import *\n"
        "with hold_desk(Path(sys.argv[1])):\n"
        f"    write_address(Path(sys.argv[1]), {URL!r}); print('up', flush=True); sys.stdin.read()\n"
    )
    desk = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with desk:
        assert desk.stdout is not None
        assert desk.stdout.readline() == "up\n"
        assert find_desk(tmp_path) == URL
        os.kill(desk.pid, signal.SIGKILL)

    assert (tmp_path / ADDRESS_FILE).exists()
    assert find_desk(tmp_path) is None
    with hold_desk(tmp_path):
        assert not (tmp_path / ADDRESS_FILE).exists()


@pytest.mark.parametrize(
    "said",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"{}",
            b'{"url": 1}',
            b'{"url": "http://evil.example/"}',
            b'{"url": "https://localhost:1/"}',
        ),
        *(
            b'{"url": "http://localhost:1/#key=x"}',
            b'{"url": "http://localhost:1/\\n"}',
            b'{"url": "http://localhost:x/"}',
        ),
    ],
)
def test_what_is_no_address_of_a_desk_leads_nobody_there(tmp_path: Path, said: bytes) -> None:
    """Nor does a file that others can write."""
    with hold_desk(tmp_path):
        write_private(tmp_path / ADDRESS_FILE, said, what="address")
        assert find_desk(tmp_path) is None
        write_address(tmp_path, URL)
        (tmp_path / ADDRESS_FILE).chmod(0o666)
        assert find_desk(tmp_path) is None


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "state").write_text("a file")

    with pytest.raises(SetupProblem, match="cannot be used"), hold_desk(tmp_path / "state"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 1}', b"\xff", b"[" * 60_000])
def test_an_address_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, however deep: looking for the desk never fails."""
    with hold_desk(tmp_path):
        write_private(tmp_path / ADDRESS_FILE, content, what="address")
        assert find_desk(tmp_path) is None
