"""The instructor's levers. Each is for staff of the workshop, writes an audit row with its reason in the same
transaction, and is announced to who looks on. Turning the class's clock is `closing`."""

from typing import Any

import structlog
from django.db import transaction
from django.db.models import Min
from django.utils.translation import gettext as _

from accounts import access, audit
from accounts.models import AuditRow, User, Workshop
from accounts.sessions import NotStaff
from jobs import lifecycle
from jobs.models import TERMINAL, Job, Status, Template
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.live import publish
from marketplace.market import orders
from marketplace.market.announce import announce, wake
from marketplace.market.policies.base import CLASS_PAID

__all__ = [
    "LeverRefused",
    "NotStaff",
    "demo_now",
    "drain_agent",
    "freeze_bids",
    "move_to_agent",
    "move_to_front",
    "pause_agent",
    "pause_template",
    "pause_workshop",
    "stop_job",
    "unpin_lost",
]

log = structlog.get_logger(__name__)


class LeverRefused(ValueError):
    """The lever does nothing here; the message is for staff."""


# --- pausing and draining ------------------------------------------------------------------------


def pause_workshop(actor: User, workshop: Workshop, reason: str) -> None:
    """Nothing new starts in the workshop while `reason` stands, which students read; "" lets it go on. What
    runs, or lies on an agent already, goes on. NotStaff."""
    require_staff(actor, workshop)
    told = _tidy(reason)
    with transaction.atomic():
        row = Workshop.objects.select_for_update(no_key=True).get(pk=workshop.pk)
        before = row.paused_reason
        row.paused_reason = told
        row.save(update_fields=["paused_reason"])
        action = "lever.pause" if told else "lever.resume"
        _record(action, f"workshop:{row.pk}", actor, row, told, before=before)
        publish.class_notice(row.pk)
        wake("resumed")
    workshop.paused_reason = told


def pause_agent(actor: User, workshop: Workshop, agent: Agent, reason: str) -> None:
    """The agent gets nothing new while `reason` stands; "" lets it go on. NotStaff."""
    _require_agent(actor, workshop, agent)
    fleet.request_pause(agent, _tidy(reason), actor=actor, workshop_id=workshop.pk)
    log.info("lever.agent_pause", agent=agent.pk, workshop=workshop.pk, on=bool(reason))


def drain_agent(actor: User, workshop: Workshop, agent: Agent, wanted: bool, reason: str = "") -> None:
    """The agent hands back what it has not begun and takes nothing new, or goes on. As the others raise."""
    _require_agent(actor, workshop, agent)
    told = _needed(reason) if wanted else _tidy(reason)
    fleet.request_drain(agent, wanted, actor=actor, reason=told, workshop_id=workshop.pk)
    log.info("lever.agent_drain", agent=agent.pk, workshop=workshop.pk, on=wanted)


def pause_template(actor: User, template: Template, reason: str) -> None:
    """The template's jobs wait while `reason` stands, which students read; "" lets them go on. NotStaff."""
    workshop = template.workshop
    require_staff(actor, workshop)
    told = _tidy(reason)
    with transaction.atomic():
        row = Template.objects.select_for_update(no_key=True).get(pk=template.pk)
        before = row.paused_reason
        row.paused_reason = told
        row.save(update_fields=["paused_reason"])
        action = "lever.template_pause" if told else "lever.template_resume"
        _record(action, f"template:{row.pk}", actor, workshop, told, before=before)
        wake("resumed")
    template.paused_reason = told


def freeze_bids(actor: User, workshop: Workshop, frozen: bool, reason: str = "") -> None:
    """Nobody changes a bid while they are frozen; those made stand. NotStaff, LeverRefused."""
    require_staff(actor, workshop)
    told = _needed(reason) if frozen else _tidy(reason)
    with transaction.atomic():
        Workshop.objects.filter(pk=workshop.pk).update(bids_frozen=frozen)
        action = "lever.freeze_bids" if frozen else "lever.thaw_bids"
        _record(action, f"workshop:{workshop.pk}", actor, workshop, told)
    workshop.bids_frozen = frozen


# --- one job -------------------------------------------------------------------------------------


def move_to_front(actor: User, job: Job, reason: str) -> Job:
    """The waiting job is next of the students'; its owner reads why. NotStaff, LeverRefused."""
    require_staff(actor, job.workshop)
    told = _needed(reason)
    with transaction.atomic():
        row = _lock_waiting(job)
        queue_class = min(row.queue_class, CLASS_PAID)
        line = Job.objects.filter(workshop=row.workshop, status=Status.QUEUED, queue_class=queue_class)
        first = line.exclude(pk=row.pk).aggregate(first=Min("queue_key_ms"))["first"]
        key_ms = row.queue_key_ms if first is None else min(first - 1, row.queue_key_ms)
        words = _("Moved to the front by %(name)s: %(reason)s") % {"name": actor.name, "reason": told}
        step = lifecycle.move(
            row.pk, by=actor.name, reason=words, place=(queue_class, key_ms), agent_id=row.pinned_agent_id
        )
        _record("lever.move", f"job:{row.pk}", actor, row.workshop, told, after={"to": "front"})
        announce(step)
        wake("moved")
    row.refresh_from_db()
    return row


