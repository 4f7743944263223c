"""One contract, four gateways: what a task looks like from submission to the saved video."""

from __future__ import annotations

import io
import re

import av
import pytest
from sandbox_client import GATEWAYS, LONG_AFTER, SUBMIT_PATHS, SandboxClient, read_state, read_task_id, read_video_url

from callsheet.sandbox.fakes import FAKES
from callsheet.sandbox.fakes.tasks import snapshot_at
from callsheet.sandbox.store import Store

WORDS = {
    "poyo": ("not_started", "running", "finished"),
    "apidot": ("not_started", "running", "finished"),
    "apixo": ("pending", "processing", "success"),
    "evolink": ("pending", "processing", "completed"),
}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_task_is_queued_then_runs_then_its_video_downloads_and_decodes(sandbox: SandboxClient, gateway: str) -> None:
    """Submit -> queued -> running -> finished -> an MP4 of the asked size and exact length."""
    task_id = sandbox.accepted(gateway, "A lighthouse in a storm")
    seen = [read_state(gateway, sandbox.status(gateway, task_id).json)]
    sandbox.clock.advance(60)
    seen.append(read_state(gateway, sandbox.status(gateway, task_id).json))
    sandbox.clock.advance(LONG_AFTER)
    answer = sandbox.status(gateway, task_id).json
    assert (*seen, read_state(gateway, answer)) == WORDS[gateway]
    video = sandbox.get(read_video_url(gateway, answer), key=None)
    assert video.status == 200
    assert video.headers["content-type"] == "video/mp4"
    assert int(video.headers["content-length"]) == len(video.body) < 1_000_000
    with av.open(io.BytesIO(video.body)) as container:
        assert container.duration == 4_000_000
        frames = list(container.decode(video=0))
    assert len(frames) == 48
    assert (frames[0].width, frames[0].height) == (1280, 720)


