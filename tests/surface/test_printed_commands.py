"""Every command that a surface prints runs as it is printed: from another directory, in a fresh shell."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from cli_terminal import run_without_terminal
from connection import ERAS, SHOT, connect, explained
from desk_client import Desk, ask, generate_clip, open_desk, set_passphrase
from mcp import Client

from callsheet.compose import Surroundings, build_program
from callsheet.errors import Action, NextStep
from callsheet.surface import next_steps
from callsheet.surface.cli import run
from callsheet.surface.cli.application import COMMANDS
from callsheet.surface.desk.templating import STATIC
from callsheet.surface.mcp import snapshot
from callsheet.surface.next_steps import PROGRAM, whole_command
from workspace import Workspace, reply

_WORD = r"""(?:"[^"\n]*"|[^\s`,;#|"]+)"""
PRINTED = re.compile(rf"(?:^|[\s`])((?:CALLSHEET_HOME=\S+ )?(?:/[^\s`]*/)?callsheet(?: {_WORD})+)", re.MULTILINE)
"""The program by name or path, and its words up to the end of the line, of the sentence or of the quotation."""
CODE = re.compile(r"<code[^>]*>(.*?)</code>", re.DOTALL)
RUNS = [
    ["list"],
    ["doctor"],
    ["models"],
    ["explain", "A kite."],
    ["explain", "A kite.", "--model", "poyo/seedance-2"],
    ["explain", "A kite.", "--model", "poyo/seedance-2", "--json"],
    ["generate", "A kite."],
    ["explain"],
    ["nonsense"],
    ["get", "task_0"],
    ["submit", "sheet_0"],
    ["approve", "sheet_0"],
    ["models", "--model", "x"],
    ["install", "cluade"],
    ["allowances"],
    ["watch", "--stop", "--detach"],
    ["keys", "seal", "poyo"],
]
SNAPSHOTS = Path(__file__).parent / "mcp" / "snapshots"
PAGES = ("/", "/tasks", "/spending", "/allowances", "/passkeys", "/audit", "/sign-in", "/nowhere")


def find_commands(texts: Iterable[str]) -> set[str]:
    """The commands in these texts."""
    return {found.rstrip(".:)") for text in texts for found in PRINTED.findall(text)}


def run_as_printed(printed: set[str], workspace: Workspace, elsewhere: Path, *, on_path: bool) -> None:
    """Each with `--help`: a shell splits the line and finds the program; one line of each program runs there.

    The rest run in this process, with the words that the shell made of them. With `on_path` the program is installed
    where a shell finds it; otherwise PATH is that of this process.
    """
    elsewhere.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}" if on_path else os.environ["PATH"]
    lines = sorted(printed)
    shell = ["env", "-i", f"PATH={path}", f"CALLSHEET_HOME={workspace.home}", "bash", "-c"]
    split = subprocess.run(
        [*shell, "\n".join(f"printf '%s\\0' {line} --help; printf '\\n'" for line in lines)],
        capture_output=True, text=True, cwd=elsewhere, timeout=60, check=True,
    )  # fmt: skip
    program = build_program(Surroundings(workspace.environ, elsewhere, workspace.clock))
    programs = {}
    for line, words in zip(lines, split.stdout.removesuffix("\n").split("\n"), strict=True):
        start = next(at for at, word in enumerate(words.split("\0")) if "=" not in word)
        prefix, (name, *arguments) = words.split("\0")[:start], words.removesuffix("\0").split("\0")[start:]
        programs[(*prefix, name)] = line
        assert run(program, arguments) == 0, line
    for line in programs.values():
        ran = subprocess.run(
            [*shell, f"{line} --help"], capture_output=True, text=True, cwd=elsewhere, timeout=60, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, ""), line


@pytest.mark.slow
def test_every_command_that_the_terminal_prints_runs(workspace: Workspace, tmp_path: Path) -> None:
    """In answers, errors, examples, and for every next step there is."""
    told = [
        text
        for arguments in RUNS
        for ran in [run_without_terminal(arguments, workspace.environ, tmp_path)]
        for text in (ran.stdout, ran.stderr)
    ]
    steps = [NextStep(action, target="task_0") for action in Action]
    told += [f"`{found}`" for step in steps for found in (next_steps.command(step), whole_command(step)) if found]
    told += [f"`{PROGRAM} {example}`" for command in COMMANDS for example in command.examples]
    printed = find_commands(told)

    assert len(printed) > 40
    run_as_printed(printed, workspace, tmp_path / "elsewhere", on_path=True)


async def read_pages(desk: Desk, *more: str) -> list[str]:
    """What stands as code on the desk's pages, before and after signing in."""
    answers = [await desk.get(path) for path in PAGES]
    await desk.post("/session", key=desk.state.sessions.bearer or "")
    answers += [await desk.get(path) for path in (*PAGES, *more)]
    return [f"`{html.unescape(code)}`" for answer in answers for code in CODE.findall(answer.text)]


