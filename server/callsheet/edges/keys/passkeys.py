"""A person's passkeys: how they are registered and stored, and how a signature is verified.

On their own computer one private file holds only public keys, so reading it reveals nothing. An attacker who can write
the user's files can add a passkey, as they can replace the passphrase's verifier. Only one desk runs at a time, so the
file has one writer.
The `webauthn` library is imported when used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from callsheet.core.security.redaction import clean
from callsheet.core.signatures import challenge_of
from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import InvalidRequest, NotApproved, SetupProblem, UnknownThing

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

PASSKEYS_FILE = "passkeys.json"
RP_ID = "localhost"
"""A passkey belongs to a host name, not to an IP address, so the desk is served on `localhost`."""

MOST = 20
TIMEOUT_MILLISECONDS = 180_000

_WHAT = "list of passkeys"


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey. `id` and `public_key` are base64url; `sign_count` is the authenticator's own counter."""

    id: str
    name: str
    public_key: str
    sign_count: int
    made_at: float
    used_at: float | None = None


_SIGNED_PARTS = {"authenticator_data": "authenticatorData", "client_data": "clientDataJSON", "signature": "signature"}
"""The names of evidence, and where the browser's answer has them."""

_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
"""What reading a file or a browser's answer can raise; the last where it is nested too deep."""


class PasskeySet(ABC):
    """The passkeys of one person, who registers them and signs with them. Where they are kept is for a subclass.

    `rp_id` is the host name that they belong to.
    """

    def __init__(self, rp_id: str = RP_ID) -> None:
        self.rp_id = rp_id

    @abstractmethod
    def all(self) -> list[Passkey]:
        """Every passkey, oldest first."""

    @abstractmethod
    def add(self, passkey: Passkey) -> None:
        """Keep a new one."""

    @abstractmethod
    def keep_use(self, before: Passkey, after: Passkey) -> None:
        """Keep that one was used. Raises `NotApproved` if it was used by somebody else meanwhile."""

    @abstractmethod
    def remove(self, passkey_id: str) -> Passkey:
        """Remove one; raises `UnknownThing`."""

    def user(self) -> tuple[bytes, str]:
        """For whom the device keeps it: an id, and a name that the device shows."""
        return os.urandom(16), "Callsheet approvals"

    def registration_options(self, challenge: bytes) -> str:
        """What the browser needs to create a passkey, as JSON."""
        import webauthn
        from webauthn.helpers import structs

        options = webauthn.generate_registration_options(
            rp_id=self.rp_id,
            rp_name="Callsheet",
            user_name=self.user()[1],
            user_id=self.user()[0],
            challenge=challenge,
            timeout=TIMEOUT_MILLISECONDS,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.PREFERRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=self._descriptors(),
        )
        return webauthn.options_to_json(options)

    def register(self, credential: str, *, challenge: bytes, origin: str, name: str, now: float) -> Passkey:
        """Verify and store a new passkey; raises `InvalidRequest` if the browser's answer is not valid."""
        import webauthn
        from webauthn.helpers import bytes_to_base64url
        from webauthn.helpers.exceptions import WebAuthnException

        if len(self.all()) >= MOST:
            raise InvalidRequest(f"There are already {MOST} passkeys.", next_step="Remove one first.")
        try:
            verified = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=origin,
                require_user_verification=True,
            )
        except (WebAuthnException, *_UNREADABLE) as error:
            raise InvalidRequest(
                f"The new passkey could not be verified ({type(error).__name__}).",
                next_step="Try again, with a device that asks for a fingerprint, a face or a PIN.",
            ) from None
        passkey = Passkey(
            id=bytes_to_base64url(verified.credential_id),
            name=clean(name, limit=60) or "Passkey",
            public_key=bytes_to_base64url(verified.credential_public_key),
            sign_count=verified.sign_count,
            made_at=now,
        )
        self.add(passkey)
        return passkey

    def signing_options(self, challenge: bytes) -> str:
        """What the browser needs to sign a challenge, as JSON."""
        import webauthn
        from webauthn.helpers import structs

        options = webauthn.generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=TIMEOUT_MILLISECONDS,
            allow_credentials=self._descriptors(),
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def check(self, credential: str, *, statement: str, origin: str, now: float) -> tuple[Passkey, dict[str, str]]:
        """The passkey that signed this statement after verifying the person, and what proves it later.

        Raises `NotApproved`. A counter that did not increase points to a copied key, and is refused too.
        """
        import webauthn
        from webauthn.helpers import base64url_to_bytes
        from webauthn.helpers.exceptions import WebAuthnException

        try:
            answer = json.loads(credential)
            named = answer.get("id")
            found = next(item for item in self.all() if item.id == named)
            verified = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge_of(statement),
                expected_rp_id=self.rp_id,
                expected_origin=origin,
                credential_public_key=base64url_to_bytes(found.public_key),
                credential_current_sign_count=found.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, *_UNREADABLE, AttributeError, StopIteration) as error:
            raise NotApproved(
                f"The passkey's signature is not valid ({type(error).__name__}).",
                next_step="Try again, or approve in another way.",
            ) from None
        used = replace(found, sign_count=verified.new_sign_count, used_at=now)
        self.keep_use(found, used)
        parts = {name: answer["response"][part] for name, part in _SIGNED_PARTS.items()}
        return used, {"statement": statement, "public_key": used.public_key, **parts}

    def _descriptors(self) -> list[PublicKeyCredentialDescriptor]:
        from webauthn.helpers import base64url_to_bytes
        from webauthn.helpers.structs import PublicKeyCredentialDescriptor

        return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(item.id)) for item in self.all()]


