"""What the gateways publish: every model is read, drafted and priced, and a hostile reply changes nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.prices import price_clip
from callsheet.core.catalogue.published import CatalogueRefused, Published, compare, overlay
from callsheet.core.gateway.protocol import CatalogueReader, HttpReply
from callsheet.core.payload.body import build_body
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.shot import INPUT_ROLES, KINDS, Kind, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.config.published_files import read_published
from callsheet.gateways import load_gateway
from callsheet.sandbox.published import load_data

PROMPT = "A red kite over dunes at dusk, slow pan."
URL = "https://example.com/{}.{}"
FAMILY_EXAMPLES = frozenset(
    {
        "seedance-2-fast",
        "wan2.6-image-to-video",
        "wan2.6-text-to-video",
        "wan2.6-video-to-video",
        "wan2.7-image-to-video",
        "wan2.7-reference-to-video",
        "wan2.7-text-to-video",
    }
)
"""PoYo publishes one list of examples for each of these families; some of them are not for the model that lists it."""


UNSAID = frozenset({"multi_prompt", "kling_elements", "video_url"})
"""What a shot cannot say: several prompts, named elements, a video to edit. Such a body is refused by these names."""


def reader(gateway: str) -> CatalogueReader:
    module = load_gateway(gateway)
    assert isinstance(module, CatalogueReader)
    return module


def poyo_reply(items: list[Any] | None = None, **changes: Any) -> bytes:
    catalogue = load_data("poyo_catalogue.json")
    data = {"items": catalogue["items"] if items is None else items, "next_cursor": None, "has_more": False} | changes
    return json.dumps({"code": 200, "data": data}).encode()


def evolink_reply(models: list[Any] | None = None, **meta: Any) -> bytes:
    rules = load_data("evolink_rules.json")
    return json.dumps(
        {"meta": {**rules["meta"], **meta}, "models": rules["models"] if models is None else models}
    ).encode()


def published(gateway: str, *pages: bytes) -> Published:
    return read_published(reader(gateway), gateway, url="https://example.com/", date="2026-11-28", pages=pages)


BOTH = (published("poyo", poyo_reply()), published("evolink", evolink_reply()))
CATALOGUE = overlay(load_catalogue(), BOTH)
ITEMS = {item["model_id"]: item for item in load_data("poyo_catalogue.json")["items"]}


def shot_of(card: ModelCard, kind: Kind) -> Shot:
    """A shot of that kind with as few inputs as the card asks for."""
    said: dict[str, Any] = {}
    taken = {role for field in card.input_fields(kind) for role in field.inputs}
    roles = [role for role in INPUT_ROLES if role in taken]
    wanted = {
        "image-to-video": ["first_frame"],
        "first-last-frame": ["first_frame", "last_frame"],
        "reference-to-video": [role for role in roles if role.startswith("reference_")][:1],
    }.get(kind, [])
    for role in wanted:
        least = max((rule.least or 1 for rule in card.rules_for(role)), default=1)  # type: ignore[arg-type]
        ending = {"reference_video": "mp4", "reference_audio": "mp3"}.get(role, "png")
        said[role] = [URL.format(number, ending) for number in range(least)]
    length = card.field_for("duration_seconds")
    if length is not None and length.required and length.fill is None:
        said["duration_seconds"] = 5
    return Shot.of(PROMPT, **said)


def drafts() -> Iterator[tuple[ModelCard, Kind]]:
    for item in BOTH:
        for model in item.models:
            card = CATALOGUE.card(item.gateway, model.model)
            assert card is not None
            yield from ((card, kind) for kind in card.kinds)


def test_every_listed_video_model_is_read() -> None:
    poyo, evolink = BOTH
    assert (len(poyo.models), poyo.skipped) == (len(ITEMS), ())
    assert (len(evolink.models), evolink.skipped) == (len(load_data("evolink_rules.json")["models"]), ())


def test_whatever_is_drafted_passes_the_published_schema() -> None:
    wrong = []
    count = 0
    for card, kind in drafts():
        if card.gateway != "poyo":
            continue
        verdict = check_shot(card, shot_of(card, kind), Hosts())
        body = build_body(card, verdict.corrected)
        errors = list(Draft202012Validator(ITEMS[card.model]["input_schema"]).iter_errors(body["input"]))
        count += 1
        if verdict.blocked or errors:
            wrong.append((card.id, kind, [str(item) for item in verdict.findings], [item.message for item in errors]))
    assert wrong == []
    assert count > 60


def test_what_is_listed_says_so_and_what_is_not_is_dropped() -> None:
    own = load_catalogue()
    for item in BOTH:
        for card in own.gateway(item.gateway).models:  # type: ignore[union-attr]
            after = CATALOGUE.card(item.gateway, card.model)
            assert after is not None
            if card.model in item.names:
                assert after.lifecycle.availability is not Availability.DROPPED
                assert after.lifecycle.evidence[0].date == "2026-11-28"
            else:
                assert after.lifecycle.availability is Availability.DROPPED


def test_each_example_of_a_model_is_recognised_as_its_own_and_accepted() -> None:
    wrong = []
    for model, item in ITEMS.items():
        card = CATALOGUE.card("poyo", model)
        assert card is not None
        if not card.kinds:
            continue
        for example in item["examples"]:
            found = recognise({"model": model, "input": json.loads(json.dumps(example))}, CATALOGUE)
            if found.card is not card:
                wrong.append((model, found.what))
                continue
            unsaid = UNSAID & {*example}
            if unsaid:
                named = {finding.field.rpartition(".")[2] for finding in found.findings}
                wrong += [] if unsaid <= named else [(model, f"{unsaid} is not named")]
                continue
            findings = (*found.findings, *check_shot(card, found.shot, Hosts()).findings)
            errors = [
                str(finding)
                for finding in findings
                if finding.severity == "error" and "begin with https" not in finding.rule
            ]
            if errors and model not in FAMILY_EXAMPLES:
                wrong.append((model, str(errors)))
    assert wrong == []


NUMBERS: dict[str, Callable[..., Any]] = {
    "multiply": lambda *numbers: math.prod(numbers, start=Decimal(1)),
    "add": lambda *numbers: sum(numbers),
    "subtract": lambda one, other: one - other,
    "divide": lambda one, other: one / other,
    "ceil": lambda number: number.to_integral_value(rounding="ROUND_CEILING"),
    "max": max,
    "min": min,
    "gt": lambda one, other: one > other,
    "eq": lambda one, other: one == other,
    "or": lambda *truths: any(truths),
}


def evaluate(node: dict[str, Any], values: dict[str, Any]) -> Any:
    """A second reading of the rules: by recursion over plain JSON, in decimals."""
    arguments = node.get("args", [])
    if node["op"] == "constant":
        return Decimal(node["value"]) if re.fullmatch(r"-?[0-9.]+", node["value"]) else node["value"]
    if node["op"] == "variable":
        return values[node["name"]]
    if node["op"] == "lookup":
        return Decimal(node["values"][evaluate(node["key"], values)])
    if node["op"] == "if":
        return evaluate(arguments[1 if evaluate(arguments[0], values) else 2], values)
    return NUMBERS[node["op"]](*(evaluate(argument, values) for argument in arguments))


def independent_price(model: dict[str, Any], values: dict[str, Any]) -> Decimal:
    """The price by that reading: each component rounded, at least its minimum; dollars, up to a millionth."""
    total = Decimal(0)
    for part in model["components"]:
        if "condition" in part and not evaluate(part["condition"], values):
            continue
        charge = evaluate(part["quantity_rule"], values) * Decimal(part["rate"]["uc"])
        rounded = charge.to_integral_value(rounding="ROUND_HALF_UP")
        total += max(rounded, Decimal(part["minimum_charge"]["uc"]))
    return (total / 680_000).quantize(Decimal("0.000001"), rounding="ROUND_CEILING")


def published_values(model: dict[str, Any], **said: Any) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for row in model.get("parameters", []):
        name, default = row["name"], row.get("default")
        value = said.get(name, default)
        if value is None:
            return None
        is_number = row["type"] in ("integer", "decimal")
        values[name] = Decimal(str(value)) if is_number else value
    return values


def test_a_hundred_prices_by_an_independent_reading() -> None:
    compared = 0
    for model in load_data("evolink_rules.json")["models"]:
        card = CATALOGUE.card("evolink", model["model_id"])
        assert card is not None
        qualities = next((row["values"] for row in model["parameters"] if row["name"] == "quality"), [None])
        for seconds in (4, 5, 6, 8, 10, 15):
            for quality in qualities:
                said: dict[str, Any] = {"duration_seconds": seconds}
                named = {"duration_seconds": seconds, **({"quality": quality} if quality else {})}
                values = published_values(model, **named)
                if values is None:
                    continue
                shot = Shot.of(PROMPT, **said, **({"resolution": quality} if quality else {}))
                bare = ModelCard(**{**_slots(card), "fields": (), "implied": {}})
                price = price_clip(bare, shot)
                assert price.usd == independent_price(model, values), (card.id, named)
                compared += 1
    assert compared >= 100


def _slots(card: ModelCard) -> dict[str, Any]:
    return {name: getattr(card, name) for name in card.__dataclass_fields__}


def first(models: list[Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(models[0]))
    return copied


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """EvoLink's reply with one model changed."""
    models = json.loads(json.dumps(load_data("evolink_rules.json")["models"]))
    change(models[0])
    return evolink_reply(models)


