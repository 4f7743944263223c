"""Every way in which a paid request can go wrong on the wire, and what must be concluded from each."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from callsheet.core.gateway.replies import REJECTING
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.http.client import MAX_REPLY_BYTES

from .certificates import server_context, trusting_context
from .faulty_gateway import TASK_ID, Play, Visit

LARGE_PROMPT = 1_000_000
"""Characters; more than a connection holds whose receiver has small buffers."""


class Verdict(Enum):
    """What the program must conclude: the task's state at first, and after an hour in which all was well."""

    NOT_SENT = ("waiting", "running")
    LIMITED = ("waiting ", "running")
    ACCEPTED = ("queued", "running")
    REJECTED = ("rejected", "rejected")
    UNKNOWN = ("outcome_unknown", "outcome_unknown")

    @property
    def first(self) -> str:
        """Right after the fault."""
        return self.value[0].strip()

    @property
    def last(self) -> str:
        """An hour later."""
        return self.value[1]

    @property
    def sent_again(self) -> bool:
        """Whether the same bytes may go out once more."""
        return self.first == "waiting"


@dataclass(frozen=True)
class Row:
    """One fault. `play` is None where nobody listens; `complete`: does a whole request arrive during the fault?

    `or_not_sent`: where the network decides by a hair whether the fault is seen before or after the first byte.
    `sick` and `well` are what the gateway presents during the fault and after it, `trusts` whom the program trusts.
    `not_before`: the least wait, in seconds, before the same bytes may go out again.
    """

    name: str
    play: Play | None
    verdict: Verdict
    complete: bool = True
    gateway: str = "poyo"
    sick: Callable[[], ssl.SSLContext] | None = None
    well: Callable[[], ssl.SSLContext] | None = None
    trusts: Callable[[], ssl.SSLContext] | None = None
    base_url: str = ""
    prompt_length: int = 0
    or_not_sent: bool = False
    heals: bool = True
    not_before: float = 0.0


GOOD = {"code": 200, "data": {"task_id": TASK_ID, "status": "not_started"}}


def answer(body: object, status: int = 200, **fields: str) -> Play:
    """Read the request, then this JSON."""

    async def play(visit: Visit) -> None:
        await visit.read()
        await visit.reply(body, status, **fields)
        await visit.hang()

    return play


def raw(data: bytes, *, then: str = "close") -> Play:
    """Read the request, then these bytes, then `close`, `reset` or `hang`."""

    async def play(visit: Visit) -> None:
        await visit.read()
        await visit.send(data)
        await _leave(visit, then)

    return play


def leave_after(count: int, *, then: str, reply: bytes = b"") -> Play:
    """Take so many bytes of the request only, perhaps answer, then `close`, `reset` or `hang`."""

    async def play(visit: Visit) -> None:
        await visit.read_some(count)
        await visit.send(reply)
        await _leave(visit, then)

    return play


async def _leave(visit: Visit, how: str) -> None:
    if how == "reset":
        visit.reset()
    elif how == "hang":
        await visit.hang()


async def drip(visit: Visit) -> None:
    """Read the request, then an answer that is good but comes a byte at a time."""
    await visit.read()
    for byte in http(200, json.dumps(GOOD).encode()):
        await visit.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def huge(visit: Visit) -> None:
    """An answer with an id, of more bytes than any answer needs."""
    await visit.read()
    body = json.dumps({**GOOD, "padding": "x" * (2 * MAX_REPLY_BYTES)}).encode()
    await visit.send(http(200, body))
    await visit.hang()


async def bomb(visit: Visit) -> None:
    """A small answer that unpacks to a huge one."""
    await visit.read()
    body = gzip.compress(json.dumps({**GOOD, "padding": "x" * (64 * MAX_REPLY_BYTES)}).encode())
    await visit.send(http(200, body, content_encoding="gzip"))
    await visit.hang()


