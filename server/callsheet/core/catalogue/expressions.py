"""Price rules that a gateway publishes as expressions: read strictly, bounded, and evaluated exactly in fractions.

The shape is EvoLink's `GET /v1/catalog/pricing-rules?view=full` of 2026-10-10: a model has parameters and components. A
component has a rate in `uc` (680,000 to the dollar), a minimum charge, a quantity as an expression over the parameters,
perhaps a condition and tiers, and rounds. Nothing of a rule is ever executed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from callsheet.core.shot import JsonValue, Scalar, format_word

UC_PER_USD = 680_000
MOST_DEPTH = 32
MOST_NODES = 10_000
MOST_DIGITS = 30
MOST_UC = 10**13

Value = Fraction | str | bool
LookUp = Callable[[str], Scalar | None]


class Unpriced(ValueError):
    """The rule cannot be read or evaluated: the price is unknown."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A node: `value` of a constant, `name` of a variable, `table` of a lookup, whose key is the one argument."""

    op: str
    args: tuple[Expression, ...] = ()
    value: str = ""
    name: str = ""
    table: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter of a rule: the value that it assumes ("" for none), and those it knows (none: any)."""

    name: str
    default: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tier:
    """The rate and minimum charge, in `uc`, that hold under a condition. The rate includes the multiplier."""

    when: Expression
    multiplier: str
    rate: str
    minimum: str


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a price: quantity times rate, at least the minimum charge, rounded to whole `uc`."""

    quantity: Expression
    rate: str
    minimum: str
    mode: Literal["half_up", "ceil", "floor"]
    point: Literal["per_quantity", "per_tier", "per_component_subtotal"]
    declared: tuple[Declared, ...]
    condition: Expression | None = None
    tiers: tuple[Tier, ...] = ()


_ARITY: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("constant", "variable"), (0, 0)),
    **dict.fromkeys(("lookup", "ceil", "floor", "not"), (1, 1)),
    **dict.fromkeys(("subtract", "divide", "eq", "neq", "lt", "lte", "gt", "gte"), (2, 2)),
    **dict.fromkeys(("add", "multiply", "min", "max", "and", "or"), (2, 32)),
    **dict.fromkeys(("if", "clamp"), (3, 3)),
}


def read_components(model: Mapping[str, JsonValue]) -> tuple[Component, ...]:
    """The components of one published model; raises `Unpriced` when any part of them is not understood."""
    if model.get("pricing_status") != "available":
        raise Unpriced("its price is not available")
    declared = {item.name: item for item in map(_declared, _rows(model.get("parameters") or []))}
    budget = [MOST_NODES]
    components = tuple(_component(row, declared, budget) for row in _rows(model.get("components")))
    if not components:
        raise Unpriced("it has no components")
    return components


def _declared(row: Mapping[str, JsonValue]) -> Declared:
    values = row.get("values") or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Unpriced("a parameter has values that are not understood")
    known = ("true", "false") if row.get("type") == "boolean" else tuple(map(str, values))
    default = row.get("default")
    return Declared(_text(row, "name"), "" if default is None else format_word(default), known)


def _component(row: Mapping[str, JsonValue], declared: Mapping[str, Declared], budget: list[int]) -> Component:
    if row.get("pricing_status") != "available":
        raise Unpriced("a component is not available")
    rounding = _object(row.get("rounding"))
    mode, point = rounding.get("mode"), rounding.get("point")
    if mode not in ("half_up", "ceil", "floor"):
        raise Unpriced("its rounding is not known")
    if point not in ("per_quantity", "per_tier", "per_component_subtotal"):
        raise Unpriced("its rounding is not known")
    condition = row.get("condition")
    rate, minimum = _amounts(row)
    return Component(
        quantity=_expression(row.get("quantity_rule"), declared, budget, 0),
        rate=rate,
        minimum=minimum,
        mode=mode,  # type: ignore[arg-type]
        point=point,  # type: ignore[arg-type]
        declared=tuple(declared.values()),
        condition=None if condition is None else _expression(condition, declared, budget, 0),
        tiers=tuple(_tier(tier, declared, budget) for tier in _rows(row.get("tiers") or [])),
    )


