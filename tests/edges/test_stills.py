"""Stills show the clip as it is, cost little, and no file makes the decoder do more than it may."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from callsheet.core.delivery import BLACK, FROZEN
from callsheet.edges.clips.contact_sheet import SHEET_WIDTH, Still, draw_sheet, plan_grid, write_picture
from callsheet.edges.clips.stills import ClipFacts, draw_contact_sheet, draw_poster, draw_stills, inspect_clip
from callsheet.errors import DownloadProblem, Fate, SetupProblem
from edges.clip_bytes import encode_clip
from examples import examples

Film = Callable[..., Path]

RATE = 12


def record(path: Path, *, size: tuple[int, int], frames: int, gap: int, codec: str = "libx264") -> Path:
    """A clip whose frame n is a plain colour that rises from black to white; a key frame every `gap` frames."""
    import av
    from PIL import Image

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": str(gap), "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            level = 255 * number // max(frames - 1, 1)
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (level, level, level)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Clips by their properties, each encoded once."""
    directory, made = tmp_path_factory.mktemp("films"), dict[object, Path]()

    def get(size: tuple[int, int] = (128, 72), frames: int = 48, gap: int = 12, codec: str = "libx264") -> Path:
        key = (size, frames, gap, codec)
        if key not in made:
            path = directory / f"{len(made)}.mp4"
            made[key] = record(path, size=size, frames=frames, gap=gap, codec=codec)
        return made[key]

    return get


def brightness(path: Path, spot: tuple[float, float] = (0.5, 0.5)) -> int:
    from PIL import Image

    with Image.open(path) as picture:
        place = int(picture.width * spot[0]), int(picture.height * spot[1])
        return int(picture.convert("L").getpixel(place))  # type: ignore[arg-type]


