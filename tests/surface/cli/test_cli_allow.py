"""`callsheet allow`, `allowances`, `revoke` and `audit`: made by a person at a terminal, listed for everybody."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path

import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.service.submission import submit
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import Workspace, accepted, draft

PASSPHRASE = "a heron over the reeds"
ALLOW = ["allow", "--clips", "3", "--up-to", "1.50", "--for", "2h", "--models", "poyo/sora-2-official"]


@pytest.fixture
def armed(workspace: Workspace, program: Program) -> Program:
    """A live install whose person has set a passphrase."""
    workspace.go_live()
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    workspace.clock.time = time.time()
    return program


def test_a_person_allows_several_clips_with_the_passphrase(
    workspace: Workspace, armed: Program, cli: CommandLine
) -> None:
    """The terms are shown before it is asked for; then it is listed, used and revoked."""
    with Terminal(ALLOW, workspace.environ, armed.working_directory) as terminal:
        terminal.expect("At most 3 clips and 1.50 USD in total, for 2 h")
        terminal.expect("LIVE: each clip costs real money")
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        terminal.expect("callsheet revoke")
        assert terminal.finish() == 0
        assert PASSPHRASE not in terminal.text

    [listed] = json.loads(cli("allowances", "--json").out)["allowances"]
    assert (listed["clips"], listed["used_clips"], listed["up_to_usd"], listed["ended"]) == (3, 0, "1.50", None)
    sheet_id = draft(armed.build_service())
    workspace.gateway.replies = [accepted()]
    assert f"allowance {listed['allowance']}" in cli("submit", sheet_id, "--no-wait", "--json").out
    assert "1 of 3 clips, 0.24 of 1.50 USD" in cli("allowances").out
    revoked = cli("revoke", listed["allowance"])
    assert (revoked.code, "1 of 3 clips" in revoked.out) == (0, True)
    assert cli("allowances", "--open").out.startswith("There are no allowances")


def test_the_time_is_shown_as_long_as_it_is(workspace: Workspace, armed: Program) -> None:
    """Nothing is rounded off of what a person agrees to."""
    for given, shown in (("90m", "1 h 30 min"), ("36h", "1 day 12 h")):
        arguments = ["allow", *ALLOW[1:6], given, *ALLOW[7:]]
        with Terminal(arguments, workspace.environ, armed.working_directory) as terminal:
            terminal.expect(f"for {shown}\n")
            terminal.interrupt()
            assert terminal.finish() == ExitCode.INTERRUPTED


def test_terms_shown_under_another_policy_are_not_allowed(
    workspace: Workspace, armed: Program, cli: CommandLine
) -> None:
    """A policy that was edited while the person typed was not the one that they were shown."""
    with Terminal(ALLOW, workspace.environ, armed.working_directory) as terminal:
        terminal.expect("Approval passphrase: ")
        workspace.go_live("[caps]\nconcurrent = 4\n")
        terminal.type(PASSPHRASE)
        terminal.expect("has changed since these terms")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    assert json.loads(cli("allowances", "--json").out) == {"allowances": []}


def test_a_wrong_passphrase_allows_nothing(workspace: Workspace, armed: Program, cli: CommandLine) -> None:
    """Three tries, as for a sheet."""
    with Terminal(ALLOW, workspace.environ, armed.working_directory) as terminal:
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("a guess of an agent")
        terminal.expect("wrong 3 times")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    assert json.loads(cli("allowances", "--json").out) == {"allowances": []}


def test_without_a_terminal_nothing_can_be_allowed(workspace: Workspace, armed: Program, cli: CommandLine) -> None:
    """Not through a pipe, and no option says yes."""
    ran = run_without_terminal(ALLOW, workspace.environ, armed.working_directory, f"{PASSPHRASE}\n")
    assert ran.returncode == ExitCode.NOT_APPROVED
    for option in ("--yes", "--passphrase=x", "--force"):
        assert cli(*ALLOW, option).code == ExitCode.INVALID
    assert json.loads(cli("allowances", "--json").out) == {"allowances": []}


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--clips", "0", "clips must be 1 to 100"),
        ("--up-to", "five", "amount in US dollars"),
        ("--for", "2 hours", "minutes, hours or days"),
        ("--for", "30d", "7 days"),
        ("--models", "poyo/nothing", "no model of that id"),
        ("--models", ",", "at least one model"),
        ("--models", "sora-2-official", "names no gateway"),
    ],
)
def test_terms_out_of_bounds_are_refused_before_anybody_is_asked(
    armed: Program, cli: CommandLine, option: str, value: str, told: str
) -> None:
    """With the rule that they break."""
    arguments = list(ALLOW)
    arguments[arguments.index(option) + 1] = value
    ran = cli(*arguments)
    assert (ran.code, told in " ".join(ran.err.split())) == (ExitCode.INVALID, True)


def test_the_trail_is_shown_and_checked(workspace: Workspace, armed: Program, cli: CommandLine) -> None:
    """A trail that somebody wrote into is an error with its own exit code."""
    assert "is empty" in cli("audit").out
    cli("decline", draft(armed.build_service()))
    told = cli("audit").out
    assert "terminal: declined sheet_" in told
    assert "digest" in told
    assert not re.search("[0-9a-f]{40}", told)
    [entry] = json.loads(cli("audit", "--json").out)["entries"]
    assert (entry["actor"], entry["action"]) == ("terminal", "declined")
    verified = json.loads(cli("audit", "verify", "--json").out)
    assert verified == {
        "entries": 1,
        "latest": entry["hash"],
        "intact": True,
        "older": [],
        "signatures": {},
        "unsigned": [],
    }
    ledger = Path(workspace.home / "data" / "ledger.sqlite3")
    with sqlite3.connect(ledger) as db:
        db.executescript("DROP TRIGGER audit_is_final; UPDATE audit SET actor = 'desk'")
    db.close()
    ran = cli("audit", "verify")
    assert (ran.code, "entry 1" in ran.err) == (ExitCode.SETUP, True)


def test_verifying_names_each_live_task_that_nobody_approved(
    workspace: Workspace, armed: Program, cli: CommandLine
) -> None:
    """In a trail that is whole; the exit code is that of a ledger that cannot be trusted."""
    service = armed.build_service()
    approved, forged = draft(service), draft(service, Shot.of("A second kite.", duration_seconds=4))
    service.approve(approved, by=Means.TERMINAL)
    submit(service.deps, approved)
    assert cli("audit", "verify").code == ExitCode.OK
    with sqlite3.connect(workspace.home / "data" / "ledger.sqlite3") as db:
        db.execute("UPDATE task SET sheet_id = ?", (forged,))
    db.close()

    ran = cli("audit", "verify")

    [task] = service.tasks()
    assert (ran.code, task.task.id in ran.err, approved in ran.err) == (ExitCode.SETUP, True, False)


def test_pausing_is_easy_and_going_on_needs_the_person(workspace: Workspace, armed: Program, cli: CommandLine) -> None:
    """No passphrase to stop; a terminal and the passphrase to go on."""
    sheet_id = draft(armed.build_service())
    assert json.loads(cli("pause", "--json").out)["paused"] is True
    ran = cli("approve", sheet_id)
    assert (ran.code, "paused" in ran.err) == (ExitCode.POLICY, True)
    assert (
        run_without_terminal(["resume"], workspace.environ, armed.working_directory, f"{PASSPHRASE}\n").returncode == 3
    )
    assert cli("submit", sheet_id).code == ExitCode.POLICY
    with Terminal(["resume"], workspace.environ, armed.working_directory) as terminal:
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        terminal.expect("Submissions are resumed.")
        assert terminal.finish() == 0
    assert cli("submit", sheet_id).code == ExitCode.NOT_APPROVED
    assert "not paused" in cli("resume").out
    assert [entry["action"] for entry in json.loads(cli("audit", "--json").out)["entries"]] == ["resumed", "paused"]


def test_a_pause_and_how_it_ends_is_said_everywhere(workspace: Workspace, armed: Program, cli: CommandLine) -> None:
    """By every command that somebody may wonder with."""
    explain = ("explain", "A kite over dunes.", "--model", "poyo/sora-2-official", "--duration", "4")
    commands = (("list",), ("list", "--json"), ("watch",), ("doctor",), explain)
    before = [cli(*words) for words in commands]
    cli("pause")

    after = [cli(*words) for words in commands]

    assert not any("resume" in ran.out + ran.err for ran in before)
    assert [words for words, ran in zip(commands, after, strict=True) if " resume" not in ran.out + ran.err] == []
    assert isinstance(json.loads(after[1].out), dict)
