"""What the workshop's clock does to the market: who is admitted, what closing ends, what the base price is.

The states and their doors are `accounts.sessions`, the steps of the clock `closing`. Without any session a
workshop takes jobs at any hour. With sessions, students' jobs are taken while one is open and only as long as
they are likely to start before it closes; staff may rehearse before and between. A break is like open: the
line keeps running, pausing is an act of its own (`levers`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import access, audit, clock, sessions
from accounts.models import AuditRow, ClassSession, Enrolment, User, Workshop
from accounts.sessions import OPEN_STATES, State
from jobs.models import Job, JobEvent, Status
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.live import publish
from marketplace.market import eta
from marketplace.market.models import Quote
from marketplace.market.quoting import WorkshopClosed
from marketplace.pricing.rates import NoCapacity, base_rate

BY_CLOCK = "closing"
FLEET_CHANGE = 0.25  # the share by which the fleet's speed must change for a new base price
DRAFTS_SHOWN = 5
DRAFT_DAYS = timedelta(days=14)


class NotAdmitted(WorkshopClosed):
    """The class's clock admits no such job now; the message says what would work."""


@dataclass(frozen=True, slots=True)
class BasePrice:
    """A base price in milli-credits a reference second, and the fleet's speed it was made for."""

    milli_per_gpu_second: int
    fleet_speed: float


# --- admission -----------------------------------------------------------------------------------


def must_admit(
    workshop: Workshop, quote: Quote, bid: int = 1, *, unpaid: bool = False, demo: bool = False
) -> None:
    """Raises NotAdmitted unless the clock lets the quote's owner order it now with this bid. A demo stands
    before the line, so no wait of it is foreseen."""
    session = sessions.current(workshop.pk)
    refused = _refusal(session, quote.student)
    if refused:
        raise NotAdmitted(refused)
    if session is None or session.state not in OPEN_STATES or demo:
        return
    left_seconds = (session.closes_at - clock.now()).total_seconds()
    start_seconds = eta.p50_start_seconds(quote, bid, unpaid=unpaid)
    if start_seconds is not None and start_seconds > left_seconds:
        told = _("It would likely start after the class closes at %(time)s. A shorter line may admit it.")
        raise NotAdmitted(told % {"time": clock_time(session.closes_at, workshop)})


def refusal(workshop: Workshop, student: User) -> str:
    """Why the clock takes no job of this person now, in a sentence; "" when it does."""
    return _refusal(sessions.current(workshop.pk), student)


def banner(session: ClassSession | None) -> str:
    """What the clock has to say to everyone in the class, in a sentence; "" while it is just open."""
    if session is None or session.state == State.OPEN:
        return ""
    closes = clock_time(session.closes_at, session.workshop)
    told: dict[str, str] = {
        State.REHEARSAL: _("The class opens at %(opens)s. Until then prices can be looked at."),
        State.BREAK: _("Break: the line keeps running."),
        State.LAST_CALL: _("Last call: jobs are taken while they can start by %(closes)s."),
        State.CLOSING: _("The class is closing: running jobs may finish, nothing new is taken."),
        State.CLOSED: _("The class is over. Your workflows stay here for the next one."),
    }
    opens = clock_time(session.opens_at, session.workshop)
    return told[session.state] % {"opens": opens, "closes": closes}


def _refusal(session: ClassSession | None, student: User) -> str:
    if session is None or session.state in OPEN_STATES:
        return ""
    if session.state != State.CLOSING and access.is_staff_of(student, session.workshop_id):
        return ""  # rehearsing, or preparing the next class
    return banner(session)


def clock_time(at: datetime, workshop: Workshop) -> str:
    """A time of day on the workshop's clock, with the day where it isn't today."""
    local = timezone.localtime(at, sessions.zone_of(workshop))
    today = timezone.localtime(clock.now(), sessions.zone_of(workshop)).date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%d.%m. %H:%M}"


# --- drafts --------------------------------------------------------------------------------------