def move_to_agent(actor: User, job: Job, agent: Agent, reason: str) -> Job:
    """The waiting job goes to this agent and to no other; its owner reads why. NotStaff, LeverRefused."""
    require_staff(actor, job.workshop)
    told = _needed(reason)
    if not fleet.serving(job.workshop).filter(pk=agent.pk).exists():
        raise LeverRefused(_("%(agent)s doesn’t serve this workshop.") % {"agent": agent.name})
    device = getattr(agent, "device", None)
    if device is None or device.vram_total_bytes < job.vram_bytes:
        raise LeverRefused(_("The job doesn’t fit in the memory of %(agent)s.") % {"agent": agent.name})
    with transaction.atomic():
        row = _lock_waiting(job)
        words = _("Moved to %(agent)s by %(name)s: %(reason)s")
        words %= {"agent": agent.name, "name": actor.name, "reason": told}
        step = lifecycle.move(row.pk, by=actor.name, reason=words, agent_id=agent.pk)
        after = {"to": agent.pk, "agent": agent.name}
        _record("lever.move", f"job:{row.pk}", actor, row.workshop, told, after=after)
        announce(step)
        wake("moved")
    row.refresh_from_db()
    return row


def demo_now(actor: User, quote_id: Any, *, key: str | None = None, reason: str = "") -> Job:
    """Order one's own quote as a demo: ahead of all students, paid by the workshop's purse. The same key
    gives the same job again. NotStaff and what `orders.place` raises; InsufficientCredits is the purse's."""
    with transaction.atomic():
        job = orders.place(actor, quote_id, key=key, demo=True)
        subject = f"job:{job.pk}"
        if not AuditRow.objects.filter(action="lever.demo", subject=subject).exists():
            after = {"held_milli": job.held_milli, "title": job.title}
            _record("lever.demo", subject, actor, job.workshop, _tidy(reason), after=after)
    return job


def stop_job(actor: User, job: Job, reason: str) -> orders.CancelResult:
    """Stop a student's job: nothing is paid, its owner reads why. NotStaff, LeverRefused."""
    require_staff(actor, job.workshop)
    told = _needed(reason)
    with transaction.atomic():
        row = Job.objects.select_for_update(no_key=True, of=("self",)).get(pk=job.pk)
        if row.status in TERMINAL:
            raise LeverRefused(_("The job has ended already."))
        words = _("Stopped by %(name)s: %(reason)s") % {"name": actor.name, "reason": told}
        result = orders.stop(row, by="staff", reason=words)
        before = {"status": row.status, "held_milli": row.held_milli}
        _record("lever.stop", f"job:{row.pk}", actor, job.workshop, told, before=before)
    return result


def unpin_lost() -> int:
    """Let any agent take jobs whose own agent was lost or revoked; how many. A duty of the market loop."""
    away = Agent.objects.filter(state__in=(Agent.State.LOST, Agent.State.REVOKED)).values("pk")
    freed = 0
    waiting = Job.objects.filter(status__in=(Status.QUEUED, Status.HELD_BACK), pinned_agent_id__in=away)
    for job_id in waiting.values_list("pk", flat=True):
        with transaction.atomic():
            words = _("The GPU it was moved to is away; any other that fits may take it.")
            step = lifecycle.move(job_id, by="clock", reason=words)
            announce(step)
            wake("moved")
        freed += step is not None
    return freed


# --- rights and audit ----------------------------------------------------------------------------


def require_staff(actor: User, workshop: Workshop) -> None:
    """Raises NotStaff."""
    if not access.is_staff_of(actor, workshop.pk):
        raise NotStaff(_("You don’t look after %(workshop)s.") % {"workshop": workshop.name})


def may_hold(actor: User, workshop: Workshop, agent: Agent) -> bool:
    """Whether this workshop's staff may pause and drain the agent: one of its own, or one that serves all
    while no other workshop is open that would miss it."""
    if actor.is_superuser or agent.workshop_id == workshop.pk:
        return True
    if agent.workshop_id is not None:
        return False
    return not Workshop.objects.filter(closed_at=None).exclude(pk=workshop.pk).exists()


def _require_agent(actor: User, workshop: Workshop, agent: Agent) -> None:
    require_staff(actor, workshop)
    if not may_hold(actor, workshop, agent):
        raise NotStaff(_("%(agent)s serves other workshops too.") % {"agent": agent.name})


def _lock_waiting(job: Job) -> Job:
    """The job, locked and in the line."""
    row = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("workshop").get(pk=job.pk)
    if row.status == Status.HELD_BACK:
        announce(lifecycle.admit(row.pk))
    elif row.status != Status.QUEUED:
        raise LeverRefused(_("The job isn’t waiting any more."))
    return row


def _needed(reason: str) -> str:
    told = _tidy(reason)
    if not told:
        raise LeverRefused(_("Say why: students read it."))
    return told


def _tidy(reason: str) -> str:
    return " ".join(reason.split())[:200]


def _record(
    action: str,
    subject: str,
    actor: User,
    workshop: Workshop,
    reason: str,
    *,
    before: Any = None,
    after: Any = None,
) -> None:
    audit.record(
        action, subject, actor=actor, workshop_id=workshop.pk, before=before, after=after, reason=reason
    )
    publish.workshop_changed(workshop.pk)
    log.info(action, subject=subject, actor=actor.pk, workshop=workshop.pk)
