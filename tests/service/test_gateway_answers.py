"""What becomes of answers that are strange: unknown words, ids that prove nothing, a key that comes back."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from callsheet.core.consent import Means
from callsheet.core.gateway.protocol import HttpReply, Phase, Progress
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, Task, TaskState
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import Action, DownloadProblem, InvalidRequest
from callsheet.gateways import poyo
from callsheet.service import Service
from callsheet.service.export import export
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.sealed_keys import claim_for_sending, permit
from callsheet.service.submission import submit
from callsheet.surface.next_steps import command
from samples import CHEAP
from workspace import KEY, Workspace, accepted, draft, reply, status

VIDEO = "https://storage.example.com/v/clip.mp4"
CLIP = Clip("/clips/a.mp4", 5, "00" * 32, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg")
PASSPHRASE = "a heron over the reeds"
RETURNED = "the gateway gave the key back: replace it"


class Keeper:
    """Stands where clips are kept; plays its script and remembers the links it was given."""

    def __init__(self, *script: Clip | Exception) -> None:
        self.script = list(script)
        self.urls: list[str] = []

    async def keep(self, task: Task, url: str, *, directory: Path, loopback: str | None, route: object) -> Clip:
        self.urls.append(url)
        step = self.script.pop(0) if self.script else CLIP
        if isinstance(step, Exception):
            raise step
        return step


async def sent(workspace: Workspace, *replies: httpx2.Response, keeper: Keeper | None = None) -> tuple[Service, str]:
    """A live task whose paid request was answered with the first reply; the others come next."""
    workspace.go_live()
    service = workspace.service()
    object.__setattr__(service.deps, "clips", keeper or Keeper())
    sheet_id = draft(service)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = list(replies)
    task_id = submit(service.deps, sheet_id).report.task.id
    await run_task(service.deps, task_id)
    return service, task_id


async def step(workspace: Workspace, service: Service, task_id: str, *, after: float = 0.0) -> Task:
    """Let the task's next time come, and some more, and run it."""
    workspace.clock.time = max(service.task(task_id).task.next_at, workspace.clock.time) + after
    await run_task(service.deps, task_id)
    return service.task(task_id).task


def stored_bytes(workspace: Workspace) -> bytes:
    """Everything in the ledger's files."""
    return b"".join(path.read_bytes() for path in workspace.ledger_file.parent.glob("ledger.sqlite3*"))


class Silent:
    """PoYo, if it reported a failure without anything about it."""

    def __getattr__(self, name: str) -> object:
        return getattr(poyo, name)

    def read_status(self, answer: HttpReply) -> Progress:
        return Progress(Phase.FAILED, "failed", named_id="task-unified-1-abc")


async def test_a_failure_that_comes_without_any_problem_ends_the_task_all_the_same(workspace: Workspace) -> None:
    """What a gateway's module returns may leave it out."""
    service, task_id = await sent(workspace, accepted(), status("failed"))
    workspace.clock.time = service.task(task_id).task.next_at
    await run_task(replace(service.deps, gateway=lambda _: Silent()), task_id)

    task = service.task(task_id).task
    assert task.state is TaskState.FAILED
    assert (task.problem.code, task.problem.http_status, task.problem.fate) == ("unspecified", 200, "unknown")


@pytest.mark.parametrize("word", ["succeeded", "completed", "Success", "done"])
async def test_every_word_for_success_ends_in_a_saved_clip(workspace: Workspace, word: str) -> None:
    """Whatever the gateway calls it."""
    finished = status(word, progress=100, files=[{"file_url": VIDEO}])
    service, task_id = await sent(workspace, accepted(), finished)

    assert (await step(workspace, service, task_id)).state is TaskState.SUCCEEDED
    assert (await step(workspace, service, task_id)).state is TaskState.SAVED


@pytest.mark.parametrize("word", ["error", "cancelled", "CANCELED", "rejected", "timeout"])
async def test_every_word_for_failure_ends_the_task(workspace: Workspace, word: str) -> None:
    """It holds no slot any longer."""
    service, task_id = await sent(workspace, accepted(), status(word))

    assert (await step(workspace, service, task_id)).state is TaskState.FAILED


