"""Without credits, above the caps, and failures that cost: who runs when, and what is held for it."""

import pytest

from accounts.ledger import audit, balances
from gpu_agent.protocol.phases import Cause
from jobs.models import Artifact, Job
from marketplace.market import dispatch, orders, settlement
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    balance_of,
    taken,
)

pytestmark = pytest.mark.django_db


def proven() -> bool:
    return (audit.findings(), settlement.job_findings()) == ([], [])


def test_without_credits_a_job_runs_half_an_hour_later_and_pays_nothing() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 100)
    job = orders.place(student, a_quote(student, workshop, seconds=2).pk, unpaid=True)
    assert (job.unpaid, job.held_milli, job.hold_key) == (True, 0, None)
    assert job.queue_key_ms == round(job.joined_at.timestamp() * 1000) + 30 * 60_000
    assert proven()
    taken(agent).succeed()
    job.refresh_from_db()
    assert (job.status, job.captured_milli) == ("succeeded", 0)
    assert balance_of(student, workshop) == balances.Balance(100, 0)
    assert proven()


def test_one_unpaid_job_at_a_time_is_in_the_line() -> None:
    workshop = a_workshop(max_in_flight=3)
    an_agent(state="lost")
    student = a_student(workshop, 100)
    quotes = [a_quote(student, workshop, seconds=2) for _ in range(2)]
    jobs = [orders.place(student, quote.pk, unpaid=True) for quote in quotes]
    assert [job.status for job in jobs] == ["queued", "held_back"]
    assert dispatch.admit_within_caps() == 0
    orders.cancel(jobs[0], by=student)
    assert dispatch.admit_within_caps() == 1
    assert proven()


def test_who_has_the_credits_pays_and_nobody_bids_without() -> None:
    workshop = a_workshop(policy="market")
    an_agent()
    student = a_student(workshop, 1000)
    with pytest.raises(orders.HasCredits):
        orders.place(student, a_quote(student, workshop, seconds=2).pk, unpaid=True)
    with pytest.raises(orders.BadBid):
        orders.place(student, a_quote(student, workshop, seconds=60).pk, unpaid=True, bid=2)
    assert not Job.objects.exists()


def test_more_credits_in_flight_than_the_class_allows_hold_a_job_back() -> None:
    workshop = a_workshop(max_credits_in_flight_milli=600)
    an_agent(state="lost")
    student = a_student(workshop)
    jobs = [a_job(student, workshop, seconds=2) for _ in range(3)]
    assert [job.status for job in jobs] == ["queued", "queued", "held_back"]
    assert dispatch.admit_within_caps() == 0
    orders.cancel(jobs[0], by=student)
    assert dispatch.admit_within_caps() == 1


def test_a_single_job_above_the_credits_cap_runs_alone() -> None:
    workshop = a_workshop(max_credits_in_flight_milli=100)
    an_agent(state="lost")
    assert a_job(a_student(workshop), workshop, seconds=2).status == "queued"


@pytest.fixture
def failing() -> AgentVoice:
    """A job of 20 s on its agent, whose graph has failed twice a minute ago."""
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 10_000)
    for _ in range(2):
        a_job(student, workshop, seconds=20)
        taken(agent).fail(Cause.EXECUTION_ERROR, charged_ms=5000)
    advance(minutes=1)
    a_job(student, workshop, seconds=20)
    return taken(agent)


def job_of(voice: AgentVoice) -> Job:
    return Job.objects.select_related("student", "workshop").get(pk=voice.attempt.job_id)


def test_the_third_failure_of_a_graph_within_an_hour_is_paid_and_its_outputs_shown(
    failing: AgentVoice,
) -> None:
    assert "twice" in orders.failure_terms(job_of(failing))
    failing.stored(1)
    failing.fail(Cause.EXECUTION_ERROR, charged_ms=5000)
    job = job_of(failing)
    assert (job.captured_milli, balance_of(job.student, job.workshop).available_milli) == (500, 9500)
    assert Artifact.objects.get(attempt=failing.attempt).visible_at is not None
    assert proven()


@pytest.mark.parametrize("cause", [Cause.OUT_OF_MEMORY, Cause.MISSING_MODEL])
def test_a_failure_that_is_not_the_graphs_is_free_however_often(failing: AgentVoice, cause: Cause) -> None:
    failing.fail(cause, charged_ms=5000)
    assert job_of(failing).captured_milli == 0
    assert proven()


def test_two_failures_cost_nothing_and_are_forgotten_after_an_hour(failing: AgentVoice) -> None:
    job = job_of(failing)
    assert list(Job.objects.filter(status="failed").values_list("captured_milli", flat=True)) == [0, 0]
    assert orders.failure_terms(a_quote(job.student, job.workshop, seconds=20))
    assert not orders.failure_terms(a_quote(job.student, job.workshop, seconds=21))
    advance(minutes=61)
    assert not orders.failure_terms(a_quote(job.student, job.workshop, seconds=20))


def test_what_a_failed_job_produced_can_be_bought_once() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 10_000)
    a_job(student, workshop, seconds=20)
    voice = taken(agent)
    voice.stored(2)
    voice.fail(Cause.EXECUTION_ERROR, charged_ms=5000)
    assert balance_of(student, workshop).available_milli == 10_000
    assert orders.buy_price(job_of(voice)) == 500
    bought = orders.buy_failed(job_of(voice), student, "k")
    assert (bought.bought_milli, orders.buy_failed(bought, student, "other").pk) == (500, bought.pk)
    assert balance_of(student, workshop) == balances.Balance(9500, 0)
    assert Artifact.objects.exclude(visible_at=None).count() == 2
    assert proven()


def test_nothing_is_bought_of_a_job_that_made_nothing_or_is_anothers() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop)
    voice = taken(agent)
    voice.fail(Cause.EXECUTION_ERROR, charged_ms=500)
    with pytest.raises(orders.NothingToBuy):
        orders.buy_failed(job_of(voice), student)
    voice.stored(1)
    with pytest.raises(orders.NotAllowed):
        orders.buy_failed(job_of(voice), a_student(workshop))


def test_a_bought_job_never_costs_more_than_its_old_ceiling() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    job = a_job(student, workshop, seconds=2)
    voice = taken(agent)
    voice.stored(1)
    voice.fail(Cause.OVER_BUDGET, charged_ms=600_000)
    assert orders.buy_failed(job_of(voice), student).bought_milli == job.ceiling_milli == 250
