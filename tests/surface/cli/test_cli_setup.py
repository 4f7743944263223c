"""`callsheet setup`: the one place that arms live mode, and only for a person."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest
from cli_terminal import CommandLine, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.compose import Surroundings, build_program
from callsheet.core.consent import Means, Mode
from callsheet.core.tasks import SheetState
from callsheet.edges.clock import SystemClock
from callsheet.edges.files.paths import load_registered, registered_path
from callsheet.edges.keys.passphrase import check_passphrase, load_verifier
from callsheet.service import Service
from callsheet.service.submission import submit
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import Workspace, account_of, draft

PASSPHRASE = "a heron over the reeds"
TYPED_KEY = "typed-key-5d1c7a90e2b84f36"


class Setup(Terminal):
    """A run of `callsheet setup` that is answered question by question."""

    def answer(self, question: str, typed: str = "") -> None:
        """Wait for a question and answer it; Enter alone keeps what is there."""
        self.expect(question)
        self.expect(": ")
        self.type(typed)

    def keep_limits_and_hosts(self) -> None:
        """Enter through everything between the mode and the keys."""
        for question in (
            "one clip",
            "one day",
            "one month",
            "Concurrent tasks",
            "unknown price",
            "needed from",
            "Callback hosts",
            "saved clips",
        ):
            self.answer(question)


def start(workspace: Workspace, program: Program) -> Setup:
    """Begin the conversation."""
    return Setup(["setup"], workspace.environ, program.working_directory)


def test_setup_arms_live_mode_with_limits_key_and_passphrase(workspace: Workspace, program: Program) -> None:
    """Everything that was answered is written, privately; nothing that is secret is shown."""
    with start(workspace, program) as talk:
        talk.answer("Type the mode", "life")
        talk.answer("One of sandbox, live, read-only", "live")
        talk.answer("one clip", "1.50")
        talk.answer("one day", "much")
        talk.answer("An amount like", "none")
        talk.answer("one month", "20")
        talk.answer("Concurrent tasks", "0")
        talk.answer("A whole number", "2")
        talk.answer("unknown price", "0.80")
        talk.answer("needed from", "0.50")
        talk.answer("Callback hosts", "Hooks.example.com 127.0.0.1")
        talk.answer("Not a public host name", "hooks.example.com")
        talk.answer("saved clips", "clips")
        talk.answer("An absolute path", str(program.working_directory / "clips"))
        talk.answer("Store a key", "poyo")
        talk.answer("(not shown)", "short")
        talk.expect("That is not a key")
        talk.answer("Store a key", "poyo")
        talk.answer("(not shown)", TYPED_KEY)
        talk.answer("private file", "file")
        talk.answer("Store a key", "none")
        talk.answer("New passphrase", "short")
        talk.answer("New passphrase", PASSPHRASE)
        talk.answer("Repeat it", "another one")
        talk.expect("do not match")
        talk.answer("New passphrase", PASSPHRASE)
        talk.answer("Repeat it", PASSPHRASE)
        talk.expect('+ mode = "live"')
        talk.expect("+ a key for poyo")
        talk.expect("real money")
        assert not program.policy_path.exists()
        talk.answer("Write this?", "yes")
        talk.expect("Done")
        assert talk.finish() == 0
        assert TYPED_KEY not in talk.text
        assert PASSPHRASE not in talk.text

    policy = program.policy()
    assert policy.mode is Mode.LIVE
    assert (policy.caps.per_clip, policy.caps.per_day, policy.caps.per_month) == (Decimal("1.50"), None, Decimal(20))
    assert policy.caps.concurrent == 2
    assert policy.unknown_price_ceiling == Decimal("0.80")
    assert policy.callback_hosts == ("hooks.example.com",)
    assert (program.keys_directory / "poyo").read_text() == TYPED_KEY
    assert (program.keys_directory / "poyo").stat().st_mode & 0o077 == 0
    assert program.policy_path.stat().st_mode & 0o077 == 0
    verifier = load_verifier(program.verifier_path)
    assert verifier is not None
    assert check_passphrase(PASSPHRASE, verifier)


@pytest.mark.parametrize("knows", [True, False])
def test_arming_needs_the_passphrase_that_is_set(workspace: Workspace, program: Program, knows: bool) -> None:
    """Whoever does not know it changes nothing."""
    store_cheap_verifier(program.verifier_path, PASSPHRASE)

    with start(workspace, program) as talk:
        talk.answer("Type the mode", "live")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key", "none")
        talk.answer("Change it?", "no")
        talk.answer("Write this?", "yes")
        for _ in range(1 if knows else 3):
            talk.answer("The present approval passphrase", PASSPHRASE if knows else "a guess")
        assert talk.finish() == (0 if knows else ExitCode.NOT_APPROVED)

    assert program.policy().mode is (Mode.LIVE if knows else Mode.SANDBOX)
    assert program.policy_path.exists() is knows


def test_changing_the_passphrase_needs_the_old_one(workspace: Workspace, program: Program) -> None:
    """Also in the sandbox."""
    store_cheap_verifier(program.verifier_path, PASSPHRASE)

    with start(workspace, program) as talk:
        talk.answer("Type the mode")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("Change it?", "yes")
        talk.answer("New passphrase", "an agent's own words")
        talk.answer("Repeat it", "an agent's own words")
        talk.answer("Write this?", "yes")
        for _ in range(3):
            talk.answer("The present approval passphrase", "an agent's own words")
        assert talk.finish() == ExitCode.NOT_APPROVED

    verifier = load_verifier(program.verifier_path)
    assert verifier is not None
    assert check_passphrase(PASSPHRASE, verifier)


def test_every_change_but_disarming_needs_the_passphrase(workspace: Workspace, program: Program) -> None:
    """What is loosened in the sandbox today would be live tomorrow; back to the sandbox anybody may go."""
    workspace.write_policy('mode = "live"\n')
    store_cheap_verifier(program.verifier_path, PASSPHRASE)

    with start(workspace, program) as talk:
        talk.answer("Type the mode", "sandbox")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("Change it?")
        talk.answer("Write this?", "yes")
        talk.expect("Done")
        assert talk.finish() == 0
    assert program.policy().mode is Mode.SANDBOX

    with start(workspace, program) as talk:
        talk.answer("Type the mode")
        talk.answer("one clip", "100")
        talk.answer("one day")
        talk.answer("one month")
        talk.answer("Concurrent tasks")
        talk.answer("unknown price")
        talk.answer("needed from")
        talk.answer("Callback hosts")
        talk.answer("saved clips")
        talk.answer("Store a key")
        talk.answer("Change it?")
        talk.answer("Write this?", "yes")
        talk.expect("The present approval passphrase")
        talk.interrupt()
        assert talk.finish() == ExitCode.INTERRUPTED
    assert program.policy().caps.per_clip == Decimal("2.00")


def test_a_no_or_ctrl_c_writes_nothing(workspace: Workspace, program: Program) -> None:
    """Up to the last question."""
    with start(workspace, program) as talk:
        talk.answer("Type the mode", "read-only")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("Choose one now?", "no")
        talk.expect('+ mode = "read-only"')
        talk.answer("Write this?")
        assert talk.finish() == ExitCode.NOT_APPROVED
    with start(workspace, program) as talk:
        talk.expect("Type the mode")
        talk.interrupt()
        talk.expect("Nothing was written")
        assert talk.finish() == ExitCode.INTERRUPTED

    assert not program.paths.config.exists()


def test_without_a_terminal_it_refuses(workspace: Workspace, program: Program) -> None:
    """Answers in a pipe are nobody's."""
    answers = "live\n" + "\n" * 10 + f"{PASSPHRASE}\n{PASSPHRASE}\nyes\n"

    ran = run_without_terminal(["setup"], workspace.environ, program.working_directory, answers)

    assert ran.returncode == ExitCode.NOT_APPROVED
    assert not program.paths.config.exists()


