"""Each fault: what it does, how often, and what the request log says of it."""

from __future__ import annotations

import io
import json
import re
import socket
from contextlib import suppress

import av
import pytest
from sandbox_client import GATEWAYS, KEY, LONG_AFTER, SUBMIT_PATHS, SandboxClient, body_for, read_state, read_task_id

from callsheet.sandbox.faults import FAULTS, UnknownTag, read_faults, strip_tags
from callsheet.sandbox.store import count_accepted, count_submits, read_requests
from callsheet.sandbox.submit_route import FAULT_REPLIES


def _raw(sandbox: SandboxClient, gateway: str, prompt: str, *, timeout: float = 20) -> bytes:
    """Every byte that comes back on a bare socket until the other side closes."""
    body = json.dumps(body_for(gateway, prompt)).encode()
    head = (
        f"POST {SUBMIT_PATHS[gateway]} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=timeout) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def _count_frames(video: bytes) -> int:
    frames = 0
    with av.open(io.BytesIO(video)) as container, suppress(av.error.InvalidDataError):
        for _ in container.decode(video=0):
            frames += 1
    return frames


def test_every_fault_has_a_name_a_sentence_and_a_handler() -> None:
    """The table is whole: names are unique, meanings are sentences, submit faults are obeyed."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert re.fullmatch(r"[a-z0-9-]+", fault.name)
        assert fault.meaning.endswith(".")
        assert fault.default == 0 or fault.value
        if fault.when == "submit" and fault.name != "drop-after":
            assert fault.name in FAULT_REPLIES


def test_tags_are_read_with_their_values_and_left_out_of_the_film() -> None:
    """Several tags, any place, spaces allowed."""
    prompt = "A [[sandbox:slow=8]] cat [[ sandbox : drop-after ]] naps"
    assert read_faults(prompt) == {"slow": 8, "drop-after": 0}
    assert strip_tags(prompt) == "A cat naps"
    assert read_faults("no [[other:tag]] here") == {}


@pytest.mark.parametrize(
    "tag",
    ["[[sandbox:no-such]]", "[[sandbox]]", "[[sandbox:stuck=3]]", "[[sandbox:slow=0]]", "[[sandbox:expired-link=200]]"],
)
def test_a_misspelt_tag_is_refused_instead_of_being_filmed(sandbox: SandboxClient, tag: str) -> None:
    """A typo would otherwise be a test that tests nothing."""
    with pytest.raises(UnknownTag):
        read_faults(tag)
    assert sandbox.submit("poyo", f"A cat {tag}").status == 400


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("tag", "status"), [("refused", 400), ("insufficient-credits", 402), ("server-error", 500), ("unavailable", 503)]
)
def test_a_refusal_accepts_nothing(sandbox: SandboxClient, gateway: str, tag: str, status: int) -> None:
    """The gateway's own status and body; the log counts a submission and no acceptance."""
    accepted, submits = count_accepted(sandbox.store), count_submits(sandbox.store)
    reply = sandbox.submit(gateway, f"A cat [[sandbox:{tag}]]")
    assert reply.status == (403 if (gateway, tag) == ("apixo", "refused") else status)
    assert "error" in reply.json or "error" in reply.json["data"]
    assert (count_accepted(sandbox.store), count_submits(sandbox.store)) == (accepted, submits + 1)
    assert read_requests(sandbox.store)[-1].fault == tag


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_rate_limited_twice_then_accepted_then_limited_afresh(sandbox: SandboxClient, gateway: str) -> None:
    """Attempts are counted per prompt, and again from zero after an acceptance."""
    prompt = "A dog [[sandbox:rate-limited=2]]"
    replies = [sandbox.submit(gateway, prompt) for _ in range(4)]
    assert [reply.status for reply in replies] == [429, 429, 200, 429]
    assert replies[0].headers["retry-after"] == "2"
    assert "retry-after" not in sandbox.submit(gateway, "A dog [[sandbox:rate-limited-bare]]").headers
    assert sandbox.submit(gateway, "A dog [[sandbox:rate-limited-bare]]").status == 200


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_drop_before_closes_the_connection_without_a_byte_and_accepts_nothing(
    sandbox: SandboxClient, gateway: str
) -> None:
    """A real TCP close: not one byte of an answer."""
    accepted = count_accepted(sandbox.store)
    assert _raw(sandbox, gateway, "A fox [[sandbox:drop-before=1]]") == b""
    assert count_accepted(sandbox.store) == accepted
    last = read_requests(sandbox.store)[-1]
    assert (last.fault, last.status, last.task_id, last.submit) == ("drop-before", 0, "", True)
    assert sandbox.submit(gateway, "A fox [[sandbox:drop-before=1]]").status == 200


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_drop_after_accepts_the_job_and_closes_without_a_byte(sandbox: SandboxClient, gateway: str) -> None:
    """The job runs although the caller never got its id: the log has it."""
    accepted = count_accepted(sandbox.store)
    assert _raw(sandbox, gateway, "A fox [[sandbox:drop-after]]") == b""
    assert count_accepted(sandbox.store) == accepted + 1
    task_id = read_requests(sandbox.store)[-1].task_id
    assert sandbox.status(gateway, task_id).status == 200


def test_evolink_tells_the_task_of_a_dropped_answer_to_who_repeats_the_key(sandbox: SandboxClient) -> None:
    """The case that idempotency keys exist for."""
    header = {"Idempotency-Key": "run_after_a_drop_0001"}
    with pytest.raises(ConnectionError):
        sandbox.submit("evolink", "A hen [[sandbox:drop-after]]", headers=header)
    lost = read_requests(sandbox.store)[-1].task_id
    again = sandbox.submit("evolink", "A hen [[sandbox:drop-after]]", headers=header)
    assert (again.json["id"], again.headers["idempotency-replayed"]) == (lost, "true")
    last = read_requests(sandbox.store)[-1]
    assert (last.replayed, last.task_id) == (True, "")


def test_hang_never_answers(sandbox: SandboxClient) -> None:
    """The request is read and logged; the caller's own deadline ends it."""
    with pytest.raises(TimeoutError):
        _raw(sandbox, "poyo", "A bee [[sandbox:hang]]", timeout=0.2)
    last = read_requests(sandbox.store)[-1]
    assert (last.fault, last.status, last.task_id) == ("hang", 0, "")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_200_may_hold_an_error_or_no_json_at_all(sandbox: SandboxClient, gateway: str) -> None:
    """HTTP 200 is not enough for success."""
    hidden = sandbox.submit(gateway, "An owl [[sandbox:error-in-200]]")
    assert hidden.status == 200
    assert "500" in str(hidden.json) or "internal_error" in str(hidden.json)
    garbage = sandbox.submit(gateway, "An owl [[sandbox:garbage-in-200]]")
    assert (garbage.status, garbage.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("gateway", "tag", "generation", "expected"),
    [
        ("poyo", "content-violation", "new", "The prompt violates our content policy"),
        ("apidot", "content-violation", "new", "The prompt violates our content policy"),
        ("apixo", "content-violation", "new", "SensitiveContentDetected"),
        ("apixo", "content-violation", "old", "CONTENT_VIOLATION"),
        ("evolink", "content-violation", "new", "content_policy_violation"),
        ("poyo", "unreachable-image", "new", "reference image"),
        ("apixo", "unreachable-image", "new", "INVALID_IMAGE_URL"),
        ("evolink", "unreachable-image", "new", "image_processing_error"),
    ],
)
def test_a_failed_task_answers_200_in_the_gateways_words(
    sandbox: SandboxClient, gateway: str, tag: str, generation: str, expected: str
) -> None:
    """Accepted, then failed: the status answers 200, the state says failed."""
    task_id = sandbox.accepted(gateway, f"A cat [[sandbox:{tag}]]")
    sandbox.clock.advance(LONG_AFTER)
    reply = sandbox.status(gateway, task_id, headers={"X-Sandbox-Generation": generation})
    assert (reply.status, read_state(gateway, reply.json)) == (200, "failed")
    assert expected in str(reply.json)
    assert ".mp4" not in str(reply.json)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_slow_stuck_and_unnamed_states(sandbox: SandboxClient, gateway: str) -> None:
    """Four times as long, for ever, and a word that no document knows until the video is there."""
    slow, stuck, unnamed = (
        sandbox.accepted(gateway, f"A lighthouse in a storm [[sandbox:{tag}]]")
        for tag in ("slow", "stuck", "unknown-state")
    )
    sandbox.clock.advance(60)
    assert read_state(gateway, sandbox.status(gateway, unnamed).json) == "colour_grading"
    sandbox.clock.advance(290)
    over = {"poyo": "finished", "apidot": "finished", "apixo": "success", "evolink": "completed"}[gateway]
    assert read_state(gateway, sandbox.status(gateway, unnamed).json) == over
    assert read_state(gateway, sandbox.status(gateway, slow).json) in ("running", "processing")
    sandbox.clock.advance(100_000)
    assert read_state(gateway, sandbox.status(gateway, slow).json) == over
    assert read_state(gateway, sandbox.status(gateway, stuck).json) in ("running", "processing")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_status_may_fail_or_not_know_the_task_at_first(sandbox: SandboxClient, gateway: str) -> None:
    """500 three times, 404 twice, then the truth."""
    broken = sandbox.accepted(gateway, "A cat [[sandbox:status-error]]")
    assert [sandbox.status(gateway, broken).status for _ in range(4)] == [500, 500, 500, 200]
    hidden = sandbox.accepted(gateway, "A cat [[sandbox:not-visible]]")
    assert [sandbox.status(gateway, hidden).status for _ in range(3)] == [404, 404, 200]


@pytest.mark.parametrize(
    ("tag", "status"), [("expired-link", 410), ("expired-link=403", 403), ("expired-link=404", 404)]
)
def test_an_expired_link_answers_as_asked(sandbox: SandboxClient, tag: str, status: int) -> None:
    """The task is finished, its file is gone."""
    url = sandbox.finished_url("poyo", f"A lighthouse in a storm [[sandbox:{tag}]]")
    assert sandbox.get(url).status == status


def test_a_truncated_video_promises_more_than_it_sends(sandbox: SandboxClient) -> None:
    """`Content-Length` is that of the whole video; the connection closes at half, the first time."""
    url = sandbox.finished_url("poyo", "A lighthouse in a storm [[sandbox:truncated-video=1]]")
    head = sandbox.send("HEAD", url)
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as connection:
        connection.sendall(f"GET {url.removeprefix(sandbox.base)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    headers, _, body = received.partition(b"\r\n\r\n")
    promised = int(head.headers["content-length"])
    assert f"content-length: {promised}".encode() in headers.lower()
    assert len(body) == promised // 2
    assert len(sandbox.get(url).body) == promised


def test_a_short_video_looks_complete_and_is_not(sandbox: SandboxClient) -> None:
    """Its length is right, but half of its frames are missing."""
    whole = sandbox.get(sandbox.finished_url("poyo", "A lighthouse in a storm")).body
    short = sandbox.get(sandbox.finished_url("poyo", "A lighthouse in a storm [[sandbox:short-video]]"))
    assert int(short.headers["content-length"]) == len(short.body) == len(whole) // 2
    assert whole.startswith(short.body)
    assert _count_frames(short.body) < _count_frames(whole) == 48


def test_a_page_may_stand_where_a_video_was_promised(sandbox: SandboxClient) -> None:
    """Status 200, HTML."""
    reply = sandbox.get(sandbox.finished_url("poyo", "A lighthouse in a storm [[sandbox:html-video]]"))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_old_errors_holds_for_every_answer_about_the_task(sandbox: SandboxClient) -> None:
    """Submission, status and failure speak the older generation."""
    task_id = sandbox.accepted("apixo", "A cat [[sandbox:old-errors]] [[sandbox:content-violation]]")
    sandbox.clock.advance(LONG_AFTER)
    assert sandbox.status("apixo", task_id).json["data"]["failCode"] == "CONTENT_VIOLATION"
    reply = sandbox.submit("evolink", "A cat [[sandbox:old-errors]] [[sandbox:unavailable]]")
    assert reply.json["error"]["fallback_suggestion"] == "retry after 30 seconds"
    assert sandbox.submit("apixo", "A cat [[sandbox:old-errors]] [[sandbox:refused]]").status == 400


def test_tags_can_be_joined(sandbox: SandboxClient) -> None:
    """First limited, then dropped after acceptance, then hidden from the first status reads."""
    prompt = "A cat [[sandbox:rate-limited]] [[sandbox:drop-after]] [[sandbox:not-visible=1]]"
    assert sandbox.submit("poyo", prompt).status == 429
    with pytest.raises(ConnectionError):
        sandbox.submit("poyo", prompt)
    task_id = read_requests(sandbox.store)[-1].task_id
    assert [sandbox.status("poyo", task_id).status for _ in range(2)] == [404, 200]
    assert read_task_id("poyo", sandbox.status("poyo", task_id).json) == task_id
