"""What a job pays, asked of the pure pricing room with the job's own numbers."""

from jobs.models import Attempt, Job
from marketplace.pricing import quote


def captured(job: Job, charged_ms: int) -> int:
    """Milli-credits for so much reference GPU time at the job's clearing price, never above what is held:
    without credits nothing is."""
    return min(quote.settle(charged_ms, job, job.clearing_multiplier or 1), job.held_milli)


def used_so_far(job: Job, attempt: Attempt, since_seen_ms: float, speed_factor: float) -> int:
    """Milli-credits a running attempt has used, counting on from what it last told."""
    return captured(job, round(attempt.charged_ms + max(0.0, since_seen_ms) * speed_factor))
