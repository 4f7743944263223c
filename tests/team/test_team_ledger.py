"""What each person of a team sees of the ledger, and budgets that hold for everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from callsheet.core.consent import Caps, Means
from callsheet.core.people import PROGRAM, Budget, Payer, Period, Person, Role, Viewer
from callsheet.core.spending import Slots, SpendTerms
from callsheet.core.tasks import SheetEvent, SheetState, Task, TaskEvent, TaskFilter, TaskState
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.errors import LedgerProblem, NotApproved, PolicyRefusal, UnknownThing
from samples import START, a_sheet, a_task

ISSUER = "https://id.example"
WINDOWS = (START - 1000, START - 1000)


class Team:
    """One tenant, seen by whoever is the viewer now; each thread is its own."""

    def __init__(self, dsn: str, tenant: str) -> None:
        self.database = PostgresDatabase(dsn, tenant=tenant)
        self.people = People(self.database)
        self.here = threading.local()
        self.ledger = TeamLedger(self.database, lambda: getattr(self.here, "viewer", PROGRAM))

    def person(self, name: str, role: Role = Role.MEMBER, team: str = "red") -> Person:
        """Somebody who signed in."""
        return self.people.sign_in(ISSUER, name, name=name, team=team, role=role, now=START, said_at=START)

    def be(self, person: Person | None, agent: str = "") -> None:
        """Act as that person from now on."""
        self.here.viewer = Viewer(person, agent)

    def ask(self, person: Person, number: int = 0, callback_url: str | None = None) -> str:
        """That person drafts a shot, and a person approves it; returns the sheet's id."""
        self.be(person)
        drafted = {"state": SheetState.DRAFTED, "approved_by": None, "approved_at": None}
        sheet = a_sheet(f"sheet_{person.name}_{number}", **drafted)
        sheet = replace(sheet, shot=replace(sheet.shot, callback_url=callback_url))
        self.ledger.add_sheet(sheet, now=START)
        self.be(None)
        self.ledger.move_sheet(sheet.id, SheetEvent.APPROVED, now=START, by=Means.PASSKEY)
        return sheet.id

    def spend(self, sheet_id: str) -> Task:
        """Spend that sheet, live."""
        sheet = self.ledger.sheet(sheet_id)
        assert sheet is not None
        terms = SpendTerms(sheet.binding.digest, Caps(None, None, None), WINDOWS)
        return self.ledger.spend(sheet_id, task=a_task(sheet, f"task_{sheet_id}"), terms=terms, now=START)


@pytest.fixture
def team(dsn: str, tenant: str) -> Iterator[Team]:
    """A new tenant."""
    made = Team(dsn, tenant)
    yield made
    made.database.close()


def test_a_member_sees_their_own_and_an_approver_everybodys(team: Team) -> None:
    """By every way that leads to a sheet or a task."""
    ann, ben, eva = team.person("ann"), team.person("ben"), team.person("eva", Role.APPROVER)
    sheet_id = team.ask(ann)
    task = team.spend(sheet_id)
    ledger = team.ledger
    sheet = ledger.sheet(sheet_id)
    assert sheet is not None
    digest = sheet.binding.shot_digest
    looks: dict[str, Callable[[], object]] = {
        "sheet": lambda: ledger.sheet(sheet_id),
        "latest_sheet": lambda: ledger.latest_sheet(digest),
        "sheets": lambda: ledger.sheets(tuple(SheetState)),
        "takes": lambda: ledger.takes(digest),
        "task": lambda: ledger.task(task.id),
        "tasks": ledger.tasks,
        "history of the sheet": lambda: ledger.history(sheet_id),
        "history of the task": lambda: ledger.history(task.id),
        "the list": lambda: ledger.task_list.find(TaskFilter(), limit=-1),
        "the list by state": lambda: ledger.task_list.find(TaskFilter(states=(TaskState.WAITING,)), limit=5),
    }
    seen = {}
    for person in (ann, ben, eva, None):
        team.be(person)
        seen[person.name if person else "program"] = {name for name, look in looks.items() if look()}

    # What is drafted again is a person's own.
    assert seen == {"ann": set(looks), "ben": set(), "eva": {*looks} - {"latest_sheet"}, "program": set(looks)}


def test_what_a_member_does_not_see_they_cannot_change(team: Team) -> None:
    """Each act says that there is no such thing, and changes nothing."""
    ann, ben = team.person("ann"), team.person("ben")
    sheet_id = team.ask(ann)
    sheet = team.ledger.sheet(sheet_id)
    assert sheet is not None
    team.be(ben)
    with pytest.raises(UnknownThing):
        team.ledger.move_sheet(sheet_id, SheetEvent.DECLINED, now=START, by=Means.DESK)
    with pytest.raises(UnknownThing):
        team.ledger.spend(sheet_id, task=a_task(sheet), terms=SpendTerms("", Caps(), WINDOWS), now=START)
    team.be(None)
    task = team.spend(sheet_id)
    team.be(ben)
    with pytest.raises(UnknownThing):
        team.ledger.advance(task.id, "withdrawn", now=START, changes={})  # type: ignore[arg-type]

    team.be(None)
    assert team.ledger.task(task.id) == task


