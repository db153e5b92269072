"""What agents hand in and fetch: outputs by PUT, as a stream, and the files their jobs read."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import anyio.to_thread
import structlog
from channels.db import database_sync_to_async
from django.conf import settings
from starlette.responses import JSONResponse

from jobs import artifacts
from marketplace.api import callers, files, leases
from marketplace.api.answers import Receive, Scope, Send, refusal

log = structlog.get_logger(__name__)


class _Gone(Exception):
    """The sender broke off: there is nobody to answer."""


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field


async def put_artifact(scope: Scope, receive: Receive, send: Send, attempt: int, sha256: str) -> None:
    """PUT /agent/v1/attempts/<attempt>/artifacts/<sha256>?token=&name=&kind=&node=&media_type=: store an
    output under its SHA-256 as it arrives.

    201 stored, 400 the bytes hash otherwise, 409 the attempt is not this agent's (any more), 413, 507.
    """
    try:
        await _store(scope, receive, attempt, sha256)
    except _Gone:
        log.info("agent.artifact_broke_off", attempt=attempt)
        return
    except (
        _Refusal,
        artifacts.BadDigest,
        artifacts.TooLarge,
        artifacts.BadOutput,
        artifacts.StoreFull,
    ) as error:
        refused = _as_refusal(error)
        log.warning("agent.artifact_refused", attempt=attempt, status=refused.status, code=refused.code)
        answer = refusal(scope["path"], refused.status, refused.code, str(refused), refused.field)
        await answer(scope, receive, send)
        return
    await JSONResponse({"sha256": sha256}, 201)(scope, receive, send)


async def get_upload(scope: Scope, receive: Receive, send: Send, sha256: str) -> None:
    """GET /agent/v1/uploads/<sha256>: a file that an attempt in this agent's hands reads; else 404."""
    path = scope["path"]
    agent = await callers.afind_agent(scope)
    if agent is None:
        await refusal(path, 401, "not_authenticated", "An agent's token is needed.")(scope, receive, send)
        return
    stored = None
    if artifacts.SHA256.fullmatch(sha256) and await leases.amay_read_upload(agent.pk, sha256):
        stored = await anyio.to_thread.run_sync(artifacts.open_path, sha256)
    if stored is None or scope["method"] not in ("GET", "HEAD"):
        await refusal(path, 404, "not_found", "No attempt in hand reads such a file.")(scope, receive, send)
        return
    await files.serve_stored(stored, sha256, scope, receive, send)


async def _store(scope: Scope, receive: Receive, attempt: int, sha256: str) -> None:
    if scope["method"] != "PUT":
        raise _Refusal(405, "method_not_allowed", "Outputs are stored by PUT.")
    agent = await callers.afind_agent(scope)
    if agent is None:
        raise _Refusal(401, "not_authenticated", "An agent's token is needed.")
    structlog.contextvars.bind_contextvars(agent=agent.pk, attempt=attempt)
    words = {key: values[0] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    token = words.get("token", "")
    if not token.isdecimal() or len(token) > 18:
        raise _Refusal(400, "bad_token", "token must be the attempt's fencing token.", "token")
    if not artifacts.SHA256.fullmatch(sha256):
        raise _Refusal(400, "bad_digest", "An output is named by its SHA-256 in lowercase hex.", "sha256")
    if await leases.aheld_job(agent.pk, attempt, int(token)) is None:
        raise _Refusal(409, "superseded", "This attempt is not in this agent's hands any more.")
    limit = settings.MAX_ARTIFACT_BYTES
    declared = callers.header(scope, b"content-length")
    if declared.isdecimal() and int(declared[:19]) > limit:
        raise _Refusal(413, "too_large", f"An output may have {limit} bytes.")
    size_bytes = await artifacts.store_stream(_body(receive), sha256, limit)
    await _record(
        attempt,
        sha256,
        name=words.get("name", ""),
        media_type=words.get("media_type", "application/octet-stream"),
        kind=words.get("kind", "file"),
        node=words.get("node", ""),
        size_bytes=size_bytes,
    )


_record = database_sync_to_async(artifacts.record, thread_sensitive=False)


def _as_refusal(error: Exception) -> _Refusal:
    match error:
        case _Refusal():
            return error
        case artifacts.TooLarge():
            return _Refusal(413, "too_large", str(error))
        case artifacts.BadDigest():
            return _Refusal(400, "bad_digest", str(error), "sha256")
        case artifacts.BadOutput():
            return _Refusal(400, "malformed", str(error), error.field)
    return _Refusal(507, "store_full", "The store is full; nothing of the file was kept.")


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        more = message.get("more_body", False)
        yield message.get("body", b"")