class Passkeys(PasskeySet):
    """The passkeys in one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def all(self) -> list[Passkey]:
        """Every passkey, oldest first. Raises `SetupProblem` for a file that cannot be trusted or read."""
        content = read_private(self.path, what=_WHAT)
        if content is None:
            return []
        try:
            return [Passkey(**item) for item in json.loads(content)["passkeys"]]
        except _UNREADABLE:
            raise SetupProblem(
                f"The {_WHAT} {self.path} is damaged.", next_step="Remove it and register your passkeys again."
            ) from None

    def remove(self, passkey_id: str) -> Passkey:
        """Remove one; raises `UnknownThing`."""
        known = self.all()
        found = next((item for item in known if item.id == passkey_id), None)
        if found is None:
            raise unknown_passkey()
        self._write([item for item in known if item is not found])
        return found

    def add(self, passkey: Passkey) -> None:
        """Keep a new one."""
        self._write([*self.all(), passkey])

    def keep_use(self, before: Passkey, after: Passkey) -> None:
        """Keep that one was used. The one desk handles one request at a time."""
        self._write([after if item == before else item for item in self.all()])

    def _write(self, passkeys: list[Passkey]) -> None:
        text = json.dumps({"version": 1, "passkeys": [asdict(item) for item in passkeys]}, indent=1)
        write_private(self.path, text.encode(), what=_WHAT)


def unknown_passkey() -> UnknownThing:
    """The error for an id that nobody has."""
    return UnknownThing("There is no passkey with that id.", next_step="Reload the list of passkeys.")


def signing_key(evidence: Mapping[str, str], *, origin: str = "") -> str | None:
    """The passkey that made a kept signature, by its key's SHA-256 (16 hex digits); None where it is not right.

    `origin` is that of a team's desk. The port of a local one is another at each start: any of `localhost` will do.
    """
    import webauthn
    from webauthn.helpers import base64url_to_bytes

    try:
        response = {part: evidence[name] for name, part in _SIGNED_PARTS.items()}
        said = json.loads(base64url_to_bytes(evidence["client_data"]))["origin"]
        if not re.fullmatch(re.escape(origin) or rf"http://{RP_ID}:\d{{1,5}}", said):
            return None
        webauthn.verify_authentication_response(
            # The id of a credential is not signed.
            credential={"id": "AA", "rawId": "AA", "type": "public-key", "response": response},
            expected_challenge=challenge_of(evidence["statement"]),
            expected_rp_id=urlsplit(said).hostname or "",
            expected_origin=said,
            credential_public_key=base64url_to_bytes(evidence["public_key"]),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        return hashlib.sha256(base64url_to_bytes(evidence["public_key"])).hexdigest()[:16]
    except Exception:  # On bytes that somebody chose the library and its parsers raise more than they name.
        return None
