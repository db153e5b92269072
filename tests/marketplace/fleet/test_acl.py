"""What an agent's user in Redis may do: run its own queue with rq's worker, and nothing else."""

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from gpu_agent.protocol.messages import delivery_id, queue_name
from marketplace.fleet import acl, registry
from marketplace.fleet.models import Agent

pytestmark = pytest.mark.django_db


class LeanWorker(SimpleWorker):
    """As agents run it: no suspension, no maintenance, which read keys of all workers."""

    def check_for_suspension(self, burst: bool) -> None:
        pass

    def run_maintenance_tasks(self) -> None:
        pass


@pytest.fixture
def admin() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.AGENT_REDIS_URL) as client:
        yield client
        for name in map(bytes.decode, client.execute_command("ACL", "USERS")):
            if name.startswith("agent-"):
                client.execute_command("ACL", "DELUSER", name)
        for key in client.scan_iter("rq:*"):
            client.delete(key)


@pytest.fixture
def enrolled(admin: redis.Redis) -> tuple[Agent, redis.Redis]:
    agent, token = registry.enrol("bench-3")
    return agent, redis.Redis.from_url(acl.agent_url(agent.pk), password=token, retry=None)


def test_a_real_worker_takes_a_job_of_its_own_queue(
    admin: redis.Redis, enrolled: tuple[Agent, redis.Redis]
) -> None:
    agent, connection = enrolled
    queue = Queue(queue_name(agent.pk), connection=admin, serializer=JSONSerializer)
    for count, function in enumerate(("builtins.len", "builtins.int"), 1):
        queue.enqueue_call(
            function, args=["words"], job_id=delivery_id(agent.pk, 7, count), result_ttl=60, failure_ttl=60
        )
    own = Queue(queue_name(agent.pk), connection=connection, serializer=JSONSerializer)
    worker = LeanWorker([own], name=agent.pk, connection=connection, serializer=JSONSerializer)
    worker.work(burst=True, with_scheduler=False)
    done, failed = (queue.fetch_job(delivery_id(agent.pk, 7, count)) for count in (1, 2))
    assert (done.get_status(), done.return_value()) == ("finished", 5)
    assert failed.get_status() == "failed"


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "rq:queue:agent-{other}"),
        ("HGETALL", "rq:job:{other}-1-1"),
        ("LREM", "rq:queue:agent-{other}", "0", "x"),
        ("HSET", "rq:worker:{other}", "state", "idle"),
        ("SUBSCRIBE", "rq:pubsub:{other}"),
        ("PUBLISH", "rq:pubsub:{own}", "x"),
        ("HSET", "rq:suspended", "x", "1"),
        ("SELECT", "1"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "GET", "*"),
        ("ACL", "WHOAMI"),
        ("EVAL", "return 1", "0"),
        ("MONITOR",),
        ("FLUSHALL",),
        ("SET", "anything", "1"),
        ("HSET", "asgi:anything", "a", "1"),
        ("CLIENT", "LIST"),
    ],
)
def test_everything_else_is_refused(
    enrolled: tuple[Agent, redis.Redis], command: tuple[str, ...], admin: redis.Redis
) -> None:
    agent, connection = enrolled
    other, _token = registry.enrol("bench-4")
    words = [word.format(own=agent.pk, other=other.pk) for word in command]
    with pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*words)


def test_a_neighbours_token_does_not_open_ones_user(admin: redis.Redis) -> None:
    agent, _token = registry.enrol("bench-3")
    _other, token = registry.enrol("bench-4")
    with (
        redis.Redis.from_url(acl.agent_url(agent.pk), password=token, retry=None) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_users_come_back_after_redis_lost_them(
    enrolled: tuple[Agent, redis.Redis], admin: redis.Redis
) -> None:
    agent, _connection = enrolled
    gone, token = registry.enrol("bench-4")
    registry.revoke(gone)
    admin.execute_command("ACL", "DELUSER", acl.user_name(agent.pk))
    assert not registry.acl_intact()
    assert registry.rebuild_acl() == 1
    assert registry.acl_intact()
    with (
        redis.Redis.from_url(acl.agent_url(gone.pk), password=token, retry=None) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_a_rotation_ends_the_old_password_at_once(admin: redis.Redis) -> None:
    agent, old = registry.enrol("bench-3")
    new = registry.rotate(agent)
    with redis.Redis.from_url(acl.agent_url(agent.pk), password=new, retry=None) as client:
        assert client.ping()
    with (
        redis.Redis.from_url(acl.agent_url(agent.pk), password=old, retry=None) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_a_hosts_public_address_stands_in_the_agents_url(settings: object) -> None:
    settings.AGENT_REDIS_PUBLIC_URL = "rediss://redis.example:6380"  # type: ignore[attr-defined]
    assert acl.agent_url("ab" * 16) == f"rediss://agent-{'ab' * 16}@redis.example:6380/0"
