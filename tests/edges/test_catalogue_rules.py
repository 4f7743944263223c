"""The reader of fact files is strict: what it does not understand is a mistake, never a guess."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from callsheet.core.catalogue import Availability, Catalogue, Evidence
from callsheet.edges.config.catalogue_files import CatalogueMistake, read_facts
from cases import cases

Table = dict[str, Any]


def facts_table() -> Table:
    """The smallest file with something of everything."""
    return {
        "id": "gate",
        "name": "Gate",
        "base_url": "https://api.example.com",
        "submit_path": "/submit",
        "key_env": "GATE_API_KEY",
        "key_page": "https://example.com/keys",
        "docs": "https://example.com/docs",
        "idempotency_header": "Idempotency-Key",
        "result_hosts": ["cdn.example.com"],
        "as_of": "2026-01-02",
        "sources": {
            "page": {
                "title": "A page",
                "url": "https://example.com",
                "date": "2026-01-01",
                "authority": "gateway",
            },
        },
        "evidence": [{"date": "2026-09-24", "text": "Shut down.", "source": "page"}],
        "conflicts": [{"about": "x", "sources": ["page"], "choice": "y"}],
        "poll": {"first_after_seconds": 10, "every_seconds": 2.5, "usual_seconds": [60, 90], "source": "page"},
        "retention": {"result_hours": 24, "source": "page"},
        "rate_limit": {"assumed_per_minute": 60, "source": "page"},
        "callback": {"max_length": 2048, "answer_within_seconds": 10, "signature": "none", "source": "page"},
        "errors": [{"status": 400, "code": "bad", "meaning": "wrong", "advice": "fix it", "source": "page"}],
        "models": [model_table()],
    }


def model_table() -> Table:
    """One model with a field of each kind."""
    return {
        "id": "sora",
        "title": "Sora",
        "kinds": ["text-to-video", "image-to-video"],
        "fields": [
            {"path": "model", "role": "model", "kind": "string", "required": True, "source": "page"},
            {
                "path": "input.size",
                "role": "size",
                "kind": "string",
                "only": "text-to-video",
                "values": ["1280*720"],
                "fill": "1280*720",
                "spelling": {"1280*720": {"aspect_ratio": "16:9", "resolution": "720p"}},
                "aliases": ["dimensions"],
                "source": "page",
            },
            {
                "path": "input.prompt",
                "role": "prompt",
                "kind": "string",
                "min_length": 1,
                "max_length": 5,
                "unit": "tokens",
                "source": "page",
            },
            {"path": "mode", "role": "fixed", "kind": "string", "fixed": {"always": "x"}, "source": "page"},
        ],
        "image": {"max_bytes": 1, "formats": [".png"], "source": "page"},
        "price": {
            "kind": "fixed",
            "unit": "credits",
            "amounts": {"any": "40"},
            "usd_per_unit": "0.005",
            "as_of": "2026-01-01",
            "source": "page",
        },
        "lifecycle": {
            "availability": "unverified",
            "summary": "Listed last on 2026-01-01.",
            "evidence": [
                {"date": "undated", "text": "Has a page.", "source": "page"},
                {"date": "2026-10-20", "text": "Gone.", "source": "page"},
            ],
        },
        "notes": ["A note."],
    }


def test_a_whole_file_becomes_values() -> None:
    """Every part is read into its place."""
    facts = read_facts(facts_table(), "abc")
    assert (facts.version, facts.idempotency_header, facts.result_hosts) == (
        "abc",
        "Idempotency-Key",
        ("cdn.example.com",),
    )
    (card,) = facts.models
    assert card.price.amounts == {"any": Decimal(40)}
    assert card.price.usd_per_unit == Decimal("0.005")
    assert card.poll.usual_seconds == (60.0, 90.0)
    assert card.lifecycle.availability is Availability.UNVERIFIED
    size = card.field_for("size")
    assert size is not None
    assert size.path == ("input", "size")
    assert size.spelling == (("1280*720", (("aspect_ratio", "16:9"), ("resolution", "720p"))),)
    assert card.fields[3].fixed == (("always", "x"),)


def test_what_the_gateway_says_once_is_true_of_each_model() -> None:
    """Shared evidence is sorted in, newest first and undated last; shared conflicts follow the model's own."""
    table = facts_table()
    table["models"][0]["conflicts"] = [{"about": "own", "sources": ["page"], "choice": "z"}]
    (card,) = read_facts(table, "abc").models
    assert card.lifecycle.evidence == (
        Evidence("2026-10-20", "Gone.", "page"),
        Evidence("2026-09-24", "Shut down.", "page"),
        Evidence("undated", "Has a page.", "page"),
    )
    assert [conflict.about for conflict in card.conflicts] == ["own", "x"]


