"""The agents' socket: progress frames up, commands down.

Frames come from a host that runs strangers' workflows. An agent may speak only of attempts it holds, and of
its frame only known fields go on, clamped; a browser gets nothing else.
"""

import asyncio
import base64
import binascii
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import redis.exceptions
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError

from gpu_agent.protocol.messages import PROTOCOL_VERSION, Command, MalformedMessage, Progress
from marketplace.api import callers, leases, strict_json
from marketplace.fleet.models import Agent
from marketplace.live import frames, publish, topics

log = structlog.get_logger(__name__)

LEASE_CHECK_SECONDS = 3.0
LEASE_STALE_SECONDS = 6.0  # an answer this old lets nothing pass
AGENT_CHECK_SECONDS = 4.0
FRAME_SECONDS = 0.25  # at most four a second of one attempt
LIST_SECONDS = 1.0  # lists of jobs need no more
MAX_PREVIEW_BYTES = 256 * 1024
MAX_FRAME_CHARACTERS = MAX_PREVIEW_BYTES * 4 // 3 + 16 * 1024
MAX_TEXT_CHARACTERS = 200
MAX_COUNT = 1_000_000
MAX_MS = 7 * 24 * 3600 * 1000
MAX_ATTEMPTS_KNOWN = 16
# By the bytes, not by what the agent calls them: a browser decides by the bytes, too.
PREVIEW_STARTS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}

CLOSE_NOT_AUTHENTICATED = 4401
CLOSE_MALFORMED = 4400
CLOSE_TRY_LATER = 1013


@dataclass(slots=True)
class _Known:
    """What was last found out about an attempt."""

    job: leases.HeldJob | None = None
    checked: float = -math.inf
    sent: float = -math.inf
    listed: float = -math.inf
    asking: "asyncio.Task[_Known | None] | None" = None


