"""A passphrase is checked against one stored line that does not reveal it."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.edges.keys.passphrase import (
    check_passphrase,
    create_verifier,
    load_verifier,
    write_verifier,
)
from callsheet.errors import Action, InvalidRequest, SetupProblem
from samples import CHEAP

PASSPHRASE = "grüne Wiese 42"


def test_a_stored_passphrase_is_recognised_and_no_other(tmp_path: Path) -> None:
    """One private line with a salt of its own; the passphrase is not in it."""
    path = tmp_path / "config" / "approval-verifier"
    assert load_verifier(path) is None
    write_verifier(path, PASSPHRASE, cost=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    verifier = load_verifier(path)
    assert verifier is not None
    assert path.read_text() == f"{verifier}\n"
    assert "\n" not in verifier
    assert "Wiese" not in verifier
    assert check_passphrase(PASSPHRASE, verifier)
    assert check_passphrase("gru\u0308ne Wiese 42", verifier)
    assert not check_passphrase("grüne Wiese 43", verifier)
    assert not check_passphrase("", verifier)
    assert not check_passphrase("\ud800", verifier)
    assert create_verifier(PASSPHRASE, CHEAP) != verifier


def test_a_verifier_of_an_earlier_version_still_verifies() -> None:
    """It was written before the library encoded the line."""
    verifier = "$argon2id$v=19$m=65536,t=3,p=1$zr9+E5LSCXkXJuGVlpz8hg$jsnKDPMYXbwpQpIRH+DvpR05BZEcsdSyjbJxfmcB7qY"

    assert check_passphrase(PASSPHRASE, verifier)
    assert not check_passphrase("grüne Wiese 43", verifier)


def test_the_cost_is_stored_with_the_verifier(tmp_path: Path) -> None:
    """The standard one is the second choice of RFC 9106; a check pays what the line says."""
    path = tmp_path / "approval-verifier"
    assert create_verifier(PASSPHRASE).startswith("$argon2id$v=19$m=65536,t=3,p=1$")

    write_verifier(path, PASSPHRASE, cost=CHEAP)

    assert path.read_text().startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert check_passphrase(PASSPHRASE, load_verifier(path) or "")


def test_a_verifier_made_with_scrypt_must_be_replaced(tmp_path: Path) -> None:
    """No longer supported: it accepts nothing, and the error says to set the passphrase again."""
    verifier = "$scrypt$ln=17,r=8,p=1$" + "A" * 22 + "$" + "A" * 43
    path = tmp_path / "approval-verifier"
    path.write_text(f"{verifier}\n")
    path.chmod(0o600)

    with pytest.raises(SetupProblem, match="scrypt") as caught:
        load_verifier(path)
    assert caught.value.next_step.action is Action.SETUP
    assert not check_passphrase(PASSPHRASE, verifier)


@pytest.mark.parametrize("passphrase", ["", "1234567", "\u0301" * 7])
def test_a_short_passphrase_is_refused(tmp_path: Path, passphrase: str) -> None:
    """Fewer than eight characters could be guessed, and nothing is stored."""
    path = tmp_path / "approval-verifier"
    with pytest.raises(InvalidRequest) as caught:
        write_verifier(path, passphrase)
    assert passphrase == "" or passphrase not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize(
    "verifier",
    [
        "",
        "plain",
        "$argon2id$",
        "$argon2id$v=19$m=65536,t=3,p=1$xx$yy",
        "$argon2id$v=19$m=1,t=3,p=1$4rwxkS3z3cgplsAoGKFKpg$mKbePnxYzzh4pHrIWc4O4XnQXg5c9ISPD63seDsHI84",
        "$argon2id$v=19$m=65536,t=99,p=1$" + "A" * 22 + "$" + "A" * 43,
        "$argon2id$v=19$m=8,t=1,p=1$" + "A" * 22 + "$" + "A" * 22,
        "$scrypt$ln=17,r=8,p=1$" + "A" * 22 + "$" + "A" * 43,
    ],
)
def test_a_broken_verifier_accepts_nothing(verifier: str) -> None:
    """Whatever the line says, the answer is no, and no excessive cost is paid."""
    assert not check_passphrase(PASSPHRASE, verifier)


@pytest.mark.parametrize("content", [b"", b"\n", b"plain", b"$argon2id$\xff", b"$md5$" + b"a" * 40])
def test_a_damaged_verifier_file_is_not_taken_for_a_missing_one(tmp_path: Path, content: bytes) -> None:
    """A damaged file must not look as if no passphrase had been set."""
    path = tmp_path / "approval-verifier"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SetupProblem, match="damaged"):
        load_verifier(path)


def test_a_verifier_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """The checks of private files hold for it too."""
    path = tmp_path / "approval-verifier"
    write_verifier(path, PASSPHRASE, cost=CHEAP)
    path.chmod(0o664)
    with pytest.raises(SetupProblem, match="0664"):
        load_verifier(path)