def component(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["components"][0]
    return found


def deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"op": "constant", "value": "1"}
    for _ in range(levels):
        node = {"op": "ceil", "args": [node]}
    return node


REFUSED = {
    "not JSON": ("evolink", b"{"),
    "HTML": ("evolink", b"<html>Sign in</html>"),
    "empty": ("evolink", b""),
    "a list": ("evolink", b"[]"),
    "null": ("poyo", b"null"),
    "no models": ("evolink", evolink_reply([])),
    "models is text": ("evolink", b'{"meta":{"currency":"USD","price_scope":"public_default"},"models":"x"}'),
    "another currency": ("evolink", evolink_reply(currency="CNY")),
    "an account's prices": ("evolink", evolink_reply(price_scope="account")),
    "NaN": ("evolink", evolink_reply().replace(b'"680', b'NaN,"680', 1) + b"NaN"),
    "an error in 200": ("poyo", b'{"code":500,"data":{"items":[]}}'),
    "no items": ("poyo", poyo_reply([])),
    "items is an object": ("poyo", b'{"code":200,"data":{"items":{},"has_more":false}}'),
    "more pages, no cursor": ("poyo", poyo_reply(has_more=True)),
    "a cursor that is a number": ("poyo", poyo_reply(has_more=True, next_cursor=7)),
    "half of it": ("poyo", poyo_reply()[:20_000]),
    "too many": ("poyo", poyo_reply([{"model_id": "x"}] * 5000)),
    "nested 5,000 deep": ("poyo", b'{"code":200,"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
    "APIXO's page": ("apixo", b"<!doctype html>"),
    "APIXO's empty index": ("apixo", b'{"models":[]}'),
}

SKIPPED: dict[str, Callable[[dict[str, Any]], object]] = {
    "an id that is a path": lambda model: model.update(model_id="../../etc/passwd"),
    "an id with a line break": lambda model: model.update(model_id="a\nb"),
    "an id of 500 characters": lambda model: model.update(model_id="a" * 500),
    "an id that is a number": lambda model: model.update(model_id=7),
    "an id used twice": lambda model: model.update(model_id="seedance-2.0-text-to-video"),
}

UNPRICED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no components": lambda model: model.update(components=[]),
    "components is text": lambda model: model.update(components="x"),
    "an unknown operation": lambda model: component(model).update(quantity_rule={"op": "exec", "args": []}),
    "a variable that is not declared": lambda model: component(model).update(
        quantity_rule={"op": "variable", "name": "__class__"}
    ),
    "a division by zero": lambda model: component(model).update(
        quantity_rule={"op": "divide", "args": [{"op": "constant", "value": "1"}, {"op": "constant", "value": "0"}]}
    ),
    "40 levels": lambda model: component(model).update(quantity_rule=deep(40)),
    "a number of 200 digits": lambda model: component(model)["rate"].update(uc="9" * 200),
    "a negative rate": lambda model: component(model)["rate"].update(uc="-76160"),
    "a negative minimum": lambda model: component(model)["minimum_charge"].update(uc="-1"),
    "a rate that is a float": lambda model: component(model)["rate"].update(uc=0.1),
    "a rate in words": lambda model: component(model)["rate"].update(uc="free"),
    "infinity": lambda model: component(model)["rate"].update(uc="Infinity"),
    "an exponent": lambda model: component(model)["rate"].update(uc="1e400"),
    "a negative quantity": lambda model: component(model).update(quantity_rule={"op": "constant", "value": "-5"}),
    "a quantity that is yes": lambda model: component(model).update(quantity_rule={"op": "constant", "value": True}),
    "two arguments too many": lambda model: component(model).update(
        quantity_rule={"op": "ceil", "args": [deep(0), deep(0)]}
    ),
    "an unknown rounding": lambda model: component(model)["rounding"].update(mode="bankers"),
    "a component that is not available": lambda model: component(model).update(pricing_status="hidden"),
    "a table without the row": lambda model: component(model).update(
        quantity_rule={"op": "lookup", "key": {"op": "variable", "name": "quality"}, "values": {"8k": "1"}}
    ),
    "a table with a negative row": lambda model: component(model).update(
        quantity_rule={"op": "lookup", "key": {"op": "variable", "name": "quality"}, "values": {"720p": "-1"}}
    ),
    "tiers that both apply": lambda model: component(model).update(
        tiers=[{"when": {"op": "constant", "value": "true"}, "multiplier": "1", **tier_amounts(model)}] * 2
    ),
    "a parameter that is a list": lambda model: model.update(parameters=[[]]),
    "values that are numbers": lambda model: model.update(parameters=[{"name": "quality", "values": [1]}]),
}


