"""What a person does on the desk beside approving: each act, what it needs, and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from desk_client import PASSPHRASE, Desk, ask, generate_clip, open_desk, seen, set_passphrase
from test_desk_media import keep_clip

from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import Problem, SheetState, TaskFilter, TaskState
from callsheet.service import Draft
from workspace import Workspace, accepted, draft, reply

LOST = Problem("answer_lost", "the connection broke", "unknown", untrusted_task_id="task-unified-9-x")


async def make_task(desk: Desk, state: TaskState, problem: Problem | None = None, prompt: str = "A boat.") -> str:
    """A task in that state, sent and followed by nobody; returns its id."""
    sheet_id = draft(desk.service, Shot.of(prompt, duration_seconds=4))
    desk.service.approve(sheet_id, by=Means.DESK)
    submission = await desk.service.submit(sheet_id, wait_seconds=0)
    assert submission.report is not None
    changes = {"state": state, "problem": problem}
    return desk.service.deps.ledger().touch(submission.report.task.id, now=desk.service.now(), changes=changes).id


def sheet_state(desk: Desk, sheet_id: str) -> SheetState:
    """The state of a sheet."""
    return desk.service.sheet(sheet_id).state


async def test_a_sheet_is_read_and_approved_on_the_first_page(live_desk: Desk) -> None:
    """With every line that its own page has; the person stays on the first page."""
    sheet_id = await ask(live_desk)
    token = await live_desk.sign_in()
    home = await live_desk.read("/")

    answer = await live_desk.post(
        f"/sheets/{sheet_id}/approve", csrf=token, passphrase=PASSPHRASE, amount="0.24", send="1", home="1"
    )

    for _, text in [line.split(": ", 1) for line in live_desk.service.sheet(sheet_id).shown.split("\n")]:
        assert text.partition(" · ")[0] in seen(home)
    assert f'action="/sheets/{sheet_id}/approve"' in home
    assert f'action="/sheets/{sheet_id}/decline"' in home
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert sheet_state(live_desk, sheet_id) is SheetState.SPENT


async def test_a_sheet_that_nobody_submitted_is_sent_or_approved_for_later(live_desk: Desk) -> None:
    """Sending is the first button; what was approved for later can be sent without typing again."""
    token = await live_desk.sign_in()
    typed = {"csrf": token, "passphrase": PASSPHRASE, "amount": "0.24"}
    now, later = (draft(live_desk.service, Shot.of(text, duration_seconds=4)) for text in ("Now.", "Later."))

    page = await live_desk.read(f"/sheets/{now}")
    await live_desk.post(f"/sheets/{now}/approve", **typed, send="1")
    await live_desk.post(f"/sheets/{later}/approve", **typed)

    assert page.index("Approve and send") < page.index("Approve for later")
    assert sheet_state(live_desk, now) is SheetState.SPENT
    assert sheet_state(live_desk, later) is SheetState.APPROVED
    assert f'action="/sheets/{later}/send"' in await live_desk.read("/")
    await live_desk.post(f"/sheets/{later}/send", csrf=token)
    assert sheet_state(live_desk, later) is SheetState.SPENT


async def test_sending_approves_nothing(live_desk: Desk) -> None:
    """A sheet that needs a person is only put forward."""
    token = await live_desk.sign_in()
    sheet_id = draft(live_desk.service)

    answer = await live_desk.post(f"/sheets/{sheet_id}/send", csrf=token, passphrase=PASSPHRASE, amount="0.24")

    assert answer.headers["location"] == f"/sheets/{sheet_id}"
    assert sheet_state(live_desk, sheet_id) is SheetState.AWAITING_APPROVAL
    assert not live_desk.service.task_records()


async def test_a_pause_is_on_every_page_and_ends_with_the_passphrase(live_desk: Desk) -> None:
    """Pausing needs nothing, because it can only prevent; the trail has both."""
    token = await live_desk.sign_in()
    sheet_id = await ask(live_desk)

    await live_desk.post("/pause", csrf=token)

    assert live_desk.service.policy.paused
    for path in ("/", "/tasks", "/spending", "/audit", f"/sheets/{sheet_id}"):
        assert 'href="/#resume"' in await live_desk.read(path)
    for wrong in ("", "wrong passphrase"):
        assert (await live_desk.post("/resume", csrf=token, passphrase=wrong)).status_code == 403
    assert live_desk.service.policy.paused
    assert (await live_desk.post("/resume", csrf=token, passphrase=PASSPHRASE)).status_code == 303
    assert not live_desk.service.policy.paused
    assert [(entry.action, entry.actor) for entry in live_desk.service.audit()] == [
        ("resumed", "desk"),
        ("paused", "desk"),
    ]


async def test_a_pause_does_not_end_here_where_no_passphrase_is_set(workspace: Workspace) -> None:
    """Otherwise a session, which an agent can get, would be enough."""
    desk = open_desk(workspace)
    token = await desk.sign_in()
    await desk.post("/pause", csrf=token)

    assert (await desk.post("/resume", csrf=token, passphrase="")).status_code == 409
    assert desk.service.policy.paused


BAD = (TaskState.FAILED, TaskState.REJECTED, TaskState.EXPIRED, TaskState.OUTCOME_UNKNOWN)


@pytest.mark.parametrize("state", BAD, ids=lambda state: state.value)
async def test_what_ended_badly_is_on_the_first_page_until_it_is_dismissed(desk: Desk, state: TaskState) -> None:
    """And comes back when it changes."""
    task_id = await make_task(desk, state)
    fine = await make_task(desk, TaskState.SAVED, prompt="Another.")
    token = await desk.sign_in()
    mark = f'aria-labelledby="t-{task_id}"'
    assert mark in await desk.read("/")
    assert f'aria-labelledby="t-{fine}"' not in await desk.read("/")

    await desk.post("/dismiss", csrf=token, task=task_id)

    assert mark not in await desk.read("/")
    assert desk.service.history(task_id)[-1]["kind"] == "dismissed"
    if state is TaskState.OUTCOME_UNKNOWN:
        desk.service.resolve(task_id, accepted_as="task-unified-1-abc")
        desk.service.deps.ledger().touch(task_id, now=desk.service.now(), changes={"state": TaskState.FAILED})
        assert mark in await desk.read("/")


async def test_a_clip_that_is_not_as_ordered_is_on_the_first_page_until_it_is_dismissed(
    live_desk: Desk, tmp_path: Path
) -> None:
    """With the difference; its own page keeps it."""
    task_id = await keep_clip(live_desk, tmp_path)
    clip = live_desk.service.task(task_id).task.clip
    assert clip is not None
    live_desk.service.deps.ledger().touch(
        task_id, now=live_desk.service.now(), changes={"clip": replace(clip, duration_seconds=2.0)}
    )
    token = await live_desk.sign_in()
    assert "Not as ordered: 4 s was ordered, 2 s was delivered." in seen(await live_desk.read("/"))

    await live_desk.post("/dismiss", csrf=token, task=task_id)

    assert "Not as ordered:" not in seen(await live_desk.read("/"))
    assert "Length 4 s 2 s , not as ordered" in seen(await live_desk.read(f"/tasks/{task_id}"))


async def test_unknown_tasks_are_dismissed_by_nobody(desk: Desk) -> None:
    """An id that does not exist leaves no row."""
    token = await desk.sign_in()

    assert (await desk.post("/dismiss", csrf=token, task="task_none")).status_code == 303
    assert not desk.service.history("task_none")


ANSWERS = ({"answer": "there", "found": "task-unified-1-abc"}, {"answer": "not there"})


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer["answer"])
async def test_a_live_outcome_is_settled_only_with_the_passphrase(live_desk: Desk, answer: dict[str, str]) -> None:
    """Either answer lets the same shot be paid for again, or loses a clip."""
    task_id = await make_task(live_desk, TaskState.OUTCOME_UNKNOWN, LOST)
    token = await live_desk.sign_in()
    path = f"/tasks/{task_id}/resolve"
    home = await live_desk.read("/")
    assert 'href="https://poyo.ai/dashboard/api-key" target="_blank" rel="noopener noreferrer"' in home
    assert 'value="task-unified-9-x"' in home

    for wrong in ({}, {"passphrase": ""}, {"passphrase": "wrong passphrase"}, {"passkey": "{}"}, {"yes": "1"}):
        assert (await live_desk.post(path, csrf=token, **answer, **wrong)).status_code in (403, 422)
    assert live_desk.service.task(task_id).task.state is TaskState.OUTCOME_UNKNOWN
    assert (await live_desk.post(path, csrf=token, **answer, passphrase=PASSPHRASE)).status_code == 303

    task = live_desk.service.task(task_id).task
    found = answer.get("found")
    assert task.state is (TaskState.QUEUED if found else TaskState.ABANDONED)
    assert task.gateway_task_id == found
    entry = live_desk.service.audit()[0]
    assert (entry.subject, entry.actor) == (task_id, "desk")


@pytest.mark.parametrize(
    "answer", [{}, {"answer": "there"}, {"answer": "there", "found": " "}, {"answer": "lost"}], ids=str
)
async def test_an_answer_that_says_nothing_settles_nothing(desk: Desk, answer: dict[str, str]) -> None:
    """A form without its id is not taken for "not there"."""
    task_id = await make_task(desk, TaskState.OUTCOME_UNKNOWN, LOST)
    token = await desk.sign_in()

    assert (await desk.post(f"/tasks/{task_id}/resolve", csrf=token, **answer)).status_code == 422
    assert desk.service.task(task_id).task.state is TaskState.OUTCOME_UNKNOWN


async def test_another_take_and_another_model_are_drafts_that_wait_for_a_decision(live_desk: Desk) -> None:
    """A failure leads to a new sheet with its price; nothing is approved or sent by it."""
    live_desk.workspace.gateway.replies = [reply({"code": 400, "message": "no"}, 400)]
    task_id = await generate_clip(live_desk)
    live_desk.service.deps.ledger().touch(task_id, now=live_desk.service.now(), changes={"problem": None})
    token = await live_desk.sign_in()
    models = await live_desk.read(f"/tasks/{task_id}/models")
    assert 'value="poyo/sora-2-official"' not in models
    other = models.partition('name="card" value="')[2].partition('"')[0]

    first = await live_desk.post(f"/tasks/{task_id}/again", csrf=token)
    second = await live_desk.post(f"/tasks/{task_id}/again", csrf=token, card=other)

    names = [answer.headers["location"].rpartition("/")[2] for answer in (first, second)]
    sheets = [live_desk.service.sheet(name) for name in names]
    assert [sheet.card_id for sheet in sheets] == ["poyo/sora-2-official", other]
    assert [(sheet.state, sheet.price.known) for sheet in sheets] == [(SheetState.DRAFTED, True)] * 2
    assert sheets[0].take == 2
    assert len(live_desk.workspace.gateway.paid) == 1


async def test_no_take_is_drafted_while_the_outcome_is_unknown(live_desk: Desk) -> None:
    """The page says why, and what to do."""
    task_id = await make_task(live_desk, TaskState.OUTCOME_UNKNOWN, LOST)
    token = await live_desk.sign_in()

    answer = await live_desk.post(f"/tasks/{task_id}/again", csrf=token)

    assert answer.status_code == 422
    assert "may already have been accepted" in seen(answer.text)


async def test_a_sheet_that_no_longer_holds_waits_for_nobody_and_is_renewed_in_one_step(live_desk: Desk) -> None:
    """The new sheet has today's binding; the old one ends."""
    sheet_id = await ask(live_desk)
    token = await live_desk.sign_in()
    assert [sheet.id for sheet in live_desk.service.pending()] == [sheet_id]
    live_desk.workspace.go_live('[caps]\nper_clip = "1.00"\n')

    home = await live_desk.read("/")
    assert live_desk.service.pending() == []
    assert "Since it was drafted, this has changed: the policy." in seen(home)
    assert f'action="/sheets/{sheet_id}/approve"' not in home
    answer = await live_desk.post(f"/sheets/{sheet_id}/renew", csrf=token)

    renewed = answer.headers["location"].rpartition("/")[2]
    assert renewed != sheet_id
    assert sheet_state(live_desk, sheet_id) is SheetState.EXPIRED
    assert live_desk.service.find_void(live_desk.service.sheet(renewed)) == ""
    assert 'name="passphrase"' in await live_desk.read(f"/sheets/{renewed}")


