"""Background work as rows: wanted in the transaction that needs it, announced by the loop until done.

Each chore is idempotent. A worker runs `run(chore_id)`; one that is announced twice runs once, and one whose
worker died is announced again.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import cast

import structlog
from django.db import transaction
from django.db.models import F, Q

from accounts.clock import MarketNow
from jobs.models import Chore

log = structlog.get_logger(__name__)
RUN_FUNCTION = "jobs.chores.run"
AGAIN_AFTER = timedelta(seconds=15)
MOST_TRIES = 10
# Kind → dotted function of one argument, the subject. Named, not imported: a chore's room may be heavy.
KINDS: Mapping[str, str] = {
    "thumbnail": "jobs.thumbnails.make",
    "check_ledger": "marketplace.market.ledger_check.check",
    "learn_run": "marketplace.market.learning.learn",
    "propose_rates": "marketplace.market.rate_versions.propose",
}


class UnknownChore(LookupError):
    """No function does chores of this kind."""


def want(kind: str, subject: str) -> None:
    """Ask for a chore in the caller's transaction; asking twice is asking once. Raises `UnknownChore`."""
    if kind not in KINDS:
        raise UnknownChore(f"nothing does a chore of kind {kind!r}")
    Chore.objects.bulk_create([Chore(kind=kind, subject=subject)], ignore_conflicts=True)


def due(limit: int = 100) -> list[int]:
    """Take the chores that must be announced now, and note that they were."""
    with transaction.atomic():
        waiting = Chore.objects.select_for_update(skip_locked=True).filter(
            Q(announced_at=None) | Q(announced_at__lt=MarketNow() - AGAIN_AFTER),
            done_at=None,
            tries__lt=MOST_TRIES,
        )
        ids = list(waiting.order_by("id").values_list("pk", flat=True)[:limit])
        Chore.objects.filter(pk__in=ids).update(announced_at=MarketNow())
    return ids


def run(chore_id: int) -> bool:
    """Do one chore, in the worker; False when it is done already, or in another's hands. A failure is noted
    on the row and raised; the chore is announced again, ten times at most."""
    with transaction.atomic():
        chore = Chore.objects.select_for_update(skip_locked=True).filter(pk=chore_id, done_at=None).first()
        if chore is None:
            return False
        try:
            with transaction.atomic():
                _function(chore.kind)(chore.subject)
        except Exception as error:
            failure: Exception | None = error
            Chore.objects.filter(pk=chore_id).update(tries=F("tries") + 1, failure=repr(error)[:1000])
        else:
            failure = None
            Chore.objects.filter(pk=chore_id).update(tries=F("tries") + 1, failure="", done_at=MarketNow())
    if failure is not None:
        log.error("chores.failed", chore=chore_id, kind=chore.kind, subject=chore.subject)
        raise failure
    return True


def _function(kind: str) -> Callable[[str], object]:
    if kind not in KINDS:
        raise UnknownChore(f"nothing does a chore of kind {kind!r}")
    module, _, name = KINDS[kind].rpartition(".")
    return cast(Callable[[str], object], getattr(import_module(module), name))
