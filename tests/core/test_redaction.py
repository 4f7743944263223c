"""Text is harmless after `clean`, one line after `escape_block`, and free of keys after a `Redactor`."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from time import process_time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from callsheet.core.security.redaction import HIDDEN, TOO_DEEP, Redactor, clean, escape_block, fingerprint, variants
from callsheet.core.shot import JsonValue
from cases import cases

KEY = 'pq7/Zk+0"wJ\\3nR_t-V9x%B2mL8s?dF5h=Yc1G'
PLAIN_KEY = "q7Zk0wJ3nRtV9xB2mL8sdF5hYc1GaT6e"

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ZERO_WIDTH = "\u00ad\u034f\u200b\u200c\u200d\u2060\u2064\ufeff\ufe0f\u180e"
TAGS = "\U000e0001\U000e0041\U000e007f\U000e0100"
CONTROLS = "".join(map(chr, [*range(9), *range(14, 28), *range(127, 133), *range(134, 160)]))


@cases("unseen", [BIDI, ZERO_WIDTH, TAGS, CONTROLS.replace("\x1b", "").replace("\x9b", ""), "\ud800\udfff"])
def test_clean_drops_every_invisible_character(unseen: str) -> None:
    """Directional marks, zero-width characters, tags, controls and lone surrogates leave no trace."""
    for character in unseen:
        assert clean(f"a{character}.") == "a."


@cases(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b1;31mred", "red"),
        ("\x1b]8;;https://evil.example.com\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x9cafter", "after"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("\x90device\x9cafter", "after"),
        ("\x1b(Bcharset", "charset"),
        ("\x1b]never ended", "never ended"),
        ("\x1b[12", "12"),
        ("\x1b\u200b[31m", "[31m"),
        ("a\n\n\tb\r\nc\x85d\u2028e\u00a0f\x1fg", "a b c d e f g"),
        ("  a  ", "a"),
        ("e\u0301", "e\u0301"),
        ("z" + "\u0301" * 50 + "!", "z!"),
        ("", ""),
        (None, ""),
        (12, "12"),
        (ValueError("no\nway"), "no way"),
    ],
)
def test_clean_makes_one_harmless_line(text: object, expected: str) -> None:
    """Terminal escapes vanish, white space becomes single spaces, other values become their text."""
    assert clean(text) == expected


def test_clean_marks_what_it_cut() -> None:
    """Never longer than the limit, and an ellipsis says that something is missing."""
    assert clean("a" * 500) == "a" * 500
    assert clean("a" * 501) == "a" * 499 + "…"
    assert clean("ab cd", limit=4) == "ab…"
    assert clean("ab", limit=1) == "…"
    assert clean("ab", limit=0) == ""


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_clean_is_total_harmless_and_stable(text: str, limit: int) -> None:
    """For any text: within the limit, no control or format character, and cleaning twice changes nothing."""
    line = clean(text, limit=limit)
    assert len(line) <= limit
    assert not {"Cc", "Cs", "Co", "Zl", "Zp"} & {unicodedata.category(letter) for letter in line}
    assert clean(line, limit=limit) == line


def test_a_block_shows_what_it_hides() -> None:
    """Line breaks are drawn or counted, invisible characters counted, visible ones kept as they are."""
    assert escape_block("one\ntwo\r\n\nthree", 100) == "one ⏎ two ⏎⏎ three"
    assert escape_block("one" + "\n \n" * 5000 + "Cost: 0.00", 100) == "one <10000 line breaks> Cost: 0.00"
    assert escape_block("a\u202eb\u200b\u200b\ufeff", 100) == "a<1 invisible character>b<3 invisible characters>"
    assert escape_block("\x1b[2Ja", 100) == "<1 invisible character>[2Ja"
    assert escape_block("**bold** <b> [x](y)", 100) == "**bold** <b> [x](y)"
    assert escape_block(" a \t  b ", 100) == "a b"
    assert escape_block("abcdef", 4) == "abc…"


@given(st.text(), st.integers(min_value=0, max_value=200))
def test_a_block_is_one_line_for_any_text(text: str, limit: int) -> None:
    """Nothing in a prompt can begin a line of its own or exceed its share."""
    block = escape_block(text, limit)
    assert len(block) <= limit
    assert len(block.splitlines()) <= 1
    assert not {"Cc", "Cs", "Co", "Zl", "Zp"} & {unicodedata.category(letter) for letter in block}


def test_a_fingerprint_tells_keys_apart_and_shows_none() -> None:
    """Twelve hexadecimal digits of SHA-256, for any text."""
    assert fingerprint("abc") == "ba7816bf8f01"
    assert fingerprint(KEY) != fingerprint(KEY + "x")
    assert len(fingerprint("\ud800")) == 12


ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "reversed": lambda secret: secret[::-1],
    "percent": lambda secret: quote(secret, safe=""),
    "percent, lower case": lambda secret: "".join(
        part if part.isalnum() else quote(part, safe="").lower() for part in secret
    ),
    "form": quote_plus,
    "path": quote,
    "percent throughout": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in JSON-in-PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "hex": lambda secret: secret.encode().hex(),
    "HEX": lambda secret: secret.encode().hex().upper(),
    "spaced": " ".join,
    "wrapped": lambda secret: "\n".join(secret[at : at + 7] for at in range(0, len(secret), 7)),
    "in a frame": lambda secret: " │\n│ ".join(secret[at : at + 20] for at in range(0, len(secret), 20)),
    "coloured": "\x1b[1m".join,
    "zero-width": "\u200b".join,
} | {
    f"base64 {kind} after {before}": lambda secret, before=before, encode=encode: encode(
        b"x" * before + secret.encode() + b"yz"
    ).decode()
    for before in range(6)
    for kind, encode in {"std": base64.b64encode, "url": base64.urlsafe_b64encode}.items()
}

characters = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
keys = st.text(characters, min_size=8, max_size=80)


def shows(text: str, secret: str) -> bool:
    """Whether any spelling of the secret stands in the text, as a reader without line breaks would see it."""
    dense = "".join(text.split())
    return any(spelling in dense for spelling in variants(secret))


@cases("name", ENCODINGS)
@cases("key", [KEY, PLAIN_KEY, "Zx9?w/1+"])
def test_every_spelling_of_a_key_is_found_and_hidden(name: str, key: str) -> None:
    """Raw, percent-encoded, base64 at each position, hex, JSON, wrapped by lines, frames, colours: all hidden."""
    redactor = Redactor([key])
    text = f"before {ENCODINGS[name](key)} after"
    hidden = redactor.text(text)
    assert redactor.finds(text)
    assert not redactor.finds(hidden)
    assert HIDDEN in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    assert not shows(hidden, key)


def test_pieces_of_a_key_are_hidden_from_twelve_characters_on() -> None:
    """Twelve characters of a key are treated as the key, eleven are not."""
    redactor = Redactor([PLAIN_KEY])
    for start in range(len(PLAIN_KEY) - 12):
        assert redactor.text(f"<{PLAIN_KEY[start : start + 12]}>") == f"<{HIDDEN}>"
        assert redactor.text(f"<{PLAIN_KEY[start : start + 11]}>") == f"<{PLAIN_KEY[start : start + 11]}>"


def test_several_keys_are_hidden_and_everything_else_stays() -> None:
    """Neighbouring keys do not shadow each other, and ordinary text is returned unchanged."""
    other = "Jw5vE0uQ8yN2cK6r"
    redactor = Redactor([PLAIN_KEY, other])
    assert redactor.text(f"a {PLAIN_KEY}, {other}\n b") == f"a {HIDDEN}, {HIDDEN}\n b"
    assert redactor.text(PLAIN_KEY + other) == HIDDEN
    assert redactor.text("an ordinary\n\n  sentence │ here") == "an ordinary\n\n  sentence │ here"
    assert redactor.text("") == ""
    assert redactor.text("\n \t") == "\n \t"
    assert redactor.text(f"\n{PLAIN_KEY}\n") == f"\n{HIDDEN}\n"


def test_overlapping_short_spellings_are_hidden_once() -> None:
    """A key of eight characters has spellings under twelve; touching finds become one."""
    redactor = Redactor(["abcdefgh"])
    assert redactor.text("xabcdefghabcdefghx abcdefgh") == f"x{HIDDEN}x {HIDDEN}"


@cases("secrets", [[], [""], ["short"], ["a b c d e f"], [" \n "]])
def test_what_is_too_short_for_a_key_is_not_looked_for(secrets: list[str]) -> None:
    """An empty or tiny secret would shred every text, so it hides nothing."""
    redactor = Redactor(secrets)
    assert redactor.text("a short b c d e f text") == "a short b c d e f text"
    assert not redactor.finds("a short b c d e f text")


def test_a_redactor_shows_none_of_its_secrets() -> None:
    """Neither its text form nor an attribute dictionary gives a key away."""
    redactor = Redactor([PLAIN_KEY])
    assert repr(redactor) == str(redactor) == "Redactor(…)"
    assert not hasattr(redactor, "__dict__")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def plant(value: JsonValue, text: str) -> JsonValue:
    """The same value with the text planted in its strings and keys, and beside it."""
    if isinstance(value, str):
        return value + text + value
    if isinstance(value, list):
        return [text, *[plant(item, text) for item in value]]
    if isinstance(value, dict):
        return {text: text} | {key + text: plant(item, text) for key, item in value.items()}
    return [value, text]


@given(json_values, keys, st.sampled_from(sorted(ENCODINGS)))
@example([], "00000000", "raw")
@example([{"\x9b": None}], "0000000@", "JSON")
@example("\\u", "\\\\\\\\\\\\\\\\", "JSON")
def test_no_json_value_keeps_a_planted_key(value: JsonValue, key: str, encoding: str) -> None:
    """For any value and key in any spelling: gone from the text of the result, and redacting again changes nothing."""
    assume("keyhidden" not in key)
    redactor = Redactor([key])
    redacted = redactor.value(plant(value, ENCODINGS[encoding](key)))
    for text in strings(redacted):
        assert not shows(text.replace(HIDDEN, "\u2588"), key)
    assert redactor.value(redacted) == redacted


def strings(value: JsonValue) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    if isinstance(value, dict):
        return [*value, *[text for item in value.values() for text in strings(item)]]
    return []


@given(st.lists(st.text(max_size=30), max_size=4), st.text(), st.integers(0, 30), st.integers(0, 30))
def test_redaction_is_total_and_idempotent(secrets: list[str], text: str, start: int, length: int) -> None:
    """Any secrets, even ones with spaces or surrogates, and any text: no error, and once is enough."""
    redactor = Redactor(secrets)
    for planted in (text, *(f"{text}{secret[start : start + length]}{text}{secret}" for secret in secrets)):
        once = redactor.text(planted)
        assert redactor.text(once) == once


def test_numbers_and_shape_stay_and_bottomless_nesting_ends() -> None:
    """Only strings change; a value nested beyond any real reply is cut instead of overflowing the stack."""
    redactor = Redactor([PLAIN_KEY])
    value: JsonValue = {"a": [1, 2.5, None, True, "x"], PLAIN_KEY: {"b": PLAIN_KEY}}
    assert redactor.value(value) == {"a": [1, 2.5, None, True, "x"], HIDDEN: {"b": HIDDEN}}
    deep: JsonValue = "x"
    for _ in range(100_000):
        deep = [deep]
    cut = redactor.value(deep)
    for _ in range(100):
        assert isinstance(cut, list)
        cut = cut[0]
    assert cut == TOO_DEEP


def test_spellings_of_base64_depend_only_on_the_secret() -> None:
    """Each of the base64 pieces stands in the encoding of any longer text that holds the secret."""
    found = variants(PLAIN_KEY)
    for before, after in pairwise(range(7)):
        encoded = base64.b64encode(b"\xff" * before + PLAIN_KEY.encode() + b"\x00" * after).decode()
        assert any(spelling in encoded for spelling in found)
    assert {PLAIN_KEY, PLAIN_KEY[::-1], PLAIN_KEY.encode().hex(), PLAIN_KEY.encode().hex().upper()} <= found


@pytest.mark.slow
@cases(
    "piece", ["the quick brown fox \n", "x", PLAIN_KEY + " ", "a", "\x1b[", "\x1b]", "\x90", " \n", "\u0301"], ids=ascii
)
def test_a_long_text_takes_a_moment_whatever_it_holds(piece: str) -> None:
    """Linear for prose, for one long word, only keys, and only escape characters."""
    redactor = Redactor([PLAIN_KEY, KEY, "a" * 40, "Jw5vE0uQ"])
    size = 200_000
    text = piece * (size // len(piece))
    for work in (redactor.text, clean, lambda text: escape_block(text, 500)):
        started = process_time()
        work(text)
        # A quadratic search takes minutes; coverage alone makes a linear one several times slower.
        assert process_time() - started < 10
