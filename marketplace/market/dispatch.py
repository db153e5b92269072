"""Leases: a waiting job is assigned to an agent, delivered, renewed by heartbeats, and taken back in time.

Locks are taken in one order everywhere: job, attempt, lease, ledger account. Nothing here speaks to the
network while a row is locked: deliveries are sent after the commit, and again until acknowledged.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction

from accounts import clock
from accounts.clock import MarketNow
from gpu_agent.protocol.messages import (
    LEASE_SECONDS,
    PROTOCOL_VERSION,
    AttemptBeat,
    Command,
    CommandKind,
    Heartbeat,
    HeartbeatAnswer,
    InputFile,
    JobSpec,
    NodeWork,
)
from gpu_agent.protocol.phases import Phase
from jobs import lifecycle
from jobs.job_types import registry as job_types
from jobs.lifecycle import Choice, Fence, Moved
from jobs.models import Attempt, Job, Status
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import delivery, picks, places, settlement
from marketplace.market.announce import announce, wake
from marketplace.market.delivery import Parcel
from marketplace.market.models import Lease
from marketplace.market.picks import Standing
from marketplace.pricing import quote as pricing

LEASE = timedelta(seconds=LEASE_SECONDS)
REDELIVERY = timedelta(seconds=5)
LEAST_STOP_MS = 10_000  # a quote of a second may be wrong by more than its triple
LEAST_TIMEOUT_MS = 300_000
TIMEOUT_AT_P90 = 4.0


class Superseded(LookupError):
    """The attempt is not this agent's any more: its lease ended or another token replaced it."""


class NotLeading(RuntimeError):
    """Another market loop leads; this one assigns nothing."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A job that was given to an agent."""

    job_id: uuid.UUID
    parcel: Parcel


def dispatch(epoch: int | None = None) -> int:
    """Give every agent with room what it may take, then deliver; returns how many jobs were assigned.

    `epoch`: the caller's term as leader, checked inside every transaction. Raises `NotLeading`.
    """
    count = 0
    admit_within_caps()
    for agent_id in picks.agents_with_room():
        assigned = assign(agent_id, epoch)
        if assigned is None:
            continue
        count += 1  # it takes no other before it has this one
        if not delivery.send(assigned.parcel):
            break  # Redis is away: what is assigned is delivered later, the rest can wait here
    return count


def assign(agent_id: str, epoch: int | None = None) -> Assigned | None:
    """Pick the best job the agent has room for, begin its attempt and lease.

    Looking locks nothing. Assigning is one statement, so one transaction: it checks again that the caller
    leads, that nobody else gives this agent a job and that it holds what was seen, and takes the first of the
    choices that still waits. None when the agent has no room, nothing that it can run waits, or others were
    quicker. The caller delivers after commit. Raises `NotLeading`.
    """
    seen = picks.look(agent_id, epoch)
    if not seen.leads:
        raise NotLeading("another market loop leads")
    if seen.place is None or not seen.place.has_room:
        return None
    choices = picks.choices(agent_id, epoch, seen)
    place = seen.place
    begun = _begin(choices, place, seen.token, epoch) if choices else _begin_held_back(place, epoch)
    if begun is None:
        return None
    moved, attempt_id, token = begun
    announce(moved)
    return Assigned(moved.job_id, Parcel(agent_id, moved.job_id, attempt_id, token, 1, seen.timeline))


def deliver(attempt_id: int) -> bool:
    """Send the attempt's latest counted delivery; False when it ended, was taken, or Redis is away."""
    parcel = next(iter(_parcels([attempt_id])), None)
    return parcel is not None and delivery.send(parcel)


def redeliver() -> int:
    """Deliver again what no agent acknowledged in time; returns how many were sent."""
    with transaction.atomic():
        due = list(
            Attempt.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
            .filter(outcome="", acknowledged_at=None, delivered_at__lt=MarketNow() - REDELIVERY)
            .filter(lease__ended_at=None)
            .values_list("pk", flat=True)
        )
        lifecycle.count_redeliveries(due)
    sent = 0
    for parcel in _parcels(due):
        if not delivery.send(parcel):
            break  # Redis is away; waiting for it once a round is enough
        sent += 1
    return sent


