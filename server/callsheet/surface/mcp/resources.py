"""The resources: reference documents, model cards, tasks, and an overview of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.types import Resource as ListedResource

from callsheet.errors import UnknownThing

if TYPE_CHECKING:
    from callsheet.core.tasks.models import Clip

    from .lifespan import Backstage
    from .server import CallsheetServer

REFERENCE = "callsheet://reference/{name}"
MODEL = "callsheet://models/{gateway}/{model}"
TASK = "callsheet://tasks/{task_id}"
POSTER = "callsheet://tasks/{task_id}/poster"
CONTACT_SHEET = "callsheet://tasks/{task_id}/contact-sheet"
CATALOGUE = "callsheet://catalogue"

JPEG = "image/jpeg"
JSON = "application/json"
MARKDOWN = "text/markdown"


def list_references() -> list[ListedResource]:
    """The reference documents as concrete resources."""
    from . import references

    return [
        ListedResource(
            uri=REFERENCE.format(name=item.name),
            name=item.name,
            title=item.title,
            description=item.description,
            mime_type=MARKDOWN,
            size=item.size,
        )
        for item in references.list_references()
    ]


def add_resources(server: CallsheetServer) -> None:
    """Register what can be read. Each function runs only when it is read."""
    add_documents(server)
    add_tasks(server)


def add_documents(server: CallsheetServer) -> None:
    """What is known beforehand: the catalogue, its cards, the reference documents."""
    backstage = server.backstage

    @server.resource(
        CATALOGUE,
        name="catalogue",
        title="All gateways and models",
        description="What is known of every gateway and model, in a line each, with dates.",
        mime_type=JSON,
    )
    async def catalogue() -> str:
        from callsheet.surface.views.cards import gateway_json

        from .rendering import tell_models

        service = backstage.service
        gateways = [gateway_json(facts) for facts in service.catalogue.gateways]
        overview = tell_models(service, None).model_dump(mode="json", exclude_none=True)
        return _json({"gateways": gateways, "models": overview["models"]})

    @server.resource(
        REFERENCE,
        name="reference",
        title="A reference document",
        description="Background on gateways, models, prompts, prices, states and errors, read on demand.",
        mime_type=MARKDOWN,
    )
    async def reference(name: str) -> str:
        from .references import read_reference

        return read_reference(name)

    @server.resource(
        MODEL,
        name="model-card",
        title="A model card",
        description="Every field, limit, price and lifecycle fact of one gateway's model, with sources and dates.",
        mime_type=JSON,
    )
    async def model_card(gateway: str, model: str) -> str:
        from callsheet.surface.views.cards import card_json

        service = backstage.service
        return _json(card_json(service.catalogue, service.card(gateway, model)))


def add_tasks(server: CallsheetServer) -> None:
    """A task, and the pictures of its clip."""
    backstage = server.backstage

    @server.resource(
        TASK,
        name="task",
        title="A task",
        description="Where a task is, whether money was spent, and where its clip lies.",
        mime_type=JSON,
    )
    async def task(task_id: str) -> str:
        from .rendering import tell_task

        return _json(tell_task(backstage.service.task(task_id)).model_dump(mode="json", exclude_none=True))

    @server.resource(
        POSTER,
        name="poster",
        title="A still of a saved clip",
        description="One still of a task's clip, once the clip is saved.",
        mime_type=JPEG,
    )
    async def poster(task_id: str) -> bytes:
        return await _read_picture(_clip(backstage, task_id).poster)

    @server.resource(
        CONTACT_SHEET,
        name="contact-sheet",
        title="The contact sheet of a saved clip",
        description="Stills from the whole of a task's clip on one page, once the clip is saved.",
        mime_type=JPEG,
    )
    async def contact_sheet(task_id: str) -> bytes:
        return await _read_picture(_clip(backstage, task_id).contact_sheet)


def _clip(backstage: Backstage, task_id: str) -> Clip:
    clip = backstage.service.task(task_id).task.clip
    if clip is None:
        raise UnknownThing(
            "That task has no saved clip, so there is no picture of it.",
            next_step=f"Call get_task with {task_id}: it tells where the task is.",
        )
    return clip


async def _read_picture(path: str) -> bytes:
    from callsheet.edges.files.files import read_picture

    return await anyio.to_thread.run_sync(read_picture, Path(path))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
