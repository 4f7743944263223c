"""Several sheets in one call, the copied texts, and taking back: one question for a sum, and no copy approves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from connection import ERAS, SHOT, connect, explained, refused, text_of, types_in
from mcp import Client

from callsheet.core.consent import Means
from workspace import Workspace, accepted


async def quoted(client: Client, *changes: dict[str, object]) -> dict[str, Any]:
    """The arguments of a submission of the usual shot with each of these changes."""
    found = [(await client.call_tool("explain_payload", {**SHOT, **change})).structured_content for change in changes]
    total = sum(float(answer["price"].split()[0]) for answer in found)
    return {
        "sheet_ids": [answer["sheet_id"] for answer in found],
        "price": f"{total:.2f} USD",
        "what": "; ".join(answer["what"] for answer in found),
    }


@pytest.mark.parametrize("era", ERAS)
async def test_three_sheets_are_one_question_for_their_sum_and_three_paid_requests(
    workspace: Workspace, era: str
) -> None:
    """Each is its own approval and its own task."""
    workspace.go_live()
    workspace.gateway.replies = [accepted(f"task-{number}") for number in range(3)]
    person = types_in("0.96")
    async with connect(workspace, era, person) as client:
        arguments = await quoted(client, {}, {"prompt": "A blue kite."}, {"duration_seconds": 8})
        answer = (await client.call_tool("submit_video", arguments)).structured_content
        looked = (await client.call_tool("get_task", {})).structured_content

    assert arguments["price"] == "0.96 USD"
    [question] = person.asked
    assert "3 clips, together 0.96 USD" in question.message
    assert answer["status"] == "accepted"
    assert len({row["task_id"] for row in answer["tasks"]}) == 3
    assert len(workspace.gateway.paid) == 3
    assert {row["task_id"] for row in looked["tasks"]} == {row["task_id"] for row in answer["tasks"]}
    assert all(row["prompt"] and row["model"] for row in looked["tasks"])
    assert {workspace.service().sheet(sheet_id).approved_by for sheet_id in arguments["sheet_ids"]} == {"client"}


@pytest.mark.parametrize("amount", ["0.24", "0.48", "0.72", ""])
async def test_any_other_amount_approves_none_of_them(workspace: Workspace, amount: str) -> None:
    """The amount of one is no yes to it."""
    workspace.go_live()
    async with connect(workspace, "legacy", types_in(amount)) as client:
        arguments = await quoted(client, {}, {"prompt": "A blue kite."}, {"duration_seconds": 8})
        await refused(client, "submit_video", arguments)

    assert workspace.gateway.requests == []


async def test_a_sum_above_a_cap_is_refused_before_anybody_is_asked(workspace: Workspace) -> None:
    """Each alone would be within it."""
    workspace.go_live('[caps]\nper_day = "0.50"\n')
    person = types_in("0.72")
    async with connect(workspace, "legacy", person) as client:
        text = await refused(client, "submit_video", await quoted(client, {}, {"duration_seconds": 8}))

    assert text.startswith("blocked: ")
    assert person.asked == []
    assert workspace.gateway.requests == []


async def test_a_sum_above_the_floor_is_not_asked_in_the_form(workspace: Workspace) -> None:
    """Six cheap clips are as much money as a dear one."""
    workspace.go_live('[approval]\npassphrase_from = "0.70"\n')
    person = types_in("0.72")
    async with connect(workspace, "legacy", person) as client:
        arguments = {**await quoted(client, {}, {"duration_seconds": 8}), "wait_seconds": 0}
        answer = (await client.call_tool("submit_video", arguments)).structured_content

    assert answer["status"] == "approval_needed"
    assert person.asked == []
    assert workspace.gateway.requests == []


WRONG = {
    "a lower price": {"price": "0.10 USD"},
    "another currency": {"price": "0.24 EUR"},
    "a free one": {"price": "free"},
    "a longer price": {"price": "0.24 USD or less"},
    "another prompt": {"what": "A harmless test · 4 s · 16:9 · poyo/sora-2-official"},
    "another model": {"what": "A red kite over dunes at dusk, slow pan, warm light. · 4 s · 16:9 · poyo/veo3.1"},
    "nothing of it": {"what": "a clip"},
}


@pytest.mark.parametrize("era", ERAS)
async def test_what_the_dialog_shows_is_what_would_be_sent(
    workspace: Workspace, era: str, subtests: pytest.Subtests
) -> None:
    """A client's own dialog shows the arguments, so a difference is refused, and nobody is asked."""
    workspace.go_live()
    person = types_in("0.24")
    async with connect(workspace, era, person) as client:
        right = await quoted(client, {})
        for name, wrong in WRONG.items():
            with subtests.test(name):
                result = await client.call_tool("submit_video", {**right, **wrong})
                assert result.is_error
                assert result.structured_content["code"] == "not_as_explained"
                assert all(right[key] in result.structured_content["summary"] for key in ("price", "what"))
        assert (person.asked, workspace.gateway.requests) == ([], [])
        workspace.gateway.replies = [accepted()]
        spaced = {**right, "what": right["what"].replace(" · ", "  ·\n")}
        assert (await client.call_tool("submit_video", spaced)).structured_content["status"] == "accepted"


