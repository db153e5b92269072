"""Waiting for work: LISTEN on a connection of its own, outside Django and any pooler."""

import time

import psycopg
import structlog
from django.db import connections
from psycopg.conninfo import make_conninfo

from marketplace.market.announce import CHANNEL

log = structlog.get_logger(__name__)
RETRY_SECONDS = 0.5
LIBPQ = ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert", "service")


class AlarmClock:
    """Sleeps until a NOTIFY on commit or the end of the given time, whichever comes first."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection | None = None

    def wait(self, seconds: float) -> bool:
        """True when somebody has work. Without a database it just sleeps; the tick does the work then."""
        deadline = time.monotonic() + seconds
        try:
            listening = self._connected()
            first = list(listening.notifies(timeout=max(0.0, deadline - time.monotonic()), stop_after=1))
            if first:
                list(listening.notifies(timeout=0))  # one round answers all that were waiting
            return bool(first)
        except psycopg.Error as error:
            log.warning("loop.listen_failed", fault=type(error).__name__)
            self.close()
            time.sleep(max(0.0, min(RETRY_SECONDS, deadline - time.monotonic())))
            return False

    def close(self) -> None:
        """End the connection; the next wait opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(_address(), autocommit=True, connect_timeout=2)
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection


def _address() -> str:
    """libpq's words for the database Django uses: DATABASE_URL may name a socket's folder in its query."""
    known = connections["default"].get_connection_params()
    return make_conninfo("", **{name: str(known[name]) for name in LIBPQ if known.get(name)})