async def test_a_sheet_of_another_mode_waits_for_nobody(desk: Desk) -> None:
    """A rehearsal that was asked for before live mode was armed; a read-only policy only blocks it for now."""
    await ask(desk)
    desk.workspace.write_policy('mode = "read-only"\n')
    assert len(desk.service.pending()) == 1
    desk.workspace.go_live()
    assert desk.service.pending() == []


async def test_a_sample_clip_is_for_the_sandbox_only(workspace: Workspace) -> None:
    """At a click, free; in live mode not even a sheet is drafted."""
    set_passphrase(workspace.home)
    desk = open_desk(workspace)
    token = await desk.sign_in()
    assert 'action="/sample"' in await desk.read("/")
    assert 'action="/sample"' in await desk.read("/tasks")

    answer = await desk.post("/sample", csrf=token)
    assert answer.headers["location"].startswith("/tasks/task_")
    workspace.go_live()
    assert 'action="/sample"' not in await desk.read("/")
    assert (await desk.post("/sample", csrf=token)).status_code == 422
    assert len(desk.service.task_records()) == 1


async def test_clips_are_found_by_words_state_and_model(desk: Desk) -> None:
    """Marks that a database would read as patterns are only characters."""
    boat = await make_task(desk, TaskState.SAVED, prompt="A Paper boat, 100% calm_sea.")
    kite = await make_task(desk, TaskState.FAILED, prompt="A red kite, 100 percent.")
    await desk.sign_in()

    for query, found in {
        "q=boat+paper": [boat],
        "q=100%25": [boat],
        "q=calm_": [boat],
        "q=_": [boat],
        "q=kite%27+OR+1": [],
        "show=Not+delivered": [kite],
        "show=nonsense": [kite, boat],
        "model=poyo/sora-2-official&q=a": [kite, boat],
        "model=nobody": [kite, boat],
    }.items():
        page = await desk.read(f"/tasks?{query}")
        assert sorted(task for task in (kite, boat) if f'<tr data-key="{task}"' in page) == sorted(found), query
    assert desk.service.find_tasks(TaskFilter(card="apixo"), limit=9) == []


async def test_showing_a_folder_needs_a_task_with_a_clip(desk: Desk) -> None:
    """No path comes with the form."""
    task_id = await make_task(desk, TaskState.FAILED)
    token = await desk.sign_in()

    for name in (task_id, "task_none"):
        assert (await desk.post(f"/tasks/{name}/reveal", csrf=token, directory="/etc")).status_code == 404


async def test_reading_the_models_of_a_shot_drafts_nothing(live_desk: Desk) -> None:
    """Only the button does."""
    live_desk.workspace.gateway.replies = [accepted()]
    task_id = await generate_clip(live_desk)
    await live_desk.sign_in()
    before = live_desk.service.sheets(tuple(SheetState))

    await live_desk.read(f"/tasks/{task_id}/models")

    assert live_desk.service.sheets(tuple(SheetState)) == before
    assert live_desk.service.explain(Draft(live_desk.service.sheet(before[0].id).shot)).status == "choose"
