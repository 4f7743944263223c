"""The resources: reference documents, model cards, tasks, and an overview of the catalogue.

The reference documents come with the program and hold facts, never a key. In an installed wheel they are inside the
package, in a checkout next to it. Both places are read each time, so a document written while the server runs
is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.types import Resource as ListedResource
from mcp.types import ResourceLink

import callsheet
from callsheet.errors import Action, NextStep, UnknownThing
from callsheet.surface.next_steps import for_agent

from .lifespan import ServerState
from .rendering import as_resource

if TYPE_CHECKING:
    from callsheet.core.tasks import Clip
    from callsheet.service import TaskReport


REFERENCE = "callsheet://reference/{name}"
MODEL = "callsheet://models/{gateway}/{+model}"
TASK = "callsheet://tasks/{task_id}"
POSTER = "callsheet://tasks/{task_id}/poster"
CONTACT_SHEET = "callsheet://tasks/{task_id}/contact-sheet"
CATALOGUE = "callsheet://catalogue"

JPEG = "image/jpeg"
JSON = "application/json"
MARKDOWN = "text/markdown"
MOST_SEEN_BYTES = 75_000
"""As base64, 100 KB."""


def register(mcp: MCPServer[ServerState], state: ServerState) -> None:
    """Add what can be read. Each function runs only when it is read."""
    _register_documents(mcp, state)
    _register_tasks(mcp, state)
    mcp.middleware.append(_add_references)


async def _add_references(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """List the reference documents as concrete resources. Their headings are read only now."""
    result = await call_next(ctx)
    if ctx.method == "resources/list" and isinstance(result, dict):
        listed = [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in _references()]
        return {**result, "resources": [*result["resources"], *listed]}
    return result


def _references() -> list[ListedResource]:
    return [
        ListedResource(
            uri=REFERENCE.format(name=item.name),
            name=item.name,
            title=item.title,
            description=item.description,
            mime_type=MARKDOWN,
            size=item.size,
        )
        for item in list_references()
    ]


def _register_documents(mcp: MCPServer[ServerState], state: ServerState) -> None:
    """The catalogue, its cards, the reference documents."""

    @mcp.resource(
        CATALOGUE,
        name="catalogue",
        title="All gateways and models",
        description="Every gateway and model, one line each, with dates.",
        mime_type=JSON,
    )
    @as_resource
    async def catalogue() -> str:
        from callsheet.surface.views.cards import gateway_json, model_line

        service = state.service
        gateways = [gateway_json(facts) for facts in service.catalogue.gateways]
        lines = [model_line(card).model_dump(mode="json", exclude_none=True) for card in service.catalogue.cards]
        return _json({"gateways": gateways, "models": lines})

    @mcp.resource(
        REFERENCE,
        name="reference",
        title="A reference document",
        description="Background on gateways, models, prompts, prices, states and errors, read on demand.",
        mime_type=MARKDOWN,
    )
    @as_resource
    async def reference(name: str) -> str:
        return read_reference(name)

    @mcp.resource(
        MODEL,
        name="model-card",
        title="A model card",
        description="Every field, limit, price and lifecycle fact of one gateway's model, with sources and dates.",
        mime_type=JSON,
    )
    @as_resource
    async def model_card(gateway: str, model: str) -> str:
        from callsheet.surface.views.cards import card_json

        service = state.service
        return _json(card_json(service.catalogue, service.card(gateway, model)))


def _register_tasks(mcp: MCPServer[ServerState], state: ServerState) -> None:
    """A task, and the pictures of its clip."""

    @mcp.resource(
        TASK,
        name="task",
        title="A task",
        description="Where a task is, whether money was spent, and the path of its clip.",
        mime_type=JSON,
    )
    @as_resource
    async def task(task_id: str) -> str:
        from callsheet.surface.views.tasks import task_details

        answer = task_details(state.service.task(task_id), for_agent)
        return _json(answer.model_dump(mode="json", exclude_none=True))

    @mcp.resource(
        POSTER,
        name="poster",
        title="A still of a saved clip",
        description="One still of a task's clip, once the clip is saved.",
        mime_type=JPEG,
    )
    @as_resource
    async def poster(task_id: str) -> bytes:
        return await _read_picture(state, _clip(state, task_id).poster)

    @mcp.resource(
        CONTACT_SHEET,
        name="contact-sheet",
        title="The contact sheet of a saved clip",
        description="Stills from the whole of a task's clip on one page, once the clip is saved.",
        mime_type=JPEG,
    )
    @as_resource
    async def contact_sheet(task_id: str) -> bytes:
        return await _read_picture(state, _clip(state, task_id).contact_sheet)


def _clip(state: ServerState, task_id: str) -> Clip:
    return _clip_of(state.service.task(task_id))


def _clip_of(report: TaskReport) -> Clip:
    clip = report.task.clip
    if clip is None:
        raise UnknownThing(
            "That task has no saved clip, so there is no picture of it.",
            next_step=NextStep(Action.GET, target=report.task.id),
        )
    return clip


def link_contact_sheet(task_id: str) -> ResourceLink:
    """The picture of a clip as `resources/read` serves it. The video itself never goes through the protocol."""
    return ResourceLink(uri=CONTACT_SHEET.format(task_id=task_id), name="contact sheet", mime_type=JPEG)


async def _read_picture(state: ServerState, name: str) -> bytes:
    from callsheet.edges.files.files import read_picture

    async with state.service.clip_file(name) as path:
        return await anyio.to_thread.run_sync(read_picture, path)


async def read_small_picture_of(state: ServerState, report: TaskReport, *, still: bool) -> bytes:
    """A picture of a saved clip that is small enough for a model's context; raises `UnknownThing`, `SetupProblem`."""
    from callsheet.edges.clips.contact_sheet import read_small_picture

    clip = _clip_of(report)
    async with state.service.clip_file(clip.poster if still else clip.contact_sheet) as path:
        return await anyio.to_thread.run_sync(read_small_picture, path, MOST_SEEN_BYTES)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


