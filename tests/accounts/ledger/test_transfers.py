"""Pools, purses and what may move."""

import uuid

import pytest

from accounts.ledger import audit, balances, posting
from accounts.ledger.models import LedgerAccount
from tests.factories import people

pytestmark = pytest.mark.django_db


def move(from_id: int, to_id: int, amount_milli: int) -> posting.Posted:
    return posting.transfer(
        from_id=from_id, to_id=to_id, amount_milli=amount_milli, key=uuid.uuid4(), reason="", actor_id=None
    )


def test_a_pool_gives_and_both_sides_know() -> None:
    place = people.workshop()
    pool, account = posting.pool_account(place), people.member(place)
    people.give(pool, 10_000)
    assert move(pool, account, 4_000).available_milli == 6_000
    assert balances.balance(account).available_milli == 4_000
    assert audit.findings() == []


def test_a_pool_gives_no_more_than_it_has() -> None:
    place = people.workshop()
    pool, account = posting.pool_account(place), people.member(place)
    people.give(pool, 10_000)
    with pytest.raises(posting.InsufficientCredits):
        move(pool, account, 10_010)
    assert balances.balance(pool).available_milli == 10_000


def test_credits_do_not_leave_their_workshop() -> None:
    pool = posting.pool_account(people.workshop())
    people.give(pool, 10_000)
    with pytest.raises(posting.NotTransferable, match="workshop"):
        move(pool, people.member(), 1_000)


def test_members_give_nothing_away() -> None:
    place = people.workshop()
    rich, poor = people.member(place, 10_000), people.member(place)
    for taker in (poor, posting.pool_account(place)):
        with pytest.raises(posting.NotTransferable, match="members"):
            move(rich, taker, 1_000)
    with pytest.raises(posting.NotTransferable, match="they are on"):
        move(rich, rich, 1_000)


def test_a_team_pool_holds_no_more_than_its_cap() -> None:
    place = people.workshop()
    pool, team = posting.pool_account(place), posting.pool_account(place, "Red")
    LedgerAccount.objects.filter(pk=team).update(cap=5_000)
    people.give(pool, 10_000)
    move(pool, team, 3_000)
    with pytest.raises(posting.CapExceeded, match=r"Red may hold 5\.00"):
        move(pool, team, 2_010)
    move(pool, team, 2_000)
    assert audit.findings() == []


def test_an_undone_transfer_goes_back_to_its_pool() -> None:
    place = people.workshop()
    pool, account, key = posting.pool_account(place), people.member(place), uuid.uuid4()
    people.give(pool, 10_000)
    posting.transfer(
        from_id=pool, to_id=account, amount_milli=8_000, key=key, reason="", actor_id=None, subject="batch:1"
    )
    people.hold(account, 1_000)
    _posted, back = posting.undo(
        grant_key=posting.key_for(key, "in"), key=uuid.uuid4(), reason="", actor_id=None
    )
    assert back == 7_000
    assert balances.balance(pool).available_milli == 9_000
    assert audit.findings() == []


def test_accounts_are_opened_once() -> None:
    place = people.workshop()
    who = people.student(place)
    assert posting.member_account(who, place) == posting.member_account(who, place)
    assert posting.pool_account(place) == posting.pool_account(place)
    assert posting.purse_account(place) == posting.purse_account(place)
    assert (
        len({posting.pool_account(place), posting.pool_account(place, "Red"), posting.purse_account(place)})
        == 3
    )
