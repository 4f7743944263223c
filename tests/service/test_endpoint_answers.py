"""What an endpoint's server does against the agreement, and what a person changes meanwhile: told, and acted on."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, Task, TaskState
from callsheet.errors import SetupProblem, UnknownThing
from callsheet.service import Draft
from callsheet.service.results import status_text
from cases import cases
from faults.certificates import authority_text
from service.test_endpoints import BOX, JOB, KITE, MODEL, live_with, step, submitted
from workspace import Workspace, make_workspace, reply


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh install."""
    return make_workspace(tmp_path)


BROKEN = {
    "an unknown key": "verify = false",
    "http": 'insecure = "yes"',
    "another's key": 'key_over_plain_http = "yes"',
}


@cases("name", BROKEN)
def test_a_mistake_in_a_table_is_told_where_its_endpoint_is_asked_for(tmp_path: Path, name: str) -> None:
    """Not that there is no such gateway: the person looks for it in the policy, and finds which line is wrong."""
    workspace = make_workspace(tmp_path / name)
    workspace.write_policy(BOX.format(price="", more=BROKEN[name]))
    service = workspace.service()
    for draft in (
        Draft(shot=KITE, gateway="gpu-box", model=MODEL),
        Draft(shot=KITE, model=MODEL),
        Draft(shot=KITE, model=f"gpu-box/{MODEL}"),
    ):
        with pytest.raises(SetupProblem, match=r"endpoints\.gpu-box\."):
            service.explain(draft)
    workspace.write_policy("")
    with pytest.raises(UnknownThing):
        workspace.service().explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL))


TWICE = reply({"id": JOB, "status": "queued"})
TWICE.headers["x-litellm-attempted-retries"] = "2"
LOST = httpx2.Response(502, content=b"bad gateway")
PROXY_LOST = httpx2.Response(502, content=b"bad gateway", headers={"x-litellm-version": "1.106.12"})
MADE = [{"id": f"video_{n}", "model": MODEL, "prompt": KITE.prompt} for n in range(3)]
REPEATS = {
    "the proxy says so": ([TWICE], True),
    "the list of jobs shows it": ([LOST, reply({"object": "list", "data": MADE})], True),
    "a proxy that may repeat lost the answer": ([PROXY_LOST, reply({"object": "list", "data": []})], True),
    "one job": ([LOST, reply({"object": "list", "data": MADE[:1]})], False),
    "accepted once": ([reply({"id": JOB, "status": "queued"})], False),
}


@pytest.mark.parametrize("name", REPEATS)
async def test_an_allowance_ends_where_one_approval_became_several_jobs(tmp_path: Path, name: str) -> None:
    """Each further clip under it might be made and charged several times as well."""
    answers, ended = REPEATS[name]
    workspace = make_workspace(tmp_path / name)
    service = live_with(workspace)
    service.allow((f"gpu-box/{MODEL}",), clips=5, up_to=Decimal(0), seconds=3600, by=Means.TERMINAL)
    sheet = service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert sheet is not None
    workspace.gateway.replies += answers
    report = (await service.submit(sheet.id, wait_seconds=0)).report
    assert report is not None
    await step(workspace, service, report.task.id)

    [allowance] = service.allowances()
    assert (allowance.revoked_at is not None) is ended
    assert len(workspace.gateway.paid) == 1


class Lasting:
    """Saves clips of that length."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def keep_own(self, task: Task, content: object, **how: object) -> Clip:
        return Clip("/clip.mp4", 1, "", self.seconds, 832, 480, "", "")


@pytest.mark.parametrize("seconds", [1.0, 2.4, 2.94, 3.0, 3.4])
async def test_a_clip_that_is_shorter_than_ordered_is_told(workspace: Workspace, seconds: float) -> None:
    """Servers clamp lengths silently, and the price was for all of it. Frames seldom fill whole seconds."""
    service = live_with(workspace)
    object.__setattr__(service.deps, "clips", Lasting(seconds))
    task = await submitted(
        workspace, service, *(reply({"id": JOB, "status": said}) for said in ("queued", "completed"))
    )
    saved = await step(workspace, service, task.id)

    assert saved.state is TaskState.SAVED
    assert ("SHORTER THAN ORDERED" in status_text(saved)) is (seconds < 2.5)


def test_a_changed_file_of_certificates_counts_at_once(workspace: Workspace, tmp_path: Path) -> None:
    """No restart: the program may run for weeks, and what was agreed to was agreed to under other certificates."""
    file = tmp_path / "box.pem"
    file.write_text(authority_text(), encoding="ascii")
    file.chmod(0o600)
    service = live_with(workspace, more=f'ca_file = "{file}"')
    sheet = service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert sheet is not None
    file.write_text(authority_text() + "\n", encoding="ascii")
    again = service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert again is not None
    assert again.binding.route != sheet.binding.route
    file.unlink()
    with pytest.raises(SetupProblem):
        service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL))


def test_a_model_of_an_endpoint_takes_no_other_gateways_name(workspace: Workspace) -> None:
    """Names are compared without hyphens, but the exact one comes first."""
    own = BOX.format(price="", more="").replace("gpu-box", "own").replace(MODEL, "Sora2Official")
    shot = Shot.of("A kite.", duration_seconds=4)
    explained = live_with(workspace, extra=own).explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))
    assert explained.card is not None
    assert explained.card.id == "poyo/sora-2-official"
