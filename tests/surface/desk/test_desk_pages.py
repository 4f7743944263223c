"""What the desk's pages say."""

from __future__ import annotations

import pytest
from visitor import Desk, seen

from studio import draft

PAGES = ("/", "/tasks", "/spending", "/allowances", "/passkeys", "/audit")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_of_a_fresh_install_says_what_belongs_there(desk: Desk, path: str) -> None:
    """Also when there is nothing to show."""
    await desk.sign_in()

    page = await desk.read(path)

    assert "<h1" in page
    assert "Sandbox rehearsal" in page
    assert 'aria-current="page"' in page


async def waiting_sheet(desk: Desk) -> str:
    """A sheet for which an agent has asked."""
    sheet_id = draft(desk.service)
    submission = await desk.service.submit(sheet_id, wait_seconds=0)
    assert submission.status == "approval_needed"
    return sheet_id


async def test_a_waiting_sheet_lies_on_the_desk(desk: Desk) -> None:
    """With its price."""
    sheet_id = await waiting_sheet(desk)
    await desk.sign_in()

    page = await desk.read("/")

    assert f'href="/sheets/{sheet_id}"' in page
    assert "Read and decide" in seen(page)
    sheet = await desk.read(f"/sheets/{sheet_id}")
    assert "Goes to" in sheet
