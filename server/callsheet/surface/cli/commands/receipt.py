"""`callsheet receipt`: what was agreed to for one clip, and what was sent, charged and delivered."""

from __future__ import annotations

from typing import Any

import typer

from callsheet.core.shot import PARAMETERS
from callsheet.surface.cli.console.command import KNOW, Command, Json, TaskArgument
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.output import label_table
from callsheet.surface.cli.console.session import begin
from callsheet.surface.text import format_size, one_line

EXAMPLES = ("receipt task_k3f9q2", "receipt task_k3f9q2 --json")
LONGEST = 2000


def receipt(context: typer.Context, task_id: TaskArgument, as_json: Json = False) -> int:
    """Show one clip's receipt: the shot, its price, who agreed and when, what was sent, charged and delivered.

    The entry and its hash are those of the audit trail, where a signature by a passkey is kept.
    """
    session = begin(context, as_json)
    document: Any = session.service.receipt(task_id)
    if as_json:
        session.write_json(document)
        return ExitCode.OK
    session.output.write(label_table((label, one_line(text, LONGEST)) for label, text in _rows(document) if text))
    return ExitCode.OK


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    shot, price, sent, consent = (document[name] for name in ("shot", "price", "sent", "consent"))
    asked = [PARAMETERS[name].shown(shot[name]) for name in PARAMETERS if shot.get(name) is not None]
    inputs = [f"{item['role']} from {item['host'] or 'a file of yours'}" for item in shot["inputs"]]
    clip = document["delivered"] or {}
    size = f"{clip['duration_seconds']:g} s · {clip['width']}x{clip['height']}" if clip else ""
    return [
        ("Task", f"{document['task_id']} · {document['mode']} · {document['state'].replace('_', ' ')}"),
        ("Shot", " · ".join([f"{shot['gateway']}/{shot['model']}", *asked, *inputs])),
        ("Prompt", shot["prompt"]),
        ("Price", f"{price['price']}, as of {price['price_as_of']}"),
        ("Charged", price["charged"]),
        ("Agreed", _consent(consent)),
        ("Under", _consent(consent["allowance"]) if consent.get("allowance") else ""),
        ("Sent", f"{sent['at']} · {sent['method']} {sent['url']}" if sent["at"] else "not yet"),
        ("Request", f"{sent['body_bytes']} bytes, SHA-256 {sent['body_sha256']}"),
        ("Gateway id", sent["gateway_task_id"] or ""),
        ("Delivered", f"{document['delivered_at']} · {size} · {format_size(clip['size'])}" if clip else "nothing"),
        ("File", clip.get("path", "")),
        ("SHA-256", clip.get("sha256", "")),
        ("Note", clip.get("note", "")),
    ]


def _consent(act: dict[str, Any]) -> str:
    parts = [act["means"] or "nobody", act.get("who"), act["at"]]
    if "entry" in act:
        parts += [f"entry {act['entry']} of the audit trail, {act['hash'][:16]}", "signed" if act["signed"] else ""]
    return " · ".join(part for part in parts if part)


COMMANDS = (Command("receipt", receipt, KNOW, "one clip's receipt: price, consent, charge, file", EXAMPLES),)
