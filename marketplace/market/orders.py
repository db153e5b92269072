"""Quotes and orders: the doors through which a student's wish becomes a price, a hold and a job."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import IntegrityError, connection, transaction

from accounts import access, clock
from accounts.ledger import posting
from accounts.ledger.posting import InsufficientCredits, KeyConflict, key_for
from accounts.models import User
from gpu_agent.protocol.messages import Command, CommandKind
from jobs import lifecycle
from jobs.job_types.base import Refusal
from jobs.models import TERMINAL, WAITING, Attempt, Job, Status
from marketplace.live import publish
from marketplace.market import charges, class_clock, matching, settlement
from marketplace.market.announce import announce, wake
from marketplace.market.models import Lease, Order, Quote
from marketplace.market.policies import registry as policies
from marketplace.market.policies.base import JobFacts, StudentFacts
from marketplace.market.quoting import NoAgentYet, NotAllowed, WorkshopClosed, must_be_open, quote

__all__ = [
    "BadBid",
    "CancelResult",
    "InsufficientCredits",
    "KeyConflict",
    "NoAgentYet",
    "NotAllowed",
    "QuoteExpired",
    "QuoteSpent",
    "QuoteUnknown",
    "Refusal",
    "WaitingLimit",
    "WorkshopClosed",
    "cancel",
    "cancel_preview",
    "place",
    "quote",
]

log = structlog.get_logger(__name__)
BIDS = (1,)  # the market policy's ladder joins with it
LONGEST_KEY = 200


class QuoteUnknown(LookupError):
    """There is no such quote of this student's."""


class QuoteExpired(Exception):
    """The quote's time is over; `quote` is the row, for asking again."""

    def __init__(self, expired: Quote) -> None:
        super().__init__("This price is no longer valid. Ask for a new one.")
        self.quote = expired


class QuoteSpent(KeyConflict):
    """The quote was ordered with another key; `job` came of it."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"This price was already used for job {job.number}.")
        self.job = job


class WaitingLimit(Exception):
    """The student has as many waiting jobs as the workshop allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} of your jobs may wait. Let some finish, or cancel some.")
        self.limit = limit


class BadBid(ValueError):
    """The bid is not on the ladder."""


@dataclass(frozen=True, slots=True)
class CancelResult:
    """What a cancel did. `pending`: the agent was asked to stop; then the amounts are the most that is
    captured and the least that comes back."""

    status: Status
    captured_milli: int
    returned_milli: int
    pending: bool


def place(
    student: User, quote_id: uuid.UUID | str, *, key: str | None = None, bid: int = 1, demo: bool = False
) -> Job:
    """Order a quote: ledger hold and job in one transaction. The same key gives the same job again.

    `key`: the client's Idempotency-Key, its own within the student's namespace; the quote's id by default.
    `demo`: of staff, ahead of all, without caps and paid by the workshop's purse (see `levers.demo_now`).
    Raises InsufficientCredits, QuoteUnknown, QuoteExpired, QuoteSpent, KeyConflict, WaitingLimit, NotAllowed,
    WorkshopClosed, BadBid.
    """
    if bid not in BIDS:
        raise BadBid(f"A bid is one of {', '.join(map(str, BIDS))}.")
    order_key = key_for(student.key_namespace, "order", (key or str(quote_id))[:LONGEST_KEY])
    try:
        with transaction.atomic():
            return _place(student, quote_id, order_key, bid, demo)
    except IntegrityError:
        # A twin with this key and another quote committed between our look and our insert.
        found = Order.objects.filter(pk=order_key).select_related("job").first()
        if found is None:
            raise
        return _same_request(found, quote_id)


