"""From demand to a quoted price, and from measured seconds to what is paid. Pure arithmetic.

All amounts are integer milli-credits in steps of 10; the lines of a quote add up to it exactly.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from accounts.ledger import credits
from jobs.job_types.base import Demand, DemandLine
from marketplace.pricing.rates import Rate

CEILING = Fraction(5, 4)  # of the quote: never charged beyond
STOP = 3  # times the quote: the job is stopped there
MINIMUM_MILLI = credits.STEP_MILLI
LARGEST_MILLI = credits.MAX_MILLI // 100  # leaves room for a ceiling at any bid


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line of a quote. `free`: shown, never charged (model loading)."""

    label: str
    node: str
    gpu_seconds: float
    amount_milli: int
    words: str
    free: bool = False


@dataclass(frozen=True, slots=True)
class PricedQuote:
    """A price at bid 1. `seconds_p50`, `seconds_p90`: running on the reference GPU, loading apart."""

    lines: tuple[LineItem, ...]
    quote_milli: int
    ceiling_milli: int
    gpu_seconds: float
    seconds_p50: float
    seconds_p90: float
    loading_seconds: float
    milli_per_gpu_second: int | Fraction
    rate_version: int


class Priced(Protocol):
    """What settlement must know of a quote: a PricedQuote or its stored row."""

    @property
    def gpu_seconds(self) -> float: ...
    @property
    def milli_per_gpu_second(self) -> int | Fraction: ...
    @property
    def ceiling_milli(self) -> int: ...


def price(demand: Demand, rate: Rate) -> PricedQuote:
    """The quote of a demand: seconds × rate, rounded up, at least 10 milli-credits; ceiling 1.25 × that."""
    exact = Fraction(demand.gpu_seconds) * rate.milli_per_gpu_second
    total = max(MINIMUM_MILLI, credits.round_up(min(exact, Fraction(LARGEST_MILLI))))
    return PricedQuote(
        lines=_itemised(demand.lines, total),
        quote_milli=total,
        ceiling_milli=credits.round_up(CEILING * total),
        gpu_seconds=demand.gpu_seconds,
        seconds_p50=demand.gpu_seconds,
        seconds_p90=demand.gpu_seconds * demand.band,
        loading_seconds=demand.loading_seconds,
        milli_per_gpu_second=rate.milli_per_gpu_second,
        rate_version=rate.version,
    )


def settle(charged_ms: int, quote: Priced, multiplier: int | Fraction | float = 1) -> int:
    """What is captured for `charged_ms` of normalised GPU time: min(actual, 1.25 × quote) × price ×
    clearing multiplier, to the nearest step, and never above the ceiling at that multiplier."""
    seconds = min(Fraction(max(0, charged_ms), 1000), CEILING * Fraction(quote.gpu_seconds))
    exact = seconds * Fraction(quote.milli_per_gpu_second) * Fraction(multiplier)
    return min(credits.round_nearest(exact), ceiling_at(quote, multiplier))


def ceiling_at(quote: Priced, multiplier: int | Fraction | float) -> int:
    """The most that can be charged at a bid, which is what is held."""
    return credits.round_up(quote.ceiling_milli * Fraction(multiplier))


def stop_after_ms(quote: Priced) -> int:
    """Normalised running time after which a job is over budget."""
    return math.ceil(STOP * Fraction(quote.gpu_seconds) * 1000)


def _itemised(lines: tuple[DemandLine, ...], total_milli: int) -> tuple[LineItem, ...]:
    """The lines with amounts that add up to the total: whole steps by share of the nanoseconds, the rest to
    the largest parts cut off."""
    total_steps = total_milli // credits.STEP_MILLI
    weights = [0 if line.loader else round(line.gpu_seconds * 1e9) for line in lines]
    whole = sum(weights) or 1
    steps = [weight * total_steps // whole for weight in weights]
    left = total_steps - sum(steps)
    charged = [index for index, line in enumerate(lines) if not line.loader]
    for index in sorted(charged, key=lambda i: (-(weights[i] * total_steps % whole), i))[:left]:
        steps[index] += 1
    return tuple(
        LineItem(line.label, line.node, line.gpu_seconds, count * credits.STEP_MILLI, line.words, line.loader)
        for line, count in zip(lines, steps, strict=True)
    )
