"""Making room for an instructor's demo, and nothing else: bids never preempt.

A demo stands first in line (class 0), so it is next wherever a GPU frees. What this adds: a job that an agent
took ahead but has not begun is recalled, and when no fitting GPU would free within twenty seconds the one
student's job that loses least is stopped, never one past 80 %. The victim keeps its place, pays nothing and
is told who, why and what it means; it costs it no infrastructure try. A spot instance that is taken away
hands its jobs back and ends on the same way into the line (`settlement`).
"""

import structlog
from django.db import connection, transaction
from django.utils.translation import gettext as _

from accounts.clock import MarketNow
from gpu_agent.protocol.messages import Command, CommandKind
from gpu_agent.protocol.phases import Outcome
from jobs import lifecycle
from jobs.lifecycle import Fence
from jobs.models import Attempt, Job, JobEvent, Status
from marketplace.live import publish
from marketplace.market import matching, picks
from marketplace.market.announce import announce, wake
from marketplace.market.matching import Candidate
from marketplace.market.models import Lease, Order
from marketplace.market.policies import registry as policies
from marketplace.market.policies.base import JobFacts
from marketplace.market.victims import Held, choose

log = structlog.get_logger(__name__)
MOST_RECALLS = 4


def make_room() -> int:
    """See to every demo in line, first come first; how many attempts were asked to go. A duty of the loop."""
    asked = 0
    promised: set[str] = set()  # agents an earlier demo gets
    waiting = Job.objects.filter(demo=True, status=Status.QUEUED, workshop__paused_reason="")
    for demo in waiting.select_related("workshop", "student", "template").order_by("queue_key_ms", "pk"):
        facts = JobFacts(round(demo.joined_at.timestamp() * 1000), demo.gpu_seconds, demo=True)
        paused = demo.template is not None and demo.template.paused_reason
        if paused or not policies.named(demo.workshop.policy).preempts(facts):
            continue
        held = {agent: hands for agent, hands in _held(demo).items() if agent not in promised}
        stopped, recalled = _asked_before(demo)
        plan = choose(held, _waited_seconds(demo), may_stop=stopped == 0)
        if plan is None:
            continue
        promised.add(plan.agent_id)
        if plan.recall is not None and recalled < MOST_RECALLS:
            asked += _ask(demo, plan.recall, stopping=False)
        if plan.stop is not None:
            asked += _ask(demo, plan.stop, stopping=True)
    return asked


# --- reading -------------------------------------------------------------------------------------

_HELD = """
SELECT t.id, t.token, l.agent_id, t.agent_name, j.id, j.status, t.acknowledged_at IS NOT NULL,
       l.command <> '' OR j.cancel_requested_at IS NOT NULL, NOT j.demo AND j.workshop_id = %(workshop)s,
       e.seconds,
       greatest(0, coalesce(t.remaining_ms / 1000.0 - extract(epoch FROM market_now() - t.seen_at),
                            (j.gpu_seconds + j.loading_seconds) / a.speed_factor - e.seconds))::float,
       j.loading_seconds / a.speed_factor
FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
JOIN fleet_agent a ON a.id = l.agent_id
CROSS JOIN LATERAL (SELECT extract(
  epoch FROM market_now() - coalesce(t.execution_started_at, market_now()))::float AS seconds) e
WHERE l.agent_id = ANY(%(agents)s) AND l.ended_at IS NULL ORDER BY t.id
"""


def _held(demo: Job) -> dict[str, list[Held]]:
    """What each ready agent that fits the demo holds."""
    agents = [agent_id for agent_id in picks.ready_agents() if _fits(agent_id, demo)]
    held: dict[str, list[Held]] = {agent_id: [] for agent_id in agents}
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"workshop": demo.workshop_id, "agents": agents})
        for row in cursor.fetchall():
            hand = Held(*row)
            held[hand.agent_id].append(hand)
    return held


