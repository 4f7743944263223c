"""Polling is never earlier than the gateway advises, never forgotten, and never hammers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.cards import PollAdvice
from callsheet.core.poll_schedule import (
    RETRY_AFTER_CEILING,
    SLOWEST_POLL,
    first_poll_delay,
    next_poll_delay,
    poll_schedule,
    retry_delay,
)
from callsheet.edges.config.catalogue_files import load_catalogue
from examples import examples

ADVICE = sorted({card.poll for card in load_catalogue().cards}, key=lambda advice: advice.source)
FINE = examples(80)

jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
ages = st.floats(min_value=0, max_value=10**7)
speeds = st.floats(min_value=1, max_value=1000)
advices = st.sampled_from(ADVICE)
lengths = st.sampled_from([None, 4, 8, 12, 20])
ADVISED = PollAdvice(10, 10, "page", (90, 300), least_every_seconds=5)


@given(advices, lengths, ages, jitters)
@FINE
def test_no_read_is_earlier_than_the_gateway_allows(
    advice: PollAdvice, length: int | None, elapsed: float, jitter: float
) -> None:
    """The first read waits as long as is advised, and no two reads are closer than the gateway's own programs'."""
    assert advice.least_every_seconds is not None
    assert first_poll_delay(advice, jitter=jitter) >= advice.first_after_seconds
    assert next_poll_delay(advice, elapsed=elapsed, clip_seconds=length) >= advice.least_every_seconds


@given(advices, lengths, ages, jitters)
@FINE
def test_a_read_is_never_put_off_beyond_three_minutes(
    advice: PollAdvice, length: int | None, elapsed: float, jitter: float
) -> None:
    """A task that hangs for weeks is still asked for every two minutes."""
    assert first_poll_delay(advice, jitter=jitter) <= 180
    assert next_poll_delay(advice, elapsed=elapsed, clip_seconds=length) <= SLOWEST_POLL


def test_before_the_usual_time_there_is_one_early_look() -> None:
    """After 10 to 15 s, then at the earliest end; never before the advised first wait."""
    assert first_poll_delay(ADVISED, jitter=0) == 10
    assert next_poll_delay(ADVISED, elapsed=10) == 80
    assert next_poll_delay(ADVISED, elapsed=88) == 5
    assert first_poll_delay(PollAdvice(120, 15, "page", (120, 360)), jitter=0) == 120


def test_the_first_read_alone_is_jittered_by_ten_seconds_at_most() -> None:
    """Tasks that were submitted together stay apart from then on."""
    assert 14.9 < first_poll_delay(ADVISED, jitter=0.999) < 15
    assert 129.9 < first_poll_delay(PollAdvice(120, 15, "page", (120, 360)), jitter=0.999) < 130


def test_within_the_usual_time_the_interval_falls_to_the_shortest() -> None:
    """From ten seconds where a finish becomes possible to the gateway's shortest where it is due."""
    found = [next_poll_delay(ADVISED, elapsed=age) for age in (90, 195, 300)]
    assert found == [10, 7.5, 5]


def test_after_the_usual_time_the_interval_grows_back_and_on() -> None:
    """Ten seconds at twice the usual time, then a tenth of the delay, then two minutes."""
    found = [next_poll_delay(ADVISED, elapsed=age) for age in (450, 600, 1000, 100_000)]
    assert found == [7.5, 10, 40, SLOWEST_POLL]


def test_where_callbacks_arrive_reads_are_a_minute_apart() -> None:
    """They are for the callback that was lost; the first wait to the earliest usual end stays."""
    found = [next_poll_delay(ADVISED, elapsed=age, called_back=True) for age in (10, 88, 200, 300, 600, 100_000)]
    assert found == [80, 60, 60, 60, 60, SLOWEST_POLL]


