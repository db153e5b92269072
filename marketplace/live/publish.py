"""Say something to live views and agents.

At most once: what must not be lost is a row, which a view reads when it comes back. A fault of Redis is
logged and swallowed here, for nobody's write may fail because somebody watches. Ordinary code calls the
plain functions, which send after the current transaction commits; code on an event loop calls those whose
name begins with `a`.
"""

import asyncio
import atexit
import os
import threading
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import redis.exceptions
import structlog
from channels.layers import get_channel_layer
from django.db import connection, transaction

from gpu_agent.protocol.messages import Command
from marketplace.live import topics

Messages = list[tuple[str, dict[str, Any]]]  # (group, message)

log = structlog.get_logger(__name__)
FLUSH_SECONDS = 2.0
MAX_WAITING_SENDS = 10_000  # Redis is away: live views read rows when they reconnect


def job_event(
    job_id: uuid.UUID | str, student_id: int, workshop_id: int, seq: int, kind: str, data: dict[str, Any]
) -> None:
    """An event row of a job was written: `seq` is its number within the job."""
    event = {"type": "live.event", "job": str(job_id), "seq": seq, "kind": kind, "data": data}
    listeners = (topics.job_topic(job_id), topics.user_topic(student_id), topics.staff_topic(workshop_id))
    _send_after_commit([(topics.group_of(topic), {**event, "topic": topic}) for topic in listeners])


def progress(job_id: uuid.UUID | str, student_id: int, workshop_id: int, frame: dict[str, Any]) -> None:
    """A progress frame of a running job: latest wins, never replayed."""
    _send_after_commit(_progress_messages(job_id, student_id, workshop_id, frame, listed=True))


async def aprogress(
    job_id: uuid.UUID | str, student_id: int, workshop_id: int, frame: dict[str, Any], *, listed: bool = True
) -> None:
    """`progress` for code on an event loop; not `listed`: to the job's own topic only."""
    await _send_all(_progress_messages(job_id, student_id, workshop_id, frame, listed=listed))


def balance_changed(user_id: int) -> None:
    """Credits of this person moved."""
    topic = topics.user_topic(user_id)
    _send_after_commit([(topics.group_of(topic), {"type": "live.balance", "topic": topic})])


def workshop_changed(workshop_id: int) -> None:
    """The queue or the fleet of this workshop changed."""
    topic = topics.workshop_topic(workshop_id)
    _send_after_commit([(topics.group_of(topic), {"type": "live.workshop", "topic": topic})])


def class_notice(workshop_id: int) -> None:
    """What stands on top of every page of this workshop changed: a pause, the class's clock."""
    topic = topics.workshop_topic(workshop_id)
    _send_after_commit([(topics.group_of(topic), {"type": "live.notice", "topic": topic})])


def agent_command(agent_id: str, command: Command) -> None:
    """Tell an agent at once what its next heartbeat will tell it again."""
    message = {"type": "agent.command", "command": command.to_dict()}
    _send_after_commit([(topics.agent_group(agent_id), message)])


def agent_revoked(agent_id: str) -> None:
    """Close the agent's socket: its token is no longer good."""
    _send_after_commit([(topics.agent_group(agent_id), {"type": "agent.revoked"})])


def flush(timeout_seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until what this process published was sent; False when time ran out."""
    return _sender.flush(timeout_seconds)


def _progress_messages(
    job_id: uuid.UUID | str, student_id: int, workshop_id: int, frame: dict[str, Any], *, listed: bool
) -> Messages:
    # Lists of jobs show a percentage; only the job's own page shows the picture.
    plain = {key: value for key, value in frame.items() if key != "preview"}
    whole = topics.job_topic(job_id)
    short = (topics.user_topic(student_id), topics.staff_topic(workshop_id)) if listed else ()
    message = {"type": "live.progress", "job": str(job_id)}
    return [
        (topics.group_of(whole), {**message, "topic": whole, "frame": frame}),
        *((topics.group_of(topic), {**message, "topic": topic, "frame": plain}) for topic in short),
    ]


def _send_after_commit(messages: Messages) -> None:
    if connection.in_atomic_block:
        transaction.on_commit(lambda: _sender.put(messages))
    else:  # not by on_commit, which would open a connection to find out
        _sender.put(messages)


async def _send_all(messages: Messages) -> None:
    layer = get_channel_layer()
    for group, message in messages:
        await _twice(partial(layer.group_send, group, message), group)


async def _twice(send: Callable[[], Awaitable[None]], group: str) -> None:
    # After a restart of Redis the first send meets the old connection, the second a new one.
    for last in (False, True):
        try:
            await send()
            return
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("live.send_failed", group=group, fault=type(error).__name__, given_up=last)


class _Sender:
    """One event loop in one thread for all sends of a process: a loop per call would open a connection each.

    Sends keep their order. A forked child starts its own.
    """

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Queue[Messages | None]] | None = None
        self._thread: threading.Thread | None = None

    def put(self, messages: Messages) -> None:
        loop, queue = self._start()
        if queue.qsize() >= MAX_WAITING_SENDS:
            log.warning("live.send_dropped", waiting=queue.qsize())
            return
        loop.call_soon_threadsafe(queue.put_nowait, messages)

    def flush(self, timeout_seconds: float) -> bool:
        if self._running is None:
            return True
        loop, queue = self._running
        waiting = asyncio.run_coroutine_threadsafe(queue.join(), loop)
        try:
            waiting.result(timeout_seconds)
        except TimeoutError:
            waiting.cancel()
            return False
        return True

    def stop(self) -> None:
        """At the process's end: say what waits, close the connection."""
        if self._running is None or self._thread is None:
            return
        self.flush(FLUSH_SECONDS)
        loop, queue = self._running
        loop.call_soon_threadsafe(queue.put_nowait, None)
        self._thread.join(FLUSH_SECONDS)
        self._forget()

    def _start(self) -> "tuple[asyncio.AbstractEventLoop, asyncio.Queue[Messages | None]]":
        with self._lock:
            if self._running is None:
                loop, queue = asyncio.new_event_loop(), asyncio.Queue[Messages | None]()
                self._running = (loop, queue)
                self._thread = threading.Thread(
                    target=self._run, args=(loop, queue), name="live-sender", daemon=True
                )
                self._thread.start()
            return self._running

    def _run(self, loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Messages | None]") -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._drain(queue))
        loop.close()  # the channel layer closes its connections with the loop

    async def _drain(self, queue: "asyncio.Queue[Messages | None]") -> None:
        while (messages := await queue.get()) is not None:
            try:
                await _send_all(messages)
            except Exception:
                log.exception("live.send_broken")  # this thread must outlive any one message
            finally:
                queue.task_done()


_sender = _Sender()
atexit.register(_sender.stop)
