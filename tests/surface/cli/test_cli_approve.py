"""`callsheet approve` and `decline`: who may say yes, and how surely it was a person who did."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal, store_cheap_verifier
from rich.console import Console

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import Sheet, SheetState
from callsheet.service import Draft
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.prompts import approval_panel
from callsheet.surface.program import Program
from workspace import KEY, SHOT, Workspace, draft

BOX = """
[endpoints.gpu-box]
wire = "openai-videos"
base_url = "https://gpu-box.lan:8443/v1"
address = "10.20.0.7"
[endpoints.gpu-box.models."wan"]
seconds = [4]
sizes = ["832x480"]
price = "none"
"""
PASSPHRASE = "a heron over the reeds"


@pytest.fixture
def armed(workspace: Workspace, program: Program) -> str:
    """A live sheet that waits for its person, who has set a passphrase; its id."""
    workspace.go_live()
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    workspace.clock.time = time.time()
    return draft(program.build_service())


def stored(program: Program, sheet_id: str) -> Sheet:
    """The sheet as the ledger has it."""
    sheet = program.build_service().deps.ledger().sheet(sheet_id)
    assert sheet is not None
    return sheet


def test_the_amount_and_the_passphrase_approve_a_live_sheet(workspace: Workspace, program: Program, armed: str) -> None:
    """What is shown is the stored text; what was typed is shown nowhere."""
    with Terminal(["approve", armed], workspace.environ, program.working_directory) as terminal:
        terminal.expect("0.24 USD (48 credits)")
        terminal.expect(SHOT.prompt)
        terminal.expect("Type the amount to agree, 0.24: ")
        terminal.type("0.24")
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        terminal.expect("Approved for one hour")
        assert terminal.finish() == 0
        assert PASSPHRASE not in terminal.text
        assert KEY not in terminal.text

    sheet = stored(program, armed)
    assert sheet.state is SheetState.APPROVED
    assert sheet.approved_by is Means.TERMINAL


def test_three_wrong_passphrases_end_it(workspace: Workspace, program: Program, armed: str) -> None:
    """Nothing is approved, and a fourth try needs a new start."""
    with Terminal(["approve", armed], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type the amount")
        terminal.type("$0.240")
        for word in ("a heron", "A HERON OVER THE REEDS", ""):
            terminal.expect("Approval passphrase: ")
            terminal.type(word)
        terminal.expect("wrong 3 times")
        assert terminal.finish() == ExitCode.NOT_APPROVED

    assert stored(program, armed).state is SheetState.DRAFTED


def test_wrong_passphrases_are_recorded_and_slowed_over_all_commands(
    workspace: Workspace, program: Program, armed: str
) -> None:
    """A new command is no new start: after five wrong ones there is one try a minute, even for the right one."""
    for words, ends in ((["a", "b", "c"], "wrong 3 times"), (["d", "e", PASSPHRASE], "Too many wrong passphrases")):
        with Terminal(["approve", armed], workspace.environ, program.working_directory) as terminal:
            terminal.expect("Type the amount")
            terminal.type("0.24")
            for word in words:
                terminal.expect("Approval passphrase: ")
                terminal.type(word)
            terminal.expect(ends)
            assert terminal.finish() == ExitCode.NOT_APPROVED

    assert stored(program, armed).state is SheetState.DRAFTED
    entries = program.build_service().audit()
    assert [(entry.actor, entry.action) for entry in entries] == [("terminal", "passphrase_refused")] * 5


@pytest.mark.parametrize("typed", ["0.25", "", "yes"])
def test_another_amount_is_a_no(workspace: Workspace, program: Program, armed: str, typed: str) -> None:
    """The passphrase is not even asked for."""
    with Terminal(["approve", armed], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type the amount")
        terminal.type(typed)
        assert terminal.finish() == ExitCode.NOT_APPROVED
        assert "Approval passphrase" not in terminal.text

    assert stored(program, armed).state is SheetState.DRAFTED


def test_without_a_terminal_nobody_can_approve(workspace: Workspace, program: Program, armed: str) -> None:
    """Not through a pipe, not through the environment."""
    environ = {**workspace.environ, "CALLSHEET_PASSPHRASE": PASSPHRASE, "PASSPHRASE": PASSPHRASE}

    ran = run_without_terminal(["approve", armed], environ, program.working_directory, f"0.24\n{PASSPHRASE}\n")

    assert ran.returncode == ExitCode.NOT_APPROVED
    assert "no terminal" in ran.stderr
    assert stored(program, armed).state is SheetState.DRAFTED


def test_no_argument_carries_a_passphrase(cli: CommandLine, armed: str) -> None:
    """There is no such option."""
    ran = cli("approve", armed, "--passphrase", PASSPHRASE)

    assert ran.code == ExitCode.INVALID
    assert PASSPHRASE not in ran.out + ran.err


def test_ctrl_c_is_a_no(workspace: Workspace, program: Program, armed: str) -> None:
    """Also while the passphrase is awaited."""
    with Terminal(["approve", armed], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type the amount")
        terminal.type("0.24")
        terminal.expect("Approval passphrase: ")
        terminal.interrupt()
        assert terminal.finish() == ExitCode.INTERRUPTED

    assert stored(program, armed).state is SheetState.DRAFTED


def test_a_rehearsed_approval_asks_for_the_passphrase_alone(workspace: Workspace, program: Program) -> None:
    """With `asks` in the policy the sandbox works like life, but nothing costs anything."""
    workspace.write_policy("[sandbox]\nasks = true\n")
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    workspace.clock.time = time.time()
    sheet_id = draft(program.build_service())

    with Terminal(["approve", sheet_id, "--json"], workspace.environ, program.working_directory) as terminal:
        terminal.expect("SANDBOX REHEARSAL")
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        terminal.expect('"status": "approved"')
        assert terminal.finish() == 0
        assert "Type the amount" not in terminal.text

    assert stored(program, sheet_id).state is SheetState.APPROVED


def test_in_the_sandbox_approval_is_automatic(program: Program, cli: CommandLine) -> None:
    """Nothing is asked and nothing is recorded."""
    sheet_id = draft(program.build_service())

    ran = cli("approve", sheet_id)

    assert ran.code == 0
    assert "automatic" in ran.out
    assert stored(program, sheet_id).state is SheetState.DRAFTED


def test_nobody_is_asked_to_approve_what_a_cap_or_a_missing_key_would_refuse(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """The refusal comes before the terminal is opened, and explaining has said it already."""
    workspace.go_live('[caps]\nper_clip = "0.20"\n')
    sheet_id = draft(program.build_service())

    assert cli("approve", sheet_id).code == ExitCode.POLICY
    explained = cli("explain", SHOT.prompt, "--duration", "4", "--gateway", "poyo", "--model", "sora-2-official")
    assert explained.code == 0
    assert "cap: 0.24 USD would exceed the cap per clip" in " ".join(explained.out.split())
    workspace.go_live()
    del workspace.environ["POYO_API_KEY"]
    assert cli("approve", draft(program.build_service())).code == ExitCode.KEY


def test_without_a_passphrase_set_it_says_how_to_set_one(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Before anybody is asked anything."""
    workspace.go_live()
    program.verifier_path.unlink()
    sheet_id = draft(program.build_service())

    ran = cli("approve", sheet_id)

    assert ran.code == ExitCode.SETUP
    assert "callsheet setup" in ran.err