def test_a_model_inherits_what_it_does_not_say_itself() -> None:
    """Poll, retention and rate limit come from the gateway unless the model has its own."""
    table = facts_table()
    table["models"][0]["retention"] = {"source": "page", "note": "not documented"}
    (card,) = read_facts(table, "abc").models
    assert card.retention.result_hours is None
    assert card.rate_limit.assumed_per_minute == 60


def test_a_model_may_share_the_fields_of_an_earlier_one() -> None:
    """The same fields are written once."""
    table = facts_table()
    twin = copy.deepcopy(table["models"][0]) | {"id": "twin", "fields_of": "sora"}
    del twin["fields"]
    del twin["image"]
    table["models"].append(twin)
    first, second = read_facts(table, "abc").models
    assert second.fields == first.fields
    assert second.image is None


def test_what_is_not_known_is_none() -> None:
    """An unknown price has no amounts, and a gateway may have nothing to share."""
    table = facts_table()
    del table["evidence"]
    del table["conflicts"]
    del table["poll"]["usual_seconds"]
    table["models"][0]["price"] = {"kind": "unknown", "as_of": "undated", "source": "page"}
    (card,) = read_facts(table, "abc").models
    assert not card.price.amounts
    assert card.price.usd_per_unit is None
    assert card.poll.usual_seconds is None
    assert card.poll.least_every_seconds is None
    assert card.poll.usual_by_length == ()
    assert card.conflicts == ()


def test_the_usual_time_can_depend_on_the_length() -> None:
    """A span for each length, next to the model's own, and the shortest interval between two reads."""
    table = facts_table()
    table["poll"] |= {"usual_by_length": {"4": [60, 70], "8": [70, 90]}, "least_every_seconds": 2}
    (card,) = read_facts(table, "abc").models
    assert card.poll.usual_by_length == ((4, (60.0, 70.0)), (8, (70.0, 90.0)))
    assert card.poll.least_every_seconds == 2.0


@cases("poll", [{"usual_seconds": [90, 60]}, {"usual_by_length": {"4": [0, 60]}}, {"least_every_seconds": 3}])
def test_times_that_make_no_sense_are_a_mistake(poll: Table) -> None:
    """A span runs from low to high, and the shortest interval is no longer than the usual one."""
    table = facts_table()
    table["poll"] |= poll
    with pytest.raises(CatalogueMistake):
        read_facts(table, "abc")


def model(table: Table) -> Table:
    """The one model of the table."""
    return table["models"][0]  # type: ignore[no-any-return]


MISTAKES: dict[str, Callable[[Table], object]] = {
    "a typo in a gateway key": lambda t: t.update(nmae="x"),
    "a typo in a model key": lambda t: model(t).update(nots=[]),
    "a typo in a field key": lambda t: model(t)["fields"][0].update(valeus=[]),
    "a typo in a source": lambda t: t["sources"]["page"].update(titel="x"),
    "a typo in a price": lambda t: model(t)["price"].update(amount={}),
    "a typo in an error": lambda t: t["errors"][0].update(mening="x"),
    "a typo in the callback rule": lambda t: t["callback"].update(retry="x"),
    "a typo in the image rule": lambda t: model(t)["image"].update(format=[]),
    "a typo in the poll advice": lambda t: t["poll"].update(first=1),
    "a typo in the retention": lambda t: t["retention"].update(hours=1),
    "a typo in the rate limit": lambda t: t["rate_limit"].update(rpm=1),
    "a typo in the lifecycle": lambda t: model(t)["lifecycle"].update(sumary="x"),
    "a typo in the evidence": lambda t: t["evidence"][0].update(dat="x"),
    "a typo in a conflict": lambda t: t["conflicts"][0].update(abuot="x"),
    "a missing gateway key": lambda t: t.pop("base_url"),
    "a missing model key": lambda t: model(t).pop("title"),
    "a missing default": lambda t: t.pop("poll"),
    "a missing source": lambda t: t["retention"].pop("source"),
    "an unknown source": lambda t: t["retention"].update(source="elsewhere"),
    "an unknown source of a field": lambda t: model(t)["fields"][0].update(source="elsewhere"),
    "an unknown source of a conflict": lambda t: t["conflicts"][0].update(sources=["elsewhere"]),
    "an unknown authority": lambda t: t["sources"]["page"].update(authority="rumour"),
    "a wrong type": lambda t: t.update(name=7),
    "a list with a number among texts": lambda t: t.update(result_hosts=[7]),
    "a date that is none": lambda t: t.update(as_of="last week"),
    "an unknown kind of clip": lambda t: model(t).update(kinds=["remix"]),
    "an unknown role": lambda t: model(t)["fields"][0].update(role="style"),
    "an unknown kind": lambda t: model(t)["fields"][0].update(kind="number"),
    "an unknown unit": lambda t: model(t)["fields"][2].update(unit="words"),
    "a field for an unknown kind of clip": lambda t: model(t)["fields"][1].update(only="remix"),
    "an unknown situation": lambda t: model(t)["fields"][3].update(fixed={"sometimes": "x"}),
    "fields and the name of fields": lambda t: model(t).update(fields_of="sora"),
    "fields of a later model": lambda t: (model(t).pop("fields"), model(t).update(fields_of="later")),
    "the same model twice": lambda t: t["models"].append(copy.deepcopy(model(t))),
    "an unknown availability": lambda t: model(t)["lifecycle"].update(availability="maybe"),
    "a claim without evidence": lambda t: (t.pop("evidence"), model(t)["lifecycle"].update(evidence=[])),
    "a known price without amounts": lambda t: model(t)["price"].update(amounts={}),
    "an unknown price with amounts": lambda t: model(t)["price"].update(kind="unknown"),
    "an amount that is a fraction in binary": lambda t: model(t)["price"].update(amounts={"any": 0.1}),
    "an amount that is no number": lambda t: model(t)["price"].update(amounts={"any": "much"}),
    "an amount without end": lambda t: model(t)["price"].update(amounts={"any": "Infinity"}),
    "an amount below nothing": lambda t: model(t)["price"].update(usd_per_unit="-1"),
}


