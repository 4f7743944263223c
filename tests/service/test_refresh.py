"""Refreshing what the gateways publish: kept whole, laid over the catalogue, and refused whole."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from callsheet.edges.files.files import MAX_BYTES
from callsheet.sandbox.published import load_data, poyo_page
from workspace import Workspace


def publish(workspace: Workspace, page: dict[str, Any], status: int = 200) -> None:
    """From now on PoYo answers every request so."""
    workspace.gateway.on_request = lambda _request: httpx2.Response(status, json=page)


def whole_list() -> dict[str, Any]:
    """All of PoYo's list in one page, as the gateway answers."""
    items = load_data("poyo_catalogue.json")["items"]
    return {"code": 200, "data": {**poyo_page("", ""), "items": items, "next_cursor": None, "has_more": False}}


async def test_a_published_list_larger_than_other_private_files_is_kept_and_used(
    workspace: Workspace,
) -> None:
    """It holds the schemas of all models. Another process finds the same models."""
    service = workspace.service()
    own = {card.model for card in service.cards(gateway="poyo")}
    publish(workspace, whole_list())

    [refreshed] = await service.refresh_catalogues("poyo")

    assert refreshed.problem == ""
    assert refreshed.listed == len(load_data("poyo_catalogue.json")["items"])
    [kept] = workspace.home.rglob("poyo.json")
    assert kept.stat().st_size > MAX_BYTES
    after = {card.model for card in workspace.service().cards(gateway="poyo")}
    assert own <= after
    assert {item["model_id"] for item in load_data("poyo_catalogue.json")["items"]} <= after
    assert [request.headers.get("authorization") for request in workspace.gateway.requests] == [None]


@pytest.mark.parametrize(
    ("page", "status"), [({"code": 200, "data": {}}, 200), ({"error": "busy"}, 503), ({"code": 500}, 200)]
)
async def test_a_reply_that_is_no_list_changes_nothing(workspace: Workspace, page: dict[str, Any], status: int) -> None:
    """The list before it stays, and the answer says why."""
    service = workspace.service()
    publish(workspace, whole_list())
    await service.refresh_catalogues("poyo")
    [kept] = workspace.home.rglob("poyo.json")
    before = kept.read_bytes()
    publish(workspace, page, status)

    [refreshed] = await service.refresh_catalogues("poyo")

    assert refreshed.problem
    assert kept.read_bytes() == before
    assert json.loads(before)["sha256"]


async def test_pages_that_are_far_too_large_together_are_refused_before_they_are_all_fetched(
    workspace: Workspace,
) -> None:
    """Each may be as large as a page may be, and there may be fifty."""
    service = workspace.service()
    page, asked = whole_list(), workspace.gateway.requests

    def endless(_request: httpx2.Request) -> httpx2.Response:
        data = {**page["data"], "next_cursor": f"c{len(asked)}", "has_more": True, "padding": "x" * 7_900_000}
        return httpx2.Response(200, json={**page, "data": data})

    workspace.gateway.on_request = endless

    [refreshed] = await service.refresh_catalogues("poyo")

    assert refreshed.problem
    assert len(asked) == 5
    assert not list(workspace.home.rglob("poyo.json"))
