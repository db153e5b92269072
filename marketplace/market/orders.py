"""Quotes and orders: the doors through which a student's wish becomes a price, a hold and a job."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import IntegrityError, connection, transaction

from accounts import access, clock
from accounts.ledger import balances, posting
from accounts.ledger.posting import InsufficientCredits, KeyConflict, key_for
from accounts.models import User
from gpu_agent.protocol.messages import Command, CommandKind
from jobs import lifecycle
from jobs.job_types.base import Refusal
from jobs.models import TERMINAL, WAITING, Attempt, Job, JobEvent, Status
from marketplace.live import publish
from marketplace.market import bidding, charges, class_clock, matching, places, settlement
from marketplace.market.announce import announce, wake
from marketplace.market.bidding import BadBid, BidsFrozen, BidsNotUsed, BidTooLate, rebid
from marketplace.market.failures import NothingToBuy, buy_failed, buy_price, failure_terms, graph_digest
from marketplace.market.models import Bid, Lease, Order, Quote
from marketplace.market.quoting import NoAgentYet, NotAllowed, WorkshopClosed, must_be_open, quote

__all__ = [
    "BadBid",
    "BidTooLate",
    "BidsFrozen",
    "BidsNotUsed",
    "CancelResult",
    "HasCredits",
    "InsufficientCredits",
    "KeyConflict",
    "NoAgentYet",
    "NotAllowed",
    "NothingToBuy",
    "QuoteExpired",
    "QuoteSpent",
    "QuoteUnknown",
    "Refusal",
    "WaitingLimit",
    "WorkshopClosed",
    "buy_failed",
    "buy_price",
    "cancel",
    "cancel_preview",
    "failure_terms",
    "place",
    "quote",
    "rebid",
]

log = structlog.get_logger(__name__)
LONGEST_KEY = 200
UNPAID_IN_FLIGHT = 1  # of one student


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


class HasCredits(Exception):
    """The student has credits for this job: the lane for those who are out of them is not for it."""

    def __init__(self) -> None:
        super().__init__("You have enough credits for this job.")


@dataclass(frozen=True, slots=True)
class CancelResult:
    """What a cancel did. `pending`: the agent was asked to stop; then the amounts are the most that is
    captured and the least that comes back."""

    status: Status
    captured_milli: int
    returned_milli: int
    pending: bool


def place(
    student: User,
    quote_id: uuid.UUID | str,
    *,
    key: str | None = None,
    bid: int = 1,
    demo: bool = False,
    unpaid: bool = False,
) -> Job:
    """Order a quote: ledger hold and job in one transaction. The same key gives the same job again.

    `key`: the client's Idempotency-Key, its own within the student's namespace; the quote's id by default.
    `demo`: of staff, ahead of all, without caps and paid by the workshop's purse (see `levers.demo_now`).
    `unpaid`: without credits, later and one at a time; nothing is set aside and nothing paid.
    Raises InsufficientCredits, QuoteUnknown, QuoteExpired, QuoteSpent, KeyConflict, WaitingLimit, NotAllowed,
    WorkshopClosed, BadBid, HasCredits.
    """
    order_key = key_for(student.key_namespace, "order", (key or str(quote_id))[:LONGEST_KEY])
    wish = _Wish(bid, demo, unpaid)
    try:
        with transaction.atomic():
            return _place(student, quote_id, order_key, wish)
    except IntegrityError:
        # A twin with this key and another quote committed between our look and our insert.
        found = Order.objects.filter(pk=order_key).select_related("job").first()
        if found is None:
            raise
        return _same_request(found, quote_id, wish)


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


@dataclass(frozen=True, slots=True)
class _Wish:
    """How a quote is ordered."""

    bid: int
    demo: bool
    unpaid: bool


def _place(student: User, quote_id: uuid.UUID | str, order_key: uuid.UUID, wish: _Wish) -> Job:
    row = _lock_quote(student, quote_id)
    # Twins of one quote queue up at its lock, so the second finds the first's order here.
    found = Order.objects.filter(pk=order_key).select_related("job").first()
    if found is not None:
        return _same_request(found, row.pk, wish)
    spent = Order.objects.filter(quote=row).select_related("job").first()
    if spent is not None:
        raise QuoteSpent(spent.job)
    must_be_open(student, row.workshop)
    if wish.demo and not access.is_staff_of(student, row.workshop_id):
        raise NotAllowed("Only staff run demos.")
    bidding.check(row.workshop, wish.bid, paid=not (wish.demo or wish.unpaid))
    class_clock.must_admit(row.workshop, row, wish.bid, unpaid=wish.unpaid, demo=wish.demo)
    now = clock.now()
    if row.expires_at <= now:
        raise QuoteExpired(row)
    _one_by_one(student)
    job = _new_job(row, student, now, wish)
    if wish.unpaid:
        _must_lack_credits(student, row)
    else:
        job.hold_key = _hold(student, job, order_key)
    step = lifecycle.create(job, held_back=not wish.demo and _above_cap(job))
    Order.objects.create(key=order_key, student=student, quote=row, job=job)
    if wish.bid > 1:
        Bid.objects.create(job=job, multiple=wish.bid, by=student)
    announce(step)
    wake("placed")
    log.info("market.placed", job=str(job.pk), student=student.pk, held_milli=job.held_milli)
    job.refresh_from_db()
    return job


def _hold(student: User, job: Job, order_key: uuid.UUID) -> uuid.UUID:
    workshop = job.workshop
    held = posting.hold(
        account_id=posting.purse_account(workshop) if job.demo else posting.member_account(student, workshop),
        amount_milli=job.held_milli,
        key=key_for(student.key_namespace, "hold", str(order_key)),
        subject=f"job:{job.pk}",
    )
    return held.key


def _must_lack_credits(student: User, row: Quote) -> None:
    account_id = posting.member_account(student, row.workshop)
    if balances.balance(account_id).available_milli >= row.ceiling_milli:
        raise HasCredits


def _one_by_one(student: User) -> None:
    """One student's orders are counted one after another, to the transaction's end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"orders:{student.pk}"])


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


