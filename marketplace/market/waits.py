"""How far jobs really start from what the replayed line says, learned as they start. PURE.

The replay knows only who stands in line now. Those who join later and pass, and those who leave, make a bid
of 1 start later than it says and one of 4 about then. So the logarithm of actual over replayed wait (both
plus `SMOOTH_SECONDS`) is followed per bid level by three quantiles, each moved a step by every start: up by
τ·step when the start was above it, down by (1 − τ)·step otherwise. At rest a share τ lies below it. (The
stochastic approximation of Robbins and Monro, 1951, for quantiles.) Steps and first guess were chosen on
simulated classes of other seeds than the benchmark's.
"""

import math
from dataclasses import dataclass

SMOOTH_SECONDS = 10.0  # a few seconds more or less of a short wait don't count
TAUS = (0.1, 0.5, 0.9)
UNPAID = 0  # the level of jobs without credits; else it is the bid
FIRST_STEP, LAST_STEP = 0.6, 0.05
LEAST_HIGH_SECONDS = 5.0
LONGEST = math.log(50)  # no ratio counts as more, so that one lost agent doesn't spoil an afternoon


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Logarithms of actual over replayed wait: one in ten, one in two and nine in ten are below."""

    low: float
    middle: float
    high: float
    count: int = 0


# Before anything was learned: jobs are passed by those that join later, so rather too late than too soon.
FIRST_GUESS = Quantiles(math.log(0.7), math.log(1.4), math.log(3.0))


def learned(known: Quantiles, replayed_seconds: float, actual_seconds: float) -> Quantiles:
    """The quantiles after one more start."""
    ratio = math.log(
        (max(0.0, actual_seconds) + SMOOTH_SECONDS) / (max(0.0, replayed_seconds) + SMOOTH_SECONDS)
    )
    ratio = max(-LONGEST, min(LONGEST, ratio))
    step = max(LAST_STEP, FIRST_STEP / math.sqrt(1 + known.count))
    moved = sorted(
        value + step * (tau if ratio > value else tau - 1)
        for value, tau in zip((known.low, known.middle, known.high), TAUS, strict=True)
    )
    return Quantiles(moved[0], moved[1], moved[2], known.count + 1)


def interval(known: Quantiles, replayed_seconds: float) -> tuple[float, float]:
    """Seconds until the start, from and to: eight in ten start between them. At once where a GPU is idle."""
    if replayed_seconds <= 0:
        return 0.0, LEAST_HIGH_SECONDS
    low, high = _scaled(replayed_seconds, known.low), _scaled(replayed_seconds, known.high)
    return low, max(LEAST_HIGH_SECONDS, high)


def middle(known: Quantiles, replayed_seconds: float) -> float:
    """Seconds until the start: one in two starts sooner."""
    return 0.0 if replayed_seconds <= 0 else _scaled(replayed_seconds, known.middle)


def _scaled(replayed_seconds: float, ratio: float) -> float:
    return max(0.0, (max(0.0, replayed_seconds) + SMOOTH_SECONDS) * math.exp(ratio) - SMOOTH_SECONDS)
