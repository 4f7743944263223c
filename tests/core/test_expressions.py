"""A published price rule is read strictly, bounded, and evaluated exactly; what is not understood has no price."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.expressions import (
    MOST_DEPTH,
    MOST_DIGITS,
    MOST_NODES,
    UC_PER_USD,
    Unpriced,
    evaluate_components,
    read_components,
)
from callsheet.core.shot import Scalar
from examples import examples

Rule = dict[str, Any]
NAMES = ("seconds", "quality", "sound", "count")


def number(value: str | int) -> Rule:
    return {"op": "constant", "value": str(value)}


def name(name: str) -> Rule:
    return {"op": "variable", "name": name}


def op(op: str, *args: Rule) -> Rule:
    return {"op": op, "args": list(args)}


def component(quantity: Rule, **changes: Any) -> Rule:
    """One component whose rate is a dollar, so that a price is its quantity."""
    return {
        "pricing_status": "available",
        "rate": {"uc": str(UC_PER_USD)},
        "minimum_charge": {"uc": "0"},
        "quantity_rule": quantity,
        "rounding": {"mode": "half_up", "point": "per_component_subtotal"},
        **changes,
    }


def rule(*components: Rule, **changes: Any) -> Rule:
    """A published model with these components."""
    parameters = [{"name": "seconds"}, {"name": "quality", "default": "720p"}, {"name": "sound"}, {"name": "count"}]
    return {"pricing_status": "available", "parameters": parameters, "components": list(components), **changes}


def price(published: Rule, said: Mapping[str, Scalar] | None = None) -> Decimal:
    return evaluate_components(read_components(published), (said or {}).get)


def cost(quantity: Rule, **said: Scalar) -> Decimal:
    return price(rule(component(quantity)), said)


# ----------------------------------------------------------------------------------------------------------- operations

TRUE, FALSE = op("eq", number(1), number(1)), op("eq", number(1), number(2))


def when(condition: Rule) -> Rule:
    return op("if", condition, number(1), number(2))


@pytest.mark.parametrize(
    ("quantity", "result"),
    [
        (number("2.5"), "2.5"),
        (op("add", number(1), number(2), number("0.5")), "3.5"),
        (op("subtract", number(5), number(2)), "3"),
        (op("multiply", number(2), number(3), number("0.5")), "3"),
        (op("divide", number(7), number(2)), "3.5"),
        (op("min", number(3), number(2), number(5)), "2"),
        (op("max", number(3), number(2), number(5)), "5"),
        (op("ceil", number("2.01")), "3"),
        (op("ceil", number(2)), "2"),
        (op("floor", number("2.99")), "2"),
        (op("clamp", number(9), number(3), number(5)), "5"),
        (op("clamp", number(1), number(3), number(5)), "3"),
        (op("clamp", number(4), number(3), number(5)), "4"),
        (when(op("lt", number(1), number(2))), "1"),
        (when(op("lt", number(2), number(2))), "2"),
        (when(op("lte", number(2), number(2))), "1"),
        (when(op("gt", number(2), number(2))), "2"),
        (when(op("gte", number(2), number(2))), "1"),
        (when(op("eq", number("2.0"), number(2))), "1"),
        (when(op("neq", number(2), number(2))), "2"),
        (when(op("neq", number(2), {"op": "constant", "value": "x"})), "1"),
        (when(op("and", TRUE, TRUE, TRUE)), "1"),
        (when(op("and", TRUE, FALSE)), "2"),
        (when(op("or", FALSE, TRUE)), "1"),
        (when(op("or", FALSE, FALSE)), "2"),
        (when(op("not", FALSE)), "1"),
        (when({"op": "constant", "value": True}), "1"),
        ({"op": "lookup", "key": number(8), "values": {"4": "1", "8": "3"}}, "3"),
    ],
    ids=str,
)
def test_every_operation_gives_its_value(quantity: Rule, result: str) -> None:
    """Exactly, in fractions."""
    assert cost(quantity) == Decimal(result)


@pytest.mark.parametrize(
    "quantity",
    [
        op("divide", number(1), number(0)),
        op("clamp", number(1), number(5), number(3)),
        op("add", number(1), {"op": "constant", "value": "x"}),
        op("add", number(1), {"op": "constant", "value": True}),
        op("subtract", number(1), number(2)),
        op("if", number(1), number(1), number(2)),
        op("and", number(1), TRUE),
        {"op": "lookup", "key": number(5), "values": {"4": "1"}},
        TRUE,
    ],
    ids=str,
)
def test_what_makes_no_sense_has_no_price(quantity: Rule) -> None:
    """A division by zero, an empty range, a word for a number, less than nothing, a row that is not there."""
    with pytest.raises(Unpriced):
        cost(quantity)


def test_a_branch_that_is_not_taken_may_make_no_sense() -> None:
    """Only what applies is evaluated."""
    assert cost(op("if", TRUE, number(1), op("divide", number(1), number(0)))) == 1


# ----------------------------------------------------------------------------------------------------- what a shot says


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ({}, "1"),
        ({"quality": "720p"}, "1"),
        ({"quality": "1080p"}, "2"),
        ({"quality": 720}, None),
    ],
)
def test_what_a_shot_leaves_open_is_the_rules_own_default(said: dict[str, Scalar], result: str | None) -> None:
    """A value that the rule does not know has no price."""
    quantity = {"op": "lookup", "key": name("quality"), "values": {"720p": "1", "1080p": "2"}}
    if result is None:
        with pytest.raises(Unpriced):
            cost(quantity, **said)
    else:
        assert cost(quantity, **said) == Decimal(result)


def test_a_value_that_nobody_says_has_no_price() -> None:
    """Without a default nothing is guessed, least of all zero."""
    with pytest.raises(Unpriced):
        cost(name("seconds"))
    assert cost(name("seconds"), seconds=8) == 8
    assert cost(name("seconds"), seconds=0) == 0


@pytest.mark.parametrize(("said", "result"), [(True, "2"), (False, "1"), ("true", "2"), ("false", "1")])
def test_yes_and_no_are_no_numbers(said: Scalar, result: str) -> None:
    """They decide, and can be looked up, but are never counted."""
    assert cost(op("if", name("sound"), number(2), number(1)), sound=said) == Decimal(result)
    assert cost({"op": "lookup", "key": name("sound"), "values": {"true": "2", "false": "1"}}, sound=said) == Decimal(
        result
    )
    with pytest.raises(Unpriced):
        cost(op("add", name("sound"), number(1)), sound=said)


def test_a_parameter_that_is_not_declared_is_refused_before_any_shot() -> None:
    """A rule that names what it does not declare is not understood."""
    with pytest.raises(Unpriced):
        read_components(rule(component(name("elsewhere"))))


# ------------------------------------------------------------------------------- components, tiers, rounding, the least


def test_a_price_is_the_sum_of_its_components() -> None:
    """Each with its condition."""
    both = rule(component(number(1)), component(name("seconds"), condition=op("gt", name("seconds"), number(4))))
    assert (price(both, {"seconds": 4}), price(both, {"seconds": 5})) == (1, 6)
    with pytest.raises(Unpriced):
        price(rule(component(number(1), condition=number(1))))


@pytest.mark.parametrize(
    ("point", "mode", "uc"),
    [
        ("per_component_subtotal", "half_up", 3),
        ("per_component_subtotal", "floor", 2),
        ("per_component_subtotal", "ceil", 3),
        ("per_quantity", "half_up", 3),
        ("per_quantity", "floor", 2),
        ("per_quantity", "ceil", 3),
        ("per_tier", "half_up", 4),
        ("per_tier", "floor", 2),
        ("per_tier", "ceil", 4),
    ],
)
def test_where_and_how_is_rounded(point: str, mode: str, uc: int) -> None:
    """1.7 times 1.5 micro-credits, at each point and in each way; the rest of a micro-credit is charged."""
    published = rule(component(number("1.7"), rate={"uc": "1.5"}, rounding={"mode": mode, "point": point}))
    charged = price(published) * UC_PER_USD
    assert uc == int(charged)


def test_the_least_is_charged_for_each_component() -> None:
    """However short the clip."""
    least = component(name("seconds"), minimum_charge={"uc": str(3 * UC_PER_USD)})
    assert [price(rule(least, least), {"seconds": seconds}) for seconds in (1, 3, 5)] == [6, 6, 10]


TIERS = [
    {
        "when": op("eq", name("quality"), {"op": "constant", "value": "1080p"}),
        "multiplier": "2",
        "rate": {"uc": str(2 * UC_PER_USD)},
        "minimum_charge": {"uc": str(9 * UC_PER_USD)},
    },
    {
        "when": op("gt", name("seconds"), number(10)),
        "multiplier": "0.5",
        "rate": {"uc": str(UC_PER_USD // 2)},
        "minimum_charge": {"uc": "0"},
    },
]


@pytest.mark.parametrize(
    ("quality", "seconds", "result"),
    [("720p", 8, "8"), ("1080p", 8, "16"), ("1080p", 2, "9"), ("720p", 12, "6"), ("1080p", 12, None)],
)
@pytest.mark.parametrize("point", ["per_component_subtotal", "per_tier", "per_quantity"])
def test_a_tier_has_its_own_rate_and_least(quality: str, seconds: int, result: str | None, point: str) -> None:
    """The one that applies counts; two at once have no price."""
    rounding = {"mode": "half_up", "point": point}
    published = rule(component(name("seconds"), tiers=TIERS, rounding=rounding))
    said: dict[str, Scalar] = {"quality": quality, "seconds": seconds}
    if result is None:
        with pytest.raises(Unpriced):
            price(published, said)
    else:
        assert price(published, said) == Decimal(result)


def test_a_price_is_rounded_up_to_a_millionth_of_a_dollar() -> None:
    """680,000 micro-credits are a dollar; what is reserved is never less than what is charged."""
    assert price(rule(component(number(1), rate={"uc": "1"}))) == Decimal("0.000002")
    assert price(rule(component(number(1), rate={"uc": "47600"}))) == Decimal("0.07")


# ------------------------------------------------------------------------------------------------------ what is refused


def deep(levels: int) -> Rule:
    quantity = number(1)
    for _ in range(levels):
        quantity = op("ceil", quantity)
    return quantity


def wide(nodes: int) -> Rule:
    """An expression of that many nodes, 25 beside each other at most."""
    if nodes == 1:
        return number(1)
    share, rest = divmod(nodes - 1, 25)
    sizes = [size for size in [share + 1] * rest + [share] * (25 - rest) if size]
    return op("add" if len(sizes) > 1 else "ceil", *map(wide, sizes))


def test_depth_nodes_and_digits_have_bounds() -> None:
    """At a bound it is still understood; the nodes of all components count together."""
    assert cost(deep(MOST_DEPTH)) == 1
    assert read_components(rule(component(wide(MOST_NODES))))
    assert cost(number("9." + "1" * (MOST_DIGITS - 1))) > 9
    for quantity in (deep(MOST_DEPTH + 1), wide(MOST_NODES + 1), number("9." + "1" * MOST_DIGITS)):
        with pytest.raises(Unpriced):
            cost(quantity)
    with pytest.raises(Unpriced):
        read_components(rule(component(wide(MOST_NODES)), component(number(1))))


def test_numbers_cannot_grow_without_end() -> None:
    """A product of many numbers, and a price beyond any clip's, end the evaluation."""
    big = number("9" * MOST_DIGITS)
    with pytest.raises(Unpriced):
        cost(op("multiply", *[op("multiply", *[big] * 32)] * 32))
    with pytest.raises(Unpriced):
        cost(op("add", number("99999999999"), number(1)))


