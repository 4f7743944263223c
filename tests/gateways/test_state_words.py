"""How a status reply is read whatever words and names a gateway uses: states, links, ids, and complaints."""

from __future__ import annotations

import json

from callsheet.core.gateway.protocol import (
    Accepted,
    HttpReply,
    Phase,
    Postponed,
    Progress,
    Rejected,
    StatusUnavailable,
    Unclear,
)
from callsheet.core.gateway.refusals import Reason, read_reason
from callsheet.core.gateway.replies import read_task_id
from callsheet.core.gateway.task_status import MAX_VALUES, find_videos, read_phase
from callsheet.gateways import GATEWAYS, load_gateway
from cases import cases

every_gateway = cases("gateway_id", GATEWAYS)
VIDEO = "https://cdn.example.com/v/clip.mp4"
BARE = "https://cdn.example.com/v/8f2c"
PICTURE = "https://cdn.example.com/v/cover.jpg"


def answer(body: object, status: int = 200) -> HttpReply:
    """A JSON reply; bytes stand for themselves."""
    return HttpReply(status, (), body if isinstance(body, bytes) else json.dumps(body).encode())


def status_body(gateway_id: str, said: object, **task: object) -> dict[str, object]:
    """A status reply in the gateway's own envelope."""
    if gateway_id == "evolink":
        return {"id": "t1", "status": said, **task}
    state, name = ("state", "taskId") if gateway_id == "apixo" else ("status", "task_id")
    return {"code": 200, "data": {name: "t1", state: said, **task}}


def submit_body(gateway_id: str, task_id: object, **around: object) -> dict[str, object]:
    """An accepting reply in the gateway's own envelope, with what stands around it."""
    if gateway_id == "evolink":
        return {"id": task_id, "status": "pending", **around}
    return {"code": 200, "data": {"taskId" if gateway_id == "apixo" else "task_id": task_id}, **around}


UNNAMED_FAILURES: dict[str, object] = {
    "an error beside 200": {"status": "error", "message": "temporarily unavailable"},
    "a block by a proxy": {"data": {"status": "blocked", "state": "blocked", "reason": "too many requests"}},
    "a failure in the envelope": {"code": 200, "data": {"status": "failed", "state": "failed"}},
    "a failure in a list": {"code": 200, "data": [{"status": "error", "state": "error"}]},
    "an id that is none": {"code": 200, "id": "..", "data": {"status": "failed", "state": "fail", "task_id": "../x"}},
    "a number that is none": {"code": "500", "id": 0, "status": "failed", "state": "failed", "taskId": None},
}


@every_gateway
def test_a_failure_that_names_no_task_says_nothing_of_the_task(gateway_id: str) -> None:
    """A failure ends a task that is paid for, so an error about the reading alone must not."""
    read = load_gateway(gateway_id).read_status
    found = {name: read(answer(body)) for name, body in UNNAMED_FAILURES.items()}

    assert {name: type(reading) for name, reading in found.items()} == dict.fromkeys(found, StatusUnavailable)
    assert not any(isinstance(reading, StatusUnavailable) and reading.unknown_task for reading in found.values())


@every_gateway
def test_a_failure_may_name_its_task_in_another_place(gateway_id: str) -> None:
    """The usual names of an id count as well, and the id must still be the task's own."""
    body = {"code": 200, "data": {"status": "failed", "state": "failed", "jobId": "t1"}}
    found = load_gateway(gateway_id).read_status(answer(body))

    assert isinstance(found, Progress)
    assert (found.phase, found.named_id) == (Phase.FAILED, "t1")


def progress(gateway_id: str, said: object, **task: object) -> Progress:
    """What a gateway's module reads from such a status reply."""
    outcome = load_gateway(gateway_id).read_status(answer(status_body(gateway_id, said, **task)))
    assert isinstance(outcome, Progress)
    return outcome


@every_gateway
@cases(
    ("phase", "words"),
    [
        (Phase.QUEUED, "queued pending not_started waiting submitted IN_QUEUE Created"),
        (Phase.RUNNING, "running processing in_progress In-Progress generating PROCESSING rendering"),
        (Phase.SUCCEEDED, "succeeded completed success finished done Complete SUCCESSFUL TASK_STATUS_SUCCEED"),
        (Phase.FAILED, "failed error cancelled canceled rejected timeout aborted ERROR Failure moderation_failed"),
        (Phase.UNRECOGNISED, "paused archived re-rendering 7 not_completed"),
    ],
)
def test_every_gateway_knows_the_same_words(gateway_id: str, phase: Phase, words: str) -> None:
    """A word that one gateway documents means the same from another."""
    assert {progress(gateway_id, word).phase for word in words.split()} == {phase}


