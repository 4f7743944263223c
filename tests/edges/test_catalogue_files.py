"""The fact files that come with the package: complete, sourced, priced, and honest about the shutdown."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from callsheet import gateways
from callsheet.core.catalogue.cards import Availability, GatewayFacts, ModelCard
from callsheet.core.catalogue.fields import Field, neutral_value
from callsheet.core.catalogue.prices import price_clip
from callsheet.core.payload.body import build_body, present_fields
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import PARAMETERS, PLAIN, Kind, Scalar, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.gateways import GATEWAYS
from cases import cases
from shots import as_if_served, shot_of_kind

CATALOGUE = load_catalogue()
CARDS = [pytest.param(card, id=card.id) for card in CATALOGUE.cards]
FACTS = [pytest.param(facts, id=facts.id) for facts in CATALOGUE.gateways]
SORA = [pytest.param(card, id=card.id) for card in CATALOGUE.cards if card.family == "sora-2"]

EVERY_ID = {
    "poyo": {
        "sora-2-official",
        "sora-2-pro-official",
        "sora-2-beta",
        "sora-2",
        "sora-2-private",
        "sora-2-stable",
        "sora-2-pro",
        "sora-2-pro-private",
        "sora-2-svip",
        "sora-2-svip-stable",
        "sora-2-characters",
    },
    "apidot": {"sora-2-official", "sora-2-pro-official"},
    "apixo": {"sora-2", "sora-2-pro"},
    "evolink": {
        "sora-2-preview",
        "sora-2-pro-preview",
        "sora-2-beta-max",
        "sora-2",
        "sora-2-pro-remix",
        "sora-2-pro",
        "sora-character",
        "sora-2-character",
    },
}


def test_the_catalogue_is_read_once_and_in_order() -> None:
    """The order is that of the tuple; the second call reads nothing."""
    assert [facts.id for facts in CATALOGUE.gateways] == list(GATEWAYS)
    assert load_catalogue() is CATALOGUE


@cases("facts", FACTS)
def test_the_version_names_the_bytes(facts: GatewayFacts) -> None:
    """Twelve hex digits of the file's SHA-256."""
    raw = (Path(gateways.__file__).parent / f"{facts.id}.toml").read_bytes()
    assert facts.version == hashlib.sha256(raw).hexdigest()[:12]


def test_every_known_id_has_a_card() -> None:
    """Each Sora id that a gateway ever named, and no other of Sora's."""
    found = {facts.id: {card.model for card in facts.models if card.family == "sora-2"} for facts in CATALOGUE.gateways}
    assert found == EVERY_ID


def sources_used(facts: GatewayFacts) -> Iterator[str]:
    """Every key that a fact of this gateway names."""
    yield facts.callback.source
    yield from (facts.upload.source,) if facts.upload else ()
    yield from (error.source for error in facts.errors)
    for card in facts.models:
        yield from (field.source for field in card.fields)
        yield from (evidence.source for evidence in card.lifecycle.evidence)
        yield from (key for conflict in card.conflicts for key in conflict.sources)
        yield from (card.price.source, card.poll.source, card.retention.source, card.rate_limit.source)
        yield from (rule.source for rule in card.inputs)


@cases("facts", FACTS)
def test_every_source_is_used(facts: GatewayFacts) -> None:
    """A source that nothing names is a leftover; one that is named but missing the reader refuses."""
    assert set(sources_used(facts)) == set(facts.sources)
    assert all(source.url.startswith("https://") and source.title for source in facts.sources.values())


@cases("facts", FACTS)
def test_every_address_of_a_gateway_is_https(facts: GatewayFacts) -> None:
    """The key goes nowhere else."""
    assert facts.base_url.startswith("https://api.")
    assert not facts.base_url.endswith("/")
    assert facts.submit_path.startswith("/")
    assert facts.key_page.startswith("https://")


@cases("card", SORA)
def test_every_card_of_sora_says_that_openai_shut_sora_down(card: ModelCard) -> None:
    """The evidence, in OpenAI's words and with the date, and the summary that a person reads first."""
    facts = CATALOGUE.gateway(card.gateway)
    assert facts is not None
    shutdown = [evidence for evidence in card.lifecycle.evidence if evidence.date == "2026-09-24"]
    assert [facts.sources[evidence.source].authority for evidence in shutdown] == ["OpenAI"]
    assert "2026-09-24" in card.lifecycle.summary
    assert card.lifecycle.summary.count(". ") == 0


@cases("card", CARDS)
def test_no_card_claims_that_a_model_answers(card: ModelCard) -> None:
    """Nothing has been seen working after the shutdown."""
    assert card.lifecycle.availability is not Availability.LIVE


@cases("card", CARDS)
def test_evidence_is_newest_first(card: ModelCard) -> None:
    """Undated observations come last."""
    dates = [evidence.date for evidence in card.lifecycle.evidence]
    dated = [date for date in dates if date != "undated"]
    assert dates == sorted(dated, reverse=True) + ["undated"] * (len(dates) - len(dated))


@cases("card", CARDS)
def test_a_price_table_is_complete(card: ModelCard) -> None:
    """A known price answers for every length and resolution that the card allows; an unknown one says why."""
    if card.price.per == "unknown" or not card.kinds:
        assert card.price.note
        return
    for kind in card.kinds:
        for shot in every_shot(card, kind):
            price = price_clip(card, shot)
            assert price.amount is not None, (kind, dict(shot.parameters), dict(shot.options))
            assert price.known == (card.price.usd_per_unit is not None)