SPOILED: dict[str, Rule] = {
    "no components": rule(),
    "components that are no list": rule(components={}),
    "too many components": rule(*[component(number(1))] * 201),
    "a component that is no object": rule(components=["x"]),
    "a component that is not available": rule(component(number(1), pricing_status="contact_us")),
    "no rounding": rule(component(number(1), rounding=None)),
    "an unknown way to round": rule(component(number(1), rounding={"mode": "even", "point": "per_quantity"})),
    "an unknown point": rule(component(number(1), rounding={"mode": "ceil", "point": "per_day"})),
    "a rate that is a number": rule(component(number(1), rate={"uc": 5})),
    "a rate below nothing": rule(component(number(1), rate={"uc": "-5"})),
    "a least below nothing": rule(component(number(1), minimum_charge={"uc": "-5"})),
    "no rate": rule(component(number(1), rate=None)),
    "no quantity": rule(component(None)),  # type: ignore[arg-type]
    "an unknown operation": rule(component(op("power", number(2), number(3)))),
    "an operation that is no text": rule(component({"op": 7})),
    "too few arguments": rule(component(op("add", number(1)))),
    "too many arguments": rule(component(op("divide", number(1), number(1), number(1)))),
    "arguments of a constant": rule(component({"op": "constant", "value": "1", "args": [number(1)]})),
    "arguments that are no list": rule(component({"op": "add", "args": {}})),
    "a lookup without a table": rule(component({"op": "lookup", "key": number(1)})),
    "a lookup without a key": rule(component({"op": "lookup", "values": {"1": "1"}})),
    "a table with a number below nothing": rule(
        component({"op": "lookup", "key": number(1), "values": {"1": "1", "2": "-1"}})
    ),
    "a table with a word": rule(component({"op": "lookup", "key": number(1), "values": {"1": "1", "2": "x"}})),
    "a constant that is a number": rule(component({"op": "constant", "value": 5})),
    "a long constant": rule(component({"op": "constant", "value": "x" * 101})),
    "a parameter without a name": rule(component(number(1)), parameters=[{}]),
    "a tier that is not available": rule(component(number(1), tiers=[{**TIERS[0], "pricing_status": "draft"}])),
    "a tier with a multiplier of nothing": rule(component(number(1), tiers=[{**TIERS[0], "multiplier": "0"}])),
    "a tier without a condition": rule(component(number(1), tiers=[{**TIERS[0], "when": None}])),
}


