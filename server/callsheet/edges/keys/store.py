"""Gateway keys: where they are found and stored, and the one place that turns a key into a header.

A `SecretKey` shows a fingerprint, never its value; `authorization_header` passes the value to `edges.http`. A key comes
from the environment, a private file or the operating system's keyring, never from an argument, a tool or a project. No
message contains any part of a key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

from callsheet.core.catalogue.cards import GATEWAY_ID
from callsheet.core.security.redaction import Redactor, fingerprint
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.errors import KeyProblem, SetupProblem, UnknownThing

KEYRING_SERVICE = "callsheet"

_KEY = re.compile(r"[\x21-\x7e]{8,512}")
_PLACEHOLDER = re.compile(
    r"\$\{.*|\$[A-Z][A-Z0-9_]*|%[A-Z][A-Z0-9_]*%|<.*>|\{\{.*"
    r"|your[-_ ].*|.*[-_ ]key[-_ ]here|(?:change|replace)[-_ ]?me|x{3,}|\*{3,}|\.{3,}|…|null|none|undefined",
    re.IGNORECASE | re.DOTALL,
)


class SecretKey:
    """One gateway's key. Shows `SecretKey(poyo, 3f9a…)`, compares in constant time, cannot be pickled.

    `source` is `environment`, `file`, `keyring`, `sealed` or `typed`; `fingerprint` may be shown and stored.
    """

    __slots__ = ("__value", "fingerprint", "gateway_id", "source")

    fingerprint: str
    gateway_id: str
    source: str

    def __init__(self, gateway_id: str, value: str, *, source: str) -> None:
        object.__setattr__(self, "gateway_id", gateway_id)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "fingerprint", fingerprint(value))
        object.__setattr__(self, "_SecretKey__value", value)

    def __repr__(self) -> str:
        return f"SecretKey({self.gateway_id}, {self.fingerprint[:4]}…)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        same = hmac.compare_digest(_value_of(self).encode(), _value_of(other).encode())
        return same and self.gateway_id == other.gateway_id

    def __hash__(self) -> int:
        return hash((self.gateway_id, self.fingerprint))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a key does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a key does not change")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is never pickled or copied")


def _value_of(key: SecretKey) -> str:
    value: str = object.__getattribute__(key, "_SecretKey__value")
    return value


def authorization_header(key: SecretKey) -> tuple[str, str]:
    """The header that authenticates a request. The only place where a key becomes text again."""
    return "Authorization", f"Bearer {_value_of(key)}"


def build_redactor(keys: Iterable[SecretKey]) -> Redactor:
    """Removes these keys from everything that is shown, logged, stored or sent in a payload."""
    return Redactor(_value_of(key) for key in keys)


def encrypt_key(key: SecretKey, encrypt: Callable[[bytes], bytes]) -> bytes:
    """The key as `encrypt` encrypts it. For `sealed` only."""
    return encrypt(_value_of(key).encode("ascii"))


def key_from_plaintext(gateway_id: str, plaintext: bytes) -> SecretKey:
    """A decrypted key; raises `KeyProblem` for a text that cannot be one."""
    return _checked(gateway_id, plaintext.decode("ascii", "replace"), source="sealed", place="the sealed file")


def find_key(
    gateway_id: str, key_env: str, *, environ: Mapping[str, str], keys_directory: Path, use_keyring: bool
) -> SecretKey | None:
    """The gateway's key from the environment, else `<keys_directory>/<gateway>`, else the keyring; None if unset.

    Empty values and placeholders such as `${POYO_API_KEY}` or `<your key>` count as unset. Raises `KeyProblem` for a
    value that cannot be a key, for a file that others can read, and for a source that cannot be read.
    """
    path = key_path(gateway_id, keys_directory)
    value = _read_setting(environ.get(key_env))
    if value:
        return _checked(gateway_id, value, source="environment", place=f"the environment variable {key_env}")
    value = _read_setting(_read_key_file(path))
    if value:
        return _checked(gateway_id, value, source="file", place=f"the key file {path}")
    value = _read_setting(_read_keyring(gateway_id)) if use_keyring else None
    return _checked(gateway_id, value, source="keyring", place="the keyring") if value else None


def find_all_keys(
    gateway_id: str, key_env: str, *, environ: Mapping[str, str], keys_directory: Path, use_keyring: bool
) -> list[SecretKey]:
    """The unsealed keys of that gateway in all three sources; those that cannot be read or used are left out."""
    nowhere = keys_directory / "none"
    paths = (
        {"environ": environ, "keys_directory": nowhere, "use_keyring": False},
        {"environ": {}, "keys_directory": keys_directory, "use_keyring": False},
        {"environ": {}, "keys_directory": nowhere, "use_keyring": use_keyring},
    )
    found: list[SecretKey] = []
    for place in paths:
        try:
            key = find_key(gateway_id, key_env, **place)  # type: ignore[arg-type]
        except KeyProblem:
            continue
        if key is not None:
            found.append(key)
    return found


def store_key_file(key: SecretKey, *, keys_directory: Path) -> Path:
    """Store a key in its private file. Raises `SetupProblem` for the disk."""
    return write_key_file(key.gateway_id, _value_of(key), keys_directory=keys_directory)


def read_typed_key(gateway_id: str, value: str) -> SecretKey:
    """A key that a person typed; raises `KeyProblem` if it cannot be one."""
    typed = _read_setting(value)
    if not typed:
        raise KeyProblem("The key is empty or a placeholder.", next_step="Type the key.")
    return _checked(gateway_id, typed, source="typed", place="what was typed")


def remove_stored_key(key: SecretKey, *, keys_directory: Path) -> bool:
    """Remove a key from the file or keyring it was found in. False for the environment, where it cannot be removed.

    Raises `SetupProblem` or `KeyProblem`.
    """
    if key.source == "file":
        remove_private(key_path(key.gateway_id, keys_directory), what="key file")
    elif key.source == "keyring":
        import keyring

        try:
            keyring.delete_password(KEYRING_SERVICE, key.gateway_id)
        except Exception as error:  # see `_read_keyring`
            raise KeyProblem(
                f"The keyring entry for {key.gateway_id} could not be removed ({type(error).__name__}).",
                next_step=f"Remove the entry {KEYRING_SERVICE}/{key.gateway_id} from the keyring yourself.",
            ) from None
    return key.source in ("file", "keyring")


def key_status(
    gateway_id: str, key_env: str, *, environ: Mapping[str, str], keys_directory: Path, use_keyring: bool
) -> str:
    """For `doctor`: `set (environment, fingerprint …)`, `missing`, or `malformed: …` with the reason; never raises."""
    try:
        key = find_key(gateway_id, key_env, environ=environ, keys_directory=keys_directory, use_keyring=use_keyring)
    except KeyProblem as problem:
        return f"malformed: {problem.message}"
    return f"set ({key.source}, fingerprint {key.fingerprint})" if key else "missing"


def write_key_file(gateway_id: str, value: str, *, keys_directory: Path) -> Path:
    """Store a key that a person typed, for `find_key`. Raises `KeyProblem` or, for the disk, `SetupProblem`."""
    path = key_path(gateway_id, keys_directory)
    write_private(path, _value_of(read_typed_key(gateway_id, value)).encode("ascii"), what="key file")
    return path


@cache
def key_path(gateway_id: str, keys_directory: Path) -> Path:
    """The path of that gateway's private key file; raises `UnknownThing` if that cannot be an id."""
    if not GATEWAY_ID.fullmatch(gateway_id):
        raise UnknownThing("That is not the id of a gateway.", next_step="Name a gateway in the catalogue.")
    return keys_directory / gateway_id


