"""That a person, and not only a session, agrees: the passphrase or a passkey, in the very request that acts.

An agent with a shell can fetch the desk's pages and may get hold of a session. So a yes needs what it does not have.
Wrong passphrases are counted over all connections. A passkey signs a challenge made from exactly what is agreed to
(`subject`) and from a nonce that is kept here, works once, for the session that asked, for a few minutes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from callsheet.core.consent.approval import Means
from callsheet.edges.keys.passkeys import Passkeys
from callsheet.edges.keys.passphrase import check_passphrase, load_verifier
from callsheet.errors import InvalidRequest, NotApproved, SetupProblem

from .sessions import Session

TRIES = 5
PAUSE_SECONDS = 60.0
CHALLENGE_SECONDS = 300.0
MOST_CHALLENGES = 64

WRONG = "wrong_passphrase"
PAUSED = "too_many_tries"


class PassphraseCheck:
    """The passphrase, asked for slowly: one try at a time; after five wrong ones a minute between tries."""

    def __init__(self, verifier: Path, now: Callable[[], float], on_closed: Callable[[int], object]) -> None:
        """`on_closed` hears how many wrong tries there were whenever a pause begins."""
        self._on_closed = on_closed
        self._verifier = verifier
        self._now = now
        self._one_at_a_time = anyio.Lock()
        self._closed_until = float("-inf")
        self.wrong = 0

    def has_passphrase(self) -> bool:
        """Whether a passphrase is set; raises `SetupProblem` for a verifier that cannot be trusted."""
        return load_verifier(self._verifier) is not None

    async def check(self, passphrase: str) -> None:
        """Return if it is the passphrase; raises `NotApproved`, or `SetupProblem` when none is set."""
        async with self._one_at_a_time:
            left = self._closed_until - self._now()
            if left > 0:
                raise NotApproved(
                    f"The passphrase was wrong {self.wrong} times; it is not looked at for another {left:.0f} s.",
                    next_step="Wait that long, or approve in your own terminal with `callsheet approve`.",
                    code=PAUSED,
                )
            verifier = load_verifier(self._verifier)
            if verifier is None:
                raise SetupProblem(
                    "No approval passphrase has been set, so nobody can approve here.",
                    next_step="Run `callsheet setup` in your own terminal and choose one.",
                )
            if not passphrase:
                raise _not_it("The approval passphrase is missing.")
            if not await anyio.to_thread.run_sync(check_passphrase, passphrase, verifier):
                self._count_wrong()
                raise _not_it("That is not the approval passphrase.")
            self.wrong = 0

    def _count_wrong(self) -> None:
        self.wrong += 1
        if self.wrong >= TRIES:
            self._closed_until = self._now() + PAUSE_SECONDS
            self._on_closed(self.wrong)


def _not_it(message: str) -> NotApproved:
    return NotApproved(message, next_step="Type the passphrase that you chose in `callsheet setup`.", code=WRONG)


@dataclass(frozen=True, slots=True)
class Issued:
    """A challenge that was handed out: to whom, for what, until when."""

    session: str
    subject: str
    ends: float


class Challenges:
    """The challenges that wait to be signed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._issued: dict[str, Issued] = {}

    def issue(self, session: Session, subject: str) -> tuple[str, bytes]:
        """A new nonce, and the challenge to be signed."""
        now = self._now()
        kept = {nonce: item for nonce, item in self._issued.items() if now <= item.ends}
        while len(kept) >= MOST_CHALLENGES:
            kept.pop(next(iter(kept)))
        nonce = secrets.token_urlsafe(32)
        self._issued = {**kept, nonce: Issued(session.id, subject, now + CHALLENGE_SECONDS)}
        return nonce, challenge_for(subject, nonce)

    def redeem(self, session: Session, subject: str, nonce: str) -> bytes:
        """The challenge of that nonce, which is used up by this; raises `NotApproved` if it is not for this."""
        issued = self._issued.pop(nonce, None)
        if issued is None or self._now() > issued.ends or issued.session != session.id or issued.subject != subject:
            raise NotApproved(
                "What the passkey signed is not this, or is too old, or was used before.",
                next_step="Look at what is shown now and use the passkey again.",
            )
        return challenge_for(subject, nonce)


def challenge_for(subject: str, nonce: str) -> bytes:
    """SHA-256 over what is agreed to and the nonce; both are lengthened by their size, so that neither runs over."""
    parts = ("callsheet desk 1", subject, nonce)
    return hashlib.sha256("".join(f"{len(part)}:{part};" for part in parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Proof:
    """By which means a person agreed, and what is known of them beside that: the name of their passkey."""

    means: Means
    who: str = ""


@dataclass(frozen=True, slots=True)
class StepUp:
    """Decides whether a form carries a person's agreement to a subject."""

    door: PassphraseCheck
    passkeys: Passkeys
    challenges: Challenges
    origin: str
    time: Callable[[], float]

    async def prove(self, form: Mapping[str, str], session: Session, subject: str) -> Proof:
        """That a person agreed to the subject; raises `NotApproved`. Nothing else in a form counts."""
        if not form.get("passkey"):
            await self.door.check(form.get("passphrase", ""))
            return Proof(Means.DESK)
        nonce, credential = read_signature(form["passkey"])
        challenge = self.challenges.redeem(session, subject, nonce)
        used = self.passkeys.check(credential, challenge=challenge, origin=self.origin, now=self.time())
        return Proof(Means.PASSKEY, f"passkey {used.name}")


def read_signature(said: str) -> tuple[str, str]:
    """Nonce and credential (JSON) of what our script put into the form; raises `InvalidRequest`."""
    try:
        found = json.loads(said)
        nonce, credential = str(found["nonce"]), json.dumps(found["credential"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidRequest("That is no answer of a passkey.", next_step="Use the passkey again.") from None
    return nonce, credential


__all__ = ["PAUSED", "WRONG", "Challenges", "Door", "Proof", "Prover", "challenge_for", "read_signature"]
