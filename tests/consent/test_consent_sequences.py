"""No sequence of calls buys anything, whatever an agent calls its arguments; the same server makes a real purchase."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from callsheet.core.catalogue.cards import Decimal
from callsheet.core.consent import amount_matches
from consent.hostile_client import NOT_THE_AMOUNT, HostileAgent
from consent.live_server import AMOUNT, SHOT, WAYS, CountingGateway, approve, arm, environ_of, serving
from consent.wire import FORMS

SEQUENCES = 100
MORE = 500
NEW_SHEET_EACH = 25


@pytest.mark.slow
@pytest.mark.parametrize("sequences", [SEQUENCES, pytest.param(MORE, marks=pytest.mark.torture)])
@pytest.mark.parametrize(("transport", "era"), WAYS, ids=["-".join(way) for way in WAYS])
def test_no_sequence_of_calls_spends_without_a_persons_act(
    tmp_path: Path, gateway: CountingGateway, transport: str, era: str, sequences: int
) -> None:
    """Sequences in live mode against one server; then a person approves a sheet that was argued about, once.

    `make torture` tries more of them, other ones in each run.
    """
    seed = int(os.environ.get("CALLSHEET_SEED") or (int.from_bytes(os.urandom(4), "big") if sequences == MORE else 1))
    random = Random(f"{seed} {transport} {era}")
    agent = HostileAgent(random)
    refused = 0
    with serving(transport, environ_of(arm(tmp_path, gateway))) as served:
        wire = served.connect(era, FORMS)
        for number in range(sequences):
            if number % NEW_SHEET_EACH == 0:
                shot = {**SHOT, "prompt": f"A red kite over dunes, number {number}."}
                agent.sheets.append(wire.call("explain_payload", shot)["structuredContent"]["sheet_id"])
            calls = list(agent.sequence())
            for method, params, capabilities in calls:
                result = wire.ask(method, params, answer=agent.answer, capabilities=capabilities)
                refused += "error" in result or bool(result.get("isError"))
            assert gateway.paid == [], f"CALLSHEET_SEED={seed}, sequence {number}: {json.dumps(calls)}"
        # Not even a task was made that could still go out.
        assert wire.call("list_tasks", {})["structuredContent"]["tasks"] == [], f"CALLSHEET_SEED={seed}"
        assert refused > sequences
        assert len(wire.questions) > sequences / 20

        sheet_id = random.choice(agent.sheets)
        approve(tmp_path, sheet_id)
        statuses = [wire.call("submit_video", {"sheet_id": sheet_id})["structuredContent"]["status"] for _ in range(3)]
        assert gateway.arrived.wait(30)
    assert statuses == ["accepted", "already_accepted", "already_accepted"]
    assert len(gateway.paid) == 1
    assert json.loads(gateway.paid[0])["input"]["prompt"].startswith("A red kite over dunes, number ")


def test_the_hostile_agent_never_answers_with_the_amount() -> None:
    """It would be a person's act as far as the server can tell, and the test would prove nothing."""
    typed = [(content or {}).get("amount_usd") for content in NOT_THE_AMOUNT]

    assert not any(amount_matches(str(amount), Decimal(AMOUNT)) for amount in typed if not isinstance(amount, list))
