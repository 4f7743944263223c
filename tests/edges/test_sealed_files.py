"""A sealed key opens with its passphrase, for its address, exactly as it was written, and not otherwise."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from callsheet.core.security.redaction import variants
from callsheet.edges.keys.passphrase import (
    MOST_KIBIBYTES,
    MOST_PASSES,
    UnusableRecipe,
    check_passphrase,
    create_recipe,
    create_verifier,
    derive_key,
)
from callsheet.edges.keys.sealed import (
    OpenedKeys,
    SealedKey,
    is_sealed,
    load_sealed,
    open_key,
    remove_sealed,
    seal_key,
    sealed_path,
    write_sealed,
)
from callsheet.edges.keys.store import SecretKey, authorization_header
from callsheet.errors import Action, CallsheetError, InvalidRequest, KeyProblem, NotApproved, UnknownThing
from samples import CHEAP

KEY = "q7Zk0wJ3nRtV9xB2mL8sdF5hYc1GaT6e"
PASSPHRASE = "grüne Wiese 42"
ADDRESS = "https://api.poyo.ai"


def make_key() -> SecretKey:
    return SecretKey("poyo", KEY, source="file")


def cheaply_sealed() -> SealedKey:
    """Sealed with the least cost that there is, for tests that open it often."""
    return seal_key(make_key(), PASSPHRASE, base_url=ADDRESS, recipe=create_recipe(CHEAP))


def plant(directory: Path, content: bytes) -> Path:
    path = directory / "poyo.sealed"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_sealed_key_opens_with_its_passphrase_for_its_address(tmp_path: Path) -> None:
    """Through the disk, with the costs that people get; the same words in other code points are the same."""
    path = write_sealed(seal_key(make_key(), PASSPHRASE, base_url=ADDRESS), keys_directory=tmp_path / "keys")

    sealed = load_sealed("poyo", keys_directory=tmp_path / "keys")

    assert path == tmp_path / "keys" / "poyo.sealed"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sealed is not None
    assert sealed.fingerprint == make_key().fingerprint
    assert sealed.kdf.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    opened = open_key(sealed, "gru\u0308ne Wiese 42", base_url=ADDRESS)
    assert authorization_header(opened) == ("Authorization", f"Bearer {KEY}")
    assert opened.source == "sealed"


def test_the_file_holds_no_spelling_of_the_key_or_the_passphrase(tmp_path: Path) -> None:
    """Neither does a second sealing repeat anything of the first."""
    first, second = cheaply_sealed(), cheaply_sealed()
    text = write_sealed(first, keys_directory=tmp_path).read_text()

    assert not [spelling for spelling in (*variants(KEY), *variants(PASSPHRASE)) if spelling in text]
    assert {first.kdf, first.nonce, first.ciphertext}.isdisjoint({second.kdf, second.nonce, second.ciphertext})


def test_any_changed_byte_makes_opening_fail(tmp_path: Path) -> None:
    """Every byte of the file, each with its lowest bit and with its case bit turned: nothing but a refusal."""
    content = write_sealed(cheaply_sealed(), keys_directory=tmp_path).read_bytes()
    refused = 0
    for position in range(len(content)):
        for bit in (0x01, 0x20):
            changed = bytearray(content)
            changed[position] ^= bit
            plant(tmp_path, bytes(changed))
            with pytest.raises((KeyProblem, NotApproved)) as caught:
                open_key(load_sealed("poyo", keys_directory=tmp_path), PASSPHRASE, base_url=ADDRESS)
            assert KEY not in str(caught.value)
            refused += 1
    assert refused == 2 * len(content) > 600


def test_every_field_of_the_header_is_authenticated() -> None:
    """A file that is well-formed and says something else opens no better."""
    sealed = cheaply_sealed()
    other = cheaply_sealed()
    changes = {
        "gateway": "apixo",
        "fingerprint": "0" * 12,
        "kdf": other.kdf,
        "nonce": other.nonce,
        "ciphertext": other.ciphertext,
        "version": 2,
        "cipher": "AES-128-GCM",
    }
    assert {*changes, "base_url"} == set(asdict(sealed))

    for name, value in changes.items():
        with pytest.raises(NotApproved, match="does not open"):
            open_key(replace(sealed, **{name: value}), PASSPHRASE, base_url=ADDRESS)
    with pytest.raises(NotApproved, match="does not open"):
        open_key(replace(sealed, base_url="https://evil.example"), PASSPHRASE, base_url="https://evil.example")


@pytest.mark.parametrize("wrong", ["", "grüne Wiese 43", "Grüne Wiese 42", "grüne Wiese 42 ", "\ud800"])
def test_a_wrong_passphrase_opens_nothing_and_is_not_repeated(wrong: str) -> None:
    """The message says what to do and no part of what was typed."""
    with pytest.raises(NotApproved) as caught:
        open_key(cheaply_sealed(), wrong, base_url=ADDRESS)

    assert "was sealed with" in caught.value.next_step.text
    assert not wrong.strip() or wrong not in str(caught.value)


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "http://api.poyo.ai", "https://api.poyo.ai:444", ""])
def test_a_sealed_key_goes_to_no_other_address(elsewhere: str) -> None:
    """Not even with the right passphrase: a policy that somebody edited leads it nowhere."""
    with pytest.raises(KeyProblem, match="no other address") as caught:
        open_key(cheaply_sealed(), PASSPHRASE, base_url=elsewhere)

    assert ADDRESS in caught.value.message
    assert caught.value.error_code == "key_sealed"


def test_a_short_passphrase_seals_nothing() -> None:
    """It could be guessed."""
    with pytest.raises(InvalidRequest, match="fewer than 8"):
        seal_key(make_key(), "1234567", base_url=ADDRESS)


JUNK = {
    "nothing": b"",
    "no json": b"sealed",
    "a list": b"[]",
    "too deep": b"[" * 60_000,
    "not a text": b"\xff\xfe",
    "a missing field": b'{"version": 1}',
}


@pytest.mark.parametrize("kind", JUNK)
def test_a_damaged_file_is_refused_and_still_counts_as_sealed(tmp_path: Path, kind: str) -> None:
    """Otherwise damage would bring an unsealed key back into use."""
    plant(tmp_path, JUNK[kind])

    with pytest.raises(KeyProblem, match="damaged"):
        load_sealed("poyo", keys_directory=tmp_path)
    assert is_sealed("poyo", tmp_path)


def test_a_file_of_another_gateway_or_with_an_odd_value_is_damaged(tmp_path: Path) -> None:
    """Well-formed JSON in the wrong place, and values of the wrong kind."""
    fields = asdict(cheaply_sealed())
    odd = [{"gateway": "apixo"}, {"version": True}, {"version": 1.0}, {"nonce": "AAAA"}, {"kdf": None}, {"more": "x"}]
    for change in odd:
        plant(tmp_path, (json.dumps({**fields, **change}, indent=2) + "\n").encode())
        with pytest.raises(KeyProblem, match="damaged"):
            load_sealed("poyo", keys_directory=tmp_path)


def test_a_sealed_file_that_others_can_read_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """The checks of private files hold for it too; it counts as sealed all the same."""
    path = write_sealed(cheaply_sealed(), keys_directory=tmp_path / "keys")
    path.chmod(0o644)
    with pytest.raises(KeyProblem, match="0644"):
        load_sealed("poyo", keys_directory=tmp_path / "keys")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "poyo.sealed").symlink_to(tmp_path / "gone")

    with pytest.raises(KeyProblem, match="symbolic link"):
        load_sealed("poyo", keys_directory=tmp_path / "links")
    assert is_sealed("poyo", tmp_path / "links")


def test_there_is_no_sealed_key_before_sealing_and_after_removal(tmp_path: Path) -> None:
    """Removing twice is no error; what is no gateway's id has no file."""
    assert load_sealed("poyo", keys_directory=tmp_path) is None
    assert not is_sealed("poyo", tmp_path)
    write_sealed(cheaply_sealed(), keys_directory=tmp_path)
    remove_sealed("poyo", keys_directory=tmp_path)
    remove_sealed("poyo", keys_directory=tmp_path)
    assert not is_sealed("poyo", tmp_path)
    with pytest.raises(UnknownThing):
        sealed_path("../poyo", tmp_path)


