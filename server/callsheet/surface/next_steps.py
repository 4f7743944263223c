"""Renders the next step for its reader: tool calls for an agent, commands that run when pasted for a person.

The only place that knows which tool or command each `Action` is. Pure, except that it looks once for the program
on PATH.
"""

from __future__ import annotations

import shlex
import shutil
import sys
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
        Action.DOCTOR,
        Action.INSTALL,
        Action.LIST_KEYS,
        Action.SEAL_KEY,
        Action.UNSEAL_KEY,
    }
)
"""What no tool does: an agent asks the user to run the command."""
TOOLS = {
    Action.EXPLAIN: ("explain_payload", ""),
    Action.SUBMIT: ("submit_video", "sheet_id"),
    Action.GET: ("get_task", "task_id"),
    Action.WAIT: ("get_task", "task_id"),
    Action.LIST: ("list_tasks", ""),
    Action.MODELS: ("list_models", ""),
}


def for_agent(step: NextStep) -> str:
    """The step with tool names.

    >>> for_agent(NextStep(Action.GET, "The task was already submitted.", target="task_1"))
    'The task was already submitted. Call get_task with task_id="task_1".'
    """
    if step.action in FOR_PEOPLE:
        desk = f" or open {step.desk_url}" if step.desk_url else ""
        return _joined(step.text, f"Ask the user to run `{command(step)}` in their own terminal{desk}.")
    if step.action not in TOOLS:
        return step.text
    tool, parameter = TOOLS[step.action]
    arguments = [f'{parameter}="{step.target}"'] if parameter and step.target else []
    arguments += [f"wait_seconds={step.seconds}"] if step.seconds else []
    return _joined(step.text, f"Call {tool}{' with ' if arguments else ''}{', '.join(arguments)}.")


def for_person(step: NextStep) -> str:
    """The step with a command that runs when pasted.

    >>> for_person(NextStep(text="Choose a longer one."))
    'Choose a longer one.'
    """
    if step.action in {Action.NOTHING, Action.READ}:
        return step.text
    desk = f" or open {step.desk_url}" if step.desk_url else ""
    return _joined(step.text, f"Run `{command(step)}`{desk}.")


def error_for_agent(error: CallsheetError) -> str:
    """The whole answer of an error, with its next step, for an agent."""
    return _joined(str(error), for_agent(error.next_step)).rstrip()


def command(step: NextStep) -> str:
    """The command of a step, as it runs when pasted; the empty string for a step without one."""
    if step.action in {Action.NOTHING, Action.READ}:
        return ""
    action = Action.WATCH if step.action is Action.WAIT and not step.target else step.action
    words = ["get" if action is Action.WAIT else action.value, *([shlex.quote(step.target)] if step.target else [])]
    wait = ["--wait", str(step.seconds)] if action is Action.WAIT and step.seconds else []
    accepted = ["--accepted", shlex.quote(step.accepted_as)] if step.accepted_as else []
    return " ".join([program(), *words, *wait, *accepted])


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


def _joined(text: str, call: str) -> str:
    return f"{text} {call}" if text else call
