"""Publishing never harms who publishes, keeps its order, and comes after the commit."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import transaction

from marketplace.live import frames, publish, topics

pytestmark = pytest.mark.django_db(transaction=True)
JOB = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def listener() -> AsyncIterator[Any]:
    """`await listener()`: the next message to the job's topic."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(topics.group_of(topics.job_topic(JOB)), channel)
    yield lambda: layer.receive(channel)
    await layer.flush()


def say(seq: int) -> None:
    publish.job_event(JOB, 1, 1, seq, "running", {})


async def test_what_is_said_from_ordinary_code_arrives_in_order(listener: Any) -> None:
    await sync_to_async(lambda: [say(seq) for seq in range(200)])()
    heard = [(await listener())["seq"] for _ in range(200)]
    assert heard == list(range(200))


async def test_nothing_is_said_of_what_was_rolled_back(listener: Any) -> None:
    def write() -> None:
        try:
            with transaction.atomic():
                say(1)
                raise RuntimeError
        except RuntimeError:
            say(2)

    await sync_to_async(write)()
    assert (await listener())["seq"] == 2


async def test_one_connection_serves_all_that_a_process_says(listener: Any) -> None:
    await sync_to_async(lambda: [say(seq) for seq in range(20)])()
    for _ in range(20):
        await listener()
    assert await sync_to_async(publish.flush)()
    assert len({id(publish._sender._running), id(publish._sender._start())}) == 1


async def test_a_redis_that_is_away_is_no_fault_of_the_caller(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = RedisPubSubChannelLayer(hosts=[{"address": "redis://127.0.0.1:1/2", "retry": None}])
    monkeypatch.setattr(publish, "get_channel_layer", lambda: away)
    await sync_to_async(say)(1)
    assert await sync_to_async(publish.flush)(30)
    await publish.aprogress(JOB, 1, 1, {"percent": 1.0})
    settings.REDIS_URL = "redis://127.0.0.1:1"
    frames._client.cache_clear()
    assert await sync_to_async(frames.latest)([JOB]) == {}
    frames._client.cache_clear()
    assert "live.send_failed" in caplog.text
    await away.flush()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_forked_child_starts_a_sender_of_its_own(listener: Any) -> None:
    await sync_to_async(say)(1)
    await listener()
    child = os.fork()
    if child == 0:
        publish._sender.put([(topics.group_of(topics.job_topic(JOB)), {"type": "live.event", "seq": 7})])
        os._exit(0 if publish.flush(5) else 1)
    assert (await listener())["seq"] == 7
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
