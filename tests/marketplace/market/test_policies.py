"""Policies write a job's place in line and, in the market, its price."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Workshop
from marketplace.market.policies import registry
from marketplace.market.policies.base import BIDS, UNPAID_LATER_MS, JobFacts, StudentFacts

TIMES = st.integers(0, 2**45)
LENGTHS = st.floats(0, 3600)
STUDENTS = st.builds(
    StudentFacts, st.floats(0, 10_000), st.floats(0, 10_000), st.integers(0, 50), st.integers(0, 50)
)
JOBS = st.builds(JobFacts, TIMES, LENGTHS, st.sampled_from(BIDS), unpaid=st.booleans())
NOBODY = StudentFacts()
MINUTE_MS = 60_000


@given(TIMES, TIMES, st.sampled_from(BIDS))
def test_first_come_first_served_whatever_one_bids(first: int, second: int, bid: int) -> None:
    fifo = registry.named("fifo")
    one = fifo.key(JobFacts(first, 1.0, bid=1), NOBODY, 0)
    other = fifo.key(JobFacts(second, 1.0, bid=bid), StudentFacts(gpu_seconds=1e6), 0)
    assert (one < other) == (first < second)


@pytest.mark.parametrize("name", Workshop.Policy.values)
@given(job=JOBS, other=JOBS, student=STUDENTS)
def test_a_demo_stands_before_students_in_every_mode(
    name: str, job: JobFacts, other: JobFacts, student: StudentFacts
) -> None:
    policy = registry.named(name)
    demo = replace(job, demo=True, unpaid=False)
    assert policy.key(demo, student, 0) < policy.key(other, student, 0)
    assert (policy.preempts(demo), policy.preempts(other)) == (True, False)


@pytest.mark.parametrize("name", [name for name in Workshop.Policy.values if name != "market"])
@given(job=JOBS, runner_up=st.none() | TIMES)
def test_without_a_market_all_pay_the_base_price(name: str, job: JobFacts, runner_up: int | None) -> None:
    policy = registry.named(name)
    assert policy.price(job, runner_up) == 1.0
    assert policy.key(job, NOBODY, 0) == policy.key(replace(job, bid=1), NOBODY, 0)


def test_every_mode_a_workshop_can_choose_has_a_file_and_a_rule() -> None:
    assert set(registry.POLICIES) == set(Workshop.Policy.values)
    assert all(policy.rule and policy.__doc__ for policy in registry.POLICIES.values())
    assert registry.named(registry.DEFAULT).name == Workshop._meta.get_field("policy").default


def test_the_sites_priority_classes_are_not_the_students_to_choose() -> None:
    policy = registry.named("priority")
    last, student = JobFacts(0, 1.0, unpaid=True), JobFacts(5, 1.0, bid=4)
    staff, demo = JobFacts(9, 1.0, staff=True), JobFacts(10, 1.0, demo=True)
    keys = [policy.key(job, NOBODY, 0) for job in (last, student, staff, demo)]
    assert sorted(keys, reverse=True) == keys


@given(TIMES, TIMES, st.integers(0, 9), st.integers(0, 9))
def test_nobodys_second_job_starts_before_anybodys_first(one: int, other: int, done: int, sent: int) -> None:
    policy = registry.named("round_robin")
    base = 2**41
    first = policy.key(JobFacts(base + one % (86_400_000), 1.0), NOBODY, 0)
    facts = StudentFacts(jobs_done=done, jobs_in_line=sent)
    again = policy.key(JobFacts(base + other % 86_400_000, 1.0), facts, 0)
    assert done + sent == 0 or first < again


def test_a_gpu_second_above_the_mean_costs_half_a_minute_of_fair_turns() -> None:
    greedy, modest = StudentFacts(110, 100), StudentFacts(90, 100)
    policy = registry.named("fair_share")
    assert policy.key(JobFacts(10**9, 5.0), greedy, 0) == (1, 10**9 + 300_000)
    assert policy.key(JobFacts(10**9, 5.0), modest, 0) == (1, 10**9 - 300_000)
    assert registry.named("fair_share", 3).key(JobFacts(10**9, 5.0), greedy, 0) == (1, 10**9 + 30_000)


@pytest.mark.parametrize("name", [name for name in Workshop.Policy.values if name != "priority"])
def test_without_credits_one_queues_as_if_half_an_hour_later(name: str) -> None:
    policy = registry.named(name)
    queue_class, key_ms = policy.key(JobFacts(10**9, 7.0), NOBODY, 0)
    late = policy.key(JobFacts(10**9, 7.0, bid=4, unpaid=True), NOBODY, 0)
    assert late[0] == queue_class
    assert late[1] - key_ms >= UNPAID_LATER_MS == 30 * MINUTE_MS


def test_the_market_key_is_the_one_students_are_told() -> None:
    market = registry.named("market")
    assert market.key(JobFacts(10**9, 30.0, bid=4), StudentFacts(500, 100), 0) == (
        1,
        10**9 + 60_000 - 20 * MINUTE_MS,
    )
    slid = registry.named("market", 10).key(JobFacts(10**9, 30.0, bid=1), StudentFacts(500, 100), 0)
    assert slid == (1, 10**9 + 60_000 + 4_000_000)


@given(JOBS, STUDENTS, st.floats(0, 10))
def test_raising_a_bid_never_delays_a_job(job: JobFacts, student: StudentFacts, phi: float) -> None:
    market = registry.named("market", phi)
    keys = [market.key(replace(job, bid=bid), student, 0) for bid in BIDS]
    assert sorted(keys, reverse=True) == keys


@given(JOBS, TIMES)
def test_the_price_is_within_the_bid_and_does_not_depend_on_it(job: JobFacts, runner_up: int) -> None:
    market = registry.named("market")
    prices = [market.price(replace(job, bid=bid), runner_up) for bid in BIDS]
    assert all(1 <= price <= bid for price, bid in zip(prices, BIDS, strict=True))
    # Wherever the bid doesn't bound it, i.e. wherever the job would have won, the price is one.
    free = [price for price, bid in zip(prices, BIDS, strict=True) if price < bid]
    assert len(set(free)) <= 1 or job.unpaid


@given(JOBS.filter(lambda job: not job.unpaid), TIMES)
def test_bidding_just_the_price_would_have_been_enough(job: JobFacts, runner_up: int) -> None:
    market = registry.named("market")
    price = market.price(replace(job, bid=4), runner_up)
    if price < 4:
        standing = market.key(replace(job, bid=1), NOBODY, 0)[1] - 600_000 * math.log2(price)
        assert standing <= runner_up + 1 or price == 1


@given(JOBS, st.data())
def test_nobody_who_joins_twenty_minutes_later_passes_a_paid_job(job: JobFacts, data: st.DataObject) -> None:
    market = registry.named("market")
    paid = replace(job, unpaid=False)
    seconds, bid = data.draw(LENGTHS), data.draw(st.sampled_from(BIDS))
    longer_ms = round(2000 * abs(paid.gpu_seconds - seconds)) + 2
    bound_ms = (20 + (30 if job.unpaid else 0)) * MINUTE_MS + longer_ms
    later = JobFacts(paid.joined_ms + bound_ms + data.draw(st.integers(0, 10**9)), seconds, bid)
    mine = job if job.unpaid else paid
    assert market.key(mine, NOBODY, 0) < market.key(later, NOBODY, 0)