@cases("word", [" Finished ", "FINISHED", "finished.", "not started", "Not-Started", "in progress"])
def test_case_spaces_and_punctuation_of_a_word_do_not_count(word: str) -> None:
    """They differ between the versions of a server."""
    assert read_phase(word) is not Phase.UNRECOGNISED


LINKS = {
    "files with a MIME type": {"files": [{"file_url": VIDEO, "file_type": "video/mp4"}]},
    "files as texts": {"files": [VIDEO]},
    "files as objects with url": {"files": [{"url": VIDEO}]},
    "one file": {"file": {"url": VIDEO}},
    "a bare link that is called a video": {"files": [{"file_url": BARE, "file_type": "video"}], "expect": BARE},
    "video_url": {"video_url": VIDEO},
    "videoUrl without a suffix": {"videoUrl": BARE, "expect": BARE},
    "video object": {"video": {"url": BARE}, "expect": BARE},
    "videos": {"videos": [{"url": VIDEO, "cover_url": PICTURE}]},
    "output text": {"output": VIDEO},
    "output list": {"output": [VIDEO]},
    "output object": {"output": {"video_url": VIDEO}},
    "results as objects": {"results": [{"url": VIDEO}]},
    "result": {"result": {"data": {"url": BARE}}, "expect": BARE},
    "resultUrls": {"resultUrls": [VIDEO]},
    "JSON in a text": {"resultJson": json.dumps({"resultUrls": [VIDEO]})},
    "JSON list in a text": {"result": json.dumps([{"url": VIDEO}])},
    "download_url": {"download_url": BARE, "expect": BARE},
    "works beside a picture": {"works": [{"type": "image", "url": BARE + "i"}, {"type": "video", "url": VIDEO}]},
    "spaces around": {"url": f" {VIDEO}\n"},
}


@every_gateway
@cases("said", ["completed", "a-word-nobody-knows"])
@cases("shape", LINKS.values(), ids=LINKS)
def test_a_link_is_found_under_a_near_name(gateway_id: str, said: str, shape: dict[str, object]) -> None:
    """After a known end and after an unknown word."""
    task = {name: value for name, value in shape.items() if name != "expect"}
    assert progress(gateway_id, said, **task).video_urls == (shape.get("expect", VIDEO),)


@every_gateway
@cases(
    "task",
    [
        {"files": [{"file_url": VIDEO, "file_type": "image"}]},
        {"files": [{"file_url": PICTURE, "file_type": "video"}]},
        {"input": {"video_url": VIDEO}},
        {"request": {"output": [VIDEO]}},
        {"callback_url": VIDEO},
        {"prompt": VIDEO},
        {"cover_url": BARE, "thumbnail": BARE, "first_frame_url": VIDEO, "source_video_url": VIDEO},
        {"status_url": BARE, "docs": BARE, "note": BARE},
        {"video_url": None},
        {"video_url": "not yet"},
        {"output": "[" * 5000},
    ],
)
def test_what_is_no_result_is_not_taken_for_the_clip(gateway_id: str, task: dict[str, object]) -> None:
    """Pictures, what was sent, and the gateway's own addresses."""
    assert progress(gateway_id, "completed", **task).video_urls == ()


def test_the_documented_place_comes_first() -> None:
    """Other links count only where it has none."""
    assert progress("poyo", "finished", files=[{"file_url": BARE}], video_url=VIDEO).video_urls == (BARE,)


def test_the_search_is_bounded() -> None:
    """In the number of values and in depth."""
    assert find_videos({"files": [[] for _ in range(MAX_VALUES)], "z": {"y": {"video_url": VIDEO}}}, ()) == ()
    deep: object = {"video_url": VIDEO}
    for _ in range(20):
        deep = {"data": deep}
    assert find_videos(deep, ()) == ()


@every_gateway
def test_no_link_is_taken_while_the_task_is_known_to_go_on_or_has_failed(gateway_id: str) -> None:
    """A preview is not the clip."""
    assert [progress(gateway_id, word, video_url=VIDEO).video_urls for word in ("running", "queued", "failed")] == [
        ()
    ] * 3


