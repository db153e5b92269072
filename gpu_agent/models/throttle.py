"""Bounded bandwidth: bytes are paid for with waiting."""

import time
from collections.abc import Callable

BURST_SECONDS = 0.1


class Throttle:
    """Spreads bytes over time; None: no limit. `wait` may return early, when somebody wants to leave."""

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._wait = wait
        self._paid_until = clock()

    @property
    def chunk_bytes(self) -> int:
        """How much to ask for at once, so that a slow link still moves several times a second."""
        most = 1024 * 1024
        return most if self._rate is None else int(min(most, max(4096, self._rate / 8)))

    def take(self, size_bytes: int) -> None:
        """Wait until so many more bytes are within the limit."""
        if self._rate is None:
            return
        now = self._clock()
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + size_bytes / self._rate
        if self._paid_until > now:
            self._wait(self._paid_until - now)
