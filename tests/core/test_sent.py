"""The mark of what was sent: what is written is read back, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from callsheet.core.consent import Binding
from callsheet.core.sent import MOST_BYTES, Sent, SentRequest, build_mark, read_mark
from callsheet.core.tasks import SheetId, TaskId

BINDING = Binding("live", "poyo", "sora-2-official", "https://api.poyo.ai", "POST", "/api", *[""] * 6, "1", "9.0")
REQUEST = SentRequest(TaskId("task_1"), SheetId("sheet_1"), BINDING, 240_000, 5.0, 3605.5, "attempt_1", 2)
SENT = Sent("/state/ledger.db", "a hash", 7, "a seal", (REQUEST,))


def written(values: object) -> bytes:
    """A mark with those values and the checksum that fits them."""
    text = json.dumps(values)
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n".encode()


def plain() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(build_mark(SENT).splitlines()[1])
    return values


def test_what_is_written_is_read_back() -> None:
    assert read_mark(build_mark(SENT)) == SENT
    assert read_mark(build_mark(replace(SENT, requests=()))) == replace(SENT, requests=())
    assert REQUEST.card_id == "poyo/sora-2-official"


def test_a_mark_names_the_newest_requests_that_have_room_and_always_the_newest() -> None:
    long = replace(REQUEST, binding=replace(BINDING, base_url="https://" + "a" * 9_000))
    requests = tuple(replace(long, task_id=TaskId(f"task_{number}")) for number in range(40))

    mark = build_mark(replace(SENT, requests=requests))

    kept = read_mark(mark).requests
    assert kept == requests[: len(kept)]
    assert len(kept) == 3
    assert len(mark) <= MOST_BYTES + 66
    huge = replace(REQUEST, binding=replace(BINDING, base_url="a" * MOST_BYTES))
    assert read_mark(build_mark(replace(SENT, requests=(huge, REQUEST)))).requests == (huge,)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(SENT, origin="another"), True),
        (replace(SENT, path="/a/copy"), True),
        (replace(SENT, path="/a/copy", origin="another"), False),
    ],
)
def test_a_mark_is_about_its_ledger_and_the_copies_of_it(other: Sent, same: bool) -> None:
    assert SENT.is_about(other) is same


def test_two_new_ledgers_without_a_trail_are_not_the_same() -> None:
    new = replace(SENT, origin="")

    assert not new.is_about(replace(new, path="/elsewhere"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:-20],
        lambda raw: raw.replace(b"240000", b"240001"),
        lambda _raw: b"",
        lambda raw: raw + b"\n",
        lambda _raw: "é\n".encode(),
    ],
)
def test_a_mark_that_is_not_whole_is_no_mark(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match=r"checksum|decode"):
        read_mark(damage(build_mark(SENT)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("entry",), "7"),
        (("entry",), True),
        (("entry",), -1),
        (("entry",), 2**60),
        (("path",), None),
        (("requests",), [5]),
        (("requests",), 5),
        (("more",), "unknown"),
        (("requests", 0, "deadline"), "soon"),
        (("requests", 0, "reserve_micros"), 0.5),
        (("requests", 0, "binding"), {}),
        (("requests", 0, "binding", "mode"), "sandbox"),
        (("requests", 0, "binding", "take"), "first"),
        (("requests", 0, "binding", "gateway"), 5),
    ],
)
def test_values_that_no_version_wrote_are_refused_although_the_checksum_fits(
    place: tuple[str | int, ...], value: object
) -> None:
    values = plain()
    target: Any = values
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value

    with pytest.raises(ValueError, match=r"another version|something else"):
        read_mark(written(values))


@pytest.mark.parametrize("name", ["requests", "seal"])
def test_a_mark_that_lacks_a_value_is_refused(name: str) -> None:
    values = plain()
    del values[name]

    with pytest.raises(ValueError, match="another version"):
        read_mark(written(values))
