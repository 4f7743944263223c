"""Renders the next step for its reader: tool calls for an agent, commands that run when pasted for a person.

The only place that knows which tool or command each `Action` is. Pure, except that it looks once for the program
on PATH. In a team, where nobody has the program, a step is a page of the desk or a matter for an administrator.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from callsheet.edges.process.installed import PACKAGE, is_cached, write_command
from callsheet.errors import Action, CallsheetError, NextStep

PROGRAM = PACKAGE
FOR_PEOPLE = frozenset(
    {
        Action.APPROVE,
        Action.DECLINE,
        Action.RESOLVE,
        Action.ACCEPT_LEDGER,
        Action.ALLOW,
        Action.ALLOWANCES,
        Action.WATCH,
        Action.WATCH_DETACHED,
        Action.RESUME,
        Action.SETUP,
        Action.MIGRATE,
        Action.DOCTOR,
        Action.INSTALL,
        Action.LIST_KEYS,
        Action.SEAL_KEY,
        Action.UNSEAL_KEY,
    }
)
"""What no tool does: an agent asks the user to run the command."""
TOOLS = {
    Action.EXPLAIN: ("explain_payload", "", ""),
    Action.SUBMIT: ("submit_video", "sheet_ids", ", price and what as above"),
    Action.GET: ("get_task", "task_ids", ""),
    Action.WAIT: ("get_task", "task_ids", ""),
    Action.VIEW: ("view_clip", "task_id", ", compare with the prompt, report clip_path"),
    Action.LIST: ("list_tasks", "", ""),
    Action.MODELS: ("list_models", "", ""),
}
"""The tool of each action, the argument that takes its target, and what else belongs to the call."""


TEXT_FOR_PEOPLE = frozenset({Action.NOTHING, Action.READ, Action.VIEW})
TEAM_PAGES = {
    Action.APPROVE: "sheets/",
    Action.DECLINE: "sheets/",
    Action.SUBMIT: "sheets/",
    Action.RESOLVE: "tasks/",
    Action.GET: "tasks/",
    Action.WAIT: "tasks/",
    Action.LIST: "tasks",
    Action.RESUME: "",
}
"""The page of a team's desk for each action. The targets of one follow it."""
TEAM_COMMANDS = {
    Action.DOCTOR: "team doctor",
    Action.MIGRATE: Action.MIGRATE.value,
    Action.ACCEPT_LEDGER: "team restored",
}
"""What an administrator of a team's server can run."""

_team_desk: ContextVar[str] = ContextVar("team_desk", default="")


@contextmanager
def in_team(desk_url: str) -> Iterator[None]:
    """Render the steps in the block for the people of the team with that desk, and for their agents."""
    token = _team_desk.set(desk_url)
    try:
        yield
    finally:
        _team_desk.reset(token)


def for_agent(step: NextStep) -> str:
    """The step with tool names.

    >>> for_agent(NextStep(Action.GET, "The task was already submitted.", target="task_1"))
    'The task was already submitted. Call get_task with task_ids=["task_1"].'
    """
    if step.action in FOR_PEOPLE and _team_desk.get():
        page = _team_page(step)
        told = f"open {page}, or to send it to an approver of their team" if page else f"tell {_administrator(step)}"
        return _joined(step.text, f"Ask the user to {told}.")
    if step.action in FOR_PEOPLE:
        desk = f" or open {step.desk_url}" if step.desk_url else ""
        run = whole_command(step) if step.action is Action.APPROVE else command(step)
        return _joined(step.text, f"Ask the user to run `{run}` in their own terminal{desk}.")
    if step.action not in TOOLS:
        return step.text
    tool, parameter, more = TOOLS[step.action]
    listed = ", ".join(f'"{target}"' for target in step.target.split())
    arguments = [f"{parameter}=[{listed}]" if parameter.endswith("s") else f"{parameter}={listed}"] if listed else []
    arguments += [f"wait_seconds={step.seconds}"] if step.seconds else []
    # An agent has the path of a clip in the answer, and sees the clip with a tool.
    text = "" if step.action is Action.VIEW else step.text
    return _joined(text, f"Call {tool}{' with ' if arguments else ''}{', '.join(arguments)}{more if listed else ''}.")


