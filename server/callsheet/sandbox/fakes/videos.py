"""The dialects of `/v1/videos`: how servers of a person's own answer, as `data/video_dialects.json` has it. Pure.

An endpoint is served under `/endpoints/<name>/v1`. A name that is a dialect's is answered in that dialect; any other
rehearses an endpoint: the openai dialect, with whatever model, size and length are asked of it.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from decimal import Decimal
from http import HTTPStatus
from string import Template
from typing import Any

from callsheet.sandbox.published import load_data

from .protocol import Answer, Generation, Refusal
from .tasks import Phase, SandboxTask, Snapshot

DIALECTS = ("openai", "sglang", "vllm-omni", "litellm", "sparse")
_GATEWAY = re.compile(r"endpoint-([a-z0-9-]{1,32})")
_WORDS = {Phase.RUNNING: "in_progress", Phase.FINISHED: "completed", Phase.UNNAMED: "colour_grading"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect. `facts` is its table in the data file."""

    facts: Mapping[str, Any]

    def build_refusal(self, refusal: Refusal, generation: Generation) -> Answer:
        """That refusal; `generation` makes no difference."""
        return self.build_error(refusal.reason, refusal.detail, refusal.field)

    def build_error(self, reason: str, message: str = "", param: str = "", **values: Any) -> Answer:
        """An error in the dialect's own body. `values` are further ones to fill in, or replace its own."""
        row = self.facts["errors"][reason]
        error = {name: _fill(row.get(name), values) for name in ("message", "type", "code")} | {"param": param or None}
        error |= {"message": message} if message else {}
        status = values.get("status") or row["status"]
        own = {"status": status, "status_text": str(status), "phrase": HTTPStatus(status).phrase}
        wrapped = {"wrapped": json.dumps({"error": error})}
        return Answer(status, _fill(row.get("body", self.facts["error"]), error | own | wrapped | values))

    def read_task_id(self, told: str) -> str:
        """The job's own id. LiteLLM finds a job only by an id that names the model; "" for any other."""
        if "told_id" not in self.facts:
            return told
        with suppress(ValueError):
            text = b64decode(told.removeprefix("video_").rstrip("=") + "==").decode()
            model, _, task_id = text.partition(";model_id:")[2].partition(";video_id:")
            return task_id if model else ""
        return ""

    def build_created(self, task: SandboxTask) -> Answer:
        """The answer to a creation, with its cost where the dialect has a price."""
        rate = self.facts.get("usd_per_second", {}).get(task.model)
        cost = {"x-litellm-response-cost": str(Decimal(rate) * task.seconds)} if rate else {}
        video = self.fill("video", task) | self.fill("created", task)
        return Answer(200, video, tuple((self.facts.get("headers", {}) | cost).items()))

    def build_status(self, task: SandboxTask, snapshot: Snapshot, url: str) -> Answer:
        """The answer to a status read. A failed job is not answered with 200 everywhere."""
        video = self.fill("video", task, snapshot, url)
        if snapshot.phase is Phase.FAILED and ("failed-as-500" in task.faults or "failed_as_500" in self.facts):
            wraps = "told_id" in self.facts
            return self.build_error("server_error", wrapped=json.dumps(video)) if wraps else Answer(500, video)
        video |= self.fill("finished", task, snapshot, url) if snapshot.phase is Phase.FINISHED else {}
        return Answer(200, video, tuple(self.facts.get("headers", {}).items()))

    def fill(self, name: str, task: SandboxTask, snapshot: Snapshot | None = None, url: str = "") -> Any:
        """One of the dialect's objects for this task."""
        snapshot = snapshot or Snapshot(Phase.QUEUED, 0)
        finished = snapshot.phase is Phase.FINISHED
        word = _WORDS.get(snapshot.phase, snapshot.phase.value)
        values = asdict(task) | {
            "id": self._tell_id(task, ""),
            "created_id": self._tell_id(task, task.model),
            "status": self.facts.get("words", {}).get(word, word),
            "percent": snapshot.percent,
            "coarse": 100 if finished else 0,
            "created": int(task.created),
            "ended": int(snapshot.ended) if finished and snapshot.ended else None,
            "duration": float(task.seconds),
            "frames": 24 * task.seconds,
            "failure": self.facts.get("failure") if snapshot.failure else None,
            "url": url,
        }
        return _fill(self.facts.get(name, {}), values)

    def build_task_id(self, token: str) -> str:
        """The id of a new job, from 32 hex digits."""
        uuid = "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))
        return str(_fill(self.facts["id"], {"token": token, "uuid": uuid}))

    def _tell_id(self, task: SandboxTask, model: str) -> str:
        if "told_id" not in self.facts:
            return task.task_id
        text = _fill(self.facts["told_id"], {"model": model, "task": task.task_id})
        return "video_" + b64encode(text.encode()).decode()


def find_dialect(gateway: str) -> Dialect | None:
    """The dialect that `endpoint-<name>` is answered in; None for a gateway."""
    match = _GATEWAY.fullmatch(gateway)
    if match is None:
        return None
    data = load_data("video_dialects.json")
    own = data["dialects"].get(match[1]) or data["dialects"]["openai"] | {
        "models": [],
        "takes": {},
        "refuses": {"models": "unknown_path"},
    }
    errors = {reason: row | own.get("errors", {}).get(reason, {}) for reason, row in data["errors"].items()}
    return Dialect(data["defaults"] | own | {"errors": errors, "takes": data["takes"] | own.get("takes", {})})


def _fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with its `$names` replaced; a text that is one name takes the value itself."""
    if isinstance(template, dict):
        return {key: _fill(part, values) for key, part in template.items()}
    if isinstance(template, list):
        return [_fill(part, values) for part in template]
    if not isinstance(template, str) or "$" not in template:
        return template
    return values[template[1:]] if template[1:] in values else Template(template).substitute(values)
