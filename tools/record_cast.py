"""Records a real run of a command in a pseudo-terminal and writes it as an animated SVG without outside parts.

    python tools/record_cast.py [--out FILE] [--answer TEXT=REPLY ...] [COMMAND ...]

The default is `callsheet demo` to `docs/images/recording.svg`. `--answer` types REPLY when the program has written
TEXT, so that a command that asks can be recorded too. The run has an empty home and an empty directory. What it prints
is not changed, only the pace: long pauses are shortened, and long texts appear line by line.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shlex
import sys
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "images" / "recording.svg"
COMMAND = ("callsheet", "demo")
COLUMNS, ROWS = 100, 30
CHARACTER, LINE, MARGIN = 8.4, 18, 16
LONGEST_PAUSE = 1.2
"""Seconds. Nobody wants to watch a program wait."""
LEAST_BETWEEN_LINES = 0.11
"""Seconds, so that a text that is printed in one go can be followed."""
LEAST_BETWEEN_FRAMES = 0.1
LAST_FRAME = 5.0
RUN_SECONDS = 120.0
FAINT = re.compile(rb"\x1b\[2m")
GREY = b"\x1b[90m"
"""pyte knows no faint text, so it is shown in grey."""
COLOURS = {
    "default": "#d8dee4",
    "red": "#ff8078",
    "green": "#7ee0a1",
    "brown": "#f0c862",
    "blue": "#86b7ff",
    "magenta": "#d9a3ff",
    "cyan": "#6fd6d6",
    "white": "#f5f7f9",
    "brightblack": "#8b949e",
}
STYLE = """
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 14px; }
text { white-space: pre; }
.film { transform: translateX(LAST); animation: film DURATIONs steps(1, end) infinite; }
@media (prefers-reduced-motion: reduce) { .film { animation: none; } }
"""

Row = tuple["Span", ...]
Screen = tuple[Row, ...]


@dataclass(frozen=True)
class Span:
    """Neighbouring characters of one look."""

    column: int
    text: str
    colour: str
    bold: bool
    italic: bool


@dataclass(frozen=True)
class Frame:
    """A screen, and how many seconds it stays."""

    screen: Screen
    seconds: float


def record(
    command: Sequence[str], answers: Mapping[str, str], directory: Path, environ: Mapping[str, str]
) -> tuple[list[tuple[float, bytes]], int]:
    """Run the command in a terminal; what it wrote, each piece with its time, and its exit code."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the other process
        os.chdir(directory)
        os.execvpe(command[0], list(command), dict(environ))
    termios.tcsetwinsize(terminal, (ROWS, COLUMNS))
    pieces: list[tuple[float, bytes]] = []
    unread, waiting = b"", list(answers.items())
    started = time.monotonic()
    while time.monotonic() - started < RUN_SECONDS:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        try:
            read = os.read(terminal, 65536) if ready else b""
        except OSError:  # Linux: the program has ended
            break
        if ready and not read:
            break
        if read:
            pieces.append((time.monotonic() - started, read))
            unread += read
        if waiting and waiting[0][0].encode() in unread:
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
            unread = b""
    os.close(terminal)
    return pieces, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def build_frames(prompt: str, pieces: Iterable[tuple[float, bytes]]) -> list[Frame]:
    """The screens of a run, one after the other, with the command typed first."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(b"\x1b[32m$\x1b[0m ")
    shown = [(0.0, read_screen(screen))]
    clock = 0.6
    for letter in prompt:
        stream.feed(letter.encode())
        clock += 0.05
        shown.append((clock, read_screen(screen)))
    stream.feed(b"\r\n")
    before = 0.0
    for at, written in pieces:
        clock += min(at - before, LONGEST_PAUSE)
        before = at
        for line in FAINT.sub(GREY, written).splitlines(keepends=True):
            stream.feed(line)
            shown.append((clock, read_screen(screen)))
            clock += LEAST_BETWEEN_LINES if line.endswith(b"\n") else 0
    return list(_thin(shown))


def _thin(shown: list[tuple[float, Screen]]) -> Iterator[Frame]:
    """Drop what is seen too short, and join what is equal."""
    kept = [shown[0]]
    for at, screen in shown[1:]:
        if screen == kept[-1][1]:
            continue
        if at - kept[-1][0] < LEAST_BETWEEN_FRAMES and len(kept) > 1:
            kept[-1] = (kept[-1][0], screen)
        else:
            kept.append((at, screen))
    for (at, screen), (following, _) in pairwise(kept):
        yield Frame(screen, round(following - at, 2))
    yield Frame(kept[-1][1], LAST_FRAME)


def read_screen(screen: pyte.Screen) -> Screen:
    """What is on the screen now."""
    return tuple(_read_row(screen, number) for number in range(ROWS))


def _read_row(screen: pyte.Screen, number: int) -> Row:
    cells = [(column, screen.buffer[number][column]) for column in range(COLUMNS)]
    spans: list[Span] = []
    for (colour, bold, italic), group in groupby(cells, key=lambda cell: (cell[1].fg, cell[1].bold, cell[1].italics)):
        run = list(group)
        text = "".join(cell.data for _, cell in run)
        if text.strip():
            lead = len(text) - len(text.lstrip(" "))
            spans.append(Span(run[0][0] + lead, text.strip(" "), COLOURS.get(colour, COLOURS["default"]), bold, italic))
    return tuple(spans)


def render_svg(title: str, frames: Sequence[Frame]) -> str:
    """The film: all screens side by side, moved along behind a window; each different row is drawn once."""
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, ROWS * LINE + 2 * MARGIN
    rows = {row: f"r{number}" for number, row in enumerate(dict.fromkeys(r for f in frames for r in f.screen if r))}
    duration = sum(frame.seconds for frame in frames)
    style = STYLE.replace("DURATION", f"{duration:.2f}").replace("LAST", f"{-width * (len(frames) - 1):g}px")
    film = "".join(_render_frame(frame, number * width, rows) for number, frame in enumerate(frames))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">'
        f"<title>{escape(title)}</title>"
        f"<style>{style}{_render_keyframes(frames, duration, width)}</style>"
        f"<defs>{''.join(_render_row(row, name) for row, name in rows.items())}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="#14181d"/><g class="film">{film}</g></svg>\n'
    )


def _render_keyframes(frames: Sequence[Frame], duration: float, width: float) -> str:
    at, lines = 0.0, []
    for number, frame in enumerate(frames):
        lines.append(f"{at / duration * 100:.3f}% {{ transform: translateX({-width * number:g}px); }}")
        at += frame.seconds
    lines.append(f"100% {{ transform: translateX({-width * (len(frames) - 1):g}px); }}")
    return "@keyframes film {" + "\n".join(lines) + "}"


def _render_row(row: Row, name: str) -> str:
    return f'<g id="{name}">{"".join(_render_span(span) for span in row)}</g>'


def _render_span(span: Span) -> str:
    looks = f' fill="{span.colour}"' + (' font-weight="bold"' if span.bold else "")
    looks += ' font-style="italic"' if span.italic else ""
    length = f'textLength="{len(span.text) * CHARACTER:g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{span.column * CHARACTER:g}" {length}{looks}>{escape(span.text)}</text>'


def _render_frame(frame: Frame, left: float, rows: Mapping[Row, str]) -> str:
    uses = (
        f'<use href="#{rows[row]}" x="{left + MARGIN:g}" y="{MARGIN + LINE * (number + 0.75):g}"/>'
        for number, row in enumerate(frame.screen)
        if row
    )
    return "".join(uses)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, write, and return the exit code of what was recorded."""
    parser = argparse.ArgumentParser(description="Record a command as an animated SVG.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--answer", action="append", default=[], metavar="TEXT=REPLY")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = [word for word in options.command if word != "--"] or list(COMMAND)
    answers = dict(answer.rsplit("=", 1) for answer in options.answer)
    with tempfile.TemporaryDirectory(prefix="callsheet-") as home:
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": home,
            "CALLSHEET_HOME": f"{home}/home",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        work = Path(home) / "clips"
        work.mkdir()
        pieces, code = record(command, answers, work, environ)
    if code:
        sys.stderr.write(b"".join(written for _, written in pieces).decode(errors="replace"))
        return code
    frames = build_frames(shlex.join(command), pieces)
    options.out.write_text(render_svg(f"A recording of {shlex.join(command)}", frames), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
