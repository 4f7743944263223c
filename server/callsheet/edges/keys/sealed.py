"""Sealed keys: gateway keys that are stored encrypted with the approval passphrase, and those that this process opened.

`<keys directory>/<gateway>.sealed` is JSON text. Everything except the ciphertext is authenticated, and only the exact
text that was written is accepted, so a single changed byte makes opening fail. A sealed key works only for the address
that it was sealed for. While the file exists, no unsealed key of that gateway is used. The fingerprint can be read
without opening, and opening verifies it.

`OpenedKeys` holds the keys that are open: each for free reads at its address, and for paid requests only for sheets
that a person approved in this process. Permits exist only in memory, so no file and no row of the ledger can create
one. After `forget` nothing here refers to the key (Python cannot wipe memory).
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from callsheet.core.security.redaction import clean
from callsheet.edges.files.files import read_private, remove_private, write_private
from callsheet.errors import Action, CallsheetError, KeyProblem, NextStep, NotApproved, SetupProblem

from .passphrase import UnusableRecipe, create_recipe, derive_key, is_scrypt, require_length
from .store import SecretKey, encrypt_key, key_from_plaintext, key_path

SUFFIX = ".sealed"
CIPHER = "AES-256-GCM"

_WHAT = "sealed key"
_VERSION = 1
_PURPOSE = b"callsheet sealed key 1"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SealedKey:
    """The content of a sealed file. `base_url` is the only address the key may go to; `nonce` and `ciphertext` are
    base64."""

    version: int
    gateway: str
    base_url: str
    fingerprint: str
    kdf: str
    cipher: str
    nonce: str
    ciphertext: str

    @property
    def header(self) -> bytes:
        """What is authenticated: everything except the ciphertext, always written the same way."""
        fields = {name: value for name, value in asdict(self).items() if name != "ciphertext"}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def sealed_path(gateway_id: str, keys_directory: Path) -> Path:
    """The path of that gateway's sealed key, whether it exists or not."""
    plain = key_path(gateway_id, keys_directory)
    return plain.with_name(plain.name + SUFFIX)


def is_sealed(gateway_id: str, keys_directory: Path) -> bool:
    """Whether there is a sealed file. A damaged or unreadable one counts too, so that no other key is used instead."""
    try:
        sealed_path(gateway_id, keys_directory).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def seal_key(key: SecretKey, passphrase: str, *, base_url: str, recipe: str | None = None) -> SealedKey:
    """Encrypt a key for one address. `recipe` sets the cost (for tests). Raises `InvalidRequest`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    require_length(passphrase)
    recipe, nonce = recipe or create_recipe(), os.urandom(_NONCE_BYTES)
    bare = SealedKey(_VERSION, key.gateway_id, base_url, key.fingerprint, recipe, CIPHER, _text(nonce), "")
    cipher = AESGCM(_cipher_key(passphrase, recipe))
    ciphertext = encrypt_key(key, lambda plaintext: cipher.encrypt(nonce, plaintext, bare.header))
    return SealedKey(**{**asdict(bare), "ciphertext": _text(ciphertext)})


def open_key(sealed: SealedKey, passphrase: str, *, base_url: str) -> SecretKey:
    """The key, for that address.

    Raises `KeyProblem` for another address than it was sealed for, and `NotApproved` for a wrong passphrase or a
    changed file, which look the same.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    require_address(sealed, base_url)
    if is_scrypt(sealed.kdf):
        raise KeyProblem(
            f"The key for {sealed.gateway} was sealed with scrypt, which is no longer supported.",
            next_step=NextStep(Action.SEAL_KEY, "Remove the file, then seal the key again.", target=sealed.gateway),
        )
    try:
        cipher = AESGCM(_cipher_key(passphrase, sealed.kdf))
        plaintext = cipher.decrypt(base64.b64decode(sealed.nonce), base64.b64decode(sealed.ciphertext), sealed.header)
    except UnusableRecipe:
        raise _damaged(sealed.gateway) from None
    except InvalidTag:
        raise NotApproved(
            f"The passphrase does not open the sealed key for {sealed.gateway}: it is wrong, or the file was changed.",
            next_step=NextStep(Action.LIST_KEYS, "Type the passphrase that the key was sealed with."),
        ) from None
    key = key_from_plaintext(sealed.gateway, plaintext)
    if key.fingerprint != sealed.fingerprint:
        raise _damaged(sealed.gateway)
    return key


def require_address(sealed: SealedKey, base_url: str) -> None:
    """Raises `KeyProblem` unless that is the address that the key was sealed for."""
    if sealed.base_url != base_url:
        raise KeyProblem(
            f"The key for {sealed.gateway} was sealed for {clean(sealed.base_url, limit=200)} and goes to no other"
            f" address, but the policy names {clean(base_url, limit=200)}.",
            next_step=NextStep(
                Action.UNSEAL_KEY,
                "Check [gateways] in the policy file. If the new address is right, unseal the key and seal it again.",
                target=sealed.gateway,
            ),
            code="key_sealed",
        )


def load_sealed(gateway_id: str, *, keys_directory: Path) -> SealedKey | None:
    """The gateway's sealed key, None when it is not sealed. Raises `KeyProblem` for a file that cannot be used."""
    path = sealed_path(gateway_id, keys_directory)
    try:
        content = read_private(path, what=_WHAT)
    except SetupProblem as problem:
        raise KeyProblem(problem.message, next_step=problem.next_step) from None
    if content is None:
        return None
    sealed = _parse(content)
    if sealed is None or sealed.gateway != gateway_id:
        raise _damaged(gateway_id)
    return sealed


