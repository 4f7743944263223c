"""Keys are found in three places, checked, and let out through one function only."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

import callsheet
from callsheet.edges.keys.store import (
    SecretKey,
    authorization_header,
    build_redactor,
    find_all_keys,
    find_key,
    key_status,
    remove_stored_key,
    write_key_file,
)
from callsheet.errors import CallsheetError, KeyProblem, UnknownThing
from cases import cases

KEY = "q7Zk0wJ3nRtV9xB2mL8sdF5hYc1GaT6e"
OTHER = "Jw5vE0uQ8yN2cK6rJw5vE0uQ8yN2cK6r"
ENV = "POYO_API_KEY"

Finder = Callable[..., SecretKey | None]


@pytest.fixture
def find(tmp_path: Path) -> Finder:
    """`find_key` for poyo with the test's own places."""

    def find_poyo(value: str | None = None, *, use_keyring: bool = False) -> SecretKey | None:
        environ = {} if value is None else {ENV: value}
        return find_key("poyo", ENV, environ=environ, keys_directory=tmp_path / "keys", use_keyring=use_keyring)

    return find_poyo


def make_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "keys" / "poyo"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


class FakeKeyring(keyring.backend.KeyringBackend):
    """Holds one password per user name, or fails as configured."""

    priority = 1

    def __init__(self, passwords: dict[str, str], failure: Exception | None = None) -> None:
        super().__init__()
        self.passwords = passwords
        self.failure = failure

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure:
            raise self.failure
        return self.passwords.get(username) if service == "callsheet" else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.PasswordSetError

    def delete_password(self, service: str, username: str) -> None:
        raise keyring.errors.PasswordDeleteError


