"""How a page becomes text: Jinja's templates, everything escaped, nothing of a key in it.

Each value passes the redactor before it is escaped, and the whole page once more after, so that no template can
forget it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from callsheet.core.security.redaction import Redactor
from callsheet.surface.text import format_age, format_size

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
STATIC = HERE / "static"
_TICKED = re.compile(r"`([^`<>]{1,120})`")
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Templates:
    """Renders templates. Not for several threads: the redactor of a page is kept while it is drawn."""

    def __init__(self, redactor: Callable[[], Redactor]) -> None:
        self._make_redactor = redactor
        self._redactor = Redactor(())
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._finalize,
        )
        self._environment.filters |= {"age": format_age, "size": format_size, "moment": moment, "ticks": self._ticks}

    def render(self, template: str, **values: Any) -> str:
        """One page, or a part of one."""
        self._redactor = self._make_redactor()
        text = self._environment.get_template(template).render(**values)
        # Halves of surrogate pairs come from odd file names, and no page can carry them.
        return self._redactor.text(text).encode("utf-8", "replace").decode()

    def _ticks(self, text: str) -> Markup:
        """A sentence with the commands in it, which stand between backticks, set as code."""
        escaped = str(escape(self._redactor.text(text)))
        return Markup(_TICKED.sub(r"<code>\1</code>", escaped))  # noqa: S704 - escaped above

    def _finalize(self, value: object) -> object:
        if value is None:
            return ""
        return self._redactor.text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def moment(seconds: float | None, *, exact: bool = False) -> Markup | str:
    """A time (UTC) for people and programs; `exact` to the second. Our script shows it in the person's own zone."""
    if seconds is None:
        return ""
    at = datetime.fromtimestamp(seconds, UTC)
    told = "%-d %b %Y, %H:%M:%S UTC" if exact else "%-d %b %Y, %H:%M UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime(told))


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Every file that pages refer to, with its kind: read once, so that no address ever becomes a path."""
    return {path.name: (path.read_bytes(), KINDS[path.suffix]) for path in STATIC.iterdir() if path.suffix in KINDS}


__all__ = ["Paper", "moment", "static_files"]
