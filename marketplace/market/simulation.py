"""A whole class on a virtual clock: the real policies, matching, replay and waits, with made-up students.

PURE and seeded: the same scenario, policy, seed and cheat give the same outcome. Who sends what is
`simulated_class`, the GPUs are `simulated_fleet`, the course of events is `simulated_run`. Money is a purse
each, with the real holds, ceilings and clearing price.

What it shows of a policy: how long jobs wait, how evenly GPU time is spread, how much of it is useful, what
the class gets out of it (`Outcome.welfare`), whether a cheat pays (`gains`), how often the told time held.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

from marketplace.market.policies.base import Policy
from marketplace.market.simulated_class import URGENT, Cheat, Scenario
from marketplace.market.simulated_run import Run, cheaters

__all__ = ["Cheat", "Outcome", "Scenario", "cheaters", "compare", "gain", "gains", "simulate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one class. Waits in seconds from sending to a GPU's beginning with the job; nan where
    there is nothing to tell of."""

    wait_p50: float
    wait_p95: float
    wait_max: float
    urgent_p50: float  # of what loses half its worth each minute
    paid_p50: float  # of paid jobs, from entering the line
    unpaid_share: float
    jain: float  # of students' GPU-seconds: 1 all the same, 1/n one has all
    useful: float  # finished work over the time GPUs were there
    jobs_an_hour: float
    demo_mean: float
    wasted_seconds: float  # of GPUs, on what was stopped or lost
    multiplier: float  # mean of what paid jobs paid of the base price
    welfare: float  # worth of all jobs, each halved once a half-life of waiting
    worth: tuple[float, ...]  # the same by student
    coverage: float  # share of jobs that started within the p90 they were told
    coverage_by_level: tuple[tuple[int, float], ...]
    raw_coverage: float  # of the bare replay


def simulate(
    scenario: Scenario, policy: Policy, seed: int, cheat: Cheat | None = None, *, forecasts: bool = False
) -> Outcome:
    """One class. `cheat`: what the first students do, `scenario.cheater_share` of them. `forecasts`: tell
    each job when it would start, as the site does; takes several times as long."""
    run = Run(scenario, policy, seed, cheat, forecasts)
    run.go()
    return _outcome(scenario, run)


def compare(
    scenario: Scenario, policies: Iterable[Policy], seeds: Sequence[int], *, each: Callable[..., Any] = map
) -> dict[str, list[Outcome]]:
    """Policy's name → its outcome of each seed. `each` may be a process pool's `map`."""
    return {policy.name: list(each(partial(simulate, scenario, policy), seeds)) for policy in policies}


def gains(
    scenario: Scenario, policy: Policy, cheat: Cheat, seeds: Sequence[int], *, each: Callable[..., Any] = map
) -> list[float]:
    """By seed: how much more the cheaters get than the same students being honest; 0.1 is 10 %."""
    honest = each(partial(simulate, scenario, policy), seeds)
    cheating = each(partial(simulate, scenario, policy, cheat=cheat), seeds)
    return [gain(scenario, *pair) for pair in zip(honest, cheating, strict=True)]


def gain(scenario: Scenario, honest: Outcome, cheating: Outcome) -> float:
    """The cheaters' gain in one pair of outcomes of the same seed."""
    count = cheaters(scenario)
    return sum(cheating.worth[:count]) / sum(honest.worth[:count]) - 1


# --- measuring -----------------------------------------------------------------------------------


def _outcome(scenario: Scenario, run: Run) -> Outcome:
    jobs = [job for job in run.jobs if not job.demo and job.started_at is not None]
    demos = [job.wait_seconds for job in run.jobs if job.demo and job.started_at is not None]
    told = [job for job in jobs if job.told is not None and job.tries == 1]
    in_time = [(job.level, job.wait_seconds <= job.told[1]) for job in told if job.told is not None]
    wait = sorted(job.wait_seconds for job in jobs)
    paid = [job for job in jobs if not job.unpaid]
    used = [owner.used_seconds for owner in run.owners]
    done = [job for job in jobs if job.ended_at is not None and job.ended_at <= scenario.seconds]
    return Outcome(
        wait_p50=_middle(wait),
        wait_p95=wait[int(0.95 * (len(wait) - 1))] if wait else math.nan,
        wait_max=wait[-1] if wait else math.nan,
        urgent_p50=_middle([job.wait_seconds for job in jobs if job.wish.urgency == URGENT]),
        paid_p50=_middle([job.wait_seconds + job.sent_at - job.entered_at for job in paid]),
        unpaid_share=1 - len(paid) / len(jobs) if jobs else math.nan,
        jain=sum(used) ** 2 / (len(used) * sum(each**2 for each in used)) if any(used) else math.nan,
        useful=sum(card.useful_seconds for card in run.cards) / sum(card.up_seconds for card in run.cards),
        jobs_an_hour=len(done) / scenario.hours,
        demo_mean=_mean(demos),
        wasted_seconds=run.wasted_seconds,
        multiplier=_mean([job.multiplier for job in paid]),
        welfare=sum(owner.worth for owner in run.owners),
        worth=tuple(owner.worth for owner in run.owners),
        coverage=_mean([held for _level, held in in_time]),
        coverage_by_level=tuple(
            (level, _mean([held for of, held in in_time if of == level]))
            for level in sorted({level for level, _held in in_time})
        ),
        raw_coverage=_mean([job.wait_seconds <= (job.replayed_seconds or 0.0) for job in told]),
    )


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