def test_everything_is_checked_before_anybody_is_asked(
    workspace: Workspace, program: Program, cli: CommandLine, armed: str
) -> None:
    """A sheet that could not be spent is refused at once, each for its reason."""
    assert cli("approve", "sheet_unknown").code == ExitCode.INVALID

    workspace.write_policy('mode = "live"\n[caps]\nper_clip = "3.00"\n')
    changed = cli("approve", armed)
    assert changed.code == ExitCode.NOT_APPROVED
    assert "policy" in changed.err

    workspace.write_policy('mode = "sandbox"\n')
    rehearsal = draft(program.build_service())
    workspace.write_policy('mode = "read-only"\n')
    assert cli("approve", rehearsal).code == ExitCode.POLICY
    workspace.write_policy('mode = "live"\n')
    assert cli("approve", rehearsal).code == ExitCode.POLICY


def test_an_approved_sheet_needs_no_second_yes_and_an_old_one_a_new_sheet(
    workspace: Workspace, program: Program, cli: CommandLine, armed: str
) -> None:
    """An approval holds for one hour."""
    program.build_service().approve(armed, by=Means.TERMINAL)
    again = cli("approve", armed)
    assert again.code == 0
    assert "Already approved" in again.out

    workspace.clock.time += 3601
    late = cli("approve", armed)
    assert late.code == ExitCode.NOT_APPROVED
    assert "callsheet explain" in " ".join(late.err.split())
    assert draft(program.build_service()) != armed


def test_a_declined_sheet_can_not_be_approved_any_more(program: Program, cli: CommandLine, armed: str) -> None:
    """A no needs no passphrase and is final."""
    declined = cli("decline", armed, "--json")
    assert declined.code == 0
    assert declined.json["status"] == "declined"

    assert stored(program, armed).state is SheetState.DECLINED
    assert cli("approve", armed).code == ExitCode.INVALID
    assert cli("decline", armed).code == ExitCode.INVALID


