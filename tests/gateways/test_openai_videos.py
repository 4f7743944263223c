"""The wire of `/v1/videos`: replies that were recorded from servers mean what they meant there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from callsheet.core.gateway.endpoint import Endpoint
from callsheet.core.gateway.protocol import (
    Accepted,
    ContentReader,
    Gateway,
    HttpReply,
    ModelsReader,
    Phase,
    Postponed,
    Progress,
    RecentReader,
    Rejected,
    StatusUnavailable,
    SubmitParts,
    TaskRef,
    Unclear,
)
from callsheet.core.payload.form import freeze
from callsheet.gateways import build_endpoint
from callsheet.gateways.openai_videos import OpenAIVideos, read_dialect
from cases import cases

BOX = OpenAIVideos(Endpoint("gpu-box", "https://gpu-box.lan/v1", address="10.20.0.7"))
LINKS = OpenAIVideos(replace(BOX.endpoint, content="url", result_hosts=("cdn.example.com",)))
MODEL = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
LITELLM_ID = (
    "video_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDpzb3JhLTI7dmlkZW9faWQ6dmlkZW9fMDAwMDAwMDAwMDAw"
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMGQ="
)
VLLM_FAILED = {
    "model": MODEL,
    "prompt": "FAIL",
    "id": "video_gen_69e5346f00234807bb537b53eeec3f5e",
    "object": "video",
    "status": "failed",
    "error": {"code": 500, "message": "Diffusion engine failed: CUDA out of memory"},
}
SGLANG_DONE = {
    "id": "b78a5f87-aca3-4303-8ee1-f3c9f493dd2b",
    "object": "video",
    "model": MODEL,
    "status": "completed",
    "progress": 100,
    "url": None,
    "urls": [None],
    "error": None,
    "file_path": "/srv/outputs/b78a.mp4",
}
LITELLM_CREATED = {
    "id": LITELLM_ID,
    "object": "video",
    "status": "queued",
    "error": None,
    "progress": 0,
    "seconds": "4",
    "model": "sora-2",
}
LITELLM_500 = {
    "error": {
        "message": "litellm.InternalServerError: InternalServerError: Hosted_vllmException - "
        + json.dumps(VLLM_FAILED),
        "type": "internal_server_error",
        "param": None,
        "code": "500",
    }
}


def answer(body: object, status: int = 200, **headers: str) -> HttpReply:
    """A reply; bytes stand for themselves."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, tuple((name.replace("__", "-"), value) for name, value in headers.items()), content)


def test_an_endpoint_is_a_gateway_with_these_readers_and_no_balance() -> None:
    """One wire for all endpoints."""
    gateway: Gateway = build_endpoint(BOX.endpoint)
    assert isinstance(gateway, ContentReader)
    assert isinstance(gateway, RecentReader)
    assert isinstance(gateway, ModelsReader)


SUBMITS = {
    "LiteLLM": (answer(LITELLM_CREATED), Accepted(LITELLM_ID, "queued")),
    "aimock, finished at once": (answer({"id": "vid-2", "status": "completed"}), Accepted("vid-2", "completed")),
    "failed at once": (answer(VLLM_FAILED), Accepted(VLLM_FAILED["id"], "failed")),
    "FastAPI, 422": (answer({"detail": [{"type": "int_parsing", "msg": "a valid integer"}]}, 422), Rejected),
    "vLLM, 400": (
        answer({"error": {"message": "Model mismatch", "type": "BadRequestError", "code": 400}}, 400),
        Rejected,
    ),
    "vLLM, 401": (answer({"error": "Unauthorized"}, 401), Rejected),
    "no such route": (answer({"detail": "Not Found"}, 404), Rejected),
    "LiteLLM, busy": (
        answer({"error": {"message": "slow", "code": "429"}}, 429, llm_provider__retry__after="2"),
        Postponed,
    ),
    "LiteLLM, 500": (answer(LITELLM_500, 500), Unclear),
    "LiteLLM without a key": (answer(b"Internal Server Error", 500), Unclear),
    "a page": (answer(b"<html>gateway timeout</html>", 504), Unclear),
    "no id": (answer({"object": "video", "status": "queued"}), Unclear),
    "an id that is a path": (answer({"id": "../admin", "status": "queued"}), Unclear),
    "an id that is too long": (answer({"id": "v" * 513, "status": "queued"}), Unclear),
    "Unsloth, busy": (answer({"error": {"message": "Another job runs"}}, 409), Unclear),
}