def for_person(step: NextStep) -> str:
    """The step with a command that runs when pasted.

    >>> for_person(NextStep(text="Choose a longer one."))
    'Choose a longer one.'
    """
    if step.action in TEXT_FOR_PEOPLE:
        return step.text
    if _team_desk.get():
        page = _team_page(step)
        asked = "your agent" if step.action in TOOLS else _administrator(step)
        return _joined(step.text, f"Open {page}." if page else f"Ask {asked}.")
    desk = f" or open {step.desk_url}" if step.desk_url else ""
    return _joined(step.text, f"Run `{command(step)}`{desk}.")


def for_administrator(step: NextStep) -> str:
    """The step with a command, for who runs the team's server."""
    known = TEAM_COMMANDS.get(step.action)
    return _joined(step.text, f"Run `{PROGRAM} {known}`.") if known else step.text


def error_for_agent(error: CallsheetError) -> str:
    """The whole answer of an error, with its next step, for an agent."""
    return _joined(str(error), for_agent(error.next_step)).rstrip()


def command(step: NextStep) -> str:
    """The command of a step, as it runs when pasted; the empty string for a step without one."""
    if step.action in TEXT_FOR_PEOPLE or _team_desk.get():
        return ""
    action = Action.WATCH if step.action is Action.WAIT and not step.target else step.action
    words = ["get" if action is Action.WAIT else action.value, *map(shlex.quote, step.target.split())]
    wait = ["--wait", str(step.seconds)] if action is Action.WAIT and step.seconds else []
    accepted = ["--accepted", shlex.quote(step.accepted_as)] if step.accepted_as else []
    return " ".join([program(), *words, *wait, *accepted])


def whole_command(step: NextStep) -> str:
    """The same for any shell: with the absolute path of the program, and with the home that its process was given."""
    name, _, rest = command(step).partition(" ")
    if not name:
        return ""
    found = shutil.which(name) if name == PROGRAM else None
    home = f"CALLSHEET_HOME={shlex.quote(step.home)} " if step.home else ""
    return f"{home}{shlex.quote(found) if found else name} {rest}".rstrip()


@cache
def program() -> str:
    """What starts this program in a shell: its name if PATH leads to it, else its absolute path.

    A run from a cache is started as it was, because the path and PATH itself are only for that run.
    """
    own = Path(sys.argv[0] or PROGRAM).absolute()
    if is_cached(str(own)):
        return write_command(once=True)
    found = shutil.which(PROGRAM)
    if found and (own.name != PROGRAM or Path(found).samefile(own)):
        return PROGRAM
    beside = Path(sys.executable).with_name(PROGRAM)
    known = own if own.name == PROGRAM and own.exists() else beside
    return shlex.quote(str(known)) if known.exists() else f"{shlex.quote(sys.executable)} -m callsheet"


def _team_page(step: NextStep) -> str:
    """Where on the desk of the team it is done; empty for what is done nowhere there."""
    page = TEAM_PAGES.get(step.action)
    if step.desk_url or page is None:
        return step.desk_url
    targets = step.target.split()
    # Several are listed on the first page or among the tasks.
    found = page + targets[0] if page.endswith("/") and len(targets) == 1 else page.replace("sheets/", "").rstrip("/")
    return f"{_team_desk.get()}{found}"


def _administrator(step: NextStep) -> str:
    known = TEAM_COMMANDS.get(step.action)
    return f"an administrator of the team's server{f', who can run `{PROGRAM} {known}`' if known else ''}"


def _joined(text: str, call: str) -> str:
    return f"{text} {call}" if text else call
