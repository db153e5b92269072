"""Everything said to the site: HTTP with retry, and one WebSocket for progress and commands."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect

from gpu_agent.protocol.messages import (
    ArtifactRef,
    Command,
    Handshake,
    Heartbeat,
    HeartbeatAnswer,
    InputFile,
    Inventory,
    JobSpec,
    MalformedMessage,
    Message,
    Progress,
    Refused,
    Report,
    ReportAnswer,
    Welcome,
)

logger = structlog.get_logger(__name__)

CALL_TIMEOUT = httpx.Timeout(10.0, connect=4.0)
HEARTBEAT_TIMEOUT = httpx.Timeout(4.0, connect=2.0)
TRANSFER_TIMEOUT = httpx.Timeout(120.0, connect=4.0)
CHUNK_BYTES = 256 * 1024
PING_SECONDS = 15.0
MAX_COMMAND_BYTES = 64 * 1024

M = TypeVar("M", bound=Message)


class SiteError(Exception):
    """The site did not do what was asked."""


class SiteAway(SiteError):
    """No answer, or a 5xx: worth trying again. `retry_after_seconds` is the site's wish, if it has one."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SiteRefused(SiteError):
    """A 4xx: trying again will not help. `refused` says why."""

    def __init__(self, status: int, refused: Refused) -> None:
        super().__init__(f"{status} {refused.code}: {refused.message}")
        self.status = status
        self.refused = refused


class Backoff:
    """Exponential, jittered waits: half to all of 0.25, 0.5, 1 … `cap_seconds`."""

    def __init__(self, first_seconds: float = 0.25, cap_seconds: float = 15.0) -> None:
        self._first_seconds = first_seconds
        self._cap_seconds = cap_seconds
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_seconds(self, wish_seconds: float | None = None) -> float:
        base = min(self._cap_seconds, self._first_seconds * float(2 ** min(self._failures, 16)))
        self._failures += 1
        waited = base * (0.5 + random.random() / 2)  # nosec B311
        return max(waited, min(wish_seconds or 0.0, 60.0))