SALT = "A" * 22
TOO_COSTLY = [
    f"$argon2id$v=19$m={MOST_KIBIBYTES + 1},t=3,p=1${SALT}",
    f"$argon2id$v=19$m=9999999,t=3,p=1${SALT}",
    f"$argon2id$v=19$m=65536,t={MOST_PASSES + 1},p=1${SALT}",
    f"$argon2id$v=19$m=65536,t=0,p=1${SALT}",
    f"$argon2id$v=19$m=1,t=3,p=1${SALT}",
    f"$argon2id$v=19$m=65536,t=3,p=64${SALT}",
    f"$pbkdf2$i=1${SALT}",
    "",
]


@pytest.mark.parametrize("recipe", TOO_COSTLY)
def test_no_planted_file_makes_the_computer_pay_an_absurd_cost(recipe: str) -> None:
    """Refused before anything is computed, in a sealed key and in a verifier."""
    with pytest.raises(UnusableRecipe):
        derive_key(PASSPHRASE, recipe)
    with pytest.raises(KeyProblem, match="damaged"):
        open_key(replace(cheaply_sealed(), kdf=recipe), PASSPHRASE, base_url=ADDRESS)
    assert not check_passphrase(PASSPHRASE, f"{recipe}${'A' * 43}")


def test_a_key_that_was_sealed_with_scrypt_must_be_sealed_again() -> None:
    """No longer supported; the error says so, and does not call the file damaged."""
    sealed = replace(cheaply_sealed(), kdf=f"$scrypt$ln=17,r=8,p=1${SALT}")

    with pytest.raises(KeyProblem, match="scrypt") as caught:
        open_key(sealed, PASSPHRASE, base_url=ADDRESS)
    assert caught.value.next_step.action is Action.SEAL_KEY


