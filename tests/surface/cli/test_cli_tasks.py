"""`callsheet submit`, `get`, `list`, `watch`, `resolve` and `models`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal

from callsheet.compose import Surroundings, build_program
from callsheet.core.catalogue.cards import Availability
from callsheet.core.consent import Means
from callsheet.core.tasks import Clip, Sheet, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.surface.cli import run
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, PASSPHRASE, SHOT, Workspace, accepted, account_of, draft, reply, status


def approved(workspace: Workspace, program: Program) -> str:
    """A live sheet that a person approved; its id."""
    workspace.go_live()
    service = program.build_service()
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    return sheet_id


def unknown(workspace: Workspace, program: Program, cli: CommandLine) -> str:
    """A live task whose answer was lost; its id."""
    workspace.gateway.replies = [httpx2.ReadError("gone")]
    return cli("submit", approved(workspace, program), "--no-wait", "--json").json["task"]["task_id"]


def sheet_of(program: Program, sheet_id: str) -> Sheet:
    """The sheet as the ledger has it."""
    sheet = program.build_service().deps.ledger().sheet(sheet_id)
    assert sheet is not None
    return sheet


def test_a_live_sheet_without_approval_is_shown_and_not_sent(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """The exit code says that a person is needed, the text by which command."""
    workspace.go_live()
    sheet_id = draft(program.build_service())

    ran = cli("submit", sheet_id)
    answer = cli("submit", sheet_id, "--json")

    assert ran.code == answer.code == ExitCode.NOT_APPROVED
    assert "0.24 USD (48 credits)" in ran.out
    assert f"callsheet approve {sheet_id}" in ran.out
    assert answer.json["status"] == "approval_needed"
    assert answer.json["approval_text"] == sheet_of(program, sheet_id).shown
    assert answer.json["task"] is None
    assert workspace.gateway.requests == []


def test_an_approved_sheet_is_sent_once(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """The second call leads to the same task and sends nothing."""
    sheet_id = approved(workspace, program)
    workspace.gateway.replies = [accepted()]

    first = cli("submit", sheet_id, "--no-wait", "--json")
    second = cli("submit", sheet_id, "--no-wait", "--json")

    assert (first.code, second.code) == (0, 0)
    assert first.json["status"] == "accepted"
    assert first.json["task"]["status"] == "queued"
    assert second.json["status"] == "already_accepted"
    assert second.json["task"]["task_id"] == first.json["task"]["task_id"]
    assert len(workspace.gateway.paid) == 1
    assert "already submitted" in cli("submit", sheet_id, "--no-wait").out


@pytest.mark.parametrize(
    ("answer", "code", "state"),
    [
        (reply({"code": 400, "error": {"type": "invalid", "message": "no \x1b[31msuch"}}, 400), 6, "rejected"),
        (httpx2.ReadError("gone"), 7, "outcome_unknown"),
    ],
)
def test_the_exit_code_says_how_a_submission_ended(
    workspace: Workspace,
    program: Program,
    cli: CommandLine,
    answer: httpx2.Response | Exception,
    code: int,
    state: str,
) -> None:
    """Refused and unknown are different ends; the gateway's words are made harmless."""
    sheet_id = approved(workspace, program)
    workspace.gateway.replies = [answer]

    ran = cli("submit", sheet_id, "--no-wait")

    assert ran.code == code
    assert "\x1b" not in ran.out
    assert cli("get", cli("list", "--json").json["tasks"][0]["task_id"], "--json").json["status"] == state