@pytest.fixture
def use_backend() -> Iterator[Callable[[FakeKeyring], None]]:
    """Puts a keyring backend in place and afterwards the one that was there."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def pieces(text: str, length: int = 6) -> set[str]:
    return {text[start : start + length] for start in range(len(text) - length + 1)}


def header_value(key: SecretKey | None) -> str:
    assert key is not None
    return authorization_header(key)[1]


def test_a_key_shows_its_fingerprint_and_never_its_value() -> None:
    """Text, format, debugging text, attributes, pickles and copies: none of them gives the value."""
    key = SecretKey("poyo", KEY, source="environment")
    shown = f"SecretKey(poyo, {key.fingerprint[:4]}…)"
    assert str(key) == repr(key) == f"{key}" == f"{key!s}" == shown
    assert f"{key:>40}" == shown.rjust(40)
    assert not hasattr(key, "__dict__")
    assert KEY not in repr([getattr(key, name, None) for name in dir(key) if not name.startswith("_SecretKey")])
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)
    with pytest.raises(TypeError):
        json.dumps(key)
    with pytest.raises(AttributeError):
        key.source = "elsewhere"
    with pytest.raises(AttributeError):
        del key.source


def test_keys_compare_by_value_and_gateway() -> None:
    """The same key from two places is one key; the same text for two gateways is not."""
    key = SecretKey("poyo", KEY, source="environment")
    assert key == SecretKey("poyo", KEY, source="file")
    assert hash(key) == hash(SecretKey("poyo", KEY, source="file"))
    assert key != SecretKey("poyo", OTHER, source="environment")
    assert key != SecretKey("apixo", KEY, source="environment")
    assert key != KEY


def test_only_one_function_of_the_project_builds_the_header() -> None:
    """No other source file spells the header's scheme in a format string or reaches for a key's value."""
    root = Path(callsheet.__file__).parent
    users = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "_SecretKey__value" in path.read_text("utf-8")
        or any(
            isinstance(node, ast.Constant) and node.value == "Bearer "
            for joined in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(joined, ast.JoinedStr)
            for node in joined.values
        )
    ]
    assert users == ["edges/keys/store.py"]
    assert authorization_header(SecretKey("poyo", KEY, source="file")) == ("Authorization", f"Bearer {KEY}")


def test_a_redactor_is_built_without_the_keys_being_handed_round() -> None:
    """What hides the keys is made where they are."""
    redactor = build_redactor([SecretKey("poyo", KEY, source="file"), SecretKey("apixo", OTHER, source="file")])
    assert redactor.text(f"{KEY}, {OTHER}") == "[key hidden], [key hidden]"
    assert not build_redactor([]).finds(KEY)


@pytest.mark.process
def test_the_environment_comes_before_the_file_and_the_file_before_the_keyring(
    find: Finder, tmp_path: Path, use_backend: Callable[[FakeKeyring], None]
) -> None:
    """Each place is asked only when those before it have nothing."""
    use_backend(FakeKeyring({"poyo": "keyring-" + KEY}))
    assert find() is None
    assert find(use_keyring=True) == SecretKey("poyo", "keyring-" + KEY, source="keyring")
    make_file(tmp_path, f"file-{KEY}\n".encode())
    found = find(use_keyring=True)
    assert header_value(found) == f"Bearer file-{KEY}"
    assert found is not None
    assert found.source == "file"
    found = find(f" {KEY}\r\n", use_keyring=True)
    assert header_value(found) == f"Bearer {KEY}"
    assert found is not None
    assert found.source == "environment"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  \n",
        "${POYO_API_KEY}",
        "${user_config.poyo_api_key}",
        "$POYO_API_KEY",
        "%POYO_API_KEY%",
        "<token>",
        "<your poyo key>",
        "{{ poyo_key }}",
        "your_api_key",
        "YOUR-API-KEY",
        "your key here",
        "poyo-key-here",
        "changeme",
        "replace_me",
        "xxxxxxxx",
        "********",
        "...",
        "…",
        "null",
        "None",
        "undefined",
    ],
)
def test_empty_values_and_placeholders_count_as_unset(find: Finder, tmp_path: Path, value: str) -> None:
    """Clients pass them for a setting that nobody made, so the next place is asked."""
    assert find(value) is None
    make_file(tmp_path, value.encode())
    assert find(value) is None
    make_file(tmp_path, KEY.encode())
    assert header_value(find(value)) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "value",
    [
        f"{KEY[:16]}\n{KEY[16:]}",
        f"{KEY[:16]} {KEY[16:]}",
        f"{KEY}\x00",
        f"{KEY}é",
        f"{KEY}\u200b",
        f"{KEY}\ud800",
        KEY[:7],
        KEY * 17,
    ],
)
def test_a_malformed_key_is_refused_without_a_trace_of_it(find: Finder, tmp_path: Path, value: str) -> None:
    """No six characters of it stand in the error or in anything the error holds on to."""
    with pytest.raises(KeyProblem) as caught:
        find(value)
    problems = [caught.value]
    make_file(tmp_path, value.encode("utf-8", "surrogatepass"))
    with pytest.raises(KeyProblem) as caught:
        find()
    problems.append(caught.value)
    for problem in problems:
        texts = f"{problem} {problem.args} {problem.__cause__!r} {problem.__context__!r}"
        assert not any(piece in texts for piece in pieces(KEY))
        assert "malformed" in texts


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660, 0o666])
def test_a_key_file_that_others_can_read_is_refused(find: Finder, tmp_path: Path, mode: int) -> None:
    """The error names the file and the command that closes it."""
    path = make_file(tmp_path, KEY.encode(), mode)
    with pytest.raises(KeyProblem, match="open to others") as caught:
        find()
    assert caught.value.next_step.text.endswith(f"chmod 600 {path}")
    assert KEY not in str(caught.value)
    assert find(OTHER) is not None


def test_a_linked_key_file_is_refused(find: Finder, tmp_path: Path) -> None:
    """What a link points at may change at any time."""
    (tmp_path / "real").write_text(KEY)
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "poyo").symlink_to(tmp_path / "real")
    with pytest.raises(KeyProblem, match="symbolic link"):
        find()


@pytest.mark.process  # The keyring library looks for its backends with other programs, once in a process.
@cases("failure", [keyring.errors.NoKeyringError(f"no {KEY}"), RuntimeError(KEY), OSError(KEY)])
def test_a_failing_keyring_is_reported_by_the_class_of_its_error(
    find: Finder, use_backend: Callable[[FakeKeyring], None], failure: Exception
) -> None:
    """Backends put anything into their messages, so no word of them is repeated."""
    use_backend(FakeKeyring({}, failure))
    with pytest.raises(KeyProblem, match=type(failure).__name__) as caught:
        find(use_keyring=True)
    assert KEY not in str(caught.value)
    assert find(use_keyring=False) is None


@pytest.mark.parametrize("gateway_id", ["", "..", "../poyo", "a/b", "poyo\x00", "POYO", ".poyo", "x" * 33])
def test_a_gateway_id_cannot_lead_out_of_the_keys_directory(tmp_path: Path, gateway_id: str) -> None:
    """Names become file names, so only plain ones are taken."""
    with pytest.raises(UnknownThing):
        find_key(gateway_id, ENV, environ={ENV: KEY}, keys_directory=tmp_path, use_keyring=False)
    with pytest.raises(UnknownThing):
        write_key_file(gateway_id, KEY, keys_directory=tmp_path)


def test_a_written_key_file_is_private_and_found_again(find: Finder, tmp_path: Path) -> None:
    """What setup stores, the program finds; a later key replaces it."""
    path = write_key_file("poyo", f"  {OTHER}\n", keys_directory=tmp_path / "keys")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert header_value(find()) == f"Bearer {OTHER}"
    write_key_file("poyo", KEY, keys_directory=tmp_path / "keys")
    assert header_value(find()) == f"Bearer {KEY}"


@pytest.mark.parametrize("value", ["", "your_api_key", "short", f"{KEY} {KEY}"])
def test_no_file_is_written_for_what_cannot_be_a_key(tmp_path: Path, value: str) -> None:
    """Typing errors are reported immediately and leave nothing behind."""
    with pytest.raises(KeyProblem) as caught:
        write_key_file("poyo", value, keys_directory=tmp_path / "keys")
    assert not any(piece in str(caught.value) for piece in pieces(KEY))
    assert not (tmp_path / "keys").exists()


@pytest.mark.process  # As above.
def test_every_unsealed_copy_is_found_and_those_that_can_be_are_removed(
    tmp_path: Path, use_backend: Callable[[FakeKeyring], None]
) -> None:
    """The environment is the person's own; a malformed copy does not hide the others."""

    class Forgetful(FakeKeyring):
        def delete_password(self, service: str, username: str) -> None:
            del self.passwords[username]

    held = Forgetful({"poyo": OTHER})
    use_backend(held)
    path = make_file(tmp_path, KEY.encode())
    keys = tmp_path / "keys"

    def found(value: str) -> list[SecretKey]:
        return find_all_keys("poyo", ENV, environ={ENV: value}, keys_directory=keys, use_keyring=True)

    assert [(key.source, header_value(key)) for key in found(KEY)] == [
        ("environment", f"Bearer {KEY}"),
        ("file", f"Bearer {KEY}"),
        ("keyring", f"Bearer {OTHER}"),
    ]
    assert [key.source for key in found("a b")] == ["file", "keyring"]
    assert [remove_stored_key(key, keys_directory=keys) for key in found(KEY)] == [False, True, True]
    assert not path.exists()
    assert held.passwords == {}
    assert [key.source for key in found(KEY)] == ["environment"]


