"""Who may do what with credits, and that it is written down."""

import uuid

import pytest

from accounts import clock
from accounts.ledger import audit, balances, posting, staff
from accounts.models import AuditRow, User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db


def organizer(place: Workshop) -> User:
    who = people.user()
    people.enrol(who, place, role="organizer")
    return who


def issue(place: Workshop, actor: User, account_id: int, **changed: object) -> posting.Posted:
    request = {
        "amount_milli": 500_000,
        "key": uuid.uuid4(),
        "reference": "purchase",
        "reason": "Term fee",
        "money_minor": 49_900,
        "currency": "EUR",
    }
    return staff.issue(actor=actor, workshop=place, account_id=account_id, **{**request, **changed})


def test_an_organizer_issues_to_the_pool_and_an_instructor_hands_out() -> None:
    place = people.workshop()
    pool, account = posting.pool_account(place), people.member(place)
    issue(place, organizer(place), pool)
    staff.fund(
        actor=people.instructor(place),
        workshop=place,
        from_id=pool,
        to_id=account,
        amount_milli=50_000,
        key=uuid.uuid4(),
        reason="Prize",
    )
    assert balances.balance(pool).available_milli == 450_000
    assert balances.balance(account).available_milli == 50_000
    told = [(row.action, row.reason) for row in AuditRow.objects.order_by("id")]
    assert told == [("credits.issue", "Term fee"), ("credits.fund", "Prize")]


def test_an_instructor_issues_nothing() -> None:
    place = people.workshop()
    with pytest.raises(staff.NotAllowed, match="organizers"):
        issue(place, people.instructor(place), posting.pool_account(place))
    row = AuditRow.objects.get()
    assert row.action == "credits.issue.refused"
    assert row.after["refusal"] == "NotAllowed"


@pytest.mark.parametrize("role", ["student", "assistant", "stranger"])
def test_others_hand_out_nothing(role: str) -> None:
    place = people.workshop()
    pool, account, who = posting.pool_account(place), people.member(place), people.user()
    people.give(pool, 1_000)
    if role != "stranger":
        people.enrol(who, place, role=role)
    with pytest.raises(staff.NotAllowed):
        staff.fund(
            actor=who,
            workshop=place,
            from_id=pool,
            to_id=account,
            amount_milli=1_000,
            key=uuid.uuid4(),
            reason="x",
        )
    assert balances.balance(account).available_milli == 0


def test_refusals_are_by_name_and_leave_a_row() -> None:
    place, other = people.workshop(), people.workshop()
    boss, pool = organizer(place), posting.pool_account(place)
    closed = people.workshop(closed_at=clock.now())
    people.enrol(boss, closed, role="organizer")
    cases = (
        (staff.ReasonMissing, lambda: issue(place, boss, pool, reason="  ")),
        (staff.WorkshopClosed, lambda: issue(closed, boss, posting.pool_account(closed))),
        (posting.NoSuchAccount, lambda: issue(place, boss, posting.pool_account(other))),
        (posting.InvalidAmount, lambda: issue(place, boss, pool, amount_milli=-10)),
        (posting.InvalidAmount, lambda: issue(place, boss, pool, amount_milli=10**30)),
    )
    for refusal, act in cases:
        with pytest.raises(refusal):
            act()
        assert AuditRow.objects.first().after["refusal"] == refusal.__name__
    assert balances.balance(pool).available_milli == 0


def test_a_refund_gives_back_with_a_reason() -> None:
    place, taken = people.workshop(), uuid.uuid4()
    account = people.member(place, 10_000)
    posting.capture(hold_key=people.hold(account, 8_000, "job:7"), amount_milli=8_000, key=taken)
    request = {
        "actor": people.instructor(place),
        "capture_key": taken,
        "key": uuid.uuid4(),
        "reason": "Bad frames",
    }
    staff.refund(amount_milli=3_000, **request)
    staff.refund(amount_milli=3_000, **request)
    assert balances.balance(account).available_milli == 5_000
    row = AuditRow.objects.get()
    assert (row.action, row.subject) == ("credits.refund", "job:7")
    with pytest.raises(posting.NotRefundable):
        staff.refund(**{**request, "amount_milli": 5_010, "key": uuid.uuid4()})
    with pytest.raises(posting.NotRefundable):
        staff.refund(**{**request, "amount_milli": 10, "capture_key": uuid.uuid4()})


def test_staff_refund_nothing_to_themselves() -> None:
    place, taken = people.workshop(), uuid.uuid4()
    who = people.instructor(place)
    account = posting.member_account(who, place)
    people.give(account, 1_000)
    posting.capture(hold_key=people.hold(account, 1_000), amount_milli=1_000, key=taken)
    with pytest.raises(staff.OwnAccount):
        staff.refund(actor=who, capture_key=taken, amount_milli=10, key=uuid.uuid4(), reason="me")


def test_a_teams_pool_gets_a_cap() -> None:
    place = people.workshop()
    boss = organizer(place)
    pool = posting.pool_account(place)
    issue(place, boss, pool)
    team = staff.set_cap(actor=boss, workshop=place, team="Red", cap_milli=1_000, reason="Fair shares")
    with pytest.raises(posting.CapExceeded):
        staff.fund(
            actor=boss,
            workshop=place,
            from_id=pool,
            to_id=team,
            amount_milli=1_010,
            key=uuid.uuid4(),
            reason="x",
        )
    staff.set_cap(actor=boss, workshop=place, team="Red", cap_milli=None, reason="No more")
    staff.fund(
        actor=boss, workshop=place, from_id=pool, to_id=team, amount_milli=1_010, key=uuid.uuid4(), reason="x"
    )
    assert audit.findings() == []