def write_sealed(sealed: SealedKey, *, keys_directory: Path) -> Path:
    """Store it, replacing the old file in one step. Raises `SetupProblem` for the disk."""
    path = sealed_path(sealed.gateway, keys_directory)
    write_private(path, _render(sealed), what=_WHAT)
    return path


def remove_sealed(gateway_id: str, *, keys_directory: Path) -> None:
    """Remove the sealed file. Raises `SetupProblem` for the disk."""
    remove_private(sealed_path(gateway_id, keys_directory), what=_WHAT)


def _render(sealed: SealedKey) -> bytes:
    return (json.dumps(asdict(sealed), indent=2) + "\n").encode("ascii")


def _parse(content: bytes) -> SealedKey | None:
    """What the file says; None unless it is exactly as it would be written."""
    try:
        found = json.loads(content.decode("ascii"))
        sealed = SealedKey(**found)
        known = type(sealed.version) is int and (sealed.version, sealed.cipher) == (_VERSION, CIPHER)
        texts = all(isinstance(value, str) for name, value in asdict(sealed).items() if name != "version")
        encoded = known and texts and _canonical(sealed.nonce) and _canonical(sealed.ciphertext)
        sound = encoded and len(base64.b64decode(sealed.nonce)) == _NONCE_BYTES and _render(sealed) == content
    except (ValueError, TypeError, RecursionError):
        return None
    return sealed if sound else None


def _canonical(text: str) -> bool:
    return _text(base64.b64decode(text, validate=True)) == text


def _cipher_key(passphrase: str, recipe: str) -> bytes:
    # Not the derived key itself: with a planted recipe that has the verifier's salt, it would equal the stored hash.
    return hmac.digest(derive_key(passphrase, recipe), _PURPOSE, "sha256")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _damaged(gateway_id: str) -> CallsheetError:
    return KeyProblem(
        f"The sealed key for {gateway_id} is damaged or was changed, so it is not used.",
        next_step=NextStep(
            Action.SEAL_KEY, "Restore a copy of the file, or remove it and seal the key again.", target=gateway_id
        ),
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    key: SecretKey
    base_url: str


@dataclass(frozen=True, slots=True)
class _Permit:
    gateway_id: str
    digest: str


class OpenedKeys:
    """The open keys. `generation` changes whenever a key is added or removed, so that a redactor can be rebuilt."""

    def __init__(self) -> None:
        self.generation = 0
        self._opened: dict[str, _Opened] = {}
        self._permits: dict[str, _Permit] = {}
        self._lent: dict[str, _Permit] = {}

    def keep(self, key: SecretKey, *, base_url: str) -> None:
        """Keep a key that was just opened for that address."""
        self._opened[key.gateway_id] = _Opened(key, base_url)
        self.generation += 1

    def allow(self, gateway_id: str, sheet_id: str, *, digest: str) -> None:
        """Permit one paid request for that sheet, as long as its binding has that digest."""
        self._permits[sheet_id] = _Permit(gateway_id, digest)

    def allows(self, sheet_id: str) -> bool:
        """Whether there is a permit for that sheet."""
        return sheet_id in self._permits

    def take(self, gateway_id: str, sheet_id: str, *, digest: str, base_url: str) -> SecretKey | None:
        """The key for the paid request of that sheet, once; None without a permit for exactly this."""
        permit = self._permits.get(sheet_id)
        key = self.for_reads(gateway_id, base_url=base_url)
        if key is None or permit is None or permit.gateway_id != gateway_id:
            return None
        if not hmac.compare_digest(permit.digest, digest):
            return None
        self._lent[sheet_id] = self._permits.pop(sheet_id)
        return key

    def give_back(self, sheet_id: str) -> None:
        """Return a used permit, because its request certainly bought nothing and may be tried again."""
        permit = self._lent.pop(sheet_id, None)
        if permit is not None:
            self._permits[sheet_id] = permit

    def settle(self, sheet_id: str) -> None:
        """Drop that sheet's permit, used or not."""
        self._permits.pop(sheet_id, None)
        self._lent.pop(sheet_id, None)

    def for_reads(self, gateway_id: str, *, base_url: str) -> SecretKey | None:
        """The key for free requests to the address it was sealed for; None if it is not open or is for another one."""
        opened = self._opened.get(gateway_id)
        return opened.key if opened is not None and opened.base_url == base_url else None

    def is_open(self, gateway_id: str) -> bool:
        """Whether that gateway's key is open."""
        return gateway_id in self._opened

    def gateways(self) -> tuple[str, ...]:
        """The gateways whose key is open."""
        return tuple(self._opened)

    def permitted(self, gateway_id: str) -> tuple[str, ...]:
        """The sheets of that gateway that may still be paid for, or are being paid for."""
        both = {**self._permits, **self._lent}
        return tuple(sheet_id for sheet_id, permit in both.items() if permit.gateway_id == gateway_id)

    def keys(self) -> Iterable[SecretKey]:
        """All open keys, for redaction."""
        return [opened.key for opened in self._opened.values()]

    def forget(self, gateway_id: str) -> None:
        """Drop a gateway's key and every permit to pay with it."""
        if self._opened.pop(gateway_id, None) is not None:
            self.generation += 1
        for sheet_id in self.permitted(gateway_id):
            self.settle(sheet_id)

    def forget_all(self) -> None:
        """Drop all keys and permits."""
        for gateway_id in self.gateways():
            self.forget(gateway_id)
