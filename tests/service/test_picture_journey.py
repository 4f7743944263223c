"""From a picture on disk to a clip, over real HTTP on loopback, and on to the next clip that begins where it ended."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import av
import httpx2
import pytest
from PIL import Image, ImageChops, ImageStat

from callsheet.compose import Surroundings, build_service
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, TaskState
from callsheet.edges.clips.pictures import Pictures
from callsheet.edges.clips.stills import read_frame
from callsheet.edges.clock import SystemClock
from callsheet.sandbox.store import read_requests
from callsheet.service import Draft, Service
from pictures import SECRET, write_cat

pytestmark = pytest.mark.network  # the program itself starts the sandbox

CARDS = {
    "poyo": ("sora-2-official", "/api/common/upload/stream"),
    "evolink": ("sora-2-preview", "/api/v1/files/upload/stream"),
}


def service_at(home: Path) -> Service:
    """A process in the sandbox, at 600 times the speed of life."""
    policy = home / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text("[sandbox]\nspeed = 600\n", encoding="utf-8")
    return build_service(Surroundings({"CALLSHEET_HOME": str(home)}, Path("/nowhere"), SystemClock()))


async def generate(service: Service, source: str, gateway: str) -> str:
    """A clip that begins with that picture; the task's id."""
    shot = Shot.of("The cat wakes up and looks around.", duration_seconds=4, first_frame=source)
    explanation = service.explain(Draft(shot=shot, gateway=gateway, model=CARDS[gateway][0], by_person=True))
    assert explanation.sheet is not None, explanation.findings
    submission = await service.submit(explanation.sheet.id, wait_seconds=20)
    task_id = submission.report.task.id
    report = await service.wait_for(task_id, wait_seconds=40, until=lambda task: task.state not in OPEN_STATES)
    assert report.task.state is TaskState.SAVED, report.status_text
    return task_id


@pytest.mark.parametrize("gateway", CARDS)
async def test_a_picture_is_uploaded_served_and_followed_by_a_clip(tmp_path: Path, gateway: str) -> None:
    """The upload comes first; what the sandbox keeps is the clean copy; the next clip begins with this one's end."""
    home = tmp_path / "home"
    service = service_at(home)
    cat = write_cat(tmp_path / "pictures", width=320, height=180)

    async with service.running():
        first = await generate(service, str(cat), gateway)
        sandbox = await service.deps.sandbox_url()
        [kept] = (home / "data" / "sandbox" / "uploads" / gateway).iterdir()
        async with httpx2.AsyncClient(base_url=f"{sandbox}/files/{gateway}/uploads") as client:
            served, other = await client.get(f"/{kept.name}"), await client.get(f"/{'0' * 32}.png")
        second = await generate(service, f"task:{first}:last", gateway)

    posts = [request.path for request in read_requests(home / "data" / "sandbox") if request.method == "POST"]
    assert [CARDS[gateway][1] == path for path in posts] == [True, False] * 2
    assert served.content == kept.read_bytes()
    assert SECRET not in served.content
    assert (served.status_code, other.status_code) == (200, 404)
    [file] = service.own_files(service.sheet(service.task(second).task.sheet_id))
    assert (file.width, file.height, file.origin) == (1280, 720, f"task:{first}:last")


@pytest.mark.parametrize("last", [False, True])
def test_a_frame_is_the_very_first_or_the_very_last(tmp_path: Path, last: bool) -> None:
    """Also where frames depend on later ones, as most encoders write them."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"bf": "3", "g": "24"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(30):
            shade = Image.new("RGB", (64, 64), (number * 8, 0, 255 - number * 8))
            container.mux(stream.encode(av.VideoFrame.from_image(shade)))
        container.mux(stream.encode())
    number = 29 if last else 0
    expected = Image.new("RGB", (64, 64), (number * 8, 0, 255 - number * 8))

    frame = read_frame(path, last=last)
    file = Pictures(tmp_path / "kept").take_frame(
        str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), last=last, origin="task:a:last"
    )

    # Neighbouring frames differ by 8 in two colours.
    assert max(ImageStat.Stat(ImageChops.difference(frame, expected)).mean) < 4
    with Image.open(BytesIO(Pictures(tmp_path / "kept").read(file.url))) as kept:
        assert (kept.format, kept.size) == ("JPEG", (64, 64))