def test_what_the_verifier_stores_opens_nothing() -> None:
    """The verifier's hash is on disk, so a sealed key that shares its salt must not share its cipher key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    recipe, _, stored = create_verifier(PASSPHRASE, CHEAP).rpartition("$")
    sealed = seal_key(make_key(), PASSPHRASE, base_url=ADDRESS, recipe=recipe)

    with pytest.raises(InvalidTag):
        AESGCM(base64.b64decode(stored + "=")).decrypt(
            base64.b64decode(sealed.nonce), base64.b64decode(sealed.ciphertext), sealed.header
        )
    assert open_key(sealed, PASSPHRASE, base_url=ADDRESS) == make_key()


def test_recipes_have_a_salt_of_their_own() -> None:
    """Two people with one passphrase have nothing in common on disk."""
    assert create_recipe() != create_recipe()
    assert derive_key(PASSPHRASE, create_recipe(CHEAP)) != derive_key(PASSPHRASE, create_recipe(CHEAP))


def test_an_opened_key_pays_once_for_the_sheet_it_was_opened_for() -> None:
    """For another sheet, digest, gateway or address there is none. A request that bought nothing may be repeated."""
    opened = OpenedKeys()
    opened.keep(make_key(), base_url=ADDRESS)
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) is None
    opened.allow("poyo", "sheet_a", digest="d")

    assert opened.take("poyo", "sheet_b", digest="d", base_url=ADDRESS) is None
    assert opened.take("poyo", "sheet_a", digest="e", base_url=ADDRESS) is None
    assert opened.take("apixo", "sheet_a", digest="d", base_url=ADDRESS) is None
    assert opened.take("poyo", "sheet_a", digest="d", base_url="https://evil.example") is None
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) == make_key()
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) is None
    opened.give_back("sheet_a")
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) == make_key()
    opened.settle("sheet_a")
    opened.give_back("sheet_a")
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) is None


def test_a_forgotten_key_is_gone_with_its_permits() -> None:
    """Opening it again does not bring an old permit back."""
    opened = OpenedKeys()
    opened.keep(make_key(), base_url=ADDRESS)
    opened.allow("poyo", "sheet_a", digest="d")
    before = opened.generation
    assert opened.for_reads("poyo", base_url=ADDRESS) == make_key()
    assert opened.for_reads("poyo", base_url="https://evil.example") is None

    opened.forget_all()
    assert opened.generation > before
    assert not opened.is_open("poyo")
    assert list(opened.keys()) == []
    opened.keep(make_key(), base_url=ADDRESS)
    assert opened.take("poyo", "sheet_a", digest="d", base_url=ADDRESS) is None


def test_no_error_of_a_sealed_key_shows_a_part_of_it() -> None:
    """Whatever goes wrong."""
    errors: list[CallsheetError] = []
    for change, passphrase, address in (
        ({}, "wrong passphrase", ADDRESS),
        ({}, PASSPHRASE, "https://evil.example"),
        ({"kdf": "x"}, PASSPHRASE, ADDRESS),
    ):
        with pytest.raises(CallsheetError) as caught:
            open_key(replace(cheaply_sealed(), **change), passphrase, base_url=address)
        errors.append(caught.value)
    texts = " ".join(f"{error} {error.next_step}" for error in errors)
    assert not [KEY[start : start + 8] for start in range(len(KEY) - 7) if KEY[start : start + 8] in texts]
    assert PASSPHRASE not in texts


def test_a_directory_that_cannot_be_looked_into_counts_as_sealed(tmp_path: Path) -> None:
    """Making it unreadable must not cause the key in the environment to be used instead."""
    loop = tmp_path / "keys"
    loop.symlink_to(loop)

    assert is_sealed("poyo", loop)
    with pytest.raises(KeyProblem, match=r"cannot be read|symbolic link"):
        load_sealed("poyo", keys_directory=loop)
    assert not is_sealed("poyo", tmp_path / "nowhere")
