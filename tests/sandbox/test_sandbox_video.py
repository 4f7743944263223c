"""The video: exact size and length, small, and no prompt that it cannot show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from callsheet.edges.clips.stills import inspect_clip
from callsheet.sandbox.frames import PALETTES, FrameRenderer, choose_font, fit_text
from callsheet.sandbox.video import FRAMES_PER_SECOND, RenderingStopped, Video, format_clock, render_video

TITLE = "CALLSHEET SANDBOX \u00b7 poyo/sora-2-official \u00b7 1 s"


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1792, 1024), (1080, 1920)])
def test_a_video_has_the_asked_size_and_exact_length(tmp_path: Path, size: tuple[int, int]) -> None:
    """One second, twelve frames, `moov` before `mdat`, readable only by its owner."""
    path = tmp_path / "video.mp4"
    render_video(path, Video("A kite over the dunes", *size, seconds=1, title=TITLE))
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


@pytest.mark.parametrize("seconds", [1, 7])
@pytest.mark.parametrize("audio", [True, False])
def test_a_video_has_a_quiet_tone_of_its_length_where_it_sounds(tmp_path: Path, seconds: int, audio: bool) -> None:
    """To the last sample, heard all the way through, and nothing near full loudness."""
    path = tmp_path / "video.mp4"
    render_video(path, Video("A kite", 320, 180, seconds, TITLE, audio=audio))
    assert inspect_clip(path).audio is audio
    with av.open(str(path)) as container:
        tracks = container.streams.audio
        lengths = [Fraction(track.duration or 0) * (track.time_base or 0) for track in tracks]
        assert (container.duration, lengths) == (seconds * 1_000_000, [seconds] * audio)
        frames = container.decode(*tracks) if tracks else ()
        heard = [max(map(abs, memoryview(frame.planes[0]).cast("f"))) for frame in frames]
    assert all(0.005 < loudest < 0.1 for loudest in heard[2:-2])
    assert bool(heard) is audio


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
    renderer = FrameRenderer(prompt=prompt, title=TITLE, width=640, height=360, seed=1)
    assert renderer.draw(share=0.5, clock=format_clock(6, 12)).size == (640, 360)


def test_scripts_that_no_font_has_are_told_in_words_and_accents_are_removed() -> None:
    """A reader still sees what is missing; a font that has all of them draws them."""
    _, text = choose_font("\u00fcber \U00013000", 20)
    assert text in ("uber [1 Egyptian letter]", "\u00fcber \U00013000")


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (640, 640)])
@pytest.mark.parametrize("prompt", ["A kite", "word " * 300])
def test_the_prompt_stands_in_the_lower_third(size: tuple[int, int], prompt: str) -> None:
    """With and without it the upper two thirds are the same, and the lower third is not; the clock stays clear."""
    both = [
        FrameRenderer(prompt=text, title=TITLE, width=size[0], height=size[1], seed=1).draw(share=0.5, clock="")
        for text in (prompt, "")
    ]
    third, foot = size[1] * 2 // 3, size[1] - int(min(size) / 720 * 80)
    # The shadow of the letters is soft.
    soft = int(min(size) / 720 * 30)
    upper, lower, bottom = ((0, 0, size[0], third - soft), (0, third, size[0], foot), (0, foot + soft, *size))
    assert both[0].crop(upper).tobytes() == both[1].crop(upper).tobytes()
    assert both[0].crop(lower).tobytes() != both[1].crop(lower).tobytes()
    assert both[0].crop(bottom).tobytes() == both[1].crop(bottom).tobytes()


@pytest.mark.parametrize("seconds", [1, 5, 12])
def test_the_clock_counts_to_the_clips_own_length(tmp_path: Path, seconds: int) -> None:
    """A clip of five seconds never says six."""
    last = seconds * FRAMES_PER_SECOND - 1
    assert format_clock(last // FRAMES_PER_SECOND, seconds) == f"0:{seconds - 1:02} / 0:{seconds:02}"


def test_text_is_wrapped_to_the_width_and_cut_to_the_height() -> None:
    """No line is wider than the box; what does not fit ends in dots."""
    font, text = fit_text("word " * 400, width=300, height=100, sizes=[40, 30, 20])
    assert all(font.getlength(line) <= 300 for line in text.split("\n"))
    assert text.endswith("...")
    font, text = fit_text("x" * 100, width=300, height=300, sizes=[40, 30, 20])
    assert text.replace("\n", "") == "x" * 100
    assert all(font.getlength(line) <= 300 for line in text.split("\n"))
    assert fit_text("", width=300, height=100, sizes=[20])[1] == ""


@pytest.mark.parametrize("seed", range(len(PALETTES) * 3))
def test_a_video_moves_and_is_the_same_for_the_same_shot(seed: int) -> None:
    """Two times of a video are two different frames; the same time twice is the same frame."""

    def draw(share: float) -> bytes:
        renderer = FrameRenderer(prompt="A kite", title=TITLE, width=320, height=180, seed=seed)
        return renderer.draw(share=share, clock="").tobytes()

    assert draw(0.0) != draw(1.0)
    assert draw(0.5) == draw(0.5)


def test_equal_videos_share_a_digest_and_others_do_not() -> None:
    """The cache is by what is seen."""
    video = Video("A kite", 1280, 720, 4, TITLE)
    assert video.digest == Video("A kite", 1280, 720, 4, TITLE).digest
    others = {
        Video("A kit", 1280, 720, 4, TITLE),
        Video("A kite", 720, 1280, 4, TITLE),
        Video("A kite", 1280, 720, 8, TITLE),
        Video("A kite", 1280, 720, 4, TITLE, audio=True),
    }
    assert video.digest not in {other.digest for other in others}


def test_a_rendering_can_be_stopped_between_two_frames(tmp_path: Path) -> None:
    """A closing sandbox does not wait for a long video."""
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(RenderingStopped):
        render_video(tmp_path / "video.mp4", Video("A kite", 320, 180, 20, TITLE), stopped)
    assert len(asked) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_rendering_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a half video nor its temporary file."""
    with pytest.raises(ValueError, match=r"width|height|size|range|greater"):
        render_video(tmp_path / "video.mp4", Video("A kite", 0, 0, 1, TITLE))
    assert list(tmp_path.iterdir()) == []
