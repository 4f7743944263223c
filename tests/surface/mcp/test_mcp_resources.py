"""Resources, the prompt, and completions."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from connection import ERAS, connect, explained
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, PromptReference, ResourceTemplateReference

from callsheet.core.tasks import Clip, TaskEvent
from callsheet.errors import UnknownThing
from callsheet.surface.mcp.resources import list_references, read_reference, reference_names
from workspace import Workspace, accepted

CARD = "callsheet://models/{gateway}/{+model}"


@pytest.mark.parametrize("era", ERAS)
async def test_a_model_card_is_read_with_sources_and_dates(workspace: Workspace, era: str) -> None:
    """Every fact names a source, and the sources named are there."""
    async with connect(workspace, era) as client:
        read = await client.read_resource("callsheet://models/poyo/sora-2-official")

    [content] = read.contents
    card = json.loads(content.text)
    assert content.mime_type == "application/json"
    assert card["id"] == "poyo/sora-2-official"
    assert card["price"]["amounts"]["8"] == "96"
    assert card["price"]["source"] in card["sources"]
    assert card["sources"][card["price"]["source"]]["date"] == "2026-08-07"
    assert card["lifecycle"]["availability"] == "unverified"
    assert all(evidence["source"] in card["sources"] for evidence in card["lifecycle"]["evidence"])


async def test_the_overview_names_every_gateway_and_model(workspace: Workspace) -> None:
    """With the page where a person gets a key, and never a key."""
    async with connect(workspace, "legacy") as client:
        read = await client.read_resource("callsheet://catalogue")

    overview = json.loads(read.contents[0].text)
    assert [gateway["id"] for gateway in overview["gateways"]] == ["poyo", "apidot", "apixo", "evolink"]
    named = {(line["gateway"], line["model"]) for line in overview["models"]}
    assert named == {(card.gateway, card.model) for card in workspace.service().catalogue.cards}


@pytest.mark.network
async def test_a_task_is_read_as_get_task_returns_it(workspace: Workspace) -> None:
    """The resource and the tool return the same JSON."""
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, "legacy") as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        read = await client.read_resource(f"callsheet://tasks/{task_id}")
        answer = await client.call_tool("get_task", {"task_id": task_id, "details": True})
        completed = await client.complete(
            ref=ResourceTemplateReference(uri="callsheet://tasks/{task_id}"),
            argument={"name": "task_id", "value": task_id[:8]},
        )

    assert json.loads(read.contents[0].text) == answer.structured_content
    assert completed.completion.values == [task_id]


@pytest.mark.network
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["poster", "contact-sheet"])
async def test_the_pictures_of_a_saved_clip_can_be_looked_at(workspace: Workspace, era: str, kind: str) -> None:
    """As they are on disk; before the clip is saved there are none, and a file that is not a picture is not sent."""
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, era) as client:
        submitted = await client.call_tool("submit_video", {"sheet_id": await explained(client)})
        task_id = submitted.structured_content["task_id"]
        uri = f"callsheet://tasks/{task_id}/{kind}"
        with pytest.raises(MCPError, match="no saved clip") as early:
            await client.read_resource(uri)
        clip = save(workspace, task_id)
        read = await client.read_resource(uri)
        spoil(clip)
        with pytest.raises(MCPError) as late:
            await client.read_resource(uri, cache_mode="refresh")

    assert early.value.code == INVALID_PARAMS
    [content] = read.contents
    assert content.mime_type == "image/jpeg"
    assert base64.b64decode(content.blob) == (POSTER if kind == "poster" else SHEET)
    assert {"poster": "not a JPEG picture", "contact-sheet": "cannot be read"}[kind] in late.value.message
    assert "secret words" not in str(late.value.error)


def spoil(clip: Clip) -> None:
    """Replace the poster with another file and delete the contact sheet."""
    Path(clip.poster).write_text("secret words")
    Path(clip.contact_sheet).unlink()


POSTER, SHEET = b"\xff\xd8\xff a poster", b"\xff\xd8\xff a contact sheet"


def save(workspace: Workspace, task_id: str) -> Clip:
    """The clip of a task arrives, as another process on the same home would store it."""
    poster, sheet = workspace.home / "kite.poster.jpg", workspace.home / "kite.contact-sheet.jpg"
    poster.write_bytes(POSTER)
    sheet.write_bytes(SHEET)
    clip = Clip("/clips/kite.mp4", 123_456, "ab" * 32, 4.0, 1280, 720, str(poster), str(sheet))
    ledger, now = workspace.service().deps.ledger(), workspace.clock.now()
    ledger.advance(task_id, TaskEvent.SEEN_FINISHED, now=now, changes={"result_url": "https://x.test/a.mp4"})
    ledger.advance(task_id, TaskEvent.CLIP_SAVED, now=now, changes={"clip": clip, "next_at": now})
    return clip


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "uri",
    [
        "callsheet://tasks/task_nowhere",
        "callsheet://tasks/task_nowhere/poster",
        "callsheet://models/poyo/sora-9",
        "callsheet://models/fal/sora-2",
        "callsheet://reference/nowhere",
        "callsheet://reference/..%2F..%2Fpyproject",
        "callsheet://nothing",
    ],
)
async def test_what_does_not_exist_is_invalid_params_with_its_uri(workspace: Workspace, era: str, uri: str) -> None:
    """As the protocol requires since 2026-07-28."""
    async with connect(workspace, era) as client:
        with pytest.raises(MCPError) as missing:
            await client.read_resource(uri)

    assert missing.value.code == INVALID_PARAMS
    assert missing.value.data == {"uri": uri}


async def test_every_resource_template_and_prompt_has_a_description(workspace: Workspace) -> None:
    """Clients show these to people."""
    async with connect(workspace, "legacy") as client:
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        prompts = (await client.list_prompts()).prompts

    assert {template.uri_template for template in templates} == {
        "skill://callsheet/{+file}",
        "callsheet://reference/{name}",
        "callsheet://models/{gateway}/{+model}",
        "callsheet://tasks/{task_id}",
        "callsheet://tasks/{task_id}/poster",
        "callsheet://tasks/{task_id}/contact-sheet",
    }
    assert [prompt.name for prompt in prompts] == ["draft_shot"]
    assert all(item.description for item in (*resources, *templates, *prompts))
    assert all(argument.description for argument in prompts[0].arguments)
    assert resources[0].uri == "callsheet://catalogue"


async def test_each_reference_document_is_a_resource_of_its_own(workspace: Workspace) -> None:
    """Title and description come from the document; reading it gives the document."""
    documents = list_references()
    async with connect(workspace, "legacy") as client:
        listed = {item.uri: item for item in (await client.list_resources()).resources}
        texts = [(await client.read_resource(f"callsheet://reference/{item.name}")).contents[0] for item in documents]

    for item, content in zip(documents, texts, strict=True):
        assert listed[f"callsheet://reference/{item.name}"].title == item.title
        assert listed[f"callsheet://reference/{item.name}"].description
        assert content.mime_type == "text/markdown"
        assert content.text == read_reference(item.name)
    assert reference_names() == [item.name for item in documents]


@pytest.mark.parametrize("name", ["../SECURITY", "", "a/b", "A", ".hidden", "x" * 99])
def test_a_reference_is_named_and_never_reached_by_a_path(name: str) -> None:
    """Whatever a client writes, only the documents themselves are read."""
    with pytest.raises(UnknownThing):
        read_reference(name)


async def test_the_prompt_turns_an_idea_into_a_guide_that_stops_before_submitting(workspace: Workspace) -> None:
    """Arguments of prompts are text, whatever they mean."""
    async with connect(workspace, "legacy") as client:
        prompt = await client.get_prompt(
            "draft_shot", {"idea": "a kite", "duration_seconds": "8", "with_image": "true"}
        )

    text = prompt.messages[0].content.text
    assert "a kite" in text
    assert "8 s" in text
    assert "reference image is given" in text
    assert "Do not call submit_video" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"idea": "a kite", "duration_seconds": "soon"}, "duration_seconds must be whole seconds"),
        ({"idea": "a kite", "with_image": "maybe"}, "with_image must be true or false"),
        ({}, "arguments is missing"),
    ],
)
async def test_a_mistake_in_the_prompts_arguments_is_reported(
    workspace: Workspace, arguments: dict[str, str], told: str
) -> None:
    """As invalid params, without the value."""
    async with connect(workspace, "legacy") as client:
        with pytest.raises(MCPError, match=told) as wrong:
            await client.get_prompt("draft_shot", arguments)

    assert wrong.value.code == INVALID_PARAMS


@pytest.mark.parametrize(
    ("place", "argument", "typed", "known", "expected"),
    [
        (CARD, "gateway", "a", None, ["apidot", "apixo"]),
        (CARD, "model", "sora-2-pro-o", {"gateway": "apidot"}, ["sora-2-pro-official"]),
        (CARD, "model", "nothing", None, []),
        ("callsheet://reference/{name}", "name", "zzz", None, []),
        ("draft_shot", "with_image", "t", None, ["true"]),
        ("draft_shot", "duration_seconds", "1", None, None),
        ("draft_shot", "idea", "a", None, []),
    ],
)
async def test_arguments_are_completed_from_the_catalogue(
    workspace: Workspace,
    place: str,
    argument: str,
    typed: str,
    known: dict[str, str] | None,
    expected: list[str] | None,
) -> None:
    """Those that begin with what was typed come first."""
    reference = ResourceTemplateReference(uri=place) if "://" in place else PromptReference(name=place)
    async with connect(workspace, "legacy") as client:
        result = await client.complete(
            ref=reference, argument={"name": argument, "value": typed}, context_arguments=known
        )

    values = result.completion.values
    assert (values == expected) if expected is not None else "12" in values
