"""The browsers' socket: subscribe to topics, get what was missed, then what happens.

Client: {"type": "subscribe", "topic", "last_seq"?}, {"type": "unsubscribe", "topic"}.
Server: `subscribed` with the topic's last seq, `event`, `progress`, `balance`, `workshop`, `notice`,
`refused`.

The group is joined first and the rows are read afterwards, so nothing falls between; what then arrives again
is dropped by its seq. A client that reads slowly gets the latest frame of each topic only, and is cut off
when it falls behind with events or a send takes too long: it comes back and reads rows.
"""

import asyncio
import time
import uuid
from collections import deque
from typing import Any, ClassVar

import redis.exceptions
import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import InterfaceError, OperationalError

from accounts.models import User
from jobs.models import Job, JobEvent
from marketplace.live import frames, topics

log = structlog.get_logger(__name__)
Words = dict[str, Any]

MAX_TOPICS = 100
MAX_EVENTS_WAITING = 1000
MAX_REPLAYED = 500
MAX_MESSAGE_CHARACTERS = 4096
SEND_SECONDS = 10
USER_CHECK_SECONDS = 5  # someone who was disabled hears nothing more after this long
TOPIC_CHECK_SECONDS = 60

CLOSE_NOT_SIGNED_IN = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_BAD_MESSAGE = 4400
CLOSE_TRY_LATER = 1013


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One browser. `scope["user"]` is whoever was authenticated, or None."""

    groups: ClassVar[list[str]] = []

    async def connect(self) -> None:
        self.user: User | None = self.scope.get("user")
        self.seqs: dict[str, int] = {}  # topic → last seq sent
        self.events: deque[Words] = deque()
        self.latest: dict[tuple[str, str], Words] = {}  # (topic, job) → frame not sent yet
        self.news = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        await self.accept()
        if self.user is None:
            # Accepted first, or a browser can't tell this from a server that is away.
            await self.close(CLOSE_NOT_SIGNED_IN)
            return
        self.tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._recheck())]

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for topic in list(self.seqs):
            await self._leave(topic)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **more: Any
    ) -> None:
        if text_data is None or len(text_data) > MAX_MESSAGE_CHARACTERS:
            await self.close(CLOSE_BAD_MESSAGE)
            return
        try:
            words = await self.decode_json(text_data)
        except (ValueError, RecursionError):
            await self.close(CLOSE_BAD_MESSAGE)
            return
        await self.receive_json(words)

    async def receive_json(self, content: Any, **more: Any) -> None:
        said = content if isinstance(content, dict) else {}
        kind, topic = said.get("type"), str(said.get("topic"))
        if self.user is None or not topics.is_topic(topic) or kind not in ("subscribe", "unsubscribe"):
            self._put({"type": "refused", "topic": topic[:80]})
        elif kind == "unsubscribe":
            await self._leave(topic)
        else:
            last = said.get("last_seq")
            await self._join(self.user, topic, last if type(last) is int and 0 <= last < 2**31 else None)

    async def live_event(self, message: Words) -> None:
        """From `publish.job_event`. Handlers run one after the other: never in the middle of a join."""
        if message["topic"] in self.seqs:
            self._put_event(message["topic"], {**message, "type": "event"})

    async def live_progress(self, message: Words) -> None:
        """From `publish.progress`: latest wins."""
        if message["topic"] in self.seqs:
            words = {**message, "type": "progress"}
            key = (message["topic"], message["job"])
            waiting = self.latest.get(key)
            if waiting and "preview" in waiting["frame"] and "preview" not in words["frame"]:
                words["frame"] = {**words["frame"], "preview": waiting["frame"]["preview"]}
            self.latest[key] = words
            self.news.set()

    async def live_balance(self, message: Words) -> None:
        if message["topic"] in self.seqs:
            self._put({"type": "balance", "topic": message["topic"]})

    async def live_workshop(self, message: Words) -> None:
        if message["topic"] in self.seqs:
            self._put({"type": "workshop", "topic": message["topic"]})

    async def live_notice(self, message: Words) -> None:
        if message["topic"] in self.seqs:
            self._put({"type": "notice", "topic": message["topic"]})

    async def _join(self, user: User, topic: str, last_seq: int | None) -> None:
        if len(self.seqs) >= MAX_TOPICS or not await _may_listen(user.pk, topic):
            self._put({"type": "refused", "topic": topic})
            return
        try:
            await self.channel_layer.group_add(topics.group_of(topic), self.channel_name)
            seq, rows, frame = await _snapshot(topic, last_seq)
        except (redis.exceptions.RedisError, OSError, OperationalError, InterfaceError) as error:
            log.warning("live.join_failed", topic=topic, fault=type(error).__name__)
            await self.close(CLOSE_TRY_LATER)
            return
        self.seqs[topic] = seq if last_seq is None else last_seq
        for row in rows:
            self._put_event(topic, row)
        # Told last: a client that counts from here has seen all that came before.
        self.seqs[topic] = seq
        self._put({"type": "subscribed", "topic": topic, "seq": seq})
        if frame is not None:
            job = topic.partition(":")[2]
            self.latest[(topic, job)] = {"type": "progress", "topic": topic, "job": job, "frame": frame}
            self.news.set()

    async def _leave(self, topic: str) -> None:
        if self.seqs.pop(topic, None) is None:
            return
        try:
            await self.channel_layer.group_discard(topics.group_of(topic), self.channel_name)
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("live.leave_failed", topic=topic, fault=type(error).__name__)

    def _put_event(self, topic: str, words: Words) -> None:
        # Only a job's own topic counts: others carry the events of many jobs, each with its numbers.
        if topic.startswith("job:"):
            if words["seq"] <= self.seqs[topic]:
                return
            self.seqs[topic] = words["seq"]
        self._put(words)

    def _put(self, words: Words) -> None:
        self.events.append(words)
        self.news.set()

    async def _write(self) -> None:
        """Send what waits: events in order, then the latest frames."""
        while True:
            await self.news.wait()
            self.news.clear()
            while self.events or self.latest:
                if len(self.events) > MAX_EVENTS_WAITING:
                    await self.close(CLOSE_TOO_SLOW)
                    return
                words = self.events.popleft() if self.events else self.latest.pop(next(iter(self.latest)))
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await self.send_json(words)
                except TimeoutError:
                    log.info("live.client_too_slow")
                    await self.close(CLOSE_TOO_SLOW)
                    return

    async def _recheck(self) -> None:
        """Close for a user who was disabled; drop topics that may no longer be listened to."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(USER_CHECK_SECONDS)
            due = time.monotonic() - checked >= TOPIC_CHECK_SECONDS
            try:
                if not await self._is_welcome(check_topics=due):
                    await self.close(CLOSE_NOT_SIGNED_IN)
                    return
            except (OperationalError, InterfaceError) as error:
                log.warning("live.unchecked", fault=type(error).__name__)
                continue
            if due:
                checked = time.monotonic()

    async def _is_welcome(self, *, check_topics: bool) -> bool:
        if self.user is None or not await _is_active(self.user.pk):
            return False
        for topic in list(self.seqs) if check_topics else ():
            if not await _may_listen(self.user.pk, topic):
                await self._leave(topic)
                self._put({"type": "refused", "topic": topic})
        return True