@cases("name", SUBMITS)
def test_a_creation_is_accepted_only_with_an_id(name: str) -> None:
    """A cut or failed answer is never a refusal: the job may run."""
    reply, expected = SUBMITS[name]
    found = BOX.read_submit(reply)
    assert found == expected if isinstance(expected, Accepted) else isinstance(found, expected)


def test_the_wait_that_a_proxy_passes_on_is_followed() -> None:
    """LiteLLM gives the header of the server behind it another name."""
    found = BOX.read_submit(answer({"error": {"message": "slow"}}, 429, llm_provider__retry__after="2"))
    assert isinstance(found, Postponed)
    assert found.problem.retry_after_seconds == 2


COSTS = {
    "0.4": ("0.4", "USD"),
    "0.30000000000000004": ("0.3", "USD"),
    "0.123456789012345678901234567890123456789": ("0.123457", "USD"),
    "4.2e-05": ("0.000042", "USD"),
    "1e9": ("1000000000", "USD"),
    **dict.fromkeys(("0.0", "0", "", "NaN", "sNaN", "-1", "Infinity", "1e99", "free")),
}


@cases("cost", COSTS)
def test_only_a_cost_above_nothing_is_a_cost(cost: str) -> None:
    """0 means that LiteLLM has no price, or that the answer is about something else."""
    found = BOX.read_submit(answer(LITELLM_CREATED, x__litellm__response__cost=cost))
    assert isinstance(found, Accepted)
    assert (found.charge and (found.charge.amount, found.charge.unit)) == COSTS[cost]


STATES = {
    "queued": Phase.QUEUED,
    "pending": Phase.QUEUED,
    "submitted": Phase.QUEUED,
    "not_started": Phase.QUEUED,
    "NOT_START": Phase.QUEUED,
    "unknown": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "processing": Phase.RUNNING,
    "running": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "succeeded": Phase.SUCCEEDED,
    "success": Phase.SUCCEEDED,
    "done": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "error": Phase.FAILED,
    "cancelled": Phase.FAILED,
    "canceled": Phase.FAILED,
    "expired": Phase.FAILED,
    "deleted": Phase.FAILED,
    "FAILURE": Phase.FAILED,
    "paused": Phase.UNRECOGNISED,
}


@cases("said", STATES)
def test_every_documented_word_has_its_phase(said: str) -> None:
    """Any other is followed on."""
    found = BOX.read_status(answer({"id": "v1", "object": "video", "status": said}))
    assert isinstance(found, Progress)
    assert found.phase is STATES[said]


READS = {
    "a failed job with HTTP 500": (answer(VLLM_FAILED, 500), Phase.FAILED),
    "SGLang, finished": (answer(SGLANG_DONE), Phase.SUCCEEDED),
    "aimock, failed without a reason": (answer({"id": "vid-f", "status": "failed"}), Phase.FAILED),
    "a job with a code of its own": (answer({"id": "v", "status": "in_progress"}, 202), Phase.RUNNING),
    "LiteLLM's wrapped failure": (answer(LITELLM_500, 500), False),
    "an error that names no job": (answer({"status": "error", "message": "down"}), False),
    "an unknown word with HTTP 500": (answer({"id": "v", "status": "melted"}, 500), False),
    "a page": (answer(b"<html>502</html>", 502), False),
    "SGLang, forgotten": (answer({"detail": "Video not found"}, 404), True),
    "QVAC, expired": (answer({"error": {"message": "gone", "code": "video_expired"}}, 410), True),
    "a proxy's 404": (answer(b"<html>404</html>", 404), False),
}


