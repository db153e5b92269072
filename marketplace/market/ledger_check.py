"""The nightly proof of the ledger, as a chore: a failed check is an open alarm until a proof clears it."""

import structlog
from django.db import transaction

from accounts import clock
from accounts.ledger import audit
from jobs import chores
from jobs.models import Alarm
from marketplace.market import settlement

log = structlog.get_logger(__name__)
CHORE = "check_ledger"
ALARM = "ledger"


def want_nightly() -> None:
    """Ask for today's proof; asking again the same day is asking once."""
    chores.want(CHORE, f"{clock.now():%Y-%m-%d}")


def check(_day: str = "") -> int:
    """Prove ledger and jobs; how many checks failed. Alarms say which rows."""
    found = {finding.check: str(finding) for finding in audit.findings()}
    for fault in settlement.job_findings():
        found[fault.check] = f"{found.get(fault.check, '')}{fault.message} ({fault.job_id}); "
    with transaction.atomic():
        cleared = Alarm.objects.filter(kind=ALARM, cleared_at=None).exclude(subject__in=found)
        cleared.update(cleared_at=clock.MarketNow())
        for check_name, words in found.items():
            message = words[:1000]
            alarm, _new = Alarm.objects.get_or_create(
                kind=ALARM, subject=check_name, cleared_at=None, defaults={"message": message}
            )
            Alarm.objects.filter(pk=alarm.pk).update(message=message, seen_at=clock.MarketNow())
    if found:
        log.error("ledger.not_proven", checks=sorted(found))
    return len(found)
