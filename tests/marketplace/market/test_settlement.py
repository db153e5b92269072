"""How attempts and jobs end: one settlement each, whatever is reported when."""

import dataclasses
import random
from typing import Any

import pytest

from accounts.ledger import audit, balances, posting
from gpu_agent.protocol.messages import ArtifactRef, Fault, Report, ReportAnswer
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs.models import Artifact, Attempt, Chore, Job
from marketplace.market import dispatch, settlement
from marketplace.market.models import Lease
from tests.factories.clock import advance
from tests.factories.jobs import (
    AgentVoice,
    a_job,
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
    """An agent that has taken a job of 2 s: quoted 200, held 250 of its student's 1000 milli-credits."""
    workshop, agent = a_workshop(), an_agent(simulated=True)
    a_job(a_student(workshop, 1000), workshop, seconds=2)
    return taken(agent)


def job_of(voice: AgentVoice) -> Job:
    return Job.objects.select_related("student", "workshop").get(pk=voice.attempt.job_id)


def balance(voice: AgentVoice) -> tuple[int, int]:
    job = job_of(voice)
    found = balance_of(job.student, job.workshop)
    return found.available_milli, found.held_milli


def proven() -> bool:
    return not settlement.job_findings() and not audit.findings()


def test_a_success_captures_what_was_used_and_returns_the_rest(voice: AgentVoice) -> None:
    voice.run()
    assert voice.succeed(charged_ms=1500).accepted
    job = job_of(voice)
    assert (job.status, job.captured_milli, job.charged_ms, job.simulated) == ("succeeded", 150, 1500, True)
    assert balance(voice) == (850, 0)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert proven()


def test_nobody_ever_pays_more_than_the_ceiling(voice: AgentVoice) -> None:
    voice.succeed(charged_ms=10**12)
    assert job_of(voice).captured_milli == 250
    assert balance(voice) == (750, 0)


def test_time_below_nothing_costs_nothing(voice: AgentVoice) -> None:
    voice.succeed(charged_ms=-5)
    assert (job_of(voice).captured_milli, balance(voice)) == (0, (1000, 0))
    assert proven()


def test_outputs_become_visible_in_their_order_and_want_thumbnails(voice: AgentVoice) -> None:
    voice.succeed(artifacts=2)
    rows = list(Artifact.objects.order_by("ordinal"))
    assert [row.name for row in rows] == ["picture_0.png", "picture_1.png"]
    assert all(row.visible_at for row in rows)
    wanted = Chore.objects.filter(kind="thumbnail").values_list("subject", flat=True)
    assert set(wanted) == {str(row.pk) for row in rows}


def test_a_success_whose_outputs_were_never_stored_changes_nothing_until_they_are(voice: AgentVoice) -> None:
    (stored,) = voice.stored(1)
    missing = dataclasses.replace(stored, sha256="f" * 64)
    with pytest.raises(settlement.ArtifactMissing):
        voice.finish(Outcome.SUCCEEDED, artifacts=(stored, missing), charged_ms=2000)
    job = job_of(voice)
    assert (job.status, job.infrastructure_tries, job.captured_milli) == ("assigned", 0, None)
    assert not Artifact.objects.exclude(visible_at=None).exists()
    assert balance(voice) == (750, 250)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.INFRASTRUCTURE])
def test_a_failed_job_says_its_cause_and_pays_nothing(voice: AgentVoice, cause: Cause) -> None:
    voice.run()
    voice.fail(cause, charged_ms=900)
    job = job_of(voice)
    assert (job.status, job.cause, job.message, job.captured_milli) == (
        "failed", str(cause), "It did not work.", 0,
    )  # fmt: skip
    assert balance(voice) == (1000, 0)
    assert proven()


def test_after_three_infrastructure_failures_the_job_fails_and_pays_nothing(voice: AgentVoice) -> None:
    for expected in ("queued", "queued", "failed"):
        voice.fail(Cause.INFRASTRUCTURE)
        job = job_of(voice)
        assert job.status == expected
        if expected == "queued":
            voice = taken(voice.agent)
    assert (job.cause, job.infrastructure_tries, job.attempt_count) == ("infrastructure", 2, 3)
    assert balance(voice) == (1000, 0)
    assert proven()


def test_a_failure_without_a_reason_counts_as_infrastructure(voice: AgentVoice) -> None:
    voice.finish(Outcome.FAILED)
    assert job_of(voice).infrastructure_tries == 1


def test_handing_back_costs_no_try_and_tells_why(voice: AgentVoice) -> None:
    voice.finish(Outcome.HANDED_BACK, fault=Fault(Cause.INFRASTRUCTURE, "The agent is draining."))
    job = job_of(voice)
    assert (job.status, job.infrastructure_tries) == ("queued", 0)
    assert (job.wait_reason, job.refused_agents) == ("The agent is draining.", {})


def test_a_job_stopped_to_make_room_is_in_line_again_and_pays_nothing(voice: AgentVoice) -> None:
    key = job_of(voice).queue_key_ms
    voice.finish(Outcome.CANCELLED, charged_ms=1000)
    job = job_of(voice)
    assert (job.status, job.queue_key_ms, job.infrastructure_tries) == ("queued", key, 0)
    assert balance(voice) == (750, 250)


def test_phases_move_the_job_and_time_its_start(voice: AgentVoice) -> None:
    seen = []
    for phase in (Phase.PREPARING, Phase.WAITING, Phase.LOADING, Phase.RUNNING, Phase.STORING):
        voice.say(phase)
        seen.append(job_of(voice).status)
    assert seen == ["assigned", "assigned", "loading", "running", "storing"]


