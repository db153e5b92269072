"""The elected market loop: woken by NOTIFY on commit and a one-second tick.

Any number may run; one leads and the others stand by. A fault in one duty is logged and tried again at its
next turn; a store that is away is waited for, never a reason to exit.
"""

import time

import redis.exceptions
import structlog
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from marketplace.loop import leader
from marketplace.loop.alarm_clock import AlarmClock
from marketplace.loop.duties import DUTIES, Duty
from marketplace.loop.leader import Term
from marketplace.market.dispatch import NotLeading

log = structlog.get_logger(__name__)
TICK_SECONDS = 1.0
STANDBY_SECONDS = 0.5
GAP_SECONDS = 3.0  # unrenewed for so long: heartbeats couldn't be written either
# A loop stopped within a transaction must not keep a job's lock from whoever takes over.
SESSION = (
    "SET idle_in_transaction_session_timeout = '3s'; SET lock_timeout = '2s'; SET statement_timeout = '10s'"
)


class MarketLoop:
    """`run()` until `stop()` is called, from a signal handler or another thread."""

    def __init__(self, name: str, duties: tuple[Duty, ...] = DUTIES) -> None:
        self._name = name
        self._duties = duties
        self._clock = AlarmClock()
        self._term: Term | None = None
        self._stopping = False
        self._due_at: dict[str, float] = {}
        self._renewed_at = 0.0
        self._session: object = None

    def stop(self) -> None:
        """Finish the round, let another lead, and return from `run`."""
        self._stopping = True

    def run(self) -> None:
        """Lead or stand by until stopped."""
        log.info("loop.started", loop=self._name)
        try:
            while not self._stopping:
                self._round()
        finally:
            self._resign()
            self._clock.close()
            connection.close()

    def _round(self) -> None:
        try:
            close_old_connections()
            self._prepare_session()
            leads = self._lead()
        except DatabaseError as error:
            self._lost_database(error)
            self._clock.wait(STANDBY_SECONDS)
            return
        if self._term is None or not leads:
            self._clock.wait(STANDBY_SECONDS)
            return
        for duty in self._duties:
            self._do(duty, self._term)
        self._clock.wait(max(0.0, self._renewed_at + leader.RENEW_SECONDS - time.monotonic()))

    def _lead(self) -> bool:
        now = time.monotonic()
        if self._term is None:
            self._term = leader.take(self._name)
            if self._term is None:
                return False
            log.info("loop.leads", loop=self._name, epoch=self._term.epoch)
            self._due_at.clear()
        elif now - self._renewed_at >= leader.RENEW_SECONDS:
            if not leader.renew(self._term, after_gap=now - self._renewed_at > GAP_SECONDS):
                self._step_down()
                return False
        else:
            return True
        self._renewed_at = now
        return True

    def _do(self, duty: Duty, term: Term) -> None:
        now = time.monotonic()
        if self._stopping or self._term is None or now < self._due_at.get(duty.name, 0.0):
            return
        self._due_at[duty.name] = now + duty.every_seconds
        try:
            duty.work(term)
        except NotLeading:
            self._step_down()
        except DatabaseError as error:
            self._lost_database(error, duty.name)
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("loop.redis_away", duty=duty.name, fault=type(error).__name__)
        except Exception:
            # One broken duty must not stop the others, nor this process.
            log.exception("loop.duty_failed", duty=duty.name)
        if time.monotonic() - now > TICK_SECONDS:
            log.warning("loop.duty_slow", duty=duty.name, seconds=round(time.monotonic() - now, 2))

    def _prepare_session(self) -> None:
        connection.ensure_connection()
        if self._session is not connection.connection:
            with connection.cursor() as cursor:
                cursor.execute(SESSION)
            self._session = connection.connection

    def _step_down(self) -> None:
        log.warning("loop.lost_leadership", loop=self._name)
        self._term = None

    def _lost_database(self, error: Exception, duty: str = "") -> None:
        log.warning("loop.database_fault", duty=duty, fault=type(error).__name__, message=str(error)[:200])
        connection.close()

    def _resign(self) -> None:
        if self._term is None:
            return
        try:
            leader.resign(self._term)
        except DatabaseError as error:
            log.warning("loop.resign_failed", fault=type(error).__name__)  # the term just runs out
        log.info("loop.stopped", loop=self._name)
