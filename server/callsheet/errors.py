"""Every error that Callsheet raises on purpose.

    CallsheetError
    ├── CallerError            the caller can fix it
    │   ├── InvalidRequest         a shot, payload or argument breaks a documented rule
    │   ├── UnknownThing           no such sheet, task, gateway, model or document
    │   ├── NotApproved            a person's consent is missing, refused or out of date
    │   ├── PolicyRefusal          the person's policy forbids it: mode, caps, hosts
    │   └── KeyProblem             the gateway key is missing or malformed
    └── ExternalError          something outside failed
        ├── GatewayRefused         the gateway answered no; nothing was accepted
        ├── GatewayUnreachable     the request never arrived
        ├── OutcomeUnknown         the request may have arrived; it is never sent again automatically
        ├── DownloadProblem        a finished clip could not be downloaded or is not complete
         │   └── LinkGone               its link no longer works: ask the gateway for a fresh one
        ├── LedgerProblem          the ledger cannot be read or written
        │   └── LedgerOlder            it has forgotten what was sent: nothing is sent until a person accepts that
        └── SetupProblem           a file, directory or program that is needed is not usable

Each answers five questions: what happened (`message`), was anything sent and was money spent
(`fate`), may it be tried again (`retry`), and what to do now (`next_step`). A value in a message has
passed `core.security.redaction.clean`, and no message contains a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Action(StrEnum):
    """What the reader can do next. Each surface renders it for its reader, as a tool call or as a command.

    The first group needs only the text; an agent can do the second; only a person can do the third.
    """

    NOTHING = "nothing"
    READ = "read"

    EXPLAIN = "explain"
    SUBMIT = "submit"
    GET = "get"
    WAIT = "wait"
    VIEW = "view"
    LIST = "list"
    MODELS = "models"

    APPROVE = "approve"
    DECLINE = "decline"
    RESOLVE = "resolve"
    ACCEPT_LEDGER = "resolve --older-ledger"
    ALLOW = "allow"
    ALLOWANCES = "allowances"
    WATCH = "watch"
    WATCH_DETACHED = "watch --detach"
    RESUME = "resume"
    SETUP = "setup"
    MIGRATE = "team migrate"
    DOCTOR = "doctor"
    INSTALL = "install"
    LIST_KEYS = "keys list"
    SEAL_KEY = "keys seal"
    UNSEAL_KEY = "keys unseal"


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing to do now.

    `text` is a whole sentence, or empty; it names no tool and no command, because those depend on the reader.
    It precedes the call for `action`. `target` is the sheet, task or gateway id that the action applies to.
    `seconds` is how long to wait, for `WAIT`. `accepted_as` is an id that a person can confirm, for `RESOLVE`.
    `desk_url` is an address where a person can do it too. `home` is the home that the environment names, which the
    command must name as well.
    """

    action: Action = Action.READ
    text: str = ""
    target: str = ""
    seconds: int = 0
    desk_url: str = ""
    accepted_as: str = ""
    home: str = ""


ANOTHER_MODEL = "A person decides whether another model may be used."
ANOTHER_SHOT = "A person decides whether another shot may take its place."
AFTER_A_NO = NextStep(text="A person declined it. Ask what should change.")
DECLINED = "declined"
"""The code of the refusal of a sheet to which a person said no."""


class Fate(StrEnum):
    """What became of the request and of the money."""

    NOTHING_SENT = "nothing_sent"
    SENT_NOT_CHARGED = "sent_not_charged"
    CHARGED = "charged"
    UNKNOWN = "unknown"


FATE_SENTENCES: dict[Fate, str] = {
    Fate.NOTHING_SENT: "Nothing was sent; no money was spent.",
    Fate.SENT_NOT_CHARGED: "The gateway refused the request; nothing was charged.",
    Fate.CHARGED: "The gateway accepted the job and may have charged for it.",
    Fate.UNKNOWN: "It is not known whether the gateway accepted the job and charged for it.",
}


class CallsheetError(Exception):
    """Root of the tree; not raised itself.

    Attributes: `code` (stable, for programs), `message` (one or two sentences), `fate`, `retry`
    (`never`, `after_fix`, `after(<seconds>)`, `after_resolve`), `next_step` (one action; a string is advice
    that needs no tool and no command).
    """

    code: ClassVar[str] = "error"
    default_fate: ClassVar[Fate] = Fate.NOTHING_SENT
    default_retry: ClassVar[str] = "after_fix"

    def __init__(
        self,
        message: str,
        *,
        next_step: NextStep | str,
        fate: Fate | None = None,
        retry: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step if isinstance(next_step, NextStep) else NextStep(text=next_step)
        self.fate = fate or self.default_fate
        self.retry = retry or self.default_retry
        self.error_code = code or self.code

    def __str__(self) -> str:
        return f"{self.message} {FATE_SENTENCES[self.fate]}"


class CallerError(CallsheetError):
    """The caller's mistake: the same call fails again until something changes."""

    code = "caller_error"


class InvalidRequest(CallerError):
    """A shot, payload or argument breaks a documented rule."""

    code = "invalid_request"


class UnknownThing(CallerError):
    """No such sheet, task, gateway, model or document."""

    code = "not_found"


class NotApproved(CallerError):
    """A person's consent to this sheet is missing, refused or out of date."""

    code = "not_approved"


class PolicyRefusal(CallerError):
    """The person's policy forbids it."""

    code = "policy_refusal"


class KeyProblem(CallerError):
    """The gateway key is missing or malformed; its value is never part of the message."""

    code = "key_problem"


class ExternalError(CallsheetError):
    """Something outside the program failed."""

    code = "external_error"


class GatewayRefused(ExternalError):
    """The gateway answered no: nothing was accepted."""

    code = "gateway_refused"
    default_fate = Fate.SENT_NOT_CHARGED


class GatewayUnreachable(ExternalError):
    """The request never arrived."""

    code = "gateway_unreachable"
    default_retry = "after(30)"


class OutcomeUnknown(ExternalError):
    """The paid request may have arrived; it is never sent again automatically."""

    code = "outcome_unknown"
    default_fate = Fate.UNKNOWN
    default_retry = "after_resolve"


class DownloadProblem(ExternalError):
    """A finished clip could not be downloaded, or the download is not a complete video."""

    code = "download_problem"
    default_fate = Fate.CHARGED
    default_retry = "after(30)"


class LinkGone(DownloadProblem):
    """The link no longer leads to the clip (403, 404, 410): ask the gateway for a fresh one."""

    code = "link_gone"


class LedgerProblem(ExternalError):
    """The ledger cannot be read or written, so nothing may be submitted."""

    code = "ledger_problem"


class LedgerOlder(LedgerProblem):
    """The ledger has forgotten requests that were sent, so nothing live is sent.

    `unknown` holds the ids of their sheets, as far as they are known: each may have been charged for.
    """

    code = "older_ledger"

    def __init__(self, message: str, *, next_step: NextStep | str, unknown: tuple[str, ...] = ()) -> None:
        super().__init__(message, next_step=next_step)
        self.unknown = unknown


class SetupProblem(ExternalError):
    """A file, directory or program that is needed is not usable."""

    code = "setup_problem"
