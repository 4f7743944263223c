"""Mistakes in a team's set-up: each is named with the setting to correct, and nothing ends with an uncaught error."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from callsheet.edges.identity.provider import Provider, ProviderProblem
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.schema import migrate
from callsheet.errors import LedgerProblem, SetupProblem
from callsheet.surface.team.config import load_config
from servers.other_servers import OIDC_INSTALLED, oidc
from team.postgres import Server

TEAM = """
public_url = "http://localhost:8080"
listen = "127.0.0.1:0"
home = "home"
keys_file = "keys"
[database]
dsn_file = "dsn"
[identity]
issuer = "http://127.0.0.1:9"
client_id = "callsheet"
client_secret_file = "client"
[roles]
admin = ["owners"]
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a whole configuration, with one text in it changed."""

    def write(old: str = "", new: str = "", *, dsn: str = "postgresql://127.0.0.1:9/none") -> Path:
        assert old in TEAM
        (tmp_path / "dsn").write_text(dsn)
        (tmp_path / "client").write_text("secret of the client")
        (tmp_path / "keys").write_text(base64.b64encode(bytes(32)).decode())
        (tmp_path / "policy.toml").write_text('mode = "live"\n')
        (tmp_path / "team.toml").write_text(TEAM.replace(old, new, 1))
        return tmp_path / "team.toml"

    return write


def run(command: str, config: Path) -> subprocess.CompletedProcess[str]:
    """The command, until it gives up."""
    words = [sys.executable, "-m", "callsheet", "team", command, "--config", str(config)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"http://localhost:8080"', '"http://clips.example.com"', "public_url"),
        ('"http://127.0.0.1:9"', '"http://id.example.com"', "identity.issuer"),
        ('"http://127.0.0.1:9"', '"id.example.com"', "identity.issuer"),
        ('"http://127.0.0.1:9"', '"https://id.example.com/?a=b"', "identity.issuer"),
        ('"127.0.0.1:0"', '"localhost"', "listen"),
        ('"127.0.0.1:0"', '"127.0.0.1:99999"', "listen"),
        ("home =", 'metrics = "9090"\nhome =', "metrics"),
        ("home =", 'traces = "collector:4318"\nhome =', "traces"),
        ("home =", "hoem =", "hoem"),
        ('home = "home"', "", "home"),
        ('home = "home"', "home = 7", "home"),
        ('home = "home"', "home = home", "line 4"),
        ('["owners"]', '"owners"', "roles.admin"),
        ('["owners"]', "[]", "roles.admin"),
    ],
)
def test_a_mistake_is_named_in_our_words(write: Write, old: str, new: str, named: str) -> None:
    """With the name of its setting, and without the library's."""
    with pytest.raises(SetupProblem, match=re.escape(named)) as raised:
        load_config(write(old, new))

    assert not re.search(r"Value error|Input should|Extra inputs|Field required|Error\)", raised.value.message)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"dG9vIHNob3J0", b"open"])
def test_a_bad_file_of_keys_is_named(write: Write, content: bytes | None) -> None:
    """Missing, empty, not text, too short, or open to the changes of everybody."""
    config = load_config(write())
    keys = config.path("keys")
    if content is None:
        keys.unlink()
    elif content == b"open":
        keys.chmod(0o666)
    else:
        keys.write_bytes(content)

    with pytest.raises(SetupProblem, match=re.escape(str(keys))) as raised:
        config.keys()
    assert "Error" not in raised.value.message


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://callsheet@127.0.0.1:9/postgres", "does not answer"),
        ("postgresql://callsheet@127.0.0.1:PORT/nothing", "no database of that name"),
        ("postgresql://nobody2@127.0.0.1:PORT/postgres", "user or the password"),
        ("postgresql://callsheet@127.0.0.1:port/postgres", "cannot be read"),
        ("postgresql://callsheet:a#b@127.0.0.1:PORT/postgres", "cannot be read"),
        ("callsheet@127.0.0.1:PORT/postgres", "cannot be read"),
    ],
)
def test_a_wrong_address_of_the_database(postgres: Server, address: str, said: str) -> None:
    """The migration tells it too: it is the first command that meets the database."""
    database = PostgresDatabase(address.replace("PORT", str(postgres.port)))
    try:
        with pytest.raises(LedgerProblem, match=said):
            migrate(database)
    finally:
        database.close()


@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize("mistake", ["policy", "home", "metrics", "listen"])
def test_a_process_does_not_start_on_what_would_fail_later(
    write: Write, postgres: Server, command: str, mistake: str
) -> None:
    """One line says which setting; nothing is uncaught."""
    dsn = postgres.create()
    database = PostgresDatabase(dsn)
    migrate(database)
    database.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if mistake == "listen" and command == "work":
            pytest.skip("a worker listens on metrics alone")
        changed = {
            "policy": ("home =", 'policy = "none.toml"\nhome ='),
            "home": ('home = "home"', 'home = "keys"'),
            "metrics": ("home =", f'metrics = "{address}"\nhome ='),
            "listen": ("127.0.0.1:0", address),
        }
        ran = run(command, write(*changed[mistake], dsn=dsn))

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1), ran.stderr
    assert f"`{mistake}`" in ran.stderr


def test_the_doctor_names_each_part(write: Write, postgres: Server) -> None:
    """Without tables, provider and worker; then what to run is a command."""
    ran = run("doctor", write(dsn=postgres.create()))

    found = dict(re.findall(r"^(?:ok|problem) +([a-z ]+): (.*)$", ran.stdout, re.MULTILINE))
    assert (ran.returncode, ran.stdout.count("problem "), ran.stderr) == (1, 3, ""), ran.stdout
    assert "`callsheet team migrate`" in found["database"]
    assert "http://127.0.0.1:9/" in found["identity provider"]


def test_the_doctor_finds_storage_that_cannot_be_reached(
    write: Write, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first clip does."""
    named = {"ENDPOINT": "http://127.0.0.1:9", "ALLOW_HTTP": "true", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in named.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    ran = run("doctor", write("[database]", '[storage]\nurl = "s3://clips/a"\n[database]', dsn=postgres.create()))

    assert "problem  storage: " in ran.stdout


@pytest.mark.skipif(not OIDC_INSTALLED, reason="oidc-provider is not installed: make .servers/.oidc")
def test_another_issuer_is_shown_beside_the_configured_one(tmp_path: Path) -> None:
    """A slash more is another issuer, and nobody sees that without both."""
    with oidc(tmp_path / "oidc") as issuer:
        provider = Provider(f"{issuer}/", now=lambda: 0.0)
        with pytest.raises(ProviderProblem, match=re.escape(f"({issuer}) than the one that is configured ({issuer}/)")):
            anyio.run(provider.load)
