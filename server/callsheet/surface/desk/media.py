"""Clips and their pictures, found by the task's id alone: the ledger says where they are, no address does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from starlette.responses import FileResponse, Response

from callsheet.core.tasks.models import Clip
from callsheet.errors import UnknownThing

from .requests import Visit

KINDS = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}


async def clip(visit: Visit) -> Response:
    """The video, whole or in the parts that a player asks for."""
    return _file(_clip_of(visit).path)


async def poster(visit: Visit) -> Response:
    """Its first picture."""
    return _file(_clip_of(visit).poster)


async def contact_sheet(visit: Visit) -> Response:
    """Stills of it."""
    return _file(_clip_of(visit).contact_sheet)


def _clip_of(visit: Visit) -> Clip:
    kept = visit.office.service.task(visit.named("task_id")).task.clip
    if kept is None:
        raise UnknownThing("That task has no clip.", next_step="Look at the task to see where it is.")
    return kept


def is_there(recorded: str) -> bool:
    """Whether that file of a clip is still where the ledger says."""
    return _look(recorded) is not None


def _look(recorded: str) -> os.stat_result | None:
    try:
        status = Path(recorded).lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _file(recorded: str) -> Response:
    path, status = Path(recorded), _look(recorded)
    kind = KINDS.get(path.suffix)
    if status is None or kind is None:
        raise UnknownThing(
            "The file is no longer where it was saved.", next_step="If it was moved, look for it there; it is yours."
        )
    return FileResponse(path, media_type=kind, stat_result=status)


__all__ = ["clip", "contact_sheet", "is_there", "poster"]
