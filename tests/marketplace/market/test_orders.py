"""Orders: hold and job in one transaction, the same key the same job."""

import pytest
from django.db import connection

from accounts.ledger import audit, balances
from jobs.models import Job
from marketplace.market import orders, settlement
from marketplace.market.models import Order
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_quote, a_student, a_workshop, an_agent, balance_of, taken

pytestmark = pytest.mark.django_db


def test_an_order_sets_the_ceiling_aside_and_queues_a_job() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 1000)
    job = a_job(student, workshop, seconds=2)
    assert balance_of(student, workshop) == balances.Balance(750, 250)
    assert (job.status, job.held_milli, job.vram_class, job.queue_class) == ("queued", 250, 8, 1)
    assert job.queue_key_ms == round(job.joined_at.timestamp() * 1000)
    assert balances.hold_state(job.hold_key) == "open"  # type: ignore[arg-type]
    assert not settlement.job_findings()
    assert not audit.findings()


def test_jobs_have_rising_numbers_of_their_own() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    first, second = a_job(student, workshop), a_job(student, workshop)
    assert 0 < first.number < second.number


def test_too_few_credits_queue_nothing_and_hold_nothing() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 240)
    quote = a_quote(student, workshop, seconds=2)
    with pytest.raises(orders.InsufficientCredits) as short:
        orders.place(student, quote.pk)
    assert short.value.shortfall_milli == 10
    assert balance_of(student, workshop) == balances.Balance(240, 0)
    assert not Job.objects.exists()


def test_the_same_key_and_quote_give_the_same_job_again() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    first = orders.place(student, quote.pk, key="k")
    assert orders.place(student, str(quote.pk), key="k").pk == first.pk
    assert balance_of(student, workshop).held_milli == first.held_milli


def test_a_replay_is_answered_even_after_the_job_ended_and_the_quote_expired() -> None:
    workshop = a_workshop()
    agent = an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    first = orders.place(student, quote.pk)
    taken(agent).succeed()
    advance(hours=1)
    assert orders.place(student, quote.pk).pk == first.pk


def test_the_same_key_for_another_quote_is_a_conflict() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    orders.place(student, a_quote(student, workshop).pk, key="k")
    with pytest.raises(orders.KeyConflict):
        orders.place(student, a_quote(student, workshop).pk, key="k")
    assert Job.objects.count() == 1


def test_a_quote_is_ordered_once() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    job = orders.place(student, quote.pk, key="one")
    with pytest.raises(orders.QuoteSpent) as spent:
        orders.place(student, quote.pk, key="two")
    assert spent.value.job == job


def test_two_students_may_use_one_key() -> None:
    workshop = a_workshop()
    an_agent()
    jobs = set()
    for student in (a_student(workshop), a_student(workshop)):
        jobs.add(orders.place(student, a_quote(student, workshop).pk, key="k").pk)
    assert len(jobs) == Order.objects.count() == 2


def test_an_expired_quote_is_refused_with_the_quote() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    advance(seconds=901)
    with pytest.raises(orders.QuoteExpired) as expired:
        orders.place(student, quote.pk)
    assert expired.value.quote == quote


@pytest.mark.parametrize("quote_id", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_quote_is_refused(quote_id: str) -> None:
    workshop = a_workshop()
    with pytest.raises(orders.QuoteUnknown):
        orders.place(a_student(workshop), quote_id)


def test_anothers_quote_is_as_unknown_as_none() -> None:
    workshop = a_workshop()
    an_agent()
    quote = a_quote(a_student(workshop), workshop)
    with pytest.raises(orders.QuoteUnknown):
        orders.place(a_student(workshop), quote.pk)


def test_a_bid_off_the_ladder_is_refused() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    with pytest.raises(orders.BadBid):
        orders.place(student, a_quote(student, workshop).pk, bid=3)


def test_jobs_above_the_cap_are_held_back() -> None:
    workshop = a_workshop(max_in_flight=2)
    an_agent()
    student = a_student(workshop)
    statuses = [a_job(student, workshop).status for _ in range(3)]
    assert statuses == ["queued", "queued", "held_back"]


def test_the_waiting_limit_refuses_before_anything_is_held() -> None:
    workshop = a_workshop(max_waiting=2)
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop)
    a_job(student, workshop)
    held = balance_of(student, workshop).held_milli
    with pytest.raises(orders.WaitingLimit):
        a_job(student, workshop)
    assert balance_of(student, workshop).held_milli == held


def test_a_paused_workshop_still_takes_orders() -> None:
    workshop = a_workshop(paused_reason="Lecture")
    an_agent()
    assert a_job(a_student(workshop), workshop).status == "queued"


def test_placing_an_order_takes_a_bounded_number_of_statements() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    quote = a_quote(student, workshop)
    before = len(connection.queries_log)
    connection.force_debug_cursor = True
    try:
        orders.place(student, quote.pk)
    finally:
        connection.force_debug_cursor = False
    assert len(connection.queries_log) - before <= 30
