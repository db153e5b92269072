"""Bids: raised, lowered and withdrawn while a job waits; the runner-up's key sets the price at assignment."""

from typing import Any

import pytest

from accounts.ledger import audit, balances
from gpu_agent.protocol.phases import Outcome
from jobs.models import Job
from marketplace.market import dispatch, orders, settlement
from marketplace.market.models import Bid
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    assigned_attempt,
    balance_of,
    taken,
)

pytestmark = pytest.mark.django_db


def a_market(**columns: Any) -> Any:
    return a_workshop(policy="market", **columns)


def a_bid(student: Any, workshop: Any, bid: int, **work: Any) -> Job:
    advance(milliseconds=1)
    return orders.place(student, a_quote(student, workshop, **work).pk, bid=bid)


def proven() -> bool:
    return (audit.findings(), settlement.job_findings()) == ([], [])


def test_a_bid_sets_its_multiple_of_the_ceiling_aside_and_moves_up() -> None:
    workshop = a_market()
    an_agent()
    student = a_student(workshop, 10_000)
    plain, fast = a_job(student, workshop, seconds=2), a_bid(student, workshop, 4, seconds=2)
    assert (fast.held_milli, balance_of(student, workshop).held_milli) == (1000, 1250)
    assert plain.queue_key_ms - fast.queue_key_ms == 20 * 60_000 - 1
    assert Bid.objects.get(job=fast).multiple == 4


def test_where_bids_are_not_used_only_the_base_price_is_taken() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    with pytest.raises(orders.BidsNotUsed):
        a_bid(student, workshop, 2)
    with pytest.raises(orders.BidsNotUsed):
        orders.rebid(a_job(student, workshop), student, 2)


def test_raising_and_withdrawing_moves_place_and_hold_and_both_are_told() -> None:
    workshop = a_market()
    an_agent()
    student = a_student(workshop, 10_000)
    job = a_job(student, workshop, seconds=2)
    raised = orders.rebid(job, student, 4)
    assert (raised.bid, raised.held_milli) == (4, 1000)
    assert raised.queue_key_ms == job.queue_key_ms - 20 * 60_000
    assert balance_of(student, workshop) == balances.Balance(9000, 1000)
    back = orders.rebid(job, student, 1)
    assert (back.bid, back.held_milli, back.queue_key_ms) == (1, 250, job.queue_key_ms)
    assert list(job.events.filter(kind="rebid").values_list("data__bid", flat=True)) == [4, 1]
    assert proven()


def test_the_same_bid_again_changes_nothing() -> None:
    workshop = a_market()
    an_agent()
    student = a_student(workshop)
    job = a_bid(student, workshop, 2)
    assert orders.rebid(job, student, 2).event_seq == job.event_seq
    assert Bid.objects.filter(job=job).count() == 1


def test_bids_that_may_not_be_are_refused_by_name() -> None:
    workshop = a_market()
    agent = an_agent()
    student, other = a_student(workshop, 300), a_student(workshop)
    job = a_job(student, workshop, seconds=2)
    with pytest.raises(orders.BadBid):
        orders.rebid(job, student, 3)
    with pytest.raises(orders.NotAllowed):
        orders.rebid(job, other, 2)
    with pytest.raises(orders.InsufficientCredits):
        orders.rebid(job, student, 2)
    assigned_attempt(agent)
    with pytest.raises(orders.BidTooLate):
        orders.rebid(job, student, 1)
    assert (Job.objects.get(pk=job.pk).held_milli, proven()) == (250, True)


def test_frozen_bids_stand() -> None:
    workshop = a_market(bids_frozen=True)
    an_agent()
    student = a_student(workshop)
    job = a_job(student, workshop)
    with pytest.raises(orders.BidsFrozen):
        orders.rebid(job, student, 2)


