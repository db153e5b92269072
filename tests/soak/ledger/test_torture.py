"""Sixteen threads, four accounts and a pool, random doors, connections killed in between.

Three seconds as a test, a minute with SOAK (make soak).
"""

import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from accounts.ledger import allowance, audit, posting
from accounts.ledger.models import Hold, LedgerTransaction
from tests.factories import people

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 16
SECONDS = 60.0 if os.environ.get("SOAK") else 3.0
KILL_EVERY_SECONDS = 0.15
REFUSALS = (
    posting.InsufficientCredits, posting.HoldNotOpen, posting.NotRefundable, posting.CapExceeded,
)  # fmt: skip
KILL_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'torture'
 ORDER BY random() LIMIT 1
"""


class Torture:
    def __init__(self) -> None:
        place = people.workshop(allowance_cap_milli=40_000)
        people.session(place, hours=2)
        self.members = [people.member(place, 20_000) for _ in range(4)]
        self.pool = posting.pool_account(place)
        people.give(self.pool, 500_000)
        self.holds: list[uuid.UUID] = []
        self.captures: list[uuid.UUID] = []
        self.grants: list[uuid.UUID] = []
        self.acknowledged: list[uuid.UUID] = []
        self.outcomes: Counter[str] = Counter()
        self.stop = threading.Event()

    def work(self, number: int) -> None:
        chance = random.Random(number)
        doors = (
            self._hold,
            self._hold,
            self._adjust,
            self._resolve,
            self._resolve,
            self._grant,
            self._move,
            self._refund,
            self._undo,
            self._settle,
        )
        try:
            while not self.stop.is_set():
                self._insist(chance.choice(doors)(chance))
        finally:
            connection.close()

    def kill(self) -> None:
        try:
            while not self.stop.wait(KILL_EVERY_SECONDS):
                with connection.cursor() as cursor:
                    cursor.execute(KILL_ONE)
        finally:
            connection.close()

    def _insist(self, request: Callable[[], object] | None) -> None:
        """Send a request until it is answered; a killed connection leaves it unknown, so the same again."""
        while request is not None:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET application_name = 'torture'; SET lock_timeout = '20s'")
                request()
                self.outcomes["posted"] += 1
                return
            except REFUSALS as refusal:
                self.outcomes[type(refusal).__name__] += 1
                return
            except (OperationalError, InterfaceError) as fault:
                self.outcomes["killed" if _was_killed(fault) else repr(fault)] += 1
                connection.close()
            except Exception as fault:
                self.outcomes[repr(fault)] += 1
                return

    def _post(
        self, door: Callable[..., Any], keep: list[uuid.UUID] | None, **request: Any
    ) -> Callable[[], object]:
        key = uuid.uuid4()

        def send() -> None:
            door(key=key, **request)
            self.acknowledged.append(key)
            if keep is not None:
                keep.append(key)

        return send

    def _any(self, chance: random.Random) -> int:
        return chance.choice([*self.members, self.pool])

    def _hold(self, chance: random.Random) -> Callable[[], object]:
        amount = chance.randrange(10, 3_000, 10)
        return self._post(
            posting.hold, self.holds, account_id=self._any(chance), amount_milli=amount, subject="job:1"
        )

    def _adjust(self, chance: random.Random) -> Callable[[], object] | None:
        if not self.holds:
            return None
        amount = chance.randrange(10, 3_000, 10)
        return self._post(
            posting.adjust, self.holds, hold_key=chance.choice(self.holds[-40:]), amount_milli=amount
        )

    def _resolve(self, chance: random.Random) -> Callable[[], object] | None:
        if not self.holds:
            return None
        hold = chance.choice(self.holds[-40:])
        if chance.random() < 0.4:
            return self._post(posting.release, None, hold_key=hold)
        return self._post(posting.capture, self.captures, hold_key=hold, amount_milli=10)

    def _grant(self, chance: random.Random) -> Callable[[], object]:
        amount = chance.randrange(10, 2_000, 10)
        return self._post(
            posting.grant, self.grants, account_id=self._any(chance), amount_milli=amount, reference="gift"
        )

    def _move(self, chance: random.Random) -> Callable[[], object]:
        amount = chance.randrange(10, 500, 10)
        return self._post(
            posting.transfer,
            None,
            from_id=self.pool,
            to_id=chance.choice(self.members),
            amount_milli=amount,
            reason="",
            actor_id=None,
        )

    def _refund(self, chance: random.Random) -> Callable[[], object] | None:
        if not self.captures:
            return None
        return self._post(
            posting.refund,
            None,
            capture_key=chance.choice(self.captures),
            amount_milli=10,
            reason="",
            actor_id=None,
        )

    def _undo(self, chance: random.Random) -> Callable[[], object] | None:
        if not self.grants:
            return None
        request = {
            "grant_key": chance.choice(self.grants),
            "key": uuid.uuid4(),
            "reason": "",
            "actor_id": None,
        }
        return lambda: posting.undo(**request)

    def _settle(self, chance: random.Random) -> Callable[[], object]:
        return lambda: allowance.settle(self._any(chance))


def _was_killed(fault: Exception) -> bool:
    text = str(fault)
    return any(
        word in text for word in ("terminating connection", "connection is lost", "closed", "server closed")
    )


def test_torture_breaks_nothing() -> None:
    torture = Torture()
    threads = [threading.Thread(target=torture.work, args=(number,)) for number in range(THREADS)]
    threads.append(threading.Thread(target=torture.kill))
    for thread in threads:
        thread.start()
    torture.stop.wait(SECONDS)
    torture.stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    allowed = {"posted", "killed", *(refusal.__name__ for refusal in REFUSALS)}
    assert set(torture.outcomes) <= allowed, torture.outcomes
    assert torture.outcomes["posted"] > 100
    assert torture.outcomes["killed"] > 0
    written = set(LedgerTransaction.objects.values_list("key", flat=True)) | set(
        Hold.objects.values_list("key", flat=True)
    )
    assert set(torture.acknowledged) <= written
    assert audit.findings() == []
