"""What the use cases need of the outside, passed on by the composition root in one value.

Nothing here opens or sends anything: each member is an edge, or a function that builds one on first use, so that
listing tools costs nothing. Also the pace: every request to a gateway is reserved with the shared rate limiter first.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import anyio

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts, ModelCard
from callsheet.core.clips import OBJECT
from callsheet.core.consent import Mode, Policy
from callsheet.core.gateway.protocol import USUAL, Gateway, Route
from callsheet.core.payload.request import fold_name, name_known, offer_name
from callsheet.core.security.redaction import Redactor, clean
from callsheet.core.security.urls import is_loopback
from callsheet.core.shot import Shot
from callsheet.core.tasks import Sheet, Task
from callsheet.errors import Action, KeyProblem, LedgerProblem, NextStep, SetupProblem, UnknownThing

from .ports import (
    ClipStore,
    Clock,
    HttpClient,
    Ledger,
    NoticeSender,
    OpenKeys,
    PictureStore,
    PolicySource,
    PublishedStore,
    SealedKey,
    SecretKey,
    SentMark,
    Wakeups,
    build_redactor,
    require_address,
)

BURST_SHARE = 10
LEAST_BURST = 2
"""A paid request and the balance read before it go out together."""
_ADDRESS = re.compile(r"(https?://[^\s/?#\"'<>]+)[/?#][^\s\"'<>]+", re.IGNORECASE)
ROUNDING_SECONDS = 1e-3
"""What times near the epoch's size lose to rounding, and more: no wait at all."""

KEY_SEALED = "key_sealed"
"""The code of the problem of a task that waits for a person to open its sealed key."""

KEY_RETURNED = "key_returned"
"""The code of the problem of a task whose gateway answered with our own key as an id, a state or a link."""

KEY_RETURNED_TEXT = "the gateway gave the key back: replace it"


