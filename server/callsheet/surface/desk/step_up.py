"""Step-up checks: the passphrase or a passkey, in the same request that acts.

An agent with a shell can fetch the desk's pages and may obtain a session, so a session cannot approve.
Wrong passphrases are counted over all connections. A passkey signs a challenge derived from exactly what is approved
(`subject`) and a nonce. The nonce works once, for the session that asked, for a few minutes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from callsheet.core.consent import Means
from callsheet.core.signatures import build_statement, challenge_of, unknown_challenge
from callsheet.edges.keys.passkeys import Passkey, PasskeySet
from callsheet.edges.keys.passphrase import check_passphrase, load_verifier
from callsheet.errors import Action, InvalidRequest, NextStep, NotApproved, SetupProblem
from callsheet.surface.next_steps import program

from .sessions import DeskSession

TRIES = 5
PAUSE_SECONDS = 60.0
CHALLENGE_SECONDS = 300.0
MOST_CHALLENGES = 64

WRONG = "wrong_passphrase"
PAUSED = "too_many_tries"


class PassphraseCheck:
    """Checks the passphrase, one try at a time. After five wrong ones there is one try a minute."""

    def __init__(self, verifier: Path, now: Callable[[], float], on_pause: Callable[[int], object]) -> None:
        """`on_pause` is called with the number of wrong tries when a pause begins."""
        self._on_pause = on_pause
        self._verifier = verifier
        self._now = now
        self._one_at_a_time = anyio.Lock()
        self._paused_until = float("-inf")
        self.wrong = 0

    def has_passphrase(self) -> bool:
        """Whether a passphrase is set; raises `SetupProblem` for an untrusted verifier file."""
        return load_verifier(self._verifier) is not None

    async def check(self, passphrase: str) -> None:
        """Return if the passphrase is right; raises `NotApproved`, or `SetupProblem` when none is set."""
        async with self._one_at_a_time:
            left = self._paused_until - self._now()
            if left > 0:
                raise NotApproved(
                    f"Too many wrong passphrases. Try again in {left:.0f} s.",
                    next_step="Wait, or approve in your own terminal.",
                    code=PAUSED,
                )
            verifier = load_verifier(self._verifier)
            if verifier is None:
                raise SetupProblem(
                    "No approval passphrase has been set, so nothing can be approved here.",
                    next_step=NextStep(Action.SETUP, "Choose one in your own terminal."),
                )
            if not passphrase:
                raise _wrong_passphrase("The approval passphrase is missing.")
            if not await anyio.to_thread.run_sync(check_passphrase, passphrase, verifier):
                self._count_wrong_try()
                raise _wrong_passphrase("That is not the approval passphrase.")
            self.wrong = 0

    def _count_wrong_try(self) -> None:
        self.wrong += 1
        if self.wrong >= TRIES:
            self._paused_until = self._now() + PAUSE_SECONDS
            self._on_pause(self.wrong)


def _wrong_passphrase(message: str) -> NotApproved:
    return NotApproved(message, next_step="Type the passphrase you chose during setup.", code=WRONG)


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued challenge: its session, its subject, its end."""

    session: str
    subject: str
    ends: float