@pytest.mark.parametrize("argument", ["--live", "--mode=live", "live", "--yes", "--passphrase=x"])
def test_nothing_on_the_command_line_arms(cli: CommandLine, program: Program, argument: str) -> None:
    """There is no such argument."""
    assert cli("setup", argument).code == ExitCode.INVALID
    assert not program.paths.config.exists()


def test_show_tells_the_policy_in_force(workspace: Workspace, cli: CommandLine, program: Program) -> None:
    """With and without a file, for people and machines."""
    assert "There is no policy file" in cli("setup", "--show").out
    workspace.write_policy('mode = "read-only"\n')

    ran, answer = cli("setup", "--show"), cli("setup", "--show", "--json").json

    assert 'mode = "read-only"' in ran.out
    assert answer["mode"] == "read-only"
    assert answer["path"] == str(program.policy_path)


def test_a_policy_that_would_not_be_read_is_not_written(workspace: Workspace, tmp_path: Path) -> None:
    """Below the working directory an agent may write, so such a policy is never used."""
    program = build_program(
        Surroundings(workspace.environ, tmp_path, SystemClock(), account_home=account_of(workspace.home))
    )

    with Setup(["setup"], workspace.environ, tmp_path) as talk:
        talk.expect("The policy would be below")
        assert talk.finish() == ExitCode.SETUP

    assert not program.policy_path.exists()


