"""Adds the server's entry to the text of a host's configuration, or removes it; everything else stays unchanged.

JSON keeps its key order and indentation. TOML is edited line by line, so that comments and layout stay; the result is
parsed again, and the edit is refused unless it contains exactly the intended change. Pure: `mcp_hosts` reads and writes
the files.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SERVER_NAME = "callsheet"
Form = Literal["json", "toml"]

# Fields of a server behind a URL. Beside a command they would make the entry ambiguous.
_URL_FIELDS = ("url", "httpUrl", "serverUrl", "headers")


class UneditableText(Exception):
    """The text is not valid, or cannot be changed without changing more than the entry. The message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a host starts the server. `env` never contains a key."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]

    def as_dict(self, *, typed: bool) -> dict[str, Any]:
        """The entry's fields; a `typed` host also needs the name of the transport."""
        kind = {"type": "stdio"} if typed else {}
        env = {"env": dict(self.env)} if self.env else {}
        return {**kind, "command": self.command, "args": list(self.args), **env}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the entry is in a document: below `keys`, under the server's name.

    `defaults` are fields that a new entry gets beside how it is started; a person may change them.
    """

    form: Form
    keys: tuple[str, ...]
    typed: bool = False
    defaults: tuple[tuple[str, bool | int], ...] = ()


def write_snippet(slot: Slot, entry: Entry) -> str:
    """A document that contains only the entry, for a person to copy."""
    return put_entry("", slot, entry)


def put_entry(text: str, slot: Slot, entry: Entry) -> str:
    """The document with the entry; the same text if it already has it. Raises `UneditableText`.

    Fields that a person added to the entry (a time limit, a variable) are kept.
    """
    before = read_document(text, slot.form)
    old = find_entry(before, slot)
    kept = {name: value for name, value in (old or {}).items() if name not in _URL_FIELDS}
    own = entry.as_dict(typed=slot.typed)
    if isinstance(kept.get("env"), dict) and "env" in own:
        own["env"] = {**kept["env"], **own["env"]}
    new = {**kept, **own}
    new |= {name: value for name, value in slot.defaults if name not in new}
    if old == new:
        return text
    after = _with_entry(before, slot, new)
    return _write(text, slot, after, _toml_with(text, slot, old, new) if slot.form == "toml" else None)


def remove_entry(text: str, slot: Slot) -> str:
    """The document without the entry; the same text if there is none. Raises `UneditableText`."""
    before = read_document(text, slot.form)
    if find_entry(before, slot) is None:
        return text
    after = _with_entry(before, slot, None)
    return _write(text, slot, after, _toml_without(text, slot) if slot.form == "toml" else None)


def find_entry(document: Mapping[str, Any], slot: Slot) -> dict[str, Any] | None:
    """The current entry, None if there is none. Raises `UneditableText` if something else has its name."""
    place: Any = document
    for key in (*slot.keys, SERVER_NAME):
        if not isinstance(place, Mapping):
            raise UneditableText(f"the parent of {key!r} is not a table")
        if key not in place:
            return None
        place = place[key]
    if not isinstance(place, dict):
        raise UneditableText(f"the entry {SERVER_NAME!r} is not a table")
    return place


def read_document(text: str, form: Form) -> dict[str, Any]:
    """The parsed document; a blank text is an empty one. Raises `UneditableText` with the position of the error."""
    if not text.strip():
        return {}
    try:
        read = tomllib.loads(text) if form == "toml" else json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        place = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UneditableText(f"it is not valid {form.upper()} ({place or _first_line(error)})") from None
    if not isinstance(read, dict):
        raise UneditableText("its top level is not a table")
    return read


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one table")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _with_entry(document: Mapping[str, Any], slot: Slot, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the document in which the entry is the given one, or is gone."""

    def place(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        if len(keys) > 1:
            return {**table, keys[0]: place(table.get(keys[0], {}), keys[1:])}
        if entry is not None:
            return {**table, keys[0]: dict(entry)}
        return {name: value for name, value in table.items() if name != keys[0]}

    return place(document, (*slot.keys, SERVER_NAME))


def _write(text: str, slot: Slot, after: dict[str, Any], edited: str | None) -> str:
    if edited is None:
        ending = "" if text.strip() and not text.endswith("\n") else "\n"
        edited = json.dumps(after, indent=_indent_of(text), ensure_ascii=False) + ending
        return edited.replace("\n", "\r\n") if "\r\n" in text else edited
    try:
        found = tomllib.loads(edited)
    except (ValueError, RecursionError):
        found = {}
    if not _same(found, after, slot):
        raise UneditableText("its entry cannot be changed line by line")
    return edited


def _same(found: dict[str, Any], wanted: dict[str, Any], slot: Slot) -> bool:
    """Whether both have the same content. A table that lost its last entry may be missing."""
    first = slot.keys[0]
    if wanted.get(first) == {} and first not in found:
        wanted = {name: value for name, value in wanted.items() if name != first}
    return found == wanted


def _indent_of(text: str) -> str:
    found = re.search(r"^[{\[]\s*?\r?\n([ \t]+)", text)
    return found[1] if found else "  "


def _toml_with(text: str, slot: Slot, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    if old is None:
        gap = "" if not text.strip() else "\n" if text.endswith("\n") else "\n\n"
        header = ".".join((*slot.keys, SERVER_NAME))
        added = f"{gap}[{header}]\n" + "".join(f"{name} = {_toml_value(value)}\n" for name, value in new.items())
        return text + (added.replace("\n", "\r\n") if "\r\n" in text else added)
    lines = text.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if _is_header(line, slot)), None)
    if start is None:
        raise UneditableText("the entry is not a separate table")
    ending = "\r\n" if lines[start].endswith("\r\n") else "\n"
    if not lines[start].endswith("\n"):
        lines[start] += ending
    end = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    body = [
        line for name, line in _statements(lines[start + 1 : end]) if name is None or old.get(name) == new.get(name)
    ]
    changed = [f"{name} = {_toml_value(value)}{ending}" for name, value in new.items() if old.get(name) != value]
    return "".join([*lines[: start + 1], *changed, *body, *lines[end:]])


def _toml_without(text: str, slot: Slot) -> str:
    kept: list[str] = []
    inside = False
    pending: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            was_inside, inside = inside, _is_header(line, slot, below=True)
            # Comments above the next table belong to that table.
            kept += pending if was_inside and not inside else []
            pending = []
        if not inside:
            kept.append(line)
        elif not line.strip() or line.lstrip().startswith("#"):
            pending.append(line)
        else:
            pending = []
    return "".join(kept)


def _is_header(line: str, slot: Slot, *, below: bool = False) -> bool:
    """Whether that line starts the entry's table, or with `below` one of its sub-tables."""
    keys = [rf"(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')" for key in (*slot.keys, SERVER_NAME)]
    rest = r"(?:\s*\..*)?" if below else ""
    return bool(re.match(r"\s*\[\s*" + r"\s*\.\s*".join(keys) + rest + r"\s*\]\s*(?:#.*)?$", line))


def _statements(lines: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Each setting of a table with all its lines; comments and blank lines have no name."""
    taken = ""
    for line in lines:
        taken += line
        try:
            read = tomllib.loads(taken)
        except (ValueError, RecursionError):
            continue
        yield (next(iter(read)) if len(read) == 1 else None), taken
        taken = ""
    if taken:
        yield None, taken


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(name)} = {_toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    # JSON strings are TOML strings, except for DEL, which JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
