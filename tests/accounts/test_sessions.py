"""The workshop's clock: what follows what, by hand and by its times, and what that gives."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import clock as market_clock
from accounts import sessions
from accounts.aliases import aliases_of
from accounts.ledger import allowance, audit, balances
from accounts.models import AuditRow, ClassSession, Enrolment
from accounts.sessions import State
from tests.factories import clock, people

pytestmark = pytest.mark.django_db


def available(account: int) -> int:
    allowance.settle(account)
    return balances.balance(account).available_milli


def test_by_its_times_a_session_opens_calls_last_and_closes() -> None:
    place = people.workshop()
    people.session(place, market_clock.now() + timedelta(hours=1), hours=3)
    seen = []
    for minutes in (0, 59, 1, 149, 1, 29, 1):
        clock.advance(minutes=minutes)
        found = sessions.current(place.pk)
        assert found is not None
        seen.append(found.state)
    assert seen == ["rehearsal", "rehearsal", "open", "open", "last_call", "last_call", "closing"]


def test_staff_take_the_clock_on_by_hand_with_a_reason_that_is_kept() -> None:
    place = people.workshop()
    teacher = people.instructor(place)
    session = people.session(place)
    for to in ("open", "break", "open", "last_call", "open", "closing", "closed"):
        sessions.move(session.pk, to, actor=teacher, reason=f"now {to}")
    rows = AuditRow.objects.filter(workshop=place, action__startswith="session.").order_by("pk")
    assert [row.reason for row in rows][1] == "now break"
    assert {row.actor for row in rows} == {teacher}
    assert rows[1].before == {"state": "open"}


@pytest.mark.parametrize(("here", "to"), [("rehearsal", "break"), ("closed", "open"), ("closing", "open")])
def test_a_step_that_does_not_follow_is_refused(here: str, to: str) -> None:
    place = people.workshop()
    session = people.session(place)
    ClassSession.objects.filter(pk=session.pk).update(state=here)
    with pytest.raises(sessions.ClockRefused):
        sessions.move(session.pk, to, actor=people.instructor(place))
    session.refresh_from_db()
    assert session.state == here


def test_only_the_workshops_own_staff_turn_its_clock() -> None:
    place = people.workshop()
    session = people.session(place)
    for stranger in (people.student(place), people.instructor(people.workshop())):
        with pytest.raises(sessions.NotStaff):
            sessions.move(session.pk, "open", actor=stranger)
        with pytest.raises(sessions.NotStaff):
            sessions.set_end(session.pk, market_clock.now() + timedelta(days=1), actor=stranger)
    assert not AuditRow.objects.filter(workshop=place, action__startswith="session.").exists()


def test_a_page_out_of_date_moves_nothing() -> None:
    place = people.workshop()
    teacher, session = people.instructor(place), people.session(place)
    sessions.move(session.pk, "open", actor=teacher)
    with pytest.raises(sessions.ClockRefused, match="moved on meanwhile"):
        sessions.move(session.pk, "closing", actor=teacher, seen="last_call")
    assert ClassSession.objects.get().state == State.OPEN


def test_opening_early_starts_the_hours_and_closing_early_ends_them() -> None:
    place = people.workshop()
    account = people.member(place)
    session = people.session(place, market_clock.now() + timedelta(hours=1), hours=4)
    assert available(account) == 0
    teacher = people.instructor(place)
    sessions.move(session.pk, "open", actor=teacher)
    assert available(account) == 10_000
    clock.advance(minutes=90)
    assert available(account) == 20_000
    sessions.move(session.pk, "closing", actor=teacher)
    clock.advance(hours=3)
    assert available(account) == 20_000
    assert audit.findings() == []


def test_a_later_end_takes_last_call_back_and_gives_more_hours() -> None:
    place = people.workshop()
    teacher, account = people.instructor(place), people.member(place)
    session = people.session(place, hours=1)
    sessions.move(session.pk, "open", actor=teacher)
    sessions.move(session.pk, "last_call", actor=teacher)
    sessions.set_end(session.pk, session.opens_at + timedelta(hours=2), actor=teacher)
    assert ClassSession.objects.get().state == State.OPEN
    clock.advance(minutes=61)
    assert available(account) == 20_000
    with pytest.raises(sessions.ClockRefused):
        sessions.set_end(session.pk, market_clock.now() - timedelta(minutes=1), actor=teacher)


@given(
    state=st.sampled_from(State),
    opens=st.integers(-200, 200),
    minutes=st.integers(1, 500),
    later=st.integers(0, 500),
)
def test_time_never_takes_a_session_back(state: State, opens: int, minutes: int, later: int) -> None:
    order = [State.REHEARSAL, State.OPEN, State.BREAK, State.LAST_CALL, State.CLOSING, State.CLOSED]
    now = market_clock.now()
    begins = now + timedelta(minutes=opens)
    session = ClassSession(opens_at=begins, closes_at=begins + timedelta(minutes=minutes), state=state)
    first = sessions.due_state(session, now)
    second = sessions.due_state(session, now + timedelta(minutes=later))
    assert order.index(state) <= order.index(first) <= order.index(second)


def test_everyone_gets_an_alias_of_their_own_and_keeps_it() -> None:
    place = people.workshop()
    chosen = people.student(place, alias="Heron")
    others = [people.student(place) for _ in range(60)]
    first = aliases_of(place.pk)
    assert first[chosen.pk] == "Heron"
    assert len(set(first.values())) == 61
    assert not {who.username for who in others} & set(first.values())
    people.student(place)
    assert {who: name for who, name in aliases_of(place.pk).items() if who in first} == first
    assert not Enrolment.objects.filter(workshop=place, alias="").exists()