def _tier(row: Mapping[str, JsonValue], declared: Mapping[str, Declared], budget: list[int]) -> Tier:
    if row.get("pricing_status", "available") != "available":
        raise Unpriced("a tier is not available")
    rate, minimum = _amounts(row)
    multiplier = row.get("multiplier", "1")
    if _number(multiplier) <= 0:
        raise Unpriced("a multiplier is not positive")
    return Tier(_expression(row.get("when"), declared, budget, 0), str(multiplier), rate, minimum)


def _amounts(row: Mapping[str, JsonValue]) -> tuple[str, str]:
    rate, minimum = _text(_object(row.get("rate")), "uc"), _text(_object(row.get("minimum_charge")), "uc")
    if _number(rate) < 0 or _number(minimum) < 0:
        raise Unpriced("an amount is negative")
    return rate, minimum


def _expression(node: JsonValue, declared: Mapping[str, Declared], budget: list[int], depth: int) -> Expression:
    budget[0] -= 1
    row = _object(node)
    op = _text(row, "op")
    if depth > MOST_DEPTH or budget[0] < 0:
        raise Unpriced("an expression is too large")
    children = [row.get("key")] if op == "lookup" else row.get("args") or []
    low, high = _ARITY.get(op, (1, 0))
    if not isinstance(children, list) or not low <= len(children) <= high:
        raise Unpriced("an expression has an operation that is not known")
    if op == "variable" and row.get("name") not in declared:
        raise Unpriced("an expression names what is not declared")
    table = _object(row.get("values")) if op == "lookup" else {}
    if len(table) > MOST_NODES or any(_number(value) < 0 for value in table.values()):
        raise Unpriced("a table has a negative number")
    constant = row.get("value") if op == "constant" else ""
    return Expression(
        op,
        tuple(_expression(child, declared, budget, depth + 1) for child in children),
        value="" if op != "constant" else format_word(constant) if isinstance(constant, bool) else _text(row, "value"),
        name=_text(row, "name") if op == "variable" else "",
        table=tuple((key, str(value)) for key, value in table.items()),
    )


def _object(value: JsonValue) -> Mapping[str, JsonValue]:
    if not isinstance(value, dict):
        raise Unpriced("a part of it is no object")
    return value