def cancel(job: Job, by: User) -> CancelResult:
    """Stop a job on its owner's or staff's request. Raises `NotAllowed`.

    Free while it waits or loads, and for staff always; its owner pays what a running job has used, at most
    what `cancel_preview` says now. A job on an agent ends when the agent reports so.
    """
    own = job.student_id == by.pk
    if not own and not access.is_staff_of(by, job.workshop_id):
        raise NotAllowed("Only its owner and staff may cancel a job.")
    return _cancel(job, own=True, by="owner") if own else stop(job, by="staff")


def stop(job: Job, *, by: str, reason: str = "") -> CancelResult:
    """Stop a job for staff or the class's clock (`by`), whose right the caller has checked: nothing is paid.
    `reason` is told to its owner."""
    return _cancel(job, own=False, by=by, reason=reason)


def cancel_preview(job: Job) -> tuple[int, int]:
    """(captured, returned) in milli-credits if its owner cancelled the job now."""
    if job.status in TERMINAL:
        result = _ended(job)
        return result.captured_milli, result.returned_milli
    attempt = Attempt.objects.filter(job=job, outcome="").first()
    used_milli = _used_milli(job, attempt) if attempt is not None else 0
    return used_milli, job.held_milli - used_milli


# --- ordering ------------------------------------------------------------------------------------


def _place(student: User, quote_id: uuid.UUID | str, order_key: uuid.UUID, bid: int, demo: bool) -> Job:
    row = _lock_quote(student, quote_id)
    # Twins of one quote queue up at its lock, so the second finds the first's order here.
    found = Order.objects.filter(pk=order_key).select_related("job").first()
    if found is not None:
        return _same_request(found, row.pk)
    spent = Order.objects.filter(quote=row).select_related("job").first()
    if spent is not None:
        raise QuoteSpent(spent.job)
    must_be_open(student, row.workshop)
    class_clock.must_admit(row.workshop, row, bid)
    now = clock.now()
    if row.expires_at <= now:
        raise QuoteExpired(row)
    if demo and not access.is_staff_of(student, row.workshop_id):
        raise NotAllowed("Only staff run demos.")
    job = _new_job(row, now, bid, demo)
    payer = posting.purse_account(row.workshop) if demo else posting.member_account(student, row.workshop)
    held = posting.hold(
        account_id=payer,
        amount_milli=job.held_milli,
        key=key_for(student.key_namespace, "hold", str(order_key)),
        subject=f"job:{job.pk}",
    )
    job.hold_key = held.key
    # The hold's row lock is kept to the commit, so one student's orders are counted one after another.
    step = lifecycle.create(job, held_back=not demo and _above_cap(row))
    Order.objects.create(key=order_key, student=student, quote=row, job=job)
    announce(step)
    wake("placed")
    log.info("market.placed", job=str(job.pk), student=student.pk, held_milli=job.held_milli)
    job.refresh_from_db()
    return job


def _lock_quote(student: User, quote_id: uuid.UUID | str) -> Quote:
    try:
        wanted = quote_id if isinstance(quote_id, uuid.UUID) else uuid.UUID(quote_id)
    except ValueError:
        raise QuoteUnknown("There is no such quote.") from None
    mine = Quote.objects.select_for_update(no_key=True, of=("self",)).select_related("workshop")
    row = mine.filter(pk=wanted, student=student).first()
    if row is None:
        raise QuoteUnknown("There is no such quote.")
    return row


def _same_request(found: Order, quote_id: uuid.UUID | str) -> Job:
    if str(found.quote_id) != str(quote_id):
        raise KeyConflict("This key was used for another order.")
    return found.job


def _above_cap(row: Quote) -> bool:
    """Whether the job must be held back. Raises `WaitingLimit`."""
    mine = Job.objects.filter(student=row.student_id, workshop=row.workshop).exclude(status__in=TERMINAL)
    statuses = list(mine.values_list("status", flat=True))
    if sum(status in WAITING for status in statuses) >= row.workshop.max_waiting:
        raise WaitingLimit(row.workshop.max_waiting)
    return sum(status != Status.HELD_BACK for status in statuses) >= row.workshop.max_in_flight


