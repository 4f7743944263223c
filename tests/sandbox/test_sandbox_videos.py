"""`/v1/videos` in five dialects: what each one says, and each fault that only an endpoint has."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import av
import pytest
from sandbox_client import LONG_AFTER, Reply, SandboxClient

from callsheet.sandbox.faults import ENDPOINT_FAULTS, UnknownTag, read_faults
from callsheet.sandbox.store import count_accepted, count_submits, read_requests

WAN = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
MODELS = {
    "openai": "sora-2",
    "sglang": WAN,
    "vllm-omni": WAN,
    "litellm": "sora-2",
    "sparse": "anything",
    "gpu-box": WAN,
}
"""A name that is no dialect's is an endpoint that is rehearsed."""
RECORDED = json.loads((Path(__file__).parents[1] / "gateways" / "recorded_videos.json").read_text())
DIALECTS = tuple(name for name in MODELS if name != "gpu-box")


def _multipart(fields: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A form. Bytes become a file."""
    body = b""
    for name, value in fields.items():
        file = isinstance(value, bytes)
        more = '; filename="a.png"\r\nContent-Type: image/png' if file else ""
        body += f'--line\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        body += (value if file else str(value).encode()) + b"\r\n"
    return body + b"--line--\r\n", {"Content-Type": "multipart/form-data; boundary=line"}


def _create(
    sandbox: SandboxClient, dialect: str, prompt: str = "A lighthouse", *, json_body: bool = False, **more: Any
) -> Reply:
    fields = {"prompt": prompt, "model": MODELS[dialect], "seconds": "4", "size": "1280x720"} | more
    fields = {name: value for name, value in fields.items() if value is not None}
    body, headers = (fields, {}) if json_body else _multipart(fields)
    return sandbox.send("POST", f"/endpoints/{dialect}/v1/videos", body, headers=headers)


def _ask(sandbox: SandboxClient, dialect: str, path: str, method: str = "GET", **more: Any) -> Reply:
    return sandbox.send(method, f"/endpoints/{dialect}/v1{path}", **more)


def _finished(sandbox: SandboxClient, dialect: str, prompt: str = "A lighthouse") -> str:
    reply = _create(sandbox, dialect, prompt)
    assert reply.status == 200, reply.body
    sandbox.clock.advance(LONG_AFTER)
    return f"/videos/{reply.json['id']}"


def _length_and_width(video: bytes) -> tuple[float, int]:
    with av.open(io.BytesIO(video)) as container:
        assert container.duration is not None
        return container.duration / 1_000_000, container.streams.video[0].width


@pytest.mark.parametrize("dialect", MODELS)
def test_a_job_is_queued_then_runs_then_its_clip_decodes(sandbox: SandboxClient, dialect: str) -> None:
    """Only `id` and `status` are there in every dialect."""
    path = f"/videos/{_create(sandbox, dialect).json['id']}"
    first = _ask(sandbox, dialect, path).json["status"]
    sandbox.clock.advance(40)
    second = _ask(sandbox, dialect, path).json["status"]
    sandbox.clock.advance(LONG_AFTER)
    last = _ask(sandbox, dialect, path).json
    sparse = dialect == "sparse"
    assert (first, second) == (("processing", "processing") if sparse else ("queued", "in_progress"))
    assert last["status"] == "completed"
    clip = sandbox.get(last["url"], key=None) if sparse else _ask(sandbox, dialect, f"{path}/content")
    assert (clip.status, clip.headers["content-type"], clip.body[4:8]) == (200, "video/mp4", b"ftyp")
    assert _length_and_width(clip.body) == (4.0, 1280)


@pytest.mark.parametrize(
    ("dialect", "id_form", "keys"),
    [
        ("openai", r"video_[0-9a-f]{32}", {"object", "progress", "prompt", "expires_at"}),
        ("sglang", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", {"urls", "quality"}),
        ("vllm-omni", r"video_gen_[0-9a-f]{32}", {"prompt", "num_frames", "stage_durations"}),
        ("litellm", r"video_[A-Za-z0-9+/]{130,}=*", {"usage", "remixed_from_video_id"}),
        ("sparse", r"vid-[0-9a-f]{32}", {"created_at"}),
    ],
)
def test_each_dialect_has_its_ids_and_keys(sandbox: SandboxClient, dialect: str, id_form: str, keys: set[str]) -> None:
    """As they were recorded."""
    video = _create(sandbox, dialect).json
    assert re.fullmatch(id_form, video["id"])
    assert keys <= video.keys()
    assert ("object" in video) is (dialect != "sparse")


@pytest.mark.parametrize(
    ("dialect", "json_body", "fields", "status", "told"),
    [
        ("openai", True, {}, 200, ""),
        ("sglang", True, {"seconds": 4}, 200, ""),
        ("litellm", True, {}, 200, ""),
        ("sparse", True, {}, 200, ""),
        ("vllm-omni", True, {}, 400, "Field required"),
        ("openai", False, {"model": "sora-9"}, 400, "sora-9"),
        ("vllm-omni", False, {"model": "sora-2"}, 400, "Model mismatch"),
        ("litellm", False, {"model": "nope"}, 400, "nope"),
        ("sglang", False, {"model": "sora-2"}, 200, "sora-2"),
        ("sparse", False, {"model": "sora-2"}, 200, ""),
        ("gpu-box", False, {"model": "my/own", "size": "832x480", "seconds": "5"}, 200, "my/own"),
        ("openai", False, {"prompt": None}, 400, "prompt"),
        ("openai", False, {"seconds": "5"}, 400, "'5'"),
        ("openai", False, {"size": "832x480"}, 400, "'832x480'"),
        ("sglang", False, {"seconds": "4.5"}, 422, "int_parsing"),
        ("vllm-omni", False, {"seconds": "4.5"}, 400, "'4.5'"),
        ("vllm-omni", False, {"size": "wide"}, 400, "'wide'"),
        ("sglang", True, {"input_reference": {"image_url": "https://example.com/a.png"}}, 400, "input_reference"),
        ("openai", True, {"input_reference": {"image_url": "https://example.com/a.png"}}, 200, ""),
        ("openai", False, {"prompt": "A cat [[sandbox:no-such]]"}, 400, "not a sandbox tag"),
        ("openai", False, {"size": "99999x2"}, 400, "size"),
        ("gpu-box", False, {"seconds": "61"}, 400, "seconds"),
    ],
)
def test_what_is_taken_and_what_is_refused(
    sandbox: SandboxClient, dialect: str, json_body: bool, fields: dict[str, Any], status: int, told: str
) -> None:
    """One row for each difference of the dialects, and nothing is accepted with a refusal."""
    accepted = count_accepted(sandbox.store)
    reply = _create(sandbox, dialect, json_body=json_body, **fields)
    assert (reply.status, count_accepted(sandbox.store) - accepted) == (status, int(status == 200))
    assert told in str(reply.json)


@pytest.mark.parametrize(
    ("dialect", "key", "status", "body"),
    [
        ("openai", None, 401, b"invalid_api_key"),
        ("openai", "invalid-key", 401, b"invalid_api_key"),
        ("sglang", None, 200, b"queued"),
        ("sglang", "invalid-key", 200, b"queued"),
        ("vllm-omni", None, 401, b'{"error": "Unauthorized"}'),
        ("litellm", None, 500, b"Internal Server Error"),
        ("litellm", "invalid-key", 400, b"no_db_connection"),
        ("sparse", None, 200, b"processing"),
    ],
)
def test_who_asks_for_a_key(sandbox: SandboxClient, dialect: str, key: str | None, status: int, body: bytes) -> None:
    """A 500 of text is all that LiteLLM has to say to a caller without a key."""
    form, headers = _multipart({"prompt": "A cat", "model": MODELS[dialect]})
    reply = sandbox.send("POST", f"/endpoints/{dialect}/v1/videos", form, key=key, headers=headers)
    assert reply.status == status
    assert body in reply.body


def test_litellm_tells_another_id_with_each_status_and_does_not_know_it(sandbox: SandboxClient) -> None:
    """Only the id of the creation leads to the job; its `=` may be left out."""
    created = _create(sandbox, "litellm").json["id"]
    told = _ask(sandbox, "litellm", f"/videos/{created}").json["id"]
    assert told != created
    assert _ask(sandbox, "litellm", f"/videos/{told}").status == 500
    assert _ask(sandbox, "litellm", f"/videos/{created.rstrip('=')}").status == 200
    assert _ask(sandbox, "litellm", f"/videos/{created.replace('=', '%3D')}").status == 200
    assert _ask(sandbox, "litellm", "/videos/video_nope").status == 500


@pytest.mark.parametrize(("model", "cost"), [("sora-2", "0.4"), ("priced-wan", "0.08"), ("my-wan", None)])
def test_litellm_tells_the_cost_of_a_creation_only(sandbox: SandboxClient, model: str, cost: str | None) -> None:
    """No header where it has no price; zero on every error."""
    created = _create(sandbox, "litellm", model=model)
    assert created.headers.get("x-litellm-response-cost") == cost
    assert "x-litellm-response-cost" not in _ask(sandbox, "litellm", f"/videos/{created.json['id']}").headers


@pytest.mark.parametrize(
    ("dialect", "tag", "status", "failure"),
    [
        (
            "openai",
            "content-violation",
            200,
            {"code": "moderation_blocked", "message": "Blocked by our moderation system."},
        ),
        (
            "openai",
            "failed-as-500",
            500,
            {"code": "moderation_blocked", "message": "Blocked by our moderation system."},
        ),
        ("sglang", "content-violation", 200, {"message": "CUDA out of memory."}),
        (
            "vllm-omni",
            "content-violation",
            500,
            {"code": 500, "message": "Diffusion engine failed: CUDA out of memory"},
        ),
        (
            "litellm",
            "content-violation",
            200,
            {"code": "moderation_blocked", "message": "Blocked by our moderation system."},
        ),
        ("sparse", "content-violation", 200, None),
        ("sparse", "failed-as-500", 500, None),
    ],
)
def test_a_failed_job(sandbox: SandboxClient, dialect: str, tag: str, status: int, failure: object) -> None:
    """The HTTP status of the answer does not say whether the job failed."""
    path = _finished(sandbox, dialect, f"A cat [[sandbox:{tag}]]")
    reply = _ask(sandbox, dialect, path)
    assert (reply.status, reply.json["status"], reply.json.get("error")) == (status, "failed", failure)


def test_a_failed_job_behind_litellm_is_text_in_an_error(sandbox: SandboxClient) -> None:
    """There is no video object left to read."""
    reply = _ask(sandbox, "litellm", _finished(sandbox, "litellm", "A cat [[sandbox:failed-as-500]]"))
    assert (reply.status, reply.json.keys()) == (500, {"error"})
    assert '"status": "failed"' in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("dialect", "early", "failed"),
    [("openai", 404, 404), ("sglang", 404, 404), ("vllm-omni", 404, 422), ("litellm", 404, 404), ("sparse", 404, 404)],
)
def test_content_before_the_end_and_after_a_failure(
    sandbox: SandboxClient, dialect: str, early: int, failed: int
) -> None:
    """Neither says anything about the job."""
    running = _create(sandbox, dialect).json["id"]
    assert _ask(sandbox, dialect, f"/videos/{running}/content").status == early
    path = _finished(sandbox, dialect, "A cat [[sandbox:content-violation]]")
    assert _ask(sandbox, dialect, f"{path}/content").status == failed


@pytest.mark.parametrize(
    ("dialect", "ranged", "head"),
    [("openai", 206, 200), ("sglang", 206, 405), ("vllm-omni", 206, 405), ("litellm", 200, 405)],
)
def test_ranges_and_head_of_content(sandbox: SandboxClient, dialect: str, ranged: int, head: int) -> None:
    """LiteLLM sends all of it; HEAD is refused by those that were asked."""
    path = f"{_finished(sandbox, dialect)}/content"
    reply = _ask(sandbox, dialect, path, headers={"Range": "bytes=4-7"})
    assert (reply.status, reply.body == b"ftyp") == (ranged, ranged == 206)
    assert _ask(sandbox, dialect, path, "HEAD").status == head
    whole = _ask(
        sandbox,
        dialect,
        f"{_finished(sandbox, dialect, 'A [[sandbox:no-range]]')}/content",
        headers={"Range": "bytes=4-7"},
    )
    assert (whole.status, "accept-ranges" in whole.headers) == (200, False)


def test_sglang_takes_variant_for_an_index(sandbox: SandboxClient) -> None:
    """What names the video elsewhere names nothing there."""
    assert _ask(sandbox, "sglang", f"{_finished(sandbox, 'sglang')}/content?variant=video").status == 404
    assert _ask(sandbox, "openai", f"{_finished(sandbox, 'openai')}/content?variant=video").status == 200


@pytest.mark.parametrize(
    ("dialect", "status", "told", "after"),
    [
        ("openai", 200, "video.deleted", 404),
        ("sglang", 200, "'status': 'deleted'", 404),
        ("vllm-omni", 200, "video.deleted", 404),
        ("litellm", 405, "Method Not Allowed", 200),
        ("sparse", 404, "not_found", 200),
    ],
)
def test_deletion(sandbox: SandboxClient, dialect: str, status: int, told: str, after: int) -> None:
    """Two dialects have none."""
    path = f"/videos/{_create(sandbox, dialect).json['id']}"
    reply = _ask(sandbox, dialect, path, "DELETE")
    assert reply.status == status
    assert told in str(reply.json)
    assert _ask(sandbox, dialect, path).status == after


@pytest.mark.parametrize(
    ("dialect", "status"), [("openai", 200), ("sglang", 200), ("vllm-omni", 200), ("litellm", 400), ("sparse", 404)]
)
def test_the_list_of_jobs(sandbox: SandboxClient, dialect: str, status: int) -> None:
    """Newest first, no more than asked."""
    ids = []
    for _ in range(3):
        sandbox.clock.advance(1)
        ids.append(_create(sandbox, dialect).json["id"])
    reply = _ask(sandbox, dialect, "/videos?limit=2")
    assert reply.status == status
    if status == 200:
        assert [video["id"] for video in reply.json["data"]] == [ids[2], ids[1]]


@pytest.mark.parametrize(
    ("dialect", "status", "listed"),
    [
        ("openai", 200, True),
        ("sglang", 200, True),
        ("vllm-omni", 200, True),
        ("litellm", 200, True),
        ("sparse", 200, False),
        ("gpu-box", 404, False),
    ],
)
def test_the_list_of_models(sandbox: SandboxClient, dialect: str, status: int, listed: bool) -> None:
    """aimock names models that make no video; an endpoint that is rehearsed has no list."""
    reply = _ask(sandbox, dialect, "/models")
    assert reply.status == status
    assert (MODELS[dialect] in str(reply.json)) is listed


@pytest.mark.parametrize("status", [400, 403, 404, 409, 425, 502])
def test_late_content_is_refused_twice(sandbox: SandboxClient, status: int) -> None:
    """The status route says `completed` all the time."""
    path = _finished(sandbox, "vllm-omni", f"A cat [[sandbox:late-content={status}]]")
    assert _ask(sandbox, "vllm-omni", path).json["status"] == "completed"
    assert [_ask(sandbox, "vllm-omni", f"{path}/content").status for _ in range(3)] == [status, status, 200]


def test_content_redirect_leads_to_another_origin(sandbox: SandboxClient) -> None:
    """The place is good, but it is not the endpoint's."""
    reply = _ask(sandbox, "openai", f"{_finished(sandbox, 'openai', 'A [[sandbox:content-redirect]]')}/content")
    place = reply.headers["location"]
    assert (reply.status, place.startswith(f"http://localhost:{sandbox.port}/files/endpoint-openai/")) == (302, True)
    assert sandbox.get(place.replace("localhost", "127.0.0.1"), key=None).body[4:8] == b"ftyp"


def test_forgotten_jobs_are_gone_from_status_and_list(sandbox: SandboxClient) -> None:
    """A server that keeps its jobs in memory was restarted."""
    job = _create(sandbox, "sglang", "A cat [[sandbox:forgotten=2]]").json["id"]
    sandbox.clock.advance(3600)
    assert _ask(sandbox, "sglang", f"/videos/{job}").json["status"] in ("queued", "in_progress")
    assert [_ask(sandbox, "sglang", f"/videos/{job}").status for _ in range(3)] == [200, 404, 404]
    assert job not in str(_ask(sandbox, "sglang", "/videos?limit=100").json)


@pytest.mark.parametrize(("tag", "jobs"), [("repeated", 3), ("repeated=2", 2)])
def test_a_repeated_creation_makes_several_jobs_of_one_request(sandbox: SandboxClient, tag: str, jobs: int) -> None:
    """One answer, and all of them in the list and in the count of what would have been paid for."""
    accepted, submits = count_accepted(sandbox.store), count_submits(sandbox.store)
    sandbox.clock.advance(1)
    _create(sandbox, "openai", f"A cat [[sandbox:{tag}]]")
    assert count_accepted(sandbox.store) - accepted == jobs
    assert count_submits(sandbox.store) - submits == 1
    listed = _ask(sandbox, "openai", f"/videos?limit={jobs}").json["data"]
    assert {video["prompt"] for video in listed} == {f"A cat [[sandbox:{tag}]]"}
    assert len({video["id"] for video in listed}) == jobs


def test_repeated_after_a_lost_answer(sandbox: SandboxClient) -> None:
    """What is left of a proxy that tried again: a broken connection and several jobs."""
    accepted = count_accepted(sandbox.store)
    with pytest.raises(ConnectionError):
        _create(sandbox, "openai", "A cat [[sandbox:repeated]] [[sandbox:drop-after]]")
    assert count_accepted(sandbox.store) - accepted == 3


def test_an_answer_may_be_lost_once(sandbox: SandboxClient) -> None:
    """Whoever sends again pays twice."""
    accepted = count_accepted(sandbox.store)
    with pytest.raises(ConnectionError):
        _create(sandbox, "openai", "A hen [[sandbox:drop-after=1]]")
    assert _create(sandbox, "openai", "A hen [[sandbox:drop-after=1]]").status == 200
    assert count_accepted(sandbox.store) - accepted == 2


def test_an_echoed_model_and_clamped_seconds(sandbox: SandboxClient) -> None:
    """The answer is 200 both times, and says what was not asked."""
    echoed = _create(sandbox, "vllm-omni", "A cat [[sandbox:echoed-model]]", model="sora-2")
    assert (echoed.status, echoed.json["model"]) == (200, "sora-2")
    clamped = _create(sandbox, "openai", "A cat [[sandbox:clamped-seconds=1]]")
    assert (clamped.status, clamped.json["seconds"]) == (200, "1")
    sandbox.clock.advance(LONG_AFTER)
    clip = _ask(sandbox, "openai", f"/videos/{clamped.json['id']}/content").body
    assert _length_and_width(clip)[0] == 1.0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("tag", "status"), [("server-error", 500), ("unavailable", 503), ("rate-limited", 429), ("refused", 400)]
)
def test_the_gateways_faults_hold_too(sandbox: SandboxClient, dialect: str, tag: str, status: int) -> None:
    """In the dialect's own error body, and nothing is accepted."""
    accepted = count_accepted(sandbox.store)
    reply = _create(
        sandbox, dialect, f"A cat [[sandbox:{tag}=3]]" if tag == "rate-limited" else f"A cat [[sandbox:{tag}]]"
    )
    assert (reply.status, count_accepted(sandbox.store)) == (status, accepted)
    assert reply.json.keys() == ({"detail"} if dialect == "sglang" and status != 503 else {"error"})


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("json_body", [True, False])
def test_the_names_of_all_fields_are_logged(sandbox: SandboxClient, dialect: str, json_body: bool) -> None:
    """Those of a server's own paths too, so that a test can say that they never arrive; their values are not."""
    if dialect == "vllm-omni" and json_body:
        return
    paths = {"output_path": "/etc/planted", "lora": "planted", "seed": 7}
    _create(sandbox, dialect, json_body=json_body, **paths)
    last = read_requests(sandbox.store)[-1]
    assert last.fields.split(",") == ["lora", "model", "output_path", "prompt", "seconds", "seed", "size"]
    assert b"planted" not in (sandbox.store / "requests.jsonl").read_bytes()


