"""The last progress frame of each running job, kept a minute in Redis.

So a page shows the percentage at once when it loads, and a browser without a socket can ask for it. Like all
of live: when Redis is away there is no frame, and nobody fails.
"""

import json
import uuid
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import redis
import redis.asyncio
import redis.exceptions
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)
KEPT_SECONDS = 60
Frame = dict[str, Any]


def latest(job_ids: Iterable[uuid.UUID | str]) -> dict[str, Frame]:
    """The frames there are, by job id as text."""
    wanted = [str(job_id) for job_id in job_ids]
    if not wanted:
        return {}
    try:
        found = _client().mget([_key(job_id) for job_id in wanted])
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("live.frames_unavailable", fault=type(error).__name__)
        return {}
    answers = zip(wanted, cast(list[bytes | None], found), strict=True)
    return {job_id: json.loads(frame) for job_id, frame in answers if frame is not None}


async def keep(client: "redis.asyncio.Redis", job_id: uuid.UUID | str, frame: Frame) -> None:
    """Keep the frame as the job's latest."""
    try:
        await client.set(_key(job_id), json.dumps(frame), ex=KEPT_SECONDS)
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("live.frame_not_kept", fault=type(error).__name__)


def async_client() -> "redis.asyncio.Redis":
    """A client for `keep`; its owner closes it on the same event loop."""
    return redis.asyncio.Redis.from_url(_url())


def _key(job_id: uuid.UUID | str) -> str:
    return f"live:frame:{job_id}"


def _url() -> str:
    return f"{settings.REDIS_URL}/2"


@cache
def _client() -> "redis.Redis":
    # No retries: a page must not wait five seconds for a decoration.
    return redis.Redis.from_url(_url(), retry=None, socket_timeout=0.5, socket_connect_timeout=0.5)
