"""The write doors, one at a time."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts import clock
from accounts.ledger import balances, posting
from accounts.ledger.balances import Balance
from tests.factories import people

pytestmark = pytest.mark.django_db
new_key = uuid.uuid4


def test_a_hold_sets_credits_aside_and_a_capture_returns_the_rest() -> None:
    account = people.member(credits_milli=50_000)
    held = people.hold(account, 12_380)
    assert balances.balance(account) == Balance(37_620, 12_380)
    posted = posting.capture(hold_key=held, amount_milli=9_350, key=new_key())
    assert (posted.available_milli, posted.held_milli) == (40_650, 0)
    assert balances.hold_state(held) == "captured"


def test_a_release_returns_everything() -> None:
    account = people.member(credits_milli=50_000)
    held = people.hold(account, 12_380)
    assert balances.hold_state(held) == "open"
    posting.release(hold_key=held, key=new_key(), reason="cancelled")
    assert balances.balance(account) == Balance(50_000, 0)
    assert balances.hold_state(held) == "released"


def test_capturing_nothing_is_a_release() -> None:
    account = people.member(credits_milli=1_000)
    held, key = people.hold(account, 1_000), new_key()
    posting.capture(hold_key=held, amount_milli=0, key=key)
    assert balances.hold_state(held) == "released"
    assert posting.release(hold_key=held, key=key).replayed


def test_a_hold_above_the_balance_names_the_shortfall() -> None:
    account = people.member(credits_milli=5_000)
    with pytest.raises(posting.InsufficientCredits) as refused:
        people.hold(account, 7_500)
    assert (refused.value.available_milli, refused.value.shortfall_milli) == (5_000, 2_500)
    assert balances.balance(account) == Balance(5_000, 0)


def test_a_hold_is_resolved_once() -> None:
    account = people.member(credits_milli=5_000)
    held = people.hold(account, 5_000)
    posting.capture(hold_key=held, amount_milli=1_000, key=new_key())
    with pytest.raises(posting.HoldNotOpen):
        posting.release(hold_key=held, key=new_key())
    with pytest.raises(posting.HoldNotOpen):
        posting.adjust(hold_key=held, amount_milli=2_000, key=new_key())
    assert balances.balance(account) == Balance(4_000, 0)


def test_a_hold_is_resolved_once_though_other_credits_are_on_hold() -> None:
    account = people.member(credits_milli=9_000)
    first, _second = people.hold(account, 4_000), people.hold(account, 5_000)
    posting.capture(hold_key=first, amount_milli=1_000, key=new_key())
    for resolve in (posting.release, posting.capture):
        more = {"amount_milli": 500} if resolve is posting.capture else {}
        with pytest.raises(posting.HoldNotOpen):
            resolve(hold_key=first, key=new_key(), **more)
    assert balances.balance(account) == Balance(3_000, 5_000)


def test_a_capture_never_exceeds_its_hold() -> None:
    account = people.member(credits_milli=50_000)
    held = people.hold(account, 5_000)
    with pytest.raises(posting.InvalidAmount, match=r"hold of 5\.00"):
        posting.capture(hold_key=held, amount_milli=5_010, key=new_key())
    assert balances.hold_state(held) == "open"


def test_no_hold_nothing_to_resolve() -> None:
    for act in (posting.release, posting.capture, posting.adjust):
        more = {} if act is posting.release else {"amount_milli": 10}
        with pytest.raises(posting.NoSuchHold):
            act(hold_key=new_key(), key=new_key(), **more)
    assert balances.hold_state(new_key()) is None


def test_adjusting_replaces_a_hold_at_once() -> None:
    account = people.member(credits_milli=10_000)
    first, second = people.hold(account, 8_000), new_key()
    posted = posting.adjust(hold_key=first, amount_milli=10_000, key=second)
    assert (posted.available_milli, posted.held_milli) == (0, 10_000)
    assert (balances.hold_state(first), balances.hold_state(second)) == ("released", "open")
    release, hold = sorted(balances.statement(account, limit=2), key=lambda line: line.seq)
    assert (release.kind, hold.kind) == ("release", "hold")
    assert release.key == hold.key == second
    assert hold.subject == "job:test"


def test_adjusting_counts_what_the_old_hold_frees() -> None:
    account = people.member(credits_milli=10_000)
    first = people.hold(account, 8_000)
    with pytest.raises(posting.InsufficientCredits) as refused:
        posting.adjust(hold_key=first, amount_milli=10_010, key=new_key())
    assert refused.value.shortfall_milli == 10
    assert balances.hold_state(first) == "open"


def test_refunds_come_to_the_capture_at_most() -> None:
    account = people.member(credits_milli=10_000)
    taken = new_key()
    posting.capture(hold_key=people.hold(account, 10_000), amount_milli=8_000, key=taken)
    refund = {"capture_key": taken, "reason": "bad frames", "actor_id": None}
    posting.refund(amount_milli=5_000, key=new_key(), **refund)
    with pytest.raises(posting.NotRefundable, match=r"3\.00 of this capture"):
        posting.refund(amount_milli=3_010, key=new_key(), **refund)
    posting.refund(amount_milli=3_000, key=new_key(), **refund)
    assert balances.balance(account) == Balance(10_000, 0)


def test_only_captures_are_refunded() -> None:
    account = people.member()
    granted = people.give(account, 1_000)
    for key in (granted, new_key()):
        with pytest.raises(posting.NotRefundable):
            posting.refund(capture_key=key, amount_milli=10, key=new_key(), reason="", actor_id=None)


@pytest.mark.parametrize("amount", [0, -10, 5, 10**30, 1.0, float("nan")])
def test_amounts_that_can_not_be_posted_change_nothing(amount: int) -> None:
    account = people.member(credits_milli=1_000)
    held = people.hold(account, 500)
    for post in (
        lambda: posting.grant(account_id=account, amount_milli=amount, key=new_key(), reference="gift"),
        lambda: posting.hold(account_id=account, amount_milli=amount, key=new_key(), subject=""),
        lambda: posting.adjust(hold_key=held, amount_milli=amount, key=new_key()),
        lambda: posting.capture(hold_key=held, amount_milli=amount or -10, key=new_key()),
    ):
        with pytest.raises(posting.InvalidAmount):
            post()
    assert balances.balance(account) == Balance(500, 500)


def test_credits_enter_by_a_named_reference_only() -> None:
    account = people.member()
    with pytest.raises(ValueError, match="purchase"):
        people.give(account, 1_000, reference="because")
    people.give(account, 1_000, reference="purchase", money_minor=990, currency="EUR")
    assert balances.balance(account).available_milli == 1_000


def test_a_grant_that_expired_already_is_refused() -> None:
    account = people.member()
    with pytest.raises(posting.AlreadyExpired):
        people.give(account, 1_000, expires_at=clock.now() - timedelta(seconds=1))


def test_nobody_posts_on_the_house() -> None:
    for house in (1, 2, 3, 999):
        with pytest.raises(posting.NoSuchAccount):
            people.give(house, 1_000)
        with pytest.raises(posting.NoSuchAccount):
            people.hold(house, 1_000)


def test_a_refusal_inside_a_transaction_leaves_it_usable() -> None:
    account = people.member(credits_milli=1_000)
    key = people.hold(account, 1_000)
    with transaction.atomic():
        with pytest.raises(posting.KeyConflict):
            posting.hold(account_id=account, amount_milli=10, key=key, subject="job:other")
        posting.release(hold_key=key, key=new_key())
    assert balances.balance(account) == Balance(1_000, 0)


@pytest.mark.django_db(transaction=True)
def test_each_door_of_a_job_is_one_statement() -> None:
    account = people.member(credits_milli=10_000)
    first, second, third = new_key(), new_key(), new_key()
    doors = (
        lambda: posting.hold(account_id=account, amount_milli=1_000, key=first, subject="job:1"),
        lambda: posting.adjust(hold_key=first, amount_milli=2_000, key=second),
        lambda: posting.capture(hold_key=second, amount_milli=500, key=third),
        lambda: posting.release(hold_key=people_hold, key=new_key()),
    )
    people_hold = people.hold(account, 10)
    for door in doors:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            door()
        assert len(queries) == 1
