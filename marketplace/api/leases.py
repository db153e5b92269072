"""Whether an attempt is an agent's: asked before it may store files or speak of progress."""

from dataclasses import dataclass
from uuid import UUID

from channels.db import database_sync_to_async
from django.db.models import Exists, OuterRef

from jobs.models import TERMINAL, Attempt
from marketplace.market.models import Lease


@dataclass(frozen=True, slots=True)
class HeldJob:
    """The job of an attempt in hand, as far as live views need it."""

    job_id: UUID
    student_id: int
    workshop_id: int


def held_job(agent_id: str, attempt_id: int, token: int) -> HeldJob | None:
    """The job of this agent's attempt; None when the lease is another's or was superseded.

    An expired lease still counts while no newer attempt began: what is ready then may be handed in.
    """
    newer = Attempt.objects.filter(job=OuterRef("attempt__job"), number__gt=OuterRef("attempt__number"))
    row = (
        Lease.objects.filter(attempt_id=attempt_id, agent_id=agent_id, token=token)
        .exclude(attempt__job__status__in=TERMINAL)
        .exclude(Exists(newer))
        .values_list("attempt__job_id", "attempt__job__student_id", "attempt__job__workshop_id")
        .first()
    )
    return HeldJob(*row) if row else None


def may_read_upload(agent_id: str, sha256: str) -> bool:
    """Whether an attempt this agent holds now reads the file."""
    return Lease.objects.filter(
        agent_id=agent_id, ended_at=None, attempt__job__inputs__contains=[{"sha256": sha256}]
    ).exists()


aheld_job = database_sync_to_async(held_job, thread_sensitive=False)
amay_read_upload = database_sync_to_async(may_read_upload, thread_sensitive=False)
