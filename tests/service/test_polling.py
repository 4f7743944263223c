"""Following a task to its saved clip, whatever the gateway says or fails to say."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Means, Mode
from callsheet.core.security.redaction import fingerprint
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, Task, TaskState
from callsheet.errors import DownloadProblem, InvalidRequest, LinkGone
from callsheet.service import Service
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.submission import submit
from workspace import KEY, SHOT, START, Workspace, accepted, draft, reply, status

VIDEO = "https://storage.example.com/v/clip.mp4"
CLIP = Clip("/clips/a.mp4", 5, "00" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")


class Keeper:
    """Stands where clips are kept; plays its script and remembers the links it was given."""

    def __init__(self, *script: Clip | Exception) -> None:
        self.script = list(script)
        self.urls: list[str] = []

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None, route: object) -> Clip:
        self.urls.append(url)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def under_way(
    workspace: Workspace, *replies: httpx2.Response, keeper: Keeper | None = None
) -> tuple[Service, str]:
    """A task that the gateway has accepted, with the answers it will get next."""
    workspace.go_live()
    service = workspace.service()
    object.__setattr__(service.deps, "clips", keeper or Keeper(CLIP))
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [accepted(), *replies]
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)
    return service, task_id


async def step(workspace: Workspace, service: Service, task_id: str) -> Task:
    """Let the task's next time come, and run it."""
    workspace.clock.time = max(service.task(task_id).task.next_at, workspace.clock.time)
    await run_task(service.deps, task_id)
    return service.task(task_id).task


async def test_a_task_is_followed_from_queue_to_saved_clip(workspace: Workspace) -> None:
    """Queue, progress, file, clip: each state once, nothing asked before its time."""
    finished = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}], credits_amount=48)
    keeper = Keeper(CLIP)
    service, task_id = await under_way(
        workspace, status("not_started"), status("running", progress=45), finished, keeper=keeper
    )

    first = service.task(task_id).task
    assert first.next_at >= START + 10
    seen = [await step(workspace, service, task_id) for _ in range(4)]

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


@pytest.mark.parametrize(("seconds", "next_read"), [(4, 10.0), (12, 120.0)])
async def test_a_clip_is_asked_after_when_one_of_its_length_is_usually_ready(
    workspace: Workspace, seconds: int, next_read: float
) -> None:
    """APIXO documents 2 to 4 minutes for 4 s and 4 to 6 minutes for 12 s; both are read after 2 minutes first."""
    workspace.environ["APIXO_API_KEY"] = "another-canary-51d84b06"
    workspace.go_live('[prices]\nunknown_ceiling = "0.50"\n')
    service = workspace.service()
    sheet_id = draft(service, Shot.of("A kite.", duration_seconds=seconds), gateway="apixo", model="sora-2")
    service.approve(sheet_id, by=Means.TERMINAL)
    state = {"code": 200, "data": {"taskId": "task_1", "state": "processing"}}

    workspace.gateway.on_request = lambda request: reply({"data": 1} if "balance" in request.url.path else state)
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)
    first = service.task(task_id).task
    task = await step(workspace, service, task_id)

    assert (first.next_at - START, task.state, task.polls) == (120.0, TaskState.RUNNING, 1)
    assert task.next_at - workspace.clock.time == next_read


async def test_running_a_task_before_its_time_asks_nothing(workspace: Workspace) -> None:
    """So calling too often cannot hammer a gateway."""
    service, task_id = await under_way(workspace)

    await run_task(service.deps, task_id)

    assert len(workspace.gateway.requests) == 1


async def test_an_unknown_state_stays_running_and_is_shown_as_said(workspace: Workspace) -> None:
    """Never success, never failure."""
    service, task_id = await under_way(workspace, status("re-rendering\x1b[31m"))

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.RUNNING
    assert service.task(task_id).status_text == "Generating (said: re-rendering)."


@pytest.mark.parametrize(
    "failure",
    [
        reply({"detail": "Task not found"}, 404),
        reply({"code": 500, "error": {"message": "x", "type": "internal_error"}}, 500),
        httpx2.Response(200, content=b"<html>"),
        reply({"code": 401, "error": {"message": "Invalid API key", "type": "authentication_error"}}, 401),
    ],
)
async def test_a_failed_status_read_never_changes_the_state(workspace: Workspace, failure: httpx2.Response) -> None:
    """The task stays queued, says what happened, and is asked again later."""
    service, task_id = await under_way(workspace, failure, status("running"))

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.QUEUED
    assert task.problem is not None
    assert (task.problem.code, task.problem.fate, task.failures) == ("status_unreadable", "charged", 1)
    assert task.next_at > workspace.clock.time
    assert (await step(workspace, service, task_id)).state is TaskState.RUNNING


