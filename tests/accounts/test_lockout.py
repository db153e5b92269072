"""Wrong passwords lock a name for an address."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.test import RequestFactory

from accounts import lockout
from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("Ada", password="right words")


@pytest.fixture(params=["redis there", "redis away"])
def _with_and_without_redis(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    lockout._client.cache_clear()
    if request.param == "redis away":
        settings.REDIS_URL = "redis://127.0.0.1:1"
    yield
    lockout._client.cache_clear()
    cache.clear()


def sign_in(username: str, password: str, address: str) -> Any:
    return authenticate(RequestFactory(REMOTE_ADDR=address).post("/"), username=username, password=password)


@pytest.mark.usefixtures("_with_and_without_redis")
def test_a_locked_name_opens_with_no_password_from_there(user: User, address: str) -> None:
    for _ in range(lockout.MAX_FAILURES):
        assert sign_in("Ada", "wrong", address) is None
    assert sign_in("Ada", "right words", address) is None
    assert sign_in("ada", "right words", address) is None, "letter case opens nothing"
    assert sign_in("Ada", "right words", address + "9") == user
    assert lockout.locked_seconds("Ada", address) > 0


@pytest.mark.usefixtures("_with_and_without_redis")
def test_a_right_password_in_time_clears_the_count(user: User, address: str) -> None:
    for _ in range(lockout.MAX_FAILURES - 1):
        sign_in("Ada", "wrong", address)
    assert sign_in("Ada", "right words", address) == user
    sign_in("Ada", "wrong", address)
    assert lockout.locked_seconds("Ada", address) == 0


@pytest.fixture
def address() -> str:
    """One no other test has used: counts outlive a test."""
    import uuid

    return f"test-{uuid.uuid4()}"
