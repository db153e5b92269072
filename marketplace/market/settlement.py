"""How attempts and jobs end, and what they pay: exactly one capture or release a job.

A report is applied in one transaction under the job's row lock. Doubled, late and shuffled reports change
nothing: a report counts only from the agent that holds the job's newest attempt, under its token, with a
sequence above the last applied one, while the job has not ended. One exception is meant: an attempt given up
for lost is taken back while no other agent has the job.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, Greatest

from accounts.clock import MarketNow
from accounts.ledger import balances, posting
from accounts.ledger.posting import key_for
from gpu_agent.protocol.messages import (
    LEASE_SECONDS,
    ArtifactRef,
    AttemptBeat,
    Fault,
    Report,
    ReportAnswer,
)
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from jobs import chores, lifecycle
from jobs.lifecycle import INFRASTRUCTURE_TRIES, LOST, Fence
from jobs.models import ON_AGENT, TERMINAL, Artifact, Attempt, FailureCause, Job, Status
from marketplace.fleet import registry as fleet
from marketplace.fleet.models import Agent
from marketplace.market import charges, failures, learning
from marketplace.market.announce import announce, wake
from marketplace.market.models import Lease

log = structlog.get_logger(__name__)
LEASE = timedelta(seconds=LEASE_SECONDS)
MOST_MS = 2**53  # what an agent tells of times is bounded before it is stored
_REFUSED_LATE = ReportAnswer(accepted=False, reason="The attempt is not yours any more.")
_KNOWN = ReportAnswer(accepted=True, reason="Known already.")
_APPLIED = ReportAnswer(accepted=True)


class ArtifactMissing(LookupError):
    """A finish names an output that is not stored. Nothing was applied: store it and report again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The output {name} was not stored.")


@dataclass(frozen=True, slots=True)
class JobFinding:
    """Something wrong between jobs and the ledger."""

    check: str
    job_id: str
    message: str


def report(agent: Agent, words: Report) -> ReportAnswer:
    """Apply one report of an attempt; tells whether the agent may go on. Raises `ArtifactMissing`."""
    if words.timeline != fleet.timeline():
        return ReportAnswer(accepted=False, reason="The site was restored since.")
    with transaction.atomic():
        job = lock_job_of(words.attempt)
        if job is None:
            return _REFUSED_LATE
        attempt = Attempt.objects.select_for_update(no_key=True).get(pk=words.attempt)
        if attempt.agent_id != agent.pk or attempt.token != words.token:
            return _REFUSED_LATE
        if words.sequence <= attempt.report_seq:
            return _KNOWN
        fence = Fence(attempt.pk, attempt.token)
        if attempt.outcome and not rejoin(agent, job, fence):
            return _REFUSED_LATE
        _keep_report(attempt, words)
        if words.phase is Phase.FINISHED:
            _finish(agent, job, attempt, words)
        else:
            announce(lifecycle.reach(job.pk, fence, words.phase, _bounded(words.charged_ms)))
            _extend_lease(attempt.pk)
    return _APPLIED


def lock_job_of(attempt_id: int) -> Job | None:
    """The attempt's job, locked for this transaction; None when there is no such attempt."""
    return Job.objects.select_for_update(no_key=True, of=("self",)).filter(attempts=attempt_id).first()


def rejoin(agent: Agent, job: Job, fence: Fence) -> bool:
    """Take back an attempt that was given up for lost, while its job still waits and no newer attempt was
    made. The caller holds the job's lock. False: superseded."""
    attempt = Attempt.objects.filter(pk=fence.attempt_id, token=fence.token, agent_id=agent.pk).first()
    if attempt is None or attempt.outcome != LOST or job.status != Status.QUEUED:
        return False
    counted = attempt.acknowledged_at is not None
    step = lifecycle.rejoin(job.pk, fence, agent_name=agent.name, counted=counted)
    if step is None:
        return False
    Lease.objects.filter(attempt_id=attempt.pk).update(ended_at=None, expires_at=MarketNow() + LEASE)
    announce(step)
    job.refresh_from_db()
    log.info("market.attempt_rejoined", job=str(job.pk), attempt=attempt.pk, agent=agent.pk)
    return True