async def test_retry_after_on_a_status_read_is_followed(workspace: Workspace) -> None:
    """Even when it is longer than our own step."""
    service, task_id = await under_way(workspace, reply({"code": 429}, 429, **{"retry-after": "77"}))

    task = await step(workspace, service, task_id)

    assert task.next_at >= workspace.clock.time + 77


async def test_a_failure_carries_the_gateways_words_cleaned(workspace: Workspace) -> None:
    """Escapes and invisible characters are gone, and the field says whose words they are."""
    service, task_id = await under_way(
        workspace, status("failed", error_message="The prompt\u202e violates\x1b[2J policy")
    )

    task = await step(workspace, service, task_id)

    assert (task.state, task.finished_at) == (TaskState.FAILED, workspace.clock.time)
    assert task.problem.said == "The prompt violates policy"


async def test_a_dead_link_is_asked_for_again_once_then_the_clip_has_expired(workspace: Workspace) -> None:
    """A fresh link that is dead too ends it, and the report says so."""
    gone = LinkGone("The link answers 404.", next_step="")
    finished = [status("finished", files=[{"file_url": VIDEO + n, "file_type": "video"}]) for n in "ab"]
    keeper = Keeper(gone, gone)
    service, task_id = await under_way(workspace, *finished, keeper=keeper)

    seen = [await step(workspace, service, task_id) for _ in range(3)]

    assert [task.state for task in seen] == [TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.EXPIRED]
    assert [task.failures for task in seen[:2]] == [0, 1]
    assert (seen[2].problem.code, seen[2].problem.fate) == ("expired", "charged")
    assert keeper.urls == [VIDEO + "a", VIDEO + "b"]
    assert "expired" in service.task(task_id).status_text


async def test_a_broken_download_is_tried_again_with_a_fresh_link(workspace: Workspace) -> None:
    """The clip is paid for; trying again is free and needs no approval."""
    broken = DownloadProblem("The video is cut short.", next_step="")
    finished = [status("finished", files=[{"file_url": VIDEO + n, "file_type": "video"}]) for n in "abc"]
    keeper = Keeper(broken, broken, CLIP)
    service, task_id = await under_way(workspace, *finished, keeper=keeper)

    states = [(await step(workspace, service, task_id)).state for _ in range(4)]

    assert states == [TaskState.SUCCEEDED] * 3 + [TaskState.SAVED]
    assert keeper.urls == [VIDEO + "a", VIDEO + "b", VIDEO + "c"]


async def test_a_stored_link_with_the_key_in_it_is_not_fetched_but_asked_for_again(workspace: Workspace) -> None:
    """A ledger that an older version wrote may have one."""
    finished = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}])
    keeper = Keeper(CLIP)
    service, task_id = await under_way(workspace, finished, finished, keeper=keeper)
    await step(workspace, service, task_id)
    stored = {"result_url": f"https://storage.example.com/{KEY}.mp4"}
    service.deps.ledger().touch(task_id, now=service.now(), changes=stored)

    task = await step(workspace, service, task_id)

    assert (task.state, task.problem.code, task.failures) == (TaskState.SUCCEEDED, "download_problem", 1)
    assert keeper.urls == []
    assert (await step(workspace, service, task_id)).state is TaskState.SAVED
    assert keeper.urls == [VIDEO]


async def test_finished_without_a_file_is_asked_again(workspace: Workspace) -> None:
    """A gateway that says finished but names no video is not believed yet."""
    service, task_id = await under_way(workspace, status("finished"))

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.QUEUED
    assert task.problem.code == "no_file_named"


async def test_a_key_that_went_missing_only_delays(workspace: Workspace) -> None:
    """The task is not lost; it says what is missing."""
    service, task_id = await under_way(workspace)
    del workspace.environ["POYO_API_KEY"]

    task = await step(workspace, service, task_id)

    assert task.state is TaskState.QUEUED
    assert "key is missing" in task.problem.message


async def test_a_gateway_that_takes_success_back_does_not_undo_it(workspace: Workspace) -> None:
    """Success stays, and the link that it once gave is tried all the same."""
    broken = DownloadProblem("The video is cut short.", next_step="")
    finished = status("finished", files=[{"file_url": VIDEO, "file_type": "video"}])
    keeper = Keeper(broken, CLIP)
    service, task_id = await under_way(workspace, finished, status("running"), keeper=keeper)
    for _ in range(3):
        task = await step(workspace, service, task_id)

    assert task.state is TaskState.SAVED
    assert keeper.urls == [VIDEO, VIDEO]


