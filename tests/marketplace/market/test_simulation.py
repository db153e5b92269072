"""A simulated class: tiny ones, and what must hold of each."""

from dataclasses import replace

import pytest

from marketplace.market import simulation
from marketplace.market.policies import registry
from marketplace.market.policies.fifo import Fifo
from marketplace.market.policies.market import Market
from marketplace.market.simulated_class import S1, S2, Cheat
from marketplace.market.simulated_run import Run

SMALL = replace(S2, students=24, hours=1.0, gpus=((24, 0.36), (80, 0.9)))


def test_the_same_seed_gives_the_same_class() -> None:
    one, other = (simulation.simulate(SMALL, Market(), 5) for _ in range(2))
    assert one.worth == other.worth
    assert one.worth != simulation.simulate(SMALL, Market(), 6).worth


@pytest.mark.parametrize("name", sorted(registry.POLICIES))
def test_every_policy_runs_every_job(name: str) -> None:
    run = Run(SMALL, registry.named(name), 1, None, False)
    run.go()
    assert all(job.ended_at is not None for job in run.jobs)
    assert not list(run.line)
    assert all(owner.in_flight == 0 and not owner.held_back for owner in run.owners)


def test_nobody_spends_more_than_was_given() -> None:
    run = Run(SMALL, Market(), 2, Cheat.ALWAYS_4X, False)
    run.go()
    assert all(0 <= owner.available_milli <= SMALL.allowance_milli for owner in run.owners)
    assert all(1.0 <= job.multiplier <= job.bid for job in run.jobs)


def test_what_is_above_the_cap_enters_later() -> None:
    run = Run(SMALL, Market(), 3, Cheat.SPAM, False)
    run.go()
    spam = [job for job in run.jobs if job.owner.number == 0]
    at_once = [job for job in spam if job.entered_at == job.sent_at == spam[0].sent_at]
    assert len(at_once) == SMALL.max_in_flight
    assert sum(job.entered_at > job.sent_at for job in spam) >= 17


def test_jobs_keep_to_gpus_that_hold_them() -> None:
    run = Run(SMALL, Fifo(), 1, None, False)
    run.go()
    large = [job for job in run.jobs if job.wish.model.vram_gib > 24]
    assert large
    assert all(job.gpus == (1,) for job in large)


def test_a_demo_waits_less_than_a_student() -> None:
    outcome = simulation.simulate(SMALL, Market(), 4)
    assert outcome.demo_mean < 30 < outcome.wait_p50


def test_bids_buy_an_earlier_start() -> None:
    plain, market = (simulation.simulate(SMALL, policy, 1) for policy in (Fifo(), Market()))
    assert market.urgent_p50 < plain.urgent_p50 / 2
    assert market.welfare > plain.welfare


def test_told_times_hold_for_most() -> None:
    outcome = simulation.simulate(SMALL, Market(), 2, forecasts=True)
    assert outcome.coverage > outcome.raw_coverage
    assert outcome.coverage > 0.7


def test_never_paying_doesnt_pay() -> None:
    small = replace(SMALL, cheater_share=0.5)
    found = simulation.gains(small, Market(), Cheat.NEVER_PAY, [1])
    assert found[0] < -0.5


def test_policies_are_compared_on_the_same_students() -> None:
    tiny = replace(S1, students=4, hours=0.5)
    found = simulation.compare(tiny, [Fifo(), Market()], [1, 2])
    assert {name: len(outcomes) for name, outcomes in found.items()} == {"fifo": 2, "market": 2}
