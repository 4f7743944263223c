"""Tokens of callbacks cannot be made without a key, and a signature counts only while it is fresh."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.gateway.callbacks import callback_token, is_signed_callback, read_callback_token
from callsheet.sandbox.fakes.poyo import sign
from cases import cases
from examples import examples

NEW, OLD, FOREIGN = (bytes([number]) * 32 for number in (1, 2, 3))
SHEET = "sheet_abcdefghij2345672345"
OTHER = "sheet_zzzzzzzzzz2345672345"
TOKEN = callback_token(SHEET, [NEW])
NOW = 1_790_000_000.0
SECRET = b"a-webhook-secret"


def test_a_token_is_the_sheet_and_a_seal_of_twenty_bytes() -> None:
    """As documented, so that every replica of every version finds the same."""
    seal = hmac.digest(NEW, b"callsheet callback 1:" + SHEET.encode(), hashlib.sha256)[:20]

    assert f"{SHEET}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}" == TOKEN
    assert read_callback_token(TOKEN, [NEW]) == SHEET


def test_a_key_is_replaced_without_losing_callbacks_under_way() -> None:
    """New tokens are under the newest key; the older one counts until it is removed."""
    before = callback_token(SHEET, [OLD])

    assert callback_token(SHEET, [NEW, OLD]) == TOKEN
    assert read_callback_token(before, [NEW, OLD]) == SHEET
    assert read_callback_token(before, [NEW]) is None


@cases(
    "token",
    [
        "",
        ".",
        SHEET,
        f"{SHEET}.",
        TOKEN[:-1],
        TOKEN[1:],
        f"{TOKEN}=",
        f"{TOKEN}A",
        f"{TOKEN}\n",
        f" {TOKEN}",
        f"{OTHER}.{TOKEN.partition('.')[2]}",
        f"{SHEET.upper()}.{TOKEN.partition('.')[2]}",
        f"{SHEET}.{'A' * 27}",
        callback_token(SHEET, [FOREIGN]),
        f"{SHEET}.é{TOKEN[-26:]}",
        TOKEN * 1000,
    ],
)
def test_no_other_text_is_a_token(token: str) -> None:
    """Truncated, longer, for another sheet, under a foreign key, in other letters."""
    assert read_callback_token(token, [NEW, OLD]) is None


def test_another_spelling_of_the_same_bytes_is_no_token() -> None:
    """The last character of base64url has bits to spare."""
    seal = TOKEN.partition(".")[2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    padded = [f"{seal[:-1]}{letter}" for letter in alphabet]
    same = [text for text in padded if base64.urlsafe_b64decode(f"{text}=") == base64.urlsafe_b64decode(f"{seal}=")]

    assert len(same) == 4
    assert [text for text in same if read_callback_token(f"{SHEET}.{text}", [NEW])] == [seal]


@given(st.text())
@examples(200)
def test_no_text_by_chance_is_a_token(text: str) -> None:
    """And none is an error."""
    assert read_callback_token(text, [NEW]) is None
    assert read_callback_token(f"{SHEET}.{text}", [NEW]) in (None, SHEET if f"{SHEET}.{text}" == TOKEN else None)


@cases("keys", [[], [b""], [b"short"], [NEW, b""]])
def test_keys_that_protect_nothing_are_an_error(keys: list[bytes]) -> None:
    """With an empty key anybody could make tokens."""
    for use in (lambda: callback_token(SHEET, keys), lambda: read_callback_token(TOKEN, keys)):
        with pytest.raises(ValueError, match="at least one key"):
            use()


def test_what_does_not_fit_an_address_gets_no_token() -> None:
    """A token is one segment of a path."""
    with pytest.raises(ValueError, match="no id"):
        callback_token("sheet/../x", [NEW])


@cases(
    ("task_id", "timestamp", "signature", "expected"),
    [
        ("t1", f"{NOW:.0f}", sign("t1", f"{NOW:.0f}", SECRET.decode()), True),
        ("t1", f"{NOW - 300:.0f}", sign("t1", f"{NOW - 300:.0f}", SECRET.decode()), True),
        ("t1", f"{NOW - 301:.0f}", sign("t1", f"{NOW - 301:.0f}", SECRET.decode()), False),
        ("t1", f"{NOW + 301:.0f}", sign("t1", f"{NOW + 301:.0f}", SECRET.decode()), False),
        ("t2", f"{NOW:.0f}", sign("t1", f"{NOW:.0f}", SECRET.decode()), False),
        ("t1", f"{NOW + 1:.0f}", sign("t1", f"{NOW:.0f}", SECRET.decode()), False),
        ("t1", f"{NOW:.0f}", sign("t1", f"{NOW:.0f}", "another secret"), False),
        ("t1", f"{NOW:.0f}", "", False),
        ("t1", f"{NOW:.0f}", "é", False),
        ("t1", "", sign("t1", "", SECRET.decode()), False),
        ("t1", "nan", sign("t1", "nan", SECRET.decode()), False),
        ("t1", "-1", sign("t1", "-1", SECRET.decode()), False),
        ("", f"{NOW:.0f}", sign("", f"{NOW:.0f}", SECRET.decode()), False),
    ],
)
def test_a_signature_counts_for_its_task_and_five_minutes(
    task_id: str, timestamp: str, signature: str, *, expected: bool
) -> None:
    """It is over the task's id and the time; a task without a known id has none."""
    assert is_signed_callback(task_id, timestamp, signature, secret=SECRET, now=NOW) is expected


def test_without_a_secret_nothing_is_signed() -> None:
    """An empty one is a mistake in the configuration, and everybody knows it."""
    now = f"{NOW:.0f}"
    assert not is_signed_callback("t1", now, sign("t1", now, ""), secret=b"", now=NOW)