def tier_amounts(model: dict[str, Any]) -> dict[str, Any]:
    return {name: component(model)[name] for name in ("rate", "minimum_charge", "pricing_status")}


@pytest.mark.parametrize("name", REFUSED)
def test_a_reply_that_is_no_catalogue_is_refused_whole(name: str) -> None:
    gateway, body = REFUSED[name]
    with pytest.raises(CatalogueRefused):
        published(gateway, body)


@pytest.mark.parametrize("status", [301, 404, 500])
def test_another_status_is_no_catalogue(status: int) -> None:
    for gateway, body in (("poyo", poyo_reply()), ("evolink", evolink_reply())):
        with pytest.raises(CatalogueRefused):
            reader(gateway).read_catalogue(HttpReply(status, (), body))


@pytest.mark.parametrize("name", SKIPPED)
def test_one_model_that_cannot_be_read_is_skipped_and_named(name: str) -> None:
    found = published("evolink", changed(SKIPPED[name]))
    assert len(found.skipped) == 1
    assert len(found.models) == len(BOTH[1].models) - 1


@pytest.mark.parametrize("name", UNPRICED)
def test_a_rule_that_is_not_understood_is_no_price(name: str) -> None:
    found = published("evolink", changed(UNPRICED[name]))
    model = found.models[0].model
    card = overlay(Catalogue(load_catalogue().gateways), [found]).card("evolink", model)
    assert card is not None
    bare = ModelCard(**{**_slots(card), "fields": (), "implied": {}})
    assert price_clip(bare, Shot.of(PROMPT, duration_seconds=5, resolution="720p")).usd is None
    assert len(found.models) == len(BOTH[1].models)


def test_the_difference_names_what_changed() -> None:
    models = json.loads(json.dumps(load_data("evolink_rules.json")["models"]))
    gone = models.pop(1)["model_id"]
    component(models[0])["rate"]["uc"] = "1000000"
    models.append({**first(models), "model_id": "brand-new-text-to-video"})
    after = overlay(load_catalogue(), [published("evolink", evolink_reply(models))])
    before = CATALOGUE.gateway("evolink")
    found = compare(before, after.gateway("evolink"))  # type: ignore[arg-type]
    assert (found.new, found.gone) == (("brand-new-text-to-video",), (gone,))
    assert found.price == (models[0]["model_id"],)


def test_the_version_that_approvals_bind_changes_with_the_reply() -> None:
    versions = {
        load_catalogue().gateway("poyo").version,  # type: ignore[union-attr]
        CATALOGUE.gateway("poyo").version,  # type: ignore[union-attr]
        overlay(load_catalogue(), [published("poyo", poyo_reply() + b" ")]).gateway("poyo").version,  # type: ignore[union-attr]
    }
    assert len(versions) == 3


def test_every_kind_is_known() -> None:
    assert {kind for card, _ in drafts() for kind in card.kinds} <= {*KINDS}
