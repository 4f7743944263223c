"""Polling is never earlier than the gateway advises, never forgotten, and never hammers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.core.catalogue import PollAdvice
from callsheet.core.schedule import (
    RETRY_AFTER_CEILING,
    SLOWEST_POLL,
    first_poll_delay,
    next_poll_delay,
    retry_delay,
)
from callsheet.edges.catalogue_files import load_catalogue

ADVICE = sorted({card.poll for card in load_catalogue().cards}, key=lambda advice: advice.source)
FINE = settings(max_examples=80, deadline=None)

jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
ages = st.floats(min_value=0, max_value=10**7)
speeds = st.floats(min_value=1, max_value=1000)
advices = st.sampled_from(ADVICE)


@given(advices, ages, jitters)
@FINE
def test_no_read_is_earlier_than_the_gateway_advises(advice: PollAdvice, elapsed: float, jitter: float) -> None:
    """Neither the first read nor any later one comes before its advised time."""
    assert first_poll_delay(advice, jitter=jitter) >= advice.default_first_seconds
    assert next_poll_delay(advice, elapsed=elapsed, jitter=jitter) >= advice.every_seconds


@given(advices, ages, jitters)
@FINE
def test_a_read_is_never_put_off_beyond_two_minutes_and_a_fifth(
    advice: PollAdvice, elapsed: float, jitter: float
) -> None:
    """A task that hangs for weeks is still asked for."""
    assert first_poll_delay(advice, jitter=jitter) <= advice.default_first_seconds * 1.2
    assert next_poll_delay(advice, elapsed=elapsed, jitter=jitter) <= SLOWEST_POLL * 1.2


@given(advices, ages, ages, jitters)
@FINE
def test_an_older_task_is_asked_for_no_more_often(advice: PollAdvice, one: float, other: float, jitter: float) -> None:
    """The interval only grows with the age of the task."""
    younger, older = sorted((one, other))
    delays = [next_poll_delay(advice, elapsed=age, jitter=jitter) for age in (younger, older)]
    assert delays[0] <= delays[1]


def test_within_twice_its_usual_time_a_task_keeps_the_gateways_interval() -> None:
    """Patience: the interval starts to grow only after twice the usual time, or ten minutes."""
    named = PollAdvice(10, 10, (90, 300), "page")
    unnamed = PollAdvice(10, 10, None, "page")
    for advice in (named, unnamed):
        assert next_poll_delay(advice, elapsed=600, jitter=0) == 10
        assert next_poll_delay(advice, elapsed=1000, jitter=0) == 40
        assert next_poll_delay(advice, elapsed=100_000, jitter=0) == SLOWEST_POLL


def test_an_advised_interval_over_two_minutes_is_kept() -> None:
    """Our own ceiling never undercuts a slow gateway."""
    advice = PollAdvice(600, 600, (60, 120), "page")
    assert next_poll_delay(advice, elapsed=10**6, jitter=0) == 600


def test_a_clock_that_went_back_changes_nothing() -> None:
    """A negative age is a young task."""
    assert next_poll_delay(PollAdvice(10, 10, None, "page"), elapsed=-3600, jitter=0) == 10


@given(advices, ages, jitters, speeds)
@FINE
def test_the_sandbox_runs_the_same_schedule_faster(
    advice: PollAdvice, elapsed: float, jitter: float, speed: float
) -> None:
    """At a speed of n every delay is an nth of what it is in life, at the same stage of the film."""
    first = first_poll_delay(advice, jitter=jitter)
    later = next_poll_delay(advice, elapsed=elapsed, jitter=jitter)
    assert abs(first_poll_delay(advice, jitter=jitter, speed=speed) * speed - first) < 1e-6
    assert abs(next_poll_delay(advice, elapsed=elapsed / speed, jitter=jitter, speed=speed) * speed - later) < 1e-3


@given(st.integers(min_value=0, max_value=10_000), jitters)
@FINE
def test_failures_make_the_next_try_later_but_never_too_late(failures: int, jitter: float) -> None:
    """The steps double from five seconds up to two minutes, and at least half of a step is always waited."""
    delay = retry_delay(failures, retry_after=None, jitter=jitter)
    assert 2.5 <= delay <= SLOWEST_POLL
    assert delay <= retry_delay(failures + 1, retry_after=None, jitter=jitter)
    assert retry_delay(failures, retry_after=None, jitter=jitter, speed=10.0) * 10.0 <= delay * 1.000001


def test_the_first_failures_wait_the_documented_steps() -> None:
    """Half a step at no jitter: 2.5, 5, 10, 20, 40, then 60 seconds."""
    found = [retry_delay(failures, retry_after=None, jitter=0) for failures in (0, 1, 2, 3, 4, 5, 6, 99)]
    assert found == [2.5, 2.5, 5, 10, 20, 40, 60, 60]


@given(st.floats(allow_nan=False), jitters, st.integers(min_value=0, max_value=9))
@FINE
def test_retry_after_is_kept_to_within_bounds(retry_after: float, jitter: float, failures: int) -> None:
    """The gateway's own wait counts whatever the failures, never negative and never over five minutes."""
    delay = retry_delay(failures, retry_after=retry_after, jitter=jitter)
    assert 0 <= delay <= RETRY_AFTER_CEILING + 1
    assert delay >= min(retry_after, RETRY_AFTER_CEILING)


def test_retry_after_is_not_hurried_in_the_sandbox() -> None:
    """A wait that a gateway names is its own figure at any speed."""
    assert retry_delay(3, retry_after=7, jitter=0, speed=30) == 7
