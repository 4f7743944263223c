"""Bodies from the documentation of PoYo and APIDot, which send what was asked below `input`."""

from __future__ import annotations

from pathlib import Path

import pytest

from card_cases import Example, errors_in, name_of, read_examples, refused_fields, sent_again


def examples(*, refused: bool) -> list[object]:
    """Each example with its gateway."""
    return [
        pytest.param(gateway, row, id=f"{gateway}-{name_of(row)}")
        for gateway in ("poyo", "apidot")
        for row in read_examples(Path(__file__).parent / f"{gateway}_examples.json", refused=refused)
    ]


@pytest.mark.parametrize(("gateway", "row"), examples(refused=False))
def test_a_documented_body_is_recognised_taken_and_sent_as_it_stands(gateway: str, row: Example) -> None:
    """Nothing that the example says is lost or changed; what it leaves open may be added."""
    assert errors_in(gateway, row) == set()
    assert refused_fields(gateway, row) == set()
    sent = sent_again(gateway, row)
    assert {name: sent[name] for name in row["input"]} == row["input"]


@pytest.mark.parametrize(("gateway", "row"), examples(refused=True))
def test_a_documented_body_for_another_id_or_a_use_that_is_not_covered_is_refused(gateway: str, row: Example) -> None:
    """Before anything is paid: by the program, and by the sandbox at the field that is wrong."""
    assert errors_in(gateway, row)
    assert row["refused"] in refused_fields(gateway, row)