class Changes:
    """Wakes those who wait for something to change in this process; a spurious wake does no harm."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Wake everybody who waits."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after that many seconds."""
        if self._event is None:
            self._event = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._event.wait()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The edges. `runner_id` owns the tasks that this process follows. `home` is the home that the environment names.

    `signing_key` names the passkey that made a kept signature; None where the signature is not right.
    `find_key` finds no key where it is sealed; `sealed_key` reads the sealed file, `stored_keys` finds unsealed copies,
    and `opened` holds what a person opened in this process.
    `sandbox_url` starts the sandbox on first use and returns its base URL. `desk_url` is the address of the desk, if
    it is open. `is_named_address` tells whether a person named that address for a gateway's key at a terminal,
    `has_passphrase` whether a person has set an approval passphrase or a passkey, `is_followed` whether any process
    follows tasks now. `known_account` knows the fingerprint of a key that only other processes have, `has_sender`
    whether any of them has it now, and `callback_for` the address at which a gateway may ring for a shot;
    `called_back` tells whether it does. With `only_desk`, people approve nowhere else. `start_watcher` starts the
    background process that does, and tells whether it runs. `paced` holds the time reserved with the rate limiter for
    a task's next request; `sending` the tasks whose paid request is on its way in this process; `uploaded` the links
    of the files that this process uploaded for a task, by the name of each file.
    """

    ledger: Callable[[], Ledger]
    sent: SentMark
    http: HttpClient
    clock: Clock
    catalogue: Callable[[], Catalogue]
    published: PublishedStore
    gateway: Callable[[str], Gateway]
    policy: PolicySource
    find_key: Callable[[GatewayFacts], SecretKey | None]
    is_sealed: Callable[[str], bool]
    sealed_key: Callable[[str], SealedKey | None]
    stored_keys: Callable[[GatewayFacts], list[SecretKey]]
    opened: OpenKeys
    redactor: Callable[[], Redactor]
    sandbox_url: Callable[[], Awaitable[str]]
    sandbox_plays: Callable[[str], bool]
    sandbox_key: SecretKey
    clips: ClipStore
    notices: NoticeSender
    pictures: PictureStore
    save_directory: Callable[[Policy], Path]
    signing_key: Callable[[Mapping[str, str]], str | None]
    runner_id: str
    home: str = ""
    desk_url: Callable[[], str | None] = lambda: None
    is_named_address: Callable[[str, str], bool] = lambda _gateway_id, _url: False
    has_passphrase: Callable[[], bool] = lambda: True
    is_followed: Callable[[], bool] = lambda: True
    start_watcher: Callable[[], bool] = lambda: False
    known_account: Callable[[str], str] | None = None
    has_sender: Callable[[str], bool] = lambda _gateway_id: True
    only_desk: bool = False
    callback_for: Callable[[str, Shot], str | None] = lambda _gateway, _shot: None
    called_back: Callable[[Task], bool] = lambda _task: False
    changes: Wakeups = field(default_factory=Changes)
    paced: dict[str, float] = field(default_factory=dict)
    sending: dict[str, anyio.CancelScope] = field(default_factory=dict)
    uploaded: dict[str, dict[str, str]] = field(default_factory=dict)

    def facts(self, gateway_id: str) -> GatewayFacts:
        """That gateway's facts; raises `UnknownThing`."""
        gateways = self.catalogue().gateways
        exact = next((item for item in gateways if item.id == gateway_id), None)
        if exact is not None:
            return exact
        known = {fold_name(item.id): item for item in gateways}
        facts = known.get(fold_name(gateway_id))
        if facts is None:
            self.policy()  # it may declare that one, with a mistake
            names = [item.id for item in known.values()]
            raise UnknownThing(
                f"There is no gateway of that name (known: {', '.join(names)}).",
                next_step=offer_name(gateway_id, names),
            )
        return facts

    def card(self, gateway_id: str, model: str) -> ModelCard:
        """That model's card; raises `UnknownThing`."""
        facts = self.facts(gateway_id)
        card = next((card for card in facts.models if card.model == model), None)
        if card is None:
            self.policy()
            known = [item.model for item in facts.models]
            raise UnknownThing(
                f"{facts.name} has no model of that id ({name_known(model, known)}).",
                next_step=offer_name(model, known),
            )
        return card

    def speed(self, mode: Mode) -> float:
        """How many times faster than real time that mode runs. An unusable policy must not prevent an answer."""
        try:
            return self.policy().sandbox_speed if mode is Mode.SANDBOX else 1.0
        except SetupProblem:
            return Policy().sandbox_speed

    def live_way(self, facts: GatewayFacts) -> tuple[str, Route]:
        """The gateway's own address, or the address in the policy, and how it is reached: from one look at the file."""
        policy = self.policy()
        endpoint = policy.endpoint(facts.id)
        own = facts.base_url if endpoint is None else endpoint.base_url
        return policy.base_url(facts.id) or own, policy.route(facts.id)

    def live_base_url(self, facts: GatewayFacts) -> str:
        """The gateway's own address, or the address in the policy."""
        return self.live_way(facts)[0]

    def destination(self, facts: GatewayFacts) -> str:
        """That address with everything else that decides who gets a request: what a key is sealed or named for."""
        base_url, route = self.live_way(facts)
        return route.destination(base_url)

    async def reach(self, mode: Mode, facts: GatewayFacts) -> tuple[str, SecretKey | None, Route]:
        """Base URL, key and route for free requests in that mode; no key where it is missing, or sealed and not open.

        The real key never goes to the sandbox, a sealed one never to another address than it was sealed for, and an
        unsealed one only to the gateway's own address or one that a person named: `KeyProblem`.
        """
        if mode is Mode.SANDBOX:
            path = f"endpoints/own-{facts.id}/v1" if facts.own else facts.id
            return f"{await self.sandbox_url()}/{path}", self.sandbox_key, USUAL
        base_url, route = self.live_way(facts)
        where = route.destination(base_url)
        if not facts.key_env:
            return base_url, None, route
        if self.is_sealed(facts.id):
            key = self.opened.for_reads(facts.id, base_url=where)
            if key is None and (sealed := self.sealed_key(facts.id)) is not None:
                require_address(sealed, where)
            return base_url, key, route
        key = self.find_key(facts)
        if key is not None:
            self.require_named_address(facts, where)
        return base_url, key, route

    def require_named_address(self, facts: GatewayFacts, where: str = "") -> None:
        """Raises `KeyProblem` unless an unsealed key may go there: to what the policy has for it, if not said."""
        where = where or self.destination(facts)
        if (facts.own or where != facts.base_url) and not self.is_named_address(facts.id, where):
            raise KeyProblem(
                f"The policy sends requests for {facts.name} to {clean(where, limit=400)}, and no person named this"
                " address for the key.",
                next_step=NextStep(
                    Action.SETUP,
                    "Check [gateways], [endpoints] and [network] in the policy file. If that is right, a person"
                    " confirms it.",
                ),
            )

    def account(self, facts: GatewayFacts) -> str:
        """The fingerprint of the live key, sealed or not; empty without a key."""
        if not facts.key_env:
            return ""
        if self.known_account is not None:
            return self.known_account(facts.id)
        if self.is_sealed(facts.id):
            sealed = self.sealed_key(facts.id)
            return sealed.fingerprint if sealed else ""
        key = self.find_key(facts)
        return key.fingerprint if key else ""

    def clip_at(self, task: Task) -> str | None:
        """Where a person finds the clip: its file, or the desk's page where it is an object in storage."""
        if task.clip is None or not task.clip.path.startswith(OBJECT):
            return task.clip.path if task.clip else None
        return f"{self.desk_url() or ''}tasks/{task.id}"

    def sanitize(self, text: str, *, limit: int = 300) -> str:
        """A gateway's text as it may be stored and shown: without our keys, cleaned, bounded. Still untrusted.

        Of an address only the host is left: it may be the link of a picture of the person's, which opens it for anyone.
        """
        return clean(_ADDRESS.sub(r"\1/…", self.redactor().text(text)), limit=limit)

    def holds_key(self, key: SecretKey | None, *values: str) -> bool:
        """Whether a value has the key that was just used, or another that is known, in any spelling."""
        redactors = [self.redactor(), *([build_redactor([key])] if key is not None else [])]
        spellings = {text for value in values for text in (value, unquote(value), unquote(unquote(value)))}
        return any(redactor.finds(text) for redactor in redactors for text in spellings)

    async def loopback_origin(self, mode: Mode, facts: GatewayFacts) -> str | None:
        """The one plain-http address that clips may come from: the sandbox, or a test double that the person set."""
        if mode is Mode.SANDBOX:
            return await self.sandbox_url()
        base_url = self.live_base_url(facts)
        return base_url if base_url.startswith("http://") and is_loopback(base_url) else None

    @property
    def go_live(self) -> str:
        """Who can switch to live mode, as a sentence."""
        if self.only_desk:
            return "Only an administrator of the team's server can switch to live mode; no tool can."
        return "Only a person can switch to live mode, in their own terminal; no tool can."

    def need_key(self, facts: GatewayFacts) -> None:
        """Raises `KeyProblem` without a key that may be used for live requests; a sealed key counts."""
        if not facts.key_env:
            return
        if not self.has_sender(facts.id):
            raise KeyProblem(
                f"No worker has a key for {facts.name} now, so nothing can be sent there.",
                next_step=NextStep(Action.DOCTOR, "Approvals stay valid as long as before."),
            )
        if not self.account(facts):
            raise KeyProblem(
                f"No key for {facts.name} was found.",
                next_step=NextStep(Action.SETUP, f"Only a person can set {facts.key_env} or store a key."),
            )
        if not self.is_sealed(facts.id):
            self.require_named_address(facts)