def test_a_submission_that_the_policy_or_the_key_forbids_ends_with_its_own_code(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """A cap is a policy's no; a missing key is a key problem."""
    workspace.go_live('[caps]\nper_clip = "0.10"\n')
    service = program.build_service()
    assert cli("submit", draft(service)).code == ExitCode.POLICY

    workspace.go_live()
    del workspace.environ["POYO_API_KEY"]
    keyless = draft(program.build_service())
    assert cli("submit", keyless).code == ExitCode.KEY
    assert workspace.gateway.requests == []


def test_get_tells_where_a_task_is_and_whether_money_was_spent(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """For people and for machines."""
    task_id = unknown(workspace, program, cli)

    ran = cli("get", task_id)
    answer = cli("get", task_id, "--json")

    assert ran.code == answer.code == ExitCode.UNKNOWN
    assert "Outcome unknown" in ran.out
    assert f"callsheet resolve {task_id}" in ran.out
    assert answer.json["money_code"] == "unknown"
    assert answer.json["prompt"] == SHOT.prompt


def test_get_can_wait_a_while(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """It follows the task meanwhile, and tells the state in which it left it."""
    sheet_id = approved(workspace, program)
    workspace.gateway.replies = [accepted(), status("running", progress=40)]
    task_id = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]
    workspace.clock.time += 60

    answer = cli("get", task_id, "--wait", "0.5", "--json")

    assert answer.code == 0
    assert answer.json["status"] == "running"
    assert answer.json["percent"] == 40


def test_get_and_list_show_what_of_a_clip_is_not_as_ordered(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """The program ends well: the clip is there."""
    workspace.gateway.replies = [accepted()]
    task_id = cli("submit", approved(workspace, program), "--no-wait", "--json").json["task"]["task_id"]
    clip = Clip("/a.mp4", 5, "0" * 64, 2.0, 1280, 720, "/b.jpg", "/c.jpg")
    ledger, changes = program.build_service().deps.ledger(), {"state": TaskState.SAVED, "clip": clip}
    ledger.touch(task_id, now=workspace.clock.now(), changes=changes)

    shown, answer = cli("get", task_id), cli("get", task_id, "--json")

    assert shown.code == ExitCode.OK
    assert [item["field"] for item in answer.json["findings"]] == ["duration_seconds"]
    assert answer.json["findings"][0]["text"] in " ".join(shown.out.split())
    assert "differs" in cli("list").out


def test_list_shows_what_waits_for_a_person_and_unknown_outcomes_first(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """What needs attention stands above what does not."""
    empty = cli("list")
    assert empty.code == 0
    assert "callsheet demo" in empty.out
    task_id = unknown(workspace, program, cli)
    sheet_id = draft(program.build_service(), replace(SHOT, prompt="A blue kite."))
    assert cli("submit", sheet_id).code == ExitCode.NOT_APPROVED

    ran, answer = cli("list"), cli("list", "--open", "--json").json

    assert ran.out.index(sheet_id) < ran.out.index(task_id)
    assert "Outcome unknown" in ran.out
    assert [sheet["sheet_id"] for sheet in answer["pending"]] == [sheet_id]
    assert [task["task_id"] for task in answer["tasks"]] == [task_id]


def test_resolve_needs_one_answer_and_for_a_live_task_a_person(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Without a terminal nothing changes, whatever a script says: each answer lets the same shot be paid for again."""
    task_id = unknown(workspace, program, cli)
    assert cli("resolve", task_id, "--yes").code == ExitCode.INVALID
    assert cli("resolve", task_id, "--lost", "--accepted", "x", "--yes").code == ExitCode.INVALID
    ran = run_without_terminal(["resolve", task_id, "--lost"], workspace.environ, program.working_directory, "lost\n")
    assert ran.returncode == ExitCode.NOT_APPROVED
    for answer in (["--lost"], ["--accepted", "task-unified-9-z"], ["--accepted", "../up"]):
        refused = cli("resolve", task_id, *answer, "--yes")
        assert refused.code == ExitCode.NOT_APPROVED
        assert "--yes" not in refused.err
    assert cli("get", task_id, "--json").json["status"] == "outcome_unknown"


@pytest.mark.parametrize(("accepted_as", "code", "state"), [("9-z", 0, "queued"), ("../up", 2, "outcome_unknown")])
def test_a_person_with_the_passphrase_names_the_gateways_id(
    workspace: Workspace, program: Program, cli: CommandLine, accepted_as: str, code: int, state: str
) -> None:
    """An id that the gateway cannot have given changes nothing."""
    task_id = unknown(workspace, program, cli)

    command = ["resolve", task_id, "--accepted", accepted_as]
    with Terminal(command, workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type accepted to agree: ")
        terminal.type("accepted")
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        assert terminal.finish() == code

    assert cli("get", task_id, "--json").json["status"] == state


@pytest.mark.parametrize(("typed", "code", "state"), [("lost", 0, "abandoned"), ("yes", 3, "outcome_unknown")])
def test_a_person_types_what_became_of_a_task(
    workspace: Workspace, program: Program, cli: CommandLine, typed: str, code: int, state: str
) -> None:
    """The word, not just a yes: it says which of the two."""
    task_id = unknown(workspace, program, cli)

    with Terminal(["resolve", task_id, "--lost"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("pay twice")
        terminal.expect("Type lost to agree: ")
        terminal.type(typed)
        if typed == "lost":
            # An agent can type that word too, but the same shot may then be paid for again.
            terminal.expect("Approval passphrase: ")
            terminal.type(PASSPHRASE)
        assert terminal.finish() == code

    assert cli("get", task_id, "--json").json["status"] == state


def test_a_paid_task_is_not_given_up_without_the_passphrase(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """The word alone is not enough for a live task; without a passphrase nobody is asked."""
    task_id = unknown(workspace, program, cli)

    with Terminal(["resolve", task_id, "--lost"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type lost to agree: ")
        terminal.type("lost")
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("a guess")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    program.verifier_path.unlink()

    assert cli("resolve", task_id, "--lost").code == ExitCode.SETUP
    assert cli("get", task_id, "--json").json["status"] == "outcome_unknown"


def forget(workspace: Workspace) -> None:
    """Somebody removes the ledger's files."""
    for path in (workspace.home / "data").glob("ledger.sqlite3*"):
        path.unlink()


@pytest.mark.parametrize(("typed", "code", "status"), [("older", 0, "outcome_unknown"), ("yes", 3, None)])
def test_a_person_goes_on_with_a_ledger_that_forgot_what_was_sent(
    workspace: Workspace, program: Program, cli: CommandLine, typed: str, code: int, status: str | None
) -> None:
    """The lost task is named before, and needs to be resolved afterwards."""
    task_id = unknown(workspace, program, cli)
    forget(workspace)
    assert cli("get", task_id).code == ExitCode.INVALID
    doctor = cli("doctor", "--json")
    assert any(task_id in check["text"] for check in doctor.json["checks"])
    assert doctor.code == ExitCode.SETUP

    with Terminal(["resolve", "--older-ledger"], workspace.environ, program.working_directory) as terminal:
        terminal.expect(task_id)
        terminal.expect("Type older to go on with it: ")
        terminal.type(typed)
        if typed == "older":
            terminal.expect("Approval passphrase: ")
            terminal.type(PASSPHRASE)
        assert terminal.finish() == code

    assert cli("get", task_id, "--json").json.get("status") == status


def test_an_older_ledger_is_accepted_by_nobody_but_a_person(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """No script, no wrong passphrase, no task beside it; and a ledger that is current needs it not."""
    task_id = unknown(workspace, program, cli)
    assert cli("resolve", "--older-ledger").code == ExitCode.INVALID
    forget(workspace)

    assert cli("resolve").code == ExitCode.INVALID
    assert cli("resolve", task_id, "--older-ledger").code == ExitCode.INVALID
    assert cli("resolve", "--older-ledger", "--lost").code == ExitCode.INVALID
    assert cli("resolve", "--older-ledger", "--yes").code == ExitCode.NOT_APPROVED
    with Terminal(["resolve", "--older-ledger"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type older to go on with it: ")
        terminal.type("older")
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("a guess")
        assert terminal.finish() == ExitCode.NOT_APPROVED
    assert cli("get", task_id).code == ExitCode.INVALID


def test_watch_with_nothing_open_says_so(cli: CommandLine) -> None:
    """It does not wait for what may never come."""
    ran = cli("watch")

    assert ran.code == 0
    assert "No task is open" in ran.out


def test_watch_tells_each_change_as_one_line_of_json(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """A script can follow along."""
    sheet_id = approved(workspace, program)
    workspace.gateway.replies = [accepted(), status("failed", error_message="content policy")]
    task_id = cli("submit", sheet_id, "--no-wait", "--json").json["task"]["task_id"]
    workspace.clock.time += 60

    ran = cli("watch", task_id, "--json")

    assert ran.code == ExitCode.NO_CLIP
    states = [json.loads(line)["status"] for line in ran.out.splitlines()]
    assert states == ["queued", "failed"]


def test_the_sandbox_films_and_saves_a_clip(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way over HTTP on loopback; progress goes to standard error, the answer to standard output."""
    workspace.write_policy("[sandbox]\nspeed = 1000\n")
    project = tmp_path / "project"
    project.mkdir()
    program = build_program(
        Surroundings(workspace.environ, project, SystemClock(), account_home=account_of(workspace.home))
    )
    sheet_id = draft(program.build_service())

    code = run(program, ["submit", sheet_id])

    out, err = capsys.readouterr()
    assert code == 0
    assert "The clip is on disk" in err
    [clip] = [line.strip() for line in out.splitlines() if line.endswith(".mp4")]
    assert Path(clip).is_absolute()
    assert Path(clip).stat().st_size > 10_000
    assert Path(clip).with_suffix(".contact-sheet.jpg").exists()


def test_ctrl_c_leaves_the_task_to_the_next_start(workspace: Workspace, tmp_path: Path) -> None:
    """The waiting ends, the task does not, and it is said so."""
    workspace.write_policy("[sandbox]\nspeed = 15\n")
    project = tmp_path / "project"
    project.mkdir()
    program = build_program(
        Surroundings(workspace.environ, project, SystemClock(), account_home=account_of(workspace.home))
    )
    sheet_id = draft(program.build_service())

    with Terminal(["submit", sheet_id], workspace.environ, project) as terminal:
        terminal.expect("Generating")
        terminal.interrupt()
        terminal.expect("Stopped waiting")
        assert terminal.finish() == ExitCode.INTERRUPTED

    [report] = program.build_service().tasks()
    assert report.task.state in (TaskState.QUEUED, TaskState.RUNNING)


def test_models_shows_price_choices_and_availability_with_its_date(workspace: Workspace, cli: CommandLine) -> None:
    """A table for each gateway, or one of them, or all about one card."""
    workspace.environ["COLUMNS"] = "140"
    table = cli("models", "poyo")
    assert table.code == 0
    [row] = [line for line in table.out.splitlines() if line.strip().startswith("sora-2-official ")]
    assert " ".join(row.split()) == "sora-2-official 0.24 for 4 s 4 8 12 16 20 - 16:9 9:16 unverified 2026-08-07"
    assert "APIDot" not in table.out

    card = cli("models", "--model", "sora-2-pro-official")
    for part in ("0.24-0.56/s USD", "input.resolution", "720p, 1024p, 1080p", "https://", "Where sources disagree"):
        assert part in card.out


@pytest.mark.parametrize("columns", ["80", "120"])
def test_models_shows_what_can_be_used_and_all_when_asked(workspace: Workspace, tmp_path: Path, columns: str) -> None:
    """A retired model is a number until it is asked for; no line is wider than the terminal."""
    environ = {**workspace.environ, "COLUMNS": columns}
    usable, every = (run_without_terminal(["models", *more], environ, tmp_path).stdout for more in ([], ["--all"]))

    dropped = [card for card in load_catalogue().cards if card.lifecycle.availability is Availability.DROPPED]
    assert f"{len(dropped)} retired" in usable
    assert "dropped" not in usable
    assert every.count("dropped") == len(dropped)
    assert max(len(line) for line in usable.splitlines() if "/bin/" not in line) <= int(columns)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_list_begins_with_the_prompt_and_ends_with_a_sum(
    workspace: Workspace, program: Program, cli: CommandLine, columns: str
) -> None:
    """Mode and money of each; what is late is marked; one lost answer is counted apart."""
    workspace.environ["COLUMNS"] = columns
    task_id = unknown(workspace, program, cli)
    workspace.gateway.replies = [accepted()]
    service = program.build_service()
    other = draft(service, replace(SHOT, prompt="A blue kite."))
    service.approve(other, by=Means.TERMINAL)
    cli("submit", other, "--no-wait")
    workspace.clock.time += 400

    ran, answer = cli("list"), cli("list", "--json").json

    assert ran.out.index(SHOT.prompt[:20]) < ran.out.index(task_id)
    assert "0.24 USD?" in ran.out
    assert "longer than usual" in " ".join(ran.out.split())
    assert answer["sum"] == {"live": 2, "paid_usd": "0.24", "unknown_usd": "0.24", "rehearsals": 0}
    assert "0.24 USD paid" in ran.out.rstrip().splitlines()[-1]
    assert max(map(len, ran.out.splitlines())) <= int(columns)


def test_models_answers_as_json(cli: CommandLine, program: Program) -> None:
    """Those that can be used come first, in little; `--full` has every card, whole."""
    lean = cli("models", "--json")
    answer = cli("models", "--json", "--full").json

    assert len(lean.out) < 8000
    assert "dropped" not in {model["availability"] for model in lean.json["models"]}
    assert "retired" in lean.json["rest"]
    cards = program.build_service().cards()
    assert [(card["gateway"], card["model"]) for card in answer["models"]] == [
        (card.gateway, card.model) for card in cards
    ]
    assert all(card["availability"] and card["card"]["fields"] is not None for card in answer["models"])


@pytest.mark.parametrize("arguments", [["models", "nobody"], ["models", "--model", "sora-9"]])
def test_an_unknown_gateway_or_model_is_refused(cli: CommandLine, arguments: list[str]) -> None:
    """With the names that are known, or the command that lists them."""
    assert cli(*arguments).code == ExitCode.INVALID


def test_no_json_answer_carries_a_key(workspace: Workspace, program: Program, cli: CommandLine) -> None:
    """Not even when the gateway says it back."""
    sheet_id = approved(workspace, program)
    told = f"bad key {KEY} and {KEY[::-1]}"
    workspace.gateway.replies = [reply({"code": 400, "error": {"type": "invalid", "message": told}}, 400)]

    runs = [
        cli("submit", sheet_id, "--no-wait"),
        cli("submit", sheet_id, "--no-wait", "--json"),
        cli("list", "--json"),
        cli("list"),
        cli("models", "--json"),
        cli("doctor", "--json"),
        cli("doctor"),
        cli("setup", "--show", "--json"),
        cli("explain", "A kite", "--json"),
        cli("get", KEY, "--json"),
        cli("get", KEY),
        cli("models", KEY),
        cli("explain", "x", "--duration", KEY),
    ]

    assert "[key hidden]" in runs[1].out
    for ran in runs:
        assert KEY not in ran.out + ran.err
        assert KEY[::-1] not in ran.out + ran.err
        if ran.out.startswith("{"):
            json.loads(ran.out)