def admit_within_caps() -> int:
    """Let held-back jobs into the line whose owners have room under their cap; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_ADMISSIBLE)
        ids = [job_id for (job_id,) in cursor.fetchall()]
    admitted = 0
    for job_id in ids:
        with transaction.atomic():
            admitted += _admit(job_id)
    return admitted


def renew(agent: Agent, heartbeat: Heartbeat) -> HeartbeatAnswer:
    """Extend the leases a heartbeat lists and keep what it says of their attempts.

    No transaction spans it: each statement locks one row, so it can't deadlock with a report.
    """
    superseded = []
    for beat in heartbeat.attempts:
        if not _extend(agent, beat) and not _rejoin(agent, beat):
            superseded.append(beat.attempt)
            continue
        _keep_beat(beat)
    on_gpu = [beat for beat in heartbeat.attempts if beat.phase is not Phase.STORING]
    if len(on_gpu) < 2 and heartbeat.comfyui_ready:
        wake("agent")
    return HeartbeatAnswer(
        timeline=fleet.timeline(),
        commands=_commands(agent, heartbeat),
        superseded=tuple(superseded),
        inventory_wanted=fleet.inventory_wanted(agent),
    )


def reap() -> int:
    """Take back attempts whose lease ran out; returns how many. The caller waits one lease length after its
    own start or a gap in the database, in which no heartbeat could be written."""
    expired = Lease.objects.filter(ended_at=None, expires_at__lt=MarketNow())
    taken_back = 0
    for attempt_id in list(expired.values_list("attempt_id", flat=True)):
        taken_back += settlement.lose(attempt_id)
    return taken_back


def spec(agent: Agent, attempt_id: int, token: int) -> JobSpec:
    """All the agent needs to run the attempt. Raises `Superseded`."""
    lease = (
        Lease.objects.select_related("attempt__job")
        .filter(attempt_id=attempt_id, token=token, agent=agent, ended_at=None, attempt__outcome="")
        .first()
    )
    if lease is None:
        raise Superseded(f"attempt {attempt_id} is not this agent's any more")
    attempt, job = lease.attempt, lease.attempt.job
    prefix = f"{job.pk.hex}-{attempt.number}"
    return JobSpec(
        protocol=PROTOCOL_VERSION,
        timeline=fleet.timeline(),
        attempt=attempt.pk,
        token=token,
        job=str(job.pk),
        prompt_id=str(attempt.prompt_id),
        job_type=job.job_type,
        payload=job_types.get(job.job_type).bind(job.payload, output_prefix=prefix),
        inputs=tuple(InputFile(one["sha256"], one["name"], one["size_bytes"]) for one in job.inputs),
        nodes={node: NodeWork.from_dict(work) for node, work in job.nodes.items()},
        vram_bytes=job.vram_bytes,
        expected_ms=round(job.gpu_seconds * 1000),
        stop_after_ms=max(LEAST_STOP_MS, pricing.stop_after_ms(job)),
        timeout_ms=_timeout_ms(job, agent),
        output_prefix=prefix,
    )


# --- assigning -----------------------------------------------------------------------------------

# Those with credits first, so that none of them waits behind one of the owner's that runs without.
_ADMISSIBLE = """
SELECT h.id FROM (
  SELECT j.id, j.student_id, j.workshop_id, j.unpaid, w.max_in_flight, w.max_credits_in_flight_milli AS most,
         row_number() OVER line AS turn, sum(j.held_milli) OVER line AS held_milli,
         count(*) FILTER (WHERE j.unpaid) OVER line AS unpaid_turn
  FROM jobs_job j JOIN accounts_workshop w ON w.id = j.workshop_id WHERE j.status = 'held_back'
  WINDOW line AS (PARTITION BY j.workshop_id, j.student_id ORDER BY j.unpaid, j.queue_key_ms, j.id)) h
CROSS JOIN LATERAL (
  SELECT count(*) AS jobs, count(*) FILTER (WHERE u.unpaid) AS unpaid,
         coalesce(sum(u.held_milli), 0) AS held_milli
  FROM jobs_job u WHERE u.student_id = h.student_id AND u.workshop_id = h.workshop_id
  AND u.status = ANY(ARRAY['queued', 'assigned', 'loading', 'running', 'storing'])) f
WHERE h.turn + f.jobs <= h.max_in_flight
  AND (NOT h.unpaid OR h.unpaid_turn + f.unpaid <= 1)
  AND (h.most IS NULL OR h.held_milli + f.held_milli <= h.most OR h.turn + f.jobs = 1)
