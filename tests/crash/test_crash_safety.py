"""A sample of the crash sweep; `make crashtest` runs all of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_damage import LEDGER, MARK, MOMENTS, run_share
from crash_runner import SETTINGS, STRACE, CrashHarness, StraceProblem
from crash_sweep import check_order, open_harnesses, plan_scene, run_cases, sample

POINTS = 25
DAMAGES = 24


@pytest.fixture(scope="module")
def harnesses() -> Iterator[list[CrashHarness]]:
    """Two harnesses whose strace may attach."""
    if shutil.which(STRACE) is None:
        pytest.skip("strace is not installed")
    with open_harnesses(2) as made:
        try:
            made[0].log_calls("resolve")
        except StraceProblem as error:
            pytest.skip(f"strace may not attach to a process here: {error}")
        yield made


@pytest.mark.slow
def test_a_fault_at_any_call_never_buys_twice_and_loses_nothing(harnesses: list[CrashHarness]) -> None:
    """Killed, or refused by the disk, at calls spread over all scenes; a fresh process brings everything to its end."""
    cases = [case for scene in SETTINGS for case in plan_scene(harnesses[0], scene)]
    outcomes = run_cases(harnesses, sample(cases, POINTS))
    assert [(str(item.case), item.struck, item.violations) for item in outcomes if item.violations] == []
    assert sum(bool(item.struck) for item in outcomes) > POINTS // 2


@pytest.mark.slow
def test_the_ledger_is_on_disk_before_the_gateway_hears_anything(harnesses: list[CrashHarness]) -> None:
    """In the log of one submission, the last sync of the ledger comes before the connection to the gateway."""
    assert check_order(harnesses[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_damage_after_a_kill_never_buys_twice_and_loses_nothing_in_silence(tmp_path: Path, moment: str) -> None:
    """A sample over all files of the ledger, for each moment of a paid request's life."""
    verdicts = run_share(str(tmp_path), [moment], 0, 1, DAMAGES)

    assert [(str(item.damage), item.violations) for item in verdicts if item.violations] == []
    assert {LEDGER, MARK} <= {item.damage.file for item in verdicts}
