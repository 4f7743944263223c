"""Pictures of the person's own as an agent names them: in the policy's directories, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from connection import SHOT, connect, types_in

from callsheet.service.drafts import MOST_PICTURES
from pictures import write_cat
from workspace import Workspace, accepted, reply

UPLOADED = reply({"success": True, "code": 200, "data": {"file_url": "https://storage.poyo.ai/temp/cat.png"}})
ARGUMENTS = ("image_url", "last_frame", "reference_image")


def with_picture(path: object, name: str = "image_url") -> dict[str, object]:
    """The shot with a picture in that argument."""
    return {**SHOT, name: [str(path)] if name == "reference_image" else str(path)}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("policy", ["", "[inputs]\ndirectories = []\n", '[inputs]\ndirectories = ["/nowhere"]\n'])
async def test_a_path_outside_the_directories_is_refused_and_not_looked_at(
    workspace: Workspace, tmp_path: Path, policy: str, name: str
) -> None:
    """By default every path; nothing is kept."""
    workspace.write_policy(policy)
    async with connect(workspace, "legacy") as client:
        for path in (write_cat(tmp_path), tmp_path / "missing.png", "~/cat.png", "./cat.png", "../cat.png"):
            result = await client.call_tool("explain_payload", with_picture(path, name))

            assert result.is_error
            assert "[inputs]" in result.content[0].text
    assert not (workspace.home / "data" / "inputs").exists()


async def test_an_allowed_picture_is_asked_for_in_the_form_and_leaves_after_the_answer(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The form's text has path, pixels, bytes and hash; the answer names no link."""
    cat = write_cat(tmp_path / "for-clips")
    workspace.go_live(f'[inputs]\ndirectories = ["{tmp_path}/for-clips"]\n')
    person = types_in("0.24")
    person.before_answering = lambda: sent.extend(workspace.gateway.requests)
    sent: list[object] = []
    workspace.gateway.replies = [UPLOADED, accepted()]

    async with connect(workspace, "legacy", person) as client:
        explained = await client.call_tool("explain_payload", with_picture(cat))
        assert explained.structured_content["status"] == "ready"
        [item] = explained.structured_content["inputs"]
        assert "64x48 pixels" in item["file"]
        result = await client.call_tool("submit_video", {"sheet_id": explained.structured_content["sheet_id"]})

    [question] = person.asked
    for told in (str(cat), "64x48 pixels", "UPLOADED to https://api.poyo.ai"):
        assert told in question.message
    assert sent == []
    assert [request.url.path for request in workspace.gateway.paid] == [
        "/api/common/upload/stream",
        "/api/generate/submit",
    ]
    assert "storage.poyo.ai" not in str(result)


async def test_a_shot_has_no_more_files_than_can_be_read_at_once(workspace: Workspace, tmp_path: Path) -> None:
    """One more is refused before any is read; one path, however often, is one file."""
    cat = write_cat(tmp_path / "for-clips")
    workspace.write_policy(f'[inputs]\ndirectories = ["{tmp_path}/for-clips"]\n')
    kept = workspace.home / "data" / "inputs"

    async with connect(workspace, "legacy") as client:
        paths = [str(cat)] * (MOST_PICTURES + 1)
        refused = await client.call_tool("explain_payload", {**SHOT, "reference_image": paths})
        assert refused.is_error
        assert not kept.exists()
        await client.call_tool("explain_payload", {**SHOT, "reference_image": paths[1:]})

    assert len(list(kept.glob("*.png"))) == 1