class Challenges:
    """The challenges that have been issued and not yet signed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._issued: dict[str, Issued] = {}

    def issue(self, session: DeskSession, subject: str) -> tuple[str, bytes]:
        """A new nonce, and the challenge to sign."""
        now = self._now()
        kept = {nonce: item for nonce, item in self._issued.items() if now <= item.ends}
        while len(kept) >= MOST_CHALLENGES:
            kept.pop(next(iter(kept)))
        nonce = secrets.token_urlsafe(32)
        self._issued = {**kept, nonce: Issued(session.id, subject, now + CHALLENGE_SECONDS)}
        return nonce, challenge_of(build_statement(subject, nonce))

    def redeem(self, session: DeskSession, subject: str, nonce: str) -> str:
        """The statement of that nonce, which cannot be used again. Raises `NotApproved` if it does not match."""
        issued = self._issued.pop(nonce, None)
        if issued is None or self._now() > issued.ends or issued.session != session.id or issued.subject != subject:
            raise unknown_challenge()
        return build_statement(subject, nonce)


@dataclass(frozen=True, slots=True)
class Proof:
    """How a person approved; with a passkey also its name and what proves its signature later."""

    means: Means
    evidence: Mapping[str, str] = field(default_factory=dict)


class ChallengeStore(Protocol):
    """Challenges that are signed once, by the session that asked."""

    def issue(self, session: DeskSession, subject: str) -> tuple[str, bytes]: ...
    def redeem(self, session: DeskSession, subject: str, nonce: str) -> str: ...


class StepUp(Protocol):
    """How a person proves on this desk that it is them. `sheet_id` is the sheet that the subject is about, if any."""

    @property
    def challenges(self) -> ChallengeStore: ...
    async def prove(
        self, form: Mapping[str, str], session: DeskSession, subject: str, *, sheet_id: str = ""
    ) -> Proof: ...
    def ask(self, session: DeskSession, subject: str, *, sheet_id: str = "") -> dict[str, str]: ...
    def require_permitted(self, sheet_id: str) -> None: ...
    async def confirm(self, form: Mapping[str, str], session: DeskSession) -> None: ...
    def can_confirm(self, session: DeskSession) -> bool: ...
    def ways(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Signatures:
    """Has passkeys sign subjects, and checks what they signed."""

    passkeys: PasskeySet
    challenges: ChallengeStore
    origin: str
    time: Callable[[], float]

    def ask(self, session: DeskSession, subject: str) -> dict[str, str]:
        """What a passkey must sign, for our script."""
        nonce, to_sign = self.challenges.issue(session, subject)
        return {"nonce": nonce, "options": self.passkeys.signing_options(to_sign)}

    def check(self, signed: str, session: DeskSession, subject: str) -> tuple[Passkey, dict[str, str]]:
        """The passkey that signed the subject, and what proves it; raises `NotApproved`."""
        nonce, credential = read_signature(signed)
        statement = self.challenges.redeem(session, subject, nonce)
        return self.passkeys.check(credential, statement=statement, origin=self.origin, now=self.time())


@dataclass(frozen=True, slots=True)
class LocalStepUp:
    """The passphrase, or a passkey: nothing else tells the person of this computer from an agent on it."""

    passphrase_check: PassphraseCheck
    signatures: Signatures

    @property
    def challenges(self) -> ChallengeStore:
        """Those that passkeys sign."""
        return self.signatures.challenges

    async def prove(self, form: Mapping[str, str], session: DeskSession, subject: str, *, sheet_id: str = "") -> Proof:
        """Check that a person approved the subject; raises `NotApproved`. Nothing else in a form counts."""
        if not form.get("passkey"):
            await self.confirm(form, session)
            return Proof(Means.DESK)
        used, evidence = self.signatures.check(form["passkey"], session, subject)
        return Proof(Means.PASSKEY, {"who": f"passkey {used.name}", **evidence})

    def ask(self, session: DeskSession, subject: str, *, sheet_id: str = "") -> dict[str, str]:
        """What a passkey must sign to approve the subject."""
        return self.signatures.ask(session, subject)

    def require_permitted(self, sheet_id: str) -> None:
        """The one person may approve everything."""

    async def confirm(self, form: Mapping[str, str], session: DeskSession) -> None:
        """Check that it is the person, for what no passkey can say, as which passkeys there are."""
        await self.passphrase_check.check(form.get("passphrase", ""))

    def can_confirm(self, session: DeskSession) -> bool:
        """Whether a passphrase is set."""
        return self.passphrase_check.has_passphrase()

    def ways(self) -> dict[str, Any]:
        """What a person can prove here that it is them with; raises `SetupProblem`."""
        return {
            "has_passphrase": self.passphrase_check.has_passphrase(),
            "has_passkey": bool(self.signatures.passkeys.all()),
            "decides": True,
            "no_way": f"No approval passphrase has been set. Choose one with `{program()} setup` in your own terminal.",
        }


def read_signature(render_error: str) -> tuple[str, str]:
    """The nonce and the credential (JSON) that our script put into the form; raises `InvalidRequest`."""
    try:
        found = json.loads(render_error)
        nonce, credential = str(found["nonce"]), json.dumps(found["credential"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidRequest("That is not a passkey signature.", next_step="Use the passkey again.") from None
    return nonce, credential
