"""Deliveries on the agents' own queues in a real Redis."""

import json
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from gpu_agent.protocol.messages import DELIVERY_FUNCTION, Delivery, delivery_id, queue_name
from jobs.models import Attempt
from marketplace.fleet.models import Agent
from marketplace.market import delivery, dispatch
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_student, a_workshop, an_agent, assigned_attempt, taken

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = an_agent()
    yield made
    queue_of(made).delete(delete_jobs=True)


def queue_of(agent: Agent) -> Queue:
    client = delivery.quick_client(settings.AGENT_REDIS_URL)
    return Queue(queue_name(agent.pk), connection=client, serializer=JSONSerializer)


def delivered(agent: Agent) -> list[RqJob]:
    """What waits on the agent's queue."""
    return queue_of(agent).get_jobs()  # type: ignore[no-any-return]


def test_an_assigned_job_stands_on_the_agents_queue_as_a_delivery(agent: Agent) -> None:
    workshop = a_workshop()
    job = a_job(a_student(workshop), workshop)
    assert dispatch.dispatch() == 1
    attempt = Attempt.objects.get()
    (found,) = delivered(agent)
    assert (found.id, found.func_name) == (delivery_id(agent.pk, attempt.pk, 1), DELIVERY_FUNCTION)
    message = Delivery.from_dict(found.args[0])
    assert (message.job, message.attempt, message.token) == (str(job.pk), attempt.pk, attempt.token)
    assert (found.timeout, found.ttl, found.result_ttl, found.failure_ttl) == (60, 60, 60, 60)


def test_a_delivery_names_no_title_or_workflow(agent: Agent) -> None:
    workshop = a_workshop()
    a_job(a_student(workshop), workshop, model="secret-model")
    dispatch.dispatch()
    (found,) = delivered(agent)
    assert "secret" not in json.dumps([found.description, *found.args])


def test_what_is_not_acknowledged_is_delivered_again_under_a_new_number(agent: Agent) -> None:
    workshop = a_workshop()
    a_job(a_student(workshop), workshop)
    dispatch.dispatch()
    assert dispatch.redeliver() == 0
    queue_of(agent).delete(delete_jobs=True)
    advance(seconds=6)
    assert dispatch.redeliver() == 1
    (found,) = delivered(agent)
    assert found.id == delivery_id(agent.pk, Attempt.objects.get().pk, 2)
    assert dispatch.redeliver() == 0


def test_what_was_acknowledged_or_ended_is_not_delivered_again(agent: Agent) -> None:
    workshop = a_workshop()
    student = a_student(workshop)
    a_job(student, workshop, seconds=60)
    voice = taken(agent)
    advance(seconds=6)
    assert dispatch.redeliver() == 0
    voice.succeed()
    assert not dispatch.deliver(voice.attempt.pk)


def test_while_redis_is_away_nothing_is_lost(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop = a_workshop()
    a_job(a_student(workshop), workshop)
    attempt = assigned_attempt(agent)
    with monkeypatch.context() as away:
        away.setattr(settings, "AGENT_REDIS_URL", "redis://127.0.0.1:9/0")
        assert not dispatch.deliver(attempt.pk)
        advance(seconds=6)
        assert dispatch.redeliver() == 0
    advance(seconds=6)
    assert dispatch.redeliver() == 1
    assert [found.id for found in delivered(agent)] == [delivery_id(agent.pk, attempt.pk, 3)]


def test_the_agents_queues_are_not_in_the_sites_database(agent: Agent) -> None:
    workshop = a_workshop()
    a_job(a_student(workshop), workshop)
    dispatch.dispatch()
    site = redis.Redis.from_url(settings.RQ_QUEUES["default"]["URL"])
    assert not site.exists(f"rq:queue:{queue_name(agent.pk)}")
    site.close()
