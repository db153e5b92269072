"""A simulated class of a hundred on four GPUs (S2) and one of twenty on one (S1): what the market gives them,
and what cheats gain. Means of sixteen seeds with their standard deviation."""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev
from typing import Any

from marketplace.market import simulation
from marketplace.market.policies.fair_share import FairShare
from marketplace.market.policies.fifo import Fifo
from marketplace.market.policies.market import Market
from marketplace.market.policies.round_robin import RoundRobin
from marketplace.market.simulated_class import S1, S2, Cheat, Scenario
from marketplace.market.simulation import Outcome

SEEDS = range(16)
WITH_GOAL = (Cheat.SPAM, Cheat.GIANT_BATCH, Cheat.ALWAYS_4X, Cheat.SHADING, Cheat.HOARDING)
FIGURES = {
    "wait_p50": "s",
    "wait_p95": "s",
    "urgent_p50": "s",
    "jain": "of 1, GPU-seconds of students",
    "useful": "of the GPUs' time",
    "jobs_an_hour": "jobs/h",
    "demo_mean": "s",
    "unpaid_share": "of jobs",
    "multiplier": "of the base price, mean",
}
Run = Callable[..., list[Outcome]]


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure. `fifo` is first come, first served without credits, as the line was before."""
    with multiprocessing.Pool() as pool:
        for name, scenario in (("s2", S2), ("s1", S1)):
            yield from _figures(name, scenario, pool.map, goals=scenario is S2)


def _figures(name: str, scenario: Scenario, each: Run, *, goals: bool) -> Iterable[dict[str, Any]]:
    plain = each(partial(simulation.simulate, replace(scenario, credits=False), Fifo()), SEEDS)
    honest = each(partial(simulation.simulate, scenario, Market(), forecasts=True), SEEDS)
    policies = {"fifo": plain, "market": honest}
    for policy in (FairShare(), RoundRobin()):
        policies[policy.name] = each(partial(simulation.simulate, scenario, policy), SEEDS)
    for policy_name, outcomes in policies.items():
        for figure, unit in FIGURES.items():
            values = [getattr(outcome, figure) for outcome in outcomes]
            yield _line(f"{name}_{policy_name}_{figure}", values, unit, **_goal(policy_name, figure, goals))
        worth = [100 * one.welfare / base.welfare for one, base in zip(outcomes, plain, strict=True)]
        goal = (150, None) if goals and policy_name == "market" else (None, None)
        yield _line(f"{name}_{policy_name}_welfare", worth, "fifo = 100", at_least=goal[0])
    yield from _coverage(name, honest, goals)
    for cheat in Cheat:
        cheating = each(partial(simulation.simulate, scenario, Market(), cheat=cheat), SEEDS)
        yield _gain(name, scenario, cheat, honest, cheating, goals)


def _goal(policy: str, figure: str, goals: bool) -> dict[str, float]:
    if not goals or figure != "urgent_p50":
        return {}
    return {"market": {"at_most": 20.0}, "fifo": {"at_least": 450.0}}.get(policy, {})


def _coverage(name: str, outcomes: Sequence[Outcome], goals: bool) -> Iterable[dict[str, Any]]:
    bounds = {"at_least": 80.0, "at_most": 95.0} if goals else {}
    told = [100 * outcome.coverage for outcome in outcomes]
    raw = 100 * fmean(outcome.raw_coverage for outcome in outcomes)
    reference = f"bare replay {raw:.0f} %"
    yield _line(f"{name}_eta_p90_coverage", told, "% of starts", reference, **bounds)
    for level in (0, 1, 2, 4):
        found = [dict(outcome.coverage_by_level).get(level) for outcome in outcomes]
        values = [100 * share for share in found if share is not None]
        if len(values) > 1:
            yield _line(f"{name}_eta_p90_coverage_{level}x", values, "% of starts")


def _gain(
    name: str,
    scenario: Scenario,
    cheat: Cheat,
    honest: Sequence[Outcome],
    cheating: Sequence[Outcome],
    goals: bool,
) -> dict[str, Any]:
    pairs = list(zip(honest, cheating, strict=True))
    values = [100 * simulation.gain(scenario, one, other) for one, other in pairs]
    first = simulation.cheaters(scenario)
    others = fmean(sum(other.worth[first:]) / sum(one.worth[first:]) - 1 for one, other in pairs)
    goal = {"at_most": 15.0} if goals and cheat in WITH_GOAL else {}
    return _line(f"{name}_gain_{cheat}", values, "%", f"everybody else {100 * others:+.1f} %", **goal)


def _line(
    name: str,
    values: Sequence[float],
    unit: str,
    reference: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> dict[str, Any]:
    mean = fmean(values)
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", at_least), ("<=", at_most)) if bound is not None]
    within = [mean >= at_least] if at_least is not None else []
    within += [mean <= at_most] if at_most is not None else []
    spread = f"± {stdev(values):.3g}"
    return {
        "name": f"workshop_{name}",
        "value": float(f"{mean:.4g}"),
        "unit": unit,
        "reference": f"{spread}; {reference}" if reference else spread,
        "goal": " and ".join(bounds) or None,
        "met": all(within) if within else None,
    }
