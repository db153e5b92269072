"""Five wrong passwords in a quarter of an hour lock a name for an address, wherever one signs in.

Counted in Redis, for all processes together; while that is away each process counts for itself. A lock is by
name and address, so that nobody can lock another out from elsewhere.
"""

import hashlib
from functools import cache as once
from typing import Any

import redis
import redis.exceptions
import structlog
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import User

log = structlog.get_logger(__name__)
MAX_FAILURES = 5
WINDOW_SECONDS = 15 * 60


class LockingBackend(ModelBackend):
    """Django's own backend behind the lock."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **more: Any,
    ) -> User | None:
        name, address = username or str(more.get(User.USERNAME_FIELD, "")), address_of(request)
        if locked_seconds(name, address):
            raise PermissionDenied  # no other backend is asked
        user = super().authenticate(request, username=username, password=password, **more)
        if user is None:
            failed(name, address)
            return None
        succeeded(name, address)
        return user if isinstance(user, User) else None


def address_of(request: HttpRequest | None) -> str:
    """The client's address, "" without a request."""
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""


def locked_seconds(username: str, address: str) -> int:
    """For how long signing in is locked; 0 when it is not."""
    key = _key(username, address)
    try:
        count, seconds = _client().get(key), _client().ttl(key)
        return max(1, int(str(seconds))) if count is not None and int(count) >= MAX_FAILURES else 0
    except (redis.exceptions.RedisError, OSError):
        return WINDOW_SECONDS if cache.get(key, 0) >= MAX_FAILURES else 0


def failed(username: str, address: str) -> None:
    """A wrong password was given."""
    key = _key(username, address)
    try:
        with _client().pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECONDS, nx=True)
            count, _fresh = pipeline.execute()
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("accounts.lockout_counts_alone", fault=type(error).__name__)
        cache.add(key, 0, WINDOW_SECONDS)
        count = cache.incr(key)
    if count == MAX_FAILURES:
        log.warning("accounts.locked", address=address)


def succeeded(username: str, address: str) -> None:
    """The right password was given: the count starts anew."""
    key = _key(username, address)
    cache.delete(key)
    try:
        _client().delete(key)
    except (redis.exceptions.RedisError, OSError) as error:
        log.warning("accounts.lockout_counts_alone", fault=type(error).__name__)


def _key(username: str, address: str) -> str:
    # Hashed: names people mistype, passwords in the wrong field among them, are nobody's business.
    text = f"{username.casefold()}\0{address}"
    return f"signin:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


@once
def _client() -> "redis.Redis":
    url = f"{settings.REDIS_URL}/2"
    return redis.Redis.from_url(url, retry=None, socket_timeout=1, socket_connect_timeout=1)
