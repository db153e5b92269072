"""The RQ worker: takes deliveries from this agent's own queue and hands them to the core.

The RQ job *is* the delivery; it is done in milliseconds. The attempt's life is the lease in PostgreSQL, so
what RQ thinks of a job, and when, does not matter.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

import redis
import structlog
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.timeouts import TimerDeathPenalty
from rq.worker import WorkerStatus

from gpu_agent.protocol.messages import DELIVERY_FUNCTION, Delivery, MalformedMessage, Welcome

logger = structlog.get_logger(__name__)

WORKER_TTL_SECONDS = 30
MONITORING_SECONDS = 5
REDIS_RETRIES = 30
REJOIN_SECONDS = 2.0


class _Handover:
    """Where `take_delivery` puts what it takes; RQ calls it by name, so it is found through the module."""

    deliver: Callable[[Delivery], None] | None = None


def take_delivery(data: dict[str, Any]) -> None:
    """The function of every delivery. Raises `MalformedMessage` for what is none."""
    delivery = Delivery.from_dict(data)
    if _Handover.deliver is None:
        raise RuntimeError("no core is there to take a delivery")
    _Handover.deliver(delivery)


class DeliveryJob(Job):
    """A job that can only be a delivery: a forged record names no other function and calls nothing back."""

    def perform(self) -> Any:
        if self.func_name != DELIVERY_FUNCTION:
            raise MalformedMessage(f"not a delivery: {str(self.func_name)[:60]}")
        return super().perform()

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """None of ours asks for one."""


class LeanWorker(SimpleWorker):
    """A worker that stays within its own keys: no suspension, no maintenance, no command channel."""

    job_class = DeliveryJob
    # The usual one sets an alarm signal, which would interrupt what else this thread waits for.
    death_penalty_class = TimerDeathPenalty
    max_connection_wait_time = 5.0

    def __init__(self, *arguments: Any, on_signal: Callable[[], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_signal = on_signal

    def check_for_suspension(self, burst: bool) -> None:
        """Would read a key of all workers."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Would read other queues' registries."""
        return False

    def subscribe(self) -> None:
        """Commands come from the site over HTTPS, not through Redis."""

    def unsubscribe(self) -> None:
        """Nothing was subscribed to."""

    def register_birth(self) -> None:
        # After a kill -9 the old self is still on record, and RQ would refuse to start beside it. What it had
        # popped but not taken is delivered again by the site.
        self.connection.delete(self.key, f"{self.queues[0].key}:intermediate")
        super().register_birth()  # type: ignore[no-untyped-call]

    def _install_signal_handlers(self) -> None:
        # Only now, with handlers that end the wait: while joining, a Redis that is away is told at once.
        self.connection.set_retry(Retry(ExponentialWithJitterBackoff(base=0.5, cap=5), REDIS_RETRIES))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take_signal)

    def _take_signal(self, number: int, frame: FrameType | None) -> None:
        self._on_signal()
        if not self._stop_requested:
            self._stop_requested = True
            if self.get_state() != WorkerStatus.BUSY:
                raise StopRequested

    def teardown(self) -> None:
        # Leaving must not wait for a Redis that is away.
        self.connection.set_retry(Retry(NoBackoff(), 1))
        with contextlib.suppress(redis.RedisError):
            super().teardown()  # type: ignore[no-untyped-call]


class DeliveryLoop:
    """Runs in the main thread, where RQ needs to be for its signals, until told to stop."""

    def __init__(self, welcome: Welcome, token: str, deliver: Callable[[Delivery], None]) -> None:
        self._welcome = welcome
        self._url = _with_password(welcome.redis_url, token)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self.on_signal: Callable[[], None] = lambda: None
        _Handover.deliver = deliver
        logging.getLogger("rq.worker").setLevel(logging.WARNING)

    def run(self) -> None:
        """Work; when Redis is away, try again every few seconds. Returns when stopped."""
        while not self._stopping.is_set():
            try:
                self._worker().work(logging_level="WARNING")
            except redis.RedisError as error:
                logger.warning("redis_away", error=type(error).__name__)
            if not self._stopping.is_set():
                self._wake.wait(REJOIN_SECONDS)
                self._wake.clear()

    def stop(self) -> None:
        """Called from the signal handler, or before a signal is raised to end the blocking pop."""
        self._stopping.set()
        self._wake.set()

    def look_now(self) -> None:
        """A delivery waits: don't sit out the pause after a lost connection."""
        self._wake.set()

    def take_signal(self, number: int = 0, frame: FrameType | None = None) -> None:
        self.stop()
        self.on_signal()

    def _worker(self) -> LeanWorker:
        connection = redis.Redis.from_url(
            self._url, retry=Retry(NoBackoff(), 1), socket_connect_timeout=3, socket_keepalive=True
        )
        queue = Queue(
            self._welcome.queue, connection=connection, serializer="json", job_class=cast(Any, DeliveryJob)
        )
        return LeanWorker(
            [queue],
            name=self._welcome.agent,
            connection=connection,
            serializer="json",
            worker_ttl=WORKER_TTL_SECONDS,
            job_monitoring_interval=MONITORING_SECONDS,
            log_job_description=False,
            on_signal=self.take_signal,
        )


def _with_password(url: str, token: str) -> str:
    """The token is the ACL user's password; it is never part of what the site sends."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    place = f"{parts.username}:{quote(token, safe='')}@{host}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
