"""Clips and pictures on the desk: only by the task's id, in ranges, and no other file on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from desk_client import Desk, generate_clip, seen

from callsheet.core.tasks import Clip, TaskState
from workspace import accepted

VIDEO = bytes(range(256)) * 40
KINDS = {"clip": "video/mp4", "poster": "image/jpeg", "contact-sheet": "image/jpeg"}


async def keep_clip(desk: Desk, directory: Path, **changes: str) -> str:
    """A task whose clip was saved there; returns the task's id."""
    for name in ("a.mp4", "a.poster.jpg", "a.contact-sheet.jpg"):
        (directory / name).write_bytes(VIDEO)
    desk.workspace.gateway.replies = [accepted()]
    task_id = await generate_clip(desk)
    paths = {"path": "a.mp4", "poster": "a.poster.jpg", "contact_sheet": "a.contact-sheet.jpg", **changes}
    named = {name: str(directory / path) for name, path in paths.items()}
    clip = Clip(size=len(VIDEO), sha256="0" * 64, duration_seconds=4.0, width=1280, height=720, **named)
    changes_of_task = {"state": TaskState.SAVED, "clip": clip}
    desk.service.deps.ledger().touch(task_id, now=desk.workspace.clock.now(), changes=changes_of_task)
    return task_id


async def test_a_clip_is_served_whole_and_in_parts(live_desk: Desk, tmp_path: Path) -> None:
    """As a player asks for it when somebody jumps."""
    task_id = await keep_clip(live_desk, tmp_path)
    await live_desk.sign_in()

    for name, kind in KINDS.items():
        whole = await live_desk.get(f"/tasks/{task_id}/{name}")
        assert (whole.status_code, whole.content) == (200, VIDEO)
        assert whole.headers["content-type"] == kind
        assert whole.headers["x-content-type-options"] == "nosniff"
        assert whole.headers["accept-ranges"] == "bytes"
    part = await live_desk.get(f"/tasks/{task_id}/clip", range="bytes=100-199")
    assert (part.status_code, part.content) == (206, VIDEO[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(VIDEO)}"
    assert (await live_desk.get(f"/tasks/{task_id}/clip", range="bytes=99999-")).status_code == 416


async def test_pages_show_the_clip(live_desk: Desk, tmp_path: Path) -> None:
    """On the task's page with its measures, and among the latest."""
    task_id = await keep_clip(live_desk, tmp_path)
    await live_desk.sign_in()

    page = await live_desk.read(f"/tasks/{task_id}")

    assert f'src="/tasks/{task_id}/clip"' in page
    assert f'src="/tasks/{task_id}/contact-sheet"' in page
    assert "1280 x 720" in seen(page)
    assert f'src="/tasks/{task_id}/poster"' in await live_desk.read("/")


async def test_a_clip_that_is_not_as_ordered_is_marked(live_desk: Desk, tmp_path: Path) -> None:
    """On its own page with each difference, in the list and among the latest; one as ordered is not."""
    task_id = await keep_clip(live_desk, tmp_path)
    await live_desk.sign_in()
    clip = live_desk.service.task(task_id).task.clip
    assert clip is not None
    changes = {"state": TaskState.SAVED, "clip": clip}
    live_desk.service.deps.ledger().touch(task_id, now=live_desk.workspace.clock.now(), changes=changes)
    pages = (f"/tasks/{task_id}", "/tasks", "/")
    assert ["doubt" in await live_desk.read(page) for page in pages] == [False] * 3

    changes["clip"] = replace(clip, duration_seconds=2.0)
    live_desk.service.deps.ledger().touch(task_id, now=live_desk.workspace.clock.now(), changes=changes)

    assert ["doubt" in await live_desk.read(page) for page in pages] == [True] * 3
    assert live_desk.service.task(task_id).findings[0].rule in seen(await live_desk.read(pages[0]))


async def test_a_clip_whose_file_is_gone_is_not_said_to_be_there(live_desk: Desk, tmp_path: Path) -> None:
    """No player for nothing; what is known of it stays."""
    task_id = await keep_clip(live_desk, tmp_path)
    live_desk.service.deps.ledger().touch(
        task_id, now=live_desk.workspace.clock.now(), changes={"state": TaskState.SAVED}
    )
    await live_desk.sign_in()
    assert "The clip is on disk." in await live_desk.read(f"/tasks/{task_id}")

    for name in ("a.mp4", "a.poster.jpg", "a.contact-sheet.jpg"):
        (tmp_path / name).unlink()
    page = await live_desk.read(f"/tasks/{task_id}")

    assert "no longer where it was saved" in seen(page)
    assert "The clip is on disk." not in page
    assert "<video" not in page
    assert "<img" not in page
    assert str(tmp_path / "a.mp4") in page
    assert "<img" not in await live_desk.read("/")


@pytest.mark.parametrize("changes", [{"path": "gone.mp4"}, {"path": "secret.txt"}, {"path": "link.mp4"}, {"path": "."}])
async def test_only_a_whole_file_of_its_kind_is_served(
    live_desk: Desk, tmp_path: Path, changes: dict[str, str]
) -> None:
    """No other kind, no link, no directory, whatever the ledger says."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "secret.txt")
    task_id = await keep_clip(live_desk, tmp_path, **changes)
    await live_desk.sign_in()

    answer = await live_desk.get(f"/tasks/{task_id}/clip")

    assert answer.status_code == 404
    assert "no longer where it was saved" in seen(answer.text)
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("/tasks/../clip", "/tasks/%2e%2e%2fetc%2fpasswd/clip", "/tasks//etc/passwd/clip"),
        *("/static/../state.py", "/static/%2e%2e%2fstate.py", "/static/..%5cstate.py", "/static/base.html"),
    ],
)
async def test_no_address_becomes_a_path(live_desk: Desk, path: str) -> None:
    """Whatever stands in it."""
    await live_desk.sign_in()

    answer = await live_desk.get(path)

    assert answer.status_code == 404
    assert "import" not in answer.text
