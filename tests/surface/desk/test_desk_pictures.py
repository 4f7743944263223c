"""The person sees their own pictures on the desk before they agree."""

from __future__ import annotations

from pathlib import Path

from desk_client import Desk

from callsheet.core.shot import Shot
from callsheet.service import Draft
from pictures import SECRET, write_cat


def drafted(desk: Desk, directory: Path) -> str:
    """A sheet with a picture of the person's own."""
    shot = Shot.of("The cat wakes up.", duration_seconds=4, first_frame=str(write_cat(directory)))
    explanation = desk.service.explain(Draft(shot=shot, gateway="poyo", model="sora-2-official", by_person=True))
    assert explanation.sheet is not None
    return explanation.sheet.id


async def test_the_sheet_shows_the_picture_that_would_be_uploaded(live_desk: Desk, tmp_path: Path) -> None:
    """From the desk itself, found by the sheet's bytes."""
    sheet_id = drafted(live_desk, tmp_path)
    await live_desk.sign_in()

    page = await live_desk.read(f"/sheets/{sheet_id}")
    picture = await live_desk.get(f"/sheets/{sheet_id}/pictures/0")

    assert f'src="/sheets/{sheet_id}/pictures/0"' in page
    assert "64x48 pixels" in page
    [file] = live_desk.service.own_files(live_desk.service.sheet(sheet_id))
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.content == live_desk.service.read_own_file(file)
    assert SECRET not in picture.content
    assert picture.headers["cross-origin-resource-policy"] == "same-origin"
    assert picture.headers["cache-control"] == "no-store"
    assert live_desk.workspace.gateway.requests == []


async def test_nobody_else_gets_it_and_there_is_no_other_file(live_desk: Desk, tmp_path: Path) -> None:
    """Without a session, from another site, another number, a picture that was changed."""
    sheet_id = drafted(live_desk, tmp_path)
    address = f"/sheets/{sheet_id}/pictures/0"
    assert (await live_desk.get(address, **{"sec-fetch-mode": "no-cors"})).status_code == 401
    await live_desk.sign_in()

    assert (await live_desk.get(address, origin="https://evil.example.net")).status_code == 403
    for other in ("1", "-1", "x", "../0"):
        assert (await live_desk.get(f"/sheets/{sheet_id}/pictures/{other}")).status_code == 404
    [kept] = (live_desk.workspace.home / "data" / "inputs").glob("*.png")
    kept.write_bytes(b"something else")
    assert (await live_desk.get(address)).status_code == 422
