"""Quotes and orders: the doors through which a student's wish becomes a price, a hold and a job."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction

from accounts import access, clock
from accounts.ledger import posting
from accounts.ledger.posting import InsufficientCredits, KeyConflict, key_for
from accounts.models import User, Workshop
from gpu_agent.protocol.messages import Command, CommandKind, NodeWork
from jobs import lifecycle
from jobs.job_types import registry as job_types
from jobs.job_types.base import Checked, Demand, Refusal, Surroundings, UploadedFile, stored_name
from jobs.models import TERMINAL, WAITING, Attempt, Job, Status, Upload
from marketplace.fleet import registry as fleet
from marketplace.live import publish
from marketplace.market import charges, matching, settlement
from marketplace.market.announce import announce, wake
from marketplace.market.models import Lease, Order, Quote
from marketplace.market.policies import registry as policies
from marketplace.market.policies.base import JobFacts, StudentFacts
from marketplace.pricing import quote as pricing
from marketplace.pricing.rates import Rate

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
RATE_VERSION = 1  # of the workshop's price; rises when rates become rows
LONGEST_KEY = 200
LONGEST_TITLE = 200


class NotAllowed(PermissionError):
    """This user may not do that here."""


class WorkshopClosed(Exception):
    """The workshop is closed: nothing more is taken."""


class NoAgentYet(Exception):
    """No agent has ever said what it can run, so nothing can be checked or priced."""


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


def quote(
    student: User, workshop: Workshop, body: bytes, *, title: str = "", job_type: str = "comfyui"
) -> Quote:
    """Check and price a submission; stored with its expiry.

    Raises Refusal with all that is wrong, NoAgentYet, NotAllowed, WorkshopClosed, UnknownJobType.
    """
    _must_be_open(student, workshop)
    kind = job_types.get(job_type)
    payload = kind.parse(body)
    around = _surroundings(student, workshop)
    checked = kind.check(payload, around)
    demand = kind.demand(checked)
    priced = pricing.price(demand, Rate(RATE_VERSION, workshop.milli_per_gpu_second))
    return Quote.objects.create(
        workshop=workshop,
        student=student,
        title=_title(title, demand),
        job_type=job_type,
        payload=checked.payload,
        inputs=[_input(one) for one in checked.inputs],
        nodes=_nodes(checked, demand),
        summary=demand.summary[:200],
        lines=[asdict(line) for line in priced.lines],
        quote_milli=priced.quote_milli,
        ceiling_milli=priced.ceiling_milli,
        milli_per_gpu_second=workshop.milli_per_gpu_second,
        rate_version=priced.rate_version,
        gpu_seconds=demand.gpu_seconds,
        loading_seconds=demand.loading_seconds,
        seconds_p50=priced.seconds_p50,
        seconds_p90=priced.seconds_p90,
        vram_bytes=demand.vram_bytes,
        model_key=demand.model_key[:200],
        model_class=demand.model_class[:40],
        model_files=[list(one) for one in checked.model_files],
        node_types=list(checked.node_types),
        expires_at=clock.now() + timedelta(seconds=settings.QUOTE_LIFETIME_SECONDS),
    )


def place(student: User, quote_id: uuid.UUID | str, *, key: str | None = None, bid: int = 1) -> Job:
    """Order a quote: ledger hold and job in one transaction. The same key gives the same job again.

    `key`: the client's Idempotency-Key, its own within the student's namespace; the quote's id by default.
    Raises InsufficientCredits, QuoteUnknown, QuoteExpired, QuoteSpent, KeyConflict, WaitingLimit, NotAllowed,
    WorkshopClosed, BadBid.
    """
    if bid not in BIDS:
        raise BadBid(f"A bid is one of {', '.join(map(str, BIDS))}.")
    order_key = key_for(student.key_namespace, "order", (key or str(quote_id))[:LONGEST_KEY])
    try:
        with transaction.atomic():
            return _place(student, quote_id, order_key, bid)
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
    with transaction.atomic():
        row = Job.objects.select_for_update(no_key=True, of=("self",)).get(pk=job.pk)
        if row.status in TERMINAL:
            return _ended(row)
        attempt = Attempt.objects.filter(job=row, outcome="").first()
        if row.status in WAITING or attempt is None:
            settlement.cancel_waiting(row, by=_who(own))
        elif attempt.acknowledged_at is None:
            settlement.cancel_untaken(row, attempt, by=_who(own))
        else:
            return _ask_agent_to_stop(row, attempt, own)
        row.refresh_from_db()
        return _ended(row)


def cancel_preview(job: Job) -> tuple[int, int]:
    """(captured, returned) in milli-credits if its owner cancelled the job now."""
    if job.status in TERMINAL:
        result = _ended(job)
        return result.captured_milli, result.returned_milli
    attempt = Attempt.objects.filter(job=job, outcome="").first()
    used_milli = _used_milli(job, attempt) if attempt is not None else 0
    return used_milli, job.held_milli - used_milli


# --- quoting -------------------------------------------------------------------------------------


def _must_be_open(student: User, workshop: Workshop) -> None:
    if workshop.closed_at is not None:
        raise WorkshopClosed(f"{workshop.name} is closed.")
    if not access.may_submit(student, workshop):
        raise NotAllowed(f"You are not enrolled in {workshop.name}.")


def _surroundings(student: User, workshop: Workshop) -> Surroundings:
    around = fleet.surroundings(workshop)
    if not around.node_definitions:
        raise NoAgentYet("No GPU has been connected yet, so nothing can be checked or priced.")
    return Surroundings(
        node_definitions=around.node_definitions,
        models=around.models,
        any_model=around.any_model,
        uploads=_uploads(student, workshop),
        allowed_node_types=around.allowed_node_types,
        limits=around.limits,
    )


def _uploads(student: User, workshop: Workshop) -> Mapping[str, UploadedFile]:
    rows = Upload.objects.filter(owner=student, workshop=workshop)
    return {
        row.name: UploadedFile(row.sha256, row.name, row.size_bytes, row.width, row.height, row.frames)
        for row in rows
    }


def _input(upload: UploadedFile) -> dict[str, object]:
    return {
        "sha256": upload.sha256,
        "name": stored_name(upload),
        "size_bytes": upload.size_bytes,
        "title": upload.name,
    }


def _nodes(checked: Checked, demand: Demand) -> dict[str, dict[str, object]]:
    """What the agent is told of each node: lines of one node add up."""
    nodes: dict[str, NodeWork] = {}
    for line in demand.lines:
        known = nodes.get(line.node)
        nodes[line.node] = NodeWork(
            title=checked.titles.get(line.node, line.node_type),
            seconds=line.gpu_seconds + (known.seconds if known else 0.0),
            loader=line.loader if known is None else line.loader and known.loader,
            sampler=line.sampler or (known.sampler if known else False),
        )
    return {node: work.to_dict() for node, work in nodes.items()}


def _title(title: str, demand: Demand) -> str:
    words = " ".join(title.split()) or demand.summary or "Untitled"
    return words[:LONGEST_TITLE]


# --- ordering ------------------------------------------------------------------------------------


def _place(student: User, quote_id: uuid.UUID | str, order_key: uuid.UUID, bid: int) -> Job:
    row = _lock_quote(student, quote_id)
    # Twins of one quote queue up at its lock, so the second finds the first's order here.
    found = Order.objects.filter(pk=order_key).select_related("job").first()
    if found is not None:
        return _same_request(found, row.pk)
    spent = Order.objects.filter(quote=row).select_related("job").first()
    if spent is not None:
        raise QuoteSpent(spent.job)
    _must_be_open(student, row.workshop)
    now = clock.now()
    if row.expires_at <= now:
        raise QuoteExpired(row)
    job = _new_job(row, now, bid)
    account_id = posting.member_account(student, row.workshop)
    held = posting.hold(
        account_id=account_id,
        amount_milli=job.held_milli,
        key=key_for(student.key_namespace, "hold", str(order_key)),
        subject=f"job:{job.pk}",
    )
    job.hold_key = held.key
    # The hold's row lock is kept to the commit, so one student's orders are counted one after another.
    step = lifecycle.create(job, held_back=_above_cap(row))
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


def _new_job(row: Quote, now: datetime, bid: int) -> Job:
    facts = JobFacts(joined_ms=round(now.timestamp() * 1000), gpu_seconds=row.gpu_seconds, bid=bid)
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


def _ask_agent_to_stop(job: Job, attempt: Attempt, own: bool) -> CancelResult:
    used_milli = _used_milli(job, attempt) if own else 0
    step = lifecycle.request_cancel(job.pk, capture_milli=used_milli if own else None, by=_who(own))
    if step is not None:
        reason = "Its owner cancelled it." if own else "Staff cancelled it."
        Lease.objects.filter(attempt=attempt, ended_at=None).update(
            command=str(CommandKind.CANCEL), command_reason=reason
        )
        publish.agent_command(
            attempt.agent_id, Command(CommandKind.CANCEL, attempt.pk, attempt.token, reason)
        )
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


def _who(own: bool) -> str:
    return "owner" if own else "staff"