class AgentSocket(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One agent, authenticated by the token in its header before the socket is accepted."""

    groups: ClassVar[list[str]] = []

    async def connect(self) -> None:
        self.agent: Agent | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.known: dict[tuple[int, int], _Known] = {}
        try:
            agent = await callers.afind_agent(self.scope)
            if agent is None:
                await self.close(CLOSE_NOT_AUTHENTICATED)
                return
            await self.channel_layer.group_add(topics.agent_group(agent.pk), self.channel_name)
        except (OperationalError, InterfaceError, redis.exceptions.RedisError, OSError) as error:
            log.warning("agent_socket.store_away", fault=type(error).__name__)
            await self.close(CLOSE_TRY_LATER)
            return
        structlog.contextvars.bind_contextvars(agent=agent.pk)
        self.agent, self.frames = agent, frames.async_client()
        await self.accept()
        self.tasks = [asyncio.create_task(self._recheck())]
        log.info("agent_socket.open")

    async def disconnect(self, code: int) -> None:
        if self.agent is None:
            return
        asking = [known.asking for known in self.known.values() if known.asking is not None]
        for task in (*self.tasks, *asking):
            task.cancel()
        await asyncio.gather(*self.tasks, *asking, return_exceptions=True)
        await self.frames.aclose()
        try:
            await self.channel_layer.group_discard(topics.agent_group(self.agent.pk), self.channel_name)
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("agent_socket.leave_failed", fault=type(error).__name__)
        log.info("agent_socket.closed", code=code)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > MAX_FRAME_CHARACTERS:
            await self.close(CLOSE_MALFORMED)
            return
        try:
            content = strict_json.parse(text_data.encode("utf-8", "surrogatepass"))
            if not isinstance(content, dict) or content.get("type") != "progress":
                return  # a newer agent may say more
            frame = Progress.from_dict(content.get("data"))
        except (strict_json.BadJson, MalformedMessage) as error:
            log.warning("agent_socket.malformed", fault=str(error)[:200])
            await self.close(CLOSE_MALFORMED)
            return
        await self._show(frame)

    async def agent_command(self, message: dict[str, Any]) -> None:
        """From `publish.agent_command`."""
        command = Command.from_dict(message["command"])
        await self.send(text_data=f'{{"type":"command","data":{command.to_json()}}}')

    async def agent_revoked(self, message: dict[str, Any]) -> None:
        """From `publish.agent_revoked`."""
        await self.close(CLOSE_NOT_AUTHENTICATED)

    async def _show(self, frame: Progress) -> None:
        if frame.protocol != PROTOCOL_VERSION:
            return
        known = await self._known(frame.attempt, frame.token)
        now = time.monotonic()
        # A little slack: a sender at exactly four a second must not lose every other frame to jitter.
        if known is None or known.job is None or now - known.sent < FRAME_SECONDS * 0.9:
            return
        known.sent = now
        listed = now - known.listed >= LIST_SECONDS
        if listed:
            known.listed = now
        job, words = known.job, frame_words(frame)
        await publish.aprogress(job.job_id, job.student_id, job.workshop_id, words, listed=listed)
        await frames.keep(self.frames, job.job_id, words)

    async def _known(self, attempt: int, token: int) -> _Known | None:
        """Whose attempt this is; asked again every few seconds, while frames go on."""
        known = self.known.get((attempt, token))
        if known is None:
            return await self._ask(attempt, token)
        age = time.monotonic() - known.checked
        if age > LEASE_STALE_SECONDS:
            return await self._ask(attempt, token)
        if age > LEASE_CHECK_SECONDS and (known.asking is None or known.asking.done()):
            known.asking = asyncio.create_task(self._ask(attempt, token))
        return known

    async def _ask(self, attempt: int, token: int) -> _Known | None:
        if self.agent is None:
            return None
        try:
            job = await leases.aheld_job(self.agent.pk, attempt, token)
        except (OperationalError, InterfaceError):
            return None  # frames are decoration: dropped while the database is away
        known = self.known.get((attempt, token))
        if known is None:
            if len(self.known) >= MAX_ATTEMPTS_KNOWN:
                self.known.clear()
            known = self.known[(attempt, token)] = _Known()
        known.job, known.checked = job, time.monotonic()
        return known

    async def _recheck(self) -> None:
        """Close a socket whose token is no longer good, should the message about it be lost."""
        while True:
            await asyncio.sleep(AGENT_CHECK_SECONDS)
            try:
                if await callers.afind_agent(self.scope) is None:
                    await self.close(CLOSE_NOT_AUTHENTICATED)
                    return
            except (OperationalError, InterfaceError) as error:
                log.warning("agent_socket.unchecked", fault=type(error).__name__)


def frame_words(frame: Progress) -> dict[str, Any]:
    """The frame as browsers get it: known fields, clamped, the preview as a data: URL if it is an image."""
    words: dict[str, Any] = {
        "phase": str(frame.phase),
        "percent": round(min(100.0, max(0.0, frame.percent)), 1) if math.isfinite(frame.percent) else 0.0,
        "node": _text(frame.node),
        "node_title": _text(frame.node_title),
        "step": _count(frame.step, MAX_COUNT),
        "steps": _count(frame.steps, MAX_COUNT),
        "stage": _count(frame.stage, MAX_COUNT),
        "stages": _count(frame.stages, MAX_COUNT),
        "remaining_ms": _count(frame.remaining_ms, MAX_MS),
        "executing_ms": _count(frame.executing_ms, MAX_MS),
        "charged_ms": _count(frame.charged_ms, MAX_MS),
        "note": _text(frame.note),
    }
    preview = _preview(frame)
    return {**words, "preview": preview} if preview else words


def _text(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT_CHARACTERS])


def _count(value: int | None, highest: int) -> int | None:
    return None if value is None else max(0, min(highest, value))


def _preview(frame: Progress) -> str:
    start = PREVIEW_STARTS.get(frame.preview_media_type)
    if start is None or len(frame.preview_base64) > MAX_PREVIEW_BYTES * 4 // 3 + 4:
        return ""
    try:
        picture = base64.b64decode(frame.preview_base64, validate=True)
    except (binascii.Error, ValueError):
        return ""
    if len(picture) > MAX_PREVIEW_BYTES or not picture.startswith(start):
        return ""
    return f"data:{frame.preview_media_type};base64,{frame.preview_base64}"
