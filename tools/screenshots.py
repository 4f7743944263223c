"""Takes the pictures of the documentation from the real desk over the sandbox, in headless Chromium.

    python tools/screenshots.py [DIRECTORY]

The default directory is `docs/images`. It uses the desk and the browser that the tests use.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "surface" / "desk")]

from desk_server import open_browser, open_desk_server, sign_in  # noqa: E402

PROMPT = "A lighthouse keeper climbs a spiral stair, lamp in hand, warm light on wet stone, slow upward pan."
MODEL = "seedance-2"
SIZE = {"width": 1120, "height": 925}


def take_screenshots(directory: Path) -> None:
    """Write `call-sheet.png`: a sheet that waits for approval."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        open_desk_server(Path(home) / "home") as desk,
        open_browser() as browser,
    ):
        sheet_id = desk.ask(PROMPT, model=MODEL)
        page = browser.new_page(viewport=SIZE)
        sign_in(page, desk)
        page.goto(f"{desk.origin}/sheets/{sheet_id}")
        page.screenshot(path=str(directory / "call-sheet.png"))


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
