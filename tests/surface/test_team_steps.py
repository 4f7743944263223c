"""In a team a next step is a page of the desk, a tool or an administrator's matter: nobody there has the program."""

from __future__ import annotations

import re
from itertools import product

import pytest

from callsheet import errors
from callsheet.errors import Action, CallsheetError, NextStep
from callsheet.surface.next_steps import (
    FOR_PEOPLE,
    command,
    error_for_agent,
    for_agent,
    for_person,
    in_team,
    whole_command,
)

URL = "https://clips.example.com/"
COMMAND = re.compile(r"callsheet (?!team (?:doctor|migrate|restored)`)")
ERRORS = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, CallsheetError)]
STEPS = [
    NextStep(action, target=target, desk_url=url, home="/home", seconds=45)
    for action, target, url in product(Action, ("", "a_1", "a_1 a_2"), ("", f"{URL}sheets/a_1"))
]


@pytest.mark.parametrize("action", Action)
def test_no_step_in_a_team_is_a_command_of_the_program(action: Action) -> None:
    """For people and for agents, with any target; each says what to do all the same."""
    with in_team(URL):
        for step in (step for step in STEPS if step.action is action):
            assert (command(step), whole_command(step)) == ("", "")
            agent, person = for_agent(step), for_person(step)
            assert not COMMAND.search(agent + person), (step, agent, person)
            if action in FOR_PEOPLE:
                assert URL in agent or "administrator" in agent
                assert URL in person or "administrator" in person


@pytest.mark.parametrize("error", ERRORS)
def test_no_error_in_a_team_names_one(error: type[CallsheetError]) -> None:
    """Whatever its next step."""
    with in_team(URL):
        for step in STEPS:
            assert not COMMAND.search(error_for_agent(error("It failed.", next_step=step)))


@pytest.mark.parametrize(
    ("step", "page"),
    [
        (NextStep(Action.APPROVE, target="sheet_1"), "sheets/sheet_1"),
        (NextStep(Action.APPROVE, target="sheet_1 sheet_2"), ""),
        (NextStep(Action.DECLINE, target="sheet_1"), "sheets/sheet_1"),
        (NextStep(Action.RESOLVE, target="task_1"), "tasks/task_1"),
        (NextStep(Action.GET, target="task_1 task_2"), "tasks"),
        (NextStep(Action.LIST), "tasks"),
        (NextStep(Action.RESUME), ""),
    ],
)
def test_a_step_leads_to_its_page(step: NextStep, page: str) -> None:
    """Of one thing to its own page, of several to the list; outside a team it is the command as before."""
    with in_team(URL):
        assert for_person(step) == f"Open {URL}{page}."
    assert command(step).startswith("callsheet") or "callsheet" in command(step)
