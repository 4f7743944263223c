"""What the pages share: the use cases, who is signed in, how agreement is proved, and how a page is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from callsheet.core.consent.approval import Means
from callsheet.edges.keys.passkeys import Passkeys
from callsheet.service import Service

from .sessions import Sessions
from .step_up import Challenges, PassphraseCheck, StepUp
from .templating import Templates

HOST = "localhost"
COOKIE = "callsheet-desk"

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class DeskState:
    """One start of the desk. `cookie` holds the port, since cookies are shared by all ports of a host."""

    service: Service
    sessions: Sessions
    door: PassphraseCheck
    prover: StepUp
    passkeys: Passkeys
    paper: Templates
    host: str
    cookie: str

    @property
    def origin(self) -> str:
        """The desk's own origin; a passkey needs a name, so it is not an address."""
        return f"http://{self.host}"


def build_desk_state(service: Service, *, passkeys: Path, verifier: Path, port: int, now: Clock) -> DeskState:
    """The desk on that port. `now` is a clock that nobody sets back."""
    host = f"{HOST}:{port}"

    def on_closed(wrong: int) -> None:
        service.record_audit("passphrase_refused", "desk", actor=Means.DESK.value, detail={"wrong_tries": str(wrong)})

    door, kept = PassphraseCheck(verifier, now, on_closed), Passkeys(passkeys)
    prover = StepUp(door, kept, Challenges(now), f"http://{host}", service.deps.clock.now)
    paper = Templates(service.redactor)
    return DeskState(service, Sessions(now), door, prover, kept, paper, host, f"{COOKIE}-{port}")


__all__ = ["HOST", "Office", "open_office"]