@cases(
    ("gateway_id", "body"),
    [
        ("poyo", {"code": 200, "data": {"state": "completed"}}),
        ("poyo", {"code": 200, "data": [{"task_id": "t1", "status": "completed"}]}),
        ("apidot", {"task_id": "t1", "status": "completed"}),
        ("apixo", {"code": 200, "data": {"status": "completed"}}),
        ("evolink", {"code": 200, "data": {"id": "t1", "status": "completed"}}),
        ("evolink", {"id": "t1", "state": "completed"}),
    ],
)
def test_a_state_is_found_in_a_near_place(gateway_id: str, body: object) -> None:
    """Where the documented place has none."""
    outcome = load_gateway(gateway_id).read_status(answer(body))
    assert isinstance(outcome, Progress)
    assert outcome.phase is Phase.SUCCEEDED


@cases("gateway_id", ["poyo", "apidot", "apixo"])
def test_the_status_of_an_envelope_is_not_the_state_of_the_task(gateway_id: str) -> None:
    """`success` beside no task says only that the request was understood."""
    body = {"code": 200, "status": "success", "message": "ok"}
    assert isinstance(load_gateway(gateway_id).read_status(answer(body)), StatusUnavailable)


@every_gateway
def test_a_status_reply_says_which_task_it_is_about(gateway_id: str) -> None:
    """As text, also where the gateway writes a number."""
    assert progress(gateway_id, "running").named_id == "t1"


@cases(
    ("value", "expected"),
    [
        (7, "7"),
        (12345678901234567890, "12345678901234567890"),
        (10**20, None),
        (0, None),
        (-3, None),
        (True, None),
        (None, None),
        ("0042", "0042"),
        ("..", None),
        ([], None),
    ],
)
def test_a_whole_number_is_an_id_as_text(value: object, expected: str | None) -> None:
    """Up to 20 digits; 0 is what a gateway writes where it has none."""
    assert read_task_id(value) == expected


@every_gateway
def test_a_numeric_id_is_accepted(gateway_id: str) -> None:
    """Digit by digit."""
    number = 98765432109876543210
    assert load_gateway(gateway_id).read_submit(answer(submit_body(gateway_id, number))) == Accepted(
        str(number), "pending" if gateway_id == "evolink" else ""
    )


@every_gateway
@cases("status", [302, 303, 400, 401, 402, 403, 409, 422, 500, 503])
@cases("task_id", ["job-7", 7])
def test_an_unclear_reply_keeps_the_id_it_names(gateway_id: str, status: int, task_id: object) -> None:
    """It proves nothing, and may be all that is known of a paid job."""
    outcome = load_gateway(gateway_id).read_submit(answer(submit_body(gateway_id, task_id), status))
    assert isinstance(outcome, Unclear)
    assert outcome.named_id == str(task_id)


@every_gateway
@cases("code", [401, 500, 40001])
def test_a_code_in_the_body_that_contradicts_an_id_keeps_the_id(gateway_id: str, code: int) -> None:
    """HTTP 200 all the same."""
    body = {**submit_body(gateway_id, "job-7"), "code": code}
    outcome = load_gateway(gateway_id).read_submit(answer(body))
    assert isinstance(outcome, Unclear)
    assert outcome.named_id == "job-7"


@every_gateway
@cases(
    ("body", "status"),
    [
        ({"code": 200, "job_id": "job-7"}, 200),
        ({"task": {"task_id": "job-7"}}, 202),
        ({"error": {"message": "slow", "task_id": "job-7"}}, 400),
        ({"code": 429, "jobId": "job-7"}, 429),
    ],
)
def test_an_id_in_another_place_is_kept_and_makes_no_refusal(gateway_id: str, body: object, status: int) -> None:
    """Nor is it believed."""
    outcome = load_gateway(gateway_id).read_submit(answer(body, status))
    assert isinstance(outcome, Unclear)
    assert outcome.named_id == "job-7"


@every_gateway
@cases("error", ["weird", {"code": "weird"}, {"code": 999}, {"message": "?"}, {"type": "new_kind", "code": None}])
def test_success_with_an_id_and_an_unknown_error_is_unclear(gateway_id: str, error: object) -> None:
    """A contradiction is never an acceptance, and the id is kept."""
    outcome = load_gateway(gateway_id).read_submit(answer(submit_body(gateway_id, "job-7", error=error)))
    assert isinstance(outcome, Unclear)
    assert outcome.named_id == "job-7"