def every_shot(card: ModelCard, kind: Kind) -> Iterator[Shot]:
    """A shot for each combination of values that the price depends on, and with the length at its ends."""
    shot = shot_of_kind(card, kind)
    names = dict.fromkeys((*card.price.keys, "duration_seconds"))
    fields = [field for field in present_fields(card, shot) if {field.role, field.path[-1]} & names.keys()]
    for wires in itertools.product(*map(choices, fields)):
        said = {
            field.role: neutral_value(field, wire)
            for field, wire in zip(fields, wires, strict=True)
            if field.role in PARAMETERS
        }
        options = {field.path[-1]: wire for field, wire in zip(fields, wires, strict=True) if field.role == "option"}
        asked = replace(shot.having(**said), options={**shot.options, **options})
        if not check_shot(as_if_served(card), asked, Hosts()).blocked:
            yield asked


def choices(field: Field) -> tuple[Scalar, ...]:
    """The values that a field takes, or both ends of its range."""
    if field.kind == "boolean":
        return (True, False)
    parts = (field, *field.limits)
    ends = {end for part in parts for end in (part.minimum, part.maximum) if end is not None}
    return tuple(dict.fromkeys((*(value for part in parts for value in part.values), *sorted(ends))))


@cases("card", CARDS)
def test_what_is_filled_in_is_allowed_and_certain(card: ModelCard) -> None:
    """Length, ratio, resolution and size are written out, with the documented default where there is one."""
    for field in card.fields:
        if field.role not in PARAMETERS and field.role != "size":
            continue
        for kind in card.kinds:
            limited = field.under(shot_of_kind(card, kind))
            if field.role in (*PLAIN, "size") and field.exists_in(kind):
                assert limited.fill is not None
            assert limited.fill is None or limited.takes(limited.fill)
            assert limited.default is None or limited.fill in (None, limited.default)
            if field.role == "duration_seconds" and limited.default is None and limited.fill is not None:
                assert limited.fill == min(choices(limited))


@cases("card", CARDS)
def test_spellings_cover_the_values_they_explain(card: ModelCard) -> None:
    """A wire value that is spelled otherwise has its meaning, and the program's own values are documented ones."""
    for field in card.fields:
        if field.spelling:
            known = {"true", "false"} if field.kind == "boolean" else set(map(str, choices(field)))
            assert {wire for wire, _ in field.spelling} <= (known or {wire for wire, _ in field.spelling})
        assert not field.values or {value for _, value in field.fixed} <= set(field.values)


@cases("card", CARDS)
def test_no_alias_is_another_fields_name(card: ModelCard) -> None:
    """A wrong name leads to one field."""
    names = [field.path[-1] for field in card.fields]
    aliases = [alias for field in card.fields for alias in field.aliases]
    assert len(set(names)) == len(names)
    assert len(set(aliases)) == len(aliases)
    assert not set(names) & set(aliases)


@cases(
    ("card", "kind"),
    [
        pytest.param(card, kind, id=f"{kind}-{card.id}")
        for card in CATALOGUE.cards
        if card.lifecycle.availability != "dropped"
        for kind in card.kinds
    ],
)
def test_the_plainest_shot_is_valid_and_says_everything(card: ModelCard, kind: Kind) -> None:
    """With only a prompt and the inputs of its kind the payload names every choice that the price depends on."""
    shot = shot_of_kind(card, kind)
    assert [str(finding) for finding in check_shot(card, shot, Hosts()).findings if finding.severity == "error"] == []
    body = build_body(card, shot)
    written = {field.role for field in card.fields if reach(body, field.path) is not None}
    wanted = {field.role for field in present_fields(card, shot)} & {"model", "prompt", "size", *PLAIN}
    assert wanted <= written
    assert ("input" in written) == bool(shot.inputs)


def reach(body: object, path: tuple[str, ...]) -> object:
    """The value at a path of a body."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


@cases("card", CARDS)
def test_a_card_whose_body_is_not_known_offers_no_mode(card: ModelCard) -> None:
    """Nothing can be drawn up for it."""
    assert bool(card.kinds) == (card.field_for("prompt") is not None)
    assert not card.kinds or card.lifecycle.summary


@cases("card", CARDS)
def test_what_is_not_documented_is_said_to_be_so(card: ModelCard) -> None:
    """A missing figure comes with a note."""
    assert card.retention.result_hours is not None or card.retention.note
    assert card.rate_limit.requests_per_minute is not None or card.rate_limit.note
    assert card.rate_limit.assumed_per_minute <= (card.rate_limit.requests_per_minute or 60)


def card(gateway_id: str, model: str) -> ModelCard:
    """A card that must exist."""
    found = CATALOGUE.card(gateway_id, model)
    assert found is not None
    return found


def test_conflicting_sources_are_settled_so_that_each_is_satisfied() -> None:
    """The choices that a payload or a bill depends on."""
    pro = card("poyo", "sora-2-pro-official")
    ratio = pro.field_for("aspect_ratio")
    assert ratio is not None
    image = Shot.of(first_frame="https://example.com/a.png")
    assert (ratio.under(Shot()).fill, ratio.under(image).fill) == ("16:9", "auto")
    assert card("poyo", "sora-2-official").field_for("resolution") is None
    assert {c.retention.result_hours for c in CATALOGUE.cards if c.gateway == "poyo"} == {24}
    provider = next(f for f in card("apixo", "sora-2").fields if f.name == "provider")
    assert provider.fixed == (("always", "official"),)
    assert card("apixo", "sora-2").rate_limit.requests_per_minute == 10
    preview = card("evolink", "sora-2-preview")
    assert preview.field_for("aspect_ratio").values == ("16:9", "9:16")  # type: ignore[union-attr]
    assert price_clip(preview, Shot.of(duration_seconds=12)).usd is not None
    assert str(price_clip(preview, Shot.of(duration_seconds=12))) == "1.016 USD"
    assert all(pair.conflicts for pair in (pro, preview, card("apixo", "sora-2"), card("apidot", "sora-2-official")))
