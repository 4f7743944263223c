"""Two processes of twenty threads each spend one approval."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from consent.live_server import SHOT, CountingGateway, approve, arm, environ_of, serving
from consent.wire import MODERN
from warm_start import start
from workspace import account_of

THREADS = 20
RACER = Path(__file__).with_name("racer.py")


@pytest.mark.slow
def test_forty_calls_in_two_processes_buy_one_clip(tmp_path: Path, gateway: CountingGateway) -> None:
    """Each runs the whole of `Service.submit` with a watcher; one submits, 39 are told of the same task."""
    environ = environ_of(arm(tmp_path, gateway))
    with serving("stdio", environ) as served:
        wire = served.connect(MODERN, {})
        sheet_id = wire.call("explain_payload", SHOT)["structuredContent"]["sheet_id"]
    approve(tmp_path, sheet_id)
    racers = [
        start(
            [sys.executable, str(RACER), sheet_id, str(THREADS), str(account_of(tmp_path))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=environ,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        told = [answer for racer in racers for answer in json.loads(racer.communicate(timeout=120)[0])]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()

    assert len(told) == 2 * THREADS
    assert [answer["error"] for answer in told if "error" in answer] == []
    assert Counter(answer["status"] for answer in told) == {"accepted": 1, "already_accepted": 2 * THREADS - 1}
    assert {(answer["task"], answer["gateway"]) for answer in told} == {(told[0]["task"], "task-1")}
    assert len(gateway.paid) == 1
