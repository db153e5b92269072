"""What time does to credits."""

import uuid
from datetime import datetime, timedelta

import pytest

from accounts import clock as market_clock
from accounts.ledger import allowance, audit, balances, posting
from accounts.models import Enrolment, Workshop
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def available(account: int) -> int:
    allowance.settle(account)
    return balances.balance(account).available_milli


def test_an_expiring_grant_can_not_be_held_past_its_time() -> None:
    account = people.member()
    people.give(account, 10_000, expires_at=market_clock.now() + timedelta(minutes=30))
    clock.advance(hours=1)
    with pytest.raises(posting.InsufficientCredits) as refused:
        people.hold(account, 5_000)
    assert refused.value.available_milli == 0


def test_each_open_hour_gives_its_allowance_at_its_start() -> None:
    place = people.workshop()
    account = people.member(place)
    people.session(place, hours=3)
    given = []
    for _minute in (0, 59, 60, 119, 120, 179, 180, 600):
        given.append(available(account))
        clock.advance(minutes={0: 59, 1: 1, 2: 59, 3: 1, 4: 59, 5: 1}.get(len(given) - 1, 420))
    assert given == [10_000, 10_000, 20_000, 20_000, 30_000, 30_000, 30_000, 30_000]


def test_whoever_joins_during_an_hour_gets_it_at_once() -> None:
    place = people.workshop()
    people.session(place, hours=3)
    clock.advance(minutes=80)
    account = people.member(place)
    assert balances.balance(account).available_milli == 10_000
    clock.advance(minutes=40)
    assert available(account) == 20_000


def test_nobody_gets_hours_of_before_they_joined_or_after_the_close() -> None:
    place = people.workshop()
    people.session(place, hours=1)
    clock.advance(hours=1)
    account = people.member(place)
    assert available(account) == 0


def test_without_sessions_only_grants_matter() -> None:
    account = people.member()
    clock.advance(days=3)
    assert available(account) == 0


def test_staff_get_no_allowance() -> None:
    place = people.workshop()
    people.session(place)
    assert available(posting.member_account(people.instructor(place), place)) == 0


def test_a_cap_limits_what_an_hour_adds_but_no_gift() -> None:
    place = people.workshop(allowance_cap_milli=20_000)
    account = people.member(place)
    people.session(place, hours=5)
    assert available(account) == 10_000
    people.give(account, 7_000)
    held = people.hold(account, 9_000)
    clock.advance(hours=1)
    assert available(account) == 11_000, "17 were there, on hold or not: 3 more"
    people.give(account, 30_000)
    clock.advance(hours=1)
    assert available(account) == 41_000
    newest = balances.statement(account, limit=1)[0]
    assert (newest.kind, newest.amount_milli) == ("allowance", 0)
    posting.release(hold_key=held, key=uuid.uuid4())
    assert audit.findings() == []