def test_a_file_of_any_bytes_is_read_and_named(sandbox: SandboxClient) -> None:
    """Line ends and dashes in the picture end no part."""
    picture = b"\x89PNG\r\n\x1a\n\r\r\n--lin\r\n\x00\xff" + bytes(range(256)) * 20_000
    assert _create(sandbox, "openai", input_reference=picture).status == 200
    assert read_requests(sandbox.store)[-1].fields == "input_reference,model,prompt,seconds,size"


@pytest.mark.parametrize("name", ["Sora", "a" * 33, "a_b", "..", "%2e%2e", "poyo%2F"])
def test_what_is_no_name_of_an_endpoint_is_not_served(sandbox: SandboxClient, name: str) -> None:
    """A name is lower case, digits and dashes, at most 32."""
    assert sandbox.get(f"/endpoints/{name}/v1/models").status == 404


def test_a_gateway_does_not_take_the_tags_of_an_endpoint(sandbox: SandboxClient) -> None:
    """A fault that it cannot have would be a test that tests nothing."""
    for fault in ENDPOINT_FAULTS:
        with pytest.raises(UnknownTag):
            read_faults(f"[[sandbox:{fault.name}]]")
        assert fault.name in read_faults(f"[[sandbox:{fault.name}]]", endpoint=True)
    assert sandbox.submit("poyo", "A cat [[sandbox:late-content]]").status == 400


