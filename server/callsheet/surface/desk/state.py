"""The state that the pages share: the use cases, sessions, approval checks and templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from callsheet.core.consent import Means
from callsheet.edges.config.policy_file import FILE_NAME
from callsheet.edges.keys.passkeys import PASSKEYS_FILE, Passkeys
from callsheet.service import Service

from .sessions import Sessions
from .step_up import Challenges, PassphraseCheck, StepUp
from .templating import Templates

HOST = "localhost"
COOKIE = "callsheet-desk"

Clock = Callable[[], float]
_CHECKS: WeakKeyDictionary[Service, PassphraseCheck] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class DeskState:
    """One run of the desk. `cookie` contains the port, because all ports of a host share cookies."""

    service: Service
    sessions: Sessions
    passphrase_check: PassphraseCheck
    step_up: StepUp
    passkeys: Passkeys
    templates: Templates
    policy_path: Path
    host: str
    cookie: str

    @property
    def origin(self) -> str:
        """The desk's own origin; a passkey needs a host name, so it is not an IP address."""
        return f"http://{self.host}"


def build_desk_state(service: Service, *, config: Path, verifier: Path, port: int, now: Clock) -> DeskState:
    """The desk on that port, of the home with that configuration. `now` is a monotonic clock."""
    host = f"{HOST}:{port}"

    def on_pause(wrong: int) -> None:
        service.record_audit("passphrase_refused", "desk", actor=Means.DESK.value, detail={"wrong_tries": str(wrong)})

    # A desk that a process opens again goes on counting wrong tries.
    passphrase_check = _CHECKS.setdefault(service, PassphraseCheck(verifier, now, on_pause))
    kept = Passkeys(config / PASSKEYS_FILE)
    step_up = StepUp(passphrase_check, kept, Challenges(now), f"http://{host}", service.now)
    templates = Templates(service.redactor)
    return DeskState(
        service, Sessions(now), passphrase_check, step_up, kept, templates, config / FILE_NAME, host, f"{COOKIE}-{port}"
    )
