"""The RQ worker's function and job class: only deliveries, and only by their own name."""

import os
from typing import Any

import pytest
import redis
from rq.serializers import JSONSerializer

from gpu_agent import worker
from gpu_agent.protocol.messages import DELIVERY_FUNCTION, Delivery, MalformedMessage, Welcome
from gpu_agent.worker import DeliveryJob, DeliveryLoop, take_delivery


def test_a_delivery_reaches_whoever_takes_them() -> None:
    taken: list[Delivery] = []
    welcome = Welcome(1, 1, "a" * 32, "gpu", "redis://agent-a@127.0.0.1:6379/0", "agent-a", 5, 30, "")
    DeliveryLoop(welcome, "token", taken.append)
    delivery = Delivery(1, 1, 7, 3, "job")
    take_delivery(delivery.to_dict())
    assert taken == [delivery]


@pytest.mark.parametrize("data", [{}, {"attempt": "x"}, [], None])
def test_what_is_no_delivery_is_refused(data: Any) -> None:
    with pytest.raises(MalformedMessage):
        take_delivery(data)


def test_the_function_has_the_name_the_site_enqueues() -> None:
    assert f"{take_delivery.__module__}.{take_delivery.__name__}" == DELIVERY_FUNCTION


def test_a_forged_job_runs_nothing_else() -> None:
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as connection:
        job = DeliveryJob.create(
            "os.system", args=("true",), connection=connection, serializer=JSONSerializer
        )
        with pytest.raises(MalformedMessage, match=r"os\.system"):
            job.perform()
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://agent-a@redis.example:6379/0", "redis://agent-a:t%2Fk@redis.example:6379/0"),
        ("rediss://agent-a@[::1]:6379/0", "rediss://agent-a:t%2Fk@[::1]:6379/0"),
    ],
)
def test_the_token_is_the_redis_users_password(url: str, whole: str) -> None:
    assert worker._with_password(url, "t/k") == whole
