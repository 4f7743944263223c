"""Notices that a clip waits for a person: where they go and what they say. Pure.

A notice names the price, the length and the model, and the prompt only if the person wants that. It holds no key, and
nothing in it is a link or approves anything.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum

from .gateway.protocol import HttpRequest
from .security.redaction import escape_block
from .shot import JsonValue

LEAST_SECRET = 16
"""Anyone who knows the last part of the address can post there, or read there: it must not be guessed."""
PROMPT_TOLD = 200
LONGEST_TERM = 100
_LINKED = re.compile(r"(?<=[.:/@\u3002\uff0e\uff61\uff1a\uff0f\uff20])(?=\S)")
"""After these, and what an address reader may take for them."""


class NoticeForm(StrEnum):
    """What the address takes: our own JSON, or what ntfy, Slack and Discord document."""

    JSON = "json"
    NTFY = "ntfy"
    SLACK = "slack"
    DISCORD = "discord"


@dataclass(frozen=True, slots=True)
class Notices:
    """Where notices go, by default nowhere. The `address` is a secret and is shown nowhere."""

    address: str = field(default="", repr=False)
    form: NoticeForm = NoticeForm.JSON
    prompt: bool = False
    desktop: bool = False

    @property
    def parts(self) -> tuple[str, str]:
        """The address as its origin and what follows it."""
        scheme, _, rest = self.address.partition("://")
        host, _, path = rest.partition("/")
        return f"{scheme}://{host}", f"/{path}"

    @property
    def secret(self) -> str:
        """The last part of the address, with its query, which may have slashes of its own."""
        path, mark, query = self.parts[1].partition("?")
        return f"{path.rpartition('/')[2]}{mark}{query}"


def format_notice(terms: list[str], *, prompt: str, rehearsal: bool) -> str:
    """The text of a notice. The prompt was written by an agent: nothing in it becomes a link or a mention.

    The terms may have words of an agent or a gateway too: each stays one short piece of the first line.
    """
    said = ", ".join(escape_block(term, LONGEST_TERM).replace("://", ": //") for term in terms)
    text = f"A {'rehearsal' if rehearsal else 'clip'} waits for you: {said}."
    return f"{text}\n{_LINKED.sub(' ', escape_block(prompt, PROMPT_TOLD))}" if prompt else text


def build_notice(notices: Notices, text: str) -> HttpRequest:
    """The one request of a notice, without the key of any gateway."""
    forms: dict[NoticeForm, JsonValue] = {
        NoticeForm.JSON: {"event": "clip_waits", "text": text},
        NoticeForm.SLACK: {"text": html.escape(text, quote=False)},
        NoticeForm.DISCORD: {"content": text, "allowed_mentions": {"parse": []}},
    }
    kind, body = "application/json", json.dumps(forms.get(notices.form))
    if notices.form is NoticeForm.NTFY:
        kind, body = "text/plain; charset=utf-8", text
    return HttpRequest("POST", notices.parts[1], body.encode(), (("content-type", kind),), authorized=False)
