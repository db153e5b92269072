"""The market: bids move a job up, and the next in line sets the price."""

import math

from marketplace.market.policies.base import (
    CLASS_DEMO,
    BasePolicy,
    JobFacts,
    StudentFacts,
    arrival_ms,
    fair_ms,
    gettext_noop,
    student_class,
)

DOUBLING_MS = 600_000  # what doubling a bid is worth in the line
LENGTH_WEIGHT = 2  # short jobs go ahead of long ones: seconds of line for a second of GPU


class Market(BasePolicy):
    """Bid twice the base price and you stand in line as if you had joined ten minutes earlier, four times and
    it is twenty.

    Your place in line = when your job joined + 2 × its expected GPU time − 10 minutes for each doubling of
    your bid. You are charged only what it took to stay ahead of the next person in line, never less than the
    base price and never more than your bid; so bid what the job is worth to you. Nobody who joins more than
    20 minutes later (and twice the difference in length, and two minutes for a model that is loaded already)
    can pass a job. Without credits you still run, but queue as if you had joined half an hour later. With the
    fairness slider up, every GPU-second used above the class's mean moves you back by so many seconds.
    """

    name = "market"
    rule = gettext_noop(
        "A higher bid moves you up; you pay only what it took to stay ahead of the next person."
    )
    uses_bids = True

    def __init__(self, phi: float = 0.0) -> None:
        self.phi = phi
        self.needs_student = phi > 0

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        queue_class = student_class(job)
        if queue_class == CLASS_DEMO:
            return queue_class, job.joined_ms
        bid = 1 if job.unpaid else max(1, job.bid)
        return queue_class, _standard_ms(job) + fair_ms(self.phi, student) - head_start_ms(bid)

    def price(self, job: JobFacts, runner_up_key_ms: int | None) -> float:
        """The bid at which the job would have stood exactly beside the next in line: it doesn't depend on the
        job's own bid, which only bounds it."""
        if runner_up_key_ms is None or job.demo or job.unpaid or job.bid <= 1:
            return 1.0
        doublings = (_standard_ms(job) + job.fair_ms - runner_up_key_ms) / DOUBLING_MS
        if doublings >= math.log2(job.bid):
            return float(job.bid)
        return float(2 ** max(0.0, doublings))


def head_start_ms(bid: int) -> int:
    """How far a bid moves a job up."""
    return round(DOUBLING_MS * math.log2(bid))


def _standard_ms(job: JobFacts) -> int:
    """Where the job stands at the base price."""
    return arrival_ms(job) + round(LENGTH_WEIGHT * 1000 * job.gpu_seconds)