def test_a_broken_policy_is_replaced(workspace: Workspace, program: Program) -> None:
    """It says that the old one was not used."""
    workspace.write_policy('mode = "lively"\n')

    with start(workspace, program) as talk:
        talk.expect("replaced here")
        talk.answer("Type the mode")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("Choose one now?")
        talk.expect("the old file cannot be used")
        talk.answer("Write this?", "yes")
        assert talk.finish() == 0

    assert program.policy().mode is Mode.SANDBOX


PROXY = "https://proxy.example.com"


def unregister(workspace: Workspace) -> None:
    """The home is one that only the environment chose."""
    registered_path(account_of(workspace.home)).unlink()


@pytest.mark.parametrize("agrees", [True, False])
def test_a_home_that_the_environment_chose_is_registered_by_a_person(
    workspace: Workspace, program: Program, agrees: bool
) -> None:
    """The planted passphrase, policy, passkeys and address count for nothing: each is asked for or ended."""
    workspace.write_policy(f'mode = "live"\n[caps]\nper_day = "9.00"\n[gateways.poyo]\nbase_url = "{PROXY}"\n')
    unregister(workspace)
    store_cheap_verifier(program.verifier_path, "what an agent knows")
    passkeys = program.policy_path.with_name("passkeys.json")
    passkeys.write_text("[]", encoding="utf-8")

    with start(workspace, program) as talk:
        talk.answer("Type the mode")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("New passphrase", PASSPHRASE)
        talk.answer("Repeat it", PASSPHRASE)
        talk.answer("Register it for live mode?", "yes" if agrees else "no")
        if agrees:
            talk.answer("May that address receive your key", "yes")
            talk.expect('+ per_day = "9.00"')
            talk.expect(f'+ base_url = "{PROXY}"')
            talk.expect("live mode counts in this place")
            talk.answer("Write this?", "yes")
            talk.expect("Done")
        assert talk.finish() == (0 if agrees else ExitCode.NOT_APPROVED)

    found = load_registered(account_of(workspace.home))
    assert len(found.homes) == agrees
    assert found.addresses == ((("poyo", PROXY),) if agrees else ())
    assert passkeys.exists() is not agrees
    assert check_passphrase(PASSPHRASE, load_verifier(program.verifier_path) or "") is agrees


def register_here(workspace: Workspace, program: Program, *, ends: str) -> Setup:
    """A person registers the home and arms it; the last words are those of a success or of a refusal."""
    with start(workspace, program) as talk:
        talk.answer("Type the mode", "live")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("New passphrase", PASSPHRASE)
        talk.answer("Repeat it", PASSPHRASE)
        talk.answer("Register it for live mode?", "yes")
        talk.answer("Write this?", "yes")
        talk.expect(ends)
        talk.finish()
    return talk