def test_a_documented_time_for_the_length_counts_before_the_models() -> None:
    """A short clip is asked for again earlier than a long one; a length without a figure has the model's."""
    advice = PollAdvice(10, 10, "page", (120, 360), usual_by_length=((4, (120, 240)), (12, (240, 360))))
    assert [next_poll_delay(advice, elapsed=150, clip_seconds=length) for length in (4, 12, 20, None)] == [
        10,
        90,
        10,
        10,
    ]
    assert [next_poll_delay(advice, elapsed=600, clip_seconds=length) for length in (4, 20)] == [12, 10]


def test_without_a_documented_time_the_shortest_known_one_is_assumed() -> None:
    """A gateway that names no time is asked like the quickest that does."""
    unnamed = PollAdvice(10, 10, "page", None, least_every_seconds=5)
    for age in (0, 45, 90, 200, 450, 5000):
        assert next_poll_delay(unnamed, elapsed=age) == next_poll_delay(ADVISED, elapsed=age)


def test_without_a_documented_shortest_interval_the_usual_one_is_kept_to() -> None:
    """Nothing is asked more often than some page of the gateway says."""
    advice = PollAdvice(10, 15, "page", (90, 300))
    assert {next_poll_delay(advice, elapsed=age) for age in (80, 90, 200, 300, 500, 600)} == {15}


def test_an_advised_interval_over_two_minutes_is_kept() -> None:
    """Our own ceiling never undercuts a slow gateway."""
    advice = PollAdvice(600, 600, "page", (60, 120))
    assert next_poll_delay(advice, elapsed=10**6) == 600


def test_a_clock_that_went_back_puts_nothing_off_for_long() -> None:
    """A negative age is a young task, asked again within two minutes."""
    assert next_poll_delay(ADVISED, elapsed=-3600) == SLOWEST_POLL


@given(advices, lengths, ages, jitters, speeds)
@FINE
def test_the_sandbox_runs_the_same_schedule_faster(
    advice: PollAdvice, length: int | None, elapsed: float, jitter: float, speed: float
) -> None:
    """At a speed of n every delay is an nth of what it is in life, at the same stage of the film."""
    first = first_poll_delay(advice, jitter=jitter)
    assert abs(first_poll_delay(advice, jitter=jitter, speed=speed) * speed - first) < 1e-6
    later = next_poll_delay(advice, elapsed=elapsed, clip_seconds=length)
    if all(abs(elapsed - bound) > 1e-3 for bound in _bounds(advice)):
        faster = next_poll_delay(advice, elapsed=elapsed / speed, clip_seconds=length, speed=speed)
        assert abs(faster * speed - later) < 1e-3


def _bounds(advice: PollAdvice) -> list[float]:
    """The ages at which the interval steps, where rounding decides."""
    spans = [advice.usual_seconds or (90.0, 300.0), *(span for _, span in advice.usual_by_length)]
    return [bound for span in spans for bound in span]


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


@given(advices, lengths)
@FINE
def test_what_is_said_of_the_schedule_is_what_is_done(advice: PollAdvice, length: int | None) -> None:
    """Each figure of the text is a read that `first_poll_delay` and `next_poll_delay` lead to."""
    plan = poll_schedule(advice, clip_seconds=length)

    def following(elapsed: float) -> float:
        return next_poll_delay(advice, elapsed=elapsed, clip_seconds=length)

    for jitter in (0.0, 0.5, 0.999):
        first = first_poll_delay(advice, jitter=jitter)
        assert plan.first[0] <= first <= plan.first[1]
    assert plan.first[0] + following(plan.first[0]) == plan.second
    assert (following(plan.second), following(plan.latest)) == (plan.loose, plan.dense)
    between = [plan.second + (plan.latest - plan.second) * share / 20 for share in range(21)]
    assert all(plan.dense <= following(elapsed) <= plan.loose for elapsed in between)
    assert max(following(plan.latest * factor) for factor in (1.5, 2, 5, 50, 5000)) == plan.slowest
