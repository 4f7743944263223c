"""The whole way over real HTTP on loopback: every gateway, every fault, and a restart in the middle."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from callsheet.compose import Surroundings, build_service
from callsheet.core.shot import Scalar, Shot
from callsheet.core.tasks import OPEN_STATES, Clip, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.sandbox.store import count_submits, read_requests
from callsheet.service import Draft, Service

pytestmark = pytest.mark.network  # the program itself starts the sandbox

CARDS = {
    "poyo": "sora-2-official",
    "apidot": "sora-2-official",
    "apixo": "sora-2",
    "evolink": "sora-2-preview",
}
ENDS = {
    "content-violation": TaskState.FAILED,
    "unreachable-image": TaskState.FAILED,
    "refused": TaskState.REJECTED,
    "insufficient-credits": TaskState.REJECTED,
    "rate-limited": TaskState.SAVED,
    "rate-limited-bare": TaskState.SAVED,
    "server-error": TaskState.OUTCOME_UNKNOWN,
    "unavailable": TaskState.OUTCOME_UNKNOWN,
    "drop-before": TaskState.OUTCOME_UNKNOWN,
    "drop-after": TaskState.OUTCOME_UNKNOWN,
    "error-in-200": TaskState.OUTCOME_UNKNOWN,
    "garbage-in-200": TaskState.OUTCOME_UNKNOWN,
    "slow": TaskState.SAVED,
    "unknown-state": TaskState.SAVED,
    "status-error": TaskState.SAVED,
    "not-visible": TaskState.SAVED,
    "expired-link": TaskState.EXPIRED,
    "truncated-video=1": TaskState.SAVED,
    "short-video=1": TaskState.SAVED,
    "html-video=1": TaskState.SAVED,
    "old-errors": TaskState.SAVED,
}


def service_at(home: Path) -> Service:
    """A process in the sandbox, at 600 times the speed of life."""
    policy = home / "config" / "policy.toml"
    if not policy.exists():
        policy.parent.mkdir(parents=True)
        policy.touch(mode=0o600)
        policy.write_text("[sandbox]\nspeed = 600\n", encoding="utf-8")
    return build_service(Surroundings({"CALLSHEET_HOME": str(home)}, Path("/nowhere"), SystemClock()))


async def start(service: Service, gateway: str, fault: str, model: str = "", **ordered: Scalar) -> str:
    """Submit a shot with that fault's tag; returns the task's id."""
    image = "https://images.example.com/kite.png" if fault == "unreachable-image" else None
    shot = Shot.of(f"A red kite over dunes. [[sandbox:{fault}]]", duration_seconds=4, first_frame=image, **ordered)
    explanation = service.explain(Draft(shot=shot, gateway=gateway, model=model or CARDS[gateway]))
    assert explanation.sheet is not None, explanation.findings
    submission = await service.submit(explanation.sheet.id, wait_seconds=0)
    return submission.report.task.id


async def wait_until_ended(service: Service, tasks: list[str]) -> dict[str, TaskState]:
    """Wait until none of the tasks is open any more."""
    with anyio.fail_after(90):
        while True:
            states = {task_id: service.task(task_id).task.state for task_id in tasks}
            if not OPEN_STATES & set(states.values()):
                return states
            await service.deps.changes.wait(0.5)


def check_clip(clip: Clip) -> None:
    """The clip is what was asked for, and its files are there."""
    assert (clip.width, clip.height) == (1280, 720)
    assert abs(clip.duration_seconds - 4) < 0.5
    assert Path(clip.path).stat().st_size == clip.size
    assert Path(clip.poster).exists()
    assert Path(clip.contact_sheet).exists()


@pytest.mark.slow
@pytest.mark.parametrize("gateway", CARDS)
async def test_every_fault_ends_where_it_should_with_at_most_one_paid_request(gateway: str, tmp_path: Path) -> None:
    """All faults at once against one gateway; no sheet is ever accepted twice, and every clip is whole."""
    service = service_at(tmp_path)
    async with service.running():
        tasks = {fault: await start(service, gateway, fault) for fault in ENDS}
        states = await wait_until_ended(service, list(tasks.values()))

    assert {fault: states[task_id] for fault, task_id in tasks.items()} == ENDS
    requests = [item for item in read_requests(tmp_path / "data" / "sandbox") if item.task_id and item.submit]
    accepted = [item.body_sha256 for item in requests]
    assert len(accepted) == len(set(accepted))
    for fault, end in ENDS.items():
        clip = service.task(tasks[fault]).task.clip
        assert (clip is not None) == (end is TaskState.SAVED)
        if clip is not None:
            check_clip(clip)


async def test_a_clip_that_differs_from_its_order_is_saved_and_says_so(tmp_path: Path) -> None:
    """Measured of the real file; the same shot delivered whole differs in nothing."""
    service = service_at(tmp_path)
    async with service.running():
        tasks = [await start(service, "poyo", fault) for fault in ("other-clip", "slow")]
        states = await wait_until_ended(service, tasks)

    assert set(states.values()) == {TaskState.SAVED}
    found = [[finding.field for finding in service.task(task_id).findings] for task_id in tasks]
    assert found == [["duration_seconds", "aspect_ratio"], []]
    clip = service.task(tasks[0]).task.clip
    assert clip is not None
    assert (clip.shape, clip.audio) == (0.5625, False)


SOUNDING = {
    "poyo": "seedance-2",
    "apidot": "seedance-2",
    "apixo": "seedance-2-0",
    "evolink": "seedance-2.0-text-to-video",
}


async def test_a_clip_has_an_audio_track_where_audio_was_ordered(tmp_path: Path) -> None:
    """Measured of the real file, on every gateway that can be told; missing sound is a difference."""
    service = service_at(tmp_path)
    async with service.running():
        tasks = {
            (gateway, ordered): await start(service, gateway, "slow", model, audio=ordered)
            for gateway, model in SOUNDING.items()
            for ordered in (True, False)
        }
        silent = await start(service, "poyo", "other-clip", SOUNDING["poyo"], audio=True)
        await wait_until_ended(service, [*tasks.values(), silent])

    for (_, ordered), task_id in tasks.items():
        report = service.task(task_id)
        assert report.task.clip is not None
        assert (report.task.clip.audio, report.findings) == (ordered, ())
    assert "audio" in [finding.field for finding in service.task(silent).findings]


@pytest.mark.slow
async def test_a_restart_picks_every_open_task_up(tmp_path: Path) -> None:
    """What one process submitted, the next one saves; nothing is submitted again."""
    first = service_at(tmp_path)
    async with first.running():
        tasks = [await start(first, gateway, "slow") for gateway in CARDS]
        with anyio.fail_after(20):
            while any(first.task(task_id).task.gateway_task_id is None for task_id in tasks):
                await first.deps.changes.wait(0.2)
    assert any(first.task(task_id).task.state in OPEN_STATES for task_id in tasks)

    second = service_at(tmp_path)
    async with second.running():
        states = await wait_until_ended(second, tasks)

    assert set(states.values()) == {TaskState.SAVED}
    assert count_submits(tmp_path / "data" / "sandbox") == len(tasks)


@pytest.mark.slow
async def test_a_stuck_task_keeps_running_and_is_never_given_up(tmp_path: Path) -> None:
    """It is asked after ever more rarely."""
    service = service_at(tmp_path)
    async with service.running():
        task_id = await start(service, "poyo", "stuck")
        with anyio.fail_after(20):
            while service.task(task_id).task.polls < 5:
                await service.deps.changes.wait(0.2)

    assert service.task(task_id).task.state is TaskState.RUNNING