def test_the_next_student_in_line_sets_the_price_and_the_receipt_says_so() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop), a_student(workshop)
    a_job(other, workshop, seconds=2)
    advance(minutes=5)
    mine = a_bid(me, workshop, 4, seconds=2)
    job = Job.objects.get(pk=assigned_attempt(agent).job_id)
    assert job.pk == mine.pk
    assert job.clearing_multiplier == pytest.approx(2**0.5, abs=0.005)
    assert "4×" in job.clearing_reason
    assert f"{job.clearing_multiplier:g}×" in job.clearing_reason


def test_ones_own_other_jobs_never_set_ones_price() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop), a_student(workshop)
    a_job(me, workshop, seconds=2)
    a_job(other, workshop, seconds=2, gib=80)  # doesn't fit this GPU, so it is nobody's rival
    advance(minutes=5)
    a_bid(me, workshop, 4, seconds=2)
    assert Job.objects.get(pk=assigned_attempt(agent).job_id).clearing_multiplier == 1


def test_a_rival_behind_many_of_ones_own_still_sets_the_price() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop), a_student(workshop)
    for _ in range(10):
        a_bid(me, workshop, 4, seconds=2)
    rival = a_bid(other, workshop, 2, seconds=2)
    job = Job.objects.get(pk=assigned_attempt(agent).job_id)
    assert rival.queue_key_ms > job.queue_key_ms
    assert job.clearing_multiplier == pytest.approx(2, abs=0.01)


def test_what_is_captured_is_the_use_at_the_clearing_price_within_the_hold() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop, 10_000), a_student(workshop)
    a_bid(me, workshop, 4, seconds=2)
    a_bid(other, workshop, 2, seconds=2)
    voice = taken(agent)
    voice.succeed(charged_ms=2000)
    job = Job.objects.get(pk=voice.attempt.job_id)
    assert job.captured_milli == pytest.approx(200 * 2, abs=10)
    assert balance_of(me, workshop) == balances.Balance(10_000 - (job.captured_milli or 0), 0)
    assert proven()


def test_stopping_a_running_job_costs_its_use_at_the_clearing_price_as_shown() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop, 10_000), a_student(workshop)
    mine = a_bid(me, workshop, 4, seconds=20)
    a_bid(other, workshop, 2, seconds=20)
    voice = taken(agent)
    voice.run(charged_ms=4000)
    multiplier = Job.objects.get(pk=mine.pk).clearing_multiplier
    shown, _returned = orders.cancel_preview(Job.objects.get(pk=mine.pk))
    assert shown == pytest.approx(400 * (multiplier or 0), abs=10)
    assert orders.cancel(mine, by=me).captured_milli == shown


def test_the_same_key_with_another_bid_is_another_order() -> None:
    workshop = a_market()
    an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    job = orders.place(student, quote.pk, bid=2)
    orders.rebid(job, student, 4)
    assert orders.place(student, quote.pk, bid=2).pk == job.pk
    with pytest.raises(orders.KeyConflict):
        orders.place(student, quote.pk, bid=4)


def test_a_preempted_winner_keeps_its_bid_and_is_priced_anew() -> None:
    workshop, agent = a_market(), an_agent()
    me, other = a_student(workshop, 10_000), a_student(workshop)
    mine = a_bid(me, workshop, 4, seconds=2)
    a_bid(other, workshop, 2, seconds=2)
    AgentVoice(agent, assigned_attempt(agent)).finish(Outcome.HANDED_BACK)
    orders.cancel(Job.objects.exclude(pk=mine.pk).get(), by=other)
    dispatch.assign(agent.pk)
    again = Job.objects.get(pk=mine.pk)
    assert (again.status, again.bid, again.clearing_multiplier) == ("assigned", 4, 1)


def test_a_bid_is_not_raised_above_the_credits_that_may_be_in_flight() -> None:
    workshop = a_market(max_credits_in_flight_milli=800)
    an_agent()
    student = a_student(workshop)
    first, second = a_job(student, workshop, seconds=2), a_job(student, workshop, seconds=2)
    assert orders.rebid(first, student, 2).held_milli == 500
    with pytest.raises(orders.BadBid):
        orders.rebid(second, student, 2)
    assert (balance_of(student, workshop).held_milli, proven()) == (750, True)
