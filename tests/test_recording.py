"""The recording of the documentation: a real run, in one file that needs nothing from outside."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import callsheet
from record_cast import COLUMNS, LONGEST_PAUSE, OUT, ROWS, build_frames, render_svg

ROOT = Path(callsheet.__file__).parents[2]
LARGEST = 400_000
SVG = "{http://www.w3.org/2000/svg}"


def texts_of(svg: str) -> list[str]:
    """Every piece of text that a recording shows at some time."""
    return [found.text or "" for found in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_command_that_asks_is_answered_and_recorded(tmp_path: Path) -> None:
    """The reply is typed in a terminal of the stated size; what came of it is in the picture."""
    out = tmp_path / "cast.svg"
    command = 'stty size; printf "Go on? "; read word; echo "word: $word"'
    arguments = ["--out", str(out), "--answer", "Go on?=surely", "--", "sh", "-c", command]

    subprocess.run([sys.executable, ROOT / "tools" / "record_cast.py", *arguments], check=True, timeout=60)

    texts = texts_of(out.read_text(encoding="utf-8"))
    assert f"{ROWS} {COLUMNS}" in texts
    assert "Go on? surely" in texts
    assert "word: surely" in texts


def test_a_command_that_fails_leaves_no_recording(tmp_path: Path) -> None:
    """Its exit code is told."""
    out = tmp_path / "cast.svg"

    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "record_cast.py", "--out", str(out), "--", "sh", "-c", "exit 3"],
        check=False,
        timeout=60,
    )

    assert done.returncode == 3
    assert not out.exists()


def test_a_pause_is_shortened_and_a_line_that_is_written_over_is_seen_both_ways() -> None:
    """Colours, bold text and the movements of a progress bar are kept."""
    frames = build_frames("run", [(0.0, b"\x1b[1mhalf\x1b[0m <1>\r"), (60.0, b"\x1b[2K\x1b[36mdone\x1b[0m\r\n")])
    rows = [frame.screen[1] for frame in frames]

    assert [span.text for span in rows[-1]] == ["done"]
    assert [(span.text, span.bold) for span in next(row for row in rows if row)] == [("half", True), ("<1>", False)]
    assert max(frame.seconds for frame in frames[:-1]) <= LONGEST_PAUSE
    assert "&lt;1&gt;" in render_svg("a & b", frames)


def test_the_committed_recording_is_whole_and_small() -> None:
    """Well-formed, no script, nothing fetched; it shows a clip that was saved and that nothing was charged."""
    svg = OUT.read_text(encoding="utf-8")
    shown = "".join(texts_of(svg))

    assert len(svg) <= LARGEST
    assert {found.tag.removeprefix(SVG) for found in ET.fromstring(svg).iter()} <= {
        "svg", "title", "style", "defs", "g", "text", "rect", "use",
    }  # fmt: skip
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', svg))
    assert "url(" not in svg
    assert "Saved" in shown
    assert "nothing was charged" in shown or "free" in shown