def plant(workspace: Workspace) -> Service:
    """Somebody used this place live before, and prepared what a person would have to agree to."""
    workspace.clock.time = time.time()
    workspace.go_live()
    return workspace.service()


@pytest.mark.parametrize("mode", ["live", "sandbox", "read-only"])
def test_registering_ends_every_consent_in_the_ledger_whatever_the_present_mode(
    workspace: Workspace, program: Program, mode: str
) -> None:
    """An allowance that covers nothing today would cover something under the policy that is about to be written."""
    service = plant(workspace)
    service.allow(("poyo/sora-2-official",), clips=9, up_to=Decimal(9), seconds=86400, by=Means.TERMINAL)
    approved = draft(service)
    service.approve(approved, by=Means.TERMINAL)
    program.verifier_path.unlink()
    workspace.write_policy(f'mode = "{mode}"\n')
    unregister(workspace)

    register_here(workspace, program, ends="restarted")

    after = workspace.service()
    assert [item.revoked_at is None for item in after.allowances()] == [False]
    assert after.sheet(approved).state is SheetState.DECLINED
    assert len(load_registered(account_of(workspace.home)).homes) == 1


def test_a_place_with_a_live_request_that_is_not_sent_is_not_registered_and_nothing_is_touched(
    workspace: Workspace, program: Program
) -> None:
    """Registering would send it."""
    service = plant(workspace)
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    service.allow(("poyo/sora-2-official",), clips=9, up_to=Decimal(9), seconds=86400, by=Means.TERMINAL)
    passkeys = program.policy_path.with_name("passkeys.json")
    passkeys.write_text("[]", encoding="utf-8")
    program.verifier_path.unlink()
    unregister(workspace)

    register_here(workspace, program, ends=task_id)

    assert load_registered(account_of(workspace.home)).homes == ()
    assert passkeys.exists()
    assert not program.verifier_path.exists()
    assert [item.revoked_at for item in workspace.service().allowances()] == [None]


def test_registering_needs_the_passphrase_of_the_default_place(workspace: Workspace, program: Program) -> None:
    """Else an agent with a terminal would arm another home with a passphrase of its own."""
    unregister(workspace)
    store_cheap_verifier(registered_path(account_of(workspace.home)).with_name("approval-verifier"), PASSPHRASE)

    with start(workspace, program) as talk:
        talk.answer("Type the mode", "live")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("New passphrase", "an agent's own words")
        talk.answer("Repeat it", "an agent's own words")
        talk.answer("Register it for live mode?", "yes")
        talk.answer("Write this?", "yes")
        for _ in range(3):
            talk.answer("The present approval passphrase", "an agent's own words")
        assert talk.finish() == ExitCode.NOT_APPROVED

    assert load_registered(account_of(workspace.home)).homes == ()
    assert not program.policy_path.exists()


@pytest.mark.parametrize("agrees", [True, False])
def test_an_address_for_a_key_is_named_by_a_person(workspace: Workspace, program: Program, agrees: bool) -> None:
    """It needs the passphrase, like every change that loosens something; a no leaves it unnamed."""
    workspace.write_policy('mode = "live"\n')
    program.policy_path.write_text(f'mode = "live"\n[gateways.poyo]\nbase_url = "{PROXY}"\n', encoding="utf-8")
    store_cheap_verifier(program.verifier_path, PASSPHRASE)

    with start(workspace, program) as talk:
        talk.answer("Type the mode")
        talk.keep_limits_and_hosts()
        talk.answer("Store a key")
        talk.answer("Change it?", "no")
        talk.answer("May that address receive your key", "yes" if agrees else "no")
        talk.answer("Write this?", "yes")
        talk.answer("The present approval passphrase", PASSPHRASE)
        assert talk.finish() == 0

    assert load_registered(account_of(workspace.home)).addresses == ((("poyo", PROXY),) if agrees else ())
