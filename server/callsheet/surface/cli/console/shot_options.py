"""The options that describe a shot, shared by the commands that take one, and the draft that they make.

A path on the command line is a person's own: it counts from where they are.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from callsheet.core.payload.request import Payload, parse_request
from callsheet.core.shot import Shot
from callsheet.errors import Action, InvalidRequest, NextStep
from callsheet.service import Draft

from .command import GatewayOption, ModelOption
from .session import Session, find_session

MAX_PAYLOAD_BYTES = 1 << 20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Two letters at least: one is a drive."""


def takes_shot(run: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of `read_draft`, after its context; it is called with the draft in their place."""
    shot = list(inspect.signature(read_draft, eval_str=True).parameters.values())[1:]
    context, _, *own = inspect.signature(run, eval_str=True).parameters.values()

    def command(context: typer.Context, **given: Any) -> int:
        chosen = {option.name: given.pop(option.name) for option in shot}
        return run(context, read_draft(find_session(context), **chosen), **given)

    command.__doc__, command.__annotations__ = run.__doc__, {}
    command.__signature__ = inspect.Signature([context, *shot, *own])  # type: ignore[attr-defined]
    return command


def read_draft(  # noqa: PLR0917 - the options of a command
    session: Session,
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
) -> Draft:
    """What a person asks for on the command line; raises `InvalidRequest`."""
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
    return _build_draft(shot, payload, gateway=gateway, model=model)


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
            raise InvalidRequest(
                "There is no prompt.", next_step=NextStep(Action.EXPLAIN, "Write what it shows behind it.")
            )
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
