"""What the tests of a gateway's cards share: the bodies that its pages show, read and sent as the program would."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.catalogue.prices import Price, price_clip
from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.sandbox.checks import check_body

CATALOGUE = load_catalogue()
URL = "https://example.com/"
FIRST, LAST = {"first_frame": f"{URL}first.png"}, {"last_frame": f"{URL}last.png"}

Example = dict[str, Any]


def read_examples(file: Path, *, refused: bool) -> list[Example]:
    """The documented bodies that the card takes, or those that it does not, each with the field that is `refused`."""
    return [row for row in json.loads(file.read_text(encoding="utf-8")) if ("refused" in row) is refused]


def name_of(row: Example) -> str:
    """A test's id: the model and the first words of the prompt."""
    return f"{row['model']}: {row['input'].get('prompt', '')[:24]}"


def card_of(gateway: str, model: str) -> ModelCard:
    """That card."""
    card = CATALOGUE.card(gateway, model)
    assert card is not None
    return card


def body_of(row: Example) -> Example:
    """The whole body of an example."""
    return {"model": row["model"], "input": row["input"]}


def errors_in(gateway: str, row: Example) -> set[str]:
    """The fields that are wrong in an example: as a payload, and as the shot that it says."""
    found = recognise(body_of(row), CATALOGUE, gateway=gateway)
    assert found.card is card_of(gateway, row["model"])
    findings = (*found.findings, *check_shot(found.card, found.shot, Hosts()).findings)
    return {finding.field for finding in findings if finding.severity == "error"}


def refused_fields(gateway: str, row: Example) -> set[str]:
    """The fields for which the sandbox refuses an example."""
    return {violation.field for violation in check_body(card_of(gateway, row["model"]), body_of(row))}


def sent_again(gateway: str, row: Example) -> Example:
    """The `input` of the body that the program sends for the shot that an example says."""
    found = recognise(body_of(row), CATALOGUE, gateway=gateway)
    assert found.card is not None
    sent = build_body(found.card, found.shot)["input"]
    assert isinstance(sent, dict)
    return sent


def pictures(count: int) -> dict[str, list[str]]:
    """So many reference images."""
    return {"reference_image": [f"{URL}{number}.png" for number in range(count)]}


def clips(count: int) -> dict[str, list[str]]:
    """So many reference videos."""
    return {"reference_video": [f"{URL}{number}.mp4" for number in range(count)]}


def errors_of(gateway: str, model: str, said: Example) -> set[str]:
    """The fields that are wrong in a shot."""
    findings = check_shot(card_of(gateway, model), Shot.of("A cat walks along the beach.", **said), Hosts()).findings
    return {finding.field for finding in findings if finding.severity == "error"}


def price_of(gateway: str, model: str, said: Example) -> Price:
    """The price of a shot that the card takes without an error, and whose body the sandbox takes."""
    card, shot = card_of(gateway, model), Shot.of("A cat walks along the beach.", **said)
    assert errors_of(gateway, model, said) == set()
    assert check_body(card, build_body(card, shot)) == ()
    return price_clip(card, shot)


def assert_price(gateway: str, model: str, said: Example, amount: str, usd: str) -> None:
    """Credits and dollars, exactly."""
    price = price_of(gateway, model, said)
    assert (price.amount, price.usd) == (Decimal(amount), Decimal(usd))
