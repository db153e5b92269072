"""What a failed job costs: nothing, but for a graph that keeps failing; and buying what it did produce.

A failure's hold is released. When a student's graph has failed twice within the hour before it is sent once
more, through its own fault, the next such failure pays what it used: the button that sends it says so, and
what counts is what the button could know, so nobody pays who wasn't told.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import clock
from accounts.clock import MarketNow
from accounts.ledger import posting
from accounts.ledger.credits import format_credits
from accounts.ledger.posting import key_for
from accounts.models import User
from jobs import chores, lifecycle
from jobs.models import TERMINAL, Artifact, FailureCause, Job, Status
from marketplace.market import charges
from marketplace.market.announce import announce
from marketplace.market.models import Quote
from marketplace.market.quoting import NotAllowed

# Causes that lie in the graph. Memory is the site's to estimate, models and nodes the site's to check.
OWN_CAUSES = (
    FailureCause.INVALID_WORKFLOW,
    FailureCause.EXECUTION_ERROR,
    FailureCause.TIMED_OUT,
    FailureCause.OVER_BUDGET,
)
FREE_FAILURES = 2
WITHIN = timedelta(hours=1)


class NothingToBuy(Exception):
    """The job didn't fail, or produced nothing, or it is paid already."""


def graph_digest(payload: Mapping[str, Any]) -> str:
    """SHA-256 of a checked payload, by which the same graph is recognised."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def failure_terms(of: Quote | Job) -> str:
    """What its button says of a failure that will be paid; "" when one is free. For a quote, or a job that
    ended: were it sent (again) now; for a living job: as it was sent."""
    if isinstance(of, Job):
        digest, at = of.graph_sha256, clock.now() if of.status in TERMINAL else of.created_at
    else:
        digest, at = graph_digest(of.payload), clock.now()
    if not _keeps_failing(of.student_id, digest, at):
        return ""
    told = _(
        "This workflow has failed twice within an hour. If it fails again through its own fault, the GPU time"
        " it used is paid: at most %(ceiling)s credits."
    )
    return told % {"ceiling": format_credits(of.ceiling_milli)}


def captured(job: Job, cause: FailureCause, charged_ms: int) -> int:
    """Milli-credits that a failure of the job captures."""
    if cause not in OWN_CAUSES or not _keeps_failing(job.student_id, job.graph_sha256, job.created_at):
        return 0
    return min(charges.captured(job, charged_ms), job.ceiling_milli)


def buy_price(job: Job) -> int | None:
    """Milli-credits for which the owner can have what the failed job did produce; None: nothing to buy."""
    if job.status != Status.FAILED or job.unpaid or job.captured_milli or job.bought_milli is not None:
        return None
    return charges.captured(job, job.charged_ms) if _hidden(job) else None


def buy_failed(job: Job, by: User, key: str | None = None) -> Job:
    """Pay the used share of one's own failed job, with a new hold captured at once, and see what it produced.
    Once bought, the same job again.

    Raises NotAllowed, NothingToBuy, InsufficientCredits, KeyConflict (the key bought another job).
    """
    if job.student_id != by.pk:
        raise NotAllowed(_("Only its owner may buy what a job produced."))
    with transaction.atomic():
        locked = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("workshop")
        row = locked.get(pk=job.pk)
        if row.bought_milli is not None:
            return row
        price_milli = buy_price(row)
        if price_milli is None:
            raise NothingToBuy(_("There is nothing to buy of this job."))
        if price_milli:
            _pay(row, by, price_milli, key_for(by.key_namespace, "buy", (key or str(row.pk))[:200]))
        show_outputs(row)
        announce(lifecycle.buy(row.pk, bought_milli=price_milli))
        row.refresh_from_db()
    return row


def show_outputs(job: Job) -> None:
    """Let the job's owner see what its last attempt stored."""
    for ordinal, artifact_id in enumerate(_hidden(job)):
        Artifact.objects.filter(pk=artifact_id).update(visible_at=MarketNow(), ordinal=ordinal)
        chores.want("thumbnail", str(artifact_id))


def _pay(job: Job, by: User, price_milli: int, hold_key: Any) -> None:
    reason = f"job {job.number}, bought after it failed"
    posting.hold(
        account_id=posting.purse_account(job.workshop)
        if job.demo
        else posting.member_account(by, job.workshop),
        amount_milli=price_milli,
        key=hold_key,
        subject=f"job:{job.pk}",
    )
    posting.capture(hold_key=hold_key, amount_milli=price_milli, key=key_for(job.pk, "bought"), reason=reason)


def _hidden(job: Job) -> list[Any]:
    """Ids of outputs of its last attempt that nobody sees yet."""
    attempt = lifecycle.newest_attempt(job.pk)
    rows = Artifact.objects.filter(attempt=attempt, visible_at=None, deleted_at=None)
    return list(rows.order_by("pk").values_list("pk", flat=True)) if attempt else []


def _keeps_failing(student_id: int, digest: str, at: datetime) -> bool:
    before = Job.objects.filter(
        student_id=student_id,
        graph_sha256=digest,
        status=Status.FAILED,
        cause__in=OWN_CAUSES,
        finished_at__gt=at - WITHIN,
        finished_at__lte=at,
    )
    return bool(digest) and before.count() >= FREE_FAILURES
