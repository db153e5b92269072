"""The lifecycle: which states follow which, each step one event, whoever loses a race changes nothing."""

import pytest

from gpu_agent.protocol.phases import Cause, Phase
from jobs import lifecycle
from jobs.lifecycle import TRANSITIONS, Fence
from jobs.models import ON_AGENT, TERMINAL, FailureCause, Job, JobEvent, Status
from tests.factories.jobs import a_job, a_student, a_workshop, an_agent, assigned_attempt

pytestmark = pytest.mark.django_db


@pytest.fixture
def job() -> Job:
    workshop = a_workshop()
    an_agent(state="lost")
    return a_job(a_student(workshop), workshop)


def forced(job: Job, status: Status) -> Job:
    """The job in a state, whatever way led there."""
    Job.objects.filter(pk=job.pk).update(status=status)
    job.refresh_from_db()
    return job


def test_nothing_leaves_a_terminal_state() -> None:
    leaving = [step for step in TRANSITIONS.values() if step.target is not None]
    assert not [step for step in leaving if set(step.sources) & set(TERMINAL)]


def test_every_state_but_the_first_is_reached_by_some_step() -> None:
    reached = {step.target for step in TRANSITIONS.values()}
    assert reached >= set(Status) - {Status.HELD_BACK}


def test_every_cause_an_agent_can_name_is_one_the_site_knows() -> None:
    assert {str(cause) for cause in Cause} == set(FailureCause.values)


@pytest.mark.parametrize(
    "status", [s for s in Status if s not in (Status.HELD_BACK, Status.QUEUED, *ON_AGENT)]
)
def test_an_ended_job_is_not_cancelled(job: Job, status: Status) -> None:
    forced(job, status)
    assert lifecycle.cancel(job.pk, captured_milli=0) is None
    job.refresh_from_db()
    assert (job.status, job.captured_milli, job.events.count()) == (status, None, 1)


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.HELD_BACK])
def test_only_a_held_back_job_is_admitted(job: Job, status: Status) -> None:
    forced(job, status)
    assert lifecycle.admit(job.pk) is None


def test_each_step_writes_one_event_with_the_next_number(job: Job) -> None:
    attempt = assigned_attempt(an_agent())
    fence = Fence(attempt.pk, attempt.token)
    for phase in (Phase.LOADING, Phase.RUNNING, Phase.STORING):
        assert lifecycle.reach(job.pk, fence, phase) is not None
    rows = JobEvent.objects.filter(job=job).values_list("seq", "kind")
    assert list(rows) == list(enumerate(["placed", "assigned", "loading", "running", "storing"], start=1))
    job.refresh_from_db()
    assert job.event_seq == 5


def test_a_phase_already_passed_moves_nothing(job: Job) -> None:
    attempt = assigned_attempt(an_agent())
    fence = Fence(attempt.pk, attempt.token)
    lifecycle.reach(job.pk, fence, Phase.RUNNING)
    assert lifecycle.reach(job.pk, fence, Phase.LOADING) is None
    assert lifecycle.reach(job.pk, fence, Phase.RUNNING) is None
    assert lifecycle.reach(job.pk, fence, Phase.TAKEN) is None


def test_an_older_attempts_token_moves_nothing(job: Job) -> None:
    agent = an_agent()
    old = assigned_attempt(agent)
    fence = Fence(old.pk, old.token)
    lifecycle.end_attempt(fence, lifecycle.LOST)
    lifecycle.requeue(job.pk, fence, reason="lost")
    assigned_attempt(an_agent())
    assert lifecycle.reach(job.pk, fence, Phase.RUNNING) is None
    assert lifecycle.requeue(job.pk, fence, reason="lost") is None


def test_a_wrong_token_moves_nothing(job: Job) -> None:
    attempt = assigned_attempt(an_agent())
    assert lifecycle.reach(job.pk, Fence(attempt.pk, attempt.token + 1), Phase.RUNNING) is None
    assert not lifecycle.end_attempt(Fence(attempt.pk, attempt.token + 1), lifecycle.LOST)


def test_a_job_is_asked_to_stop_only_once(job: Job) -> None:
    assigned_attempt(an_agent())
    assert lifecycle.request_cancel(job.pk, capture_milli=50, by="owner") is not None
    assert lifecycle.request_cancel(job.pk, capture_milli=90, by="owner") is None
    job.refresh_from_db()
    assert job.cancel_capture_milli == 50


def test_a_requeued_job_keeps_its_place_and_says_why(job: Job) -> None:
    attempt = assigned_attempt(an_agent())
    fence = Fence(attempt.pk, attempt.token)
    lifecycle.end_attempt(fence, lifecycle.LOST)
    key_before = job.queue_key_ms
    assert lifecycle.requeue(job.pk, fence, reason="The GPU went away.", counted=True) is not None
    job.refresh_from_db()
    assert (job.status, job.queue_key_ms, job.wait_reason) == ("queued", key_before, "The GPU went away.")
    assert (job.infrastructure_tries, job.started_at, job.agent_name) == (1, None, "")
