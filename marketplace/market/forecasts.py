"""Learning when jobs really start. Every two seconds, in the market loop, each new job's replayed wait is
written down; when it starts, the quantiles of its bid level move (`waits`) and the row goes.

Jobs that were moved on another way than by waiting teach nothing: their bid was changed, the mode was
switched, they were cancelled, or sent back by a GPU.
"""

from datetime import timedelta

from django.db import transaction

from accounts.clock import MarketNow
from accounts.models import Workshop
from jobs.models import TERMINAL, WAITING, Job, Status
from marketplace.market import board, eta, waits
from marketplace.market.models import Order, WaitForecast, WaitQuantile
from marketplace.market.waits import FIRST_GUESS, Quantiles

NEW = timedelta(seconds=10)  # later the job's wait has begun, and a forecast would be of the rest only
MOST_AT_ONCE = 200


def tick() -> int:
    """Write down what is new, learn from what started; how many starts were learned from."""
    _write_down()
    return _learn()


def _write_down() -> None:
    new = Order.objects.filter(
        forecast=None,
        created_at__gt=MarketNow() - NEW,
        job__status=Status.QUEUED,
        job__attempt_count=0,
        job__demo=False,
    ).select_related("job")
    by_workshop: dict[int, list[Order]] = {}
    for order in new[:MOST_AT_ONCE]:
        by_workshop.setdefault(order.job.workshop_id, []).append(order)
    for workshop in Workshop.objects.filter(pk__in=by_workshop, paused_reason=""):
        starts = board.of(workshop, fresh=True).starts
        rows = [
            WaitForecast(
                order=order,
                policy=workshop.policy,
                level=eta.level_of(order.job),
                seconds=starts[str(order.job_id)].seconds,
            )
            for order in by_workshop[workshop.pk]
            # At once where a GPU is idle: nothing to learn.
            if str(order.job_id) in starts and starts[str(order.job_id)].seconds > 0
        ]
        WaitForecast.objects.bulk_create(rows, ignore_conflicts=True)


def _learn() -> int:
    over = WaitForecast.objects.select_related("order__job__workshop").exclude(
        order__job__status__in=WAITING, order__job__attempt_count=0
    )
    learned = 0
    with transaction.atomic():
        rows = over.select_for_update(of=("self",), skip_locked=True, no_key=True)
        for row in rows.order_by("order__job__started_at", "pk")[:MOST_AT_ONCE]:
            job = row.order.job
            if not _started(job) and _may_start(job):
                continue
            if job.started_at is not None and _teaches(row, job):
                _move(job.workshop, row, (job.started_at - row.made_at).total_seconds())
                learned += 1
            row.delete()
    return learned


def _started(job: Job) -> bool:
    return job.started_at is not None


def _may_start(job: Job) -> bool:
    """Whether its first try still is on its way to a GPU."""
    return job.status == Status.ASSIGNED and job.attempt_count == 1


def _teaches(row: WaitForecast, job: Job) -> bool:
    first = job.attempt_count == 1 and job.status not in WAITING
    ran = job.status not in TERMINAL or job.status == Status.SUCCEEDED or job.charged_ms > 0
    return first and ran and row.level == eta.level_of(job) and row.policy == job.workshop.policy


def _move(workshop: Workshop, row: WaitForecast, actual_seconds: float) -> None:
    known, _made = WaitQuantile.objects.select_for_update().get_or_create(
        workshop=workshop,
        policy=row.policy,
        level=row.level,
        defaults={"low": FIRST_GUESS.low, "middle": FIRST_GUESS.middle, "high": FIRST_GUESS.high},
    )
    before = Quantiles(known.low, known.middle, known.high, known.count)
    after = waits.learned(before, row.seconds, actual_seconds)
    known.low, known.middle, known.high, known.count = after.low, after.middle, after.high, after.count
    known.save(update_fields=["low", "middle", "high", "count"])
