"""Whether the process lives, and whether it can do its work."""

import redis.asyncio
import redis.exceptions
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from starlette.responses import JSONResponse

from marketplace.api.answers import Receive, Scope, Send, refusal

REDIS_SECONDS = 2


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /health/live: the process answers. GET /health/ready: both stores answer, else 503."""
    path = scope["path"]
    if path == "/health/live":
        await JSONResponse({"status": "ok"})(scope, receive, send)
        return
    if path != "/health/ready":
        await refusal(path, 404, "not_found", "There is no such check.")(scope, receive, send)
        return
    parts = {"database": await _database(), "redis": await _redis()}
    ready = all(parts.values())
    words = {"status": "ok" if ready else "unavailable", **{name: _word(up) for name, up in parts.items()}}
    headers = {} if ready else {"Retry-After": "2"}
    await JSONResponse(words, 200 if ready else 503, headers)(scope, receive, send)


def _word(up: bool) -> str:
    return "ok" if up else "unavailable"


def _select() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


_aselect = database_sync_to_async(_select, thread_sensitive=False)


async def _database() -> bool:
    try:
        await _aselect()
    except (DatabaseError, InterfaceError):
        return False
    return True


async def _redis() -> bool:
    client = redis.asyncio.Redis.from_url(
        f"{settings.REDIS_URL}/2",
        retry=None,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
    )
    try:
        return bool(await client.ping())
    except (redis.exceptions.RedisError, OSError):
        return False
    finally:
        await client.aclose()