@pytest.mark.parametrize("published", SPOILED.values(), ids=SPOILED)
def test_what_is_not_understood_is_refused_as_a_whole(published: Rule) -> None:
    """A part that is not understood could be the dear one."""
    with pytest.raises(Unpriced):
        read_components(published)


@pytest.mark.parametrize(
    "text", ["1e5", "+1", "0x1", "1_000", "NaN", "Infinity", "", ".", "-", "1.2.3", "\u0661", " 1", "--1"]
)
def test_a_number_is_a_plain_decimal(text: str) -> None:
    """Another notation or script is none."""
    with pytest.raises(Unpriced):
        read_components(rule(component(number(1), rate={"uc": text})))


anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["1", "2.5"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["op", "args", "value", "name", "key", "values", "rate", "uc", "rounding", "mode", "point"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
quantities: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([number(0), number("0.5"), number(3), *map(name, NAMES), TRUE, FALSE]),
    lambda inner: st.builds(
        lambda kind, parts: op(kind, *parts),
        st.sampled_from(["add", "subtract", "multiply", "divide", "max", "ceil", "if", "clamp", "gt", "and", "not"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=15,
)


@given(
    st.one_of(quantities, anything), st.dictionaries(st.sampled_from(NAMES), st.one_of(st.integers(), st.booleans()))
)
@examples(200)
def test_a_rule_has_a_price_or_none_and_nothing_else(quantity: Any, said: dict[str, Scalar]) -> None:
    """Whatever a gateway publishes: a price within bounds, or `Unpriced`."""
    try:
        found = price(rule(component(quantity)), said)
    except Unpriced:
        return
    assert 0 <= found <= 10**8


@given(anything)
@examples(100)
def test_no_published_rule_makes_the_reader_raise_anything_else(published: Any) -> None:
    """A part in the wrong place is not understood."""
    for spoiled in ({"components": published}, rule(component(number(1)), parameters=published)):
        try:
            read_components(spoiled)
        except Unpriced:
            continue
