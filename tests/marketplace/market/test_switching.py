"""Another mode while the class runs: new places for all that wait, and nobody pays what he didn't bid for."""

import pytest

from accounts.ledger import audit
from accounts.models import AuditRow
from accounts.sessions import NotStaff
from jobs.models import Job
from marketplace.market import orders, settlement, switching
from marketplace.market.models import Bid
from tests.factories.clock import advance
from tests.factories.jobs import (
    a_job,
    a_member,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    balance_of,
    taken,
)

pytestmark = pytest.mark.django_db


def keys_of(*jobs: Job) -> list[int]:
    return [Job.objects.get(pk=job.pk).queue_key_ms for job in jobs]


def test_fair_turns_put_who_used_much_behind_and_first_come_undoes_it() -> None:
    workshop, agent = a_workshop(policy="fifo"), an_agent()
    staff = a_member(workshop, role="instructor")
    greedy, modest = a_student(workshop), a_student(workshop)
    a_job(greedy, workshop, seconds=60)
    taken(agent).succeed(charged_ms=60_000)
    first, second = a_job(greedy, workshop), a_job(modest, workshop)
    as_sent = keys_of(first, second)
    assert switching.switch_policy(workshop, "fair_share", staff) == 2
    assert keys_of(first, second)[0] > keys_of(first, second)[1]
    switching.switch_policy(workshop, "fifo", staff)
    assert keys_of(first, second) == as_sent
    assert AuditRow.objects.filter(action="policy.switch", workshop=workshop).count() == 2


def test_leaving_the_market_returns_what_was_set_aside_beyond_the_base_price() -> None:
    workshop = a_workshop(policy="market")
    an_agent()
    staff, student = a_member(workshop, role="instructor"), a_student(workshop, 10_000)
    job = orders.place(student, a_quote(student, workshop, seconds=2).pk, bid=4)
    switching.switch_policy(workshop, "fair_share", staff)
    job.refresh_from_db()
    assert (job.bid, job.held_milli, balance_of(student, workshop).held_milli) == (1, 250, 250)
    assert job.events.get(kind="rebid").data["reason"]
    assert list(Bid.objects.filter(job=job).values_list("multiple", flat=True)) == [1, 4]
    assert (audit.findings(), settlement.job_findings()) == ([], [])


def test_entering_the_market_again_brings_no_old_bid_back() -> None:
    workshop = a_workshop(policy="market")
    an_agent()
    staff, student = a_member(workshop, role="instructor"), a_student(workshop, 10_000)
    job = orders.place(student, a_quote(student, workshop, seconds=2).pk, bid=4)
    switching.switch_policy(workshop, "fair_share", staff)
    switching.switch_policy(workshop, "market", staff)
    job.refresh_from_db()
    assert (job.bid, job.held_milli) == (1, 250)
    assert job.queue_key_ms == round(job.joined_at.timestamp() * 1000) + 4000


def test_taking_turns_counts_each_students_jobs_in_their_order() -> None:
    workshop = a_workshop()
    an_agent()
    staff = a_member(workshop, role="instructor")
    one, other = a_student(workshop), a_student(workshop)
    jobs = [a_job(one, workshop), a_job(one, workshop), a_job(other, workshop), a_job(other, workshop)]
    switching.switch_policy(workshop, "round_robin", staff)
    keys = keys_of(*jobs)
    assert sorted(range(4), key=lambda n: keys[n]) == [0, 2, 1, 3]


def test_the_slider_moves_who_used_more_than_the_mean() -> None:
    workshop, agent = a_workshop(policy="market"), an_agent()
    staff = a_member(workshop, role="instructor")
    greedy, modest = a_student(workshop), a_student(workshop)
    for student, seconds in ((greedy, 30), (modest, 10)):
        a_job(student, workshop, seconds=seconds)
        taken(agent).succeed(charged_ms=seconds * 1000)
    first, second = a_job(greedy, workshop), a_job(modest, workshop)
    before = keys_of(first, second)
    switching.switch_policy(workshop, "market", staff, phi=10)
    after = keys_of(first, second)
    assert [b - a for a, b in zip(before, after, strict=True)] == [100_000, -100_000]


def test_who_may_not_switch_and_what_there_is_not_is_refused() -> None:
    workshop = a_workshop()
    with pytest.raises(NotStaff):
        switching.switch_policy(workshop, "fifo", a_student(workshop))
    staff = a_member(workshop, role="instructor")
    with pytest.raises(switching.NoSuchPolicy):
        switching.switch_policy(workshop, "lottery", staff)
    with pytest.raises(switching.NoSuchPolicy):
        switching.switch_policy(workshop, "market", staff, phi=61)


def test_a_job_that_was_held_back_joins_the_line_when_it_enters_it() -> None:
    workshop, agent = a_workshop(max_in_flight=1), an_agent()
    student = a_student(workshop)
    a_job(student, workshop)
    later = a_job(student, workshop)
    advance(minutes=5)
    taken(agent).succeed()
    taken(agent)
    later.refresh_from_db()
    assert later.status == "assigned"
    assert later.queue_key_ms >= round(later.created_at.timestamp() * 1000) + 300_000
