"""An upload as two gateways document it: `multipart/form-data` with one `file`, answered by `{success, code, data}`."""

from __future__ import annotations

import hashlib

from .protocol import HttpReply, HttpRequest
from .replies import answered, find, read_object, read_status_number

MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


def build_multipart(path: str, name: str, content: bytes) -> HttpRequest:
    """The request that uploads one picture. `name` ends in its format and has no character that needs quoting."""
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    # No content holds its own digest.
    boundary = f"callsheet-{hashlib.sha256(content).hexdigest()[:40]}"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = head.encode("ascii") + content + f"\r\n--{boundary}--\r\n".encode("ascii")
    return HttpRequest("POST", path, body, (("Content-Type", f"multipart/form-data; boundary={boundary}"),))


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