async def test_an_unknown_word_with_a_whole_video_is_the_end(workspace: Workspace) -> None:
    """Fetching is free, and a whole video proves more than a word."""
    keeper = Keeper()
    service, task_id = await sent(workspace, accepted(), status("fertig", files=[{"url": VIDEO}]), keeper=keeper)

    task = await step(workspace, service, task_id)

    assert (task.state, task.clip, task.problem) == (TaskState.SAVED, CLIP, None)
    assert keeper.urls == [VIDEO]


async def test_an_unknown_word_with_a_broken_video_goes_on(workspace: Workspace) -> None:
    """A draft or a file that is still being written is not the clip."""
    keeper = Keeper(DownloadProblem("The video is cut short.", next_step=""))
    again = status("fertig", files=[{"url": VIDEO}])
    service, task_id = await sent(workspace, accepted(), again, again, keeper=keeper)

    assert (await step(workspace, service, task_id)).state is TaskState.RUNNING
    assert (await step(workspace, service, task_id)).state is TaskState.SAVED


async def test_after_twice_the_usual_time_an_unknown_word_is_told_to_a_person(workspace: Workspace) -> None:
    """With what the person can do; before that it is only shown."""
    service, task_id = await sent(workspace, accepted(), status("sideways"), status("sideways"))
    await step(workspace, service, task_id)
    early = service.task(task_id)
    await step(workspace, service, task_id, after=3600)
    late = service.task(task_id)

    assert early.next_step.action is Action.WAIT
    assert late.task.state is TaskState.RUNNING
    assert late.task.problem.code == "state_overdue"
    assert "said: sideways" in late.status_text
    assert late.next_step.action is Action.RESOLVE


async def test_finished_without_a_link_is_told_as_that(workspace: Workspace) -> None:
    """Not as waiting in a queue."""
    service, task_id = await sent(workspace, accepted(), status("completed"), status("completed"))
    await step(workspace, service, task_id)

    assert service.task(task_id).status_text == "The gateway says that it is finished, but names no video."
    await step(workspace, service, task_id, after=3600)
    assert service.task(task_id).next_step.action is Action.RESOLVE


@pytest.mark.parametrize(
    "unclear",
    [reply({"code": 401, "data": {"task_id": 77}}, 401), reply({"code": 500, "data": {"task_id": "77"}})],
)
async def test_the_id_of_an_unclear_reply_is_kept_and_offered(workspace: Workspace, unclear: httpx2.Response) -> None:
    """As what the gateway said, which proves nothing; a person can confirm it."""
    service, task_id = await sent(workspace, unclear)
    report = service.task(task_id)

    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert report.task.gateway_task_id is None
    assert report.task.problem.untrusted_task_id == "77"
    assert "names task 77, which proves nothing" in report.status_text
    assert command(report.next_step).endswith(f"resolve {task_id} --accepted 77")
    assert resolve_task(service.deps, task_id, accepted_as="77").gateway_task_id == "77"


@pytest.mark.parametrize(
    ("refusal", "message", "advice"),
    [
        (httpx2.Response(403, content=b"<html>x"), "HTTP 403, an HTML page", "what this key and account may use"),
        (httpx2.Response(413, content=b"<html>x"), "HTTP 413, an HTML page", "request smaller"),
        (reply({"code": 422, "msg": "bad ratio"}, 422), "HTTP 422, the gateway said: bad ratio", "as the message says"),
        (reply({"code": 422, "msg": "bad ratio"}), "code 422, the gateway said: bad ratio", "as the message says"),
        (reply({}, 400), "HTTP 400, no reason given", "gives no reason"),
        (reply({}, 402), "HTTP 402, no reason given", "Top up"),
        (reply({"message": "Insufficient credits"}, 400), "HTTP 400, the gateway said: Insufficient credits", "Top up"),
        (reply({"message": "Invalid API key"}, 401), "HTTP 401, the gateway said: Invalid API key", "key is valid"),
    ],
)
async def test_a_refusal_keeps_status_and_words_and_advises_what_helps(
    workspace: Workspace, refusal: httpx2.Response, message: str, advice: str
) -> None:
    """Never to change a shot when the account is empty, and no message where there is none."""
    service, task_id = await sent(workspace, refusal)
    report = service.task(task_id)

    assert report.task.state is TaskState.REJECTED
    assert report.task.problem.message == message
    assert message in report.status_text
    assert advice in report.next_step.text
    assert ("as the message says" in report.next_step.text) == (advice == "as the message says")