"""

_LOCK_FIRST = """
SELECT id FROM jobs_job WHERE id = ANY(%s::uuid[]) AND status = %s
ORDER BY array_position(%s::uuid[], id) LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""


def _begin(
    choices: Sequence[Choice], place: Standing, token: int | None, epoch: int | None
) -> tuple[Moved, int, int] | None:
    """Begin an attempt of the first choice that nobody else is taking, with its lease: (step, attempt's id,
    token)."""
    token = _next_token() if token is None else token
    begun = lifecycle.assign(
        choices,
        agent_id=place.agent.pk,
        agent_name=place.agent.name,
        token=token,
        simulated=place.agent.simulated,
        function="market_assign",  # with the lease
        more=[LEASE, len(place.in_hand), epoch],
    )
    return None if begun is None else (begun.moved, begun.attempt_id, token)


def _begin_held_back(place: Standing, epoch: int | None) -> tuple[Moved, int, int] | None:
    """Rather than let the GPU stand idle, the held-back job of whoever used least enters the line."""
    with transaction.atomic():
        job_id = _lock_first([job.job_id for job in picks.held_back(place)], Status.HELD_BACK)
        if job_id is None:
            return None
        _admit(job_id)
        begun = _begin([Choice(job_id)], place, None, epoch)
        if begun is None:
            transaction.set_rollback(True)  # the agent got another meanwhile: the job stays held back
        return begun


def _admit(job_id: uuid.UUID) -> bool:
    """The job joins the line now, at the place its owner's use gives it now."""
    job = Job.objects.select_related("workshop", "student").get(pk=job_id)
    now = clock.now()
    step = lifecycle.admit(job_id, place=places.place(job, now), joined_at=now)
    announce(step)
    return step is not None


def _lock_first(ids: list[object], status: Status) -> uuid.UUID | None:
    if not ids:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_FIRST, [ids, str(status), ids])
        row = cursor.fetchone()
    return row[0] if row else None


def _next_token() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('market_lease_token')")
        (token,) = cursor.fetchone()
    return int(token)


def _parcels(attempt_ids: list[int]) -> list[Parcel]:
    if not attempt_ids:
        return []
    timeline = fleet.timeline()
    waiting = Attempt.objects.filter(
        pk__in=attempt_ids, outcome="", acknowledged_at=None, lease__ended_at=None
    )
    return [Parcel(row.agent_id, row.job_id, row.pk, row.token, row.deliveries, timeline) for row in waiting]


# --- heartbeats ----------------------------------------------------------------------------------


def _extend(agent: Agent, beat: AttemptBeat) -> bool:
    mine = Lease.objects.filter(attempt_id=beat.attempt, token=beat.token, agent=agent, ended_at=None)
    return mine.update(expires_at=MarketNow() + LEASE) == 1


def _rejoin(agent: Agent, beat: AttemptBeat) -> bool:
    with transaction.atomic():
        job = settlement.lock_job_of(beat.attempt)
        return job is not None and settlement.rejoin(agent, job, Fence(beat.attempt, beat.token))


def _keep_beat(beat: AttemptBeat) -> None:
    settlement.hear(beat)
    job_id = Attempt.objects.values_list("job_id", flat=True).get(pk=beat.attempt)
    announce(lifecycle.reach(job_id, Fence(beat.attempt, beat.token), beat.phase, max(0, beat.charged_ms)))


def _commands(agent: Agent, heartbeat: Heartbeat) -> tuple[Command, ...]:
    pending = Lease.objects.filter(agent=agent, ended_at=None).exclude(command="")
    commands = [
        Command(CommandKind(lease.command), lease.attempt_id, lease.token, lease.command_reason)
        for lease in pending
    ]
    row = Agent.objects.only("drain_requested", "pause_reason").get(pk=agent.pk)
    if row.drain_requested:
        commands.append(Command(CommandKind.DRAIN, reason=row.pause_reason))
    elif heartbeat.draining:
        commands.append(Command(CommandKind.RESUME))
    return tuple(commands)


def _timeout_ms(job: Job, agent: Agent) -> int:
    longest_seconds = (
        max(job.seconds_p90, job.gpu_seconds) * TIMEOUT_AT_P90 + job.loading_seconds * TIMEOUT_AT_P90
    )
    return max(LEAST_TIMEOUT_MS, round(1000 * longest_seconds / min(agent.speed_factor, 1.0)))
