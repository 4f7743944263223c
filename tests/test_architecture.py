"""Rules of structure, checked from the sources."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import callsheet
from cases import cases

PACKAGE = Path(callsheet.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "common", "base", "misc", "manager"}


def relative(path: Path) -> str:
    """A source file's name inside the package."""
    return path.relative_to(PACKAGE).as_posix()


def read(path: Path) -> str:
    """A source."""
    return path.read_text(encoding="utf-8")


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Everything in a source, the module first."""
    return tuple(ast.walk(ast.parse(read(path))))


TEAM_ROOMS = ("edges/identity", "edges/object_store", "edges/postgres", "edges/traces", "surface/team", "team.py")
TEAM_LIBRARIES = {"asyncpg", "greenback", "joserfc", "obstore", "opentelemetry"}


@cases("path", SOURCES, ids=relative)
def test_a_module_is_one_thing(path: Path) -> None:
    """At most 400 lines, a name from the domain, and a docstring that says what it is for."""
    text, module = read(path), nodes_of(path)[0]
    assert len(text.splitlines()) <= 400
    assert path.stem not in BANNED_NAMES
    if path.stat().st_size:
        assert isinstance(module, ast.Module)
        assert ast.get_docstring(module)


@cases("path", [path for path in SOURCES if not relative(path).startswith(TEAM_ROOMS)], ids=relative)
def test_local_mode_imports_nothing_of_a_team(path: Path) -> None:
    """Neither its rooms nor its libraries, not even inside a function: they are not installed there."""
    rooms = tuple(f"callsheet.{room.replace('/', '.')}" for room in TEAM_ROOMS)
    found = [
        name
        for name in imports_of(path)
        if name.partition(".")[0] in TEAM_LIBRARIES or any(f"{name}.".startswith(f"{room}.") for room in rooms)
    ]

    assert found == []


def test_every_module_can_be_imported() -> None:
    """Also those that nothing imports at start."""
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "callsheet.")]

    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    assert len(names) > 50


def test_exactly_one_function_builds_the_authorization_header() -> None:
    """Nothing else writes the word Bearer into a header, or asks a key for its value."""
    builders = [
        relative(path)
        for path in SOURCES
        if "sandbox" not in path.parts and 'f"Bearer {' in path.read_text(encoding="utf-8")
    ]

    assert builders == ["edges/keys/store.py"]


def test_the_paid_request_is_sent_from_one_place() -> None:
    """One caller of `post_paid`, and it takes a marked task."""
    callers = [
        relative(path)
        for path in SOURCES
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr == "post_paid"
    ]

    assert callers == ["service/submission.py"]


def imports_of(path: Path) -> list[str]:
    """What a source imports anywhere, by full name."""
    parts = ["callsheet", *path.relative_to(PACKAGE).parent.parts]
    names: list[str] = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return names


@cache
def callers() -> dict[str, set[str]]:
    """For each function that is called, and each method that is touched: in which module and function."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        functions = [node for node in nodes_of(path) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
            elif isinstance(node, ast.Attribute) and node.attr.islower():
                name = node.attr
            else:
                continue
            inside = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
            found[name].add(f"{relative(path)}:{max(inside, key=lambda f: f.lineno).name if inside else ''}")
    return found


@cases(
    ("name", "expected"),
    [
        ("post_paid", ["service/submission.py:_post"]),
        ("_post", ["service/submission.py:_send_claimed"]),
        ("_send_claimed", ["service/submission.py:send_task"]),
        ("send_task", ["service/polling.py:run_task"]),
        (
            "_exchange",
            [f"edges/http/client.py:{name}" for name in ("post_paid", "fetch", "post_file", "post_notice")],
        ),
        ("post_notice", ["edges/notices.py:_deliver"]),
        ("post_file", ["service/uploads.py:upload_file"]),
        ("upload_file", ["service/submission.py:_upload_files"]),
        ("_upload_files", ["service/submission.py:send_task"]),
        # The second is the claim of a token.
        ("claim", ["service/submission.py:send_task", "edges/identity/tokens.py:check_claims"]),
        ("ClaimedTask", ["edges/ledger/ledger.py:claim"]),
        ("MarkedTask", ["edges/postgres/ledger.py:record", "edges/process/sent_mark.py:record"]),
        (
            "empty_log",
            [
                "edges/process/sent_mark.py:accept_ledger",
                "edges/process/sent_mark.py:record",
                "service/dependencies.py:keep_taken_back",
            ],
        ),
        ("spend", ["service/submission.py:_spend"]),
        ("Task", ["edges/ledger/rows.py:read_task", "edges/ledger/sent.py:_readmit", "service/submission.py:_spend"]),
    ],
)
def test_one_way_alone_leads_to_the_paid_request(name: str, expected: list[str]) -> None:
    """From spending a sheet over its one task and the claim to the one request; nothing joins it on the way."""
    assert callers()[name] == set(expected)


def test_only_a_spent_sheet_makes_a_task() -> None:
    """The row is inserted where the sheet is spent. That only a marked task is sent is a matter of types.

    One that comes back into a ledger which had forgotten it is of unknown outcome, and so never sent.
    """
    ledger = (PACKAGE / "edges" / "ledger" / "ledger.py").read_text(encoding="utf-8")
    spend = next(node for node in ast.walk(ast.parse(ledger)) if getattr(node, "name", "") == "spend")
    calls = [ast.unparse(node) for node in ast.walk(spend) if isinstance(node, ast.Call)]

    inserts = [
        relative(path) for path in SOURCES if re.search(r"""(INSERT INTO|build_insert\()\W*task\b""", read(path))
    ]
    assert inserts == ["edges/ledger/ledger.py", "edges/ledger/sent.py"]
    readmitted = read(PACKAGE / "edges" / "ledger" / "sent.py")
    assert set(re.findall(r"TaskState\.([A-Z]+\w*)", readmitted)) == {"OUTCOME_UNKNOWN"}
    assert ledger.count('build_insert("task"') == 1
    assert any(call.startswith("require_fresh_approval(sheet") for call in calls)
    assert any("build_insert('task'" in call for call in calls)


def test_surfaces_call_use_cases_and_never_their_dependencies() -> None:
    """No surface touches `Service.deps`: what it needs is a method of the service."""
    touching = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        if relative(path).startswith("surface/")
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and node.attr == "deps"
    ]

    assert touching == []


def test_public_lists_of_names_are_sorted_and_whole() -> None:
    """An `__all__` names things that exist, once each."""
    for path in SOURCES:
        name = "callsheet." + relative(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if "__all__" not in path.read_text(encoding="utf-8") or name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        assert len(set(module.__all__)) == len(module.__all__), name
        assert all(hasattr(module, item) for item in module.__all__), name