async def test_a_failure_without_words_does_not_point_to_a_message(workspace: Workspace) -> None:
    """The gateway accepted it, then failed, and says no more."""
    service, task_id = await sent(workspace, accepted(), status("failed"))
    task = await step(workspace, service, task_id)

    assert "as the message says" not in service.task(task_id).next_step.text
    assert (task.problem.code, task.problem.fate) == ("unspecified", "unknown")
    assert task.finished_at == workspace.clock.now()


async def test_an_empty_account_does_not_bar_the_same_shot_later(workspace: Workspace) -> None:
    """Also where the gateway says so with 400."""
    service, _ = await sent(workspace, reply({"message": "Insufficient credits"}, 400), accepted())
    again = draft(service)
    service.approve(again, by=Means.TERMINAL)

    assert submit(service.deps, again).status == "waiting"


@pytest.mark.parametrize("redirect", [302, 303])
async def test_a_redirect_after_the_paid_post_leaves_the_outcome_unknown(workspace: Workspace, redirect: int) -> None:
    """A server answers like that to a job that it has taken."""
    service, task_id = await sent(workspace, httpx2.Response(redirect, headers={"location": "/tasks/9"}))

    assert service.task(task_id).task.state is TaskState.OUTCOME_UNKNOWN


async def test_one_id_for_two_tasks_is_unknown(workspace: Workspace) -> None:
    """One of the two would be followed as the other."""
    service, first = await sent(workspace, accepted("job-1"), accepted("job-1"))
    second_sheet = draft(service, Shot.of("Another shot of a harbour at dawn, static.", duration_seconds=4))
    service.approve(second_sheet, by=Means.TERMINAL)
    second = submit(service.deps, second_sheet).report.task.id
    await step(workspace, service, second)

    report = service.task(second)
    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert (report.task.problem.code, report.task.problem.untrusted_task_id) == ("same_id", "job-1")
    assert report.task.problem.said == ""
    assert "the id of another task" in report.status_text
    assert report.task.gateway_task_id is None
    assert service.task(first).task.state is TaskState.QUEUED
    with pytest.raises(InvalidRequest, match="has that id already"):
        resolve_task(service.deps, second, accepted_as="job-1")


async def test_a_status_reply_about_another_task_says_nothing_of_this_one(workspace: Workspace) -> None:
    """Its clip would be the wrong one."""
    other = reply({"code": 200, "data": {"task_id": "not-ours", "status": "finished", "files": [{"file_url": VIDEO}]}})
    keeper = Keeper()
    service, task_id = await sent(workspace, accepted(), other, keeper=keeper)

    task = await step(workspace, service, task_id)

    assert (task.state, task.problem.code, task.result_url) == (TaskState.QUEUED, "other_task_named", None)
    assert "another task" in service.task(task_id).status_text


