"""The hosts' configuration files: one entry is added or removed, and everything else stays unchanged."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.edges.config.mcp_entries import Entry, UneditableText, put_entry, remove_entry
from callsheet.edges.config.mcp_hosts import BACKUP_SUFFIX, SLOTS, Host, Scope, find_config, write_entry
from callsheet.errors import InvalidRequest, SetupProblem

ENTRY = Entry("/opt/call sheet/bin/callsheet", ("mcp",), {})
IN_CODEX = {**ENTRY.as_dict(typed=False), "required": True, "startup_timeout_sec": 30}
CODEX, CLAUDE, OPENCLAW = SLOTS[Host.CODEX], SLOTS[Host.CLAUDE], SLOTS[Host.OPENCLAW]

TOML = """\
# How I like it.
model = "fake-1"   # for now

[mcp_servers.other]
command = "other"
args = ["[mcp_servers.callsheet]"]

# About profiles.
[profiles.quick]
note = '''
[not.a.table]
'''
"""

JSON = {"zebra": 1, "mcpServers": {"other": {"command": "other", "env": {"K": "ü"}}}, "apple": [1.5, None]}

words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
documents = st.dictionaries(
    words, st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
)


@pytest.mark.parametrize("host", Host)
def test_an_entry_goes_in_once_and_out_again(tmp_path: Path, host: Host) -> None:
    """Into no file at all: it is made for its owner alone; a second time nothing is written."""
    path = tmp_path / "deep" / "config"

    assert write_entry(path, SLOTS[host], ENTRY).changed
    text = path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = write_entry(path, SLOTS[host], ENTRY)

    assert (again.changed, again.backup) == (False, None)
    assert path.read_text(encoding="utf-8") == text
    place: Any = tomllib.loads(text) if SLOTS[host].form == "toml" else json.loads(text)
    for key in (*SLOTS[host].keys, "callsheet"):
        place = place[key]
    assert (place["command"], place["args"]) == (ENTRY.command, ["mcp"])
    assert write_entry(path, SLOTS[host], None).changed
    assert "callsheet" not in path.read_text(encoding="utf-8")
    assert not write_entry(path, SLOTS[host], None).changed


def test_toml_keeps_every_line_that_was_there() -> None:
    """Comments, spaces, texts that look like tables; taking the entry out gives the old text back."""
    written = put_entry(TOML, CODEX, ENTRY)

    assert written.startswith(TOML)
    assert tomllib.loads(written)["mcp_servers"]["callsheet"] == IN_CODEX
    assert remove_entry(written, CODEX).rstrip("\n") == TOML.rstrip("\n")


def test_a_toml_entry_in_the_middle_is_corrected_and_keeps_what_a_person_added() -> None:
    """A time limit stays, a comment stays, an old path over several lines goes, and so does a URL."""
    text = (
        '[mcp_servers.callsheet] # mine\ncommand = "old"\nargs = [\n  "mcp",\n  "x",\n]\n# long clips\n'
        'tool_timeout_sec = 90\nurl = "http://127.0.0.1:1/"\n\n# Next.\n[mcp_servers.next]\ncommand = "n"\n'
    )
    written = put_entry(text, CODEX, ENTRY)

    assert tomllib.loads(written)["mcp_servers"]["callsheet"] == {
        **IN_CODEX,
        "tool_timeout_sec": 90,
    }
    assert "# long clips\ntool_timeout_sec = 90\n" in written
    assert written.endswith('\n# Next.\n[mcp_servers.next]\ncommand = "n"\n')
    assert put_entry(written, CODEX, ENTRY) == written
    assert remove_entry(written, CODEX) == '\n# Next.\n[mcp_servers.next]\ncommand = "n"\n'


def test_codex_waits_for_the_server_unless_a_person_decided_otherwise() -> None:
    """An old entry gets what a new one has; what a person set stays."""
    old = put_entry('[mcp_servers.callsheet]\ncommand = "x"\nargs = []\n', CODEX, ENTRY)
    own = put_entry("[mcp_servers.callsheet]\nrequired = false\nstartup_timeout_sec = 5\n", CODEX, ENTRY)

    assert tomllib.loads(old)["mcp_servers"]["callsheet"] == IN_CODEX
    assert tomllib.loads(own)["mcp_servers"]["callsheet"] == {**IN_CODEX, "required": False, "startup_timeout_sec": 5}
    assert "required" not in put_entry("", CLAUDE, ENTRY)


def test_the_tables_of_a_toml_entry_go_with_it() -> None:
    """Also a quoted name, and a table of variables."""
    text = 'a = 1\n[mcp_servers."callsheet"]\ncommand = "x"\n[mcp_servers.callsheet.env]\nK = "v"\n[z]\nb = 2\n'

    assert remove_entry(text, CODEX) == "a = 1\n[z]\nb = 2\n"


def test_an_empty_table_at_the_very_end_is_filled() -> None:
    """Even without a line end behind it."""
    assert put_entry("[mcp_servers.callsheet]", CODEX, ENTRY) == put_entry("", CODEX, ENTRY)


@pytest.mark.parametrize(
    "text",
    [
        "[mcp_servers.callsheet]\nargs = [\n['nested'],\n]\n",
        "mcp_servers = { other = { command = 'x' } }\n",
        "[mcp_servers]\ncallsheet.command = 'x'\n",
        "[mcp_servers]\ncallsheet = 'x'\n",
        "mcp_servers = 3\n",
        "[mcp_servers.callsheet\n",
        "a = 1\na = 2\n",
    ],
)
def test_toml_that_cannot_be_changed_line_by_line_is_left_alone(tmp_path: Path, text: str) -> None:
    """The error says what to do, and no copy is written either."""
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(SetupProblem, match="left unchanged") as caught:
        write_entry(path, CODEX, ENTRY)
    assert "--print" in caught.value.next_step.text
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_json_keeps_order_indentation_and_letters(indent: str, ending: str) -> None:
    """In and out again gives the old text, byte for byte."""
    text = json.dumps(JSON, indent=indent, ensure_ascii=False) + ending
    written = put_entry(text, CLAUDE, ENTRY)

    assert list(json.loads(written)) == list(JSON)
    assert json.loads(written)["mcpServers"] == {**JSON["mcpServers"], "callsheet": ENTRY.as_dict(typed=True)}  # type: ignore[dict-item]
    assert remove_entry(written, CLAUDE) == text


@given(documents)
def test_any_json_document_keeps_everything_else(document: dict[str, Any]) -> None:
    """Whatever else a host keeps in the file."""
    document.pop("mcp", None)
    text = json.dumps(document)
    written = json.loads(put_entry(text, OPENCLAW, ENTRY))

    assert written.pop("mcp") == {"servers": {"callsheet": ENTRY.as_dict(typed=False)}}
    assert written == document


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a": 1, "a": 2}',
        "// mine\n{}",
        "[]",
        '{"mcpServers": []}',
        '{"mcpServers": {"callsheet": 1}}',
        "[" * 9999,
    ],
)
def test_json_that_is_not_plain_is_left_alone(tmp_path: Path, text: str) -> None:
    """Comments, keys that stand twice, other shapes: a person edits those."""
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(SetupProblem, match="left unchanged"):
        write_entry(path, CLAUDE, ENTRY)
    assert path.read_text(encoding="utf-8") == text


def test_the_position_of_a_mistake_is_reported() -> None:
    """Line and column, not the content."""
    with pytest.raises(UneditableText, match=r"not valid JSON \(line 2, column 3\)"):
        put_entry("{\n  x\n}", CLAUDE, ENTRY)


def test_windows_line_ends_stay() -> None:
    """In both formats."""
    written = put_entry('{\r\n  "a": 1\r\n}\r\n', CLAUDE, ENTRY), put_entry("a = 1\r\n", CODEX, ENTRY)

    assert all(text.count("\n") == text.count("\r\n") > 3 for text in written)


def test_variables_of_a_person_stay_and_ours_is_added() -> None:
    """They are named, so that a key among them can be warned of."""
    text = json.dumps({"mcpServers": {"callsheet": {"command": "x", "env": {"A": "1"}, "timeout": 5}}})
    entry = Entry("/c", ("mcp",), {"CALLSHEET_HOME": "/h"})

    assert json.loads(put_entry(text, CLAUDE, entry))["mcpServers"]["callsheet"] == {
        "command": "/c",
        "env": {"A": "1", "CALLSHEET_HOME": "/h"},
        "timeout": 5,
        "type": "stdio",
        "args": ["mcp"],
    }
    assert tomllib.loads(put_entry("", CODEX, entry))["mcp_servers"]["callsheet"]["env"] == {"CALLSHEET_HOME": "/h"}


@pytest.mark.parametrize("command", ['/a"b\\c', "/ü/\x7f", "/a b'c", "/tab\there"])
def test_any_path_survives_toml(command: str) -> None:
    """Quotes, backslashes and control characters are written as the format wants them."""
    written = put_entry(TOML, CODEX, Entry(command, ("mcp",), {}))

    assert tomllib.loads(written)["mcp_servers"]["callsheet"]["command"] == command


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_stays_and_the_old_text_is_kept_for_its_owner(tmp_path: Path, mode: int) -> None:
    """The copy may hold keys of other servers."""
    path = tmp_path / "config.toml"
    path.write_text(TOML, encoding="utf-8")
    path.chmod(mode)
    change = write_entry(path, CODEX, ENTRY)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert change.backup == tmp_path / f"config.toml{BACKUP_SUFFIX}"
    assert change.backup.read_text(encoding="utf-8") == TOML
    assert stat.S_IMODE(change.backup.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [path, change.backup]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What it leads to is changed, and the copy is beside that."""
    real = tmp_path / "dotfiles" / "settings.json"
    real.parent.mkdir()
    real.write_text("{}", encoding="utf-8")
    link = tmp_path / "settings.json"
    link.symlink_to(real)
    change = write_entry(link, CLAUDE, ENTRY)

    assert link.is_symlink()
    assert "callsheet" in real.read_text(encoding="utf-8")
    assert change.backup is not None
    assert change.backup.parent == real.parent


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    """A directory, and bytes that are no text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe{}")

    for path in (tmp_path, binary):
        with pytest.raises(SetupProblem, match="cannot be read"):
            write_entry(path, CLAUDE, ENTRY)


def test_a_directory_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """A file stands where the directory would be."""
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(SetupProblem, match="cannot be"):
        write_entry(tmp_path / "file" / "config.json", CLAUDE, ENTRY)


def test_each_host_has_its_own_file_below_the_home(tmp_path: Path) -> None:
    """And moves with the variables that the host itself obeys."""
    home = {"HOME": str(tmp_path)}
    found = {host: find_config(host, Scope.USER, home, tmp_path / "p") for host in Host}

    assert len(set(found.values())) == len(Host)
    assert all(path.is_relative_to(tmp_path) for path in found.values())
    assert found[Host.CLAUDE] == tmp_path / ".claude.json"
    assert found[Host.CODEX] == tmp_path / ".codex/config.toml"
    assert find_config(Host.CODEX, Scope.USER, {**home, "CODEX_HOME": "/c"}, tmp_path) == Path("/c/config.toml")
    assert find_config(Host.CODEX, Scope.USER, {**home, "CODEX_HOME": "c"}, tmp_path) == found[Host.CODEX]
    moved = find_config(Host.OPENCLAW, Scope.USER, {**home, "OPENCLAW_STATE_DIR": "/o"}, tmp_path)
    assert moved == Path("/o/openclaw.json")


def test_a_projects_file_lies_in_the_working_directory(tmp_path: Path) -> None:
    """Where the host has such a thing."""
    assert find_config(Host.CLAUDE, Scope.PROJECT, {}, tmp_path) == tmp_path / ".mcp.json"
    assert find_config(Host.VSCODE, Scope.PROJECT, {}, tmp_path) == tmp_path / ".vscode/mcp.json"
    with pytest.raises(InvalidRequest):
        find_config(Host.CODEX, Scope.PROJECT, {}, tmp_path)
