"""The agents' users in Redis: each may touch the keys of its own RQ queue and nothing else.

PostgreSQL is the truth: users are written from its rows at start, at each handshake, and after Redis came
back without them. Only the token's hash is told to Redis. Ids have a fixed length, so no pattern reaches a
neighbour's keys; the worker's name is the agent's id.
"""

from functools import cache
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import redis
from django.conf import settings

from gpu_agent.protocol.messages import queue_name
from marketplace.fleet.models import Agent

USER_START = "agent-"
# What rq 3.0's SimpleWorker says, less suspension and maintenance (which read keys of all workers).
COMMANDS = (
    "ping", "hello", "auth", "client|setname", "client|info", "client|setinfo", "client|id", "info",
    "exists", "hget", "hgetall", "hexists", "hset", "hincrby", "hincrbyfloat", "expire", "persist", "del",
    "lrem", "blmove", "lmove", "sadd", "srem", "smembers", "scard", "zadd", "zrem", "xadd", "multi", "exec",
    "watch", "unwatch", "discard", "subscribe", "unsubscribe",
)  # fmt: skip


def user_name(agent_id: str) -> str:
    """The agent's user in Redis."""
    return f"{USER_START}{agent_id}"


def agent_url(agent_id: str) -> str:
    """Where the agent finds its queue: its user, no password, for that is its token."""
    known = urlsplit(settings.AGENT_REDIS_PUBLIC_URL or settings.AGENT_REDIS_URL)
    place = known.netloc.rpartition("@")[2]
    return urlunsplit((known.scheme, f"{user_name(agent_id)}@{place}", "/0", "", ""))


def write_user(agent: Agent) -> None:
    """Make or renew the agent's user; its old password stops working. redis.RedisError."""
    _command("SETUSER", user_name(agent.pk), *rules(agent))


def remove_user(agent_id: str) -> None:
    """Take the agent's user away and close its connections. redis.RedisError."""
    _command("DELUSER", user_name(agent_id))


def rebuild() -> int:
    """Write the users of all agents and remove those of nobody; returns how many there are."""
    agents = list(Agent.objects.exclude(state=Agent.State.REVOKED))
    for agent in agents:
        write_user(agent)
    wanted = {user_name(agent.pk) for agent in agents}
    for name in _users() - wanted:
        _command("DELUSER", name)
    return len(agents)


def intact() -> bool:
    """Whether every agent's user is there; false after Redis lost its memory."""
    ids = Agent.objects.exclude(state=Agent.State.REVOKED).values_list("pk", flat=True)
    return {user_name(agent_id) for agent_id in ids} <= _users()


def rules(agent: Agent) -> list[str]:
    """The arguments of ACL SETUSER for this agent."""
    hex_id, queue = agent.pk, queue_name(agent.pk)
    keys = (
        f"rq:queue:{queue}", f"rq:queue:{queue}:intermediate",
        f"rq:job:{hex_id}-*", f"rq:job::{hex_id}-*", f"rq:results:{hex_id}-*",
        f"rq:execution:{hex_id}-*", f"rq:executions:{hex_id}-*",
        f"rq:wip:{queue}", f"rq:finished:{queue}", f"rq:failed:{queue}",
        f"rq:worker:{hex_id}", f"rq:worker:{hex_id}:executions", f"rq:workers:{queue}", "rq:workers",
    )  # fmt: skip
    return [
        "reset",
        "on",
        f"#{agent.token_sha256}",
        *(f"~{key}" for key in keys),
        f"&rq:pubsub:{hex_id}",
        *(f"+{command}" for command in COMMANDS),
    ]


def _users() -> set[str]:
    names = cast(list[bytes | str], _command("USERS"))
    texts = (name.decode() if isinstance(name, bytes) else name for name in names)
    return {name for name in texts if name.startswith(USER_START)}


def _command(*words: str) -> object:
    # redis-py's own `acl_setuser` knows key patterns but no channels, and would send the rules in its order.
    return _client().execute_command("ACL", *words)  # type: ignore[no-untyped-call]


@cache
def _client() -> "redis.Redis":
    return redis.Redis.from_url(settings.AGENT_REDIS_URL, socket_timeout=3, socket_connect_timeout=3)