def _event_words(topic: str, row: JobEvent) -> Words:
    return {
        "type": "event",
        "topic": topic,
        "job": str(row.job_id),
        "seq": row.seq,
        "kind": row.kind,
        "data": row.data,
        "at": row.at.isoformat(),
    }


def _read_snapshot(topic: str, last_seq: int | None) -> tuple[int, list[Words], Words | None]:
    """The topic's last seq, the events above `last_seq` (None: the client has just loaded the page) and the
    latest frame. More events than MAX_REPLAYED: the newest."""
    kind, _, subject = topic.partition(":")
    if kind != "job":
        return 0, [], None
    job_id = uuid.UUID(subject)
    seq = Job.objects.values_list("event_seq", flat=True).get(pk=job_id)
    rows: list[JobEvent] = []
    if last_seq is not None:
        missed = JobEvent.objects.filter(job_id=job_id, seq__gt=last_seq).order_by("-seq")
        rows = list(missed[:MAX_REPLAYED])[::-1]
    return seq, [_event_words(topic, row) for row in rows], frames.latest([job_id]).get(str(job_id))


def _may_listen_by_id(user_id: int, topic: str) -> bool:
    user = User.objects.filter(pk=user_id).first()
    return user is not None and topics.may_listen(user, topic)


# Threads of their own: one slow query must not hold up every socket of the process.
_snapshot = database_sync_to_async(_read_snapshot, thread_sensitive=False)
_may_listen = database_sync_to_async(_may_listen_by_id, thread_sensitive=False)
_is_active = database_sync_to_async(
    lambda user_id: User.objects.filter(pk=user_id, is_active=True).exists(), thread_sensitive=False
)
