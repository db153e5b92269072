"""What the loop learns of waits from rows."""

import pytest

from marketplace.fleet.models import Agent
from marketplace.market import forecasts, orders
from marketplace.market.models import WaitForecast, WaitQuantile
from marketplace.market.waits import FIRST_GUESS
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


def run_the_line(agent: Agent, seconds: float) -> None:
    """The agent runs what is next for so long; then it takes the one behind it."""
    first = taken(agent)
    first.run()
    advance(seconds=seconds)
    Agent.objects.filter(pk=agent.pk).update(last_seen_at="2100-01-01T00:00:00Z")
    first.succeed(charged_ms=round(seconds * 1000))
    taken(agent).run()


def test_a_start_later_than_the_replay_said_moves_the_quantiles_up() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=20)
    second = a_job(student, workshop)
    forecasts.tick()
    (row,) = WaitForecast.objects.all()
    assert (row.order.job_id, row.level, row.policy) == (second.pk, 1, workshop.policy)
    assert 20 <= row.seconds <= 30
    run_the_line(agent, seconds=200)
    assert forecasts.tick() == 1
    known = WaitQuantile.objects.get(workshop=workshop, level=1)
    assert known.count == 1
    assert known.high > FIRST_GUESS.high
    assert not WaitForecast.objects.exists()


def test_a_job_that_a_gpu_is_idle_for_is_not_forecast() -> None:
    workshop = a_workshop()
    an_agent()
    a_job(a_student(workshop), workshop)
    assert forecasts.tick() == 0
    assert not WaitForecast.objects.exists()


def test_a_job_is_forecast_once() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    for _ in range(3):
        a_job(student, workshop)
    forecasts.tick()
    before = list(WaitForecast.objects.values_list("pk", "seconds"))
    advance(seconds=1)
    forecasts.tick()
    assert list(WaitForecast.objects.values_list("pk", "seconds")) == before
    assert len(before) == 2


def test_a_cancelled_job_teaches_nothing() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop)
    orders.cancel(a_job(student, workshop), by=student)
    waiting = a_job(student, workshop)
    forecasts.tick()
    orders.cancel(waiting, by=student)
    assert forecasts.tick() == 0
    assert not WaitForecast.objects.exists()
    assert not WaitQuantile.objects.exists()


def test_a_start_under_another_mode_teaches_nothing() -> None:
    workshop, agent = a_workshop(policy="fifo"), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=20)
    a_job(student, workshop)
    forecasts.tick()
    workshop.policy = "market"
    workshop.save()
    run_the_line(agent, seconds=20)
    assert forecasts.tick() == 0
    assert not WaitForecast.objects.exists()
