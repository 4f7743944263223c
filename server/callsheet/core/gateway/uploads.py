"""An upload as two gateways document it: `multipart/form-data` with one `file`, answered by `{success, code, data}`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .protocol import HttpReply, HttpRequest
from .replies import answered, find, read_object, read_status_number

MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


def build_multipart(path: str, name: str, content: bytes) -> HttpRequest:
    """The request that uploads one picture. `name` ends in its format and has no character that needs quoting."""
    boundary, body = join_parts([file_head("file", name).encode("ascii") + content])
    return HttpRequest("POST", path, body, (("Content-Type", f"multipart/form-data; boundary={boundary}"),))


def file_head(field: str, name: str) -> str:
    """What comes before a file in a form."""
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    return f"{disposition}\r\nContent-Type: {media_type}\r\n\r\n"


def join_parts(parts: Sequence[bytes]) -> tuple[str, bytes]:
    """The boundary and the body of a form. The boundary is made from the parts: no content holds its own digest."""
    boundary = f"callsheet-{hashlib.sha256(b''.join(parts)).hexdigest()[:32]}"
    between = f"\r\n--{boundary}".encode()
    return boundary, (between + b"\r\n").join([b"", *parts])[2:] + between + b"--\r\n"


def read_link(reply: HttpReply) -> str | None:
    """The link in the answer. An HTTP 200 with `success: false` is a failure (evolink-mcp)."""
    body = read_object(reply.body)
    # Not bounded here: a link that was cut would be paid for and fetch nothing.
    link = find(body, "data", "file_url")
    taken = answered(reply, read_status_number(find(body, "code"))) and find(body, "success") is True
    return link if taken and isinstance(link, str) and link else None


def is_upload(request: HttpRequest) -> bool:
    """Whether a request is the upload of a file and nothing else."""
    kind = next((value for name, value in request.headers if name == "Content-Type"), "")
    return request.method == "POST" and kind.startswith("multipart/form-data; ")