@pytest.mark.slow
async def test_every_command_on_the_desk_runs(workspace: Workspace, tmp_path: Path) -> None:
    """On each page, without and with a passphrase and a usable policy, with sheets and tasks, and in its script."""
    told = [script.read_text(encoding="utf-8") for script in STATIC.glob("*.js")]
    told += await read_pages(open_desk(workspace))
    workspace.go_live()
    set_passphrase(workspace.home)
    desk = open_desk(workspace)
    waiting = await ask(desk)
    workspace.gateway.replies = [reply({"code": 500, "message": "no"}, 500)]
    task_id = await generate_clip(desk)
    paths = (f"/sheets/{waiting}", f"/tasks/{task_id}", f"/tasks/{task_id}/models")
    told += await read_pages(desk, *paths)
    workspace.write_policy("mode = 'nonsense'\n")
    told += await read_pages(open_desk(workspace), *paths)
    printed = find_commands(told)

    assert {line.split()[-1] for line in printed} >= {"setup", "desk", "doctor"}
    run_as_printed(printed, workspace, tmp_path / "elsewhere", on_path=False)


def leaves(value: object) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict | list):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in leaves(item)]
    return [value] if isinstance(value, str) else []


async def read_documents(client: Client) -> list[str]:
    """What a server says of itself, and each resource."""
    listed = [await client.list_tools(), await client.list_prompts(), await client.list_resources()]
    uris = [item.uri for item in listed[2].resources]
    read = [await client.read_resource(uri) for uri in uris]
    prompt = await client.get_prompt("draft_shot", {"idea": "a kite"})
    return [text for said in (*listed, *read, prompt) for text in leaves(said.model_dump(mode="json", by_alias=True))]


async def ask_all(client: Client, *calls: tuple[str, dict[str, object]]) -> list[str]:
    """What the answers to these calls say."""
    answers = [await client.call_tool(tool, arguments) for tool, arguments in calls]
    return [text for answer in answers for text in leaves(answer.model_dump(mode="json", by_alias=True))]


@pytest.mark.slow
async def test_every_command_that_an_agent_is_told_runs(workspace: Workspace, tmp_path: Path) -> None:
    """In the snapshots, documents and answers: a person is needed, no passphrase, no usable policy."""
    files = [Path(snapshot.__file__).with_name(snapshot.FILE), *SNAPSHOTS.glob("*.json")]
    documents = [text for file in files for text in leaves(json.loads(file.read_text(encoding="utf-8")))]
    told: list[str] = []
    workspace.go_live()
    async with connect(workspace, ERAS[-1]) as client:
        documents += await read_documents(client)
        sheet_id = await explained(client)
        submit, cancel = (("submit_video", {"sheet_id": sheet_id}), ("cancel", {"id": sheet_id}))
        told += await ask_all(client, ("explain_payload", SHOT), submit)
        set_passphrase(workspace.home)
        told += await ask_all(client, ("explain_payload", SHOT), submit, ("list_tasks", {}), cancel, submit)
    workspace.write_policy("mode = 'nonsense'\n")
    async with connect(workspace, ERAS[-1]) as client:
        told += await ask_all(client, ("explain_payload", SHOT), submit, ("list_tasks", {}), ("list_models", {}))
    printed = find_commands(told)

    assert {word for line in printed for word in line.split()} >= {"approve", "setup"}
    run_as_printed(printed, workspace, tmp_path / "elsewhere", on_path=False)
    program = build_program(Surroundings(workspace.environ, tmp_path, workspace.clock))
    for line in find_commands(documents):
        # With the plain name, as documents are written for every reader.
        assert run(program, [*shlex.split(line)[1:], "--help"]) == 0, line