def test_downtime_changes_nothing() -> None:
    place = people.workshop(allowance_cap_milli=25_000)
    eager, late = people.member(place), people.member(place)
    people.session(place, hours=6)
    for account in (eager, late):
        people.give(account, 8_000, expires_at=market_clock.now() + timedelta(minutes=150))
    for _quarter in range(40):
        clock.advance(minutes=15)
        allowance.settle(eager)
    allowance.settle(late)
    told = [
        [(line.kind, line.amount_milli, line.at) for line in balances.statement(account)]
        for account in (eager, late)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 8


def test_a_new_rate_holds_from_its_time_on() -> None:
    place = people.workshop()
    account = people.member(place)
    people.session(place, hours=4)
    clock.advance(minutes=90)
    Workshop.objects.filter(pk=place.pk).update(allowance_milli_per_hour=3_000)
    clock.advance(hours=5)
    assert available(account) == 10_000 + 10_000 + 3_000 + 3_000
    assert audit.findings() == []


def test_moving_a_session_leaves_its_past_alone() -> None:
    place = people.workshop()
    account = people.member(place)
    session = people.session(place, hours=4)
    clock.advance(minutes=130)
    session.closes_at = market_clock.now()
    session.save()
    clock.advance(hours=3)
    assert available(account) == 30_000
    session.closes_at = market_clock.now() + timedelta(minutes=30)
    session.opens_at = market_clock.now() - timedelta(minutes=30)
    session.save()
    assert available(account) == 30_000, "its first hours were given before"


def test_a_session_announced_late_reaches_an_account_that_slept() -> None:
    place = people.workshop()
    account = people.member(place)
    clock.advance(days=1)
    people.session(place)
    people.hold(account, 10_000)
    assert balances.balance(account).held_milli == 10_000


def test_who_becomes_a_student_later_starts_then() -> None:
    place = people.workshop()
    who = people.instructor(place)
    people.session(place, hours=4)
    clock.advance(minutes=130)
    Enrolment.objects.get(user=who).delete()
    people.enrol(who, place)
    assert available(posting.member_account(who, place)) == 10_000


def test_who_stops_being_a_student_keeps_what_was_due() -> None:
    place = people.workshop()
    who = people.student(place)
    people.session(place, hours=4)
    clock.advance(minutes=130)
    seat = Enrolment.objects.get(user=who)
    seat.role = "assistant"
    seat.save()
    clock.advance(hours=2)
    assert available(posting.member_account(who, place)) == 30_000


def test_credits_end_with_the_course() -> None:
    place = people.workshop(ends_at=market_clock.now() + timedelta(minutes=90))
    account = people.member(place)
    people.session(place, hours=3)
    people.give(account, 5_000)
    people.give(account, 5_000, expires_at=market_clock.now() + timedelta(days=9))
    clock.advance(minutes=89)
    assert available(account) == 30_000
    clock.advance(minutes=1)
    assert available(account) == 0
    clock.advance(hours=2)
    assert available(account) == 0, "no hour begins after the end"
    assert audit.findings() == []


def test_credits_on_hold_at_their_expiry_get_an_hour_of_grace() -> None:
    account = people.member()
    people.give(account, 10_000, expires_at=market_clock.now() + timedelta(minutes=30))
    held = people.hold(account, 6_000)
    clock.advance(minutes=40)
    posting.release(hold_key=held, key=uuid.uuid4())
    assert balances.balance(account).available_milli == 6_000, "the free 4 expired"
    clock.advance(minutes=49)
    assert available(account) == 6_000
    clock.advance(minutes=1)
    assert available(account) == 0


def test_the_first_to_expire_burn_first_then_allowance_then_gifts() -> None:
    place = people.workshop()
    account = people.member(place)
    people.give(account, 10_000)
    people.session(place, hours=1)
    tomorrow = market_clock.now() + timedelta(days=1)
    people.give(account, 10_000, expires_at=tomorrow + timedelta(days=1))
    people.give(account, 10_000, expires_at=tomorrow)
    posting.capture(hold_key=people.hold(account, 12_000), amount_milli=12_000, key=uuid.uuid4())
    clock.advance(days=3)
    assert available(account) == 20_000, "of the two that expire, 8 were left"
    Workshop.objects.filter(pk=place.pk).update(ends_at=market_clock.now())
    assert available(account) == 0


def test_an_undo_takes_back_what_is_unspent_of_that_grant() -> None:
    account = people.member()
    kept = people.give(account, 10_000)
    undone = people.give(account, 50_000)
    people.hold(account, 5_000)
    posting.capture(hold_key=people.hold(account, 20_000), amount_milli=20_000, key=uuid.uuid4())
    posted, back = posting.undo(grant_key=undone, key=uuid.uuid4(), reason="wrong class", actor_id=None)
    assert posted is not None
    assert back == 35_000, "10 and 10 of it were spent, 5 are on hold"
    assert balances.balance(account).available_milli == 0
    assert posting.undo(grant_key=kept, key=uuid.uuid4(), reason="", actor_id=None) == (None, 0)


def test_a_grant_is_undone_once() -> None:
    account, key = people.member(), uuid.uuid4()
    given = people.give(account, 5_000)
    request = {"grant_key": given, "reason": "wrong class", "actor_id": None}
    assert posting.undo(key=key, **request)[1] == 5_000
    assert posting.undo(key=key, **request)[1] == 5_000, "the same request again"
    with pytest.raises(posting.NotRefundable):
        posting.undo(key=uuid.uuid4(), **request)
    with pytest.raises(posting.KeyConflict):
        posting.undo(key=key, **{**request, "reason": "other"})


def test_credits_moved_from_a_pool_keep_their_expiry() -> None:
    place = people.workshop()
    pool, account = posting.pool_account(place), people.member(place)
    people.give(pool, 4_000, expires_at=market_clock.now() + timedelta(hours=1))
    people.give(pool, 4_000)
    move = {"from_id": pool, "to_id": account, "reason": "", "actor_id": None}
    posting.transfer(amount_milli=6_000, key=uuid.uuid4(), **move)
    clock.advance(hours=2)
    assert available(account) == 2_000
    assert available(pool) == 2_000
    assert audit.findings() == []


def test_a_sweep_settles_whoever_is_due() -> None:
    place = people.workshop()
    accounts = [people.member(place) for _ in range(3)]
    people.session(place)
    assert allowance.sweep(limit=2) == 2
    assert allowance.sweep() == 1
    assert allowance.sweep() == 0
    assert [balances.balance(account).available_milli for account in accounts] == [10_000] * 3


def _moments(account: int) -> list[datetime]:
    return [line.at for line in balances.statement(account)]


def test_what_is_settled_late_is_dated_when_it_was_due() -> None:
    place = people.workshop()
    account = people.member(place)
    session = people.session(place, hours=2)
    clock.advance(hours=5)
    allowance.settle(account)
    assert _moments(account) == [session.opens_at + timedelta(hours=1), session.opens_at]


def test_a_gift_to_an_empty_account_ends_with_the_course() -> None:
    place = people.workshop(ends_at=market_clock.now() + timedelta(hours=1))
    account = people.member(place)
    people.give(account, 5_000)
    clock.advance(hours=2)
    with pytest.raises(posting.InsufficientCredits):
        people.hold(account, 10)


def test_an_hour_without_allowance_is_not_given_later() -> None:
    place = people.workshop(allowance_milli_per_hour=0)
    account = people.member(place)
    people.session(place, hours=2)
    clock.advance(minutes=10)
    Workshop.objects.filter(pk=place.pk).update(allowance_milli_per_hour=3_000)
    people.give(account, 1_000)
    clock.advance(minutes=60)
    assert available(account) == 4_000


def test_allowance_burns_before_a_gift_that_lasts_as_long() -> None:
    place = people.workshop()
    account = people.member(place)
    gift = people.give(account, 10_000)
    people.session(place, hours=1)
    posting.capture(hold_key=people.hold(account, 8_000), amount_milli=8_000, key=uuid.uuid4())
    assert posting.undo(grant_key=gift, key=uuid.uuid4(), reason="", actor_id=None)[1] == 10_000