MOST_DESCRIPTION = 200
_SENTENCE = re.compile(r".*?[.](?= |$)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One document. `title` is its first heading, `description` its first paragraph."""

    name: str
    title: str
    description: str
    size: int


def reference_names() -> list[str]:
    """The names of all documents, in order."""
    return sorted({path.stem for directory in _directories() for path in directory.glob("*.md")})


def list_references() -> list[Reference]:
    """All documents, in order of their names."""
    return [_describe(name, read_reference(name)) for name in reference_names()]


def read_reference(name: str) -> str:
    """That document's Markdown; raises `UnknownThing`."""
    if _NAME.fullmatch(name):
        for directory in _directories():
            path = directory / f"{name}.md"
            if path.is_file():
                return path.read_text(encoding="utf-8")
    known = ", ".join(reference_names()) or "none are installed"
    raise UnknownThing(f"There is no reference document of that name (known: {known}).", next_step="Name one of these.")


def _directories() -> Iterator[Path]:
    package = Path(callsheet.__file__).parent
    for directory in (package / "_references", package.parents[1] / "references"):
        if directory.is_dir():
            yield directory


def _describe(name: str, text: str) -> Reference:
    lines = [line.strip() for line in text.splitlines()]
    title = next((line.lstrip("# ") for line in lines if line.startswith("#")), name)
    blocks = [block.strip() for block in text.split("\n\n")]
    first = next((block for block in blocks if block and not block.startswith(("#", "<!--", "---", "|"))), title)
    return Reference(name, title, _whole_sentences(_LINK.sub(r"\1", " ".join(first.split()))), len(text.encode()))


def _whole_sentences(text: str) -> str:
    """As many sentences of a text as a list has room for, at least one."""
    found = ""
    for sentence in _SENTENCE.findall(text):
        if found and len(found) + len(sentence) > MOST_DESCRIPTION:
            break
        found += sentence
    return found.strip() or text