SPELLINGS = {
    "raw": KEY,
    "reversed": KEY[::-1],
    "hex": KEY.encode().hex(),
    "base64": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "a piece": KEY[3:20],
    "within": f"job-{KEY}-1",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("code", [200, 401, 500])
async def test_a_key_in_the_place_of_an_id_is_no_id(workspace: Workspace, spelling: str, code: int) -> None:
    """The outcome is unknown, the person reads why, and nothing of the value is stored."""
    body = {"code": code, "data": {"task_id": spelling, "status": "not_started"}}
    service, task_id = await sent(workspace, reply(body))
    report = service.task(task_id)

    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert RETURNED in report.status_text
    assert report.task.problem.untrusted_task_id == ""
    assert spelling.encode() not in stored_bytes(workspace)
    assert spelling not in repr(report)
    assert spelling not in repr(export(service.deps))


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_key_in_the_place_of_the_first_state_is_no_state(workspace: Workspace, spelling: str) -> None:
    """The id beside it is offered, not trusted."""
    service, task_id = await sent(workspace, reply({"code": 200, "data": {"task_id": "job-1", "status": spelling}}))
    report = service.task(task_id)

    assert report.task.state is TaskState.OUTCOME_UNKNOWN
    assert report.task.problem.untrusted_task_id == "job-1"
    assert RETURNED in report.status_text
    assert spelling.encode() not in stored_bytes(workspace)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("place", ["state", "path", "host", "query", "escaped", "escaped twice", "task"])
async def test_a_key_in_a_status_reply_is_neither_stored_nor_fetched(
    workspace: Workspace, spelling: str, place: str
) -> None:
    """No request goes to such an address, so nothing of it reaches DNS."""
    links = {
        "path": f"https://cdn.example.com/{spelling}/a.mp4",
        "host": f"https://{spelling}.example.com/a.mp4",
        "query": f"https://cdn.example.com/a.mp4?k={spelling}",
        "escaped": "https://cdn.example.com/a.mp4?k=" + "".join(f"%{ord(letter):02x}" for letter in spelling),
        "escaped twice": "https://cdn.example.com/a.mp4?k=" + quote("".join(f"%{ord(a):02X}" for a in spelling)),
    }
    data = {"task_id": spelling if place == "task" else "task-unified-1-abc"}
    data |= {"status": spelling if place == "state" else "finished"}
    keeper = Keeper()
    body = reply({"code": 200, "data": {**data, "files": [{"file_url": links.get(place, VIDEO)}]}})
    service, task_id = await sent(workspace, accepted(), body, keeper=keeper)

    task = await step(workspace, service, task_id)

    assert (task.state, task.problem.code) == (TaskState.QUEUED, "key_returned")
    assert RETURNED in service.task(task_id).status_text
    assert keeper.urls == []
    assert spelling.encode() not in stored_bytes(workspace)


async def test_a_clean_link_beside_one_with_the_key_is_fetched(workspace: Workspace) -> None:
    """The clip is paid for."""
    keeper = Keeper()
    files = [{"file_url": f"https://{KEY}.example.com/a.mp4"}, {"file_url": VIDEO}]
    service, task_id = await sent(workspace, accepted(), status("finished", files=files), keeper=keeper)
    await step(workspace, service, task_id)
    await step(workspace, service, task_id)

    assert keeper.urls == [VIDEO]


async def test_a_key_is_not_attached_to_a_task_as_its_id(workspace: Workspace) -> None:
    """A person may paste the wrong thing."""
    service, task_id = await sent(workspace, reply({}, 500))

    with pytest.raises(InvalidRequest, match="not a task id"):
        resolve_task(service.deps, task_id, accepted_as=KEY)


async def test_an_id_with_the_key_in_an_older_ledger_is_not_put_into_an_address(workspace: Workspace) -> None:
    """No request is made with it."""
    service, task_id = await sent(workspace, accepted())
    service.deps.ledger().touch(task_id, now=workspace.clock.now(), changes={"gateway_task_id": KEY})

    task = await step(workspace, service, task_id)

    assert task.problem.code == "key_returned"
    assert len(workspace.gateway.requests) == 1


@pytest.mark.parametrize("place", ["id", "state", "link"])
async def test_a_sealed_key_that_comes_back_is_kept_nowhere(workspace: Workspace, place: str) -> None:
    """It is known only while it is open, which includes the moment of the answer."""
    workspace.write_policy('mode = "live"\n')
    recipe = create_recipe(CHEAP)
    sealed = seal_key(SecretKey("poyo", KEY, source="file"), PASSPHRASE, base_url="https://api.poyo.ai", recipe=recipe)
    write_sealed(sealed, keys_directory=workspace.home / "config" / "keys")
    service, keeper = workspace.service(), Keeper()
    object.__setattr__(service.deps, "clips", keeper)
    sheet_id = draft(service)
    await permit(service.deps, sheet_id, PASSPHRASE)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    claim_for_sending(service.deps, sheet_id)
    first = {"task_id": KEY if place == "id" else "job-1", "status": KEY if place == "state" else "not_started"}
    link = status("finished", task_id="job-1", files=[{"file_url": f"https://cdn.example.com/{KEY}.mp4"}])
    workspace.gateway.replies = [reply({"code": 200, "data": first}), link]

    await run_task(service.deps, task_id)
    if place == "link":
        await step(workspace, service, task_id)

    assert RETURNED in service.task(task_id).status_text
    assert keeper.urls == []
    assert KEY.encode() not in stored_bytes(workspace)