@pytest.mark.parametrize("creation", RECORDED["creations"], ids=lambda creation: creation["content_type"][-8:])
def test_a_recorded_creation_is_answered_as_it_was(sandbox: SandboxClient, creation: dict[str, Any]) -> None:
    """The bytes of the `openai` package and of LiteLLM, with and without a picture: the same keys and states."""
    body, headers = creation["body"].encode("latin-1"), {"Content-Type": creation["content_type"]}
    reply = sandbox.send("POST", "/endpoints/openai/v1/videos", body, headers=headers)
    recorded = creation["reply"]
    own = {"id": reply.json["id"], "created_at": reply.json["created_at"]}
    assert (reply.status, reply.json) == (creation["status"], recorded | own)
    assert list(reply.json) == list(recorded)


@pytest.mark.parametrize(
    ("dialect", "server", "what"),
    [
        ("litellm", "LiteLLM 1.106.12", "a job from creation to the end"),
        ("vllm-omni", "vLLM-Omni 0.30.0", "a running job"),
        ("sglang", "SGLang 0.5.23", "a finished job, with its paths replaced"),
    ],
)
def test_a_dialects_objects_have_the_recorded_keys(
    sandbox: SandboxClient, dialect: str, server: str, what: str
) -> None:
    """In the answer to a creation and to a status read, as far as each was recorded."""
    jobs = (job for job in RECORDED["jobs"] if (job["server"], job["what"]) == (server, what))
    for recorded in next(jobs)["replies"]:
        body = json.loads(recorded["body"])
        video = _create(sandbox, dialect).json
        if recorded["kind"] == "status":
            sandbox.clock.advance({"in_progress": 40, "completed": LONG_AFTER}[body["status"]])
            video = _ask(sandbox, dialect, f"/videos/{video['id']}").json
        assert (video["status"], set(video)) == (body["status"], set(body))
