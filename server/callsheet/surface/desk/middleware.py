"""The checks that every request passes first, and the headers of every answer.

Web pages in the person's own browser can reach a loopback port. Another site can point its own host name here
(then the Host is not ours), post a form to us (then the Origin is not ours), or embed our pages. Other ports
of `localhost` count as the same site for cookies, so the Origin is compared with its port.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

READING = ("GET", "HEAD")


def build_headers(media: str = "") -> dict[str, str]:
    """The headers of every answer. Pictures and clips may also come from the origins in `media`."""
    sources = f"'self' {media}".rstrip()
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {sources}; media-src {sources};"
            " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        # `no-referrer` would make browsers send `Origin: null` with our own forms, and the Origin could not be checked.
        "referrer-policy": "same-origin",
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": (
            "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(),"
            " geolocation=(), payment=(), usb=()"
        ),
    }


HEADERS = build_headers()


class DeskMiddleware:
    """Refuses requests that come neither from the desk's own pages nor from the address bar.

    `open_paths` are those to which another server posts, which proves itself in another way.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, origin: str, media: str = "", open_paths: Collection[str] = ()
    ) -> None:
        self._app = app
        self._host = host
        self._origin = origin
        self._open_paths = open_paths
        self._headers = build_headers(media)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            # The answer has been sent. The server would log the message, which may contain a prompt.
            log.error("the desk failed: %s", type(error).__name__)  # noqa: TRY400 - see above

    def _refusal(self, method: str, path: str, headers: Headers) -> PlainTextResponse | None:
        if headers.getlist("host") != [self._host]:
            return _refuse(421, f"This is the desk at {self._origin}/ and uses no other name.")
        if method not in (*READING, "POST"):
            return _refuse(405, "Only GET, HEAD and POST are allowed.")
        if path in self._open_paths:
            return None
        origins = headers.getlist("origin")
        if origins != [self._origin] and (origins or method == "POST"):
            return _refuse(403, "Only the desk's own pages may send this request.")
        site = headers.get("sec-fetch-site", "")
        if site not in ("", "same-origin") and not (method in READING and _opened_by_person(headers, site)):
            return _refuse(403, "Only the desk's own pages may send this request.")
        return None


def _opened_by_person(headers: Headers, site: str) -> bool:
    """Whether the page was opened from the address bar or by a link elsewhere. It changes nothing."""
    if site == "none":
        return True
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _refuse(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(f"{text} Nothing was changed.\n", status)