def _rows(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    if not isinstance(value, list) or len(value) > 200:
        raise Unpriced("a part of it is no list")
    return [_object(row) for row in value]


def _text(row: Mapping[str, JsonValue], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise Unpriced(f"{name} is no text")
    return value


def _number(value: object) -> Fraction:
    """A plain decimal number in a text, as all numbers of these rules are written."""
    text = str(value) if isinstance(value, str) else ""
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(digits) > MOST_DIGITS:
        raise Unpriced("a number is not a plain decimal")
    return Fraction(Decimal(text))


def evaluate_components(components: tuple[Component, ...], look_up: LookUp) -> Decimal:
    """The price in dollars, in whole millionths; `look_up` knows the shot. Raises `Unpriced`, never guesses low."""
    total = sum((_charge(component, look_up) for component in components), Fraction(0))
    if not 0 <= total <= MOST_UC:
        raise Unpriced("the price is out of all bounds")
    return (Decimal(int(total)) / UC_PER_USD).quantize(Decimal("0.000001"), rounding="ROUND_CEILING").normalize()


def _charge(component: Component, look_up: LookUp) -> Fraction:
    declared = {item.name: item for item in component.declared}

    def variable(name: str) -> Value:
        known, said = declared[name], look_up(name)
        text = known.default if said is None else format_word(said)
        if isinstance(said, bool) and {"on", "off"} <= {*known.values}:
            text = "on" if said else "off"
        if not text or (known.values and text not in known.values):
            raise Unpriced(f"{name} has no value that the rule knows")
        return _constant(text)

    if component.condition is not None and not _truth(_evaluate(component.condition, variable)):
        return Fraction(0)
    tiers = [tier for tier in component.tiers if _truth(_evaluate(tier.when, variable))]
    if len(tiers) > 1:
        raise Unpriced("two tiers apply")
    tier = tiers[0] if tiers else None
    quantity = _as_number(_evaluate(component.quantity, variable))
    if quantity < 0:
        raise Unpriced("a quantity is negative")
    rate = _number(tier.rate if tier else component.rate)
    multiplier = _number(tier.multiplier) if tier else Fraction(1)
    match component.point:
        case "per_quantity":
            subtotal = _rounded(quantity * multiplier, component.mode) * (rate / multiplier)
        case "per_tier":
            subtotal = quantity * _rounded(rate, component.mode)
        case _:
            subtotal = _rounded(quantity * rate, component.mode)
    charge = max(subtotal, _number(tier.minimum if tier else component.minimum))
    return _rounded(charge, "ceil")


def _rounded(value: Fraction, mode: str) -> Fraction:
    whole = value.numerator // value.denominator
    if mode == "ceil":
        return Fraction(-(-value.numerator // value.denominator))
    return Fraction(whole + (mode == "half_up" and value - whole >= Fraction(1, 2)))


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Unpriced("a condition is no yes or no")
    return value


def _as_number(value: Value) -> Fraction:
    if isinstance(value, bool | str):
        raise Unpriced("a number was expected")
    if value.numerator.bit_length() > 1_000 or value.denominator.bit_length() > 1_000:
        raise Unpriced("a number is too large")
    return value


def _evaluate(node: Expression, variable: Callable[[str], Value]) -> Value:
    match node.op:
        case "constant":
            return _constant(node.value)
        case "variable":
            return variable(node.name)
        case "lookup":
            return _looked_up(node, _evaluate(node.args[0], variable))
        case "if":
            return _evaluate(node.args[1 if _truth(_evaluate(node.args[0], variable)) else 2], variable)
        case "and" | "or" | "not":
            truths = [_truth(_evaluate(part, variable)) for part in node.args]
            return not truths[0] if node.op == "not" else all(truths) if node.op == "and" else any(truths)
        case "eq" | "neq":
            same = _evaluate(node.args[0], variable) == _evaluate(node.args[1], variable)
            return same is (node.op == "eq")
    return _calculated(node.op, [_as_number(_evaluate(part, variable)) for part in node.args])


def _constant(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    try:
        return _number(text)
    except Unpriced:
        return text


def _looked_up(node: Expression, key: Value) -> Fraction:
    text = str(key).lower() if isinstance(key, bool) else str(key)
    found = dict(node.table).get(text)
    if found is None:
        raise Unpriced("the table has no such row")
    return _number(found)


def _calculated(op: str, numbers: list[Fraction]) -> Value:
    first, *rest = numbers
    if op in _COMPARED:
        return _COMPARED[op](first, rest[0])
    match op:
        case "ceil" | "floor":
            return _rounded(first, op)
        case "multiply":
            for factor in rest:
                first = _as_number(first * factor)
            return first
        case "divide":
            if rest[0] == 0:
                raise Unpriced("it divides by zero")
            return first / rest[0]
        case "clamp":
            low, high = rest
            if low > high:
                raise Unpriced("a range is empty")
            return min(max(first, low), high)
    return _COMBINED[op](numbers)


_COMPARED: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_COMBINED: Mapping[str, Callable[[list[Fraction]], Fraction]] = {
    "add": lambda numbers: sum(numbers, Fraction(0)),
    "subtract": lambda numbers: numbers[0] - numbers[1],
    "min": min,
    "max": max,
}
