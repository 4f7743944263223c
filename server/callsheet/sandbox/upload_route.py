"""The upload routes: take a picture as multipart/form-data, keep it, serve it under a link that only the answer has."""

from __future__ import annotations

import re
import secrets

from callsheet.sandbox.fakes.protocol import Answer, FakeUploader, Reason, Refusal, UploadedFile

from .context import AppState, Outcome, Request
from .replies import CompleteReply, json_reply

LARGEST_UPLOAD = 25_000_000
KINDS = {b"\xff\xd8\xff": ("image/jpeg", ".jpg"), b"\x89PNG\r\n\x1a\n": ("image/png", ".png")}
_BOUNDARY = re.compile(r'multipart/form-data;\s*boundary="?([\w\'()+,./:=?-]{1,70})"?', re.IGNORECASE)
_DISPOSITION = re.compile(rb'content-disposition: *form-data; *name="([^"]*)"(?:; *filename="([^"]*)")?', re.IGNORECASE)
_NAME = re.compile(r"[0-9a-f]{32}\.(?:jpg|png)")


def answer_upload(state: AppState, request: Request) -> Outcome:
    """Keep the picture and answer with its link."""
    fake = request.fake
    assert isinstance(fake, FakeUploader)
    part = read_file_part(request.headers.get("content-type", ""), request.body)
    if part is None:
        return request.refuse(Refusal(Reason.INVALID, "file", "Missing required field: file"))
    name, content = part
    kind = next((kind for mark, kind in KINDS.items() if content.startswith(mark)), None)
    if kind is None:
        return request.refuse(Refusal(Reason.INVALID, "file", "Only images are supported"))
    token = secrets.token_hex(16)
    stored = f"{token}{kind[1]}"
    state.store.write_upload(request.gateway, stored, content)
    url = f"{request.base_url}/files/{request.gateway}/uploads/{stored}"
    file = UploadedFile(token, name or stored, kind[0], len(content), url, state.clock())
    return Outcome(json_reply(Answer(200, fake.build_uploaded(file))))


def answer_uploaded_file(state: AppState, request: Request) -> Outcome:
    """An uploaded picture, for anyone who has its link."""
    name = request.path_params.get("name", "")
    content = state.store.load_upload(request.gateway, name) if _NAME.fullmatch(name) else None
    if content is None:
        return Outcome(CompleteReply(404, b"No such file.\n", "text/plain; charset=utf-8"))
    return Outcome(CompleteReply(200, content, "image/png" if name.endswith(".png") else "image/jpeg"))


def read_file_part(content_type: str, body: bytes) -> tuple[str, bytes] | None:
    """File name and bytes of the one part that is called `file`; None where the body is not such a form."""
    files = [(file or "", content) for name, file, content in read_form(content_type, body) or () if name == "file"]
    return files[0] if len(files) == 1 else None


def read_form(content_type: str, body: bytes) -> list[tuple[str, str | None, bytes]] | None:
    """Name, file name and bytes of each part; None where the body is not a form. What is no file has no file name."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        return None
    mark = b"\r\n--" + found[1].encode()
    parts = (b"\r\n" + body).split(mark)
    if len(parts) < 3 or parts[0] or not parts[-1].startswith(b"--"):
        return None
    form = []
    for part in parts[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        named = _DISPOSITION.search(head)
        if separator and named:
            file = named[2]
            form.append((_text(named[1]), None if file is None else _text(file), content))
    return form


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