def _fits(agent_id: str, demo: Job) -> bool:
    place = picks.standing(agent_id)
    if place is None or demo.job_type not in place.job_types:
        return False
    elsewhere = place.agent.workshop_id not in (None, demo.workshop_id)
    if elsewhere or demo.pinned_agent_id not in ("", agent_id):
        return False
    if demo.vram_bytes > place.abilities.vram_total_bytes or agent_id in demo.refused_agents:
        return False
    return not matching.lacks(_candidate(demo), place.abilities)


def _candidate(demo: Job) -> Candidate:
    order = Order.objects.select_related("quote").filter(job=demo).first()
    return Candidate(
        job_id=demo.pk,
        student_id=demo.student_id,
        model_key=demo.model_key,
        queue_class=demo.queue_class,
        queue_key_ms=demo.queue_key_ms,
        model_files=order.quote.model_files if order else (),
        node_types=order.quote.node_types if order else (),
    )


def _waited_seconds(demo: Job) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM market_now() - %s)::float", [demo.joined_at])
        (seconds,) = cursor.fetchone()
    return float(seconds)


def _asked_before(demo: Job) -> tuple[int, int]:
    """How many were stopped for it and how many recalled. A recall that came too late stopped one too."""
    told = [event.data for event in JobEvent.objects.filter(job=demo, kind="made_room")]
    recalled = [data["attempt"] for data in told if not data["stopped"]]
    late = Attempt.objects.filter(pk__in=recalled, execution_started_at__isnull=False).count()
    return len(told) - len(recalled) + late, len(recalled)


# --- asking --------------------------------------------------------------------------------------


def _ask(demo: Job, hand: Held, *, stopping: bool) -> bool:
    """Ask the agent to give the attempt back, or withdraw it where no agent took it yet. False when either
    job has moved on since, or the demo has had its one victim."""
    words = _("A class demo of %(name)s needed %(agent)s. You keep your place and pay nothing for lost time.")
    reason = (words % {"name": demo.student.name[:60], "agent": hand.agent_name})[:200]
    with transaction.atomic():
        pair = Job.objects.select_for_update(no_key=True, of=("self",)).filter(pk__in=(demo.pk, hand.job_id))
        rows = {job.pk: job for job in pair.order_by("pk")}
        attempt = (
            Attempt.objects.select_for_update(no_key=True).filter(pk=hand.attempt_id, outcome="").first()
        )
        if attempt is None or rows[demo.pk].status != Status.QUEUED:
            return False
        victim = rows[hand.job_id]
        if victim.status != hand.status or victim.cancel_requested_at is not None:
            return False
        if stopping and _asked_before(demo)[0]:
            return False
        fence = Fence(attempt.pk, attempt.token)
        if attempt.acknowledged_at is None and not stopping:
            _withdraw(fence, victim, reason)
        else:
            _command(attempt, fence, victim, reason)
        announce(lifecycle.made_room(demo.pk, attempt_id=attempt.pk, stopped=stopping))
    log.info("market.made_room", demo=str(demo.pk), job=str(victim.pk), attempt=attempt.pk, stopped=stopping)
    return True


def _withdraw(fence: Fence, victim: Job, reason: str) -> None:
    """The token goes with the attempt, so a late delivery of it runs nothing."""
    lifecycle.end_attempt(fence, Outcome.CANCELLED, message=reason)
    Lease.objects.filter(attempt_id=fence.attempt_id, ended_at=None).update(ended_at=MarketNow())
    announce(lifecycle.requeue(victim.pk, fence, reason=reason))
    wake("recalled")


def _command(attempt: Attempt, fence: Fence, victim: Job, reason: str) -> None:
    kind = CommandKind.PREEMPT
    Lease.objects.filter(attempt=attempt, ended_at=None).update(command=str(kind), command_reason=reason)
    publish.agent_command(attempt.agent_id, Command(kind, attempt.pk, attempt.token, reason))
    announce(lifecycle.request_preempt(victim.pk, fence, reason=reason))
