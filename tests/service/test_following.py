"""Following a task to its saved clip, whatever the gateway says or fails to say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from callsheet.core.approval import Means
from callsheet.core.policy import Mode
from callsheet.core.redaction import fingerprint
from callsheet.core.sheet import Clip, Task
from callsheet.core.task import TaskState
from callsheet.edges.downloads import LinkGone
from callsheet.errors import DownloadProblem, InvalidRequest
from callsheet.service import Service
from callsheet.service.following import resolve_task, run_task
from callsheet.service.submission import submit
from studio import KEY, SHOT, START, Studio, accepted, draft, reply, status

VIDEO = "https://storage.example.com/v/clip.mp4"
CLIP = Clip("/clips/a.mp4", 5, "00" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")


class Keeper:
    """Stands where clips are kept; plays its script and remembers the links it was given."""

    def __init__(self, *script: Clip | Exception) -> None:
        self.script = list(script)
        self.urls: list[str] = []

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None) -> Clip:
        self.urls.append(url)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def under_way(studio: Studio, *replies: httpx2.Response, keeper: Keeper | None = None) -> tuple[Service, str]:
    """A task that the gateway has accepted, with the answers it will get next."""
    studio.go_live()
    service = studio.service()
    object.__setattr__(service.world, "clips", keeper or Keeper(CLIP))
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    studio.gateway.replies = [accepted(), *replies]
    task_id = submit(service.world, sheet_id).report.task.id
    await run_task(service.world, task_id)
    return service, task_id


async def step(studio: Studio, service: Service, task_id: str) -> Task:
    """Let the task's next time come, and run it."""
    studio.clock.time = max(service.task(task_id).task.next_at, studio.clock.time)
    await run_task(service.world, task_id)
    return service.task(task_id).task


async def test_a_task_is_followed_from_queue_to_saved_clip(studio: Studio) -> None:
    """Queue, progress, file, clip: each state once, nothing asked before its time."""
    finished = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}], credits_amount=48)
    keeper = Keeper(CLIP)
    service, task_id = await under_way(
        studio, status("not_started"), status("running", progress=45), finished, keeper=keeper
    )

    first = service.task(task_id).task
    assert first.next_at >= START + 10
    seen = [await step(studio, service, task_id) for _ in range(4)]

    assert [task.state for task in seen] == [
        TaskState.QUEUED,
        TaskState.RUNNING,
        TaskState.SUCCEEDED,
        TaskState.SAVED,
    ]
    assert seen[1].percent == 45
    assert seen[2].charge == "48 credits"
    assert seen[3].clip == CLIP
    assert keeper.urls == [VIDEO]


async def test_running_a_task_before_its_time_asks_nothing(studio: Studio) -> None:
    """So calling too often cannot hammer a gateway."""
    service, task_id = await under_way(studio)

    await run_task(service.world, task_id)

    assert len(studio.gateway.requests) == 1


async def test_an_unknown_state_stays_running_and_is_shown_as_said(studio: Studio) -> None:
    """Never success, never failure."""
    service, task_id = await under_way(studio, status("re-rendering\x1b[31m"))

    task = await step(studio, service, task_id)

    assert task.state is TaskState.RUNNING
    assert service.task(task_id).status_text == "Filming (said: re-rendering)."


@pytest.mark.parametrize(
    "failure",
    [
        reply({"detail": "Task not found"}, 404),
        reply({"code": 500, "error": {"message": "x", "type": "internal_error"}}, 500),
        httpx2.Response(200, content=b"<html>"),
        reply({"code": 401, "error": {"message": "Invalid API key", "type": "authentication_error"}}, 401),
    ],
)
async def test_a_failed_status_read_never_changes_the_state(studio: Studio, failure: httpx2.Response) -> None:
    """The task stays queued, says what happened, and is asked again later."""
    service, task_id = await under_way(studio, failure, status("running"))

    task = await step(studio, service, task_id)

    assert task.state is TaskState.QUEUED
    assert task.problem is not None
    assert task.next_at > studio.clock.time
    assert (await step(studio, service, task_id)).state is TaskState.RUNNING


async def test_retry_after_on_a_status_read_is_followed(studio: Studio) -> None:
    """Even when it is longer than our own step."""
    service, task_id = await under_way(studio, reply({"code": 429}, 429, **{"retry-after": "77"}))

    task = await step(studio, service, task_id)

    assert task.next_at >= studio.clock.time + 77


async def test_a_failure_carries_the_gateways_words_cleaned(studio: Studio) -> None:
    """Escapes and invisible characters are gone, and the field says whose words they are."""
    service, task_id = await under_way(
        studio, status("failed", error_message="The prompt\u202e violates\x1b[2J policy")
    )

    task = await step(studio, service, task_id)

    assert task.state is TaskState.FAILED
    assert task.problem.said == "The prompt violates policy"


async def test_a_dead_link_is_asked_for_again_once_then_the_clip_has_expired(studio: Studio) -> None:
    """A fresh link that is dead too ends it, and the report says so."""
    gone = LinkGone("The link answers 404.", next_step="")
    finished = [status("finished", files=[{"file_url": VIDEO + n, "file_type": "video"}]) for n in "ab"]
    keeper = Keeper(gone, gone)
    service, task_id = await under_way(studio, *finished, keeper=keeper)

    states = [(await step(studio, service, task_id)).state for _ in range(3)]

    assert states == [TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.EXPIRED]
    assert keeper.urls == [VIDEO + "a", VIDEO + "b"]
    assert "expired" in service.task(task_id).status_text