@cases("name", READS)
def test_a_status_is_read_from_the_body_before_the_http_status(name: str) -> None:
    """A phase where the body is a job; else nothing is known of it, or that the server does not know it."""
    reply, expected = READS[name]
    found = BOX.read_status(reply)
    if isinstance(expected, Phase):
        assert isinstance(found, Progress)
        assert found.phase is expected
    else:
        assert isinstance(found, StatusUnavailable)
        assert found.unknown_task is expected


def test_an_id_that_litellm_rewrites_names_no_other_job() -> None:
    """Any other id in an answer must be the job's own."""
    found = [BOX.read_status(answer({"id": name, "status": "failed"})) for name in (LITELLM_ID, "video_gen_1")]
    assert [getattr(item, "named_id", None) for item in found] == ["", "video_gen_1"]


FOREIGN = {"url": "https://evil.example.com/x.mp4", "metadata": {"url": "https://cdn.example.com/x.mp4"}}


def test_links_count_only_where_they_were_declared_and_at_declared_hosts() -> None:
    """With the content at its own route, an answer names no place to fetch from, least of all a path on the server."""
    reply = answer({**SGLANG_DONE, **FOREIGN})
    found = [gateway.read_status(reply) for gateway in (BOX, LINKS)]
    assert [getattr(item, "video_urls", None) for item in found] == [(), ("https://cdn.example.com/x.mp4",)]


def test_paths_are_made_from_the_id_and_never_lead_elsewhere() -> None:
    """Without `variant`, which means something else at SGLang."""
    task = TaskRef("m", LITELLM_ID)
    assert BOX.build_content(task).path == f"/videos/{LITELLM_ID[:-1]}%3D/content"
    for wrong in ("..", "a/b", "a?b", "v" * 513):
        with pytest.raises(ValueError, match="not a task id"):
            BOX.build_content(TaskRef("m", wrong))


def test_the_creation_carries_the_frozen_bytes_under_their_own_type() -> None:
    """And nothing that a server might take for more."""
    for encoding, kind in (("multipart", "multipart/form-data; boundary=callsheet-"), ("json", "application/json")):
        body = freeze(encoding, {"model": "m", "prompt": "p"})  # type: ignore[arg-type]
        request = BOX.build_submit(SubmitParts("m", body, "key"))
        [(name, value)] = request.headers
        assert (request.method, request.path, request.body, name) == ("POST", "/videos", body, "Content-Type")
        assert value.startswith(kind)


LISTED = {"object": "list", "data": [{"id": "v1", "model": MODEL, "created_at": 1795878320, "prompt": "A kite."}, {}]}


def test_lists_of_jobs_and_models_are_read_where_they_are_lists() -> None:
    """LiteLLM answers 400, New API has no route: then nothing is known."""
    [job] = BOX.read_recent(answer(LISTED))
    assert (job.gateway_task_id, job.created_at, job.said) == ("v1", 1795878320.0, {"prompt": "A kite."})
    assert BOX.read_recent(answer({"error": "LLM Provider NOT provided"}, 400)) == ()
    assert BOX.read_models(answer({"data": [{"id": MODEL}]})) == (MODEL,)
    assert BOX.read_models(answer({"detail": "Not Found"}, 404)) is None


DIALECTS = {
    "sglang": answer({"detail": "Video not found"}, 404),
    "vllm-omni": answer({"error": {"message": "no such video", "type": "Not Found", "param": None, "code": 404}}, 404),
    "litellm": answer({"error": {"message": "no", "code": "500"}}, 500, x__litellm__call__id="1"),
    "openai": answer({"error": {"message": "no", "type": "invalid_request_error", "code": "not_found"}}, 404),
}


@cases("dialect", DIALECTS)
def test_a_made_up_job_tells_whose_dialect_it_is(dialect: str) -> None:
    """For a person who asks; nothing is decided by it."""
    assert read_dialect(DIALECTS[dialect]) == dialect
