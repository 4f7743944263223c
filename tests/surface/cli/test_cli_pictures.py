"""`callsheet explain --image`: a picture of the person's own, by its path."""

from __future__ import annotations

import pytest
from cli_terminal import CommandLine

from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.program import Program
from pictures import write_cat
from workspace import Workspace

MODEL = ("--gateway", "poyo", "--model", "sora-2-official", "--duration", "4")


@pytest.mark.parametrize("written", ["./cat.png", "cat.png", "../project/cat.png", "absolute"])
def test_a_path_counts_from_where_the_person_is(
    cli: CommandLine, program: Program, workspace: Workspace, written: str
) -> None:
    """Any path, whatever the policy's directories for agents are; the body has a name, and the answer the file."""
    cat = write_cat(program.working_directory)
    path = str(cat) if written == "absolute" else written

    ran = cli("explain", "The cat wakes up.", "--image", path, *MODEL, "--json")

    assert ran.code == ExitCode.OK, ran.err
    [name] = ran.json["body"]["input"]["image_urls"]
    [kept] = (workspace.home / "data" / "inputs").glob("*.png")
    assert name == f"callsheet-file:{kept.name}"
    assert "64x48 pixels" in ran.json["inputs"][0]["file"]
    assert workspace.gateway.requests == []


def test_people_read_what_the_file_is_and_what_happens_to_it(cli: CommandLine, program: Program) -> None:
    """Size, pixels, hash and the upload."""
    write_cat(program.working_directory)

    ran = cli("explain", "The cat wakes up.", "--image", "cat.png", *MODEL)

    assert "64x48 pixels" in ran.out
    assert "uploaded to the gateway after the approval" in " ".join(ran.out.split())


@pytest.mark.parametrize("written", ["http://example.com/cat.png", "file:///etc/passwd", "data:image/png;base64,AAAA"])
def test_an_address_is_not_taken_for_a_path(cli: CommandLine, workspace: Workspace, written: str) -> None:
    """It is judged as an address."""
    ran = cli("explain", "The cat wakes up.", "--image", written, *MODEL, "--json")

    assert ran.json["status"] == "invalid"
    assert not (workspace.home / "data" / "inputs").exists()


@pytest.mark.parametrize("option", ["--image", "--last-image", "--reference"])
def test_what_is_no_picture_is_refused_in_words(cli: CommandLine, program: Program, option: str) -> None:
    """For each option."""
    (program.working_directory / "notes.txt").write_text("not a picture")

    ran = cli("explain", "The cat wakes up.", option, "notes.txt", *MODEL, "--json")

    assert ran.code == ExitCode.INVALID
    assert ran.json["error"]["code"] == "invalid_request"
