"""What reading a reply rests on, apart from any gateway."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.gateway.protocol import Accepted, HttpReply, Phase, Postponed, Rejected, Unclear
from callsheet.core.gateway.replies import (
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MAX_TEXT,
    NO_STATUS,
    SubmitReading,
    build_unavailable,
    decide_submit,
    find,
    quote_task_id,
    read_amount,
    read_items,
    read_object,
    read_percent,
    read_retry_after,
    read_status_number,
    read_task_id,
    read_text,
    succeeded,
)
from callsheet.core.gateway.task_status import MAX_LINK, MAX_LINKS, is_video_link, read_phase, read_video_links
from cases import cases


def nested(depth: int) -> bytes:
    """An object of that many levels."""
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_a_body_is_read_down_to_the_greatest_depth_and_no_further() -> None:
    """The limit itself is still read."""
    assert read_object(nested(MAX_DEPTH)) is not None
    assert read_object(nested(MAX_DEPTH + 1)) is None


def test_lists_count_as_depth_too() -> None:
    """Brackets nest like braces."""
    depth = MAX_DEPTH - 1
    assert read_object(b'{"a":' + b"[" * depth + b"]" * depth + b"}") is not None
    assert read_object(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}") is None


def test_a_body_is_read_up_to_the_greatest_size_and_no_further() -> None:
    """The limit itself is still read."""
    padding = b" " * (MAX_BODY_BYTES - 2)
    assert read_object(b"{" + padding + b"}") == {}
    assert read_object(b"{ " + padding + b"}") is None


@cases("body", [b"", b"[]", b"1", b"null", b'"x"', b"{", b"\xff", b'{"a":NaN}', b'{"a":-Infinity}'])
def test_what_is_no_json_object_is_not_read(body: bytes) -> None:
    """Lists, numbers, texts, broken bytes and numbers that JSON does not have."""
    assert read_object(body) is None


@cases("digits", ["9" * 21, "1." + "1" * 40, "1e99999999999999999999"])
def test_absurd_numbers_make_a_body_unreadable(digits: str) -> None:
    """No gateway says such a number, and computing with one can take for ever."""
    assert read_object(b'{"a":' + digits.encode() + b"}") is None


def test_a_byte_order_mark_is_no_hindrance() -> None:
    """Some servers write one."""
    assert read_object(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


def test_amounts_stay_exact() -> None:
    """Credits are not rounded through binary fractions."""
    body = read_object(b'{"a": 99416.4429, "b": 74.8700, "c": 7, "d": 1e3}')
    assert [read_amount(find(body, name)) for name in "abcd"] == ["99416.4429", "74.8700", "7", "1000"]


@cases("value", [None, True, "5", [5], Decimal("1e30"), 10**18])
def test_what_is_no_plain_amount_is_unknown(value: object) -> None:
    """Texts, switches and figures beyond all bounds."""
    assert read_amount(value) is None


@cases(
    ("value", "expected"),
    [(0, 0), (100, 100), (Decimal("45.9"), 45), (101, None), (-1, None), (True, None), ("5", None)],
)
def test_progress_is_whole_per_cent(value: object, expected: int | None) -> None:
    """Anything outside 0..100 is no progress."""
    assert read_percent(value) == expected


@cases(
    ("value", "expected"),
    [(None, None), (200, 200), ("402", 402), (True, NO_STATUS), ("E1", NO_STATUS), (Decimal("1.5"), NO_STATUS)],
)
def test_the_bodys_own_status_is_a_number_or_says_nothing_known(value: object, expected: int | None) -> None:
    """A code that is no number is not the same as none."""
    assert read_status_number(value) == expected


def test_a_lookup_that_leaves_the_objects_finds_nothing() -> None:
    """Neither lists nor texts are stepped into."""
    assert find({"a": {"b": 1}}, "a", "b") == 1
    assert find({"a": ["b"]}, "a", "b") is None
    assert find(None, "a") is None
    assert read_items({"a": 1}) == []


def test_a_text_is_the_first_that_says_something_and_bounded() -> None:
    """Switches and containers are no texts; half surrogate pairs do not get through."""
    assert read_text(None, True, [], " ", 7, "x") == "7"
    assert read_text("x" * 600) == "x" * MAX_TEXT
    assert read_text("\ud83c!") == "?!"
    assert read_text({}, "") == ""


@given(st.text(max_size=40))
def test_an_id_that_is_quoted_has_nothing_that_steers_an_address(value: str) -> None:
    """A quoted id has no slash, question mark, hash, space or dot segment."""
    if read_task_id(value) is None:
        with pytest.raises(ValueError, match="not a task id"):
            quote_task_id(value)
    else:
        assert not set(quote_task_id(value)) & set("/?#&= \r\n")
        assert quote_task_id(value).strip(".")


@cases(
    ("header", "expected"),
    [
        ("30", 30.0),
        (" 2.5 ", 2.5),
        ("-1", None),
        ("1e3", None),
        ("nan", None),
        ("٣", None),
        ("9999999", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_seconds(header: str | None, expected: float | None) -> None:
    """What is neither a number of seconds nor a date with another to count from says nothing."""
    headers = (("retry-after", header),) if header is not None else ()
    assert read_retry_after(HttpReply(429, headers, b"")) == expected


@cases(
    ("until", "sent", "expected"),
    [
        ("Wed, 25 Nov 2026 10:00:30 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", 30.0),
        ("Wed, 25 Nov 2026 09:59:30 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", 0.0),
        ("Wed, 25 Nov 2026 10:00:30 GMT", None, None),
        ("Wed, 25 Nov 2026 10:00:30 GMT", "yesterday", None),
        ("Wed, 35 Nov 2026 10:00:30 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", None),
        ("Wed, 25 Nox 2026 10:00:30 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_a_date_to_retry_after_counts_from_the_replys_own_date(
    until: str, sent: str | None, expected: float | None
) -> None:
    """A clock that is wrong here, or there, does not matter then."""
    headers = (("retry-after", until), *((("date", sent),) if sent is not None else ()))
    assert read_retry_after(HttpReply(429, headers, b"")) == expected


@cases(
    ("link", "expected"),
    [
        ("https://cdn.example.com/a.mp4", True),
        ("HTTPS://cdn.example.com/a", True),
        ("https://cdn.example.com/a.mp4?x=1.jpg#y.png", True),
        ("https://cdn.example.com/A.JPG?x=1", False),
        ("https://cdn.example.com/a.json", False),
        ("ftp://cdn.example.com/a.mp4", False),
        ("javascript:alert(1)", False),
        ("https://cdn.example.com/a b.mp4", False),
        ("https://[", True),
        ("https://e.com/" + "x" * MAX_LINK, False),
        (None, False),
        (7, False),
    ],
)
def test_only_web_addresses_that_name_no_other_medium_are_clips(link: object, expected: bool) -> None:
    """Whether an address may be fetched is decided elsewhere; here only what it seems to be."""
    assert is_video_link(link) is expected


def test_clips_are_named_once_in_order_and_not_without_end() -> None:
    """Two places may name the same clip."""
    links = [f"https://e.com/{n}.mp4" for n in range(50)]
    assert read_video_links([links[1], None, links[0], links[1]]) == (links[1], links[0])
    assert len(read_video_links(links)) == MAX_LINKS


def test_a_state_is_recognised_whatever_its_case() -> None:
    """An unnamed state stays unrecognised."""
    assert read_phase(" Finished ") is Phase.SUCCEEDED
    assert read_phase("paused") is Phase.UNRECOGNISED


@cases(
    ("status", "number", "outcome"),
    [
        (200, 400, Rejected),
        (200, 429, Postponed),
        (200, 500, Unclear),
        (200, 302, Unclear),
        (200, 307, Unclear),
        (200, NO_STATUS, Unclear),
        (200, 40001, Unclear),
        (400, 40001, Rejected),
        (400, NO_STATUS, Rejected),
        (400, 200, Rejected),
        (400, 429, Postponed),
        (429, 402, Rejected),
        (400, 500, Unclear),
        (429, 503, Unclear),
        (500, 400, Unclear),
        (503, 200, Unclear),
        (503, 77, Unclear),
    ],
)
def test_status_line_and_body_must_agree_on_a_refusal(status: int, number: int, outcome: type) -> None:
    """Where either leaves it open, it stays open."""
    reading = SubmitReading(id=None, state="", number=number, code="", message="")
    assert type(decide_submit(HttpReply(status, (), b""), reading)) is outcome


@given(
    status=st.integers(100, 599),
    number=st.none() | st.integers(-1, 600),
    identity=st.none() | st.just("task-1"),
    unclear=st.booleans(),
)
def test_an_open_outcome_is_never_taken_for_a_refusal(
    status: int, number: int | None, identity: str | None, unclear: bool
) -> None:
    """Rejected and postponed need an answer that says so, without an id; accepted needs an id."""
    reading = SubmitReading(id=identity, state="", number=number, code="", message="", unclear=unclear)
    outcome = decide_submit(HttpReply(status, (), b""), reading)
    if unclear or status >= 500 or status in (408, 409, 425):
        assert isinstance(outcome, Unclear)
    if isinstance(outcome, Rejected | Postponed):
        assert identity is None
    if isinstance(outcome, Accepted):
        assert identity is not None
        assert succeeded(status) or status == 429


def test_only_a_404_of_the_gateways_own_means_an_unknown_task() -> None:
    """A page from a proxy says nothing of the task."""
    assert build_unavailable(HttpReply(404, (), b"{}"), {}, None, "", "").unknown_task
    assert not build_unavailable(HttpReply(404, (), b"<"), None, None, "", "").unknown_task
    assert not build_unavailable(HttpReply(500, (), b"{}"), {}, NO_STATUS, "", "").unknown_task
