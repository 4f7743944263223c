"""Keeps what the gateways have published: the raw pages with address, time and hash, one private file a gateway.

The pages are read again by the gateway's module at each start, so that a later version of the program understands more
of them. A file that was changed or damaged counts as none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from callsheet.core.catalogue.cards import Catalogue
from callsheet.core.catalogue.published import CatalogueRefused, Published, overlay
from callsheet.core.gateway.protocol import CatalogueReader, Gateway, HttpReply
from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

_WHAT = "published catalogue"


def load_published(directory: Path, gateway_id: str, gateway: Gateway) -> Published | None:
    """What the gateway published last; None where nothing is kept, or nothing that can be used."""
    try:
        raw = read_private(directory / f"{gateway_id}.json", what=_WHAT)
        document = None if raw is None else json.loads(raw)
        if document is None or not isinstance(gateway, CatalogueReader):
            return None
        pages = [str(page).encode("utf-8", "surrogateescape") for page in document["pages"]]
        if document["sha256"] != _digest(pages):
            return None
        return read_published(gateway, gateway_id, url=str(document["url"]), date=str(document["date"]), pages=pages)
    except (SetupProblem, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_published(
    gateway: CatalogueReader, gateway_id: str, *, url: str, date: str, pages: Sequence[bytes]
) -> Published:
    """The pages as one catalogue; raises `CatalogueRefused`."""
    read = [gateway.read_catalogue(HttpReply(200, (), page)) for page in pages]
    models = {item.model: item for page in read for item in page.models}
    if not models:
        raise CatalogueRefused("it lists no video model")
    skipped = tuple(item for page in read for item in page.skipped)
    return Published(gateway_id, date, url, _digest(pages), tuple(models.values()), skipped)


def _digest(pages: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(pages)).hexdigest()


class PublishedCatalogues:
    """The catalogue, with what was published laid over it; read again when a kept file changes."""

    def __init__(self, own: Callable[[], Catalogue], directory: Path, load_gateway: Callable[[str], Gateway]) -> None:
        self.own = own
        self._directory = directory
        self._load_gateway = load_gateway
        self._kept: tuple[object, Catalogue] | None = None

    def current(self) -> Catalogue:
        """Our own cards and those that were published."""
        own = self.own()
        seen = [_stamp(self._path(facts.id)) for facts in own.gateways]
        if not any(seen):
            return own
        if self._kept is None or self._kept[0] != seen:
            found = (load_published(self._directory, facts.id, self._load_gateway(facts.id)) for facts in own.gateways)
            self._kept = seen, overlay(own, [item for item in found if item is not None])
        return self._kept[1]

    def read(
        self, gateway: CatalogueReader, gateway_id: str, *, url: str, date: str, pages: Sequence[bytes]
    ) -> Published:
        """The pages as one catalogue; raises `CatalogueRefused`."""
        return read_published(gateway, gateway_id, url=url, date=date, pages=pages)

    def keep(self, gateway_id: str, *, url: str, date: str, pages: Sequence[bytes]) -> None:
        """Keep the pages of a reply; raises `SetupProblem` for the disk."""
        document = {
            "url": url,
            "date": date,
            "sha256": _digest(pages),
            "pages": [page.decode("utf-8", "surrogateescape") for page in pages],
        }
        write_private(self._path(gateway_id), json.dumps(document, ensure_ascii=True).encode(), what=_WHAT)

    def _path(self, gateway_id: str) -> Path:
        return self._directory / f"{gateway_id}.json"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
