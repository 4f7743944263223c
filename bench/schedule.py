"""Simulates when finished clips are noticed: this program's poll schedule against a fixed one of 10 s.

No network and no waiting: `core.schedule` with the catalogue's advice, on generation times drawn from what
the gateways document. Nine of ten tasks end evenly within the usual time; one in ten is slow and ends up to twice
as late as usual and later (exponential, mean half of the latest usual time). Where nothing is documented it is
assumed: for APIDot the times of PoYo, its sister; for EvoLink 300 s give or take a quarter (its estimate).
Both schedules begin at acceptance; the fixed one asks every 10 s from there on.

    python bench/schedule.py [tasks] [seed]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from statistics import fmean, median, quantiles

from callsheet.core.catalogue import PollAdvice
from callsheet.core.poll_schedule import first_poll_delay, next_poll_delay
from callsheet.edges.config.catalogue_files import load_catalogue

FIXED_SECONDS = 10.0
SLOW_SHARE = 0.1
Ask = Callable[[float, random.Random], float]


def within(low: float, high: float) -> Callable[[random.Random], float]:
    """Even times between two bounds, and the slow tail."""

    def draw(dice: random.Random) -> float:
        if dice.random() < SLOW_SHARE:
            return high + dice.expovariate(2.0 / high)
        return dice.uniform(low, high)

    return draw


def around(middle: float, share: float) -> Callable[[random.Random], float]:
    """Times about a middle (logarithmically normal), and the slow tail."""

    def draw(dice: random.Random) -> float:
        if dice.random() < SLOW_SHARE:
            return middle + dice.expovariate(2.0 / middle)
        return middle * dice.lognormvariate(0.0, share)

    return draw


CASES: tuple[tuple[str, str, int, Callable[[random.Random], float]], ...] = (
    ("PoYo, 90-300 s", "poyo", 8, within(90, 300)),
    ("APIDot, as PoYo", "apidot", 8, within(90, 300)),
    ("APIXO, 4 s clip", "apixo", 4, within(120, 240)),
    ("APIXO, 8 s clip", "apixo", 8, within(180, 300)),
    ("APIXO, 12 s clip", "apixo", 12, within(240, 360)),
    ("EvoLink, about 300 s", "evolink", 8, around(300, 0.25)),
)


def follow(ends: float, first: float, after: Callable[[float], float]) -> tuple[int, float]:
    """How many reads it took, and how long after the end the one came that saw it."""
    age, polls = first, 1
    while age < ends:
        age += after(age)
        polls += 1
    return polls, age - ends


def ours(advice: PollAdvice, clip_seconds: int, ends: float, dice: random.Random) -> tuple[int, float]:
    """One task on this program's schedule."""
    first = first_poll_delay(advice, jitter=dice.random(), clip_seconds=clip_seconds)
    return follow(ends, first, lambda age: next_poll_delay(advice, elapsed=age, clip_seconds=clip_seconds))


def fixed(ends: float) -> tuple[int, float]:
    """One task asked for every ten seconds."""
    return follow(ends, FIXED_SECONDS, lambda _: FIXED_SECONDS)


def say(found: list[tuple[int, float]]) -> tuple[str, float, float, float]:
    """One schedule's figures as text and as numbers: mean polls, median delay, 95th percentile of the delay."""
    delays = [delay for _, delay in found]
    polls, middle, tail = fmean(count for count, _ in found), median(delays), quantiles(delays, n=20)[18]
    return f"{polls:5.1f} polls  median {middle:5.2f} s  p95 {tail:5.2f} s", polls, middle, tail


def main() -> None:
    """Draw the same times for both schedules and print them side by side."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    dice = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    catalogue = load_catalogue()
    print(f"{tasks} tasks each; delay is from finished to known; ratio is ours / fixed (polls, median, p95)")
    for name, gateway, clip_seconds, draw in CASES:
        advice = next(card.poll for card in catalogue.cards if card.gateway == gateway)
        times = [draw(dice) for _ in range(tasks)]
        mine, *here = say([ours(advice, clip_seconds, ends, dice) for ends in times])
        other, *there = say([fixed(ends) for ends in times])
        ratios = "  ".join(f"{one / two:.2f}" for one, two in zip(here, there, strict=True))
        print(f"{name:21} ours {mine}   fixed {other}   ratio {ratios}")


if __name__ == "__main__":
    main()
