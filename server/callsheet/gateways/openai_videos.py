"""The wire of `/v1/videos`, as SGLang, vLLM-Omni, LiteLLM, New API and others speak it; an endpoint says the rest.

Common to all are five fields in and `id` and `status` out. What differs, read in those servers' code and recorded from
them (2026-11-28): a failed job may answer HTTP 500 with the job in the body (vLLM-Omni); another id may stand in a
status than in the creation (LiteLLM 1.106.12), so the first is kept and none compared; content may come late as 404,
400, 409 or 5xx; `variant` means something else at SGLang, so it is never sent, nor is a DELETE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from callsheet.core.gateway import replies
from callsheet.core.gateway.endpoint import Endpoint
from callsheet.core.gateway.protocol import (
    Accepted,
    Charge,
    HttpReply,
    HttpRequest,
    Phase,
    Postponed,
    Progress,
    RecentTask,
    StatusOutcome,
    SubmitOutcome,
    SubmitParts,
    TaskRef,
    Unclear,
)
from callsheet.core.gateway.replies import answered, find, read_complaint, read_items, read_object, read_text
from callsheet.core.gateway.task_status import find_videos, read_phase
from callsheet.core.payload.form import content_type
from callsheet.core.security.urls import url_host

MADE_UP_ID = "video_callsheet_check_no_such_job"
_WORDS = {"unknown": Phase.QUEUED, "expired": Phase.FAILED, "deleted": Phase.FAILED}
"""What three words mean on this wire, and would not at every gateway: New API's, OpenRouter's, SGLang's."""
_LITELLM_IDS = "video_bGl0ZWxsbT"
"""How `video_` and `litellm:` in base 64 begin. Such an id is another in each answer."""
_LINKS = (("url",), ("video_url",), ("video", "url"), ("metadata", "url"))
ADVICE = {
    "litellm": "Set num_retries: 0 in LiteLLM's router_settings: by default it sends a failed creation three times.",
    "sglang": "It renders any model name with its own model: set strict_model = true.",
    "vllm-omni": 'It takes forms only: body must be "multipart".',
}
"""What a dialect needs of its table, or of its server (recorded 2026-11-28)."""
MAY_REPEAT = f"A LiteLLM proxy answered, so up to 3 jobs may have been made of it. {ADVICE['litellm']}"


