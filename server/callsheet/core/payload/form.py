"""A body as `multipart/form-data`, the one form that every server of `/v1/videos` takes.

The boundary is made from the parts, so the same shot is always the same bytes: they are frozen, hashed and approved as
JSON is. A file of the person's own is frozen as its name, which has its SHA-256; its bytes take that place when it is
sent, in the one field for them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Literal

from callsheet.core.gateway.uploads import MEDIA_TYPES, file_head, join_parts
from callsheet.core.shot import split_own_file

from .body import Body, freeze_body

JSON = "application/json"
FILE_FIELD = "input_reference"
_OPENING = re.compile(rb"--(callsheet-[0-9a-f]{32})\r\n")
_PART = re.compile(
    rb'Content-Disposition: form-data; name="([a-z_]{1,40})"[^\r\n]*\r\n(?:[^\r\n]+\r\n)?\r\n(.*)', re.DOTALL
)


def freeze(encoding: Literal["json", "multipart"], body: Body) -> bytes:
    """The bytes that are hashed, approved and sent."""
    return freeze_body(body) if encoding == "json" else _freeze_form(body)


def read_frozen(body: bytes) -> Body:
    """The body in frozen bytes; raises `ValueError` for a form that was not frozen here."""
    opening = _OPENING.match(body)
    if opening is None:
        found: Body = json.loads(body)
        return found
    end, between = b"\r\n--" + opening[1] + b"--\r\n", b"\r\n--" + opening[1] + b"\r\n"
    parts = [_PART.fullmatch(part) for part in body[opening.end() : -len(end)].split(between)]
    form: Body = {part[1].decode(): part[2].decode() for part in parts if part}
    if _freeze_form(form) != body:
        raise ValueError("the form is not as it was frozen")
    return form


def content_type(body: bytes) -> str:
    """The `Content-Type` of frozen bytes."""
    opening = _OPENING.match(body)
    return f"multipart/form-data; boundary={opening[1].decode()}" if opening else JSON


def data_url(name: str, content: bytes) -> str:
    """The file of that name as a URL that holds it."""
    return f"data:{MEDIA_TYPES[name.rpartition('.')[2]]};base64,{base64.b64encode(content).decode()}"


def place_files(body: bytes, contents: Mapping[str, bytes]) -> bytes:
    """The frozen form with the bytes of files in place of their names; raises `ValueError` where that is not clear."""
    opening = _OPENING.match(body)
    for name, content in contents.items():
        if opening is None or opening[1] in content or read_frozen(body)[FILE_FIELD] != name:
            raise ValueError("the form has no place for the file")
        # The field is the last one.
        head, found, tail = body.rpartition(name.encode())
        body = head + content + tail
        if not found or not head.endswith(b"\r\n\r\n"):
            raise ValueError("the form has no place for the file")
    return body


def _freeze_form(body: Body) -> bytes:
    parts = []
    for name, value in body.items():
        own = split_own_file(str(value)) if name == FILE_FIELD else None
        head = f'Content-Disposition: form-data; name="{name}"\r\n\r\n'
        if own is not None:
            head = file_head(name, f"{own[0][:32]}.{own[1]}")
        parts.append(f"{head}{value}".encode(errors="backslashreplace"))
    return join_parts(parts)[1]