class SiteClient:
    """The agent API. Methods raise `SiteAway` or `SiteRefused`."""

    def __init__(self, site_url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        options: dict[str, Any] = {"base_url": site_url, "headers": headers, "trust_env": False}
        self._http = httpx.AsyncClient(timeout=CALL_TIMEOUT, **options)
        # Heartbeats have connections of their own: a slow upload must not cost a lease.
        self._beats = httpx.AsyncClient(timeout=HEARTBEAT_TIMEOUT, **options)

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._beats.aclose()

    async def handshake(self, handshake: Handshake) -> Welcome:
        """Raises `SiteRefused` with status 426 when the site speaks another protocol."""
        return _decoded(Welcome, await self._call("POST", "/agent/v1/handshake", handshake))

    async def publish(self, inventory: Inventory) -> None:
        await self._call("PUT", "/agent/v1/inventory", inventory, timeout=TRANSFER_TIMEOUT)

    async def beat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        answer = await self._call("POST", "/agent/v1/heartbeat", heartbeat, http=self._beats)
        return _decoded(HeartbeatAnswer, answer)

    async def report(self, report: Report) -> ReportAnswer:
        return _decoded(ReportAnswer, await self._call("POST", "/agent/v1/reports", report))

    async def spec(self, attempt: int, token: int) -> JobSpec:
        """Raises `SiteRefused` with status 409 when the attempt is no longer ours."""
        answer = await self._call("GET", f"/agent/v1/attempts/{attempt}/spec", params={"token": token})
        return _decoded(JobSpec, answer)

    async def store(self, attempt: int, token: int, artifact: ArtifactRef, path: Path) -> None:
        """Upload one output, named by its hash; a second upload of the same is answered at once."""
        params = {
            "token": token,
            "name": artifact.name,
            "kind": artifact.kind,
            "node": artifact.node,
            "media_type": artifact.media_type,
        }
        headers = {"Content-Type": artifact.media_type, "Content-Length": str(artifact.size_bytes)}
        address = f"/agent/v1/attempts/{attempt}/artifacts/{artifact.sha256}"
        await self._request(
            "PUT", address, params=params, headers=headers, content=_chunks(path), timeout=TRANSFER_TIMEOUT
        )

    async def fetch_upload(self, file: InputFile) -> AsyncIterator[bytes]:
        """Stream an input file's bytes."""
        address = f"/agent/v1/uploads/{quote(file.sha256)}"
        try:
            async with self._http.stream("GET", address, timeout=TRANSFER_TIMEOUT) as response:
                if response.status_code >= 400:
                    await response.aread()
                _check(response)
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    yield chunk
        except httpx.HTTPError as error:
            raise SiteAway(f"{type(error).__name__}: {error}") from error

    async def _call(self, method: str, address: str, body: Message | None = None, **options: Any) -> Any:
        if body is not None:
            options["content"] = body.to_json()
            options["headers"] = {"Content-Type": "application/json"}
        response = await self._request(method, address, **options)
        try:
            return response.json() if response.content else {}
        except ValueError as error:
            raise SiteAway(f"{method} {address}: the answer is not JSON") from error

    async def _request(
        self, method: str, address: str, *, http: httpx.AsyncClient | None = None, **options: Any
    ) -> httpx.Response:
        try:
            response = await (http or self._http).request(method, address, **options)
        except httpx.HTTPError as error:
            raise SiteAway(f"{type(error).__name__}: {error}") from error
        _check(response)
        return response


def _check(response: httpx.Response) -> None:
    if response.status_code < 300:
        return
    wish = response.headers.get("Retry-After", "")
    if response.status_code >= 500 or response.status_code in {408, 429}:
        raise SiteAway(f"the site answered {response.status_code}", float(wish) if wish.isdigit() else None)
    try:
        refused = Refused.from_json(response.content)
    except MalformedMessage:
        refused = Refused(code="unreadable", message=f"the site answered {response.status_code}")
    raise SiteRefused(response.status_code, refused)


def _decoded(kind: type[M], answer: object) -> M:
    try:
        return kind.from_dict(answer)
    except MalformedMessage as error:
        raise SiteAway(f"an answer this version cannot read: {error}") from error


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


class SiteSocket:
    """The WebSocket to the site. Progress is dropped while it is away; only the latest waits.

    Commands missed while it is away come again with every heartbeat answer.
    """

    def __init__(self, site_url: str, token: str, on_command: Callable[[Command], None]) -> None:
        parts = urlsplit(site_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._url = urlunsplit((scheme, parts.netloc, f"{parts.path}/ws/agent", "", ""))
        self._headers = {"Authorization": f"Bearer {token}"}
        self._on_command = on_command
        self._latest: dict[int, Progress] = {}
        self._news = asyncio.Event()
        self.connected = asyncio.Event()

    def show(self, progress: Progress) -> None:
        """Queue a frame; a frame of the same attempt still waiting is replaced (its preview kept)."""
        waiting = self._latest.get(progress.attempt)
        if waiting is not None and waiting.preview_base64 and not progress.preview_base64:
            progress = replace(
                progress,
                preview_media_type=waiting.preview_media_type,
                preview_base64=waiting.preview_base64,
            )
        self._latest[progress.attempt] = progress
        self._news.set()

    def forget(self, attempt: int) -> None:
        self._latest.pop(attempt, None)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff(0.25, 10.0)
        while True:
            try:
                await self._session(backoff)
            except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosed, TimeoutError) as error:
                logger.debug("site_socket_away", error=str(error))
            await asyncio.sleep(backoff.next_seconds())

    async def _session(self, backoff: Backoff) -> None:
        async with connect(
            self._url,
            additional_headers=self._headers,
            max_size=MAX_COMMAND_BYTES,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=2.0,
            open_timeout=5.0,
            proxy=None,
        ) as socket:
            backoff.reset()
            self.connected.set()
            writer = asyncio.create_task(self._write(socket))
            try:
                async for text in socket:
                    self._take(text)
            finally:
                self.connected.clear()
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._latest:
                _, progress = self._latest.popitem()
                await socket.send(json.dumps({"type": "progress", "data": progress.to_dict()}))

    def _take(self, text: str | bytes) -> None:
        try:
            content = json.loads(text)
            if isinstance(content, dict) and content.get("type") == "command":
                self._on_command(Command.from_dict(content.get("data")))
        except (MalformedMessage, ValueError) as error:
            logger.warning("site_command_unreadable", error=str(error)[:200])