@dataclass(frozen=True, slots=True)
class OpenAIVideos:
    """A `Gateway` for one endpoint; also a `ContentReader`, `RecentReader` and `ModelsReader`."""

    endpoint: Endpoint

    def build_submit(self, parts: SubmitParts) -> HttpRequest:
        """The paid request. No document promises that a key for replays is honoured, so none is sent."""
        return HttpRequest("POST", "/videos", parts.body, (("Content-Type", content_type(parts.body)),))

    def read_submit(self, reply: HttpReply) -> SubmitOutcome:
        """Accepted under `id`, whatever the state: the first status read tells it. What it cost, if that is said."""
        body = read_object(reply.body)
        state, complaint = read_text(find(body, "status")), read_complaint(body)
        near = replies.find_near_id(body)
        reading = replies.SubmitReading(find(body, "id"), state, None, *complaint, near_id=near)
        outcome = replies.decide_submit(reply, reading)
        if isinstance(outcome, Accepted):
            return replace(outcome, charge=_read_cost(reply), note=_note_repeats(reply))
        if reply.header("x-litellm-version") is None:
            return outcome
        # What is refused for its rate may have been sent before, and made a job whose answer was lost.
        lost = Unclear(outcome.problem) if isinstance(outcome, Postponed) else outcome
        return replace(lost, note=MAY_REPEAT) if isinstance(lost, Unclear) else lost

    def build_status(self, task: TaskRef) -> HttpRequest:
        """Ask for a job's status; ValueError for an id that no server could have given."""
        return HttpRequest("GET", f"/videos/{replies.quote_task_id(task.gateway_task_id)}")

    def read_status(self, reply: HttpReply) -> StatusOutcome:
        """The job's phase, from the body before the HTTP status. A failure ends a job only if the body is a video's."""
        body = read_object(reply.body)
        said, complaint = read_text(find(body, "status")), read_complaint(body)
        phase, named = _WORDS.get(said.lower()) or read_phase(said), replies.read_task_id(find(body, "id")) or ""
        is_job = find(body, "object") == "video" or named != ""
        if not said or not (answered(reply) or (is_job and phase is not Phase.UNRECOGNISED)):
            return replies.build_unavailable(reply, body, None, *complaint)
        if phase is Phase.FAILED and not is_job:
            return replies.build_unavailable(reply, None, None, *complaint)
        links = find_videos(body, _LINKS) if phase is Phase.SUCCEEDED else ()
        return Progress(
            phase=phase,
            said=said,
            percent=replies.read_percent(find(body, "progress")),
            video_urls=tuple(link for link in links if url_host(link) in self.endpoint.result_hosts),
            failure=replies.build_problem(reply, *complaint) if phase is Phase.FAILED else None,
            named_id="" if named.startswith(_LITELLM_IDS) else named,
            ask_after_seconds=_read_poll_after(reply),
        )

    def build_content(self, task: TaskRef) -> HttpRequest:
        """Ask for the finished clip, at a path made from the job's id and never taken from an answer."""
        return HttpRequest("GET", f"/videos/{replies.quote_task_id(task.gateway_task_id)}/content")

    def build_recent(self) -> HttpRequest:
        """Ask for the latest jobs."""
        return HttpRequest("GET", "/videos?limit=20")

    def read_recent(self, reply: HttpReply) -> tuple[RecentTask, ...]:
        """The listed jobs that have a usable id, each with what it says of its request."""
        found = []
        for row in read_items(find(read_object(reply.body), "data")) if answered(reply) else ():
            said = {name: text for name in ("prompt", "seconds", "size") if (text := read_text(find(row, name)))}
            model, at = read_text(find(row, "model")), replies.read_time(find(row, "created_at"))
            if (job := replies.read_task_id(find(row, "id"))) is not None:
                found.append(RecentTask(job, model, at, said))
        return tuple(found)

    def build_models(self) -> HttpRequest:
        """Ask which models it serves."""
        return HttpRequest("GET", "/models")

    def read_models(self, reply: HttpReply) -> tuple[str, ...] | None:
        """The ids of its models; None where the reply is no list of any."""
        rows = read_items(find(read_object(reply.body), "data")) if answered(reply) else ()
        return tuple(name for row in rows if (name := read_text(find(row, "id")))) or None


def _note_repeats(reply: HttpReply) -> str:
    """LiteLLM says how often it sent a creation again before it was answered; each time may have made a job."""
    again = reply.header("x-litellm-attempted-retries") or ""
    sent = int(again) + 1 if re.fullmatch(r"[1-9][0-9]?", again) else 1
    return f"SENT {sent} TIMES by the proxy, so up to {sent} jobs were made and may be charged." if sent > 1 else ""


def _read_cost(reply: HttpReply) -> Charge | None:
    """What LiteLLM says that the job costs. It leaves the header out, or writes 0, where it has no price.

    It adds floats up, so 0.3 arrives as 0.30000000000000004.
    """
    try:
        cost = Decimal(reply.header("x-litellm-response-cost") or "0").quantize(Decimal("1e-6"))
        return Charge(f"{cost.normalize():f}", "USD") if cost > 0 else None
    except InvalidOperation:
        return None


def _read_poll_after(reply: HttpReply) -> float | None:
    """When to ask again, 1 to 60 seconds."""
    asked = reply.header("openai-poll-after-ms") or ""
    seconds = int(asked) / 1000 if asked.isdecimal() and len(asked) <= 9 else replies.read_retry_after(reply)
    return None if seconds is None else min(max(seconds, 1.0), 60.0)


def read_dialect(reply: HttpReply) -> str:
    """Whose dialect an answer about a job that does not exist is in; `openai` where nothing tells."""
    body = read_object(reply.body)
    if any(name.startswith("x-litellm") for name, _ in reply.headers):
        return "litellm"
    if find(body, "detail") == "Video not found":
        return "sglang"
    return "vllm-omni" if isinstance(find(body, "error", "code"), int) else "openai"