@pytest.mark.process  # As above.
def test_an_entry_that_cannot_be_removed_is_reported(
    tmp_path: Path, use_backend: Callable[[FakeKeyring], None]
) -> None:
    """With the entry that the person has to remove."""
    use_backend(FakeKeyring({"poyo": KEY}))

    with pytest.raises(KeyProblem, match="PasswordDeleteError") as caught:
        remove_stored_key(SecretKey("poyo", KEY, source="keyring"), keys_directory=tmp_path)
    assert "callsheet/poyo" in caught.value.next_step.text


def test_the_status_tells_source_and_fingerprint_and_never_raises(tmp_path: Path) -> None:
    """One line for `doctor`: set, missing or malformed."""

    def status(environ: dict[str, str]) -> str:
        return key_status("poyo", ENV, environ=environ, keys_directory=tmp_path / "keys", use_keyring=False)

    assert status({}) == "missing"
    made = SecretKey("poyo", KEY, source="environment")
    assert status({ENV: KEY}) == f"set (environment, fingerprint {made.fingerprint})"
    assert status({ENV: "a b"}).startswith("malformed: The key for poyo in the environment variable POYO_API_KEY")
    make_file(tmp_path, KEY.encode(), 0o644)
    assert status({}).startswith("malformed: The key file")


def test_key_problems_answer_all_five_questions(find: Finder) -> None:
    """Nothing was sent, and a person can fix it."""
    with pytest.raises(CallsheetError) as caught:
        find("a b")
    assert caught.value.fate.value == "nothing_sent"
    assert caught.value.retry == "after_fix"