def hear(beat: AttemptBeat) -> None:
    """Keep what a heartbeat says of a living attempt. Being listed acknowledges it."""
    Attempt.objects.filter(pk=beat.attempt, token=beat.token, outcome="").update(
        acknowledged_at=Coalesce("acknowledged_at", MarketNow()),
        seen_at=MarketNow(),
        remaining_ms=None if beat.remaining_ms is None else _bounded(beat.remaining_ms),
        executing_ms=Greatest(F("executing_ms"), Value(_bounded(beat.executing_ms))),
        loading_ms=Greatest(F("loading_ms"), Value(_bounded(beat.loading_ms))),
        charged_ms=Greatest(F("charged_ms"), Value(_bounded(beat.charged_ms))),
    )


def lose(attempt_id: int) -> bool:
    """Take an attempt back whose lease ran out, and requeue its job. False when it was renewed meanwhile."""
    with transaction.atomic():
        job = lock_job_of(attempt_id)
        expired = Lease.objects.select_for_update(no_key=True).filter(
            attempt_id=attempt_id, ended_at=None, expires_at__lt=MarketNow()
        )
        lease = expired.select_related("attempt").first()
        if job is None or lease is None:
            return False
        attempt = lease.attempt
        fence = Fence(attempt.pk, attempt.token)
        lifecycle.end_attempt(fence, LOST, message="The lease ran out.")
        _end_lease(attempt.pk)
        log.warning("market.lease_expired", job=str(job.pk), attempt=attempt.pk, agent=attempt.agent_id)
        if job.cancel_requested_at is not None:
            _cancel(job, fence, captured_milli=0, charged_ms=0)
        else:
            started = attempt.acknowledged_at is not None
            reason = (
                f"{attempt.agent_name} stopped answering. The job is back in line."
                if started
                else f"{attempt.agent_name} did not take the job. It is back in line."
            )
            _try_again(job, fence, reason, counted=started)
    return True


def cancel_waiting(job: Job, *, by: str, reason: str = "") -> bool:
    """End a locked job that waits, or that its agent has not taken yet; its hold is released."""
    with transaction.atomic():
        step = lifecycle.cancel(job.pk, captured_milli=0, by=by, reason=reason)
        if step is None:
            return False
        _release(job)
        announce(step)
        wake("cancelled")
    return True


def cancel_untaken(job: Job, attempt: Attempt, *, by: str, reason: str = "") -> bool:
    """The same for an assigned job: the token is withdrawn, so a late delivery of it runs nothing."""
    with transaction.atomic():
        ended = lifecycle.end_attempt(Fence(attempt.pk, attempt.token), Outcome.CANCELLED)
        return ended and cancel_waiting(job, by=by, reason=reason) and _end_lease(attempt.pk)


def sweep_holds(older_than: timedelta = timedelta(minutes=5)) -> int:
    """Release open holds whose job ended or is absent; returns how many. Each is a fault, so it is logged."""
    swept = 0
    for hold in balances.open_holds(older_than=older_than):
        kind, _, subject = hold.subject.partition(":")
        if kind != "job":
            continue
        with transaction.atomic():
            job = Job.objects.select_for_update(no_key=True, of=("self",)).filter(pk=subject).first()
            if job is not None and job.status not in TERMINAL and job.hold_key == hold.key:
                continue
            if balances.hold_state(hold.key) != "open":
                continue
            posting.release(hold_key=hold.key, key=key_for(hold.key, "sweep"), reason="no live job")
        log.error("market.hold_swept", hold=str(hold.key), subject=hold.subject)
        swept += 1
    return swept


def job_findings() -> list[JobFinding]:
    """The market's half of the audit: jobs against their holds. Empty = proven."""
    open_keys = {hold.key: hold.subject for hold in balances.open_holds()}
    living = Job.objects.exclude(status__in=TERMINAL)
    findings = [
        JobFinding("live_job_without_hold", str(job_id), f"job {number} is alive, its hold is not open")
        for job_id, number, hold_key in living.filter(unpaid=False).values_list("pk", "number", "hold_key")
        if hold_key not in open_keys
    ]
    known = dict(Job.objects.filter(hold_key__in=open_keys).values_list("hold_key", "status"))
    for key, subject in open_keys.items():
        if subject.startswith("job:") and known.get(key) in (None, *TERMINAL):
            told = f"hold {key} is open for no live job"
            findings.append(JobFinding("hold_without_live_job", subject.removeprefix("job:"), told))
    return findings + _job_row_findings()