FLOODS = {
    "line breaks": lambda text: text.replace(" ", "\n" * 60, 1),
    "spaces": lambda text: text.replace(" ", " " * 65, 1),
    "line separators": lambda text: text.replace(" ", "\u2028" * 60, 1),
    "before it": lambda text: "\n" * 60 + text,
    "after it": lambda text: text + "\x0b" * 60,
}


async def test_no_blanks_push_the_rest_of_the_dialog_out_of_sight(
    workspace: Workspace, subtests: pytest.Subtests
) -> None:
    """A few are an agent's hand; sixty are a trick."""
    workspace.go_live()
    async with connect(workspace, "legacy") as client:
        right = await quoted(client, {})
        for name, flood in FLOODS.items():
            for key in ("price", "what"):
                with subtests.test(f"{name} in {key}"):
                    result = await client.call_tool("submit_video", {**right, key: flood(right[key])})
                    assert result.structured_content["code"] == "not_as_explained"

    assert workspace.service().sheet(right["sheet_ids"][0]).forward_at is None


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("copy", [{"price": "0.00 USD"}, {"what": "A free test"}])
async def test_the_older_form_shows_no_other_price_either(workspace: Workspace, era: str, copy: dict[str, str]) -> None:
    """It needs no copies. A client's dialog shows those that are given all the same."""
    workspace.go_live()
    person = types_in("0.24")
    async with connect(workspace, era, person) as client:
        [sheet_id] = (await quoted(client, {}))["sheet_ids"]
        result = await client.call_tool("submit_video", {"sheet_id": sheet_id, **copy})

    assert result.structured_content["code"] == "not_as_explained"
    assert (person.asked, workspace.gateway.requests) == ([], [])


