"""Keeps what the gateways have published: the raw pages with address, time and hash, one private file a gateway.

The pages are read again by the gateway's module at each start, so that a later version of the program understands more
of them. A file that was changed or damaged counts as none.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.core.catalogue.cards import Catalogue, ModelCard
from callsheet.core.catalogue.published import CatalogueRefused, Published, overlay
from callsheet.core.gateway.protocol import CatalogueReader, Gateway, HttpReply
from callsheet.core.shot import JsonValue
from callsheet.edges.files.files import read_private, write_private
from callsheet.errors import SetupProblem

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MOST_PROBLEMS = 20
MOST_BYTES = 40 << 20
DAY = 86_400.0
"""Between two fetches that nobody asked for, whatever came of the first."""
_WHAT = "published catalogue"


def load_published(directory: Path, gateway_id: str, gateway: Gateway) -> Published | None:
    """What the gateway published last, None where nothing is kept; raises `CatalogueRefused` and `SetupProblem`."""
    raw = read_private(directory / f"{gateway_id}.json", what=_WHAT, most=MOST_BYTES)
    if raw is None or not isinstance(gateway, CatalogueReader):
        return None
    try:
        document = json.loads(raw)
        pages = [str(page).encode("utf-8", "surrogateescape") for page in document["pages"]]
        url, date, digest = str(document["url"]), str(document["date"]), document["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CatalogueRefused("the kept file is damaged") from error
    if digest != _digest(pages):
        raise CatalogueRefused("the kept file was changed")
    return read_published(gateway, gateway_id, url=url, date=date, pages=pages)


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

    def __init__(
        self,
        own: Callable[[], Catalogue],
        directory: Path,
        load_gateway: Callable[[str], Gateway],
        try_lock: Callable[[Path], AbstractContextManager[bool]],
    ) -> None:
        self.own = own
        self._try_lock = try_lock
        self._directory = directory
        self._load_gateway = load_gateway
        self._kept: tuple[object, Catalogue] | None = None
        self.unusable: dict[str, str] = {}

    def current(self) -> Catalogue:
        """Our own cards and those that were published."""
        own = self.own()
        seen = [_stamp(self._path(facts.id)) for facts in own.gateways]
        if not any(seen):
            return own
        if self._kept is None or self._kept[0] != seen:
            self._kept = seen, overlay(own, list(self._load(own)))
        return self._kept[1]

    def _load(self, own: Catalogue) -> Iterator[Published]:
        """What can be read; why the rest cannot is kept for those who ask."""
        self.unusable.clear()
        for facts in own.gateways:
            try:
                found = load_published(self._directory, facts.id, self._load_gateway(facts.id))
            except (CatalogueRefused, SetupProblem) as error:
                self.unusable[facts.id] = str(error)
                continue
            if found is not None:
                yield found

    def read(
        self, gateway: CatalogueReader, gateway_id: str, *, url: str, date: str, pages: Sequence[bytes]
    ) -> Published:
        """The pages as one catalogue; raises `CatalogueRefused`."""
        return read_published(gateway, gateway_id, url=url, date=date, pages=pages)

    def problems(self, card: ModelCard, body: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
        """The fields of a body that break the schema that the gateway publishes of it, each with the rule."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        if not card.schema:
            return []
        value: JsonValue = dict(body)
        for name in card.schema_path:
            value = value.get(name) if isinstance(value, dict) else None
        try:
            errors = list(Draft202012Validator(json.loads(card.schema)).iter_errors(value))
        except (SchemaError, ValueError, RecursionError, re.error) as error:
            return [("body", f"its published schema cannot be used ({type(error).__name__})")]
        return [
            (".".join((*card.schema_path, *map(str, error.absolute_path))), f"{error.validator}: {_short(error)}")
            for error in errors[:MOST_PROBLEMS]
        ]

    def keep(self, gateway_id: str, *, url: str, date: str, pages: Sequence[bytes]) -> None:
        """Keep the pages of a reply; raises `SetupProblem` for the disk."""
        document = {
            "url": url,
            "date": date,
            "sha256": _digest(pages),
            "pages": [page.decode("utf-8", "surrogateescape") for page in pages],
        }
        content = json.dumps(document, ensure_ascii=True).encode()
        write_private(self._path(gateway_id), content, what=_WHAT, most=MOST_BYTES)

    @contextmanager
    def turn(self, now: float) -> Iterator[bool]:
        """Whether what nobody asked for may be fetched while the block runs: by one process at a time, once a day.

        That it was tried is kept before it is tried. Raises `SetupProblem` for the disk.
        """
        with self._try_lock(self._directory / "refresh.lock") as is_free:
            yield is_free and self._begin(now)

    def _begin(self, now: float) -> bool:
        path, what = self._directory / "tried", "time of the last refresh"
        try:
            tried = float(read_private(path, what=what) or b"nan")
        except ValueError:
            tried = math.nan
        if 0 <= now - tried < DAY:
            return False
        write_private(path, str(now).encode(), what=what)
        return True

    def _path(self, gateway_id: str) -> Path:
        return self._directory / f"{gateway_id}.json"


def _short(error: ValidationError) -> str:
    return json.dumps(error.validator_value)[:120]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
