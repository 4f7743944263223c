"""`callsheet export` and `callsheet prune`."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal

from callsheet.core.consent import Means
from callsheet.core.tasks import TaskState
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, Workspace, accepted, draft, status

DAY = 24 * 3600.0


@pytest.fixture
def failed(workspace: Workspace, program: Program, cli: CommandLine) -> str:
    """A live task that failed at the gateway, which said back the key; its id."""
    workspace.go_live()
    service = program.build_service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [accepted(), status("failed", error_message=f"refused {KEY}")]
    task_id: str = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]
    workspace.clock.time += 60
    assert cli("watch", task_id).code == ExitCode.NO_CLIP
    return task_id


def test_export_goes_to_standard_output_as_json_or_csv(cli: CommandLine, failed: str) -> None:
    """One document with a version, or rows; in neither a key."""
    document, rows = cli("export"), cli("export", "--format", "csv")

    assert (document.code, rows.code) == (0, 0)
    assert document.json["version"] == 1
    assert [task["task_id"] for task in document.json["tasks"]] == [failed]
    assert [row["task_id"] for row in csv.DictReader(io.StringIO(rows.out))] == [failed]
    assert KEY not in document.out + rows.out
    assert "[key hidden]" in rows.out


def test_an_exported_file_is_private_and_replaces_nothing_by_itself(
    cli: CommandLine, program: Program, failed: str
) -> None:
    """Under the working directory, mode 0600; a second time only with --force."""
    path = program.working_directory / "books.json"

    ran = cli("export", "--out", "books.json")
    again = cli("export", "--out", "books.json", "--format", "csv")
    kept = path.read_text(encoding="utf-8")
    forced = cli("export", "--out", str(path), "--format", "csv", "--force")

    assert ran.code == forced.code == 0
    assert ran.out.strip() == str(path)
    assert "1 task and 1 sheet" in ran.err
    assert again.code == ExitCode.INVALID
    assert "--force" in again.err
    assert json.loads(kept)["tasks"][0]["task_id"] == failed
    assert path.read_text(encoding="utf-8").startswith("task_id,")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_link_is_not_followed_and_an_unusable_place_is_told(
    cli: CommandLine, program: Program, tmp_path: Path, failed: str
) -> None:
    """What a link points to stays as it is, also with --force."""
    precious = tmp_path / "precious"
    precious.write_text("mine", encoding="utf-8")
    link = program.working_directory / "link"
    link.symlink_to(precious)

    assert cli("export", "--out", "link").code == ExitCode.INVALID
    assert cli("export", "--out", "nowhere/books.json").code == ExitCode.SETUP
    assert cli("export", "--out", "link", "--force").code == 0
    assert precious.read_text(encoding="utf-8") == "mine"
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("since", "code", "tasks"),
    [("2026-09-21", 0, 1), ("2026-09-22", 0, 0), ("2026-09-21T14:00:00Z", 0, 1), ("yesterday", 2, 0)],
)
def test_export_since_a_day(cli: CommandLine, failed: str, since: str, code: int, tasks: int) -> None:
    """A day begins at midnight UTC; what is no date is refused."""
    ran = cli("export", "--since", since)

    assert ran.code == code
    assert code or len(ran.json["tasks"]) == tasks


def test_prune_counts_first_and_needs_a_person_or_a_yes(
    workspace: Workspace, cli: CommandLine, program: Program, failed: str
) -> None:
    """A dry run and a run without a terminal remove nothing."""
    workspace.clock.time -= 60 * DAY
    service = program.build_service()
    long_ago = {"created_at": workspace.clock.time, "deadline": workspace.clock.time}
    service.deps.ledger().touch(failed, now=workspace.clock.time, changes=long_ago)
    workspace.clock.time += 60 * DAY

    dry = cli("prune", "--older-than", "30d", "--dry-run")
    piped = run_without_terminal(
        ["prune", "--older-than", "30d"], workspace.environ, program.working_directory, typed="yes\n"
    )
    assert dry.code == 0
    assert "Would remove 1 task, 1 sheet and " in dry.out
    assert piped.returncode == ExitCode.NOT_APPROVED
    assert service.task(failed).task.state is TaskState.FAILED

    done = cli("prune", "--older-than", "30d", "--yes", "--json")

    assert done.json["removed"] is True
    assert (done.json["tasks"], done.json["sheets"]) == (1, 1)
    assert cli("prune", "--older-than", "4w", "--json").json["tasks"] == 0
    assert cli("get", failed).code == ExitCode.INVALID


@pytest.mark.parametrize(("typed", "left"), [("yes", 0), ("no", 1)])
def test_a_person_is_asked_before_anything_is_removed(
    workspace: Workspace, cli: CommandLine, program: Program, failed: str, typed: str, left: int
) -> None:
    """With the counts, on the terminal. The task is very old, for the command there has the machine's own clock."""
    service = program.build_service()
    service.deps.ledger().touch(failed, now=0.0, changes={"created_at": 0.0})

    with Terminal(["prune", "--older-than", "90d"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("This removes 1 task, 1 sheet and")
        terminal.expect("Remove them (yes/no)")
        terminal.type(typed)
        assert terminal.finish() == (ExitCode.NOT_APPROVED if left else ExitCode.OK)

    assert len(service.tasks()) == left


@pytest.mark.parametrize("age", ["90", "0d", "-1d", "d", "1h", "1d2w", "٣d"])
def test_an_age_is_a_number_of_days_or_weeks(cli: CommandLine, age: str) -> None:
    """Anything else removes nothing."""
    assert cli("prune", f"--older-than={age}", "--yes").code == ExitCode.INVALID


def test_a_receipt_is_text_or_json(cli: CommandLine, failed: str) -> None:
    """Without a key; an unknown task is said to be unknown."""
    text, document = cli("receipt", failed), cli("receipt", failed, "--json")

    assert (text.code, document.code) == (0, 0)
    assert document.json["consent"]["means"] == "terminal"
    assert document.json["consent"]["hash"][:16] in text.out
    for shown in (failed, document.json["price"]["price"], document.json["sent"]["body_sha256"]):
        assert shown in "".join(text.out.split("\n")).replace("  ", "") or shown in text.out
    assert KEY not in text.out + document.out
    assert cli("receipt", "task_none", "--json").json["error"]["code"] == "not_found"