ASKED_ABOUT = {
    "nothing happens": ("0.24", ["allowance", None, "client"]),
    "what was asked about is withdrawn": ("0.24", [None, None, None]),
    "the person says no": ("", [None, None, None]),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("case", ASKED_ABOUT)
async def test_an_answer_approves_only_what_was_asked_about(workspace: Workspace, era: str, case: str) -> None:
    """An allowance covers either of two sheets, but not both; the form is about a third, at the same price."""
    typed, approved_by = ASKED_ABOUT[case]
    workspace.go_live()
    service, person = workspace.service(), types_in(typed)
    workspace.gateway.replies = [accepted(f"task-{number}") for number in range(3)]
    async with connect(workspace, era, person, service=service) as client:
        service.decline((await quoted(client, {"prompt": "The third."}))["sheet_ids"][0])
        service.allow(("poyo/sora-2-official",), clips=1, up_to=Decimal("0.24"), seconds=3600, by=Means.DESK)
        arguments = await quoted(client, {}, {"prompt": "The second."}, {"prompt": "The third."})
        if "withdrawn" in case:
            person.before_answering = lambda: service.cancel(arguments["sheet_ids"][2])
        result = await client.call_tool("submit_video", {**arguments, "wait_seconds": 0})

    assert [("The second" in question.message, "The third" in question.message) for question in person.asked] == [
        (False, True)
    ]
    sheets = [service.sheet(sheet_id) for sheet_id in arguments["sheet_ids"]]
    assert [sheet.approved_by for sheet in sheets] == approved_by
    # Whatever the answer is, it does not say of what was spent that nothing was.
    spent = sum(sheet.task_id is not None for sheet in sheets)
    assert ("no money was spent" in result.structured_content["money"].split(":")[0]) is (spent == 0)


@pytest.mark.parametrize("era", ERAS)
async def test_the_right_texts_approve_nothing(workspace: Workspace, era: str) -> None:
    """They are copies, and anybody can make one."""
    workspace.go_live()
    async with connect(workspace, era) as client:
        arguments = {**await quoted(client, {}), "wait_seconds": 0}
        answer = (await client.call_tool("submit_video", arguments)).structured_content

    assert answer["status"] == "approval_needed"
    assert answer["approval_command"].endswith(f"approve {arguments['sheet_ids'][0]}")
    assert answer["why"]
    assert workspace.gateway.requests == []


@pytest.mark.parametrize("kind", ["decline", "cancel"])
async def test_a_declined_and_a_closed_form_have_their_own_codes_and_neither_sends(
    workspace: Workspace, kind: str
) -> None:
    """A form may come back without a person, so this is a state of the form."""
    from connection import Person
    from mcp.types import ElicitResult

    workspace.go_live()
    person = Person(ElicitResult(action=kind))
    async with connect(workspace, "legacy", person) as client:
        arguments = {**await quoted(client, {}), "wait_seconds": 0}
        first = (await client.call_tool("submit_video", arguments)).structured_content
        await client.call_tool("submit_video", arguments)
        asked = len(person.asked)
        await client.call_tool("submit_video", {**arguments, "ask_again": True})

    assert first["status"] == first["code"] == {"decline": "declined", "cancel": "cancelled"}[kind]
    assert asked == {"decline": 1, "cancel": 2}[kind]
    assert len(person.asked) == asked + 1
    assert workspace.gateway.requests == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_sheet_that_was_not_sent_is_withdrawn_and_cannot_be_spent(workspace: Workspace, era: str) -> None:
    """Also after an approval: withdrawing only ever prevents a payment. A new take of the shot can be drafted."""
    workspace.go_live()
    person = types_in("0.24")
    async with connect(workspace, era, person) as client:
        sheet_id = await explained(client)
        answer = (await client.call_tool("cancel", {"id": sheet_id})).structured_content
        await refused(client, "submit_video", {"sheet_id": sheet_id})
        again = await explained(client)

    assert (answer["status"], answer["sheet_id"]) == ("withdrawn", sheet_id)
    assert again != sheet_id
    assert (person.asked, workspace.gateway.requests) == ([], [])


async def test_what_was_sent_is_not_withdrawn_and_the_answer_says_what_it_costs(workspace: Workspace) -> None:
    """No gateway documents a way back; the task goes on and its clip is saved."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, "legacy", types_in("0.24")) as client:
        sheet_id = await explained(client)
        task_id = (await client.call_tool("submit_video", {"sheet_id": sheet_id})).structured_content["task_id"]
        found = [await client.call_tool("cancel", {"id": subject}) for subject in (sheet_id, task_id)]

    for result in found:
        answer = result.structured_content
        assert (answer["status"], answer["task_id"]) == ("not_withdrawn", task_id)
        assert "0.24 USD" in answer["money"]
        assert answer["summary"] in text_of(result)
    assert workspace.service().task(task_id).task.state == "queued"


async def test_nothing_of_that_name_is_no_withdrawal(workspace: Workspace) -> None:
    """An id that does not exist is said to be unknown."""
    async with connect(workspace, "legacy") as client:
        text = await refused(client, "cancel", {"id": "sheet_nowhere"})

    assert "There is no" in text
