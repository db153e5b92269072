"""Two market loops as processes of their own: one stands by and takes over, also from one merely stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings
from django.db import connection
from rq import Queue
from rq.serializers import JSONSerializer

from accounts.clock import MarketNow
from gpu_agent.protocol.messages import queue_name
from jobs.models import Attempt
from marketplace.fleet.models import Agent
from marketplace.market import delivery
from marketplace.market.models import Leadership
from tests.factories.jobs import a_job, a_student, a_workshop, an_agent

pytestmark = pytest.mark.django_db(transaction=True)
Poll = Callable[..., Any]
REPOSITORY = Path(__file__).resolve().parents[3]
TAKEN_OVER_WITHIN = timedelta(seconds=5)


@pytest.fixture
def loops() -> Iterator[dict[int, psutil.Popen]]:
    """Both on this test's database, by their process ids; they are gone afterwards, whatever was done."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    started = [
        psutil.Popen(
            [sys.executable, "manage.py", "run_market"],
            cwd=REPOSITORY, env={**os.environ, "DATABASE_URL": url.geturl()},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    yield {loop.pid: loop for loop in started}
    for loop in started:
        loop.kill()  # also one that is stopped
        loop.wait(20)
    client = delivery.quick_client(settings.AGENT_REDIS_URL)
    for agent_id in Agent.objects.values_list("pk", flat=True):
        Queue(queue_name(agent_id), connection=client, serializer=JSONSerializer).delete(delete_jobs=True)


def leading() -> int:
    """The process that leads; 0 for none."""
    name = Leadership.objects.values_list("leader", flat=True).first() or ""
    return int(name.rpartition(":")[2] or 0)


def both_run(loops: dict[int, psutil.Popen]) -> bool:
    """Whether each has its session in the database, so that the second does stand by."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query ILIKE 'INSERT INTO market_leadership%' OR query ILIKE 'LISTEN%'"
        )
        (sessions,) = cursor.fetchone()
    return leading() in loops and sessions >= 2


def assigned() -> int:
    """How many attempts were begun. Nobody runs the agents, so they are made heard here: on a busy machine
    they would be lost before the loops get to them."""
    Agent.objects.update(state=Agent.State.READY, last_seen_at=MarketNow())
    return Attempt.objects.count()


def test_a_stand_by_takes_over_within_five_seconds_from_one_stopped_and_from_one_killed(
    loops: dict[int, psutil.Popen], poll: Poll
) -> None:
    workshop, agents = a_workshop(), [an_agent() for _ in range(3)]
    student = a_student(workshop)
    poll(lambda: both_run(loops), seconds=60, what="a leader and a stand-by")
    placed = []
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        first, before = leading(), Leadership.objects.get()
        loops[first].send_signal(sign)
        placed.append(a_job(student, workshop).pk)
        poll(lambda old=first: leading() != old, seconds=30, what="the other leads")
        after = Leadership.objects.get()
        assert leading() in loops
        assert after.epoch == before.epoch + 1
        assert after.started_at - before.renewed_at <= TAKEN_OVER_WITHIN
        if sign is signal.SIGSTOP:
            loops[first].send_signal(signal.SIGCONT)  # it thinks that it still leads
        poll(lambda: assigned() == len(placed), seconds=30, what="what came meanwhile")
    placed.append(a_job(student, workshop).pk)
    poll(lambda: assigned() == len(agents), seconds=30, what="the last job")
    assert sorted(Attempt.objects.values_list("job_id", flat=True)) == sorted(placed)
