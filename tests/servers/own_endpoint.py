"""The program with one endpoint in its policy, live, with a clock that runs: a shot from its approval to its end."""

from __future__ import annotations

from pathlib import Path

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import Task, TaskState
from callsheet.edges.clock import SystemClock
from callsheet.service import Draft
from workspace import account_of, trust

ENDED = {TaskState.SAVED, TaskState.FAILED, TaskState.REJECTED, TaskState.OUTCOME_UNKNOWN, TaskState.EXPIRED}


def _is_over(task: Task) -> bool:
    """Ended; with an unknown outcome, the server was asked for its list as well."""
    return task.state in ENDED and (task.state is not TaskState.OUTCOME_UNKNOWN or "lists" in task.hints)


async def generate(home: Path, base_url: str, prompt: str, *, key: str) -> tuple[Task, str]:
    """One approval, one submission; the task at its end and what is said of it."""
    policy = home / "config" / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.touch(mode=0o600)
    policy.write_text(
        f"""
mode = "live"
[save]
directory = "{home / "clips"}"
[endpoints.box]
wire = "openai-videos"
base_url = "{base_url}"
key_env = "BOX_KEY"
[endpoints.box.models."sora-2"]
seconds = [4]
sizes = ["1280x720"]
price = "0.10 USD per second"
"""
    )
    trust(home, policy.read_text())
    environ = {"CALLSHEET_HOME": str(home), "BOX_KEY": key}
    service = build_service(Surroundings(environ, Path("/nowhere"), SystemClock(), account_home=account_of(home)))
    shot = Shot.of(prompt, duration_seconds=4)
    sheet = service.explain(Draft(shot=shot, gateway="box", model="sora-2")).sheet
    assert sheet is not None
    service.approve(sheet.id, by=Means.TERMINAL)
    async with service.running():
        done = await service.submit(sheet.id)
        assert done.report is not None
        report = await service.wait_for(done.report.task.id, wait_seconds=120, until=_is_over)
    return report.task, report.status_text
