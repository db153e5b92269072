"""Handing an assigned attempt to its agent's own RQ queue. RQ delivers and may lose; PostgreSQL knows.

The queue lives in Redis database 0, apart from the site's. The RQ job is the delivery, never the work: its
function hands over and returns, so no retry, and nothing of it is kept.
"""

import uuid
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from gpu_agent.protocol.messages import (
    DELIVERY_FUNCTION,
    PROTOCOL_VERSION,
    Delivery,
    delivery_id,
    queue_name,
)

log = structlog.get_logger(__name__)
DELIVERY_SECONDS = 60
# The loop must renew its leadership within seconds; a Redis that is away may not hold it up.
REDIS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One delivery to be made: the count-th of this attempt."""

    agent_id: str
    job_id: uuid.UUID
    attempt_id: int
    token: int
    count: int
    timeline: int


def send(parcel: Parcel) -> bool:
    """Enqueue the delivery; False when Redis can't be reached, then it is sent again later."""
    message = Delivery(
        protocol=PROTOCOL_VERSION,
        timeline=parcel.timeline,
        attempt=parcel.attempt_id,
        token=parcel.token,
        job=str(parcel.job_id),
    )
    queue = Queue(
        queue_name(parcel.agent_id),
        connection=quick_client(settings.AGENT_REDIS_URL),
        serializer=JSONSerializer,
    )
    told = {"agent": parcel.agent_id, "job": str(parcel.job_id), "attempt": parcel.attempt_id}
    try:
        queue.enqueue_call(
            DELIVERY_FUNCTION,
            args=[message.to_dict()],
            job_id=delivery_id(parcel.agent_id, parcel.attempt_id, parcel.count),
            timeout=DELIVERY_SECONDS,
            ttl=DELIVERY_SECONDS,
            result_ttl=DELIVERY_SECONDS,
            failure_ttl=DELIVERY_SECONDS,
            description=f"attempt {parcel.attempt_id}",  # the default would log the arguments
        )
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("market.delivery_failed", fault=type(error).__name__, **told)
        return False
    log.info("market.delivered", count=parcel.count, **told)
    return True


@cache
def quick_client(url: str) -> "redis.Redis":
    """A client that gives up within seconds."""
    return redis.Redis.from_url(
        url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 1),  # once: the first call after a restart meets the old connection
    )
