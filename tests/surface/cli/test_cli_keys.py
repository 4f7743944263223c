"""`callsheet keys`: sealing, unsealing and listing, and what the other commands say of a sealed key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_terminal import CHEAP_RECIPE, CommandLine, Terminal, run_without_terminal, store_cheap_verifier

from callsheet.core.security.redaction import fingerprint
from callsheet.edges.keys.passphrase import check_passphrase, load_verifier
from callsheet.edges.keys.sealed import load_sealed, open_key, seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey, authorization_header
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from workspace import KEY, Workspace, reply

PASSPHRASE = "a heron over the reeds"
NEW = "a bittern in the fog"
ADDRESS = "https://api.poyo.ai"
OTHER = "another-key-51c0ffee7d"


@pytest.fixture
def known(program: Program) -> Program:
    """A passphrase is set."""
    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    return program


def on_terminal(workspace: Workspace, program: Program, *arguments: str) -> Terminal:
    """One command at a terminal."""
    return Terminal([*arguments], workspace.environ, program.working_directory)


def put_key_file(program: Program, value: str = KEY) -> Path:
    """A private key file as `callsheet setup` makes it."""
    path = program.keys_directory / "poyo"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(value)
    return path


def seal(program: Program, passphrase: str = PASSPHRASE, *, gateway: str = "poyo", base_url: str = ADDRESS) -> Path:
    """What `keys seal` leaves behind."""
    key = SecretKey(gateway, KEY, source="file")
    return write_sealed(
        seal_key(key, passphrase, base_url=base_url, recipe=CHEAP_RECIPE), keys_directory=program.keys_directory
    )


def opened(program: Program, passphrase: str) -> str:
    """The key that the sealed file gives up for that passphrase."""
    sealed = load_sealed("poyo", keys_directory=program.keys_directory)
    assert sealed is not None
    return authorization_header(open_key(sealed, passphrase, base_url=ADDRESS))[1].removeprefix("Bearer ")


def test_sealing_moves_a_stored_key_under_the_passphrase(
    workspace: Workspace, known: Program, cli: CommandLine
) -> None:
    """The plain file goes after the sealed one was opened again; nothing secret is shown; the trail has it."""
    plain = put_key_file(known)

    with on_terminal(workspace, known, "keys", "seal", "poyo") as terminal:
        terminal.expect(f"fingerprint {fingerprint(KEY)}")
        terminal.expect(ADDRESS)
        terminal.expect("Approval passphrase: ")
        assert plain.exists()
        terminal.type(PASSPHRASE)
        terminal.expect("Sealed.")
        assert terminal.finish() == 0
        assert KEY not in terminal.text
        assert PASSPHRASE not in terminal.text

    assert not plain.exists()
    assert opened(known, PASSPHRASE) == KEY
    [entry] = cli("audit", "--json").json["entries"]
    assert (entry["action"], entry["actor"], entry["subject"]) == ("key_sealed", "terminal", "poyo")
    assert entry["detail"]["fingerprint"] == fingerprint(KEY)


def test_a_key_that_is_nowhere_is_asked_for_unseen(workspace: Workspace, known: Program) -> None:
    """It goes from the terminal into the sealed file and was never on disk in the clear."""
    with on_terminal(workspace, known, "keys", "seal", "poyo") as terminal:
        terminal.expect("(not shown): ")
        terminal.type(KEY)
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        assert terminal.finish() == 0
        assert KEY not in terminal.text

    assert opened(known, PASSPHRASE) == KEY


def test_a_variable_that_holds_the_key_must_be_unset_by_the_person(
    workspace: Workspace, known: Program, cli: CommandLine
) -> None:
    """The program cannot; it says so now, and `doctor` and `keys list` go on saying it. Another key is let alone."""
    workspace.environ["POYO_API_KEY"] = KEY
    other = put_key_file(known, OTHER)

    with on_terminal(workspace, known, "keys", "seal", "poyo") as terminal:
        terminal.expect("Approval passphrase: ")
        terminal.type(PASSPHRASE)
        assert terminal.finish() == 0
        said = " ".join(terminal.text.split())
    assert "The environment variable POYO_API_KEY still contains it" in said
    assert f"another key (fingerprint {fingerprint(OTHER)})" in said
    assert other.read_text() == OTHER

    checks = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "Key PoYo"]
    assert [check["grade"] for check in checks] == ["ok", "warning", "note"]
    assert checks[0]["text"].startswith(f"sealed (fingerprint {fingerprint(KEY)})")
    assert "POYO_API_KEY" in checks[1]["text"]
    listed = cli("keys", "list", "--json")
    [poyo] = [item for item in listed.json["keys"] if item["gateway"] == "poyo"]
    assert (poyo["sealed"], poyo["state"], poyo["fingerprint"]) == (True, "sealed", fingerprint(KEY))
    assert poyo["unsealed"] == [f"environment ({fingerprint(KEY)})", f"file ({fingerprint(OTHER)})"]
    assert "sealed" in cli("keys").out
    assert not [secret for secret in (KEY, OTHER) if secret in listed.out]


def test_three_wrong_passphrases_seal_nothing(workspace: Workspace, known: Program) -> None:
    """The key stays where it is."""
    plain = put_key_file(known)
    with on_terminal(workspace, known, "keys", "seal", "poyo") as terminal:
        for _ in range(3):
            terminal.expect("Approval passphrase: ")
            terminal.type("a guess that is wrong")
        assert terminal.finish() == ExitCode.NOT_APPROVED

    assert plain.read_text() == KEY
    assert load_sealed("poyo", keys_directory=known.keys_directory) is None


def test_sealing_needs_a_terminal_a_passphrase_and_a_key_that_is_not_sealed(
    workspace: Workspace, program: Program, cli: CommandLine
) -> None:
    """Each refusal names the next step, and nothing is written."""
    put_key_file(program)
    piped = run_without_terminal(["keys", "seal", "poyo"], workspace.environ, program.working_directory, PASSPHRASE)
    assert piped.returncode == ExitCode.NOT_APPROVED
    assert cli("keys", "seal").code == cli("keys", "seal", "nowhere").code == ExitCode.INVALID
    assert cli("keys", "seal", "poyo", "--passphrase", PASSPHRASE).code == ExitCode.INVALID
    with on_terminal(workspace, program, "keys", "seal", "poyo") as terminal:
        terminal.expect("callsheet setup")
        assert terminal.finish() == ExitCode.SETUP
    assert load_sealed("poyo", keys_directory=program.keys_directory) is None

    store_cheap_verifier(program.verifier_path, PASSPHRASE)
    seal(program)
    with on_terminal(workspace, program, "keys", "seal", "poyo") as terminal:
        terminal.expect("already sealed")
        assert terminal.finish() == ExitCode.INVALID


@pytest.mark.parametrize("agrees", [True, False])
def test_sealing_for_another_address_needs_a_yes(workspace: Workspace, known: Program, agrees: bool) -> None:
    """A policy that an agent edited would lead the key there for as long as it is sealed."""
    elsewhere = "https://elsewhere.example.com"
    workspace.write_policy(f'mode = "live"\n[gateways.poyo]\nbase_url = "{elsewhere}"\n')
    plain = put_key_file(known)
    with on_terminal(workspace, known, "keys", "seal", "poyo") as terminal:
        terminal.expect(f"not PoYo's own address, {ADDRESS}")
        terminal.expect("Seal it for that address? (yes/no)")
        terminal.type("yes" if agrees else "")
        if agrees:
            terminal.expect("Approval passphrase: ")
            terminal.type(PASSPHRASE)
        assert terminal.finish() == (0 if agrees else ExitCode.NOT_APPROVED)

    sealed = load_sealed("poyo", keys_directory=known.keys_directory)
    assert (sealed and sealed.base_url) == (elsewhere if agrees else None)
    assert plain.exists() is not agrees


def test_unsealing_puts_the_key_back_into_a_private_file(workspace: Workspace, known: Program) -> None:
    """With the passphrase that it was sealed with, also when the policy has come to name another address."""
    path = seal(known)
    workspace.write_policy('mode = "live"\n[gateways.poyo]\nbase_url = "https://elsewhere.example.com"\n')

    with on_terminal(workspace, known, "keys", "unseal", "poyo") as terminal:
        terminal.expect("sealed with: ")
        terminal.type("not this one")
        terminal.expect("That is not the passphrase.")
        terminal.expect("sealed with: ")
        assert path.exists()
        terminal.type(PASSPHRASE)
        assert terminal.finish() == 0
        assert KEY not in terminal.text

    plain = known.keys_directory / "poyo"
    assert plain.read_text() == KEY
    assert plain.stat().st_mode & 0o077 == 0
    assert not path.exists()


def test_what_is_not_sealed_cannot_be_unsealed(workspace: Workspace, known: Program) -> None:
    """It says so before it asks for anything."""
    with on_terminal(workspace, known, "keys", "unseal", "poyo") as terminal:
        terminal.expect("is not sealed")
        assert terminal.finish() == ExitCode.KEY
        assert "sealed with:" not in terminal.text


def test_a_damaged_or_misled_seal_is_a_problem_for_doctor_and_is_listed(
    workspace: Workspace, known: Program, cli: CommandLine
) -> None:
    """Neither hides the other gateways."""
    path = seal(known)
    workspace.write_policy('mode = "live"\n[gateways.poyo]\nbase_url = "https://elsewhere.example.com"\n')
    misled = cli("doctor", "--json")
    path.write_bytes(b"{}")
    damaged = cli("doctor", "--json")

    for ran, word in ((misled, "no other address"), (damaged, "damaged")):
        assert ran.code == ExitCode.SETUP
        assert [check for check in ran.json["checks"] if check["grade"] == "problem" and word in check["text"]]
    listed = cli("keys", "--json").json["keys"]
    assert len(listed) == 4
    assert next(item["state"] for item in listed if item["sealed"]).startswith("The sealed key for poyo is damaged")


def test_no_argument_carries_a_key_and_none_is_repeated(known: Program, cli: CommandLine) -> None:
    """Keys and passphrases are typed at the terminal alone; one that was given all the same is not shown again."""
    for arguments in (["keys", "seal", "poyo", KEY], ["keys", KEY], ["keys", "seal", KEY], ["keys", f"--key={KEY}"]):
        ran = cli(*arguments)
        assert ran.code == ExitCode.INVALID
        assert KEY not in ran.out + ran.err, arguments


def test_a_gateway_is_not_asked_online_where_its_key_is_sealed(
    workspace: Workspace, known: Program, cli: CommandLine
) -> None:
    """`doctor --online` has no passphrase to open it with."""
    seal(known)
    workspace.gateway.on_request = lambda _: reply({}, 404)

    ran = cli("doctor", "--online", "--json")

    [poyo] = [answer for answer in ran.json["online"] if answer["gateway"] == "poyo"]
    assert poyo["said"] == "its key is sealed, so not asked"
    assert [request for request in workspace.gateway.requests if "authorization" in request.headers] == []


class Setup(Terminal):
    """A run of `callsheet setup` up to the passphrase, with everything else kept."""

    def answer(self, question: str, typed: str = "") -> None:
        """Wait for a question and answer it."""
        self.expect(question)
        self.expect(": ")
        self.type(typed)

    def keep_all(self) -> None:
        """Enter through everything before the passphrase."""
        for question in (
            "Type the mode",
            "one clip",
            "one day",
            "one month",
            "Concurrent tasks",
            "unknown price",
            "is needed from",
        ):
            self.answer(question)
        for question in ("Callback hosts", "saved clips", "Store a key"):
            self.answer(question)

    def choose(self, passphrase: str) -> None:
        """Type a new passphrase twice and agree."""
        self.answer("New passphrase", passphrase)
        self.answer("Repeat it", passphrase)
        self.answer("Write this?", "yes")


def test_a_new_passphrase_seals_the_keys_anew(workspace: Workspace, known: Program) -> None:
    """The old one opens nothing afterwards."""
    seal(known)
    with Setup(["setup"], workspace.environ, known.working_directory) as talk:
        talk.keep_all()
        talk.answer("Change it?", "yes")
        talk.choose(NEW)
        talk.answer("The present approval passphrase", PASSPHRASE)
        talk.expect("Done")
        assert talk.finish() == 0

    assert opened(known, NEW) == KEY
    verifier = load_verifier(known.verifier_path)
    assert verifier is not None
    assert check_passphrase(NEW, verifier)


def test_a_key_under_another_passphrase_keeps_the_passphrase_from_changing(
    workspace: Workspace, known: Program
) -> None:
    """Rather than leave a key behind that the new passphrase does not open; nothing is written."""
    seal(known, "what it was before that")
    with Setup(["setup"], workspace.environ, known.working_directory) as talk:
        talk.keep_all()
        talk.answer("Change it?", "yes")
        talk.choose(NEW)
        talk.answer("The present approval passphrase", PASSPHRASE)
        talk.expect("callsheet keys unseal poyo")
        assert talk.finish() == ExitCode.NOT_APPROVED

    verifier = load_verifier(known.verifier_path)
    assert verifier is not None
    assert check_passphrase(PASSPHRASE, verifier)
    assert opened(known, "what it was before that") == KEY
    assert not known.policy_path.exists()


def test_a_removed_verifier_does_not_hand_the_sealed_keys_to_a_new_passphrase(
    workspace: Workspace, known: Program
) -> None:
    """Whoever can delete a file could otherwise seal them under words of their own."""
    seal(known)
    known.verifier_path.unlink()
    with Setup(["setup"], workspace.environ, known.working_directory) as talk:
        talk.keep_all()
        talk.answer("Choose one now?", "yes")
        talk.choose("an agent's own words")
        for _ in range(3):
            talk.answer("The passphrase your keys are sealed with", "an agent's own words")
        assert talk.finish() == ExitCode.NOT_APPROVED

    assert not known.verifier_path.exists()
    assert opened(known, PASSPHRASE) == KEY


def test_setup_stores_no_key_beside_a_sealed_one(workspace: Workspace, known: Program) -> None:
    """It would not be used; the person is told how to replace the sealed one."""
    seal(known)
    with Setup(["setup"], workspace.environ, known.working_directory) as talk:
        for question in (
            "Type the mode",
            "one clip",
            "one day",
            "one month",
            "Concurrent tasks",
            "unknown price",
            "is needed from",
        ):
            talk.answer(question)
        talk.answer("Callback hosts")
        talk.answer("saved clips")
        talk.expect("sealed with your passphrase")
        talk.answer("Store a key", "poyo")
        talk.expect("callsheet keys unseal poyo")
        talk.answer("Store a key")
        talk.answer("Change it?", "no")
        talk.interrupt()
        assert talk.finish() == ExitCode.INTERRUPTED

    assert not (known.keys_directory / "poyo").exists()