def _job_row_findings() -> list[JobFinding]:
    unsettled = Q(status__in=TERMINAL, captured_milli=None)
    beyond = Q(captured_milli__gt=F("held_milli")) | Q(bought_milli__gt=F("held_milli"))
    unheld = Q(unpaid=True) & (Q(hold_key__isnull=False) | Q(held_milli__gt=0))
    findings = [
        JobFinding("settlement", str(job_id), f"job {number} has no settlement within its hold")
        for job_id, number in Job.objects.filter(unsettled | beyond | unheld).values_list("pk", "number")
    ]
    idle = Job.objects.filter(status__in=ON_AGENT).exclude(attempts__outcome="")
    findings += [
        JobFinding("job_without_attempt", str(job_id), f"job {number} is on no agent")
        for job_id, number in idle.values_list("pk", "number")
    ]
    return findings


# --- a finish ------------------------------------------------------------------------------------


def _keep_report(attempt: Attempt, words: Report) -> None:
    begun = words.phase in lifecycle.STEP_OF_PHASE or words.executing_ms > 0
    started_at = MarketNow() - timedelta(milliseconds=_bounded(words.executing_ms)) if begun else None
    values: dict[str, object] = {
        "phase": str(words.phase),
        "report_seq": words.sequence,
        "acknowledged_at": Coalesce("acknowledged_at", MarketNow()),
        "executing_ms": _bounded(words.executing_ms),
        "loading_ms": _bounded(words.loading_ms),
        "charged_ms": _bounded(words.charged_ms),
        "seen_at": MarketNow(),  # what is used since is counted from here, not from the start
    }
    if started_at is not None:
        values["execution_started_at"] = Coalesce("execution_started_at", started_at)
    if words.vram_peak_bytes is not None:
        values["vram_peak_bytes"] = _bounded(words.vram_peak_bytes)
    Attempt.objects.filter(pk=attempt.pk).update(**values)


def _finish(agent: Agent, job: Job, attempt: Attempt, words: Report) -> None:
    fence = Fence(attempt.pk, attempt.token)
    fault = words.fault
    lifecycle.end_attempt(
        fence,
        words.outcome or Outcome.FAILED,
        cause=str(fault.cause) if fault else "",
        message=fault.message if fault else "",
    )
    _end_lease(attempt.pk)
    charged_ms = _bounded(words.charged_ms)
    if words.outcome is Outcome.SUCCEEDED:
        _succeed(agent, job, attempt, words.artifacts, charged_ms)
    elif words.outcome is Outcome.CANCELLED:
        _stopped(job, fence, charged_ms)
    elif words.outcome is Outcome.HANDED_BACK:
        _handed_back(agent, job, fence, fault)
    else:
        _failed(job, fence, fault, charged_ms)
    learning.want(attempt.pk, words)
    wake("ended")


def _succeed(agent: Agent, job: Job, attempt: Attempt, refs: Iterable[ArtifactRef], charged_ms: int) -> None:
    fence = Fence(attempt.pk, attempt.token)
    stored = {(row.sha256, row.name): row for row in Artifact.objects.filter(attempt=attempt)}
    named = list(dict.fromkeys((ref.sha256, ref.name) for ref in refs))
    missing = [name for digest, name in named if (digest, name) not in stored]
    if missing:
        raise ArtifactMissing(missing[0])
    captured_milli = charges.captured(job, charged_ms)
    step = lifecycle.succeed(
        job.pk, fence, captured_milli=captured_milli, charged_ms=charged_ms, simulated=agent.simulated
    )
    if step is None:
        raise RuntimeError(f"job {job.pk} was locked on its agent and did not succeed")
    for ordinal, key in enumerate(named):
        row = stored[key]
        Artifact.objects.filter(pk=row.pk).update(visible_at=MarketNow(), ordinal=ordinal)
        chores.want("thumbnail", str(row.pk))
    _capture(job, captured_milli)
    announce(step)