def drafts(student: User, workshop: Workshop) -> list[Job]:
    """The student's jobs that a closing ended, newest first: their forms are kept, to be sent again. Those
    sent again since are left out."""
    closed = JobEvent.objects.filter(
        job__student=student,
        job__workshop=workshop,
        kind__in=("cancelled", "cancel_requested"),
        data__by=BY_CLOCK,
        at__gt=clock.now() - DRAFT_DAYS,
    )
    jobs = Job.objects.filter(pk__in=closed.values("job_id"), status=Status.CANCELLED)
    found = list(jobs.order_by("-finished_at", "-number")[: 4 * DRAFTS_SHOWN])
    since = min((job.created_at for job in found), default=None)
    if since is None:
        return []
    later = Job.objects.filter(student=student, workshop=workshop, created_at__gt=since)
    sent = {
        (graph, title): made for graph, title, made in later.order_by("created_at").values_list(
            "graph_sha256", "title", "created_at"
        )
    }  # fmt: skip
    kept = [job for job in found if sent.get((job.graph_sha256, job.title), job.created_at) <= job.created_at]
    return kept[:DRAFTS_SHOWN]


def is_draft(job: Job) -> bool:
    """Whether a closing ended the job."""
    return (
        job.status == Status.CANCELLED
        and JobEvent.objects.filter(
            job=job, kind__in=("cancelled", "cancel_requested"), data__by=BY_CLOCK
        ).exists()
    )


# --- base price ----------------------------------------------------------------------------------


def base_rate_for(session: ClassSession) -> BasePrice | None:
    """The session's base price by class size, allowance and the fleet's speed as they are now; None without
    students, allowance or GPUs."""
    workshop = session.workshop
    students = Enrolment.objects.filter(workshop=workshop, role=Enrolment.Role.STUDENT).count()
    speeds = fleet_speeds(workshop)
    try:
        rate = base_rate(1, students, workshop.allowance_milli_per_hour, speeds)
    except NoCapacity:
        return None
    return BasePrice(int(rate.milli_per_gpu_second), sum(speeds))


def fleet_speeds(workshop: Workshop) -> list[float]:
    """Speeds against the reference GPU of the agents that serve the workshop now."""
    serving = fleet.serving(workshop).filter(state__in=(Agent.State.READY, Agent.State.DRAINING))
    return list(serving.values_list("speed_factor", flat=True))


def fix_base_price(session: ClassSession) -> BasePrice | None:
    """Write the session's base price, for quotes from now on; audited. None: the workshop's stays."""
    price = base_rate_for(session)
    if price is None:
        return None
    before = session.base_milli_per_gpu_second
    session.base_milli_per_gpu_second = price.milli_per_gpu_second
    session.save(update_fields=["base_milli_per_gpu_second"])
    audit.record(
        "session.base_price",
        f"session:{session.pk}",
        actor=None,
        workshop_id=session.workshop_id,
        before={"milli_per_gpu_second": before},
        after={"milli_per_gpu_second": price.milli_per_gpu_second, "fleet_speed": price.fleet_speed},
        reason="The class opened." if before is None else "The fleet changed by a quarter or more.",
    )
    return price


def follow_fleet() -> int:
    """Price anew what is quoted from now on in open sessions whose fleet has changed by a quarter since the
    price was fixed; how many. A price staff wrote by hand has no such row and stays."""
    changed = 0
    for session in ClassSession.objects.filter(state__in=OPEN_STATES).select_related("workshop"):
        fixed = AuditRow.objects.filter(
            workshop_id=session.workshop_id, action="session.base_price", subject=f"session:{session.pk}"
        ).first()
        speed = sum(fleet_speeds(session.workshop))
        if fixed is None or fixed.after is None or speed <= 0:
            continue
        if fixed.after["milli_per_gpu_second"] != session.base_milli_per_gpu_second:
            continue  # written by hand since
        known = float(fixed.after["fleet_speed"])
        if abs(speed - known) >= FLEET_CHANGE * known:
            with transaction.atomic():
                fix_base_price(session)
                publish.workshop_changed(session.workshop_id)
            changed += 1
    return changed