def size_of(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265"])
def test_facts_are_those_of_the_file(film: Film, codec: str) -> None:
    """Length, size, number of frames and codec are read from the video itself."""
    facts = inspect_clip(film(codec=codec))
    name = {"libx264": "h264", "libx265": "hevc"}.get(codec, codec)
    shape = pytest.approx(16 / 9)
    assert facts == ClipFacts(
        duration_seconds=4.0, width=128, height=72, frames=48, codec=name, shape=shape, audio=False
    )


@pytest.mark.parametrize("gap", [1, 12, 1000])
def test_the_poster_is_a_frame_near_a_third(film: Film, tmp_path: Path, gap: int) -> None:
    """With and without key frames there, the poster shows the clip's first third."""
    poster = draw_poster(film(gap=gap), tmp_path / "poster.jpg")
    assert size_of(poster) == (128, 72)
    assert brightness(poster) == pytest.approx(255 / 3, abs=255 / 4)


@pytest.mark.parametrize("gap", [1, 4, 6, 12, 24, 1000])
def test_stills_rise_through_the_whole_clip(film: Film, tmp_path: Path, gap: int) -> None:
    """Wherever the key frames are, the sheet's frames are in order and come from beginning to end."""
    facts = draw_stills(film(gap=gap), tmp_path / "p.jpg", tmp_path / "s.jpg", heading="Rising", detail="")
    seen = inspect_clip(film(gap=gap))
    assert facts == replace(seen, shape=facts.shape, brightest=facts.brightest, motion=facts.motion)
    assert facts.brightest is not None
    assert facts.motion is not None
    assert min(facts.brightest, facts.motion) > 190
    assert brightness(tmp_path / "p.jpg") == pytest.approx(255 / 3, abs=255 / 6)
    assert size_of(tmp_path / "s.jpg")[0] <= SHEET_WIDTH
    shown = [brightness(tmp_path / "s.jpg", (x, y)) for y in (0.35, 0.8) for x in (0.18, 0.5, 0.82)]
    assert shown == sorted(shown)
    assert len(set(shown)) == len(shown)
    assert shown[0] < 50
    assert shown[-1] > 190


def paint(path: Path, draw: Callable[[int], object], *, gap: int) -> Path:
    """A clip of 48 frames of 640x360, each as `draw` returns it, encoded as coarsely as a gateway would."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": str(gap), "crf": "32"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(48):
            container.mux(stream.encode(av.VideoFrame.from_image(draw(number))))  # type: ignore[arg-type]
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("gap", [1, 12, 1000])
def test_black_and_frozen_pictures_are_measured_as_such_and_dark_or_calm_ones_are_not(tmp_path: Path, gap: int) -> None:
    """A photograph encoded again and again is frozen; a spark in the night, or one that moves a little, is not."""
    from PIL import Image, ImageDraw, ImageFilter

    photograph = Image.effect_noise((640, 360), 90).filter(ImageFilter.GaussianBlur(2)).convert("RGB")

    def spark(number: int) -> Image.Image:
        picture = Image.new("RGB", (640, 360), (4, 4, 6))
        ImageDraw.Draw(picture).ellipse((300 + number, 100, 312 + number, 112), fill=(255, 210, 120))
        return picture

    pictures: dict[str, Callable[[int], object]] = {
        "black": lambda _number: Image.new("RGB", (640, 360), (5, 5, 5)),
        "frozen": lambda _number: photograph,
        "night": spark,
    }
    found = {}
    for name, draw in pictures.items():
        clip = paint(tmp_path / f"{name}.mp4", draw, gap=gap)
        facts = draw_stills(clip, tmp_path / "p.jpg", tmp_path / "s.jpg", heading="", detail="")
        assert facts.brightest is not None
        assert facts.motion is not None
        found[name] = (facts.brightest <= BLACK, facts.motion <= FROZEN)

    assert found == {"black": (True, True), "frozen": (False, True), "night": (False, False)}


@pytest.mark.parametrize("sound", [True, False])
def test_an_audio_track_is_noticed(tmp_path: Path, sound: bool) -> None:
    """By its packets; nothing of it is decoded."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_clip(sound=sound))
    assert inspect_clip(path).audio is sound


@pytest.mark.parametrize(("turned", "shape"), [(False, 1.7778), (True, 0.5625)])
def test_a_clip_that_players_turn_has_the_shape_that_people_see(
    film: Film, tmp_path: Path, turned: bool, shape: float
) -> None:
    """The track's matrix (ISO/IEC 14496-12, section 8.3.2) stands 40 bytes into its header's values."""
    data = bytearray(film().read_bytes())
    if turned:
        start = data.index(b"tkhd") + 4 + 4 + 36
        quarter = (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)
        data[start : start + 36] = b"".join(value.to_bytes(4, "big") for value in quarter)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    facts = draw_stills(path, tmp_path / "p.jpg", tmp_path / "s.jpg", heading="", detail="")
    assert (facts.width, facts.height, facts.shape) == (128, 72, shape)


def test_an_upright_clip_gets_more_columns(film: Film, tmp_path: Path) -> None:
    """Six upright frames stand in one row, so the sheet is wide either way."""
    wide = draw_contact_sheet(film(), tmp_path / "wide.jpg", heading="h", detail="d")
    upright = draw_contact_sheet(film(size=(72, 128)), tmp_path / "upright.jpg", heading="h", detail="d")
    for sheet in (wide, upright):
        width, height = size_of(sheet)
        assert 1000 < width <= SHEET_WIDTH
        assert width > height


def test_a_sheet_is_a_png_when_its_name_says_so(film: Film, tmp_path: Path) -> None:
    """The name decides the format."""
    png = draw_contact_sheet(film(), tmp_path / "sheet.png", heading="h", detail="d", columns=2, rows=2)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert draw_poster(film(), tmp_path / "poster.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_clip_of_few_frames_gets_a_small_sheet(film: Film, tmp_path: Path, frames: int) -> None:
    """No frame is shown twice to fill the page."""
    facts = draw_stills(film(frames=frames), tmp_path / "p.jpg", tmp_path / "s.jpg", heading="Short", detail="")
    assert facts.frames == frames
    assert size_of(tmp_path / "s.jpg")[0] <= SHEET_WIDTH


def test_pictures_replace_earlier_ones_and_leave_nothing_else(film: Film, tmp_path: Path) -> None:
    """Drawing again is harmless, and no temporary file stays."""
    for _ in range(2):
        draw_stills(film(), tmp_path / "p.jpg", tmp_path / "s.jpg", heading="h", detail="d")
    assert {path.name for path in tmp_path.iterdir()} == {"p.jpg", "s.jpg"}
    assert (tmp_path / "p.jpg").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", b"ffconcat version 1.0\nfile x.mp4\n"]
)
def test_what_is_no_mp4_is_never_tried_as_anything_else(tmp_path: Path, data: bytes) -> None:
    """A playlist or a web page in place of a clip is refused, not followed."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(DownloadProblem, match="not a whole video") as caught:
        inspect_clip(path)
    assert caught.value.fate is Fate.CHARGED


def test_a_clip_whose_media_is_cut_short_is_refused(film: Film, tmp_path: Path) -> None:
    """With the index first, a missing end shows only when the frames are read: they are."""
    import av

    path = tmp_path / "clip.mp4"
    with (
        av.open(str(film())) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as sink,
    ):
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    data = path.read_bytes()
    assert data.index(b"moov") < data.rindex(b"mdat")
    assert inspect_clip(path).frames == 48
    path.write_bytes(data[:-3])
    with pytest.raises(DownloadProblem, match="not a whole video"):
        inspect_clip(path)
    path.write_bytes(data[: data.rindex(b"mdat") + 4])
    with pytest.raises(DownloadProblem):
        inspect_clip(path)


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("fast_start", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 8, 100, 0.1, 0.5])
def test_every_truncation_is_refused(tmp_path: Path, cut: float, fast_start: bool, sound: bool) -> None:
    """By bytes or by share, with the index first or last, with sound or without."""
    data, path = encode_clip(fast_start=fast_start, sound=sound), tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert inspect_clip(path).frames == 12
    path.write_bytes(data[: -(cut if isinstance(cut, int) else round(len(data) * cut))])
    with pytest.raises(DownloadProblem, match="not a whole video"):
        inspect_clip(path)


def test_frames_beyond_the_limit_are_refused(film: Film) -> None:
    """A picture that would take the memory is not decoded."""
    with pytest.raises(DownloadProblem, match="pixels wide and high"):
        inspect_clip(film(size=(8208, 16), frames=1))


def test_a_codec_that_no_gateway_sends_is_refused(film: Film) -> None:
    """The fewer decoders a file from outside can choose from, the better."""
    with pytest.raises(DownloadProblem, match="codec"):
        inspect_clip(film(codec="mpeg2video"))


def test_a_file_with_sound_alone_is_refused(tmp_path: Path) -> None:
    """A clip without pictures is no clip."""
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        frame.sample_rate = 44_100
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DownloadProblem, match="no video"):
        inspect_clip(path)


def test_a_clip_that_is_not_there_is_a_setup_problem(tmp_path: Path) -> None:
    """A missing file is not called a broken one."""
    with pytest.raises(SetupProblem, match="cannot be opened"):
        inspect_clip(tmp_path / "none.mp4")


def test_a_directory_that_cannot_be_written_is_a_setup_problem(film: Film, tmp_path: Path) -> None:
    """The person learns that the clip itself is safe."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupProblem, match="could not be written") as caught:
        draw_poster(film(), tmp_path / "file" / "poster.jpg")
    assert "The clip itself is safe" in caught.value.next_step.text
    assert caught.value.fate is Fate.CHARGED


@examples(120, suppress=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_clips_are_shown_or_refused(film: Film, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes are changed, the answer is facts or one kind of error."""
    clip = bytearray(film(frames=12, gap=6).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        clip[data.draw(st.integers(0, len(clip) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    try:
        facts = draw_stills(path, tmp_path / "p.jpg", tmp_path / "s.jpg", heading="h", detail="d")
    except DownloadProblem:
        return
    assert facts.frames > 0
    assert size_of(tmp_path / "s.jpg")[0] <= SHEET_WIDTH


@examples(60)
@given(st.text(max_size=700), st.text(max_size=700), st.sampled_from([(16, 9), (9, 16), (1, 1), (8192, 1), (1, 8192)]))
def test_any_text_and_any_shape_can_be_drawn(heading: str, detail: str, shape: tuple[int, int]) -> None:
    """No text and no shape of a frame breaks the page or its bounds."""
    from PIL import Image

    grid = plan_grid(shape, count=12, columns=4)
    still = Still(3.25, Image.new("RGB", (1, 1), "red"))
    page = draw_sheet([still] * 12, grid, heading=heading, detail=detail)
    assert page.width <= SHEET_WIDTH
    assert page.height <= SHEET_WIDTH


def header_of(heading: str, detail: str = "") -> bytes:
    from PIL import Image

    grid = plan_grid((16, 9), count=1, columns=1)
    return draw_sheet([Still(0, Image.new("RGB", (1, 1)))], grid, heading=heading, detail=detail).tobytes()


@pytest.mark.parametrize(
    ("written", "drawn"),
    [
        ("caf\u00e9 na\u00efve", "cafe naive"),
        (unicodedata.normalize("NFD", "caf\u00e9"), "cafe"),
        ("1280\u00d7720 \u2014 now", "1280x720 - now"),
        ("a \u732b\u306e\u6620\u753b b", "a [4 CJK and Hiragana letters] b"),
        ("one\n\ttwo\x1b\x00\u202e\u200b\U000e0041", "one two"),
        ("\ud800lone", "lone"),
    ],
)
def test_characters_without_a_glyph_are_folded(written: str, drawn: str) -> None:
    """Instead of empty boxes a reader sees the nearest plain text, and nothing invisible is kept."""
    assert header_of(written, written) == header_of(drawn, drawn)


def test_long_text_is_cut_with_an_ellipsis() -> None:
    """What does not fit is visibly left out: the page is the same however much more there was."""
    assert header_of("word " * 60) == header_of("word " * 90)
    assert header_of("", "word " * 100) == header_of("", "word " * 110)
    assert header_of("", "W" * 300) == header_of("", "W" * 400)


def test_a_picture_that_cannot_be_finished_leaves_the_earlier_one(tmp_path: Path) -> None:
    """A failed write (JPEG has no transparency) keeps the old picture and no debris."""
    from PIL import Image

    target = tmp_path / "poster.jpg"
    target.write_bytes(b"earlier")
    with pytest.raises(SetupProblem):
        write_picture(Image.new("RGBA", (4, 4)), target)
    assert target.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["poster.jpg"]
