"""`callsheet explain`: the request, its errors and its price. Sends nothing."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from callsheet.core.payload.request import Payload, parse_request
from callsheet.core.shot import Shot
from callsheet.errors import InvalidRequest
from callsheet.service import Draft, Explanation
from callsheet.surface.cli.console.command import MAKE, Command, GatewayOption, Json, ModelOption
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.explanation_view import write_explanation
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.views.builders import explain_details

EXAMPLES = (
    'explain "A red kite over dunes at dusk, slow pan" --duration 8',
    'explain "A red kite" --gateway poyo --model sora-2-official',
    'explain "The cat wakes up" --image ./cat.png',
    "explain --payload payload.json --json",
)
MAX_PAYLOAD_BYTES = 1 << 20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Two letters at least: one is a drive."""


def explain(  # noqa: PLR0917 - the options of a command
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="What the clip shows and sounds like.")] = None,
    duration: Annotated[int | None, typer.Option(metavar="SECONDS", help="Length of the clip.")] = None,
    ratio: Annotated[str | None, typer.Option(metavar="W:H", help="Aspect ratio, for example 16:9 or 9:16.")] = None,
    resolution: Annotated[str | None, typer.Option(metavar="LINES", help="For example 720p or 1080p.")] = None,
    audio: Annotated[bool | None, typer.Option("--audio/--silent", help="With sound, or without.")] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="PICTURE", help="First frame: a file of yours, a public https URL, or task:ID:last."),
    ] = None,
    last_image: Annotated[str | None, typer.Option(metavar="PICTURE", help="The last frame, in the same way.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="PICTURE", help="A picture of a person, thing or style, likewise.")
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="TEXT", help="What the clip must not show.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Repeats a result, where a model has it.")] = None,
    gateway: GatewayOption = None,
    model: ModelOption = None,
    callback: Annotated[str | None, typer.Option(metavar="URL", help="Where the gateway also reports the end.")] = None,
    payload: Annotated[
        str | None, typer.Option(metavar="FILE", help="Raw gateway JSON instead of a shot; - is standard input.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Show the exact request for a shot, its price and what is wrong with it. Nothing is sent.

    Without a model, the models that can take the shot are listed, cheapest first. The answer names a
    sheet, which can then be approved and submitted.
    """
    session = begin(context, as_json)
    shot = Shot.of(
        prompt or "",
        duration_seconds=duration,
        aspect_ratio=ratio,
        resolution=resolution,
        audio=audio,
        seed=seed,
        negative_prompt=negative,
        first_frame=_located(session, image),
        last_frame=_located(session, last_image),
        reference_image=[_located(session, item) or "" for item in reference or ()],
        callback_url=callback,
    )
    draft = _build_draft(shot, payload, gateway=gateway, model=model)
    explanation = session.service.explain(draft)
    catalogue = session.service.catalogue
    if as_json:
        session.write_json(explain_details(explanation, session.service, for_person))
    else:
        write_explanation(session.output, explanation, catalogue)
    return _exit_code(explanation, is_payload=payload is not None)


def _located(session: Session, picture: str | None) -> str | None:
    """A path as an absolute one; what begins with a scheme is not changed."""
    if not picture or _SCHEME.match(picture):
        return picture
    path = Path(picture)
    # A home of no known user is left as written, and will not be found.
    with suppress(RuntimeError):
        path = path.expanduser()
    return str(session.program.working_directory / path)


def _build_draft(shot: Shot, payload: str | None, *, gateway: str | None, model: str | None) -> Draft:
    if payload is None:
        if shot == Shot():
            raise InvalidRequest("There is no prompt.", next_step=f'Run `{program()} explain "what to show"`.')
        return Draft(shot=shot, gateway=gateway, model=model, by_person=True)
    if shot != Shot():
        raise InvalidRequest(
            "A raw payload cannot be combined with a prompt or shot options.", next_step="Omit either of them."
        )
    return Draft(payload=read_payload(payload), by_person=True, gateway=gateway, model=model)


def read_payload(name: str) -> Payload:
    """The JSON object in a file, or on standard input for `-`; raises `InvalidRequest`."""
    try:
        raw = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1) if name == "-" else _read(Path(name))
    except OSError as error:
        raise InvalidRequest(
            f"The payload {name} cannot be read ({error.strerror or type(error).__name__}).",
            next_step="Name a file with JSON, or - for standard input.",
        ) from None
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise InvalidRequest("The payload is larger than 1 MB.", next_step="Name only the request body.")
    try:
        text = raw.decode("utf-8-sig")
        if not text.lstrip().startswith(("{", "[")) and (request := parse_request(text)) is not None:
            return request
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequest(f"The payload is not JSON{where}.", next_step="Fix it there.") from None
    if not isinstance(payload, dict):
        raise InvalidRequest("The payload is not a JSON object.", next_step="Name only the request body.")
    return payload


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PAYLOAD_BYTES + 1)


def _exit_code(explanation: Explanation, *, is_payload: bool) -> ExitCode:
    """A payload that had to be changed is not valid, although the corrected one has a sheet."""
    if is_payload and any(item.now is not None and item.severity == "warning" for item in explanation.findings):
        return ExitCode.INVALID
    if explanation.status in {"ready", "blocked"} or explanation.options:
        return ExitCode.OK
    return ExitCode.UNKNOWN if explanation.status == "held" else ExitCode.INVALID


COMMANDS = (Command("explain", explain, MAKE, "what would be sent, its price, its errors", EXAMPLES),)
