"""The box walk tells a whole MP4 from a piece of one and never raises on its own."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.edges.clips.mp4 import MAX_BOXES, Box, BoxReport, check_boxes, looks_like


def box(kind: bytes, payload: bytes = b"") -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


def large_box(kind: bytes, payload: bytes = b"", *, size: int | None = None) -> bytes:
    size = 16 + len(payload) if size is None else size
    return (1).to_bytes(4, "big") + kind + size.to_bytes(8, "big") + payload


FTYP = box(b"ftyp", b"isom\x00\x00\x02\x00isommp41")
MOOV = box(b"moov", b"m" * 40)
MDAT = box(b"mdat", b"d" * 200)
WHOLE = FTYP + MOOV + MDAT


def judge(data: bytes) -> BoxReport:
    return check_boxes(lambda offset, count: data[offset : offset + count], len(data))


def test_a_whole_file_has_no_problem_and_its_boxes_are_reported() -> None:
    """Three boxes that tile the file pass, whichever way round index and media stand."""
    report = judge(WHOLE)
    assert report.problem is None
    assert report.boxes == (
        Box("ftyp", 0, 8, len(FTYP)),
        Box("moov", len(FTYP), 8, len(MOOV)),
        Box("mdat", len(FTYP + MOOV), 8, len(MDAT)),
    )
    assert judge(FTYP + box(b"free") + box(b"mdat") + MDAT + MOOV).problem is None


def test_a_clip_made_by_an_encoder_passes_and_every_truncation_of_it_fails() -> None:
    """Cut at twenty places, a real file is never taken for a whole one."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame(64, 36, "yuv420p")))
        container.mux(stream.encode())
    data = file.getvalue()
    assert judge(data).problem is None
    assert all(judge(data[: len(data) * part // 20]).problem for part in range(20))


def test_every_truncation_of_a_small_file_fails() -> None:
    """There is no length at which a cut goes unnoticed while all three boxes are needed."""
    assert [cut for cut in range(len(WHOLE)) if judge(WHOLE[:cut]).problem is None] == []


@pytest.mark.parametrize(
    "junk", [b"x", b"\0" * 7, b"\0" * 8, b"\r\n", b"junkjunkjunk", b"</html>", bytes(range(200, 232))]
)
def test_appended_junk_is_noticed(junk: bytes) -> None:
    """Bytes after the last box are a problem, zeros included."""
    assert judge(WHOLE + junk).problem is not None


def test_a_box_of_size_zero_is_the_last_one_and_reaches_the_end() -> None:
    """Size 0 means "to the end of the file": right for a last mdat, and it hides whatever follows."""
    open_ended = (0).to_bytes(4, "big") + b"mdat" + b"d" * 50
    assert judge(FTYP + MOOV + open_ended).problem is None
    swallowed = judge(FTYP + open_ended + MOOV)
    assert swallowed.problem == "The 'moov' box with its index is missing or empty."
    assert swallowed.boxes[-1] == Box("mdat", len(FTYP), 8, 58 + len(MOOV))


def test_sixty_four_bit_sizes_are_read() -> None:
    """A box may say its size in eight bytes."""
    assert judge(FTYP + MOOV + large_box(b"mdat", b"d" * 30)).problem is None


@pytest.mark.parametrize("size", [0, 1, 8, 15, 2**63 - 1, 2**63, 2**64 - 1])
def test_sixty_four_bit_sizes_that_cannot_be_are_refused(size: int) -> None:
    """Neither less than the header nor beyond the file, up to the largest number that fits."""
    assert judge(FTYP + MOOV + large_box(b"mdat", b"d" * 30, size=size)).problem is not None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "It is empty."),
        (MOOV + FTYP + MDAT, "It begins with a 'moov' box, not with 'ftyp'."),
        (FTYP + MDAT, "The 'moov' box with its index is missing or empty."),
        (FTYP + MOOV, "The 'mdat' box with its pictures and sound is missing or empty."),
        (FTYP + MOOV + box(b"mdat"), "The 'mdat' box with its pictures and sound is missing or empty."),
        (FTYP + MOOV + large_box(b"mdat"), "The 'mdat' box with its pictures and sound is missing or empty."),
        (WHOLE + WHOLE, "It has 2 'ftyp' boxes, as if several files had been joined."),
        (WHOLE + MOOV, "It has 2 'moov' boxes, as if several files had been joined."),
        (FTYP + MOOV + MDAT[:-9], "The 'mdat' box at byte 72 reaches 9 bytes beyond the end of the file."),
        (FTYP + (7).to_bytes(4, "big") + b"moov", "says it has 7 bytes, less than its own header."),
        (WHOLE + b"\x00\x00\x00\x08\xff\xff\xff\xff", "At byte 280 there is data that is not an MP4 box."),
        (FTYP + MOOV + b"\x00\x00\x00\x01mdat\x00", "It ends inside a box header, at byte 72."),
        (FTYP + box(b"free") * MAX_BOXES, f"It has more than {MAX_BOXES} boxes."),
    ],
)
def test_each_complaint_says_what_and_where(data: bytes, said: str) -> None:
    """The first thing that is wrong is named in one sentence."""
    assert said in (judge(data).problem or "")


def test_a_reader_that_returns_less_than_the_size_promises_is_a_truncation() -> None:
    """A file that shrank between asking its size and reading it is told, not trusted."""
    report = check_boxes(lambda offset, count: FTYP[offset : offset + count], len(WHOLE))
    assert report.problem == f"It ends inside a box header, at byte {len(FTYP)}."


PIECES = st.sampled_from([FTYP, MOOV, MDAT, box(b"free"), large_box(b"mdat", size=2**64 - 1), b"\0", b"\0\0\0\1"])


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.lists(st.one_of(PIECES, st.binary(max_size=12))).map(b"".join)))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    """Whatever the bytes are, the walk ends with a report; one without a problem tiles the file exactly."""
    report = judge(data)
    end = 0
    for found in report.boxes:
        assert found.offset == end
        end += found.size
    assert end == len(data) if report.problem is None else end <= len(data)
    assert looks_like(data) in {"mp4", "html", "json", "xml", "webm", "empty", "unknown"}


@pytest.mark.parametrize(
    ("data", "look"),
    [
        (WHOLE, "mp4"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "html"),
        (b"\xef\xbb\xbf \n<HTML lang='en'>", "html"),
        (b"<!-- gone --><body>", "html"),
        (b'  {"code": 404}', "json"),
        (b"[]", "json"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "xml"),
        (b"<Error>", "xml"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86", "webm"),
        (b"\n \t", "unknown"),
        (b"\x00" * 64, "unknown"),
        (b"< 3", "unknown"),
    ],
)
def test_the_first_bytes_tell_what_came_instead(data: bytes, look: str) -> None:
    """An error page can be called by its name."""
    assert looks_like(data) == look