@cases("spoil", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_fact_file_is_refused(spoil: Callable[[Table], object]) -> None:
    """A typo must fail a test instead of silently changing a payload."""
    table = facts_table()
    spoil(table)
    with pytest.raises(CatalogueMistake):
        read_facts(table, "abc")


def test_a_mistake_says_file_place_and_rule() -> None:
    """Each of several mistakes is a line of its own."""
    table = facts_table()
    model(table)["fields"][0].update(valeus=[])
    table["result_hosts"] = [7]
    with pytest.raises(CatalogueMistake) as caught:
        read_facts(table, "abc")
    places = {tuple(line.split(": ")[:2]) for line in str(caught.value).splitlines()}
    assert places == {("gate.toml", "models.0.fields.0.valeus"), ("gate.toml", "result_hosts.0")}


def test_the_known_source_rule_names_its_place() -> None:
    """A rule between two places of a file is reported where the fact is."""
    table = facts_table()
    model(table)["fields"][1].update(source="elsewhere")
    with pytest.raises(CatalogueMistake, match=r"gate\.toml: models\.0\.fields\.1: .*'elsewhere'"):
        read_facts(table, "abc")


def test_a_catalogue_finds_gateways_cards_and_sources() -> None:
    """What is not there is None, never an error."""
    catalogue = Catalogue((read_facts(facts_table(), "abc"),))
    (card,) = catalogue.cards
    assert card.id == "gate/sora"
    assert catalogue.card("gate", "sora") is card
    assert catalogue.card("gate", "other") is None
    assert catalogue.card("other", "sora") is None
    source = catalogue.source(card, "page")
    assert source is not None
    assert source.title == "A page"
    assert catalogue.source(card, "elsewhere") is None
    assert Catalogue(()).source(card, "page") is None
    assert card.field_for("callback") is None


def test_a_field_tells_what_holds_in_each_mode() -> None:
    """Values and fillings may differ with an image; a field may exist in one mode only."""
    table = facts_table()
    model(table)["fields"].append(
        {
            "path": "ratio",
            "role": "aspect_ratio",
            "kind": "string",
            "values": ["16:9"],
            "values_with_image": ["auto", "16:9"],
            "fill": "16:9",
            "fill_with_image": "auto",
            "source": "page",
        }
    )
    (card,) = read_facts(table, "abc").models
    ratio, size = card.field_for("aspect_ratio"), card.field_for("size")
    assert ratio is not None
    assert size is not None
    assert (ratio.name, size.name) == ("ratio", "input.size")
    assert (ratio.allowed("text-to-video"), ratio.allowed("image-to-video")) == (("16:9",), ("auto", "16:9"))
    assert (ratio.filled("text-to-video"), ratio.filled("image-to-video")) == ("16:9", "auto")
    assert (size.exists_in("text-to-video"), size.exists_in("image-to-video")) == (True, False)
    assert size.filled("image-to-video") == "1280*720"
