"""The workshop's clock: the states of a class session, how they follow, and the doors that move them.

A session's times are what counts for the hourly allowance (`accounts.ledger.allowance`), so a manual step
moves them too: opening early brings `opens_at` forward, closing early brings `closes_at` forward. Hours that
had begun stay given, for their keys name the session and the hour's number. A break is part of the opening.
"""

import zoneinfo
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction

from accounts import access, audit, clock
from accounts.models import ClassSession, User, Workshop

State = ClassSession.State
OPEN_STATES = (State.OPEN, State.BREAK, State.LAST_CALL)
FOLLOWS: Mapping[str, tuple[State, ...]] = {
    State.REHEARSAL: (State.OPEN,),
    State.OPEN: (State.BREAK, State.LAST_CALL, State.CLOSING),
    State.BREAK: (State.OPEN, State.LAST_CALL, State.CLOSING),
    State.LAST_CALL: (State.OPEN, State.CLOSING),
    State.CLOSING: (State.CLOSED,),
    State.CLOSED: (),
}
LAST_CALL = timedelta(minutes=30)
LAST_CALL_SHARE = 4  # of a short session the last quarter
SHORTEST = timedelta(seconds=1)


class ClockRefused(ValueError):
    """The clock doesn't go there from where it stands; the message is for staff."""


class NotStaff(PermissionError):
    """The person doesn't look after this workshop."""


def last_call_at(session: ClassSession) -> datetime:
    """When last call begins by the clock: half an hour before the end, or the last quarter."""
    return session.closes_at - min(LAST_CALL, (session.closes_at - session.opens_at) / LAST_CALL_SHARE)


def grace_ends_at(session: ClassSession) -> datetime:
    """Until when running jobs may go on in a session that is closing."""
    return session.state_since + timedelta(seconds=session.grace_seconds)


def due_state(session: ClassSession, now: datetime) -> State:
    """Where the session stands at `now` by its own times, at least where it was moved by hand. Closing ends
    when its jobs did, so CLOSED is never due here."""
    state = State(session.state)
    if state in (State.CLOSING, State.CLOSED):
        return state
    if now >= session.closes_at:
        return State.CLOSING
    if state is State.REHEARSAL and now >= session.opens_at:
        state = State.OPEN
    if state in (State.OPEN, State.BREAK) and now >= last_call_at(session):
        state = State.LAST_CALL
    return state


def current(workshop_id: int, now: datetime | None = None) -> ClassSession | None:
    """The session that counts now: one that is open, else closing, else the next to come, else the last one;
    None when the workshop has none. Its `state` is the one due, whether the loop wrote it yet or not."""
    mine = ClassSession.objects.filter(workshop_id=workshop_id).select_related("workshop")
    sessions = list(mine.annotate(asked_at=clock.MarketNow()).order_by("opens_at"))
    for session in sessions:
        session.state = due_state(session, now or session.asked_at)
    for states in (OPEN_STATES, (State.CLOSING,), (State.REHEARSAL,)):
        found = next((session for session in sessions if session.state in states), None)
        if found is not None:
            return found
    return sessions[-1] if sessions else None


def zone_of(workshop: Workshop) -> zoneinfo.ZoneInfo:
    """The time zone of the workshop's clock; UTC where its name is none."""
    try:
        return zoneinfo.ZoneInfo(workshop.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return zoneinfo.ZoneInfo("UTC")


def move(
    session_id: int, to: str, *, actor: User | None, reason: str = "", seen: str | None = None
) -> ClassSession:
    """Take the clock one step on, by hand; audited. ClockRefused, NotStaff.

    `actor` None is the clock itself, which may leave states out when it was not looked at for long. `seen`:
    the state it is to be left, so that a page that is out of date moves nothing.
    """
    with transaction.atomic():
        session = _lock(session_id, actor)
        before = session.state
        target = State(to)
        if seen is not None and before != seen:
            label = session.get_state_display()
            raise ClockRefused(f"The clock has moved on meanwhile: it stands at {label}.")
        now = clock.now()
        if actor is not None:
            _check(session, target, now)
        session.state = target
        session.state_since = now
        changed = ["state", "state_since"]
        if target is State.OPEN and session.opens_at > now:
            session.opens_at = now
            changed.append("opens_at")
        if target is State.CLOSING and session.closes_at > now:
            session.closes_at = max(now, session.opens_at + SHORTEST)
            changed.append("closes_at")
        session.save(update_fields=changed)
        _record(f"session.{target}", session, actor, before, reason)
    return session


def plan(
    workshop: Workshop, opens_at: datetime, closes_at: datetime, *, actor: User, title: str = ""
) -> ClassSession:
    """A new opening of the workshop; audited. ClockRefused, NotStaff."""
    if not access.is_staff_of(actor, workshop.pk):
        raise NotStaff(f"{actor.name} doesn't look after {workshop}.")
    with transaction.atomic():
        Workshop.objects.select_for_update(no_key=True).get(pk=workshop.pk)
        if closes_at <= max(opens_at, clock.now()):
            raise ClockRefused("The class has to end after it opens, and not in the past.")
        others = ClassSession.objects.filter(workshop=workshop).exclude(state=State.CLOSED)
        if others.filter(opens_at__lt=closes_at, closes_at__gt=opens_at).exists():
            raise ClockRefused("Another session of the class is planned for that time.")
        session = ClassSession.objects.create(
            workshop=workshop, title=title[:120], opens_at=opens_at, closes_at=closes_at
        )
        _record("session.planned", session, actor, "", "")
    return session


def set_end(session_id: int, closes_at: datetime, *, actor: User, reason: str = "") -> ClassSession:
    """Let the class end at another time; last call is taken back where it is not due any more. Audited.
    ClockRefused, NotStaff."""
    with transaction.atomic():
        session = _lock(session_id, actor)
        before = session.state
        now = clock.now()
        if before in (State.CLOSING, State.CLOSED):
            raise ClockRefused("The class is over; make a new session for another opening.")
        if closes_at <= max(now, session.opens_at):
            raise ClockRefused("The class has to end after it opened, and not in the past.")
        session.closes_at = closes_at
        if before == State.LAST_CALL and now < last_call_at(session):
            session.state, session.state_since = State.OPEN, now
        session.save(update_fields=["closes_at", "state", "state_since"])
        _record("session.end_moved", session, actor, before, reason)
    return session


def _lock(session_id: int, actor: User | None) -> ClassSession:
    session = (
        ClassSession.objects.select_for_update(no_key=True, of=("self",))
        .select_related("workshop")
        .get(pk=session_id)
    )
    if actor is not None and not access.is_staff_of(actor, session.workshop_id):
        raise NotStaff(f"{actor.name} doesn't look after {session.workshop}.")
    return session


def _check(session: ClassSession, target: State, now: datetime) -> None:
    here = State(session.state)
    if target not in FOLLOWS[here]:
        raise ClockRefused(f"{target.label} doesn't follow {here.label}.")
    if target is State.OPEN and now >= last_call_at(session):
        raise ClockRefused("It is last call by the clock. Move the end of the class first.")


def _record(action: str, session: ClassSession, actor: User | None, before: str, reason: str) -> None:
    after = {
        "state": str(session.state),
        "opens_at": session.opens_at.isoformat(),
        "closes_at": session.closes_at.isoformat(),
    }
    audit.record(
        action,
        f"session:{session.pk}",
        actor=actor,
        workshop_id=session.workshop_id,
        before={"state": str(before)},
        after=after,
        reason=reason[:500],
    )
