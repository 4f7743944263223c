"""The audit trail: any change of any entry shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.audit import FIRST_HASH, AuditEntry, build_entry, verify_chain
from callsheet.core.spending import find_consent, was_consented
from cases import cases

texts = st.text(max_size=12)
acts = st.lists(
    st.tuples(st.floats(0, 2e9), texts, texts, texts, st.dictionaries(texts, texts, max_size=2)), max_size=6
)


def chain(given_acts: list[tuple[float, str, str, str, dict[str, str]]]) -> list[AuditEntry]:
    """These acts, one after the other."""
    entries: list[AuditEntry] = []
    for at, actor, action, subject, detail in given_acts:
        before = entries[-1] if entries else None
        entries.append(build_entry(before, at=at, actor=actor, action=action, subject=subject, detail=detail))
    return entries


THREE = chain([(float(n), "terminal", "approved", f"sheet_{n}", {"price": "0.24 USD"}) for n in range(3)])


@given(acts)
def test_a_trail_as_it_was_written_holds(given_acts: list[tuple[float, str, str, str, dict[str, str]]]) -> None:
    """Whatever was written."""
    entries = chain(given_acts)
    verdict = verify_chain(entries, written=len(entries))
    assert (verdict.broken, verdict.entries) == (None, len(entries))
    assert verdict.latest == (entries[-1].hash if entries else FIRST_HASH)


@cases("name", [field.name for field in fields(AuditEntry)])
@cases("place", range(3))
def test_any_part_of_any_entry_that_changes_is_found(name: str, place: int) -> None:
    """And the verdict says where."""
    entries = list(THREE)
    value = getattr(entries[place], name)
    entries[place] = replace(entries[place], **{name: value + 1 if isinstance(value, int | float) else f"{value}x"})
    verdict = verify_chain(entries, written=3)
    assert verdict.broken in (place + 1, place + 2)
    assert verdict.problem
    assert verdict.latest == entries[verdict.broken - 1].hash


@cases("place", range(3))
def test_an_entry_that_is_gone_is_found(place: int) -> None:
    """The last one too, because it is known how many were written."""
    entries = [entry for number, entry in enumerate(THREE) if number != place]
    assert verify_chain(entries, written=3).broken is not None


def test_two_entries_that_changed_places_are_found() -> None:
    """Even with their numbers mended."""
    first, second, third = THREE
    swapped = [replace(second, seq=1), replace(first, seq=2), third]
    assert verify_chain(swapped, written=3).broken == 1


@pytest.mark.parametrize("place", range(2))
def test_an_entry_that_was_changed_and_sealed_anew_is_found_by_the_next_one(place: int) -> None:
    """Its own hash fits; the one after it still has the old one."""
    entries = list(THREE)
    before = entries[place - 1] if place else None
    entries[place] = build_entry(before, at=9.0, actor="desk", action="approved", subject="sheet_x", detail={})

    verdict = verify_chain(entries, written=3)

    assert (verdict.broken, verdict.problem) == (place + 2, f"entry {place + 2} does not follow the one before it")


def test_a_chain_that_was_built_anew_has_another_latest_hash() -> None:
    """A copy of the old one, kept elsewhere, shows it."""
    other = chain([(9.0, "desk", "approved", "sheet_x", {}), *((float(n), "a", "b", "c", {}) for n in range(2))])

    assert verify_chain(other, written=3).broken is None
    assert verify_chain(other, written=3).latest != verify_chain(THREE, written=3).latest


def test_the_hash_is_made_as_every_earlier_version_made_it() -> None:
    """SHA-256 of the JSON of the content in this order: a trail on disk must still verify."""
    first = build_entry(
        None, at=1.5, actor="terminal", action="approved", subject="sheet_é", detail={"b": "2", "a": "ü"}
    )
    second = build_entry(first, at=2.0, actor="desk", action="declined", subject="sheet_b", detail={})

    assert first.detail == '{"a": "\\u00fc", "b": "2"}'
    content = ["1", "1.5", '"terminal"', '"approved"', '"sheet_\\u00e9"', json.dumps(first.detail), f'"{FIRST_HASH}"']
    assert first.hash == hashlib.sha256(f"[{','.join(content)}]".encode()).hexdigest()
    assert (first.seq, second.seq, second.previous) == (1, 2, first.hash)
    assert (first.hash[:16], second.hash[:16]) == ("01ac0bebe427bcce", "4a3f172563c80b95")


# -------------------------------------------------------------------------------------------------- what a trail proves


def act(action: str, subject: str, **detail: str) -> tuple[float, str, str, str, dict[str, str]]:
    """One act of a person at a terminal."""
    return (1.0, "terminal", action, subject, detail)


YES, NO = act("approved", "s", digest="d"), act("declined", "s", digest="d")
OTHER_YES = act("approved", "s", digest="other")
AGAIN, SPENT, SPENT_2 = act("agreed_again", "s"), act("spent", "t1", sheet="s"), act("spent", "t2", sheet="s")


@pytest.mark.parametrize(
    ("acts", "unspent", "for_t1"),
    [
        ([], None, None),
        ([YES], 1, 1),
        ([OTHER_YES], None, None),
        ([YES, OTHER_YES], None, None),
        ([OTHER_YES, YES], 2, 2),
        ([YES, NO], None, None),
        ([YES, NO, YES], 3, 3),
        ([NO], None, None),
        ([SPENT], None, None),
        ([YES, SPENT], None, 1),
        ([YES, SPENT_2], None, None),
        ([YES, SPENT, SPENT_2], None, None),
        ([YES, SPENT, AGAIN], 3, 3),
        ([AGAIN], 1, 1),
    ],
)
def test_a_consent_counts_until_a_no_or_its_use_for_another_task(
    acts: list[tuple[float, str, str, str, dict[str, str]]], unspent: int | None, for_t1: int | None
) -> None:
    """For the sheet as it was then, and for nothing else."""
    entries = chain(acts)
    found = [find_consent(entries, digest="d"), find_consent(entries, digest="d", task_id="t1")]

    assert [item.seq if item else None for item in found] == [unspent, for_t1]


@pytest.mark.parametrize(
    ("acts", "t1", "without_task"),
    [
        ([], False, False),
        ([YES], False, False),
        ([YES, SPENT], True, True),
        ([SPENT, YES], False, False),
        ([OTHER_YES, SPENT], False, False),
        ([YES, NO, SPENT], False, False),
        ([YES, SPENT_2], False, True),
        ([YES, SPENT_2, SPENT], False, True),
        ([YES, SPENT_2, YES, SPENT], True, True),
        ([AGAIN], True, True),
        ([SPENT, AGAIN], False, False),
    ],
)
def test_a_use_was_consented_to_if_a_consent_precedes_it(
    acts: list[tuple[float, str, str, str, dict[str, str]]], t1: bool, without_task: bool
) -> None:
    """What a person does later does not mend it."""
    entries = chain(acts)
    assert was_consented(entries, digest="d", task_id="t1") is t1
    assert was_consented(entries, digest="d", task_id=None) is without_task


@pytest.mark.parametrize("detail", ["", "{", "[]", "null", '"d"', "[" * 100_000])
def test_a_consent_whose_details_cannot_be_read_is_none(detail: str) -> None:
    """It fits no sheet."""
    entries = [replace(chain([YES])[0], detail=detail)]
    assert find_consent(entries, digest="d") is None