def http(status: int, body: bytes, *, length: int | None = None, **fields: str) -> bytes:
    """A whole answer; `length` is what is announced."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status} X\r\n{lines}content-length: {size}\r\n\r\n".encode() + body


def complaint(status: int, code: str = "x") -> object:
    """A refusal in the words of all four gateways."""
    return {"code": status, "error": {"message": "no, thanks", "type": code, "code": code}, "message": "no, thanks"}


def _transport_rows() -> list[Row]:
    lost, unsent = Verdict.UNKNOWN, Verdict.NOT_SENT
    good = json.dumps(GOOD).encode()
    return [
        Row("port refuses", None, unsent, complete=False),
        Row("name does not resolve", None, unsent, complete=False, heals=False, base_url="https://gateway.invalid"),
        Row("accepted, reset before a byte is read", _reset, lost, complete=False, or_not_sent=True),
        Row("accepted, closed before a byte is read", _close, lost, complete=False),
        Row("accepted, half the head read, reset", leave_after(40, then="reset"), lost, complete=False),
        Row("request read, closed", raw(b""), lost),
        Row("request read, reset", raw(b"", then="reset"), lost),
        Row("request read, silence", raw(b"", then="hang"), lost),
        Row("status line cut", raw(b"HTTP/1.1 20"), lost),
        Row("headers cut", raw(b"HTTP/1.1 200 OK\r\ncontent-le"), lost),
        Row("headers, then reset", raw(http(200, b"", length=len(good)), then="reset"), lost),
        Row("headers, then silence", raw(http(200, b"", length=len(good)), then="hang"), lost),
        Row("body cut", raw(http(200, good[:-9], length=len(good))), lost),
        Row("body cut after the id, whole JSON", raw(http(200, good, length=len(good) + 5)), lost),
        Row("body reset", raw(http(200, good[:-9], length=len(good)), then="reset"), lost),
        Row("chunked body cut", raw(_chunked(good, whole=False)), lost),
        Row("chunked body, bad size", raw(_chunked(good, whole=False) + b"zz\r\n"), lost),
        Row("chunked body, whole", raw(_chunked(good, whole=True), then="hang"), Verdict.ACCEPTED),
        Row("no length, closed in the middle", raw(b"HTTP/1.1 200 OK\r\n\r\n" + good[:-9]), lost),
        Row("not HTTP", raw(b"220 mail.example.org ESMTP\r\n"), lost),
        Row("only a 100 Continue", raw(b"HTTP/1.1 100 Continue\r\n\r\n"), lost),
        Row("101 Switching Protocols", raw(b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), lost),
        Row("bad content encoding", raw(http(200, good, content_encoding="gzip"), then="hang"), lost),
        Row("bomb", bomb, lost),
        Row("huge body", huge, lost),
        Row("slow drip", drip, lost),
        *_large_rows(),
    ]


async def _reset(visit: Visit) -> None:
    visit.reset()


async def _close(_: Visit) -> None:
    return


def _large_rows() -> list[Row]:
    """The connection or the patience ends while the request is being written."""

    def early(status: int) -> Play:
        reply = http(status, json.dumps(complaint(status)).encode(), connection="close")
        return leave_after(2000, then="hang", reply=reply)

    def large(name: str, play: Play, verdict: Verdict = Verdict.UNKNOWN, *, complete: bool = False) -> Row:
        return Row(f"large prompt, {name}", play, verdict, complete=complete, prompt_length=LARGE_PROMPT)

    return [
        large("closed while it is written", leave_after(2000, then="close")),
        large("reset while it is written", leave_after(2000, then="reset")),
        large("never read on", leave_after(2000, then="hang")),
        large("413 while it is written", early(413), Verdict.REJECTED),
        large("503 while it is written", early(503)),
        large("taken", answer(GOOD), Verdict.ACCEPTED, complete=True),
    ]


def _chunked(body: bytes, *, whole: bool) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n" + (b"0\r\n\r\n" if whole else b"")


def _tls_rows() -> list[Row]:
    unsent, lost = Verdict.NOT_SENT, Verdict.UNKNOWN

    def tls(name: str, play: Play | None, verdict: Verdict, **more: object) -> Row:
        options = {"sick": server_context, "well": server_context, "trusts": trusting_context, **more}
        return Row(f"TLS: {name}", play, verdict, **options)  # type: ignore[arg-type]

    good = json.dumps(GOOD).encode()
    never = {"complete": False}
    plain = leave_after(20, then="close", reply=http(400, b"no"))
    return [
        tls("in order", answer(GOOD), Verdict.ACCEPTED),
        tls("port refuses", None, unsent, **never),
        tls(
            "the port speaks plain HTTP",
            plain,
            unsent,
            sick=None,
            **never,
        ),
        tls("the port says nothing", raw(b"", then="hang"), unsent, sick=None, **never),
        tls("reset in the handshake", leave_after(20, then="reset"), unsent, sick=None, **never),
        tls("closed in the handshake", leave_after(20, then="close"), unsent, sick=None, **never),
        tls("wrong name", answer(GOOD), unsent, sick=lambda: server_context("gateway.example.com"), **never),
        tls("expired", answer(GOOD), unsent, sick=lambda: server_context(days=1), **never),
        tls("unknown authority", answer(GOOD), unsent, trusts=None, heals=False, **never),
        tls(
            "the server wants a certificate",
            answer(GOOD),
            lost,
            sick=lambda: server_context(wants_certificate=True),
            **never,
        ),
        tls("request read, closed", raw(b""), lost),
        tls("request read, reset", raw(b"", then="reset"), lost),
        tls("body cut", raw(http(200, good[:-9], length=len(good))), lost),
        tls("no length, closed without goodbye", _no_goodbye, lost),
    ]


async def _no_goodbye(visit: Visit) -> None:
    """An answer that only the end of the connection ends, and an end that anyone on the way could make."""
    await visit.read()
    await visit.send(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(GOOD).encode()[:-9])
    visit.reset()


def _answer_rows() -> list[Row]:
    lost, later, no = Verdict.UNKNOWN, Verdict.LIMITED, Verdict.REJECTED
    date = "Wed, 01 Jan 2031 00:00:00 GMT"
    html = raw(http(200, b"<html><title>502 Bad Gateway</title></html>", content_type="text/html"), then="hang")
    rows = [
        Row("200 with an id", answer(GOOD), Verdict.ACCEPTED),
        Row("201 with an id", answer(GOOD, 201), Verdict.ACCEPTED),
        Row("200 with a web page", html, lost),
        Row("200 without an id", answer({"code": 200, "data": {}}), lost),
        Row("200 with an id that is none", answer({"code": 200, "data": {"task_id": "../../x"}}), lost),
        Row("200 with an id of null", answer({"code": 200, "data": {"task_id": None}}), lost),
        Row("200 empty", answer("", 200), lost),
        Row("204", raw(b"HTTP/1.1 204 X\r\n\r\n", then="hang"), lost),
        Row("200, body says 402", answer(complaint(402)), no),
        Row("200, body says 429", answer(complaint(429)), later),
        Row("200, body says 500", answer(complaint(500)), lost),
        Row("200, body says 999", answer(complaint(999)), lost),
        Row("402 that names an id", answer({**GOOD, "code": 402}, 402), lost),
        Row("503 that names an id", answer({**GOOD, "code": 503}, 503), lost),
        Row("429", answer(complaint(429), 429), later),
        Row("429 as a web page", raw(http(429, b"<html>slow down</html>"), then="hang"), later),
        Row("429, Retry-After: 20", answer(complaint(429), 429, retry_after="20"), later, not_before=20),
        Row("429, Retry-After: 100000", answer(complaint(429), 429, retry_after="100000"), later, not_before=300),
        Row("429, Retry-After: -5", answer(complaint(429), 429, retry_after="-5"), later, not_before=2),
        Row("429, Retry-After: a date", answer(complaint(429), 429, retry_after=date), later, not_before=2),
        Row("429 with an id", answer(GOOD, 429), Verdict.ACCEPTED),
        *(Row(f"{status} to another port", _redirect(status), lost) for status in (301, 302, 303)),
        *(Row(f"{status} to another port", _redirect(status), no) for status in (307, 308)),
        *(Row(str(status), answer(complaint(status), status), no) for status in sorted(REJECTING)),
    ]
    unclear = (406, 408, 409, 410, 418, 425, 500, 501, 502, 503, 504, 520, 599)
    return rows + [Row(str(status), answer(complaint(status), status), lost) for status in unclear]


def _redirect(status: int) -> Play:
    """To a second gateway, which must never hear of it."""

    async def play(visit: Visit) -> None:
        await visit.read()
        await visit.send(http(status, b"", location=f"http://127.0.0.1:{visit.elsewhere}/api/generate/submit"))
        await visit.hang()

    return play


def _documented_rows() -> list[Row]:
    """What each gateway documents, with its own code, in the status line and again inside an HTTP 200."""
    open_codes = {"paid_outcome_unknown", "idempotency_conflict"}
    rows = []
    for facts in load_catalogue().gateways:
        for error in facts.errors:
            if error.code in open_codes:
                rows.append(
                    Row(
                        f"{facts.id} 409 {error.code}",
                        answer(complaint(409, error.code), 409),
                        Verdict.UNKNOWN,
                        gateway=facts.id,
                    )
                )
            if error.status is None:
                continue
            verdict = Verdict.REJECTED if error.status in REJECTING else Verdict.UNKNOWN
            verdict = Verdict.LIMITED if error.status == 429 else verdict
            name = f"{facts.id} {error.status} {error.code}"
            rows.append(Row(name, answer(complaint(error.status, error.code), error.status), verdict, gateway=facts.id))
    return rows


ROWS: tuple[Row, ...] = (*_transport_rows(), *_tls_rows(), *_answer_rows(), *_documented_rows())
