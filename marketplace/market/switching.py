"""Changing a class's mode of queueing while it runs: every waiting job gets its new place at once.

Leaving the market: bids that were made stay on record, but every waiting job goes on at the base price and
what was set aside beyond it is returned. Entering the market (again): all waiting jobs stand at the base
price, and their owners bid anew; old bids don't come back, for the credits they would need may be meant for
something else by now. Jobs that a GPU has taken pay what they were assigned at.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.access import is_staff_of
from accounts.models import Enrolment, User, Workshop
from accounts.sessions import NotStaff
from jobs import lifecycle
from jobs.models import WAITING, Job
from marketplace.live import publish
from marketplace.market import bidding, places
from marketplace.market.announce import wake
from marketplace.market.policies import registry
from marketplace.market.policies.base import StudentFacts

log = structlog.get_logger(__name__)
MOST_PHI = 60.0
STAFF = tuple(role for role in Enrolment.Role if role is not Enrolment.Role.STUDENT)


class NoSuchPolicy(ValueError):
    """There is no such mode, or the fairness slider doesn't go there."""


def switch_policy(workshop: Workshop, policy: str, actor: User, phi: float | None = None) -> int:
    """Queue by another mode from now on, or by the same with another setting of the fairness slider (`phi`
    seconds a GPU-second; None leaves it). How many waiting jobs got a new place. One transaction, audited.

    Raises NotStaff, NoSuchPolicy.
    """
    if not is_staff_of(actor, workshop.pk):
        raise NotStaff(_("You don’t look after %(workshop)s.") % {"workshop": workshop.name})
    if policy not in registry.POLICIES:
        raise NoSuchPolicy(_("There is no mode called %(name)s.") % {"name": policy[:40]})
    if phi is not None and not 0 <= phi <= MOST_PHI:
        raise NoSuchPolicy(_("The fairness slider goes from 0 to %(most)g.") % {"most": MOST_PHI})
    with transaction.atomic():
        row = Workshop.objects.select_for_update(no_key=True).get(pk=workshop.pk)
        before = {"policy": row.policy, "phi": row.fairness_phi}
        row.policy, row.fairness_phi = policy, row.fairness_phi if phi is None else phi
        row.save(update_fields=["policy", "fairness_phi"])
        count = _write_places(row, actor)
        after = {"policy": row.policy, "phi": row.fairness_phi, "jobs": count}
        audit.record(
            "policy.switch",
            f"workshop:{row.pk}",
            actor=actor,
            workshop_id=row.pk,
            before=before,
            after=after,
        )
        publish.workshop_changed(row.pk)
        wake("policy")
    workshop.policy, workshop.fairness_phi = row.policy, row.fairness_phi
    log.info("policy.switch", workshop=row.pk, actor=actor.pk, **after)
    return count


def _write_places(workshop: Workshop, actor: User) -> int:
    locked = Job.objects.select_for_update(no_key=True, of=("self",))
    waiting = locked.filter(workshop=workshop, status__in=WAITING).order_by("pk")
    jobs = list(waiting.defer("payload", "nodes", "inputs", "form_values"))
    if not places.policy_of(workshop).uses_bids:
        _return_bids(workshop, jobs, actor)
    return lifecycle.rekey(_new_places(workshop, jobs))


def _return_bids(workshop: Workshop, jobs: Sequence[Job], actor: User) -> None:
    """Every job at the base price. Ledger accounts are locked in one order, as jobs were."""
    reason = _("The class’s queue doesn’t use bids any more: what was set aside beyond the base is back.")
    for job in sorted(jobs, key=lambda job: (job.student_id, job.pk)):
        if job.bid > 1:
            bidding.change(job, 1, actor, place=(job.queue_class, job.queue_key_ms), reason=reason)
            job.bid = 1


def _new_places(workshop: Workshop, jobs: Sequence[Job]) -> Mapping[uuid.UUID, tuple[int, int]]:
    policy = places.policy_of(workshop)
    known = places.class_facts(workshop) if policy.needs_student else {}
    staff = set(Enrolment.objects.filter(workshop=workshop, role__in=STAFF).values_list("user_id", flat=True))
    before = Counter[int]()  # of a student's waiting jobs
    waiting = Counter(job.student_id for job in jobs if not job.demo)
    found: dict[uuid.UUID, tuple[int, int]] = {}
    for job in sorted(jobs, key=lambda job: (job.joined_at, job.number)):
        student = known.get(job.student_id, StudentFacts())
        started = student.jobs_in_line - waiting[job.student_id]
        turn = replace(student, jobs_in_line=max(0, started) + before[job.student_id])
        before[job.student_id] += not job.demo
        facts = places.facts_of(job, places.milliseconds(job.joined_at), staff=job.student_id in staff)
        found[job.pk] = policy.key(facts, turn, facts.joined_ms)
    return found
