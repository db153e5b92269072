"""The outermost layer: request ids, limits on bodies, files, health, sockets; everything else is Django's.

Django reads a request's whole body before a view may look at its headers. So what a body may weigh, and that
only a known caller sends a heavy one, is decided here.
"""

import re
import time
import uuid

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from gpu_agent.protocol.messages import MAX_MESSAGE_BYTES
from marketplace.api import agent_files, callers, files, health
from marketplace.api.agent_socket import AgentSocket
from marketplace.api.answers import Application, Message, Receive, Scope, Send, refusal
from marketplace.api.browser_socket import browser_socket

log = structlog.get_logger(__name__)
FREE_BODY_BYTES = 64 * 1024  # what a stranger may send: a sign-in form is a few hundred bytes
MULTIPART_WORDS_BYTES = 64 * 1024  # names and boundaries around an uploaded file
UPLOAD_PATHS = ("/api/v1/uploads",)
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_ARTIFACT = re.compile(r"/agent/v1/attempts/([0-9]{1,18})/artifacts/([^/]+)")
_UPLOAD = re.compile(r"/agent/v1/uploads/([^/]+)")


def protocol_router(django_app: Application) -> Application:
    """The site as one ASGI application around Django's."""
    agent_socket: Application = AgentSocket.as_asgi()

    async def http(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        try:
            await _route(django_app, scope, receive, send)
        except (OperationalError, InterfaceError) as error:
            log.warning("http.database_away", path=path, fault=type(error).__name__)
            answer = refusal(path, 503, "unavailable", "The database cannot be reached; try again.")
            await answer(scope, receive, send)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            sockets = {"/ws/agent": agent_socket, "/ws/live": browser_socket}
            await sockets.get(scope["path"], _no_socket)(scope, receive, send)
        else:
            await _logged(http, scope, receive, send)

    return application


def body_limit(path: str) -> int:
    """Bytes a request's body may have on this path."""
    if path in UPLOAD_PATHS:
        return int(settings.MAX_UPLOAD_BYTES) + MULTIPART_WORDS_BYTES
    if path.startswith("/agent/"):
        return MAX_MESSAGE_BYTES
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


async def _route(django_app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path.startswith("/files/"):
        await files.serve_link(scope, receive, send)
    elif path.startswith("/static/"):
        await files.serve_static(scope, receive, send)
    elif path.startswith("/health/"):
        await health.answer(scope, receive, send)
    elif match := _ARTIFACT.fullmatch(path):
        await agent_files.put_artifact(scope, receive, send, int(match[1]), match[2])
    elif match := _UPLOAD.fullmatch(path):
        await agent_files.get_upload(scope, receive, send, match[1])
    else:
        await _bounded(django_app, scope, receive, send)


async def _bounded(app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass the request on with a body its route allows; a heavy one only from a known caller."""
    path, limit = scope["path"], body_limit(scope["path"])
    declared = _declared_length(scope)
    too_large = refusal(path, 413, "too_large", f"The body may have {limit} bytes.")
    if declared is not None and declared > limit:
        await too_large(scope, receive, send)
        return
    if (declared is None or declared > FREE_BODY_BYTES) and not await callers.ais_known(scope):
        answer = refusal(path, 401, "not_authenticated", "Sign in before you send a body of this size.")
        await answer(scope, receive, send)
        return
    size, started = 0, False

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        # Django then drops what it read and answers nothing.
        return {"type": "http.disconnect"} if size > limit else message

    async def noted(message: Message) -> None:
        nonlocal started
        started = True
        await send(message)

    await app(scope, counted, noted)
    if size > limit and not started:
        await too_large(scope, receive, send)


def _declared_length(scope: Scope) -> int | None:
    """Content-Length; 0 without a body; None when the length shows only while reading."""
    length = callers.header(scope, b"content-length")
    if length.isdecimal() and len(length) < 19:
        return int(length)
    return None if length or callers.header(scope, b"transfer-encoding") else 0


async def _logged(app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Give the request an id, which every log line in it carries, and write its own line at the end."""
    given = callers.header(scope, b"x-request-id")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    began, status = time.perf_counter(), 0

    async def noted(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), _id_header(request_id)]}
        await send(message)

    try:
        await app(scope, receive, noted)
    finally:
        took_ms = round((time.perf_counter() - began) * 1000, 1)
        quiet = scope["path"].startswith(("/static/", "/health/"))
        # The path without its query: that may carry a signature or a fencing token.
        write = log.debug if quiet else log.info
        write("http.request", method=scope["method"], path=scope["path"], status=status, took_ms=took_ms)


def _id_header(request_id: str) -> tuple[bytes, bytes]:
    return (b"x-request-id", request_id.encode())


async def _no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 4404})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
