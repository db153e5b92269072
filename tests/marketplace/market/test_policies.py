"""Policies write a job's place in line."""

from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Workshop
from marketplace.market.policies import registry
from marketplace.market.policies.base import JobFacts, StudentFacts

TIMES = st.integers(0, 2**50)


@given(TIMES, TIMES, st.sampled_from([1, 2, 4]))
def test_first_come_first_served_whatever_one_bids(first: int, second: int, bid: int) -> None:
    fifo = registry.named("fifo")
    one = fifo.key(JobFacts(first, 1.0, bid=1), StudentFacts(), 0)
    other = fifo.key(JobFacts(second, 1.0, bid=bid), StudentFacts(gpu_seconds=1e6), 0)
    assert (one < other) == (first < second)


def test_a_demo_stands_before_students() -> None:
    fifo = registry.named("fifo")
    demo = fifo.key(JobFacts(10**9, 1.0, demo=True), StudentFacts(), 0)
    assert demo < fifo.key(JobFacts(0, 1.0), StudentFacts(), 0)


def test_all_pay_the_base_price_in_turn() -> None:
    assert registry.named("fifo").price(JobFacts(0, 1.0, bid=4), runner_up_key_ms=5) == 1.0
    assert not registry.named("fifo").preempts(JobFacts(0, 1.0, bid=4))


def test_every_mode_a_workshop_can_choose_queues_somehow() -> None:
    for name in Workshop.Policy.values:
        assert registry.named(name).rule
