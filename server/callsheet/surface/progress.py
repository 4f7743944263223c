"""How far a task is, in words and as a share: for whoever draws it, on a terminal or on the desk."""

from __future__ import annotations

from callsheet.core.tasks.models import Task
from callsheet.core.tasks.states import OPEN_STATES, TaskState
from callsheet.service import Service

WORDS = {
    TaskState.WAITING: "Waiting to be sent",
    TaskState.SUBMITTING: "Sending",
    TaskState.QUEUED: "In the queue",
    TaskState.RUNNING: "Generating",
    TaskState.SUCCEEDED: "Saving the clip",
    TaskState.SAVED: "Saved",
    TaskState.REJECTED: "Refused",
    TaskState.FAILED: "Failed",
    TaskState.EXPIRED: "Expired",
    TaskState.OUTCOME_UNKNOWN: "Outcome unknown",
    TaskState.ABANDONED: "Given up",
}
NEARLY_DONE = 0.95


def progress_share(service: Service, task: Task) -> float:
    """How much is done, 0 to 1: the gateway's own percentage, else the time that passed against the usual time."""
    if task.state in (TaskState.WAITING, TaskState.SUBMITTING):
        return 0.0
    if task.state not in OPEN_STATES:
        return 1.0 if task.state is TaskState.SAVED else 0.0
    if task.state is TaskState.SUCCEEDED:
        return NEARLY_DONE + 0.03
    if task.percent is not None:
        return min(task.percent / 100, NEARLY_DONE + 0.03)
    usual = service.usual_seconds(task)
    if usual is None or task.accepted_at is None:
        return 0.0
    return min((service.now() - task.accepted_at) / usual[1], NEARLY_DONE)


__all__ = ["WORDS", "progress_share"]
