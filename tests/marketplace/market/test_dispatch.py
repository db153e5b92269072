"""Dispatch: which job an agent with room gets."""

import uuid
from random import Random
from typing import Any

import pytest

from accounts.clock import MarketNow
from gpu_agent.protocol.messages import Fault
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.models import Attempt, Job, Template
from marketplace.fleet.models import Agent, Device
from marketplace.loop import leader
from marketplace.market import dispatch, matching, picks
from marketplace.market.matching import Candidate
from marketplace.market.models import Lease
from tests.factories.clock import advance
from tests.factories.jobs import GIB, a_job, a_student, a_workshop, an_agent, assigned_attempt, taken

pytestmark = pytest.mark.django_db


def given(agent: Agent) -> uuid.UUID | None:
    """The job the agent gets now."""
    assigned = dispatch.assign(agent.pk)
    return assigned.job_id if assigned else None


def test_the_first_to_come_is_assigned_under_a_lease_of_thirty_seconds() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    first = a_job(student, workshop)
    a_job(student, workshop)
    assert given(agent) == first.pk
    first.refresh_from_db()
    lease = Lease.objects.get()
    assert (first.status, first.agent_name, lease.agent) == ("assigned", agent.name, agent)
    assert lease.token == lease.attempt.token
    assert lease.expires_at - lease.attempt.created_at == dispatch.LEASE


def test_tokens_rise_with_each_attempt() -> None:
    workshop = a_workshop()
    agents = [an_agent(), an_agent()]
    student = a_student(workshop)
    for _ in agents:
        a_job(student, workshop)
    first, second = (assigned_attempt(agent) for agent in agents)
    assert first.token < second.token
    assert first.prompt_id != second.prompt_id


def test_an_agent_with_a_job_in_hand_gets_no_other() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=60)
    a_job(student, workshop, seconds=60)
    taken(agent).run()
    assert given(agent) is None


def test_the_next_is_given_when_the_running_one_is_about_to_end_and_then_no_more() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    for _ in range(3):
        a_job(student, workshop, seconds=60)
    voice = taken(agent)
    dispatch.renew(agent, voice.beat(Phase.RUNNING, remaining_ms=4500))
    assert given(agent) is None
    advance(seconds=1)
    assert given(agent) is not None
    assert given(agent) is None


def test_without_word_from_the_agent_the_quote_says_when_a_job_ends() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=20)
    a_job(student, workshop, seconds=20)
    taken(agent).run()
    assert given(agent) is None
    advance(seconds=18)
    assert given(agent) is not None


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "draining"},
        {"state": "lost"},
        {"state": "revoked"},
        {"comfyui_ready": False},
        {"drain_requested": True},
        {"pause_reason": "Maintenance"},
    ],
)
def test_an_agent_that_is_not_ready_gets_nothing(columns: dict[str, Any]) -> None:
    workshop, agent = a_workshop(), an_agent(**columns)
    an_agent(state="lost")
    a_job(a_student(workshop), workshop)
    assert agent.pk not in picks.ready_agents()
    assert dispatch.dispatch() == 0


def test_a_silent_agent_and_one_whose_gpu_is_gone_get_nothing() -> None:
    workshop, silent, broken = a_workshop(), an_agent(), an_agent()
    a_job(a_student(workshop), workshop)
    Agent.objects.filter(pk=silent.pk).update(last_seen_at=MarketNow() - dispatch.LEASE)
    Device.objects.filter(agent=broken).update(lost=True)
    assert picks.ready_agents() == []


def test_nothing_starts_in_a_paused_workshop_until_it_resumes() -> None:
    workshop, agent = a_workshop(paused_reason="Lecture"), an_agent()
    job = a_job(a_student(workshop), workshop)
    assert given(agent) is None
    workshop.paused_reason = ""
    workshop.save()
    assert given(agent) == job.pk


def test_an_agent_of_one_workshop_leaves_anothers_jobs_alone() -> None:
    mine, other = a_workshop(), a_workshop()
    agent = an_agent(workshop=mine)
    an_agent(state="lost")
    a_job(a_student(other), other)
    assert given(agent) is None
    job = a_job(a_student(mine), mine)
    assert given(agent) == job.pk


def test_a_job_too_big_for_the_device_waits_for_a_bigger_one() -> None:
    workshop, small, big = a_workshop(), an_agent(gib=8), an_agent(gib=80)
    job = a_job(a_student(workshop), workshop, gib=23.5)
    assert given(small) is None
    assert given(big) == job.pk


def test_a_job_in_the_cards_own_class_is_compared_by_its_bytes() -> None:
    workshop = a_workshop()
    agent = an_agent(gib=23.6)
    student = a_student(workshop)
    a_job(student, workshop, gib=23.9)
    fitting = a_job(student, workshop, gib=23.5)
    assert given(agent) == fitting.pk


def test_only_agents_with_the_model_and_nodes_get_the_job() -> None:
    workshop = a_workshop()
    bare = an_agent(any_model=False)
    limited = an_agent(any_model=False, models=["m"], nodes=["Sampler"])
    job = a_job(a_student(workshop), workshop, model="m")
    upscale = a_job(a_student(workshop), workshop, node="Upscaler")
    assert given(limited) == job.pk
    assert given(bare) == upscale.pk


def test_many_jobs_an_agent_lacks_the_node_for_hide_none_that_it_can_run() -> None:
    workshop = a_workshop()
    limited = an_agent(nodes=["Sampler"])
    an_agent(state="ready")
    student = a_student(workshop)
    for _ in range(picks.HEADS + 2):
        a_job(student, workshop, node="Upscaler")
    job = a_job(student, workshop)
    assert given(limited) == job.pk


