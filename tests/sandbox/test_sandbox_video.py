"""The film: exact size and length, small, and no prompt that it cannot show."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from callsheet.sandbox.frames import PALETTES, Scenery
from callsheet.sandbox.text_drawing import choose_lettering, fit_words, wrap_words
from callsheet.sandbox.video import FRAMES_PER_SECOND, Film, RenderingStopped, render_film, timecode

TITLE = "CALLSHEET SANDBOX \u00b7 poyo/sora-2-official \u00b7 1 s"


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1792, 1024), (1080, 1920)])
def test_a_film_has_the_asked_size_and_exact_length(tmp_path: Path, size: tuple[int, int]) -> None:
    """One second, twelve frames, `moov` before `mdat`, readable by its owner alone."""
    path = tmp_path / "film.mp4"
    render_film(path, Film("A kite over the dunes", *size, seconds=1, title=TITLE))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert container.duration == 1_000_000
        assert container.metadata["title"] == TITLE
    assert len(frames) == FRAMES_PER_SECOND
    assert (frames[0].width, frames[0].height) == size
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "x" * 5000,
        "\u4e2d\u6587 \U0001f642 \u00e9t\u00e9 \u0416",
        "a\ud800b\0c\n\td",
        "\u202eright to left",
        "\u0301" * 50,
    ],
)
def test_any_prompt_can_be_shown(prompt: str) -> None:
    """Nothing, an endless word, other scripts, half characters, control characters, bare accents."""
    scenery = Scenery(prompt=prompt, title=TITLE, width=640, height=360, seed=1)
    assert scenery.draw(share=0.5, timecode=timecode(6)).size == (640, 360)


def test_letters_that_no_face_has_become_dots_and_accents_are_taken_off() -> None:
    """A reader still sees that something stood there."""
    _, text = choose_lettering("\u00fcber \U00013000", 20)
    assert text.endswith("\u00b7") or text == "\u00fcber \U00013000"
    assert text.startswith(("u", "\u00fc"))


def test_words_are_wrapped_to_the_width_and_cut_to_the_height() -> None:
    """No line is wider than the box; what does not fit ends in dots."""
    font, lines = fit_words("word " * 400, width=300, height=100, largest=40, smallest=20)
    assert all(font.getlength(line) <= 300 for line in lines[:-1])
    assert lines[-1].endswith("...")
    assert "".join(wrap_words(font, "x" * 100, 50)) == "x" * 100
    assert wrap_words(font, "", 50) == []


@pytest.mark.parametrize("seed", range(len(PALETTES) * 3))
def test_every_landscape_can_be_drawn_and_moves(seed: int) -> None:
    """Two moments of a film are two pictures."""
    scenery = Scenery(prompt="A kite", title=TITLE, width=320, height=180, seed=seed)
    assert scenery.draw(share=0.0, timecode="").tobytes() != scenery.draw(share=1.0, timecode="").tobytes()


def test_equal_films_share_a_digest_and_others_do_not() -> None:
    """The cache is by what is seen."""
    film = Film("A kite", 1280, 720, 4, TITLE)
    assert film.digest == Film("A kite", 1280, 720, 4, TITLE).digest
    others = {
        Film("A kit", 1280, 720, 4, TITLE),
        Film("A kite", 720, 1280, 4, TITLE),
        Film("A kite", 1280, 720, 8, TITLE),
    }
    assert film.digest not in {other.digest for other in others}


def test_a_rendering_can_be_stopped_between_two_frames(tmp_path: Path) -> None:
    """A closing sandbox does not wait for a long film."""
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(RenderingStopped):
        render_film(tmp_path / "film.mp4", Film("A kite", 320, 180, 20, TITLE), stopped)
    assert len(asked) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_rendering_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a half film nor its temporary file."""
    with pytest.raises(ValueError, match=r"width|height|size|range|greater"):
        render_film(tmp_path / "film.mp4", Film("A kite", 0, 0, 1, TITLE))
    assert list(tmp_path.iterdir()) == []
