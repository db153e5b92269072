"""How well calibration finds the hidden factors of twenty synthetic fleets."""

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from tests.benchmarks import synthetic_fleet

SEEDS = range(20)


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure: name, value, unit, reference, ratio, goal, met."""
    outcomes = [synthetic_fleet.outcome(seed) for seed in SEEDS]
    error, coverage = fmean(each for each, _ in outcomes), fmean(each for _, each in outcomes)
    shared = {"reference": None, "ratio": None}
    yield {
        "name": "calibration_error",
        "value": round(100 * error, 2),
        "unit": "% mean error after 10 runs",
        **shared,
        "goal": "<= 20 %",
        "met": error <= 0.20,
    }
    yield {
        "name": "calibration_p90_coverage",
        "value": round(100 * coverage, 2),
        "unit": "% of runs under their p90",
        **shared,
        "goal": "85-97 %",
        "met": 0.85 <= coverage <= 0.97,
    }
