"""Credits for many: preview, confirm, undo."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from accounts import clock as market_clock
from accounts.ledger import audit, balances, bulk, posting, staff
from accounts.models import AuditRow, User, Workshop
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def class_with_pool(size: int = 3, pool_milli: int = 1_000_000) -> tuple[Workshop, User, list[User]]:
    place = people.workshop()
    people.give(posting.pool_account(place), pool_milli)
    return place, people.instructor(place), [people.student(place) for _ in range(size)]


def ask(place: Workshop, actor: User, students: list[User], **changed: Any) -> dict[str, Any]:
    return {
        "actor": actor,
        "workshop": place,
        "students": students,
        "amount_milli": 50_000,
        "from_pool": True,
        **changed,
    }


def give(place: Workshop, actor: User, students: list[User], **changed: Any) -> bulk.Done:
    return bulk.confirm(
        **{"key": uuid.uuid4(), "reason": "Good work", **ask(place, actor, students, **changed)}
    )


def available(who: User, place: Workshop) -> int:
    return balances.balance(posting.member_account(who, place)).available_milli


def test_a_preview_shows_who_gets_what_and_changes_nothing() -> None:
    place, actor, students = class_with_pool()
    people.give(posting.member_account(students[0], place), 7_000)
    shown = bulk.preview(**ask(place, actor, students))
    assert [(row.available_milli, row.after_milli) for row in shown.rows] == [
        (7_000, 57_000),
        (0, 50_000),
        (0, 50_000),
    ]
    assert (shown.total_milli, shown.pool_milli, shown.pool_after_milli) == (150_000, 1_000_000, 850_000)
    assert available(students[1], place) == 0


def test_confirming_twice_gives_once() -> None:
    place, actor, students = class_with_pool()
    key = uuid.uuid4()
    first, second = give(place, actor, students, key=key), give(place, actor, students, key=key)
    assert (first.replayed, second.replayed) == (False, True)
    assert first.rows == second.rows
    assert [available(who, place) for who in students] == [50_000] * 3
    assert AuditRow.objects.filter(action="credits.grant").count() == 1
    with pytest.raises(posting.KeyConflict):
        give(place, actor, students[:2], key=key)


def test_undo_takes_back_what_is_unspent_and_names_the_rest() -> None:
    place, actor, students = class_with_pool()
    done = give(place, actor, students)
    account = posting.member_account(students[0], place)
    posting.capture(hold_key=people.hold(account, 20_000), amount_milli=20_000, key=uuid.uuid4())
    people.hold(posting.member_account(students[1], place), 50_000)
    undone = bulk.undo(key=done.key, actor=actor, reason="Wrong class")
    assert {row.user_id: row.back_milli for row in undone.rows} == {
        students[0].pk: 30_000,
        students[1].pk: 0,
        students[2].pk: 50_000,
    }
    assert (undone.back_milli, undone.kept_milli) == (80_000, 70_000)
    assert {row.name for row in undone.kept} == {students[0].name, students[1].name}
    assert balances.balance(posting.pool_account(place)).available_milli == 930_000
    assert audit.findings() == []


def test_undoing_twice_tells_the_same() -> None:
    place, actor, students = class_with_pool()
    done = give(place, actor, students)
    held = people.hold(posting.member_account(students[0], place), 50_000)
    first = bulk.undo(key=done.key, actor=actor, reason="Wrong class")
    posting.release(hold_key=held, key=uuid.uuid4())
    second = bulk.undo(key=done.key, actor=actor, reason="Wrong class")
    assert second.replayed
    assert second.rows == first.rows
    assert available(students[0], place) == 50_000


def test_a_pool_that_has_too_little_gives_nobody_anything() -> None:
    place, actor, students = class_with_pool(pool_milli=149_990)
    for act in (lambda: bulk.preview(**ask(place, actor, students)), lambda: give(place, actor, students)):
        with pytest.raises(posting.InsufficientCredits):
            act()
    assert [available(who, place) for who in students] == [0, 0, 0]
    row = AuditRow.objects.get()
    assert (row.action, row.actor) == ("credits.grant.refused", actor)
    assert row.after["users"] == sorted(who.pk for who in students)


def test_only_organizers_issue_to_a_class() -> None:
    place, actor, students = class_with_pool()
    with pytest.raises(staff.NotAllowed):
        give(place, actor, students, from_pool=False)
    boss = people.user()
    people.enrol(boss, place, role="organizer")
    done = give(place, boss, students, from_pool=False)
    assert available(students[0], place) == 50_000
    assert bulk.undo(key=done.key, actor=boss, reason="x").back_milli == 150_000


def test_what_is_refused_is_named() -> None:
    place, actor, students = class_with_pool()
    stranger = people.student(people.workshop(), "zoe")
    myself = people.instructor(place)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (staff.NotEnrolled, "zoe", {"students": [*students, stranger]}),
        (staff.NotEnrolled, "of this workshop", {"students": [myself]}),
        (staff.NobodyChosen, "at least one", {"students": []}),
        (staff.NotAllowed, "hand out", {"actor": students[0]}),
        (posting.InvalidAmount, "more than zero", {"amount_milli": 0}),
        (posting.InvalidAmount, "finer", {"amount_milli": 15}),
        (staff.ReasonMissing, "why", {"reason": ""}),
        (posting.AlreadyExpired, "expired", {"expires_at": market_clock.now()}),
    ]
    request = {"reason": "Good work", **ask(place, actor, students)}
    for refusal, words, changed in cases:
        with pytest.raises(refusal, match=words):
            bulk.confirm(**{**request, "key": uuid.uuid4(), **changed})
    place.closed_at = market_clock.now()
    place.save()
    with pytest.raises(staff.WorkshopClosed):
        give(place, actor, students)
    assert AuditRow.objects.filter(action="credits.grant.refused").count() == len(cases) + 1
    assert [available(who, place) for who in students] == [0, 0, 0]


def test_nobody_grants_to_themself_without_the_right_to_issue() -> None:
    place, actor, students = class_with_pool()
    with pytest.raises(staff.OwnAccount):
        give(place, actor, [*students, actor])


def test_a_class_is_chosen_whole_by_team_by_hand_or_by_mail() -> None:
    place = people.workshop()
    red, blue = people.student(place, team="Red"), people.student(place, team="Blue")
    people.instructor(place)
    assert bulk.class_of(place) == [red, blue] or bulk.class_of(place) == [blue, red]
    assert bulk.class_of(place, team="Red") == [red]
    assert bulk.class_of(place, user_ids=[blue.pk]) == [blue]
    assert bulk.class_of(place, emails=[red.email.upper()]) == [red]
    with pytest.raises(staff.NotEnrolled, match=r"nobody@example\.org"):
        bulk.class_of(place, emails=["nobody@example.org"])


def test_credits_given_with_an_expiry_burn_by_it() -> None:
    place, actor, students = class_with_pool()
    give(place, actor, students, expires_at=market_clock.now() + timedelta(hours=1))
    clock.advance(hours=2)
    assert available(students[0], place) == 0
    assert audit.findings() == []
