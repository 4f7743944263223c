"""Renders the Jinja templates: everything escaped, keys redacted.

The redactor sees each value before it is escaped, and the finished page, so that no template can leak a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from callsheet.core.security.redaction import Redactor
from callsheet.surface.next_steps import program
from callsheet.surface.text import format_age, format_size

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
STATIC = HERE / "static"
_TICKED = re.compile(r"`([^`<>]{1,400})`")
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Templates:
    """Renders templates. Not thread-safe: it keeps the redactor of a page while rendering it."""

    def __init__(self, redactor: Callable[[], Redactor], *, before: Sequence[Path] = (), **known: Any) -> None:
        """Directories `before` ours replace its templates, which stay there as `desk/NAME`. All know `known`."""
        self._make_redactor = redactor
        self._redactor = Redactor(())
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [
                    jinja2.FileSystemLoader([*before, TEMPLATES]),
                    jinja2.PrefixLoader({"desk": jinja2.FileSystemLoader(TEMPLATES)}),
                ]
            ),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._finalize,
        )
        self._environment.globals |= {"program": program, **known}
        self._environment.filters |= {
            "age": format_age,
            "size": format_size,
            "moment": format_time,
            "ticks": self._ticks,
        }

    def prepare(self) -> None:
        """Compile every template now, so that the first look at a page is as quick as the next."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, template: str, **values: Any) -> str:
        """One page, or a part of it."""
        self._redactor = self._make_redactor()
        text = self._environment.get_template(template).render(**values)
        # Lone surrogates come from odd file names and cannot be encoded.
        return self._redactor.text(text).encode("utf-8", "replace").decode()

    def _ticks(self, text: str) -> Markup:
        """A sentence whose commands, between backticks, are set as code."""
        escaped = str(escape(self._redactor.text(text)))
        return Markup(_TICKED.sub(r"<code>\1</code>", escaped))  # noqa: S704 - escaped above

    def _finalize(self, value: object) -> object:
        if value is None:
            return ""
        return self._redactor.text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def format_time(seconds: float | None, *, exact: bool = False) -> Markup | str:
    """A time (UTC) for people and programs; `exact` to the second. Our script shows it in the browser's time zone."""
    if seconds is None:
        return ""
    at = datetime.fromtimestamp(seconds, UTC)
    style = "%-d %b %Y, %H:%M:%S UTC" if exact else "%-d %b %Y, %H:%M UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime(style))


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Every static file with its media type: read once, so that no request path becomes a file path."""
    return {path.name: (path.read_bytes(), KINDS[path.suffix]) for path in STATIC.iterdir() if path.suffix in KINDS}
