"""The site as browsers, programs and agents see it: over ASGI, through the edge."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings as django_settings
from django.db import connections
from PIL import Image
from rest_framework.test import APIClient

from accounts.models import User, Workshop
from marketplace.api import tokens
from marketplace.fleet import registry
from marketplace.fleet.models import Agent
from tests.factories import jobs as make


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture(autouse=True)
def _a_folder_for_collected_files() -> None:
    django_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none


@pytest.fixture(autouse=True)
def _agents_leave_redis() -> Iterator[None]:
    yield
    with redis.Redis.from_url(django_settings.AGENT_REDIS_URL) as client:
        for name in map(bytes.decode, client.execute_command("ACL", "USERS")):
            if name.startswith("agent-"):
                client.execute_command("ACL", "DELUSER", name)


@pytest.fixture(autouse=True)
def _threads_leave_the_database() -> None:
    # Threads of the event loop would keep their connections open, and the test database could not be dropped.
    connections.settings["default"]["CONN_MAX_AGE"] = 0


@pytest.fixture
def workshop(db: None) -> Workshop:
    return make.a_workshop()


@pytest.fixture
def student(workshop: Workshop) -> User:
    return make.a_student(workshop)


@pytest.fixture
def agent(workshop: Workshop) -> Agent:
    return make.an_agent(gib=24)


@pytest.fixture
def agent_token(agent: Agent) -> str:
    return registry.rotate(agent)


@pytest.fixture
def client_of(db: None) -> Callable[[User], APIClient]:
    """`client_of(user)`: Django's test client with an API token of the user's."""

    def sign_in(user: User) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.make(user, 'test')}")
        return client

    return sign_in


@pytest.fixture
def api(client_of: Callable[[User], APIClient], student: User) -> APIClient:
    """The student's client."""
    return client_of(student)


@pytest.fixture
async def site() -> AsyncIterator[httpx.AsyncClient]:
    """The whole ASGI application, edge included."""
    from marketplace.asgi import application

    transport = httpx.ASGITransport(app=application, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def picture() -> bytes:
    """A PNG of 40 × 30 pixels."""
    into = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(into, "PNG")
    return into.getvalue()
