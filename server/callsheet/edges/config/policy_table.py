"""Takes the policy file apart: one TOML table, key by key, each read strictly."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NoReturn, TypeVar, cast

from callsheet.core.clips import DEFAULT_NAME, is_name_template
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import check_url
from callsheet.edges.files.paths import expand_home, find_account_home
from callsheet.errors import Action, NextStep, SetupProblem

from .policy_form import NO_LIMIT

DOLLARS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,4})?")
_T = TypeVar("_T")


class PolicyTable:
    """Takes keys from one TOML table. A key that is left at the end, here or in a table below, is a mistake."""

    def __init__(self, table: dict[str, Any], where: str, name: str) -> None:
        self._left = dict(table)
        self._where = where
        self._name = name
        self._below: list[PolicyTable] = []

    def names(self) -> list[str]:
        return list(self._left)

    def text(self, key: str) -> str:
        return self.take(key, str, "must be text in quotes") or ""

    def texts(self, key: str) -> tuple[str, ...]:
        return self._all(key, str, "must be a list of texts in quotes")

    def wholes(self, key: str) -> tuple[int, ...]:
        return self._all(key, int, "must be a list of whole numbers")

    def _all(self, key: str, kind: type[_T], rule: str) -> tuple[_T, ...]:
        values: list[_T] = self.take(key, list, rule) or []
        if any(type(value) is not kind for value in values):
            self.refuse(key, rule)
        return tuple(dict.fromkeys(values))

    def table(self, key: str) -> PolicyTable:
        table = PolicyTable(self.take(key, dict, "must be a table") or {}, self._where, f"{self._name}{key}.")
        self._below.append(table)
        return table

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.take(key, str, f"must be one of {', '.join(allowed)}")
        if value is not None and value not in allowed:
            self.refuse(key, f"must be one of {', '.join(allowed)}")
        return default if value is None else value

    def dollars(self, key: str, default: Decimal | None) -> Decimal | None:
        rule = f'must be an amount of US dollars in quotes, like "2.00", or "{NO_LIMIT}"'
        value = self.take(key, str, rule)
        if value is None:
            return default
        if value == NO_LIMIT:
            return None
        if not DOLLARS.fullmatch(value):
            self.refuse(key, rule)
        return Decimal(value)

    def whole(self, key: str, default: int, *, most: int) -> int:
        rule = f"must be a whole number from 1 to {most}"
        value = self.take(key, int, rule)
        if value is not None and not 1 <= value <= most:
            self.refuse(key, rule)
        return default if value is None else value

    def factor(self, key: str, default: float, *, most: float) -> float:
        rule = f"must be a number above 0 and at most {most:.0f}"
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            self.refuse(key, rule)
        return float(value)

    def switch(self, key: str, default: bool) -> bool:
        value = self.take(key, bool, "must be true or false")
        return default if value is None else value

    def hosts(self, key: str) -> tuple[str, ...]:
        rule = "must be a list of public host names in lower case, without https:// or a path"
        names = self.take(key, list, rule) or []
        for name in names:
            if not isinstance(name, str) or check_url(f"https://{name}/").host != name:
                self.refuse(key, rule)
        return tuple(cast("list[str]", names))

    def directory(self, key: str) -> str | None:
        value = self.take(key, str, "must be a path in quotes")
        return None if value is None else self._path(key, value)

    def name_template(self, key: str) -> str:
        rule = "must have {id}, may have {date}, {words}, {length}, {gateway} and {model}, and few other characters"
        value = self.take(key, str, rule)
        if value is not None and not is_name_template(value):
            self.refuse(key, rule)
        return DEFAULT_NAME if value is None else value

    def file(self, key: str) -> str:
        """`~` is the home that the system names: with another `HOME`, it would be another file."""
        value = self.take(key, str, "must be a path in quotes")
        return "" if value is None else self._path(key, _at_home(value))

    def directories(self, key: str) -> tuple[str, ...]:
        """`~` is the home that the system names: with another `HOME`, other files would be in them."""
        values = self.take(key, list, "must be a list of paths") or []
        return tuple(self._path(key, _at_home(value)) for value in values)

    def _path(self, key: str, value: object) -> str:
        path = expand_home(value) if isinstance(value, str) else None
        if path is None:
            self.refuse(key, "must be an absolute path, or begin with ~/")
        return str(path)

    def close(self) -> None:
        for key in self._left:
            self.refuse(clean(key, limit=40), "is not a key that this version knows")
        for table in self._below:
            table.close()

    def take(self, key: str, kind: type[_T], rule: str) -> _T | None:
        value: _T | None = self._left.pop(key, None)
        # Not isinstance: in Python a bool is an int.
        if value is not None and type(value) is not kind:
            self.refuse(key, rule)
        return value

    def refuse(self, key: str, rule: str) -> NoReturn:
        refuse(self._where, f"{self._name}{key}", rule)


def refuse(where: str, key: str, rule: str) -> NoReturn:
    """Say which key of the file breaks which rule."""
    raise SetupProblem(
        f"The policy file {where} is not used: {key} {rule}.",
        next_step=NextStep(Action.SETUP, "Fix that line, or write the file again."),
    ) from None


def _at_home(value: object) -> object:
    home = find_account_home()
    named = isinstance(value, str) and home is not None
    return re.sub(r"^~(?=/|$)", lambda _: str(home), str(value)) if named else value