async def test_a_broken_download_is_tried_again_with_a_fresh_link(studio: Studio) -> None:
    """The clip is paid for; trying again is free and needs no approval."""
    broken = DownloadProblem("The video is cut short.", next_step="")
    finished = [status("finished", files=[{"file_url": VIDEO + n, "file_type": "video"}]) for n in "abc"]
    keeper = Keeper(broken, broken, CLIP)
    service, task_id = await under_way(studio, *finished, keeper=keeper)

    states = [(await step(studio, service, task_id)).state for _ in range(4)]

    assert states == [TaskState.SUCCEEDED] * 3 + [TaskState.SAVED]
    assert keeper.urls == [VIDEO + "a", VIDEO + "b", VIDEO + "c"]


async def test_finished_without_a_file_is_asked_again(studio: Studio) -> None:
    """A gateway that says finished but names no video is not believed yet."""
    service, task_id = await under_way(studio, status("finished"))

    task = await step(studio, service, task_id)

    assert task.state is TaskState.QUEUED
    assert "names no video" in task.problem.message


async def test_a_key_that_went_missing_only_delays(studio: Studio) -> None:
    """The task is not lost; it says what is missing."""
    service, task_id = await under_way(studio)
    del studio.environ["POYO_API_KEY"]

    task = await step(studio, service, task_id)

    assert task.state is TaskState.QUEUED
    assert "key is missing" in task.problem.message


async def test_a_gateway_that_takes_success_back_does_not_undo_it(studio: Studio) -> None:
    """Success stays, and the link that it once gave is tried all the same."""
    broken = DownloadProblem("The video is cut short.", next_step="")
    finished = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}])
    keeper = Keeper(broken, CLIP)
    service, task_id = await under_way(studio, finished, status("running"), keeper=keeper)
    for _ in range(3):
        task = await step(studio, service, task_id)

    assert task.state is TaskState.SAVED
    assert keeper.urls == [VIDEO, VIDEO]


async def test_a_policy_that_cannot_be_read_is_said_on_the_task(studio: Studio) -> None:
    """It is tried again later, instead of in a loop or never."""
    service, task_id = await under_way(studio)
    studio.write_policy("this is no policy")
    studio.clock.time += 100

    await run_task(service.world, task_id)

    studio.go_live()
    held = service.task(task_id).task
    assert held.state is TaskState.QUEUED
    assert held.problem.code == "setup_problem"
    assert held.next_at > studio.clock.time


async def test_a_restart_follows_on(studio: Studio) -> None:
    """What the ledger holds is enough for another process to finish the job."""
    _, task_id = await under_way(studio, status("finished", files=[{"file_url": VIDEO, "file_type": "video"}]))
    later = studio.service()
    object.__setattr__(later.world, "clips", Keeper(CLIP))

    await step(studio, later, task_id)
    task = await step(studio, later, task_id)

    assert task.state is TaskState.SAVED


@pytest.mark.parametrize("bad", ["", "a b", "../x", "x" * 200, "id?x=1"])
async def test_a_task_id_that_no_gateway_gives_cannot_be_attached(studio: Studio, bad: str) -> None:
    """Refused before it is stored."""
    service, task_id = await under_way(studio)

    with pytest.raises(InvalidRequest):
        resolve_task(service.world, task_id, accepted_as=bad)


async def test_what_has_ended_cannot_be_resolved(studio: Studio) -> None:
    """And the answer tells what became of the money."""
    service, task_id = await under_way(studio, status("failed", error_message="no"))
    await step(studio, service, task_id)

    with pytest.raises(InvalidRequest, match="unknown outcome") as caught:
        resolve_task(service.world, task_id, accepted_as=None)
    assert caught.value.fate == "unknown"


async def test_a_person_may_mend_a_wrong_id_or_give_a_stuck_task_up(studio: Studio) -> None:
    """What was given up after it was accepted still counts against the caps: it may have been charged."""
    service, task_id = await under_way(studio)

    assert resolve_task(service.world, task_id, accepted_as="task-unified-2-right").state is TaskState.QUEUED
    assert resolve_task(service.world, task_id, accepted_as=None).state is TaskState.ABANDONED
    assert service.world.ledger().spending(Mode.LIVE, (0, 0)).today == Decimal("0.24")


async def test_polls_keep_to_the_gateways_rate(studio: Studio) -> None:
    """A request over the rate is put off to its reserved time, and then goes out without reserving twice."""
    service, task_id = await under_way(studio, status("running"))
    ledger, now = service.world.ledger(), studio.clock.now()
    account = f"live/poyo/{fingerprint(KEY)}"
    for _ in range(400):
        ledger.reserve_pace(account, interval=1.0, burst=5, now=now)

    put_off = await step(studio, service, task_id)

    assert put_off.state is TaskState.QUEUED
    assert put_off.next_at > studio.clock.time + 100
    assert (await step(studio, service, task_id)).state is TaskState.RUNNING


def test_the_prompt_is_part_of_the_report(studio: Studio) -> None:
    """So that a list of tasks means something to a person."""
    service = studio.service()
    task_id = submit(service.world, draft(service)).report.task.id

    assert service.task(task_id).prompt == SHOT.prompt
