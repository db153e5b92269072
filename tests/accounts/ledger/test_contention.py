"""Many threads, separate connections, real locks."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts.ledger import audit, balances, posting
from accounts.ledger.balances import Balance
from tests.factories import people

pytestmark = pytest.mark.django_db(transaction=True)


def race(count: int, act: Callable[[int], Any]) -> Counter[str]:
    """Run `act(0..count-1)` at once, each on its own connection; how often each outcome came."""
    line = threading.Barrier(count)

    def one(number: int) -> str:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '20s'")
            line.wait()
            answer = act(number)
            return "replayed" if answer.replayed else "posted"
        except Exception as refusal:
            return type(refusal).__name__
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return Counter(threads.map(one, range(count)))


def test_fifty_holds_with_credits_for_one_give_one() -> None:
    account = people.member(credits_milli=1_000)
    outcome = race(
        50,
        lambda n: posting.hold(account_id=account, amount_milli=1_000, key=uuid.uuid4(), subject=f"job:{n}"),
    )
    assert outcome == {"posted": 1, "InsufficientCredits": 49}
    assert balances.balance(account) == Balance(0, 1_000)
    assert audit.findings() == []


def test_twenty_twins_make_one_hold() -> None:
    account, key = people.member(credits_milli=50_000), uuid.uuid4()
    outcome = race(
        20, lambda _n: posting.hold(account_id=account, amount_milli=1_000, key=key, subject="job:1")
    )
    assert outcome == {"posted": 1, "replayed": 19}
    assert balances.balance(account) == Balance(49_000, 1_000)


def test_twenty_twins_make_one_grant() -> None:
    account, key = people.member(), uuid.uuid4()
    outcome = race(
        20, lambda _n: posting.grant(account_id=account, amount_milli=1_000, key=key, reference="gift")
    )
    assert outcome == {"posted": 1, "replayed": 19}
    assert balances.balance(account) == Balance(1_000, 0)


def test_one_key_for_two_amounts_conflicts_for_one_of_them() -> None:
    account, key = people.member(credits_milli=50_000), uuid.uuid4()
    outcome = race(
        16,
        lambda n: posting.hold(
            account_id=account, amount_milli=1_000 + 10 * (n % 2), key=key, subject="job:1"
        ),
    )
    assert outcome == {"posted": 1, "replayed": 7, "KeyConflict": 8}


def test_one_key_on_two_accounts_conflicts_for_one_of_them() -> None:
    place, key = people.workshop(), uuid.uuid4()
    accounts = [people.member(place), people.member(place)]
    outcome = race(
        16,
        lambda n: posting.grant(account_id=accounts[n % 2], amount_milli=1_000, key=key, reference="gift"),
    )
    assert outcome == {"posted": 1, "replayed": 7, "KeyConflict": 8}
    assert audit.findings() == []


def test_sixteen_answers_to_one_hold_give_one_winner() -> None:
    account = people.member(credits_milli=9_000)
    people.hold(account, 4_000)
    held = people.hold(account, 4_000)

    def answer(number: int) -> posting.Posted:
        if number % 2:
            return posting.release(hold_key=held, key=uuid.uuid4())
        return posting.capture(hold_key=held, amount_milli=3_000, key=uuid.uuid4())

    assert race(16, answer) == {"posted": 1, "HoldNotOpen": 15}
    assert balances.balance(account).held_milli == 4_000
    assert audit.findings() == []


def test_moves_in_both_directions_do_not_deadlock() -> None:
    place = people.workshop()
    pools = [posting.pool_account(place, name) for name in ("red", "blue")]
    for pool in pools:
        people.give(pool, 10_000)
    outcome = race(
        16,
        lambda n: posting.transfer(
            from_id=pools[n % 2],
            to_id=pools[1 - n % 2],
            amount_milli=100,
            key=uuid.uuid4(),
            reason="",
            actor_id=None,
        ),
    )
    assert outcome == {"posted": 16}
    assert audit.findings() == []


def test_refunds_at_once_come_to_the_capture_at_most() -> None:
    account, taken = people.member(credits_milli=9_000), uuid.uuid4()
    posting.capture(hold_key=people.hold(account, 9_000), amount_milli=9_000, key=taken)
    outcome = race(
        16,
        lambda _n: posting.refund(
            capture_key=taken, amount_milli=3_000, key=uuid.uuid4(), reason="", actor_id=None
        ),
    )
    assert outcome == {"posted": 3, "NotRefundable": 13}
    assert balances.balance(account) == Balance(9_000, 0)