def test_a_doubled_finish_changes_nothing_and_is_answered_alike(voice: AgentVoice) -> None:
    words = voice.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, charged_ms=2000, artifacts=voice.stored(1))
    answers = [settlement.report(voice.agent, words) for _ in range(3)]
    assert [answer.accepted for answer in answers] == [True, True, True]
    assert Job.objects.get().events.filter(kind="succeeded").count() == 1
    assert balance(voice) == (800, 0)


@pytest.mark.parametrize("wrong", ["token", "agent", "attempt", "timeline"])
def test_reports_that_are_not_of_the_attempts_holder_change_nothing(voice: AgentVoice, wrong: str) -> None:
    words = voice.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, artifacts=voice.stored(1))
    changed: dict[str, Any] = {} if wrong == "agent" else {wrong: getattr(words, wrong) + 1}
    agent = an_agent() if wrong == "agent" else voice.agent
    answer = settlement.report(agent, dataclasses.replace(words, **changed))
    assert not answer.accepted
    assert job_of(voice).status == "assigned"


def test_a_finish_after_the_lease_ran_out_is_accepted_while_nobody_took_it_back(voice: AgentVoice) -> None:
    let_lease_expire(voice.attempt)
    assert voice.succeed().accepted
    assert job_of(voice).status == "succeeded"


def test_a_finish_after_the_job_was_requeued_is_accepted_while_nobody_else_has_it(voice: AgentVoice) -> None:
    let_lease_expire(voice.attempt)
    dispatch.reap()
    assert job_of(voice).status == "queued"
    assert voice.succeed().accepted
    assert (job_of(voice).status, balance(voice)) == ("succeeded", (800, 0))
    assert proven()


def test_a_finish_of_a_superseded_attempt_is_refused(voice: AgentVoice) -> None:
    let_lease_expire(voice.attempt)
    dispatch.reap()
    second = taken(an_agent())
    assert not voice.succeed().accepted
    assert job_of(voice).status == "assigned"
    assert second.succeed().accepted
    assert not voice.succeed().accepted
    assert (Artifact.objects.exclude(visible_at=None).get().attempt, balance(voice)) == (
        second.attempt,
        (800, 0),
    )


def test_a_silent_agents_job_is_requeued_and_costs_a_try(voice: AgentVoice) -> None:
    assert dispatch.reap() == 0
    advance(seconds=31)
    assert dispatch.reap() == 1
    job = job_of(voice)
    assert (job.status, job.infrastructure_tries) == ("queued", 1)
    assert "stopped answering" in job.wait_reason
    assert Attempt.objects.get().outcome == "lost"
    assert Lease.objects.get().ended_at is not None
    assert dispatch.reap() == 0


def test_a_job_never_acknowledged_is_taken_back_without_costing_a_try() -> None:
    workshop, agent = a_workshop(), an_agent()
    job = a_job(a_student(workshop), workshop)
    for _ in range(4):
        assigned_attempt(agent)
        let_lease_expire(Attempt.objects.get(outcome=""))
        dispatch.reap()
    job.refresh_from_db()
    assert (job.status, job.infrastructure_tries, job.attempt_count) == ("queued", 0, 4)


def test_a_job_whose_agents_vanish_three_times_fails(voice: AgentVoice) -> None:
    for _ in range(3):
        let_lease_expire(voice.attempt)
        dispatch.reap()
        if job_of(voice).status == "queued":
            voice = taken(voice.agent)
    assert (job_of(voice).status, job_of(voice).cause) == ("failed", "infrastructure")
    assert not voice.succeed().accepted
    assert balance(voice) == (1000, 0)


def told(voice: AgentVoice) -> list[Report]:
    """A whole life's reports, the last naming a stored output."""
    refs: tuple[ArtifactRef, ...] = voice.stored(1)
    phases = (Phase.PREPARING, Phase.LOADING, Phase.RUNNING, Phase.STORING)
    reports = [voice.words(phase, charged_ms=400 * n) for n, phase in enumerate(phases)]
    return [
        *reports,
        voice.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, charged_ms=1800, artifacts=refs),
    ]


@pytest.mark.parametrize("seed", range(25))
def test_doubled_late_and_shuffled_reports_end_in_the_same_rows(voice: AgentVoice, seed: int) -> None:
    chance = random.Random(seed)
    reports = told(voice)
    stream = [*reports, *chance.choices(reports, k=6)]
    chance.shuffle(stream)
    answers: list[ReportAnswer] = [settlement.report(voice.agent, words) for words in stream]
    job = job_of(voice)
    assert all(answer.accepted for answer in answers)
    assert (job.status, job.captured_milli, job.charged_ms) == ("succeeded", 180, 1800)
    assert balance(voice) == (820, 0)
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.report_seq, attempt.phase) == ("succeeded", 6, "finished")
    assert proven()


def test_a_hold_without_a_live_job_is_released_by_the_sweeper_alone(voice: AgentVoice) -> None:
    job = job_of(voice)
    account = posting.member_account(job.student, job.workshop)
    key = posting.key_for(job.pk, "orphan")
    posting.hold(
        account_id=account, amount_milli=50, key=key, subject="job:00000000-0000-0000-0000-000000000000"
    )
    assert [found.check for found in settlement.job_findings()] == ["hold_without_live_job"]
    assert settlement.sweep_holds() == 0
    advance(minutes=6)
    assert settlement.sweep_holds() == 1
    assert balances.hold_state(key) == "released"
    assert balance(voice) == (750, 250)
    assert proven()


def test_the_audit_names_a_live_job_whose_hold_is_gone(voice: AgentVoice) -> None:
    job = job_of(voice)
    assert job.hold_key is not None
    posting.release(hold_key=job.hold_key, key=posting.key_for(job.pk, "by mistake"))
    (found,) = settlement.job_findings()
    assert (found.check, found.job_id) == ("live_job_without_hold", str(job.pk))
