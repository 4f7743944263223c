"""An endpoint of the person's own, rehearsed in the sandbox over real HTTP: each fault ends where it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from callsheet.compose import Surroundings, build_service
from callsheet.core.shot import Shot
from callsheet.core.tasks import OPEN_STATES, Task, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.sandbox.store import count_accepted, count_submits, read_requests
from callsheet.service import Draft
from callsheet.service.results import JOB_FORGOTTEN

pytestmark = pytest.mark.network  # the program itself starts the sandbox

POLICY = """
[sandbox]
speed = 600
[endpoints.gpu-box]
wire = "openai-videos"
base_url = "https://gpu-box.lan:8443/v1"
address = "10.20.0.7"
key_env = "GPU_BOX_KEY"
body = "{body}"
[endpoints.gpu-box.models."Wan-AI/Wan2.2"]
seconds = [2, 3]
sizes = ["832x480"]
price = "none"
"""
ENDS = {
    "content-violation": TaskState.FAILED,
    "failed-as-500": TaskState.FAILED,
    "refused": TaskState.REJECTED,
    "rate-limited": TaskState.SAVED,
    "server-error": TaskState.OUTCOME_UNKNOWN,
    "drop-before": TaskState.OUTCOME_UNKNOWN,
    "drop-after": TaskState.OUTCOME_UNKNOWN,
    "garbage-in-200": TaskState.OUTCOME_UNKNOWN,
    "status-error": TaskState.SAVED,
    "not-visible": TaskState.SAVED,
    "unknown-state": TaskState.SAVED,
    "late-content": TaskState.SAVED,
    "late-content=400": TaskState.SAVED,
    "late-content=403": TaskState.SAVED,
    "late-content=409": TaskState.SAVED,
    "late-content=425": TaskState.SAVED,
    "late-content=502": TaskState.SAVED,
    "html-video=1": TaskState.SAVED,
    "short-video=1": TaskState.SAVED,
    "truncated-video=1": TaskState.SAVED,
    "no-range": TaskState.SAVED,
    "echoed-model": TaskState.SAVED,
    "repeated": TaskState.SAVED,
    "clamped-seconds=1": TaskState.SAVED,
}


async def _rehearse(home: Path, prompt: str, *, body: str = "multipart", until: object = None) -> Task:
    policy = home / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text(POLICY.format(body=body), encoding="utf-8")
    service = build_service(Surroundings({"CALLSHEET_HOME": str(home)}, Path("/nowhere"), SystemClock()))
    shot = Shot.of(prompt, duration_seconds=2)
    explained = service.explain(Draft(shot=shot, gateway="gpu-box", model="Wan-AI/Wan2.2"))
    assert explained.sheet is not None
    assert explained.blocked == ()
    async with service.running():
        done = await service.submit(explained.sheet.id)
        assert done.report is not None
        ended = until or (lambda task: task.state not in OPEN_STATES)
        report = await service.wait_for(done.report.task.id, wait_seconds=60, until=ended)
    return report.task


@pytest.mark.parametrize("body", ["multipart", "json"])
async def test_one_submission_is_one_creation_of_the_listed_fields_alone(tmp_path: Path, body: str) -> None:
    """What leaves is what is listed; a path on the server never arrives."""
    task = await _rehearse(tmp_path / "home", "A kite.", body=body)
    store = tmp_path / "home" / "data" / "sandbox"
    [creation] = [request for request in read_requests(store) if request.submit]
    assert (task.state, creation.fields) == (TaskState.SAVED, "model,prompt,seconds,size")
    assert task.clip is not None
    assert (task.clip.width, task.clip.height, task.clip.duration_seconds) == (832, 480, 2.0)


@pytest.mark.parametrize("tag", ENDS)
async def test_a_fault_ends_where_it_should(tmp_path: Path, tag: str) -> None:
    """One creation that may make a job, whatever happens; more only after the server said that it took none."""
    task = await _rehearse(tmp_path / "home", f"A kite. [[sandbox:{tag}]]")
    store = tmp_path / "home" / "data" / "sandbox"
    assert task.state is ENDS[tag], task.problem
    assert count_submits(store) == (2 if tag == "rate-limited" else 1)
    assert count_accepted(store) == {"repeated": 3}.get(
        tag, int(ENDS[tag] is not TaskState.REJECTED and tag not in ("server-error", "drop-before", "garbage-in-200"))
    )


async def test_a_forgotten_job_is_called_that(tmp_path: Path) -> None:
    """The server was restarted; nothing is sent again."""
    task = await _rehearse(
        tmp_path / "home",
        "A kite. [[sandbox:forgotten]]",
        until=lambda task: task.problem is not None and task.problem.code == JOB_FORGOTTEN,
    )
    assert task.problem is not None
    assert task.problem.code == JOB_FORGOTTEN
    assert count_submits(tmp_path / "home" / "data" / "sandbox") == 1