@every_gateway
@cases(
    ("status", "kind"),
    [(300, Unclear), (301, Unclear), (302, Unclear), (303, Unclear), (307, Rejected), (308, Rejected)],
)
def test_only_a_redirect_that_keeps_the_method_proves_that_nothing_was_done(
    gateway_id: str, status: int, kind: type
) -> None:
    """302 and 303 are also how a server answers a job that it has taken."""
    assert type(load_gateway(gateway_id).read_submit(answer(b"", status))) is kind


@every_gateway
@cases(
    ("body", "message"),
    [
        ({"code": 422, "msg": "prompt too long"}, "prompt too long"),
        ({"code": 422, "message": "prompt too long"}, "prompt too long"),
        ({"code": 422, "error": "prompt too long"}, "prompt too long"),
        ({"error": {"code": 422, "msg": "prompt too long"}}, "prompt too long"),
        ({"detail": "prompt too long"}, "prompt too long"),
        ({"detail": [{"type": "x", "msg": "prompt too long"}]}, "prompt too long"),
        ({"errors": [{"message": "prompt too long"}]}, "prompt too long"),
        ({"data": {"failMsg": "prompt too long"}}, "prompt too long"),
        (b"prompt too long", "prompt too long"),
        ({}, ""),
        (b"<html>no</html>", ""),
    ],
)
def test_the_words_of_a_refusal_are_kept_in_every_envelope(gateway_id: str, body: object, message: str) -> None:
    """With the HTTP status."""
    outcome = load_gateway(gateway_id).read_submit(answer(body, 422))
    assert isinstance(outcome, Rejected)
    assert (outcome.problem.status, outcome.problem.message) == (422, message)


@every_gateway
def test_a_refusal_in_the_body_counts_under_http_200(gateway_id: str) -> None:
    """`{"code": 422, "msg": …}` is one for every gateway, and 429 a rate limit."""
    module = load_gateway(gateway_id)
    refused = module.read_submit(answer({"code": 422, "msg": "prompt too long"}))
    assert isinstance(refused, Rejected)
    assert (refused.problem.code, refused.problem.message) == ("422", "prompt too long")
    assert isinstance(module.read_submit(answer({"code": 429, "msg": "slow down"})), Postponed)


@every_gateway
@cases(
    ("body", "page"),
    [
        (b"<!DOCTYPE html><html>403</html>", "an HTML page"),
        (b"\n <html>", "an HTML page"),
        (b"", "an empty reply"),
        (b"\x00\x01", "no text"),
        (b"{}", ""),
    ],
)
def test_a_reply_without_words_says_what_it_is(gateway_id: str, body: bytes, page: str) -> None:
    """So that a person sees that a server in front of the gateway has answered."""
    outcome = load_gateway(gateway_id).read_submit(answer(body, 403))
    assert isinstance(outcome, Rejected)
    assert (outcome.problem.page, outcome.problem.message) == (page, "")


@cases(
    ("status", "code", "words", "expected"),
    [
        (402, "", "", Reason.BALANCE),
        (200, "402", "", Reason.BALANCE),
        (400, "", "Insufficient credits", Reason.BALANCE),
        (403, "insufficient_user_quota", "", Reason.BALANCE),
        (400, "", "Your balance is too low", Reason.BALANCE),
        (200, "", "not enough credits to run this", Reason.BALANCE),
        (400, "", "Please top up your account", Reason.BALANCE),
        (401, "", "", Reason.KEY),
        (400, "authentication_error", "", Reason.KEY),
        (403, "", "", Reason.ACCESS),
        (413, "", "", Reason.SIZE),
        (429, "", "", Reason.RATE),
        (307, "", "", Reason.MOVED),
        (422, "", "The prompt has insufficient detail", Reason.SHOT),
        (400, "", "", Reason.SHOT),
        (400, "", "A balanced composition is out of frame", Reason.SHOT),
    ],
)
def test_what_a_refusal_is_about(status: int, code: str, words: str, expected: Reason) -> None:
    """Words about the balance count more than the number."""
    assert read_reason(status, code, words) is expected
