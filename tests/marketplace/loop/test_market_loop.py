"""The market loop as it runs: woken by commits, one leading, one standing by, faults survived."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from rq import Queue
from rq.serializers import JSONSerializer

from gpu_agent.protocol.messages import queue_name
from jobs import chores
from jobs.models import Attempt, Chore
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.loop.duties import DUTIES, Duty
from marketplace.loop.market_loop import MarketLoop
from marketplace.market import delivery
from marketplace.market.models import Leadership, Lease
from tests.factories.jobs import a_job, a_student, a_workshop, an_agent
from tests.killing import end_all_other_connections

pytestmark = pytest.mark.django_db(transaction=True)
Poll = Callable[..., Any]


class Running:
    """Loops in threads of this process."""

    def __init__(self) -> None:
        self._threads: list[tuple[MarketLoop, threading.Thread]] = []

    def start(self, name: str, duties: tuple[Duty, ...] = DUTIES) -> MarketLoop:
        loop = MarketLoop(name, duties)
        thread = threading.Thread(target=loop.run, name=name)
        thread.start()
        self._threads.append((loop, thread))
        return loop

    def stop(self, loop: MarketLoop) -> None:
        loop.stop()
        for known, thread in self._threads:
            if known is loop:
                thread.join(20)
                assert not thread.is_alive()

    def stop_all(self) -> None:
        for loop, _thread in self._threads:
            self.stop(loop)


@pytest.fixture
def loops() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop_all()
    site_queue().delete(delete_jobs=True)
    for agent_id in Agent.objects.values_list("pk", flat=True):
        queue_of(agent_id).delete(delete_jobs=True)


def leader_name() -> str:
    return Leadership.objects.values_list("leader", flat=True).first() or ""


def queue_of(agent_id: str) -> Queue:
    client = delivery.quick_client(settings.AGENT_REDIS_URL)
    return Queue(queue_name(agent_id), connection=client, serializer=JSONSerializer)


def site_queue() -> Queue:
    client = delivery.quick_client(settings.RQ_QUEUES["default"]["URL"])
    return Queue("default", connection=client, serializer=JSONSerializer)


def waiting(agent_id: str) -> list[str]:
    """Ids of the deliveries on the agent's queue."""
    return list(queue_of(agent_id).get_job_ids())


def test_an_order_is_on_its_agents_queue_without_waiting_for_the_tick(loops: Running, poll: Poll) -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    loops.start("a")
    poll(leader_name)
    a_job(student, workshop)
    poll(lambda: waiting(agent.pk), what="a delivery")
    assert Attempt.objects.get().agent_id == agent.pk


def test_one_leads_and_the_other_takes_over_when_it_stops(loops: Running, poll: Poll) -> None:
    first = loops.start("a")
    poll(lambda: leader_name() == "a")
    loops.start("b")
    loops.stop(first)
    poll(lambda: leader_name() == "b", what="b leads")
    assert Leadership.objects.get().epoch == 2


def test_the_stand_by_takes_over_from_one_that_is_merely_stopped(loops: Running, poll: Poll) -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def hang(_term: object) -> None:
        stuck.set()
        go_on.wait(30)

    loops.start("a", (Duty("hang", 0, hang),))
    assert stuck.wait(10)
    loops.start("b")
    try:
        poll(lambda: leader_name() == "b", seconds=8, what="b leads")
    finally:
        go_on.set()


def test_a_broken_duty_stops_neither_the_others_nor_the_loop(loops: Running, poll: Poll) -> None:
    done: list[object] = []

    def break_down(_term: object) -> None:
        raise ValueError("a fault of this test")

    loops.start("a", (Duty("broken", 0, break_down), Duty("well", 0, done.append)))
    poll(lambda: len(done) >= 2)


def test_the_loop_goes_on_after_the_database_ended_its_connections(loops: Running, poll: Poll) -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    loops.start("a")
    poll(leader_name)
    end_all_other_connections()
    a_job(student, workshop)
    poll(lambda: waiting(agent.pk), what="a delivery")


def test_a_redis_that_forgot_loses_no_delivery(loops: Running, poll: Poll) -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    loops.start("a")
    poll(lambda: waiting(agent.pk))
    queue_of(agent.pk).delete(delete_jobs=True)
    poll(lambda: waiting(agent.pk), seconds=15, what="a second delivery")


def test_agents_users_are_written_again_when_redis_lost_them(loops: Running, poll: Poll) -> None:
    agent, _token = fleet.enrol("loop-test-agent")
    client = redis.Redis.from_url(settings.AGENT_REDIS_URL)
    client.execute_command("ACL", "DELUSER", f"agent-{agent.pk}")
    assert not fleet.acl_intact()
    loops.start("a")
    poll(fleet.acl_intact, what="the agent's user")
    client.close()


def test_chores_are_handed_to_the_worker(loops: Running, poll: Poll) -> None:
    chores.want("thumbnail", "00000000-0000-0000-0000-000000000000")
    loops.start("a")
    wanted = [Chore.objects.get(kind="thumbnail").pk]
    found = poll(lambda: [job for job in site_queue().get_jobs() if job.args == wanted], what="a chore")
    assert found[0].func_name == chores.RUN_FUNCTION


def test_a_new_leader_takes_nothing_back_at_once(loops: Running, poll: Poll) -> None:
    workshop, agent = a_workshop(), an_agent()
    a_job(a_student(workshop), workshop)
    loops.start("a")
    poll(lambda: Lease.objects.exists())
    Lease.objects.update(expires_at="2020-01-01T00:00:00Z")
    begun = Leadership.objects.get().renewed_at
    poll(lambda: Leadership.objects.get().renewed_at > begun)
    assert Lease.objects.get().ended_at is None
    Leadership.objects.update(started_at="2020-01-01T00:00:00Z")
    poll(lambda: Attempt.objects.filter(outcome="lost").exists(), what="the lost attempt")
    assert agent.pk == Attempt.objects.filter(outcome="lost").get().agent_id
