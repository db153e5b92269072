"""Cancelling: free while waiting or loading; a running job's owner pays what it used, as shown before."""

import pytest

from accounts.ledger import audit
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.models import Attempt, Job
from marketplace.market import dispatch, orders, settlement
from marketplace.market.models import Lease
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
    a_member,
    a_student,
    a_workshop,
    an_agent,
    assigned_attempt,
    balance_of,
    let_lease_expire,
    taken,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def voice() -> AgentVoice:
    """An agent running a job of 20 s: quoted 2000, held 2500 milli-credits."""
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop, 10_000), workshop, seconds=20)
    return taken(agent)


def job_of(voice: AgentVoice) -> Job:
    return Job.objects.select_related("student", "workshop").get(pk=voice.attempt.job_id)


def available(voice: AgentVoice) -> int:
    job = job_of(voice)
    return balance_of(job.student, job.workshop).available_milli


def test_a_waiting_job_is_cancelled_at_once_and_free() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 1000)
    job = a_job(student, workshop)
    assert orders.cancel_preview(job) == (0, 250)
    result = orders.cancel(job, by=student)
    assert (result.status, result.captured_milli, result.returned_milli, result.pending) == (
        "cancelled", 0, 250, False,
    )  # fmt: skip
    assert balance_of(student, workshop).available_milli == 1000
    assert not settlement.job_findings()


def test_a_job_its_agent_has_not_taken_is_cancelled_at_once() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 1000)
    job = a_job(student, workshop)
    attempt = assigned_attempt(agent)
    assert orders.cancel(job, by=student).status == "cancelled"
    with pytest.raises(dispatch.Superseded):
        dispatch.spec(agent, attempt.pk, attempt.token)
    assert not AgentVoice(agent, attempt).take().accepted
    assert balance_of(student, workshop).available_milli == 1000


def test_a_loading_job_is_stopped_free(voice: AgentVoice) -> None:
    voice.say(Phase.LOADING, executing_ms=3000)
    job = job_of(voice)
    assert orders.cancel_preview(job) == (0, 2500)
    assert orders.cancel(job, by=job.student).pending
    voice.finish(Outcome.CANCELLED, charged_ms=100)
    assert (job_of(voice).status, job_of(voice).captured_milli, available(voice)) == ("cancelled", 0, 10_000)


def test_a_running_job_pays_what_it_used_as_the_button_said(voice: AgentVoice) -> None:
    dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=4000))
    advance(seconds=2)
    job = job_of(voice)
    assert orders.cancel_preview(job) == (600, 1900)
    result = orders.cancel(job, by=job.student)
    assert (result.captured_milli, result.returned_milli, result.pending) == (600, 1900, True)
    assert job_of(voice).status == "running"
    voice.finish(Outcome.CANCELLED, charged_ms=5000)
    assert (job_of(voice).status, job_of(voice).captured_milli, available(voice)) == ("cancelled", 500, 9500)


def test_stopping_slowly_costs_no_more_than_was_shown(voice: AgentVoice) -> None:
    dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=4000))
    job = job_of(voice)
    shown = orders.cancel(job, by=job.student).captured_milli
    voice.finish(Outcome.CANCELLED, charged_ms=15_000)
    assert job_of(voice).captured_milli == shown
    assert not audit.findings()


def test_staff_stop_a_running_job_for_free(voice: AgentVoice) -> None:
    dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=4000))
    job = job_of(voice)
    result = orders.cancel(job, by=a_member(job.workshop, role="assistant"))
    assert (result.captured_milli, result.pending) == (0, True)
    voice.finish(Outcome.CANCELLED, charged_ms=5000)
    assert (job_of(voice).captured_milli, available(voice)) == (0, 10_000)


def test_a_stranger_cancels_nothing(voice: AgentVoice) -> None:
    job = job_of(voice)
    with pytest.raises(orders.NotAllowed):
        orders.cancel(job, by=a_student(job.workshop))
    assert Lease.objects.get().command == ""


def test_cancelling_twice_is_cancelling_once(voice: AgentVoice) -> None:
    dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=4000))
    job = job_of(voice)
    first = orders.cancel(job, by=job.student)
    advance(seconds=2)
    assert orders.cancel(job_of(voice), by=job.student) == first
    voice.finish(Outcome.CANCELLED, charged_ms=4000)
    assert orders.cancel(job_of(voice), by=job.student).captured_milli == 400


def test_a_job_that_succeeded_before_the_agent_heard_is_a_success(voice: AgentVoice) -> None:
    voice.run()
    job = job_of(voice)
    orders.cancel(job, by=job.student)
    voice.succeed(charged_ms=20_000)
    assert (job_of(voice).status, job_of(voice).captured_milli) == ("succeeded", 2000)


@pytest.mark.parametrize("ending", ["lost", "infrastructure", "handed back"])
def test_a_cancelled_job_that_ends_otherwise_is_not_run_again(voice: AgentVoice, ending: str) -> None:
    dispatch.renew(voice.agent, voice.beat(Phase.RUNNING, charged_ms=4000))
    job = job_of(voice)
    orders.cancel(job, by=job.student)
    if ending == "lost":
        let_lease_expire(voice.attempt)
        dispatch.reap()
    elif ending == "infrastructure":
        voice.fail(Cause.INFRASTRUCTURE)
    else:
        voice.finish(Outcome.HANDED_BACK)
    assert (job_of(voice).status, job_of(voice).captured_milli, available(voice)) == ("cancelled", 0, 10_000)
    assert not Attempt.objects.filter(outcome="").exists()