def _stopped(job: Job, fence: Fence, charged_ms: int) -> None:
    """The agent stopped it because we asked: for a cancel, or to make room."""
    if job.cancel_requested_at is None:
        asked = Lease.objects.filter(attempt_id=fence.attempt_id, command="preempt")
        reason = asked.values_list("command_reason", flat=True).first()
        announce(lifecycle.requeue(job.pk, fence, reason=reason or "Stopped to make room."))
        return
    most = job.cancel_capture_milli
    captured_milli = 0 if most is None else min(most, charges.captured(job, charged_ms))
    _cancel(job, fence, captured_milli=captured_milli, charged_ms=charged_ms)


def _handed_back(agent: Agent, job: Job, fence: Fence, fault: Fault | None) -> None:
    if job.cancel_requested_at is not None:
        _cancel(job, fence, captured_milli=0, charged_ms=0)
        return
    bounced = None
    if fault is not None and fault.needed_bytes is not None:
        device = getattr(Agent.objects.select_related("device").get(pk=agent.pk), "device", None)
        bounced = (agent.pk, device.vram_free_bytes if device else 0)
    reason = fault.message if fault else f"{agent.name} handed the job back."
    announce(lifecycle.requeue(job.pk, fence, reason=reason, bounced=bounced))


def _failed(job: Job, fence: Fence, fault: Fault | None, charged_ms: int) -> None:
    cause = fault.cause if fault else Cause.INFRASTRUCTURE
    message = fault.message if fault else "The agent gave no reason."
    if job.cancel_requested_at is not None:
        _cancel(job, fence, captured_milli=0, charged_ms=charged_ms)
    elif cause is Cause.INFRASTRUCTURE:
        _try_again(job, fence, message, counted=True)
    else:
        node = fault.node if fault else ""
        _fail(job, fence, FailureCause(cause.value), message, node=node, charged_ms=charged_ms)


def _try_again(job: Job, fence: Fence, reason: str, *, counted: bool) -> None:
    if counted and job.infrastructure_tries + 1 >= INFRASTRUCTURE_TRIES:
        message = f"Gave up after {INFRASTRUCTURE_TRIES} tries. Last: {reason}"
        _fail(job, fence, FailureCause.INFRASTRUCTURE, message)
        return
    announce(lifecycle.requeue(job.pk, fence, reason=reason, counted=counted))
    wake("requeued")


def _fail(
    job: Job, fence: Fence, cause: FailureCause, message: str, *, node: str = "", charged_ms: int = 0
) -> None:
    captured_milli = failures.captured(job, cause, charged_ms)
    step = lifecycle.fail(
        job.pk,
        fence,
        cause=cause,
        message=message,
        node=node,
        charged_ms=charged_ms,
        captured_milli=captured_milli,
    )
    if step is None:
        return
    _capture(job, captured_milli)
    if captured_milli:
        failures.show_outputs(job)  # what was paid is theirs
    announce(step)


def _cancel(job: Job, fence: Fence, *, captured_milli: int, charged_ms: int) -> None:
    step = lifecycle.cancel(job.pk, fence=fence, captured_milli=captured_milli, charged_ms=charged_ms)
    if step is not None:
        _capture(job, captured_milli)
        announce(step)


# --- money ---------------------------------------------------------------------------------------


def _capture(job: Job, amount_milli: int) -> None:
    if amount_milli == 0:
        _release(job)
        return
    posting.capture(
        hold_key=_hold_of(job),
        amount_milli=amount_milli,
        key=key_for(job.pk, "capture"),
        reason=f"job {job.number}",
    )


def _release(job: Job) -> None:
    if job.unpaid:
        return  # nothing was set aside
    posting.release(hold_key=_hold_of(job), key=key_for(job.pk, "release"), reason=f"job {job.number}")


def _hold_of(job: Job) -> uuid.UUID:
    if job.hold_key is None:
        raise RuntimeError(f"job {job.pk} has no hold")
    return job.hold_key


def _end_lease(attempt_id: int) -> bool:
    return Lease.objects.filter(attempt_id=attempt_id, ended_at=None).update(ended_at=MarketNow()) == 1


def _extend_lease(attempt_id: int) -> None:
    Lease.objects.filter(attempt_id=attempt_id, ended_at=None).update(expires_at=MarketNow() + LEASE)


def _bounded(value: int) -> int:
    return max(0, min(value, MOST_MS))
