"""Heartbeats renew leases, carry commands back, and bring a lost agent's attempt home."""

import pytest

from gpu_agent.protocol.messages import AttemptBeat, CommandKind
from gpu_agent.protocol.phases import Phase
from jobs.models import Attempt
from marketplace.fleet import registry as fleet
from marketplace.market import dispatch, orders
from marketplace.market.models import Lease
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
    a_student,
    a_workshop,
    an_agent,
    assigned_attempt,
    heartbeat,
    let_lease_expire,
    taken,
)

pytestmark = pytest.mark.django_db


def test_a_heartbeat_renews_the_lease_and_keeps_what_it_says() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    voice = taken(agent)
    before = Lease.objects.get().expires_at
    advance(seconds=10)
    answer = dispatch.renew(agent, voice.beat(Phase.RUNNING, charged_ms=700, remaining_ms=1300))
    assert (answer.superseded, answer.commands) == ((), ())
    assert (Lease.objects.get().expires_at - before).total_seconds() == 10
    attempt = Attempt.objects.select_related("job").get()
    assert (attempt.charged_ms, attempt.remaining_ms, attempt.job.status) == (700, 1300, "running")


def test_being_listed_acknowledges_a_delivery() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    attempt = assigned_attempt(agent)
    dispatch.renew(agent, AgentVoice(agent, attempt).beat(Phase.TAKEN))
    attempt.refresh_from_db()
    assert attempt.acknowledged_at is not None


def test_an_attempt_that_is_not_listed_is_not_renewed() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    taken(agent)
    before = Lease.objects.get().expires_at
    advance(seconds=10)
    dispatch.renew(agent, heartbeat(agent))
    assert Lease.objects.get().expires_at == before


def test_a_heartbeat_never_moves_charged_time_back() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    voice = taken(agent)
    dispatch.renew(agent, voice.beat(charged_ms=900))
    dispatch.renew(agent, voice.beat(charged_ms=400))
    assert Attempt.objects.get().charged_ms == 900


@pytest.mark.parametrize("wrong", ["token", "agent", "attempt"])
def test_what_is_not_ones_own_is_superseded(wrong: str) -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    attempt = assigned_attempt(agent)
    who = an_agent() if wrong == "agent" else agent
    beat = AttemptBeat(
        attempt.pk + (wrong == "attempt"), attempt.token + (wrong == "token"), Phase.RUNNING, charged_ms=10**9
    )
    assert dispatch.renew(who, heartbeat(who, beat)).superseded == (beat.attempt,)
    attempt.refresh_from_db()
    assert (attempt.charged_ms, attempt.acknowledged_at) == (0, None)


def test_an_agent_given_up_for_lost_keeps_its_attempt_while_nobody_else_has_the_job() -> None:
    workshop, agent = a_workshop(), an_agent()
    job = a_job(a_student(workshop), workshop)
    voice = taken(agent)
    let_lease_expire(voice.attempt)
    assert dispatch.reap() == 1
    assert dispatch.renew(agent, voice.beat(Phase.RUNNING)).superseded == ()
    job.refresh_from_db()
    assert (job.status, job.attempt_count, job.infrastructure_tries) == ("running", 1, 0)
    assert voice.succeed().accepted


def test_once_another_agent_has_the_job_the_lost_one_must_stop() -> None:
    workshop, agent, other = a_workshop(), an_agent(), an_agent()
    a_job(a_student(workshop), workshop)
    voice = taken(agent)
    let_lease_expire(voice.attempt)
    dispatch.reap()
    second = assigned_attempt(other)
    assert dispatch.renew(agent, voice.beat()).superseded == (voice.attempt.pk,)
    assert Attempt.objects.get(outcome="") == second


def test_a_cancel_is_repeated_with_every_heartbeat_until_it_took_effect() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    job = a_job(student, workshop)
    voice = taken(agent)
    orders.cancel(job, by=student)
    for _ in range(2):
        (command,) = dispatch.renew(agent, voice.beat()).commands
        assert (command.kind, command.attempt) == (CommandKind.CANCEL, voice.attempt.pk)
        assert command.token == voice.attempt.token


def test_drain_and_resume_ride_on_the_answer() -> None:
    agent = an_agent()
    fleet.request_drain(agent, True, reason="Maintenance")
    (drain,) = dispatch.renew(agent, heartbeat(agent)).commands
    assert (drain.kind, drain.reason) == (CommandKind.DRAIN, "Maintenance")
    fleet.request_drain(agent, False)
    (resume,) = dispatch.renew(agent, heartbeat(agent, draining=True)).commands
    assert resume.kind is CommandKind.RESUME
    assert dispatch.renew(agent, heartbeat(agent)).commands == ()
