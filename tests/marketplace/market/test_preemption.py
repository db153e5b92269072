"""Demos make room: a recall first, then one victim that loses least; nobody loses a job or pays for it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import clock as market_clock
from accounts.ledger import audit as ledger_audit
from accounts.ledger import posting
from accounts.models import User, Workshop
from gpu_agent.protocol.phases import Cause, Outcome
from jobs.models import Attempt, Job, JobEvent, Status
from marketplace.fleet.models import Agent
from marketplace.market import dispatch, levers, preemption, settlement
from marketplace.market.models import Lease
from marketplace.market.victims import Held, choose
from tests.factories import people
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
    a_member,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    assigned_attempt,
    taken,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Workshop:
    there = a_workshop(policy="market")
    people.give(posting.purse_account(there), 1_000_000)
    return there


@pytest.fixture
def teacher(place: Workshop) -> User:
    who = a_member(place, "instructor")
    who.display_name = "Ines"
    who.save()
    return who


@pytest.fixture
def agent(place: Workshop) -> Agent:
    return an_agent(workshop=place)


def a_demo(teacher: User, place: Workshop, **work: Any) -> Job:
    advance(milliseconds=1)
    return levers.demo_now(teacher, a_quote(teacher, place, **work).pk)


def running(
    agent: Agent, since_seconds: float, place: Workshop, seconds: float = 100, **work: Any
) -> AgentVoice:
    """A student's job that has run on the agent for so long."""
    a_job(a_student(place), place, seconds=seconds, **work)
    voice = taken(agent)
    voice.run(charged_ms=int(since_seconds * 1000))
    begun = market_clock.now() - timedelta(seconds=since_seconds)
    Attempt.objects.filter(pk=voice.attempt.pk).update(execution_started_at=begun)
    return voice


def prefetched(voice: AgentVoice, place: Workshop, *, acknowledged: bool = True) -> AgentVoice:
    """The next student's job, lying behind the running one."""
    a_job(a_student(place), place, seconds=100)
    Attempt.objects.filter(pk=voice.attempt.pk).update(remaining_ms=1000, seen_at=market_clock.now())
    attempt = assigned_attempt(voice.agent)
    Attempt.objects.filter(pk=voice.attempt.pk).update(remaining_ms=None)
    behind = AgentVoice(voice.agent, attempt)
    if acknowledged:
        behind.take()
    return behind


def commands() -> dict[int, str]:
    return dict(Lease.objects.exclude(command="").values_list("attempt_id", "command"))


def victims_of(demo: Job) -> list[int]:
    told = JobEvent.objects.filter(job=demo, kind="made_room", data__stopped=True)
    return [event.data["attempt"] for event in told]


def test_where_a_gpu_is_free_nobody_has_to_go(place: Workshop, teacher: User, agent: Agent) -> None:
    running(an_agent(workshop=place), 5, place)
    demo = a_demo(teacher, place)
    assert preemption.make_room() == 0
    dispatch.dispatch()
    demo.refresh_from_db()
    assert (demo.status, commands()) == (Status.ASSIGNED, {})


