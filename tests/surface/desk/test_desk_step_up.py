"""The step-up check by itself: one passphrase try at a time, and a challenge for one subject."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import anyio
import pytest

from callsheet.core.signatures import build_statement, challenge_of
from callsheet.edges.keys.passphrase import write_verifier
from callsheet.errors import NotApproved
from callsheet.surface.desk.sessions import Session
from callsheet.surface.desk.step_up import (
    CHALLENGE_SECONDS,
    PAUSE_SECONDS,
    TRIES,
    Challenges,
    PassphraseCheck,
)
from samples import CHEAP

PASSPHRASE = "a heron over the reeds"


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def build_check(directory: Path, clock: Clock, pauses: list[int]) -> PassphraseCheck:
    """A check against a passphrase that a person has set."""
    verifier = directory / "approval-verifier"
    write_verifier(verifier, PASSPHRASE, cost=CHEAP)
    return PassphraseCheck(verifier, clock, pauses.append)


async def try_all(check: PassphraseCheck, typed: list[str]) -> list[str]:
    """Type all of these at the same moment; the codes of the answers, and `right` for a right one."""
    codes: list[str] = []

    async def go(passphrase: str) -> None:
        try:
            await check.check(passphrase)
            codes.append("right")
        except NotApproved as error:
            codes.append(error.error_code)

    async with anyio.create_task_group() as group:
        for passphrase in typed:
            group.start_soon(go, passphrase)
    return codes


async def test_tries_at_the_same_moment_are_no_more_than_one_after_the_other(tmp_path: Path) -> None:
    """Of forty wrong ones five are checked; the pause is announced once."""
    pauses: list[int] = []
    check = build_check(tmp_path, Clock(), pauses)

    codes = await try_all(check, ["a guess"] * 40)

    assert (codes.count("wrong_passphrase"), codes.count("too_many_tries")) == (TRIES, 40 - TRIES)
    assert (check.wrong, pauses) == (TRIES, [TRIES])


async def test_a_right_one_among_forty_guesses_comes_too_late(tmp_path: Path) -> None:
    """Whoever tries many at once does not learn which was right."""
    check = build_check(tmp_path, Clock(), [])

    codes = await try_all(check, [*["a guess"] * 39, PASSPHRASE])

    assert "right" not in codes


async def test_after_the_pause_there_is_one_try_a_minute(tmp_path: Path) -> None:
    """And a right one ends the counting."""
    clock, pauses = Clock(), []
    check = build_check(tmp_path, clock, pauses)
    await try_all(check, ["a guess"] * TRIES)

    clock.time += PAUSE_SECONDS - 1
    assert await try_all(check, [PASSPHRASE]) == ["too_many_tries"]
    clock.time += 1
    assert await try_all(check, ["a guess"] * 3) == ["wrong_passphrase", "too_many_tries", "too_many_tries"]
    clock.time += PAUSE_SECONDS
    assert await try_all(check, [PASSPHRASE]) == ["right"]
    assert check.wrong == 0
    assert pauses == [TRIES, TRIES + 1]


async def test_an_empty_field_is_no_try(tmp_path: Path) -> None:
    """Somebody pressed the button too early."""
    check = build_check(tmp_path, Clock(), [])

    assert await try_all(check, [""] * (TRIES + 1)) == ["wrong_passphrase"] * (TRIES + 1)
    assert await try_all(check, [PASSPHRASE]) == ["right"]


def test_a_challenge_is_of_its_subject_and_of_its_nonce() -> None:
    """The same nonce for another subject is another challenge, however the two are cut."""
    pairs = [("a", "n"), ("b", "n"), ("a", "m"), ("an", ""), ("", "an"), ("a;1:n", ""), ("a", "n;"), ("1:a;1", "n")]

    assert all(build_statement(*one) != build_statement(*other) for one, other in combinations(pairs, 2))


@pytest.mark.parametrize("what", ["subject", "session", "time", "nonce"])
def test_a_challenge_is_redeemed_only_as_it_was_issued_and_is_used_up_by_the_attempt(what: str) -> None:
    """For its subject, in its session, in its time."""
    clock = Clock()
    challenges = Challenges(clock)
    mine, theirs = Session(ends=1e9), Session(ends=1e9)
    nonce, _ = challenges.issue(mine, "sheet_a")
    clock.time += CHALLENGE_SECONDS + (what == "time")

    with pytest.raises(NotApproved):
        challenges.redeem(
            theirs if what == "session" else mine,
            "sheet_b" if what == "subject" else "sheet_a",
            f"{nonce}x" if what == "nonce" else nonce,
        )
    if what != "nonce":
        with pytest.raises(NotApproved):
            challenges.redeem(mine, "sheet_a", nonce)


def test_a_challenge_is_valid_until_its_last_second_and_once() -> None:
    """What is verified is what was issued."""
    clock = Clock()
    challenges, session = Challenges(clock), Session(ends=1e9)
    nonce, challenge = challenges.issue(session, "sheet_a")
    clock.time += CHALLENGE_SECONDS

    statement = challenges.redeem(session, "sheet_a", nonce)
    assert statement == build_statement("sheet_a", nonce)
    assert challenge == challenge_of(statement)
    with pytest.raises(NotApproved):
        challenges.redeem(session, "sheet_a", nonce)