def test_a_resident_model_goes_first_within_two_minutes() -> None:
    workshop = a_workshop()
    agent = an_agent(resident_models=["warm"])
    student = a_student(workshop)
    a_job(student, workshop, model="cold")
    warm = a_job(student, workshop, model="warm")
    assert given(agent) == warm.pk


def test_a_job_that_bounced_is_not_offered_again_until_more_memory_is_free() -> None:
    workshop, agent = a_workshop(), an_agent(gib=24)
    Device.objects.filter(agent=agent).update(vram_free_bytes=10 * GIB)
    job = a_job(a_student(workshop), workshop, gib=20)
    fault = Fault(
        Cause.OUT_OF_MEMORY, "20 GB needed, 10 free", needed_bytes=20 * GIB, available_bytes=10 * GIB
    )
    taken(agent).finish(Outcome.HANDED_BACK, fault=fault)
    job.refresh_from_db()
    assert (job.status, job.wait_reason, job.infrastructure_tries) == ("queued", fault.message, 0)
    assert given(agent) is None
    Device.objects.filter(agent=agent).update(vram_free_bytes=22 * GIB)
    assert given(agent) == job.pk


def test_a_held_back_job_joins_when_one_of_its_owners_ends() -> None:
    workshop, agent = a_workshop(max_in_flight=1), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=60)
    second = a_job(student, workshop, seconds=60)
    voice = taken(agent)
    assert dispatch.admit_within_caps() == 0
    voice.succeed()
    assert dispatch.admit_within_caps() == 1
    second.refresh_from_db()
    assert second.status == "queued"


def test_an_idle_gpu_takes_the_held_back_job_of_who_used_least() -> None:
    workshop = a_workshop(max_in_flight=1)
    agents = [an_agent(), an_agent(), an_agent()]
    heavy, light = a_student(workshop), a_student(workshop)
    mine = [a_job(heavy, workshop, seconds=60) for _ in range(2)]
    others = [a_job(light, workshop, seconds=60) for _ in range(2)]
    Job.objects.filter(pk=mine[0].pk).update(charged_ms=60_000)
    assert [given(agent) for agent in agents] == [mine[0].pk, others[0].pk, others[1].pk]


def test_a_loop_whose_term_is_over_assigns_nothing() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    term = leader.take("first")
    assert term is not None
    advance(seconds=5)
    assert leader.take("second") is not None
    with pytest.raises(dispatch.NotLeading):
        dispatch.assign(agent.pk, term.epoch)
    assert not Attempt.objects.exists()


def test_the_spec_says_all_that_is_needed_to_run() -> None:
    workshop, agent = a_workshop(), an_agent()
    job = a_job(a_student(workshop), workshop, seconds=20, gib=8)
    attempt = assigned_attempt(agent)
    spec = dispatch.spec(agent, attempt.pk, attempt.token)
    assert (spec.job, spec.prompt_id) == (str(job.pk), str(attempt.prompt_id))
    assert spec.output_prefix == spec.payload["prefix"] == f"{job.pk.hex}-1"
    assert (spec.vram_bytes, spec.expected_ms, spec.stop_after_ms) == (8 * GIB, 20_000, 60_000)
    assert spec.nodes["1"].sampler


def test_no_other_agent_token_or_ended_attempt_gets_a_spec() -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    attempt = assigned_attempt(agent)
    for who, token in ((an_agent(), attempt.token), (agent, attempt.token + 1)):
        with pytest.raises(dispatch.Superseded):
            dispatch.spec(who, attempt.pk, token)
    Lease.objects.update(ended_at=MarketNow())
    with pytest.raises(dispatch.Superseded):
        dispatch.spec(agent, attempt.pk, attempt.token)


@pytest.mark.parametrize("seed", range(3))
def test_sql_finds_the_same_first_jobs_as_the_pure_ranking_of_all(seed: int) -> None:
    workshop = a_workshop()
    agent = an_agent(resident_models=["sdxl"], workshop=workshop)
    student, random = a_student(workshop), Random(seed)
    for _ in range(30):
        job = a_job(student, workshop, model=random.choice(["", "sdxl", "flux"]), gib=random.choice([4, 9]))
        key_ms = job.queue_key_ms + random.choice([-150_000, -120_000, 0, 5, 120_000])
        Job.objects.filter(pk=job.pk).update(queue_key_ms=key_ms, queue_class=random.choice([0, 1, 1, 2]))
    seen = picks.look(agent.pk, None)
    assert seen.place is not None
    everything = [
        Candidate(str(job.pk), student.pk, job.model_key, job.queue_class, job.queue_key_ms)
        for job in Job.objects.filter(workshop=workshop)
    ]
    wanted = [job.job_id for job in matching.ranked(everything, seen.place.abilities)]
    found = [choice.job_id for choice in picks.choices(agent.pk, None, seen)]
    assert found[: picks.HEADS] == wanted[: picks.HEADS]
    assert given(agent) == uuid.UUID(str(wanted[0]))


def test_a_pinned_job_waits_for_its_own_agent() -> None:
    workshop, first, second = a_workshop(), an_agent(), an_agent()
    job = a_job(a_student(workshop), workshop)
    Job.objects.filter(pk=job.pk).update(pinned_agent_id=second.pk)
    assert given(first) is None
    assert given(second) == job.pk


def test_jobs_of_a_paused_template_wait() -> None:
    workshop, agent = a_workshop(), an_agent()
    job = a_job(a_student(workshop), workshop)
    template = Template.objects.create(workshop=workshop, slug="t", name="T", payload={})
    Job.objects.filter(pk=job.pk).update(template=template)
    Template.objects.filter(pk=template.pk).update(paused_reason="It fails today.")
    assert given(agent) is None
    Template.objects.filter(pk=template.pk).update(paused_reason="")
    assert given(agent) == job.pk