def test_a_job_taken_ahead_but_not_begun_is_recalled_at_once(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    voice = running(agent, 92, place)
    behind = prefetched(voice, place)
    a_demo(teacher, place)
    assert preemption.make_room() == 1
    assert commands() == {behind.attempt.pk: "preempt"}
    behind.finish(Outcome.CANCELLED)
    job = Job.objects.get(pk=behind.attempt.job_id)
    assert job.status == Status.QUEUED
    assert "A class demo of Ines needed" in job.wait_reason
    assert job.infrastructure_tries == 0
    assert preemption.make_room() == 0


def test_a_delivery_nobody_took_yet_is_withdrawn_without_a_trace_on_the_agent(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    voice = running(agent, 92, place)
    behind = prefetched(voice, place, acknowledged=False)
    a_demo(teacher, place)
    assert preemption.make_room() == 1
    assert Job.objects.get(pk=behind.attempt.job_id).status == Status.QUEUED
    with pytest.raises(dispatch.Superseded):
        dispatch.spec(agent, behind.attempt.pk, behind.attempt.token)
    assert not behind.take().accepted


def test_the_student_who_loses_least_makes_room_and_keeps_everything_else(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    running(agent, 50, place)
    other = an_agent(workshop=place)
    least = running(other, 10, place)
    key = Job.objects.get(pk=least.attempt.job_id).queue_key_ms
    demo = a_demo(teacher, place)
    assert preemption.make_room() == 1
    assert commands() == {least.attempt.pk: "preempt"}
    least.finish(Outcome.CANCELLED, charged_ms=10_000, executing_ms=10_000)
    victim = Job.objects.get(pk=least.attempt.job_id)
    assert (victim.status, victim.queue_key_ms, victim.infrastructure_tries) == (Status.QUEUED, key, 0)
    assert victim.captured_milli is None
    assert assigned_attempt(other).job_id == demo.pk
    assert victims_of(demo) == [least.attempt.pk]
    told = JobEvent.objects.get(job=victim, kind="preempt_requested").data["reason"]
    assert told.startswith(f"A class demo of Ines needed {other.name}.")
    assert [settlement.job_findings(), ledger_audit.findings()] == [[], []]


def test_when_the_victim_goes_the_job_behind_it_goes_too(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    voice = running(agent, 10, place)
    behind = prefetched(voice, place)
    a_demo(teacher, place)
    assert preemption.make_room() == 2
    assert commands() == {voice.attempt.pk: "preempt", behind.attempt.pk: "preempt"}


def test_nobody_is_stopped_who_is_nearly_done_or_when_a_gpu_frees_soon(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    late = running(agent, 405, place, seconds=500)
    a_demo(teacher, place)
    assert preemption.make_room() == 0
    other = an_agent(workshop=place)
    Attempt.objects.filter(pk=late.attempt.pk).update(remaining_ms=15_000, seen_at=market_clock.now())
    running(other, 1, place)
    Job.objects.filter(demo=True).update(status=Status.QUEUED)
    assert preemption.make_room() == 0


def test_a_demo_stops_one_job_at_most_even_if_that_one_will_not_go(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    voices = [running(one, 10, place) for one in (agent, an_agent(workshop=place))]
    demo = a_demo(teacher, place)
    for _turn in range(5):
        preemption.make_room()
        advance(seconds=30)
    assert len(victims_of(demo)) == 1
    chosen = next(voice for voice in voices if voice.attempt.pk in commands())
    Lease.objects.filter(attempt=chosen.attempt).update(command="")  # as if the agent had lost the command
    assert preemption.make_room() == 0


def test_two_demos_stop_two_jobs_and_each_gets_a_gpu(place: Workshop, teacher: User, agent: Agent) -> None:
    voices = [running(one, 10, place) for one in (agent, an_agent(workshop=place))]
    demos = [a_demo(teacher, place), a_demo(teacher, place)]
    assert preemption.make_room() == 2
    for voice in voices:
        voice.finish(Outcome.CANCELLED)
    assert {assigned_attempt(voice.agent).job_id for voice in voices} == {demo.pk for demo in demos}


def test_other_workshops_jobs_and_agents_too_small_are_left_alone(place: Workshop, teacher: User) -> None:
    shared, small = an_agent(gib=24), an_agent(workshop=place, gib=8)
    other = a_workshop()
    running(shared, 5, other)
    running(small, 5, place, gib=4)
    a_demo(teacher, place, gib=20)
    assert preemption.make_room() == 0


def test_a_paused_workshop_makes_room_for_nothing(place: Workshop, teacher: User, agent: Agent) -> None:
    running(agent, 5, place)
    a_demo(teacher, place)
    levers.pause_workshop(teacher, place, "critique")
    assert preemption.make_room() == 0


def test_a_victim_that_finishes_first_has_finished(place: Workshop, teacher: User, agent: Agent) -> None:
    voice = running(agent, 10, place)
    a_demo(teacher, place)
    preemption.make_room()
    voice.succeed(charged_ms=100_000)
    assert Job.objects.get(pk=voice.attempt.job_id).status == Status.SUCCEEDED
    assert settlement.job_findings() == []


def test_a_spot_instance_taken_away_costs_no_try_and_no_place(place: Workshop, agent: Agent) -> None:
    voice = running(agent, 10, place)
    for _time in range(4):
        before = Job.objects.get(pk=voice.attempt.job_id)
        voice.finish(Outcome.HANDED_BACK)
        after = Job.objects.get(pk=before.pk)
        assert (after.status, after.queue_key_ms) == (Status.QUEUED, before.queue_key_ms)
        assert (after.infrastructure_tries, after.captured_milli) == (0, None)
        voice = taken(agent)
        voice.run()
    assert voice.succeed().accepted


def test_three_infrastructure_faults_fail_a_job_and_preemptions_between_do_not_count(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    student = a_student(place)
    job = a_job(student, place, seconds=100)
    for count in (1, 2, 3):
        voice = taken(agent)
        voice.run()
        demo = a_demo(teacher, place)
        assert preemption.make_room() == 1
        voice.finish(Outcome.CANCELLED)
        AgentVoice(agent, assigned_attempt(agent)).succeed(charged_ms=1)
        again = taken(agent)
        again.fail(Cause.INFRASTRUCTURE)
        job.refresh_from_db()
        assert (job.infrastructure_tries, victims_of(demo) != []) == (min(count, 2), True)
    assert (job.status, job.cause) == (Status.FAILED, "infrastructure")


# --- the choice, without rows --------------------------------------------------------------------

FLEETS = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(
        st.tuples(
            st.sampled_from(["assigned", "loading", "running", "storing"]),
            st.booleans(),
            st.booleans(),
            st.floats(0, 500),
            st.floats(0, 500),
        ),
        max_size=2,
    ),
)


def hands(fleet: dict[str, list[tuple[str, bool, bool, float, float]]]) -> dict[str, list[Held]]:
    made = {}
    for agent, held in fleet.items():
        made[agent] = [
            Held(n, n, agent, agent, uuid.uuid4(), status, True, leaving, movable, elapsed, left, 1.0)
            for n, (status, leaving, movable, elapsed, left) in enumerate(held)
        ]
    return made


@given(FLEETS, st.floats(0, 100), st.booleans())
def test_the_choice_keeps_its_bounds(
    fleet: dict[str, list[tuple[str, bool, bool, float, float]]], waited: float, may_stop: bool
) -> None:
    held = hands(fleet)
    plan = choose(held, waited, may_stop=may_stop)
    assert (plan is None) == (not held)
    if plan is None:
        return
    if plan.stop is not None:
        victim = plan.stop
        assert may_stop
        assert victim.movable
        assert not victim.leaving
        assert victim.status in ("loading", "running")
        assert victim.elapsed_seconds < 0.8 * (victim.elapsed_seconds + victim.remaining_seconds + 1e-9)
        others = [hand for one in held.values() for hand in one if hand.stoppable]
        assert all(victim.loss_seconds <= hand.loss_seconds for hand in others if _alone(held, hand))
    if plan.recall is not None:
        assert plan.recall.status == "assigned"
        assert plan.recall.movable
        assert plan.recall in held[plan.agent_id]


def _alone(held: dict[str, list[Held]], hand: Held) -> bool:
    return all(one.movable or one.leaving or one.status == "storing" for one in held[hand.agent_id])
