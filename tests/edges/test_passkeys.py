"""The file that holds a person's passkeys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callsheet.edges.files.files import write_private
from callsheet.edges.keys.passkeys import MOST, Passkey, Passkeys
from callsheet.errors import InvalidRequest, NotApproved, SetupProblem, UnknownThing


@pytest.fixture
def passkeys(tmp_path: Path) -> Passkeys:
    """A list with two passkeys in it."""
    kept = Passkeys(tmp_path / "config" / "passkeys.json")
    kept._write([Passkey("QUFB", "Red", "AAAA", 3, 1.0), Passkey("QkJC", "Blue", "BBBB", 0, 2.0, 5.0)])
    return kept


def test_what_was_written_is_read_again(passkeys: Passkeys) -> None:
    """From a file for this user alone, with public keys only."""
    assert [(item.name, item.used_at) for item in passkeys.all()] == [("Red", None), ("Blue", 5.0)]
    assert passkeys.path.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(passkeys.path.read_text())["passkeys"][0]) == {
        *("id", "name", "public_key", "sign_count", "made_at", "used_at")
    }


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    """That is no error."""
    assert Passkeys(tmp_path / "passkeys.json").all() == []


def test_one_is_removed_by_its_id(passkeys: Passkeys) -> None:
    """The others stay; an unknown one is said to be unknown."""
    assert passkeys.remove("QUFB").name == "Red"
    assert [item.name for item in passkeys.all()] == ["Blue"]
    with pytest.raises(UnknownThing):
        passkeys.remove("QUFB")


DEEP = "[" * 60_000


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"passkeys": 1}', b'{"passkeys": [{"id": 1}]}', b"\xff", DEEP.encode()]
)
def test_a_damaged_file_is_said_to_be_damaged(passkeys: Passkeys, content: bytes) -> None:
    """And nothing of it is used."""
    write_private(passkeys.path, content, what="list")

    with pytest.raises(SetupProblem, match="is damaged"):
        passkeys.all()


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o602])
def test_a_file_that_is_open_to_others_is_not_used(passkeys: Passkeys, mode: int) -> None:
    """Somebody else might have written it."""
    passkeys.path.chmod(mode)

    with pytest.raises(SetupProblem, match="open to others"):
        passkeys.check("{}", statement="x", origin="http://localhost:1", now=0.0)


@pytest.mark.parametrize(
    "said", ["", "{", "[]", "1", "null", '{"id": 1}', '{"id": "QUFB"}', '{"id": "QUFB", "rawId": 7}']
)
def test_what_no_device_says_is_no_signature(passkeys: Passkeys, said: str) -> None:
    """Neither for signing nor for registering, and nothing is changed by it."""
    before = passkeys.path.read_bytes()

    with pytest.raises(NotApproved, match="not valid"):
        passkeys.check(said, statement="x", origin="http://localhost:1", now=9.0)
    with pytest.raises(InvalidRequest, match="could not be verified"):
        passkeys.register(said, challenge=b"x" * 32, origin="http://localhost:1", name="x", now=9.0)
    assert passkeys.path.read_bytes() == before


def test_the_list_is_bounded(passkeys: Passkeys) -> None:
    """So that its file can always be read."""
    passkeys._write([Passkey(f"id{number}", "x" * 60, "A" * 400, 0, 1.0) for number in range(MOST)])

    assert len(passkeys.all()) == MOST
    with pytest.raises(InvalidRequest, match="already"):
        passkeys.register("{}", challenge=b"x", origin="http://localhost:1", name="x", now=1.0)


def test_every_ceremony_demands_that_the_person_is_verified(passkeys: Passkeys) -> None:
    """The browser gets the known keys; the name is `localhost`."""
    making = json.loads(passkeys.registration_options(b"c" * 32))
    signing = json.loads(passkeys.signing_options(b"c" * 32))

    assert making["authenticatorSelection"]["userVerification"] == signing["userVerification"] == "required"
    assert making["rp"]["id"] == signing["rpId"] == "localhost"
    assert [item["id"] for item in signing["allowCredentials"]] == ["QUFB", "QkJC"]
    assert [item["id"] for item in making["excludeCredentials"]] == ["QUFB", "QkJC"]


def test_an_answer_of_the_browser_that_is_nested_too_deep_is_refused(passkeys: Passkeys) -> None:
    """As any other that is no signature."""
    credential = f'{{"id": "QUFB", "response": {DEEP}'

    with pytest.raises(NotApproved):
        passkeys.check(credential, statement="x", origin="http://localhost:1", now=0.0)
    with pytest.raises(InvalidRequest):
        passkeys.register(credential, challenge=b"x", origin="http://localhost:1", name="Red", now=0.0)