def _same_request(found: Order, quote_id: uuid.UUID | str, wish: _Wish) -> Job:
    job = found.job
    placed = JobEvent.objects.get(job=job, seq=1).data  # the bid may have been changed since
    bid = placed.get("bid", 1)
    if (str(found.quote_id), bid, job.demo, job.unpaid) != (str(quote_id), wish.bid, wish.demo, wish.unpaid):
        raise KeyConflict("This key was used for another order.")
    return job


def _above_cap(job: Job) -> bool:
    """Whether the job must be held back. Raises `WaitingLimit`."""
    workshop = job.workshop
    mine = Job.objects.filter(student=job.student_id, workshop=workshop).exclude(status__in=TERMINAL)
    rows = list(mine.values_list("status", "held_milli", "unpaid"))
    if sum(status in WAITING for status, _held, _unpaid in rows) >= workshop.max_waiting:
        raise WaitingLimit(workshop.max_waiting)
    in_flight = [(held, unpaid) for status, held, unpaid in rows if status != Status.HELD_BACK]
    if len(in_flight) >= workshop.max_in_flight:
        return True
    if job.unpaid and sum(unpaid for _held, unpaid in in_flight) >= UNPAID_IN_FLIGHT:
        return True
    most_milli = workshop.max_credits_in_flight_milli
    if most_milli is None or not in_flight:
        return False
    return sum(held for held, _unpaid in in_flight) + job.held_milli > most_milli


def _new_job(row: Quote, student: User, now: datetime, wish: _Wish) -> Job:
    job = _job_of(row, student, now, wish)
    job.queue_class, job.queue_key_ms = places.place(job, now)
    return job


def _job_of(row: Quote, student: User, now: datetime, wish: _Wish) -> Job:
    return Job(
        workshop=row.workshop,
        student=student,
        title=row.title,
        job_type=row.job_type,
        payload=row.payload,
        inputs=row.inputs,
        nodes=row.nodes,
        summary=row.summary,
        template=row.template,
        form_values=row.form_values,
        graph_sha256=graph_digest(row.payload),
        bid=wish.bid,
        demo=wish.demo,
        unpaid=wish.unpaid,
        vram_class=matching.vram_class(row.vram_bytes),
        vram_bytes=row.vram_bytes,
        model_key=row.model_key,
        gpu_seconds=row.gpu_seconds,
        loading_seconds=row.loading_seconds,
        seconds_p90=row.seconds_p90,
        milli_per_gpu_second=row.milli_per_gpu_second,
        quote_milli=row.quote_milli,
        ceiling_milli=row.ceiling_milli,
        held_milli=0 if wish.unpaid else row.ceiling_milli * wish.bid,
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