@pytest.mark.parametrize("event", [SheetEvent.ASKED, SheetEvent.TURNED_DOWN, SheetEvent.WITHDRAWN])
def test_nobody_asks_for_what_another_drafted_or_takes_it_back(team: Team, event: SheetEvent) -> None:
    """Neither an approver, nor an agent that has their token; they may decline."""
    ann, eva = team.person("ann"), team.person("eva", Role.APPROVER)
    team.be(ann)
    drafted = {"state": SheetState.AWAITING_APPROVAL, "approved_by": None, "approved_at": None}
    sheet = team.ledger.add_sheet(a_sheet("sheet_one", **drafted), now=START)
    for agent in ("", "codex"):
        team.be(eva, agent)
        with pytest.raises(NotApproved):
            team.ledger.move_sheet(sheet.id, event, now=START)
        assert team.ledger.sheet(sheet.id) == sheet
    team.be(ann, "codex")
    assert team.ledger.move_sheet(sheet.id, event, now=START).state is not SheetState.APPROVED


def test_nobody_takes_back_the_task_of_another(team: Team) -> None:
    """Until it is sent, its owner does, and the program where it cannot be sent."""
    ann, eva = team.person("ann"), team.person("eva", Role.ADMIN)
    tasks = [team.spend(team.ask(ann, number)) for number in range(2)]
    team.be(eva, "codex")
    with pytest.raises(NotApproved):
        team.ledger.advance(tasks[0].id, TaskEvent.WITHDRAWN, now=START, changes={})
    for person, task in zip((ann, None), tasks, strict=True):
        team.be(person)
        gone = team.ledger.advance(task.id, TaskEvent.WITHDRAWN, now=START, changes={})
        assert gone.state is TaskState.ABANDONED


@pytest.mark.parametrize("role", Role)
def test_the_same_shot_of_two_people_is_two_sheets(team: Team, role: Role) -> None:
    """No number of a take is used twice, and nobody gets the other's sheet: an approver would let the other pay."""
    ann, ben = team.person("ann"), team.person("ben", role)
    first = a_sheet("sheet_one")
    team.be(ann)
    team.ledger.add_sheet(first, now=START)
    team.be(ben)
    digest = first.binding.shot_digest
    assert (team.ledger.latest_sheet(digest), team.ledger.next_take(digest)) == (None, 2)
    second = replace(a_sheet("sheet_two"), take=2, binding=replace(first.binding, take="2"))
    assert team.ledger.add_sheet(second, now=START).id == "sheet_two"

    seen = {sheet.id for sheet in team.ledger.sheets(tuple(SheetState))}
    assert seen == ({"sheet_one", "sheet_two"} if role.approves else {"sheet_two"})
    assert team.ledger.latest_sheet(digest) == team.ledger.sheet("sheet_two")
    assert [team.ledger.owner(name) for name in ("sheet_one", "sheet_two", "none")] == [ann.id, ben.id, ""]


def test_of_two_calls_that_draft_one_shot_at_once_both_get_the_first_ones_sheet(team: Team) -> None:
    """As in local mode; where the first was another person, the call is to be made again."""
    ann, ben = team.person("ann"), team.person("ben")
    first = a_sheet("sheet_one")
    late = replace(first, id=a_sheet("sheet_two").id)
    team.be(ann)
    assert [team.ledger.add_sheet(sheet, now=START).id for sheet in (first, late)] == ["sheet_one"] * 2
    team.be(ben)
    with pytest.raises(LedgerProblem, match="in this moment"):
        team.ledger.add_sheet(late, now=START)
    assert [team.ledger.owner(name) for name in ("sheet_one", "sheet_two")] == [ann.id, ""]


@pytest.mark.parametrize(
    ("payer", "name", "fits"),
    [
        (Payer.PERSON, "ann", {"ann": 2, "ben": 3, "eva": 3}),
        (Payer.PERSON, "eva", {"ann": 3, "ben": 3, "eva": 2}),
        (Payer.TEAM, "red", {"ann": 2, "ben": 0, "eva": 3}),
        (Payer.GATEWAY, "poyo", {"ann": 2, "ben": 0, "eva": 0}),
    ],
)
def test_a_budget_holds_for_everybody_it_is_for_and_nobody_else(
    team: Team, payer: Payer, name: str, fits: dict[str, int]
) -> None:
    """Admins too. Two clips of 0.24 USD fit into half a dollar."""
    people = {"ann": team.person("ann"), "ben": team.person("ben"), "eva": team.person("eva", Role.ADMIN, "blue")}
    whose = people[name].id if payer is Payer.PERSON else name
    team.people.set_budget(payer, whose, Period.DAY, 500_000, may_widen=True)
    spent = dict.fromkeys(people, 0)
    for who, person in people.items():
        for number in range(3):
            sheet_id = team.ask(person, number)
            try:
                team.spend(sheet_id)
                spent[who] += 1
            except PolicyRefusal:
                sheet = team.ledger.sheet(sheet_id)
                assert sheet is not None
                assert sheet.state is SheetState.APPROVED

    assert spent == fits