def clip_seconds_of(deps: Dependencies, task: Task) -> int | None:
    """How long the task's clip will be, where the time that its gateway needs depends on that."""
    if not card_of(deps, task).poll.usual_by_length:
        return None
    sheet = deps.ledger().sheet(task.sheet_id)
    return sheet.shot.seconds if sheet else None


def card_of(deps: Dependencies, item: Sheet | Task) -> ModelCard:
    """The card of a sheet or task; raises `UnknownThing` when the catalogue no longer has it."""
    gateway, _, model = item.card_id.partition("/")
    return deps.card(gateway, model)


def keep_taken_back(deps: Dependencies) -> None:
    """After a person took something back: no damage to the write-ahead log may undo that.

    It is stored already; where a reader keeps the log from being emptied, the next paid request empties it.
    """
    with suppress(LedgerProblem):
        deps.ledger().sent.empty_log()


def wait_for_pace(deps: Dependencies, task: Task, *, requests: int = 1) -> bool:
    """Whether the task's next request, or the next few together, may go out now.

    If not, they are reserved and the task is due again then. One row per gateway and key in the ledger keeps
    the rate exact over all processes. A tenth of the gateway's rate is kept for bursts, so that no minute
    holds more requests than the gateway allows.
    """
    return _reserve(deps, task, _account(deps, task), _pace(deps, task), requests=requests)


def wait_for_upload(deps: Dependencies, task: Task) -> bool:
    """The same for an upload, which some gateways count apart."""
    rule = deps.facts(task.gateway).upload
    if rule is None or rule.per_minute is None:
        return wait_for_pace(deps, task)
    interval = 60.0 / max(1, rule.per_minute - LEAST_BURST) / deps.speed(task.mode)
    return _reserve(deps, task, f"{_account(deps, task)}/upload", (interval, LEAST_BURST))


def _reserve(deps: Dependencies, task: Task, account: str, pace: tuple[float, int], *, requests: int = 1) -> bool:
    interval, burst = pace
    now = deps.clock.now()
    reserved = deps.paced.pop(f"{task.id} {account}", None)
    # A reservation that was slept through is gone: used late, many requests would go out together.
    if reserved is not None and now <= reserved + interval * burst:
        return True
    wait = 0.0
    for _ in range(requests):
        wait = deps.ledger().reserve_pace(account, interval=interval, burst=burst, now=now)
    if wait <= ROUNDING_SECONDS:
        return True
    deps.paced[f"{task.id} {account}"] = now + wait
    deps.ledger().touch(task.id, now=now, changes={"next_at": now + wait}, lasting=False)
    return False


def count_request(deps: Dependencies, task: Task) -> None:
    """Count a request that goes out immediately, out of turn, so that those reserved after it wait for it."""
    interval, burst = _pace(deps, task)
    deps.ledger().reserve_pace(_account(deps, task), interval=interval, burst=burst, now=deps.clock.now())


def _pace(deps: Dependencies, task: Task) -> tuple[float, int]:
    """Seconds between requests, and how many may go together after a pause."""
    limit = card_of(deps, task).rate_limit
    per_minute = limit.requests_per_minute or limit.assumed_per_minute
    burst = max(LEAST_BURST, per_minute // BURST_SHARE)
    # A tenth is kept in reserve: requests may overtake each other, and still no minute may hold more.
    return 60.0 / max(1, per_minute - 2 * burst) / deps.speed(task.mode), burst


def _account(deps: Dependencies, task: Task) -> str:
    """The limiter's row: a gateway counts by key. The sandbox is one account for each gateway."""
    account = deps.account(deps.facts(task.gateway)) if task.mode is Mode.LIVE else ""
    return f"{task.mode.value}/{task.gateway}/{account}"
