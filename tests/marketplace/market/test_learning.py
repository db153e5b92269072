"""Finished runs teach the rates and their student's record, each once, apart from settlements."""

import pytest

from accounts.models import User, Workshop
from gpu_agent.protocol.phases import Cause, Outcome
from jobs import chores
from jobs.models import Attempt, Chore
from marketplace.fleet.models import Agent
from marketplace.market import learning
from marketplace.market.models import Calibration, MeasuredRun, Quote, StudentBias
from tests.factories.jobs import AgentVoice, a_job, a_quote, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


def ground() -> tuple[Workshop, User, Agent]:
    workshop = a_workshop()
    agent = an_agent()
    return workshop, a_student(workshop), agent


def ran(student: User, workshop: Workshop, agent: Agent, charged_ms: int, **rest: int) -> AgentVoice:
    """A job of ten seconds that took so long."""
    a_job(student, workshop, seconds=10)
    voice = taken(agent)
    words = {"charged_ms": charged_ms, "executing_ms": charged_ms, **rest}
    voice.finish(Outcome.SUCCEEDED, artifacts=voice.stored(1), **words)
    return voice


def do_chores() -> None:
    for pk in Chore.objects.filter(kind="learn_run", done_at=None).values_list("pk", flat=True):
        chores.run(pk)


def test_a_warm_success_is_learned_from_after_its_settlement() -> None:
    workshop, student, agent = ground()
    voice = ran(student, workshop, agent, 12_000, vram_peak_bytes=5 * 1024**3)
    assert not MeasuredRun.objects.exists()
    do_chores()
    run = MeasuredRun.objects.get()
    assert (run.attempt_id, run.warm, run.gpu, run.model_class) == (voice.attempt.pk, True, "GPU", "timed")
    assert (run.estimate_seconds, run.predicted_seconds, run.actual_seconds) == (10, 10, 12)
    assert run.peak_vram_bytes == 5 * 1024**3
    assert Calibration.objects.get().runs == 1
    assert StudentBias.objects.get().jobs == 1


def test_one_attempt_is_learned_from_once_however_often_it_is_told() -> None:
    workshop, student, agent = ground()
    voice = ran(student, workshop, agent, 12_000)
    voice.finish(Outcome.SUCCEEDED, artifacts=voice.stored(1), charged_ms=90_000)  # told late, once more
    assert learning.learn(str(voice.attempt.pk))
    assert not learning.learn(str(voice.attempt.pk))
    do_chores()
    assert (Calibration.objects.get().runs, StudentBias.objects.get().jobs) == (1, 1)


def test_a_run_that_loaded_a_model_teaches_no_rate() -> None:
    workshop, student, agent = ground()
    ran(student, workshop, agent, 20_000, executing_ms=26_000, loading_ms=6_000)
    do_chores()
    assert not MeasuredRun.objects.get().warm
    assert Calibration.objects.get().runs == 0
    assert StudentBias.objects.get().total > 0


def test_runs_answered_from_a_cache_teach_nothing() -> None:
    workshop, student, agent = ground()
    ran(student, workshop, agent, 300)
    a_job(student, workshop, seconds=10)
    voice = taken(agent)
    voice.finish(Outcome.SUCCEEDED, artifacts=voice.stored(1), charged_ms=9_000, cached=True)
    do_chores()
    assert not MeasuredRun.objects.exists()


def test_simulated_runs_teach_simulated_rates_alone() -> None:
    workshop, student, _ = ground()
    Agent.objects.update(simulated=True)
    ran(student, workshop, Agent.objects.get(), 20_000)
    do_chores()
    assert Calibration.objects.get().simulated
    assert learning.bias_of(student.pk, simulated=True) > 1
    assert learning.bias_of(student.pk, simulated=False) == 1


def test_a_job_stopped_over_budget_counts_against_its_student_only() -> None:
    workshop, student, agent = ground()
    a_job(student, workshop, seconds=10)
    taken(agent).fail(Cause.OVER_BUDGET, charged_ms=30_000, executing_ms=30_000)
    do_chores()
    assert not MeasuredRun.objects.get().warm
    assert learning.bias_of(student.pk, simulated=False) > 1.5
    other = a_student(workshop)
    assert (
        a_quote(student, workshop, seconds=10).quote_milli > a_quote(other, workshop, seconds=10).quote_milli
    )


def test_a_students_record_is_a_plain_line_and_the_lines_still_add_up() -> None:
    workshop, student, _ = ground()
    StudentBias.objects.create(student=student, simulated=False, total=0.5, weight=1.0, jobs=1)
    quote = a_quote(student, workshop, seconds=10)
    factor = learning.bias_of(student.pk, simulated=False)
    assert quote.lines[-1]["words"] == "your jobs have run 28 % longer than estimated"
    assert quote.gpu_seconds == pytest.approx(10 * factor)
    assert quote.bias_factor == pytest.approx(factor)
    assert sum(line["amount_milli"] for line in quote.lines) == quote.quote_milli
    charged = [line["gpu_seconds"] for line in quote.lines if not line["free"]]
    assert sum(charged) == pytest.approx(quote.gpu_seconds)
    assert set(quote.nodes) == {"0", "1"}


def test_failed_and_cancelled_attempts_ask_for_no_learning() -> None:
    workshop, student, agent = ground()
    a_job(student, workshop, seconds=10)
    taken(agent).fail(Cause.EXECUTION_ERROR, charged_ms=9_000)
    assert not Chore.objects.filter(kind="learn_run").exists()


def test_an_attempt_without_a_quote_or_of_no_such_number_teaches_nothing() -> None:
    workshop, student, agent = ground()
    voice = ran(student, workshop, agent, 12_000)
    Quote.objects.update(estimate_seconds=0)  # as quotes from before learning have it
    assert not learning.learn(str(voice.attempt.pk))
    assert not learning.learn(str(Attempt.objects.latest("pk").pk + 1))
