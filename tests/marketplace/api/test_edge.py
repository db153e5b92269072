"""The outermost layer: limits on bodies, request ids, health, static files, stores that are away."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings
from django.test import Client

from accounts.models import User
from gpu_agent.protocol.messages import MAX_MESSAGE_BYTES
from marketplace.api import edge, tokens

pytestmark = pytest.mark.django_db(transaction=True)
HEAVY = b"x" * (edge.FREE_BODY_BYTES + 1)


class Untouched:
    """A body that must not be read: an ASGI `receive` that fails the test."""

    async def __call__(self) -> dict[str, Any]:
        raise AssertionError("the body was read before the caller was known")


async def first_answer(path: str, headers: dict[str, str], method: str = "POST") -> tuple[int, Any]:
    """Status and JSON of a request whose body is never sent."""
    from marketplace.asgi import application

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await application(scope, Untouched(), send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("path", ["/api/v1/uploads", "/api/v1/quotes", "/agent/v1/inventory", "/sign-in"])
async def test_a_heavy_body_of_a_stranger_is_not_read(path: str) -> None:
    status, words = await first_answer(path, {"Content-Length": str(len(HEAVY))})
    assert (status, words["code"]) == (401, "not_authenticated")
    status, words = await first_answer(path, {"Transfer-Encoding": "chunked"})
    assert (status, words["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("path", ["/api/v1/uploads", "/api/v1/quotes", "/agent/v1/reports", "/studio"])
async def test_a_body_beyond_its_routes_limit_is_not_read_from_anybody(path: str) -> None:
    status, words = await first_answer(path, {"Content-Length": str(edge.body_limit(path) + 1)})
    assert (status, words["code"]) == (413, "too_large")


def test_each_route_has_a_limit_of_its_own() -> None:
    assert edge.body_limit("/agent/v1/inventory") == MAX_MESSAGE_BYTES
    assert edge.body_limit("/api/v1/uploads") > django_settings.MAX_UPLOAD_BYTES
    assert edge.body_limit("/api/v1/quotes") == django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE


async def test_a_body_that_grows_beyond_the_limit_is_cut_off(
    site: httpx.AsyncClient, token: str, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield HEAVY

    answer = await site.post("/api/v1/quotes", content=endless(), headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_known_caller_may_send_a_heavy_body(
    site: httpx.AsyncClient, token: str, session: str
) -> None:
    body = b'{"workflow": "' + HEAVY + b'"}'
    for headers in (bearer(token), {"Cookie": f"{django_settings.SESSION_COOKIE_NAME}={session}"}):
        answer = await site.post("/api/v1/quotes", content=body, headers={**headers, **JSON})
        assert answer.status_code in (400, 403)
        assert answer.json()["code"] not in ("not_authenticated", "too_large")


async def test_every_answer_carries_its_request_id(site: httpx.AsyncClient) -> None:
    given = await site.get("/health/live", headers={"X-Request-Id": "from-the-proxy-1"})
    assert given.headers["X-Request-Id"] == "from-the-proxy-1"
    made = await site.get("/api/v1/me", headers={"X-Request-Id": "bad id\x01"})
    assert len(made.headers["X-Request-Id"]) == 32


async def test_health_tells_living_from_ready(site: httpx.AsyncClient, settings: Any) -> None:
    assert (await site.get("/health/live")).json() == {"status": "ok"}
    ready = await site.get("/health/ready")
    assert ready.json() == {"status": "ok", "database": "ok", "redis": "ok"}
    settings.REDIS_URL = "redis://127.0.0.1:1"
    away = await site.get("/health/ready")
    assert (away.status_code, away.json()["redis"]) == (503, "unavailable")
    assert away.headers["Retry-After"]
    assert (await site.get("/health/nothing")).status_code == 404


async def test_static_files_come_with_range_and_nothing_else_does(site: httpx.AsyncClient) -> None:
    part = await site.get("/static/rest_framework/css/default.css", headers={"Range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)
    assert part.headers["Content-Type"].startswith("text/css")
    for path in ("/static/", "/static/../settings.py", "/static/%2e%2e/settings.py", "/static/nothing.css"):
        assert (await site.get(path)).status_code == 404


async def test_a_database_that_is_away_is_a_503_with_a_time(site: httpx.AsyncClient, token: str) -> None:
    from django.db import connections

    there = connections.settings["default"]["NAME"]
    connections.settings["default"]["NAME"] = "not_there"
    try:
        for path in ("/api/v1/me", "/agent/v1/attempts/1/spec"):
            answer = await site.get(path, headers=bearer(token if "api" in path else "agt_x"))
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["Retry-After"]
        heavy = await site.post("/api/v1/quotes", content=HEAVY, headers=bearer(token))
        assert heavy.status_code == 503
    finally:
        connections.settings["default"]["NAME"] = there


JSON = {"Content-Type": "application/json"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token(transactional_db: None, student: User) -> str:
    return tokens.make(student, "test")


@pytest.fixture
def session(transactional_db: None, student: User) -> str:
    client = Client()
    client.force_login(student)
    return str(client.cookies[django_settings.SESSION_COOKIE_NAME].value)
