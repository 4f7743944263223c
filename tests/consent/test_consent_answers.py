"""Clients that answer without a person, or with another person's answer: none spends a cent, each learns what to do.

One server serves all cases of a transport and era. The same server then takes the one right answer and sends exactly
once, so that a gateway which could see no request at all would be noticed.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from consent.live_server import AMOUNT, SHOT, WAYS, CountingGateway, SharedServers, arm, environ_of, serving
from consent.wire import FORMS, MODERN, Message, Wire, silent, told

ways = pytest.mark.parametrize(("transport", "era"), WAYS, ids=["-".join(way) for way in WAYS])


def accept(content: object) -> Message:
    """The form comes back filled in with that."""
    return {"action": "accept", "content": content}


ANSWERS: dict[str, Message] = {
    "Codex, which accepts every form with nothing in it": accept({}),
    "a Claude hook that leaves the amount empty": accept({"amount_usd": ""}),
    "accept without a form": {"action": "accept"},
    "accept with null for a form": accept(None),
    "accept with a list for a form": accept([AMOUNT]),
    "another amount": accept({"amount_usd": "0.25"}),
    "an amount a hundred times the right one": accept({"amount_usd": "24"}),
    "nothing as an amount": accept({"amount_usd": "0"}),
    "the right amount with a sign": accept({"amount_usd": f"-{AMOUNT}"}),
    "the right amount twice": accept({"amount_usd": f"{AMOUNT} {AMOUNT}"}),
    "the right amount in another currency": accept({"amount_usd": f"{AMOUNT} EUR"}),
    "the right amount in other digits": accept({"amount_usd": "\u0660.\u0662\u0664"}),
    "the right amount with an exponent": accept({"amount_usd": "24e-2"}),
    "a word": accept({"amount_usd": "yes"}),
    "the words of the form": accept({"amount_usd": "the amount shown above"}),
    "another number": accept({"amount_usd": 1}),
    "no number": accept({"amount_usd": float("inf")}),
    "a truth value": accept({"amount_usd": True}),
    "null": accept({"amount_usd": None}),
    "a list": accept({"amount_usd": [AMOUNT]}),
    "an object": accept({"amount_usd": {"value": AMOUNT}}),
    "other fields": accept({"confirm": True, "approved": "yes", "amount": AMOUNT}),
    "decline": {"action": "decline"},
    "decline, with the amount": {"action": "decline", "content": {"amount_usd": AMOUNT}},
    "cancel": {"action": "cancel"},
    "cancel, with the amount": {"action": "cancel", "content": {"amount_usd": AMOUNT}},
    "an action that does not exist": {"action": "approve", "content": {"amount_usd": AMOUNT}},
    "no action": {"content": {"amount_usd": AMOUNT}},
}
NO_YES = ("approval_needed", "declined", "cancelled", "no_answer", "could_not_ask", "unusable_form")
WHAT_TO_DO = ("callsheet approve", "Call submit_video again", "call submit_video again")


NUMBERS = count()


def explain(wire: Wire) -> str:
    """A new sheet: no two have the same prompt."""
    shot = {**SHOT, "prompt": f"A red kite over dunes, number {next(NUMBERS)}."}
    return str(wire.call("explain_payload", shot)["structuredContent"]["sheet_id"])


def submit(wire: Wire, sheet_id: str, **how: Any) -> Message:
    """Call the one tool that may spend."""
    return wire.call("submit_video", {"sheet_id": sheet_id}, **how)


def list_tasks(wire: Wire) -> list[Message]:
    """The tasks that the server shows."""
    return list(wire.call("list_tasks", {})["structuredContent"]["tasks"])


def says_what_to_do(result: Message) -> bool:
    """Whether it is no success, and names something that may be done now."""
    status = (result.get("structuredContent") or {}).get("status")
    return status in (None, *NO_YES) and any(words in told(result) for words in WHAT_TO_DO)


def sends_once_when_a_person_answers(wire: Wire, gateway: CountingGateway) -> bool:
    """The control: a new sheet and the one right answer."""
    before = len(gateway.paid)
    result = submit(wire, explain(wire), answer=lambda _: accept({"amount_usd": AMOUNT}))
    return result["structuredContent"]["status"] == "accepted" and len(gateway.paid) - before == 1


@ways
def test_no_answer_but_the_amount_sends_anything(servers: SharedServers, transport: str, era: str) -> None:
    """Whatever a client, a hook or a script puts into the form; each answer names what a person can do."""
    silenced: list[str] = []
    client = servers.connect(transport, era)
    wire, before = client.wire, list_tasks(client.wire)
    for name, content in ANSWERS.items():
        asked = len(wire.questions)
        result = submit(wire, explain(wire), answer=lambda _, given=content: given)
        assert len(wire.questions) == asked + 1, name
        if not says_what_to_do(result):
            silenced.append(f"{name}: {json.dumps(result)[:300]}")
    assert client.gateway.paid == []
    assert list_tasks(wire) == before

    assert sends_once_when_a_person_answers(wire, client.gateway)
    assert silenced == []


@ways
@pytest.mark.parametrize(
    "capabilities",
    [{}, {"elicitation": {"url": {}}}, {"sampling": {}, "roots": {}}],
    ids=["nothing declared", "only addresses", "other things"],
)
def test_a_client_that_did_not_say_that_it_can_ask_is_not_asked(
    servers: SharedServers, transport: str, era: str, capabilities: dict[str, object]
) -> None:
    """Nobody is asked, nothing is sent, and the command for a terminal is named."""
    client = servers.connect(transport, era, capabilities)
    sheet_id = explain(client.wire)
    result = submit(client.wire, sheet_id, answer=lambda _: accept({"amount_usd": AMOUNT}))

    assert result["structuredContent"]["status"] == "approval_needed"
    assert result["structuredContent"]["approval_command"].endswith(f"callsheet approve {sheet_id}")
    assert client.wire.questions == []
    assert client.gateway.paid == []


@ways
def test_an_answer_to_one_sheet_is_none_to_another(servers: SharedServers, transport: str, era: str) -> None:
    """A recorder that plays back what a person once typed; the other sheet has another price."""
    client = servers.connect(transport, era)
    wire = client.wire
    assert sends_once_when_a_person_answers(wire, client.gateway)
    longer = wire.call("explain_payload", {**SHOT, "duration_seconds": 8})["structuredContent"]["sheet_id"]
    result = submit(wire, longer, answer=lambda _: accept({"amount_usd": AMOUNT}))

    assert says_what_to_do(result)
    assert "is not the amount shown" in told(result)
    assert len(client.gateway.paid) == 1


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_question_that_was_sealed_for_one_call_serves_no_other(
    tmp_path: Path, gateway: CountingGateway, transport: str
) -> None:
    """In the newer era the client brings question and answer back: for another sheet, altered, or unasked."""
    environ = environ_of(arm(tmp_path, gateway))
    with serving(transport, environ) as served:
        wire = served.connect(MODERN, FORMS)
        sheet_id, other = explain(wire), explain(wire)
        first = submit(wire, sheet_id, answer=silent)
        (name,) = first["inputRequests"]
        state, yes = first["requestState"], {name: accept({"amount_usd": AMOUNT})}

        def retry(arguments: Message, **sent: Any) -> Message:
            return wire.ask("tools/call", {"name": "submit_video", "arguments": arguments, **sent})

        refused = {
            "another sheet": retry({"sheet_id": other}, inputResponses=yes, requestState=state),
            "another argument": retry({"sheet_id": sheet_id, "confirm": True}, inputResponses=yes, requestState=state),
            "altered": retry({"sheet_id": sheet_id}, inputResponses=yes, requestState=state[:-4] + "AAAA"),
            "invented": retry({"sheet_id": sheet_id}, inputResponses=yes, requestState="v1.AAAA"),
            "no text": retry({"sheet_id": sheet_id}, inputResponses=yes, requestState=7),
        }
        unasked = retry({"sheet_id": sheet_id}, inputResponses=yes)

        assert {label: told(result) for label, result in refused.items() if not says_what_to_do(result)} == {}
        # An answer to a question that was not asked counts for nothing: the question comes again.
        assert unasked["resultType"] == "input_required"
        assert gateway.paid == []
    with serving(transport, environ) as served:
        wire = served.connect(MODERN, FORMS)
        late = wire.ask(
            "tools/call",
            {
                "name": "submit_video",
                "arguments": {"sheet_id": sheet_id},
                "inputResponses": yes,
                "requestState": state,
            },
        )

        assert says_what_to_do(late)
        assert gateway.paid == []
        assert sends_once_when_a_person_answers(wire, gateway)


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_right_answer_that_is_played_back_buys_nothing_more(servers: SharedServers, transport: str) -> None:
    """The same question and answer, again and again: the task of the first time."""
    client = servers.connect(transport, MODERN)
    wire = client.wire
    sheet_id = explain(wire)
    first = submit(wire, sheet_id, answer=silent)
    answers = {name: accept({"amount_usd": AMOUNT}) for name in first["inputRequests"]}
    call = {
        "name": "submit_video",
        "arguments": {"sheet_id": sheet_id},
        "inputResponses": answers,
        "requestState": first["requestState"],
    }
    statuses = [wire.ask("tools/call", call)["structuredContent"]["status"] for _ in range(5)]

    assert statuses == ["accepted", *["already_accepted"] * 4]
    assert len(client.gateway.paid) == 1


@ways
def test_what_changes_between_question_and_answer_voids_the_answer(
    servers: SharedServers, transport: str, era: str
) -> None:
    """Here another policy, put in place while the person reads."""
    client = servers.connect(transport, era)

    def answer(_: Message) -> Message:
        policy = client.home / "config" / "policy.toml"
        policy.write_text(policy.read_text(encoding="utf-8") + 'per_clip = "9.00"\n', encoding="utf-8")
        return accept({"amount_usd": AMOUNT})

    result = submit(client.wire, explain(client.wire), answer=answer)

    assert "this has changed: policy" in told(result)
    assert "Call explain_payload" in told(result)
    assert client.gateway.paid == []


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_question_that_nobody_answers_sends_nothing(servers: SharedServers, transport: str) -> None:
    """The client gives the call up, goes on with other calls, and answers far too late."""
    client = servers.connect(transport, "legacy")
    wire, before = client.wire, list_tasks(client.wire)
    sheet_id = explain(wire)
    late = wire.give_up("tools/call", {"name": "submit_video", "arguments": {"sheet_id": sheet_id}})
    assert list_tasks(wire) == before
    wire.reply_late(late, accept({"amount_usd": AMOUNT}))

    assert list_tasks(wire) == before
    assert client.gateway.paid == []
    assert sends_once_when_a_person_answers(wire, client.gateway)
    assert len(client.gateway.paid) == 1
