"""What a surface may ask without a task or sheet: the catalogue, the policy, the state of the installation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts, ModelCard
from callsheet.core.consent import Policy
from callsheet.core.delivery import find_differences
from callsheet.core.gateway.endpoint import Endpoint, build_facts
from callsheet.core.security.redaction import Redactor
from callsheet.core.tasks import OPEN_STATES, Sheet, SheetState, Task, TaskFilter, TaskState

from . import consent, results
from .approval import questions
from .catalogue import ranking
from .catalogue.ranking import Query, Ranking
from .consent import Quote
from .dependencies import Dependencies, card_of, clip_seconds_of
from .ports import SecretKey

if TYPE_CHECKING:
    from .catalogue.refresh import Refreshed
    from .diagnostics.installation import Check, Install
    from .diagnostics.online import EndpointAnswer, GatewayAnswer

BAD_STATES = (TaskState.OUTCOME_UNKNOWN, TaskState.REJECTED, TaskState.FAILED, TaskState.EXPIRED)
LOOKED_AT = 60
"""How many of the latest clips are compared with their orders each time that the desk looks."""


class Queries:
    """The part of `Service` that changes nothing but what is known of the gateways and what a person dismissed."""

    def __init__(self, deps: Dependencies) -> None:
        self.deps = deps

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.deps.clock.now()

    def together(self) -> AbstractContextManager[None]:
        """For a block of many questions that waits for nothing else: the ledger is asked once for each."""
        return self.deps.ledger().together()

    def history(self, subject: str) -> list[dict[str, Any]]:
        """What happened to a task or a sheet, oldest first."""
        return self.deps.ledger().history(subject)

    @property
    def policy(self) -> Policy:
        """The policy in force; raises `SetupProblem` for a file that cannot be used."""
        return self.deps.policy()

    @property
    def catalogue(self) -> Catalogue:
        """All gateways with their model cards."""
        return self.deps.catalogue()

    def clip_file(self, name: str) -> AbstractAsyncContextManager[Path]:
        """The file of a clip or of its picture, which may be a copy that lasts as long as the block."""
        return self.deps.clips.local_copy(name)

    def facts(self, gateway_id: str) -> GatewayFacts:
        """That gateway's facts; raises `UnknownThing`."""
        return self.deps.facts(gateway_id)

    def cards(self, *, gateway: str | None = None) -> tuple[ModelCard, ...]:
        """The catalogue's cards, or those of one gateway."""
        return self.facts(gateway).models if gateway else self.catalogue.cards

    def card(self, gateway_id: str, model: str) -> ModelCard:
        """That model's card; raises `UnknownThing`."""
        return self.deps.card(gateway_id, model)

    def list_models(self, query: Query) -> Ranking:
        """The cards that fit a question about the catalogue; see `catalogue.ranking.list_models`."""
        return ranking.list_models(self.deps, query)

    def usual_seconds(self, task: Task) -> tuple[float, float] | None:
        """How long such a task usually takes, in its mode; None when no source says."""
        usual = card_of(self.deps, task).poll.usual_for(clip_seconds_of(self.deps, task))
        speed = self.deps.speed(task.mode)
        return None if usual is None else (usual[0] / speed, usual[1] / speed)

    def is_slow(self, task: Task) -> bool:
        """Whether an accepted task has taken longer than usual."""
        usual, began = self.usual_seconds(task), task.accepted_at
        if task.state not in OPEN_STATES or usual is None or began is None:
            return False
        return self.now() - began > usual[1]

    def needs_person(self, sheet_id: str) -> bool:
        """Whether a person must still agree to that sheet before it is sent. Raises what prevents it all the same."""
        sheet = consent.need_sheet(self.deps, sheet_id)
        if sheet.task_id is not None:
            return False
        consent.approvable(self.deps, sheet_id)
        return questions.undecided(self.deps, sheet_id) is not None

    def quote(self, sheet_ids: Sequence[str]) -> Quote:
        """The price of these sheets together, and what they are; see `consent.quote`."""
        return consent.quote(self.deps, sheet_ids)

    def notice(self) -> str:
        """What an answer says first under the policy in force; see `results.notice`."""
        return results.notice(self.deps, self.policy.mode)

    def asked(self) -> list[Sheet]:
        """The sheets that an agent asked a person about and that are not too old, the newest first."""
        now, found = self.now(), self.deps.ledger().sheets([SheetState.AWAITING_APPROVAL])
        return [sheet for sheet in found if now <= sheet.expires_at]

    def find_void(self, sheet: Sheet) -> str:
        """Why no approval can be for this sheet any more; see `consent.find_void`."""
        return consent.find_void(self.deps, sheet)

    def find_tasks(self, wanted: TaskFilter, *, limit: int, offset: int = 0) -> list[results.TaskReport]:
        """Those tasks, the newest first."""
        found = self.deps.ledger().task_list.find(wanted, limit=limit, offset=offset)
        return results.report_tasks(self.deps, found)

    def task_cards(self) -> list[str]:
        """The models that there are tasks of, each as `gateway/model`, sorted."""
        return self.deps.ledger().task_list.cards()

    def find_attention(self, *, limit: int) -> list[results.TaskReport]:
        """The tasks that a person should see and has not dismissed: what ended badly, and clips not as ordered."""
        find, ledger = self.deps.ledger().task_list.find, self.deps.ledger()
        bad = find(TaskFilter(BAD_STATES, undismissed=True), limit=limit)
        saved = find(TaskFilter((TaskState.SAVED,), undismissed=True), limit=LOOKED_AT)
        sheets = ledger.sheets_of(saved)
        differing = [task for task in saved if find_differences(sheets.get(task.sheet_id), task)]
        found = sorted([*bad, *differing], key=lambda task: -task.created_at)[:limit]
        return results.report_tasks(self.deps, found)

    def dismiss(self, task_ids: Sequence[str]) -> None:
        """A person has seen these tasks; they need no attention until they change."""
        self.deps.ledger().task_list.dismiss(task_ids, now=self.now())

    def desk_url(self) -> str | None:
        """Where a person has the desk page open, without anything that signs in; None where it is not."""
        return self.deps.desk_url()

    def find_key(self, facts: GatewayFacts) -> SecretKey | None:
        """The unsealed key in use for a gateway; None where it is missing or sealed. Raises `KeyProblem`."""
        return self.deps.find_key(facts)

    def stored_keys(self, facts: GatewayFacts) -> list[SecretKey]:
        """All unsealed keys of a gateway, in use or not."""
        return self.deps.stored_keys(facts)

    def key_address(self, facts: GatewayFacts) -> str:
        """Where a gateway's key is sent: its own address or the address in the policy, and the way there."""
        return self.deps.destination(facts)

    def redactor(self) -> Redactor:
        """Hides the configured keys in what a surface writes."""
        return self.deps.redactor()

    def check_up(self, install: Install) -> list[Check]:
        """Look at the whole installation; see `diagnostics.installation.check_up` and `diagnostics.hosts`."""
        from .diagnostics.hosts import check_hosts
        from .diagnostics.installation import check_up

        return [*check_up(self.deps, install), *check_hosts(install.environ)]

    def check_hosts(self, environ: Mapping[str, str], places: Mapping[str, Path]) -> Iterator[Check]:
        """Look at the hosts of these files, and ask those that can be asked; see `diagnostics.hosts.check_hosts`."""
        from .diagnostics.hosts import check_hosts

        return check_hosts(environ, places)

    async def ask_gateways(self) -> list[GatewayAnswer]:
        """Ask every gateway what is free to ask; see `diagnostics.online.ask_gateways`."""
        from .diagnostics.online import ask_gateways

        return await ask_gateways(self.deps)

    async def send_test_notice(self) -> list[tuple[str, str]]:
        """Send a notice that nothing waits: where it went, and what became of it there. Raises `SetupProblem`."""
        return await self.deps.notices.send_test()

    async def ask_endpoint(self, endpoint: Endpoint, *, named_now: bool = False) -> EndpointAnswer:
        """Ask a server what is free to ask; see `diagnostics.online.ask_endpoint`.

        `named_now`: a person has just named it at a terminal, so its key may go there. Raises `KeyProblem` otherwise.
        """
        from .diagnostics.online import ask_endpoint

        facts = build_facts(endpoint)
        key = None if self.deps.is_sealed(facts.id) else self.deps.find_key(facts)
        if key is not None and not named_now:
            self.deps.require_named_address(facts)
        return await ask_endpoint(self.deps, endpoint, key)

    def describe_lists(self) -> str:
        """When the gateways' own lists were fetched; see `catalogue.refresh.describe_lists`."""
        from .catalogue.refresh import describe_lists

        return describe_lists(self.deps)

    async def refresh_catalogues(self, gateway_id: str | None = None) -> list[Refreshed]:
        """Fetch what the gateways publish; see `catalogue.refresh.refresh`. For a person's act only."""
        from .catalogue.refresh import refresh

        return await refresh(self.deps, gateway_id)