def test_poyo_speaks_its_own_envelope(sandbox: SandboxClient) -> None:
    """`{code, data}`, ISO time without a zone, progress, credits once finished."""
    reply = sandbox.submit("poyo", "A lighthouse in a storm").json
    assert set(reply) == {"code", "data"}
    assert re.fullmatch(r"task-unified-\d{10}-[a-z0-9]{8}", reply["data"]["task_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", reply["data"]["created_time"])
    early = sandbox.status("poyo", reply["data"]["task_id"]).json["data"]
    assert (early["files"], early["progress"], early["error_message"]) == ([], 0, None)
    sandbox.clock.advance(LONG_AFTER)
    late = sandbox.status("poyo", reply["data"]["task_id"]).json["data"]
    assert (late["progress"], late["credits_amount"], late["files"][0]["file_type"]) == (100, 48, "video")


def test_apidot_puts_files_under_output_and_older_answers_do_not(sandbox: SandboxClient) -> None:
    """Its README shows `data.output.files`, its site reads `data.files`: both can be met."""
    task_id = sandbox.accepted("apidot", "A lighthouse in a storm")
    sandbox.clock.advance(LONG_AFTER)
    assert "files" not in sandbox.status("apidot", task_id).json["data"]
    older = sandbox.status("apidot", task_id, headers={"X-Sandbox-Generation": "old"}).json["data"]
    assert older["files"][0]["file_url"].endswith(".mp4")
    assert "output" not in older


def test_apixo_counts_milliseconds_and_has_no_progress(sandbox: SandboxClient) -> None:
    """`createTime`, `completeTime` and `costTime` are milliseconds; the result is JSON in a string."""
    task_id = sandbox.accepted("apixo", "A lighthouse in a storm")
    assert re.fullmatch(r"task_[a-z0-9]{12}", task_id)
    started = int(sandbox.clock.now * 1000)
    sandbox.clock.advance(LONG_AFTER)
    data = sandbox.status("apixo", task_id).json["data"]
    assert data["createTime"] == started
    assert data["costTime"] == data["completeTime"] - data["createTime"]
    assert 120_000 <= data["costTime"] <= 240_000
    assert "progress" not in data
    assert isinstance(data["resultJson"], str)


def test_apixo_asks_after_a_task_under_its_own_model_alone(sandbox: SandboxClient) -> None:
    """The model is part of the status path: another one does not find the task."""
    task_id = sandbox.accepted("apixo", "A paper boat")
    assert sandbox.get(f"/apixo/api/v1/statusTask/sora-2-pro?taskId={task_id}").status == 404
    assert sandbox.get("/apixo/api/v1/statusTask/sora-2").status == 400


def test_evolink_answers_flat_and_counts_seconds(sandbox: SandboxClient) -> None:
    """Flat body, `created` in seconds, an estimate, the credits that are reserved."""
    reply = sandbox.submit("evolink", "A cat playing piano").json
    assert reply["created"] == int(sandbox.clock.now)
    assert (reply["object"], reply["type"], reply["status"]) == ("video.generation.task", "video", "pending")
    assert reply["task_info"] == {"can_cancel": True, "estimated_time": 300, "video_duration": 4}
    assert reply["usage"]["credits_reserved"] > 20


def test_evolink_replays_an_idempotency_key_and_refuses_another_body_under_it(sandbox: SandboxClient) -> None:
    """The same key and bytes give the first task again; other bytes are a conflict; nothing is bought twice."""
    header = {"Idempotency-Key": "run_0123456789abcdef"}
    first = sandbox.submit("evolink", "A swing", headers=header)
    again = sandbox.submit("evolink", "A swing", headers=header)
    assert again.json["id"] == first.json["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = sandbox.submit("evolink", "A slide", headers=header)
    assert (other.status, other.json["error"]["code"]) == (409, "idempotency_conflict")


def test_poyo_does_not_promise_to_replay_an_idempotency_key(sandbox: SandboxClient) -> None:
    """What PoYo's server does with the header is not documented, so the sandbox does the expensive one."""
    header = {"Idempotency-Key": "run_0123456789abcdef"}
    first = sandbox.accepted("poyo", "A swing", headers=header)
    assert sandbox.accepted("poyo", "A swing", headers=header) != first


def test_balance_pages_answer_in_each_gateways_own_shape(sandbox: SandboxClient) -> None:
    """PoYo credits, APIXO dollars, EvoLink credits; APIDot documents no such page."""
    assert sandbox.get("/poyo/api/user/balance").json["data"]["credits_amount"] == 10000
    assert sandbox.get("/apixo/api/v1/apikeys/current-balance").json["data"] == 100.0
    assert sandbox.get("/evolink/v1/credits").json["data"]["user"]["remaining_credits"] == 10000.0
    assert sandbox.get("/apidot/api/user/balance").status == 404
    assert sandbox.get("/poyo/api/user/balance", key=None).status == 401


def test_catalogue_pages_list_what_the_gateway_still_listed(sandbox: SandboxClient) -> None:
    """PoYo's catalogue needs no key and does not know a model that it dropped."""
    assert (
        sandbox.get("/poyo/v1/catalog/models/sora-2-official", key=None).json["data"]["model_id"] == "sora-2-official"
    )
    assert sandbox.get("/poyo/v1/catalog/models/no-such-model", key=None).status == 404
    listed, cursor = [], ""
    while cursor is not None:
        page = sandbox.get(f"/poyo/v1/catalog/models?limit=100&cursor={cursor}", key=None).json["data"]
        listed += [item["model_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert "sora-2-official" in listed
    models = {item["model_id"]: item for item in sandbox.get("/evolink/v1/catalog/models").json["models"]}
    assert models["sora-2-preview"]["lifecycle"] == "preview"
    assert sandbox.get("/evolink/v1/catalog/pricing?model_id=no-such").json["prices"] == []


def test_evolink_lists_its_tasks_newest_first_in_pages(sandbox: SandboxClient) -> None:
    """`/v1/tasks` filters by status and pages; it gives no links."""
    sandbox.accepted("evolink", "One")
    sandbox.clock.advance(1)
    newest = sandbox.accepted("evolink", "Two")
    listing = sandbox.get("/evolink/v1/tasks?page=1&page_size=1&status=pending").json
    assert [row["id"] for row in listing["data"]] == [newest]
    assert listing["total"] >= 2
    assert "http" not in str(listing)


def test_a_portrait_pro_video_has_the_asked_size_and_length(sandbox: SandboxClient) -> None:
    """Resolution, ratio and duration of the request are those of the video."""
    body = {
        "model": "sora-2-pro-official",
        "input": {"prompt": "Tall", "duration": 8, "aspect_ratio": "9:16", "resolution": "720p"},
    }
    task_id = read_task_id("poyo", sandbox.send("POST", SUBMIT_PATHS["poyo"], body).json)
    sandbox.clock.advance(LONG_AFTER)
    data = sandbox.status("poyo", task_id).json
    video = sandbox.get(read_video_url("poyo", data), key=None)
    with av.open(io.BytesIO(video.body)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, container.duration) == (720, 1280, 8_000_000)
    assert data["data"]["credits_amount"] == 384


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unknown_task_is_a_404_in_the_gateways_own_body(sandbox: SandboxClient, gateway: str) -> None:
    """No task, no state; EvoLink tells an id of the wrong form from an unknown one."""
    reply = sandbox.status(gateway, "task-unified-1800000000-00000000")
    assert reply.status == 404
    assert reply.json.keys() & {"error", "code", "message"}
    if gateway == "evolink":
        assert sandbox.status(gateway, "something-else").json["error"]["code"] == "invalid_task_id"


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_generation_takes_as_long_as_the_gateway_says(sandbox: SandboxClient, gateway: str) -> None:
    """The time is within the documented range and fixed by the task id."""
    low, high = FAKES[gateway].PROFILE.usual_seconds(4)
    store = Store(sandbox.store)
    for number in range(5):
        task = store.load_task(gateway, sandbox.accepted(gateway, f"Take {number}"))
        assert task is not None
        assert low <= task.lasting <= high
        assert snapshot_at(task, task.created + task.lasting * 0.99).ended is None
        assert snapshot_at(task, task.created + task.lasting).ended == task.created + task.lasting


def test_every_answer_can_be_repeated_for_equal_prompts_with_one_film(sandbox: SandboxClient) -> None:
    """Equal requests are two tasks under two links that share one video."""
    first, second = (sandbox.finished_url("poyo", "A lighthouse in a storm") for _ in range(2))
    assert first != second
    one, two = sandbox.get(first, key=None), sandbox.get(second, key=None)
    assert one.body == two.body
    assert one.headers["etag"] == two.headers["etag"]
