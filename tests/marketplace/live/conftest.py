"""Sockets of browsers and agents, through the whole ASGI application."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import redis
from asgiref.sync import SyncToAsync
from django.conf import settings as django_settings
from django.db import connections

from accounts.models import User, Workshop
from marketplace.api import tokens
from marketplace.fleet import registry
from marketplace.fleet.models import Agent
from tests.factories import jobs as make
from tests.sockets import Socket

Opener = Callable[..., AbstractAsyncContextManager[Socket]]


@pytest.fixture(autouse=True)
def _a_site(settings: Any) -> Any:
    django_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none
    connections.settings["default"]["CONN_MAX_AGE"] = 0  # threads must leave the test database
    # What the thread of async tests held since an earlier file may have been ended by a test meanwhile.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    yield
    with redis.Redis.from_url(django_settings.AGENT_REDIS_URL) as client:
        for name in map(bytes.decode, client.execute_command("ACL", "USERS")):
            if name.startswith("agent-"):
                client.execute_command("ACL", "DELUSER", name)


@pytest.fixture
def workshop(transactional_db: None) -> Workshop:
    return make.a_workshop()


@pytest.fixture
def student(workshop: Workshop) -> User:
    return make.a_student(workshop)


@pytest.fixture
def agent(workshop: Workshop) -> Agent:
    return make.an_agent()


@pytest.fixture
def voice(agent: Agent, student: User, workshop: Workshop) -> make.AgentVoice:
    """The agent, holding a job of the student's."""
    make.a_job(student, workshop, seconds=2)
    return make.taken(agent)


@pytest.fixture
def token_of() -> Callable[[User], str]:
    return lambda user: tokens.make(user, "test")


@pytest.fixture
def token(student: User) -> str:
    return tokens.make(student, "test")


@pytest.fixture
def agent_token(agent: Agent) -> str:
    return registry.rotate(agent)


@pytest.fixture
def open_socket() -> Opener:
    """`async with open_socket(path, token, **headers) as socket`."""
    from marketplace.asgi import application

    @contextlib.asynccontextmanager
    async def opened(path: str, token: str = "", **headers: str) -> AsyncIterator[Socket]:
        words = {"host": "127.0.0.1", **headers}
        if token:
            words["authorization"] = f"Bearer {token}"
        socket = Socket(application, path, words)
        yield socket
        await socket.leave()

    return opened
