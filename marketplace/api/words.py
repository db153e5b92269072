"""What the student API says of a quote, a job, a balance: rows made into the shapes of `serializers.py`."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.urls import reverse

from accounts import access
from accounts.ledger import balances, posting
from accounts.ledger.balances import Balance, StatementLine
from accounts.models import User, Workshop
from jobs import queries
from jobs.models import ON_AGENT, TERMINAL, WAITING, Artifact, Job, JobEvent, Upload
from marketplace.api.serializers import credits_text
from marketplace.live import frames
from marketplace.market import eta
from marketplace.market.models import Quote

Words = dict[str, Any]


def user_words(user: User) -> Words:
    return {"id": user.pk, "username": user.username, "name": user.name}


def balance_words(balance: Balance) -> Words:
    return {
        "available_milli": balance.available_milli,
        "held_milli": balance.held_milli,
        "available": credits_text(balance.available_milli),
        "held": credits_text(balance.held_milli),
    }


def balance_in(user: User, workshop: Workshop) -> Balance:
    """The user's balance; a member's account is opened at first sight, so that allowances begin."""
    account_id = balances.find_account(user.pk, workshop.pk)
    if account_id is None and access.role_in(user, workshop.pk) is None:
        return Balance(0, 0)
    return posting.member_balance(user, workshop)


def workshop_words(user: User, workshop: Workshop) -> Words:
    return {
        "slug": workshop.slug,
        "name": workshop.name,
        "role": access.role_in(user, workshop.pk),
        "paused_reason": workshop.paused_reason,
        "closed": workshop.closed_at is not None,
        "balance": balance_words(balance_in(user, workshop)),
    }


def upload_words(upload: Upload, workflow: Words | None) -> Words:
    return {
        "id": upload.pk,
        "name": upload.name,
        "sha256": upload.sha256,
        "media_type": upload.media_type,
        "size_bytes": upload.size_bytes,
        "width": upload.width,
        "height": upload.height,
        "workflow": workflow,
    }


def quote_words(user: User, quote: Quote) -> Words:
    starts = eta.before_click(quote)
    now = posting.member_balance(user, quote.workshop)  # who has a quote there is a member
    after_milli = now.available_milli - quote.ceiling_milli
    return {
        "id": quote.pk,
        "title": quote.title,
        "summary": quote.summary,
        "quote_milli": quote.quote_milli,
        "ceiling_milli": quote.ceiling_milli,
        "quote": credits_text(quote.quote_milli),
        "ceiling": credits_text(quote.ceiling_milli),
        "lines": quote.lines,
        "rate_version": quote.rate_version,
        "hints": quote.hints,
        "models": quote.requirements,
        "vram_bytes": quote.vram_bytes,
        "seconds_p50": quote.seconds_p50,
        "seconds_p90": quote.seconds_p90,
        "loading_seconds": quote.loading_seconds,
        "starts_in": {"low_s": starts[0], "high_s": starts[1]} if starts else None,
        "balance_after_milli": after_milli,
        "balance_after": credits_text(after_milli),
        "expires_at": quote.expires_at,
        "simulated": eta.only_simulated(quote.workshop),
    }


def jobs_words(user: User, jobs: Iterable[Job]) -> list[Words]:
    """The same number of queries for one job as for fifty."""
    found = list(jobs)
    artifacts: dict[uuid.UUID, list[Artifact]] = {}
    rows = queries.visible_artifacts(user).filter(job__in=[job.pk for job in found])
    for row in rows.select_related(None).order_by("ordinal", "name"):
        artifacts.setdefault(row.job_id, []).append(row)
    return [_job_words(job, artifacts.get(job.pk, [])) for job in found]


def job_words(user: User, job: Job) -> Words:
    """One job in full."""
    (words,) = jobs_words(user, [job])
    waiting = job.status in WAITING
    place = eta.position(job) if waiting else None
    starts = eta.interval(job) if waiting else None
    return {
        **words,
        "wait_reason": eta.why_waiting(job) if waiting else "",
        "position": {"position": place[0], "of": place[1]} if place else None,
        "starts_in": {"low_s": starts[0], "high_s": starts[1]} if starts else None,
        "progress": frames.latest([job.pk]).get(str(job.pk)) if job.status in ON_AGENT else None,
        "receipt": _receipt_words(user, job) if job.status in TERMINAL else None,
    }


def event_words(event: JobEvent) -> Words:
    return {"seq": event.seq, "kind": event.kind, "data": event.data, "at": event.at}


def line_words(line: StatementLine) -> Words:
    return {
        "seq": line.seq,
        "id": line.id,
        "at": line.at,
        "kind": line.kind,
        "amount_milli": line.amount_milli,
        "amount": credits_text(line.amount_milli),
        "available_milli": line.available_milli,
        "held_milli": line.held_milli,
        "subject": line.subject,
        "reason": line.reason,
    }


def _job_words(job: Job, artifacts: list[Artifact]) -> Words:
    ended = job.status in TERMINAL
    captured_milli = (job.captured_milli or 0) if ended else None
    return {
        "id": job.pk,
        "number": job.number,
        "title": job.title,
        "summary": job.summary,
        "workshop": job.workshop.slug,
        "student": job.student.username,
        "status": job.status,
        "cause": job.cause,
        "message": job.message,
        "wait_reason": job.wait_reason if job.status in WAITING else "",
        "quote_milli": job.quote_milli,
        "ceiling_milli": job.ceiling_milli,
        "held_milli": job.held_milli,
        "captured_milli": captured_milli,
        "returned_milli": None if captured_milli is None else job.held_milli - captured_milli,
        "charged_ms": job.charged_ms,
        "bid": job.bid,
        "unpaid": job.unpaid,
        "clearing_multiplier": None if job.status in WAITING else job.clearing_multiplier,
        "clearing_reason": "" if job.status in WAITING else job.clearing_reason,
        "bought_milli": job.bought_milli,
        "simulated": job.simulated,
        "agent": job.agent_name,
        "event_seq": job.event_seq,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "artifacts": [_artifact_words(row) for row in artifacts],
    }


def _artifact_words(row: Artifact) -> Words:
    return {
        "id": row.pk,
        "name": row.name,
        "kind": row.kind,
        "media_type": row.media_type,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "width": row.width,
        "height": row.height,
        "url": reverse("api:artifact", args=[row.pk]),
    }


def _receipt_words(user: User, job: Job) -> Words:
    captured_milli = job.captured_milli or 0
    own = job.student_id == user.pk
    available = balance_in(user, job.workshop).available_milli if own else None
    return {
        "quote": credits_text(job.quote_milli),
        "held": credits_text(job.held_milli),
        "captured": credits_text(captured_milli),
        "returned": credits_text(job.held_milli - captured_milli),
        "available": None if available is None else credits_text(available),
    }
