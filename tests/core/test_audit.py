"""The audit trail: any change of any entry shows."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.consent import FIRST_HASH, AuditEntry, build_entry, verify_chain
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