async def test_a_policy_that_cannot_be_read_is_said_on_the_task(workspace: Workspace) -> None:
    """It is tried again later, instead of in a loop or never."""
    service, task_id = await under_way(workspace)
    workspace.write_policy("this is no policy")
    workspace.clock.time += 100

    await run_task(service.deps, task_id)

    workspace.go_live()
    held = service.task(task_id).task
    assert held.state is TaskState.QUEUED
    assert held.problem.code == "setup_problem"
    assert held.next_at > workspace.clock.time


async def test_a_restart_follows_on(workspace: Workspace) -> None:
    """What the ledger holds is enough for another process to finish the job."""
    _, task_id = await under_way(workspace, status("finished", files=[{"file_url": VIDEO, "file_type": "video"}]))
    later = workspace.service()
    object.__setattr__(later.deps, "clips", Keeper(CLIP))

    await step(workspace, later, task_id)
    task = await step(workspace, later, task_id)

    assert task.state is TaskState.SAVED


@pytest.mark.parametrize("bad", ["", "a b", "../x", "x" * 513, "id?x=1"])
async def test_a_task_id_that_no_gateway_gives_cannot_be_attached(workspace: Workspace, bad: str) -> None:
    """Refused before it is stored."""
    service, task_id = await under_way(workspace)

    with pytest.raises(InvalidRequest):
        resolve_task(service.deps, task_id, accepted_as=bad)


@pytest.mark.parametrize("edited", [None, "", "../up"])
async def test_a_task_whose_id_somebody_removed_from_the_ledger_is_said_and_can_be_mended(
    workspace: Workspace, edited: str | None
) -> None:
    """It is paid for: it is no mistake of the program, and nobody is asked about another address."""
    service, task_id = await under_way(workspace, status("running"))
    with sqlite3.connect(workspace.ledger_file) as db:
        db.execute("UPDATE task SET gateway_task_id = ?", (edited,))
    db.close()
    asked = len(workspace.gateway.requests)

    task = await step(workspace, service, task_id)
    assert (task.state, task.problem.code) == (TaskState.QUEUED, "status_unreadable")
    assert len(workspace.gateway.requests) == asked

    service.resolve(task_id, accepted_as="task-unified-1-abc")
    assert (await step(workspace, service, task_id)).state is TaskState.RUNNING


async def test_what_has_ended_cannot_be_resolved(workspace: Workspace) -> None:
    """And the answer tells what became of the money."""
    service, task_id = await under_way(workspace, status("failed", error_message="no"))
    await step(workspace, service, task_id)

    with pytest.raises(InvalidRequest, match="unknown outcome") as caught:
        resolve_task(service.deps, task_id, accepted_as=None)
    assert caught.value.fate == "unknown"


async def test_a_person_may_mend_a_wrong_id_or_give_a_stuck_task_up(workspace: Workspace) -> None:
    """What was given up after it was accepted still counts against the caps: it may have been charged."""
    service, task_id = await under_way(workspace)

    assert resolve_task(service.deps, task_id, accepted_as="task-unified-2-right").state is TaskState.QUEUED
    assert resolve_task(service.deps, task_id, accepted_as=None).state is TaskState.ABANDONED
    assert service.deps.ledger().spending(Mode.LIVE, (0, 0)).today == Decimal("0.24")


async def test_polls_keep_to_the_gateways_rate(workspace: Workspace) -> None:
    """A request over the rate is put off to its reserved time, and then goes out without reserving twice."""
    service, task_id = await under_way(workspace, status("running"))
    ledger, now = service.deps.ledger(), workspace.clock.now()
    account = f"live/poyo/{fingerprint(KEY)}"
    for _ in range(400):
        ledger.reserve_pace(account, interval=1.0, burst=5, now=now)

    put_off = await step(workspace, service, task_id)

    assert put_off.state is TaskState.QUEUED
    assert put_off.next_at > workspace.clock.time + 100
    assert (await step(workspace, service, task_id)).state is TaskState.RUNNING


def test_the_prompt_is_part_of_the_report(workspace: Workspace) -> None:
    """So that a list of tasks means something to a person."""
    service = workspace.service()
    task_id = submit(service.deps, draft(service)).report.task.id

    assert service.task(task_id).prompt == SHOT.prompt
