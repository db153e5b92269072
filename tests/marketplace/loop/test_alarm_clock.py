"""The loop's alarm clock: LISTEN on a connection of its own."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from marketplace.loop.alarm_clock import AlarmClock
from marketplace.market.announce import wake
from tests.killing import end_all_other_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock() -> Iterator[AlarmClock]:
    made = AlarmClock()
    made.wait(0)
    yield made
    made.close()


def test_a_commit_wakes_it_long_before_the_time_is_up(clock: AlarmClock) -> None:
    began = time.monotonic()

    def commit() -> None:
        wake("placed")
        connection.close()

    other = threading.Timer(0.1, commit)
    other.start()
    assert clock.wait(30)
    other.join()
    assert time.monotonic() - began < 20


def test_what_was_rolled_back_wakes_nobody(clock: AlarmClock) -> None:
    with transaction.atomic():
        wake("placed")
        transaction.set_rollback(True)
    assert not clock.wait(0.05)


def test_all_that_one_commit_brings_wakes_it_once(clock: AlarmClock) -> None:
    with transaction.atomic():
        for number in range(5):
            wake(f"placed {number}")
    assert clock.wait(1)
    assert not clock.wait(0.05)


def test_it_listens_again_after_its_connection_was_ended(clock: AlarmClock, poll: Callable[..., Any]) -> None:
    end_all_other_connections()

    def wakes() -> bool:
        wake("placed")
        return clock.wait(0.2)

    poll(wakes, what="woken")
