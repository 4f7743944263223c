"""What servers of `/v1/videos` were recorded to say is read for what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callsheet.core.gateway.endpoint import Endpoint
from callsheet.core.gateway.protocol import (
    Accepted,
    HttpReply,
    Postponed,
    Progress,
    Rejected,
    StatusUnavailable,
    Unclear,
)
from callsheet.gateways.openai_videos import OpenAIVideos

RECORDED = json.loads((Path(__file__).parent / "recorded_videos.json").read_text())
WIRE = OpenAIVideos(Endpoint("box", "https://box.example.com/v1"))
OUTCOMES = {Accepted: "accepted", Rejected: "rejected", Postponed: "postponed", Unclear: "unclear"}


def _reply(recorded: dict[str, Any]) -> HttpReply:
    return HttpReply(recorded["status"], tuple(recorded["headers"].items()), recorded["body"].encode())


def _read(kind: str, reply: HttpReply) -> str:
    """The end in one word."""
    if kind == "submit":
        return OUTCOMES[type(WIRE.read_submit(reply))]
    if kind == "recent":
        return str(len(WIRE.read_recent(reply)))
    if kind == "models":
        return str(len(WIRE.read_models(reply) or ()))
    outcome = WIRE.read_status(reply)
    if isinstance(outcome, StatusUnavailable):
        return "unknown_task" if outcome.unknown_task else "unavailable"
    return str(outcome.phase)


@pytest.mark.parametrize("job", RECORDED["jobs"], ids=lambda job: f"{job['server']}: {job['what']}")
def test_a_recorded_job_ends_where_it_ended(job: dict[str, Any]) -> None:
    """Each reply of it, in its order."""
    ends = [recorded["ends"] for recorded in job["replies"]]
    assert [_read(recorded["kind"], _reply(recorded)) for recorded in job["replies"]] == ends


def _find(server: str, what: str) -> list[HttpReply]:
    return next(
        [_reply(reply) for reply in job["replies"]]
        for job in RECORDED["jobs"]
        if (job["server"], job["what"]) == (server, what)
    )


def test_litellms_ids_are_kept_whole_and_its_later_ones_name_no_other_job() -> None:
    """138 characters and `=`; the next version's have 242."""
    created, running, _ = _find("LiteLLM 1.106.12", "a job from creation to the end")
    accepted, progress = WIRE.read_submit(created), WIRE.read_status(running)
    assert isinstance(accepted, Accepted)
    assert isinstance(progress, Progress)
    assert (len(accepted.gateway_task_id), accepted.gateway_task_id[-1], progress.named_id) == (138, "=", "")
    newer = WIRE.read_submit(_find("LiteLLM 1.110.2", "a creation")[0])
    assert isinstance(newer, Accepted)
    assert len(newer.gateway_task_id) == 242


@pytest.mark.parametrize(
    ("server", "what", "cost"),
    [
        ("LiteLLM 1.106.12", "a job from creation to the end", "0.4"),
        ("LiteLLM 1.106.12", "a price of its own is not told", None),
        ("aimock 1.43.0", "finished at once", None),
    ],
)
def test_the_cost_is_read_where_it_is_told(server: str, what: str, cost: str | None) -> None:
    """A missing header is no price, and zero is none either."""
    accepted = WIRE.read_submit(_find(server, what)[0])
    assert isinstance(accepted, Accepted)
    assert (accepted.charge and accepted.charge.amount) == cost


def test_the_reason_of_a_failure_comes_from_a_reply_of_500() -> None:
    """vLLM-Omni's."""
    progress = WIRE.read_status(_find("vLLM-Omni 0.30.0", "a failed job, abridged")[0])
    assert isinstance(progress, Progress)
    assert progress.failure is not None
    assert "CUDA out of memory" in progress.failure.message


def test_a_refusal_for_its_rate_proves_nothing_behind_litellm() -> None:
    """It may have sent the creation before, and a job may have been made of it; from others it is a proof."""
    behind = WIRE.read_submit(_find("LiteLLM 1.106.12", "too many requests, the wait under a name of its own")[0])
    assert isinstance(behind, Unclear)
    assert (behind.problem.status, behind.problem.retry_after_seconds) == (429, 2.0)
    assert "num_retries: 0" in behind.note


@pytest.mark.parametrize(("header", "sent"), [("0", 0), ("1", 2), ("2", 3), ("", 0), ("-1", 0), ("999", 0), ("x", 0)])
def test_how_often_litellm_sent_it_is_told(header: str, sent: int) -> None:
    """Each time may have made a job."""
    created = _find("LiteLLM 1.106.12", "a job from creation to the end")[0]
    told = tuple((name, value) for name, value in created.headers if name != "x-litellm-attempted-retries")
    accepted = WIRE.read_submit(replace(created, headers=(*told, ("x-litellm-attempted-retries", header))))
    assert isinstance(accepted, Accepted)
    assert accepted.note.startswith(f"SENT {sent} TIMES") is bool(sent)
    assert bool(accepted.note) is bool(sent)