def _new_job(row: Quote, now: datetime, bid: int, demo: bool) -> Job:
    joined_ms = round(now.timestamp() * 1000)
    facts = JobFacts(joined_ms=joined_ms, gpu_seconds=row.gpu_seconds, bid=bid, demo=demo)
    policy = policies.named(row.workshop.policy)
    queue_class, queue_key_ms = policy.key(facts, StudentFacts(), facts.joined_ms)
    return Job(
        workshop=row.workshop,
        student=row.student,
        title=row.title,
        job_type=row.job_type,
        payload=row.payload,
        inputs=row.inputs,
        nodes=row.nodes,
        summary=row.summary,
        template=row.template,
        form_values=row.form_values,
        bid=bid,
        demo=demo,
        queue_class=queue_class,
        queue_key_ms=queue_key_ms,
        vram_class=matching.vram_class(row.vram_bytes),
        vram_bytes=row.vram_bytes,
        model_key=row.model_key,
        gpu_seconds=row.gpu_seconds,
        loading_seconds=row.loading_seconds,
        seconds_p90=row.seconds_p90,
        milli_per_gpu_second=row.milli_per_gpu_second,
        quote_milli=row.quote_milli,
        ceiling_milli=row.ceiling_milli,
        held_milli=row.ceiling_milli * bid,
        joined_at=now,
    )


# --- cancelling ----------------------------------------------------------------------------------


def _cancel(job: Job, *, own: bool, by: str, reason: str = "") -> CancelResult:
    with transaction.atomic():
        row = Job.objects.select_for_update(no_key=True, of=("self",)).get(pk=job.pk)
        if row.status in TERMINAL:
            return _ended(row)
        attempt = Attempt.objects.filter(job=row, outcome="").first()
        if row.status in WAITING or attempt is None:
            settlement.cancel_waiting(row, by=by, reason=reason)
        elif attempt.acknowledged_at is None:
            settlement.cancel_untaken(row, attempt, by=by, reason=reason)
        else:
            return _ask_agent_to_stop(row, attempt, own, by, reason)
        row.refresh_from_db()
        return _ended(row)


def _ask_agent_to_stop(job: Job, attempt: Attempt, own: bool, by: str, reason: str) -> CancelResult:
    used_milli = _used_milli(job, attempt) if own else 0
    step = lifecycle.request_cancel(job.pk, capture_milli=used_milli if own else None, by=by, reason=reason)
    if step is not None:
        told = reason[:200] or ("Its owner cancelled it." if own else "Staff cancelled it.")
        Lease.objects.filter(attempt=attempt, ended_at=None).update(
            command=str(CommandKind.CANCEL), command_reason=told
        )
        publish.agent_command(attempt.agent_id, Command(CommandKind.CANCEL, attempt.pk, attempt.token, told))
        announce(step)
    elif job.cancel_capture_milli is not None:
        used_milli = job.cancel_capture_milli  # asked before: what was shown then stands
    return CancelResult(Status(job.status), used_milli, job.held_milli - used_milli, pending=True)


def _used_milli(job: Job, attempt: Attempt) -> int:
    if job.status not in (Status.RUNNING, Status.STORING):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1000 * extract("
            "epoch FROM market_now() - coalesce(t.seen_at, t.execution_started_at, market_now()))::float,"
            " a.speed_factor FROM jobs_attempt t JOIN fleet_agent a ON a.id = t.agent_id WHERE t.id = %s",
            [attempt.pk],
        )
        since_ms, speed_factor = cursor.fetchone()
    still_running = job.status == Status.RUNNING
    return charges.used_so_far(job, attempt, since_ms if still_running else 0.0, speed_factor)


def _ended(job: Job) -> CancelResult:
    captured_milli = job.captured_milli or 0
    return CancelResult(Status(job.status), captured_milli, job.held_milli - captured_milli, pending=False)
