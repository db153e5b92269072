"""Turning the workshop's clock, by hand and by its times, and winding up what a class leaves behind.

At closing what waits is ended as staff would, its hold released and its form kept (`class_clock.drafts`);
what runs has the session's grace, then it is ended as well, and the session is closed.
"""

from contextlib import suppress
from datetime import datetime

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import clock, sessions
from accounts.models import ClassSession, User, Workshop
from accounts.sessions import OPEN_STATES, State
from jobs.models import ON_AGENT, WAITING, Job, Status
from marketplace.live import publish
from marketplace.market import class_clock, orders

log = structlog.get_logger(__name__)
BEGUN = (Status.LOADING, Status.RUNNING, Status.STORING)


def turn(actor: User, session_id: int, to: str, *, reason: str = "", seen: str | None = None) -> ClassSession:
    """Staff move the clock on by hand. Raises sessions.ClockRefused, sessions.NotStaff."""
    with transaction.atomic():
        session = sessions.move(session_id, to, actor=actor, reason=reason, seen=seen)
        _moved(session)
    if session.state == State.CLOSING:
        wind_up(session)
    return session


def set_end(actor: User, session_id: int, closes_at: datetime, *, reason: str = "") -> ClassSession:
    """Staff let the class end at another time. Raises sessions.ClockRefused, sessions.NotStaff."""
    with transaction.atomic():
        session = sessions.set_end(session_id, closes_at, actor=actor, reason=reason)
        _tell(session)
    return session


def tick() -> int:
    """Take every clock on to where its times say, and go on winding up what closes; how many moved."""
    now = clock.now()
    moved = 0
    for session in ClassSession.objects.exclude(state=State.CLOSED).select_related("workshop"):
        due = sessions.due_state(session, now)
        if due != session.state:
            try:
                with transaction.atomic():
                    session = sessions.move(session.pk, due, actor=None, seen=session.state)
                    _moved(session)
            except sessions.ClockRefused:
                continue  # somebody moved it by hand just now; the next tick looks again
            moved += 1
        if session.state == State.CLOSING:
            wind_up(session)
    return moved


def wind_up(session: ClassSession) -> int:
    """End what a closing session may not keep; closed when nothing of it runs. How many jobs were ended.

    While another session of the workshop is open the jobs are that one's.
    """
    workshop = session.workshop
    heir = sessions.current(workshop.pk)
    taken_over = heir is not None and heir.pk != session.pk and heir.state in OPEN_STATES
    ended = 0
    grace_over = clock.now() >= sessions.grace_ends_at(session)
    if not taken_over:
        waiting = [*WAITING, Status.ASSIGNED, *(BEGUN if grace_over else ())]
        reason = _("The class closed before it ended.") if grace_over else _("The class closed.")
        for job in Job.objects.filter(workshop=workshop, status__in=waiting, cancel_requested_at=None):
            orders.stop(job, by=class_clock.BY_CLOCK, reason=reason)
            ended += 1
    if taken_over or grace_over or not _lives(workshop):
        with suppress(sessions.ClockRefused), transaction.atomic():  # closed by hand meanwhile
            _moved(sessions.move(session.pk, State.CLOSED, actor=None, seen=State.CLOSING))
    return ended


def _lives(workshop: Workshop) -> bool:
    return Job.objects.filter(workshop=workshop, status__in=[*WAITING, *ON_AGENT]).exists()


def _moved(session: ClassSession) -> None:
    log.info("class.clock", session=session.pk, workshop=session.workshop_id, state=str(session.state))
    if session.state == State.OPEN and session.base_milli_per_gpu_second is None:
        class_clock.fix_base_price(session)
    _tell(session)


def _tell(session: ClassSession) -> None:
    publish.workshop_changed(session.workshop_id)
    publish.class_notice(session.workshop_id)
