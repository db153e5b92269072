"""What a job's page and a job's tile show, gathered from the doors below; no decisions are taken here."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from django.db.models import Q

from accounts.models import User
from jobs import queries
from jobs.models import ON_AGENT, TERMINAL, Artifact, Attempt, FailureCause, Job, Status
from marketplace.live import frames
from marketplace.market import class_clock, eta, failures, orders
from marketplace.market.models import Quote
from marketplace.pricing.quote import CEILING
from marketplace.web import bids, numbers, words

LINE_SHOWN = 24  # beyond this many, boxes of a line are too thin to see
SEED_FIELDS = ("seed", "noise_seed")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in line, and the boxes that draw it: x and whether it is mine."""

    position: int
    total: int
    boxes: tuple[dict[str, Any], ...]

    @property
    def words(self) -> str:
        return numbers.ordinal_of(self.position, self.total)


def context(user: User, job: Job) -> dict[str, Any]:
    """Everything the fragment of a job shows."""
    attempts = list(job.attempts.order_by("number"))
    last = attempts[-1] if attempts else None
    quote = Quote.objects.filter(order__job=job).first()
    frame = frames.latest([job.pk]).get(str(job.pk), {}) if job.status in ON_AGENT else {}
    return {
        "job": job,
        "mine": job.student_id == user.pk,
        "badge": words.badge(job, last),
        "steps": words.timeline(job, attempts),
        "came_back": words.came_back(job, last),
        "attempt": last,
        "quote": quote,
        "frame": frame,
        "left": remaining(frame),
        "waiting": _waiting(job),
        "on_agent": job.status in ON_AGENT,
        "over": job.status in TERMINAL,
        "draft": class_clock.is_draft(job),
        "money": money(job),
        "charged_s": job.charged_ms / 1000,
        "most_ms": int(CEILING * Fraction(job.gpu_seconds) * 1000),
        "failure": _failure(job),
        "artifacts": _artifacts(user, job) if job.status in TERMINAL else [],
        "bid": bids.of_job(job),
        "buy_milli": failures.buy_price(job),
        "terms": failures.failure_terms(job) if job.status != Status.SUCCEEDED else "",
        "made_with": _made_with(job, quote, last) if job.status == Status.SUCCEEDED else {},
    }


def money(job: Job) -> dict[str, int]:
    """Set aside, paid and returned in milli-credits: of the receipt, or as a cancel now would leave them."""
    if job.status in TERMINAL:
        paid = job.captured_milli or 0
        return {"held": job.held_milli, "paid": paid, "returned": job.held_milli - paid}
    paid, returned = orders.cancel_preview(job)
    return {"held": job.held_milli, "paid": paid, "returned": returned}


def remaining(frame: dict[str, Any]) -> str:
    """What is left of a running job as a range, from its latest frame; empty when nobody knows."""
    left_ms = frame.get("remaining_ms")
    return "" if left_ms is None else numbers.seconds_range(left_ms / 1000 * 0.9, left_ms / 1000 * 1.15)


def tiles(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """What a strip or list shows of each job. One query for last attempts, one for pictures, none per job."""
    ids = [job.pk for job in jobs]
    last = {a.job_id: a for a in Attempt.objects.filter(job__in=ids).order_by("job", "number")}
    pictures: dict[Any, Artifact] = {}
    shown = Artifact.objects.filter(job__in=ids, visible_at__isnull=False, deleted_at__isnull=True)
    for picture in shown.exclude(~Q(kind="image"), thumbnail_sha256="").order_by("job", "-ordinal"):
        pictures[picture.job_id] = picture
    latest = frames.latest([job.pk for job in jobs if job.status in ON_AGENT])
    return [
        {
            "job": job,
            "badge": words.badge(job, last.get(job.pk)),
            "picture": pictures.get(job.pk),
            "frame": latest.get(str(job.pk), {}),
            "on_agent": job.status in ON_AGENT,
            "over": job.status in TERMINAL,
            "returned_milli": job.held_milli - (job.captured_milli or 0),
        }
        for job in jobs
    ]


def _waiting(job: Job) -> dict[str, Any] | None:
    if job.status not in (Status.QUEUED, Status.HELD_BACK):
        return None
    position, total = eta.position(job)
    return {
        "place": _place(position, total) if job.status == Status.QUEUED else None,
        "interval": eta.interval(job),
        "why": eta.why_waiting(job),
    }


def _place(position: int, total: int) -> Place:
    shown = min(max(total, 1), LINE_SHOWN)
    mine = min(position, shown)
    width = 440 / shown
    boxes = tuple(
        {
            "x": round(n * width, 1),
            "width": round(width * 0.85, 1),
            "mine": n + 1 == mine,
            "behind": n + 1 > mine,
        }
        for n in range(shown)
    )
    return Place(position, total, boxes)


def _failure(job: Job) -> dict[str, Any] | None:
    if job.status != Status.FAILED:
        return None
    cause = FailureCause(job.cause or FailureCause.INFRASTRUCTURE)
    node = job.nodes.get(job.fault_node, {}) if job.fault_node else {}
    return {
        "headline": words.HEADLINES[cause],
        "would_work": words.WOULD_WORK[cause],
        "node_title": node.get("title", ""),
        "technical": f"cause: {job.cause}"
        + (f"\nnode: #{job.fault_node}" if job.fault_node else "")
        + f"\nattempts: {job.attempt_count}",
    }


def _artifacts(user: User, job: Job) -> list[Artifact]:
    return list(queries.visible_artifacts(user).filter(job=job).order_by("ordinal", "name"))


def _made_with(job: Job, quote: Quote | None, attempt: Attempt | None) -> dict[str, Any]:
    return {
        "seeds": seeds(job.payload),
        "models": [name for _folder, name in quote.model_files] if quote else [],
        "vram_peak_bytes": attempt.vram_peak_bytes if attempt else None,
        "waited_s": (attempt.created_at - job.created_at).total_seconds() if attempt else None,
        "ran_s": max(attempt.executing_ms - attempt.loading_ms, 0) / 1000 if attempt else None,
    }


def seeds(payload: dict[str, Any]) -> list[str]:
    """The seeds in a graph, in the order of its nodes."""
    found = []
    for node in payload.values():
        inputs = node.get("inputs", {}) if isinstance(node, dict) else {}
        found += [str(inputs[name]) for name in SEED_FIELDS if isinstance(inputs.get(name), int)]
    return found