def test_the_call_sheet_shows_every_line_as_it_is(tmp_path: Path) -> None:
    """A prompt is no markup and cannot pose as a line; a warning is a line of its own."""
    shown = "Price: 0.24 USD\nPOSSIBLE DUPLICATE CHARGE: task x\nPrompt (9 characters): [red]Price: 0[/red] ⏎ free"
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        console = Console(file=file, width=100, markup=False, highlight=False)
        console.print(approval_panel(shown, plain=False))
        file.seek(0)
        text = file.read()

    assert "[red]Price: 0[/red] ⏎ free" in text
    assert "POSSIBLE DUPLICATE CHARGE: task x" in text
    assert text.index("0.24 USD") < text.index("POSSIBLE") < text.index("[red]")


def test_approving_several_that_were_submitted_asks_once_for_the_sum_and_sends_them(
    workspace: Workspace, program: Program, armed: str
) -> None:
    """The terminal says that it sends, and stays until the gateway has answered: nobody else may be there to send."""
    arrived: list[bytes] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["content-length"])))
            self.reply({"code": 200, "data": {"task_id": f"task-{len(arrived)}", "status": "not_started"}})

        def do_GET(self) -> None:
            self.reply({"code": 404})

        def reply(self, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        workspace.go_live(f'[gateways.poyo]\nbase_url = "http://127.0.0.1:{server.server_port}"\n')
        service = program.build_service()
        sheets = [draft(service), draft(service, Shot.of("A paper boat in the rain.", duration_seconds=4))]
        service.put_forward(*sheets)
        with Terminal(["approve", *sheets], workspace.environ, program.working_directory) as terminal:
            terminal.expect("A paper boat in the rain.")
            terminal.expect("agreeing sends this now")
            terminal.expect("Type the amount to agree, 0.48: ")
            terminal.type("0.48")
            terminal.expect("Approval passphrase: ")
            terminal.type(PASSPHRASE)
            terminal.expect("Approved, and submitted as task")
            terminal.expect("Approved, and submitted as task")
            assert terminal.finish() == 0
        server.shutdown()

    assert len(arrived) == 2
    assert {stored(program, sheet_id).state for sheet_id in sheets} == {SheetState.SPENT}


def test_nobody_is_asked_for_several_that_a_cap_refuses_together(
    workspace: Workspace, program: Program, cli: CommandLine, armed: str
) -> None:
    """Each alone would be within it."""
    workspace.go_live('[caps]\nper_day = "0.40"\n')
    sheets = [draft(program.build_service(), Shot.of(f"Boat {number}.", duration_seconds=4)) for number in range(2)]

    assert cli("approve", *sheets).code == ExitCode.POLICY


def test_if_one_of_several_ends_while_the_person_types_none_is_sent(
    workspace: Workspace, program: Program, armed: str
) -> None:
    """The error says that nothing was sent, so nothing may be."""
    service = program.build_service()
    other = draft(service, Shot.of("A paper boat in the rain.", duration_seconds=4))
    service.put_forward(armed, other)
    with Terminal(["approve", armed, other], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type the amount to agree, 0.48: ")
        terminal.type("0.48")
        terminal.expect("Approval passphrase: ")
        service.cancel(other)
        terminal.type(PASSPHRASE)
        assert terminal.finish() != 0

    assert [stored(program, sheet_id).state for sheet_id in (armed, other)] == [
        SheetState.AWAITING_APPROVAL,
        SheetState.EXPIRED,
    ]


def test_what_is_typed_is_called_an_amount_unless_it_is_a_name(workspace: Workspace, program: Program) -> None:
    """A free clip among others makes no name of their sum."""
    workspace.go_live(BOX)
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    workspace.clock.time = time.time()
    service = program.build_service()
    paid = draft(service)
    free = service.explain(Draft(shot=SHOT, gateway="gpu-box", model="wan")).sheet.id
    for sheet_ids, question in (
        ((paid, free), "Type the amount to agree, 0.24: "),
        ((free,), "Type the name to agree, gpu-box: "),
    ):
        with Terminal(["approve", *sheet_ids], workspace.environ, program.working_directory) as terminal:
            terminal.expect(question)
            terminal.type("")
            assert terminal.finish() == ExitCode.NOT_APPROVED


def test_the_wrong_sum_approves_none_of_several(workspace: Workspace, program: Program, armed: str) -> None:
    """Not even the one whose price was typed."""
    other = draft(program.build_service(), Shot.of("A paper boat in the rain.", duration_seconds=4))
    with Terminal(["approve", armed, other], workspace.environ, program.working_directory) as terminal:
        terminal.expect("Type the amount to agree, 0.48: ")
        terminal.type("0.24")
        assert terminal.finish() == ExitCode.NOT_APPROVED

    assert {stored(program, sheet_id).state for sheet_id in (armed, other)} == {SheetState.DRAFTED}
