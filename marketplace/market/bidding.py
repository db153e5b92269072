"""Bids: the most a student pays for a job, as a multiple of the base price, changed while the job waits."""

from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from accounts.ledger import posting
from accounts.ledger.credits import format_credits
from accounts.ledger.posting import key_for
from accounts.models import User, Workshop
from jobs import lifecycle
from jobs.models import TERMINAL, WAITING, Job, Status
from marketplace.market import places
from marketplace.market.announce import announce, wake
from marketplace.market.models import Bid
from marketplace.market.policies.base import BIDS, JobFacts
from marketplace.market.quoting import NotAllowed


class BadBid(ValueError):
    """The bid is not on the ladder."""


class BidsNotUsed(BadBid):
    """The class's queue doesn't use bids now: every job is at the base price."""


class AboveCreditsCap(BadBid):
    """The class lets one student set aside only so much for jobs in line and running."""


class BidsFrozen(Exception):
    """Staff have frozen the bids: those made stand."""


class BidTooLate(Exception):
    """The job isn't waiting any more: its bid stands."""


def check(workshop: Workshop, bid: int, *, paid: bool = True) -> None:
    """Raises BadBid unless the bid is on the ladder of the workshop's mode; without credits it is 1."""
    if bid not in BIDS:
        raise BadBid(_("A bid is one of %(ladder)s.") % {"ladder": ", ".join(map(str, BIDS))})
    if bid > 1 and not places.policy_of(workshop).uses_bids:
        raise BidsNotUsed(_("This class’s queue doesn’t use bids now: all pay the base price."))
    if bid > 1 and not paid:
        raise BadBid(_("Only a job paid with one’s own credits can have a bid."))


def rebid(job: Job, by: User, multiple: int) -> Job:
    """Raise, lower or (1) withdraw the bid of one's own waiting job: place, hold and the record of it in one
    transaction. The same bid again changes nothing.

    Raises NotAllowed, BadBid, BidsFrozen, BidTooLate, InsufficientCredits.
    """
    if job.student_id != by.pk:
        raise NotAllowed(_("Only its owner may change a job’s bid."))
    with transaction.atomic():
        locked = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("workshop")
        row = locked.get(pk=job.pk)
        check(row.workshop, multiple, paid=not (row.unpaid or row.demo))
        if row.status not in WAITING:
            raise BidTooLate(_("The job isn’t waiting any more: its bid stands."))
        if row.workshop.bids_frozen:
            raise BidsFrozen(_("Bids are frozen for now: those made stand."))
        if row.bid != multiple:
            _check_cap(row, multiple)
            change(row, multiple, by, place=moved_place(row, multiple))
            wake("rebid")
            row.refresh_from_db()
    return row


def change(row: Job, multiple: int, by: User, *, place: tuple[int, int], reason: str = "") -> None:
    """Write another bid of a locked waiting job, with its place and its hold. `reason`: why it was not its
    owner who changed it. InsufficientCredits."""
    if row.hold_key is None:
        raise RuntimeError(f"job {row.pk} has no hold")
    held_milli = row.ceiling_milli * multiple
    key = key_for(row.pk, "bid", str(Bid.objects.filter(job=row).count()))
    posting.adjust(hold_key=row.hold_key, amount_milli=held_milli, key=key)
    Bid.objects.create(job=row, multiple=multiple, by=by)
    step = lifecycle.rebid(
        row.pk,
        bid=multiple,
        place=place,
        hold_key=key,
        held_milli=held_milli,
        by="policy" if reason else "owner",
        reason=reason,
    )
    announce(step)


def _check_cap(row: Job, multiple: int) -> None:
    most_milli = row.workshop.max_credits_in_flight_milli
    if most_milli is None or multiple < row.bid or row.status != Status.QUEUED:
        return
    mine = Job.objects.filter(student=row.student_id, workshop=row.workshop).exclude(pk=row.pk)
    others = mine.exclude(status__in=(*TERMINAL, Status.HELD_BACK)).aggregate(held=Sum("held_milli"))["held"]
    if others and others + row.ceiling_milli * multiple > most_milli:
        told = _("At most %(most)s credits may be set aside for your jobs in line and running.")
        raise AboveCreditsCap(told % {"most": format_credits(most_milli)})


def moved_place(row: Job, multiple: int) -> tuple[int, int]:
    """Where the job stands with that bid: whatever else moved it, the fairness slider or staff, stays."""
    policy = places.policy_of(row.workshop)
    _class, old_ms = policy.key(JobFacts(0, 0.0, row.bid), places.NOBODY, 0)
    _class, new_ms = policy.key(JobFacts(0, 0.0, multiple), places.NOBODY, 0)
    return row.queue_class, row.queue_key_ms - old_ms + new_ms
