"""The changes that mutmut can make to the modules about money, consent and keys, and the fixed sample of them.

mutmut writes each changed function beside the original one, `x_name__mutmut_7` beside `x_name__mutmut_orig`. Both are
read here as syntax trees, so a change is known by what it does and not by its number: the sample stays the same when
other lines of the function change.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
SEED = "callsheet"
ORIGINAL = "orig"
CONTEXT = 40
OPENED = ("property", "contextmanager")
"""mutmut leaves decorated functions alone; these two may also be applied after the function, as a plain call."""
_NAME = re.compile(r"x(?:_|ǁ)(?P<name>.+)__mutmut_(?P<number>orig|\d+)")
_SQL = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|CREATE|FROM|WHERE|AND|UNION|ORDER|JOIN|VACUUM|IN|LIKE)\b"
)


@dataclass(frozen=True)
class Change:
    """One change: mutmut's name for it, the function, the lines before and after, and both as trees."""

    name: str
    function: str
    diff: str
    before: Function = field(compare=False, repr=False)
    after: Function = field(compare=False, repr=False)

    @property
    def excerpt(self) -> str:
        """The lines that differ, without what is far from the difference."""
        lines = self.diff.split("\n")
        if [line[0] for line in lines] != ["-", "+"]:
            return self.diff
        before, after = (line[2:] for line in lines)
        head, tail = (max(0, length - CONTEXT) for length in _common(before, after))
        return "\n".join(
            f"{sign} {'…' if head else ''}{text[head : len(text) - tail]}{'…' if tail else ''}"
            for sign, text in (("-", before), ("+", after))
        )

    @property
    def rank(self) -> str:
        """The place in the random order."""
        return hashlib.sha256(f"{SEED}\n{self.function}\n{self.diff}".encode()).hexdigest()

    @property
    def is_wording(self) -> bool:
        """Whether it only changes a sentence for a reader, the log, or the case of an SQL statement."""
        sql_case = _SQL.search(self.diff) and len({line[2:].lower() for line in self.diff.split("\n")}) == 1
        before, after = _Shape(self.before), _Shape(self.after)
        fields_gone = before.fields.count("JoinedStr") != after.fields.count("JoinedStr")
        return bool(sql_case) or before.fields == after.fields or (before.none == after.none and fields_gone)


def open_decorators(source: str) -> str:
    """The same module, with `name = property(name)` after the function instead of `@property` before it."""
    lines = source.split("\n")
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):
        match node.decorator_list:
            case [ast.Name(id=name) as decorator] if name in OPENED:
                lines.insert(node.end_lineno or 0, f"{' ' * node.col_offset}{node.name} = {name}({node.name})")
                del lines[decorator.lineno - 1]
    return "\n".join(lines)


def read_changes(path: Path, module: str) -> Iterator[Change]:
    """All changes in a module that mutmut wrote."""
    found: dict[str, dict[str, Function]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function) and (match := _NAME.fullmatch(node.name)):
            node.name = "changed"
            found.setdefault(match["name"], {})[match["number"]] = node
    for name, versions in found.items():
        original = versions.pop(ORIGINAL)
        before = ast.unparse(original).split("\n")
        for number, changed in versions.items():
            prefix = "xǁ" if "ǁ" in name else "x_"
            yield Change(
                name=f"{module}.{prefix}{name}__mutmut_{number}",
                function=f"{module}.{name.replace('ǁ', '.')}",
                diff=_diff(before, ast.unparse(changed).split("\n")),
                before=original,
                after=changed,
            )


def _diff(before: Sequence[str], after: Sequence[str]) -> str:
    """The lines that differ, `-` before and `+` after."""
    head, tail = _common(before, after)
    lines = [("-", line) for line in before[head : len(before) - tail]]
    lines += [("+", line) for line in after[head : len(after) - tail]]
    return "\n".join(f"{sign} {line.strip()}" for sign, line in lines)


def _common(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """How much two lists of lines, or two lines, have in common at the start, and then at the end."""
    head = _equal(before, after)
    return head, _equal(before[head:][::-1], after[head:][::-1])


def _equal(before: Sequence[str], after: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))


class _Shape(ast.NodeTransformer):
    """A function without sentences and log lines; `fields` keeps what is formatted into sentences, `none` does not."""

    def __init__(self, function: Function) -> None:
        self._keep = True
        self.fields = ast.dump(self.visit(copy.deepcopy(function)))
        self._keep = False
        self.none = ast.dump(self.visit(copy.deepcopy(function)))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if ast.unparse(node).startswith("log.") else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(None) if isinstance(node.value, str) and _is_sentence(node.value) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        if not _is_sentence(text):
            return self.generic_visit(node)
        fields = [self.visit(part) for part in node.values if isinstance(part, ast.FormattedValue)]
        return ast.JoinedStr(fields) if self._keep and fields else ast.Constant(None)


def _is_sentence(text: str) -> bool:
    return " " in text.strip() and not _SQL.search(text)
