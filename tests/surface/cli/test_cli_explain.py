"""`callsheet explain`: the same facts for people and for machines, and nothing that is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_terminal import CommandLine, run_without_terminal

from callsheet.surface.cli.console.exit_codes import ExitCode
from workspace import KEY, Workspace

PROMPT = "A red kite over dunes at dusk, slow pan, warm light."
CHOSEN = ("--gateway", "poyo", "--model", "sora-2-official")


def test_the_notice_comes_first_and_availability_before_the_price(cli: CommandLine, workspace: Workspace) -> None:
    """What it knows and how old that is, in the order that matters."""
    ran = cli("explain", PROMPT, "--duration", "8", *CHOSEN, "--verbose")

    assert ran.code == 0
    order = ["Sandbox rehearsal", "unverified", "0.48 USD (96 credits) · 2026-08-07", "POST https://api.poyo.ai"]
    paths = [ran.out.index(part) for part in order]
    assert paths == sorted(paths)
    assert '"duration": 8' in ran.out
    assert "$POYO_API_KEY" in ran.out
    assert "24 hours" in ran.out
    assert "usually done after" in ran.out
    assert "callsheet submit sheet_" in ran.out.rstrip().splitlines()[-1]
    assert workspace.gateway.requests == []


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_shot_that_is_in_order_takes_nine_lines(workspace: Workspace, tmp_path: Path, columns: str) -> None:
    """The last is what to run; `--curl` adds the request, `--verbose` all there is."""
    environ = {**workspace.environ, "COLUMNS": columns}
    chosen = ["explain", PROMPT, "--duration", "4", "--model", "poyo/seedance-2"]

    lines = run_without_terminal(chosen, environ, tmp_path).stdout.splitlines()
    asked = [run_without_terminal([*chosen, more], environ, tmp_path).stdout for more in ("--curl", "--verbose")]

    assert len(lines) == 9
    assert "callsheet submit sheet_" in lines[-1]
    assert all(len(line) <= int(columns) for line in lines[:-1])
    assert all('"duration": 4' in out and "curl --request POST" in out for out in asked)
    assert len(asked[0]) < len(asked[1])


def test_without_a_model_the_best_options_are_listed_with_a_line_on_the_rest(cli: CommandLine) -> None:
    """With price, date and availability at equal terms; how many cannot, and why."""
    ran = cli("explain", PROMPT, "--duration", "20")

    assert ran.code == 0
    assert ran.out.index("flux-3/text-to-video") < ran.out.index("cannot (duration_seconds")
    assert "retired" in ran.out
    assert "--model" in ran.out


def test_the_json_has_the_same_facts(cli: CommandLine) -> None:
    """One object on standard output, nothing on standard error."""
    ran = cli("explain", PROMPT, "--duration", "8", *CHOSEN, "--json", "--full")

    assert ran.code == 0
    assert ran.err == ""
    answer = ran.json
    assert answer["status"] == "ready"
    assert answer["kind"] == "text-to-video"
    assert answer["availability"].startswith("unverified: ")
    assert answer["evidence"][0]["date"]
    assert answer["price_usd"] == "0.480"
    assert answer["price_as_of"] == "2026-08-07"
    assert "https://" in answer["price_source"]
    assert answer["body"]["input"]["duration"] == 8
    assert answer["curl"].startswith("curl --request POST")
    assert answer["retention"].startswith("24 hours")
    assert "90 to 300 s" in answer["polling"]
    assert answer["sheet_id"] == answer["sheet"]["sheet_id"]
    assert f"callsheet submit {answer['sheet_id']}" in answer["next_step"]


@pytest.mark.parametrize("shot", [[*CHOSEN], ["--duration", "7", *CHOSEN], []])
def test_the_json_is_lean(cli: CommandLine, shot: list[str]) -> None:
    """The request and what decides, on one line; `--full` has the rest."""
    ran = cli("explain", PROMPT, *shot, "--json")

    assert len(ran.out) < 3000
    assert ran.out.count("\n") == 1
    assert len(cli("explain", PROMPT, *shot, "--json", "--full").out) > len(ran.out)


def test_the_json_options_are_the_best_with_a_line_on_the_rest(cli: CommandLine) -> None:
    """Cheapest first at equal terms, as for people."""
    answer = cli("explain", PROMPT, "--json").json

    assert answer["status"] == "choose"
    assert 0 < len(answer["options"]) <= 8
    assert {option["terms"].partition(",")[0] for option in answer["options"]} == {"5 s"}
    prices = [float(option["price_usd"]) for option in answer["options"]]
    assert prices == sorted(prices)
    assert "more can take it" in answer["rest"]


def test_every_mistake_is_named_at_once_with_what_to_write_instead(cli: CommandLine) -> None:
    """The exit code says that it is invalid; the body that is shown is the mended one."""
    ran = cli("explain", PROMPT, "--duration", "7", "--ratio", "4:3", "--image", "http://127.0.0.1/x.png", *CHOSEN)

    assert ran.code == ExitCode.INVALID
    for part in ("duration_seconds 7", "aspect_ratio 4:3", "image_url", "Nearest: 8", "https"):
        assert part in ran.out
    assert '"duration": 8' in ran.out


def test_a_raw_payload_from_a_file_is_recognised(cli: CommandLine, tmp_path: Path) -> None:
    """It tells what the payload is."""
    payload = tmp_path / "payload.json"
    picture = "https://cdn.acme.com/a.png"
    asked = {"prompt": PROMPT, "duration": 8, "image_urls": [picture]}
    payload.write_text(json.dumps({"model": "sora-2-official", "input": asked}))

    answer = cli("explain", "--payload", str(payload), "--gateway", "poyo", "--json", "--full").json

    assert answer["gateway"] == "poyo"
    assert (answer["shot"]["duration_seconds"], answer["shot"]["image_url"]) == (8, picture)
    assert answer["shot"]["inputs"] == [{"role": "first_frame", "url": picture}]
    assert answer["what"] != "a shot"


def test_a_raw_payload_comes_from_standard_input_too(workspace: Workspace, tmp_path: Path) -> None:
    """`-` is standard input."""
    payload = json.dumps({"model": "sora-2-official", "input": {"prompt": PROMPT, "duration": 4}})

    ran = run_without_terminal(["explain", "--payload", "-", "--json"], workspace.environ, tmp_path, payload)

    assert ran.returncode == 0
    assert json.loads(ran.stdout)["model"] == "sora-2-official"


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "not JSON (line 1"), ("[]", "not a JSON object"), ("\x00", "not JSON"), ("[" * 100_000, "not JSON")],
)
def test_a_payload_that_is_no_json_object_is_refused(cli: CommandLine, tmp_path: Path, content: str, told: str) -> None:
    """With the place, and without a traceback."""
    path = tmp_path / "payload.json"
    path.write_text(content)

    ran = cli("explain", "--payload", str(path))

    assert ran.code == ExitCode.INVALID
    assert told in " ".join(ran.err.split())


@pytest.mark.parametrize(
    "arguments", [[], ["--payload", "/nowhere/payload.json"], ["a prompt", "--payload", "/nowhere/payload.json"]]
)
def test_a_shot_or_a_payload_is_needed_and_not_both(cli: CommandLine, arguments: list[str]) -> None:
    """Each way of saying nothing, or two things, is told."""
    ran = cli("explain", *arguments)

    assert ran.code == ExitCode.INVALID
    assert "Next" in ran.err


def test_text_is_shown_as_it_is_and_never_as_markup_or_control(cli: CommandLine) -> None:
    """A prompt cannot colour, hide or move anything on the terminal."""
    ran = cli("explain", "[bold red]FREE[/bold red] \x1b[2Jkite\u202e :smile: \x9b31m", *CHOSEN, "--verbose")

    assert ran.code == 0
    assert "[bold red]FREE[/bold red]" in ran.out
    assert ":smile:" in ran.out
    assert not set("\x1b\u202e\x9b") & set(ran.out)
    assert "\\u001b[2J" in ran.out
    assert "\\u202e" in ran.out


def test_a_key_in_the_prompt_is_refused_and_not_repeated(cli: CommandLine, workspace: Workspace) -> None:
    """It would be filmed, logged or sent on."""
    workspace.environ["POYO_API_KEY"] = KEY

    for extra in ([], ["--json"]):
        ran = cli("explain", f"A sign that reads {KEY}", *CHOSEN, *extra)
        assert ran.code == ExitCode.INVALID
        assert KEY not in ran.out + ran.err