def _read_setting(value: str | None) -> str | None:
    """The value without surrounding white space; None if it is not set."""
    stripped = (value or "").strip()
    return None if _PLACEHOLDER.fullmatch(stripped) else stripped or None


def _checked(gateway_id: str, value: str, *, source: str, place: str) -> SecretKey:
    if not _KEY.fullmatch(value):
        raise KeyProblem(
            f"The key for {gateway_id} in {place} is malformed: a key is 8 to 512 printable ASCII characters"
            " without spaces.",
            next_step="Copy the key again from the gateway's key page, without quotes or line breaks.",
        )
    return SecretKey(gateway_id, value, source=source)


def _read_key_file(path: Path) -> str | None:
    try:
        content = read_private(path, what="key file")
    except SetupProblem as problem:
        raise KeyProblem(problem.message, next_step=problem.next_step) from None
    # A strict decoder would put the bytes of a broken key into its exception.
    return None if content is None else content.decode("utf-8", "replace")


def _read_keyring(gateway_id: str) -> str | None:
    import keyring

    try:
        return keyring.get_password(KEYRING_SERVICE, gateway_id)
    except Exception as error:  # backends raise any type, and their texts are not trusted
        raise KeyProblem(
            f"The keyring could not be read ({type(error).__name__}).",
            next_step="Unlock the keyring, or set `keyring = false` under [keys] in the policy file.",
        ) from None
