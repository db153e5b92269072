"""What the market's doors say after a step: to live views, and to the loop that waits for work."""

from django.db import connection

from jobs.lifecycle import Moved
from marketplace.live import publish

CHANNEL = "market"
MONEY_MOVES = frozenset({"placed", "rebid", "succeeded", "failed", "cancelled", "bought"})


def announce(*steps: Moved | None) -> None:
    """Tell live views of each step once the surrounding transaction commits; None is passed over."""
    workshops = set()
    for step in steps:
        if step is None:
            continue
        publish.job_event(step.job_id, step.student_id, step.workshop_id, step.seq, step.kind, step.data)
        if step.kind in MONEY_MOVES:
            publish.balance_changed(step.student_id)
        workshops.add(step.workshop_id)
    for workshop_id in workshops:
        publish.workshop_changed(workshop_id)


def wake(reason: str) -> None:
    """Wake the market loop when the surrounding transaction commits: NOTIFY is part of it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, reason])
