"""The read door: what pages and other rooms see."""

import uuid
from datetime import timedelta

import pytest

from accounts import clock as market_clock
from accounts.ledger import balances, posting
from accounts.ledger.balances import Balance
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def busy_account() -> int:
    """An account with every kind of line that needs no time to pass."""
    place = people.workshop()
    account = people.member(place, 50_000)
    first, second, taken, moved = (uuid.uuid4() for _ in range(4))
    posting.hold(account_id=account, amount_milli=12_380, key=first, subject="job:1")
    posting.adjust(hold_key=first, amount_milli=15_000, key=second)
    posting.capture(hold_key=second, amount_milli=9_350, key=taken)
    posting.refund(capture_key=taken, amount_milli=50, key=uuid.uuid4(), reason="sorry", actor_id=None)
    pool = posting.pool_account(place)
    people.give(pool, 5_000)
    posting.transfer(from_id=pool, to_id=account, amount_milli=4_000, key=moved, reason="", actor_id=None)
    posting.undo(grant_key=posting.key_for(moved, "in"), key=uuid.uuid4(), reason="by mistake", actor_id=None)
    people.hold(account, 700)
    return account


def test_a_statement_replays_to_the_balance() -> None:
    account = busy_account()
    lines = balances.statement(account)[::-1]
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    available = held = 0
    for line in lines:
        available += line.available_change_milli
        held += line.held_change_milli
        assert (line.available_milli, line.held_milli) == (available, held)
    assert balances.balance(account) == Balance(available, held)


def test_lines_say_what_happened_and_for_what() -> None:
    lines = balances.statement(busy_account())
    told = [(line.kind, line.amount_milli) for line in reversed(lines)]
    assert told == [
        ("grant", 50_000),
        ("hold", -12_380),
        ("release", 12_380),
        ("hold", -15_000),
        ("capture", -9_350),
        ("refund", 50),
        ("transfer_in", 4_000),
        ("undo", -4_000),
        ("hold", -700),
    ]
    captured = next(line for line in lines if line.kind == "capture")
    assert (captured.subject, captured.available_change_milli) == ("job:1", 5_650)


def test_pages_of_a_statement_follow_each_other() -> None:
    account = busy_account()
    whole = balances.statement(account)
    pages, before = [], None
    while page := balances.statement(account, limit=2, before=before):
        pages += page
        before = page[-1].seq
    assert pages == whole
    assert len({line.id for line in whole}) == len(whole)


def test_a_statement_shows_chosen_kinds_only() -> None:
    account = busy_account()
    assert {line.kind for line in balances.statement(account, kinds=["hold", "refund"])} == {"hold", "refund"}


def test_a_balance_can_be_asked_of_the_past() -> None:
    account = people.member(credits_milli=5_000)
    before_hold = market_clock.now()
    clock.advance(minutes=10)
    people.hold(account, 2_000)
    assert balances.balance(account, as_of=before_hold + timedelta(minutes=5)) == Balance(5_000, 0)
    assert balances.balance(account, as_of=market_clock.now()) == Balance(3_000, 2_000)
    assert balances.balance(account, as_of=before_hold - timedelta(days=1)) == Balance(0, 0)
    assert len(balances.statement(account, as_of=before_hold)) == 1


def test_open_holds_are_listed_until_resolved() -> None:
    account = people.member(credits_milli=5_000)
    old, gone = people.hold(account, 1_000, "job:old"), people.hold(account, 1_000)
    posting.release(hold_key=gone, key=uuid.uuid4())
    clock.advance(hours=2)
    young = people.hold(account, 1_000, "job:young")
    assert [hold.key for hold in balances.open_holds()] == [old, young]
    assert [hold.subject for hold in balances.open_holds(older_than=timedelta(hours=1))] == ["job:old"]


def test_balances_of_many_and_of_nobody() -> None:
    place = people.workshop()
    who = people.student(place)
    account = posting.member_account(who, place)
    people.give(account, 1_000)
    assert balances.balances([account, 999]) == {account: Balance(1_000, 0)}
    assert balances.member_balances(place.pk) == {who.pk: Balance(1_000, 0)}
    assert balances.find_account(who.pk, place.pk) == account
    assert balances.find_account(people.user().pk, place.pk) is None
    assert balances.balance(999) == Balance(0, 0)


def test_totals_of_a_workshop_add_up() -> None:
    place = people.workshop()
    account, taken = people.member(place, 10_000), uuid.uuid4()
    undone = people.give(account, 500)
    posting.undo(grant_key=undone, key=uuid.uuid4(), reason="", actor_id=None)
    posting.capture(hold_key=people.hold(account, 4_000), amount_milli=3_000, key=taken)
    posting.refund(capture_key=taken, amount_milli=200, key=uuid.uuid4(), reason="", actor_id=None)
    people.hold(account, 1_000)
    there = balances.totals(place)
    assert there == balances.Totals(10_000, 3_000, 200, 0, 6_200, 1_000)
    assert there.issued_milli == (
        there.available_milli + there.held_milli + there.captured_milli - there.refunded_milli
    )