def test_a_budget_warns_at_50_80_and_100_per_cent(team: Team) -> None:
    """Once each, when it is crossed."""
    ann = team.person("ann")
    team.people.set_budget(Payer.PERSON, ann.id, Period.MONTH, 1_200_000, may_widen=True)
    told = []
    for number in range(5):
        team.spend(team.ask(ann, number))
        told.append(len(team.ledger.warnings()))

    assert told == [0, 0, 1, 2, 3]
    assert team.ledger.spent(Budget(Payer.PERSON, ann.id, Period.MONTH, 0), {Period.MONTH: START - 1}) == 1_200_000
    team.people.set_budget(Payer.PERSON, ann.id, Period.MONTH, None, may_widen=True)
    assert team.people.budgets() == []


def test_ten_threads_share_a_budget_exactly(team: Team) -> None:
    """Room for five, and five fit."""
    ann = team.person("ann")
    team.people.set_budget(Payer.TEAM, "red", Period.DAY, 5 * 240_000, may_widen=True)
    sheets = [team.ask(ann, number) for number in range(10)]
    results: list[bool] = []

    def go(sheet_id: str) -> None:
        try:
            team.spend(sheet_id)
        except PolicyRefusal:
            results.append(False)
        else:
            results.append(True)

    threads = [threading.Thread(target=go, args=(sheet_id,)) for sheet_id in sheets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [False] * 5 + [True] * 5


def test_somebody_who_is_cut_off_has_no_token_left(team: Team) -> None:
    """And the provider's word does not let them in again; an admin's does."""
    ann = team.person("ann")
    team.people.add_agent_token(ann.id, "a hash", name="ci", now=START, ends_at=START + 60)
    found = team.people.find_agent_token("a hash", now=START)
    assert found is not None
    assert (found[0], found[1]) == (ann, "ci")
    assert team.people.find_agent_token("a hash", now=START + 60) is None

    assert team.people.cut_off(ann.id, now=START).disabled_at == START
    assert team.people.find_agent_token("a hash", now=START) is None
    assert team.person("ann").disabled_at == START
    assert team.people.let_in(ann.id).disabled_at is None


def test_somebody_without_a_role_keeps_no_token(team: Team) -> None:
    """A role lets them in again, with new ones."""
    ann = team.person("ann")
    team.people.add_agent_token(ann.id, "a hash", name="ci", now=START, ends_at=START + 60)
    team.people.end_access(ISSUER, "ann", said_at=START)

    assert team.people.find_agent_token("a hash", now=START) is None
    assert team.person("ann").disabled_at is None


def test_the_provider_decides_the_role_at_each_sign_in(team: Team) -> None:
    """One person, whatever they are called today."""
    first = team.person("ann")
    later = {"now": START + 5, "said_at": START + 5}
    again = team.people.sign_in(ISSUER, "ann", name="Ann B.", team="blue", role=Role.ADMIN, **later)

    assert (again.id, again.role, again.team, again.name) == (first.id, Role.ADMIN, "blue", "Ann B.")
    assert [person.id for person in team.people.all()] == [first.id]


def test_a_bell_makes_its_task_due_and_tells_that_the_gateway_calls_back(team: Team) -> None:
    """Only a bell that a gateway was given; another gateway's says nothing, and neither does an old one."""
    bell = f"poyo/{'b' * 32}"
    address = f"https://clips.example/callbacks/{bell}.{'c' * 27}"
    waiting = team.spend(team.ask(team.person("ann"), callback_url=address))
    team.ledger.claim(waiting.id, attempt="a", deadline=START + 9, now=START, slots=Slots(5, 5))
    accepted = {"gateway_task_id": "g1", "next_at": START + 90}
    task = team.ledger.advance(waiting.id, TaskEvent.ACCEPTED, now=START, changes=accepted)
    unknown = f"poyo/{'d' * 32}"

    assert not team.ledger.ring(unknown, now=START + 5)
    assert not team.ledger.is_called_back(task, since=START)
    assert team.ledger.ring(bell, now=START + 10)
    due = team.ledger.task(task.id)
    assert due is not None
    assert due.next_at == START + 10
    assert team.ledger.is_called_back(task, since=START + 9)
    assert not team.ledger.is_called_back(task, since=START + 10)
    assert not team.ledger.is_called_back(replace(task, gateway="apixo"), since=START)


def test_two_agents_who_draft_the_same_shot_in_one_moment_get_one_sheet(team: Team) -> None:
    """The other found no sheet yet, and made another one of the same take."""
    team.be(team.person("ann"))
    drafted = {"state": SheetState.DRAFTED, "approved_by": None, "approved_at": None}
    first, second = (a_sheet(name, binding=a_sheet("one").binding, **drafted) for name in ("sheet_1", "sheet_2"))

    assert [team.ledger.add_sheet(sheet, now=START).id for sheet in (first, second)] == ["sheet_1", "sheet_1"]
    assert [row["kind"] for row in team.ledger.history("sheet_1")] == ["drafted"]
