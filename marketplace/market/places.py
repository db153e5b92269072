"""A job's place in line from rows: what the pure policies are asked with."""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection

from accounts import access
from accounts.models import Workshop
from jobs.models import Job
from marketplace.market.policies import registry
from marketplace.market.policies.base import JobFacts, Policy, StudentFacts

NOBODY = StudentFacts()

# One row a student who has anything to count. The session that counts is the last that opened; a workshop
# without sessions counts from its beginning. The mean is over those who have used anything.
_CLASS = """
SELECT student_id, coalesce(sum(charged_ms), 0) / 1000.0, count(*) FILTER (WHERE status = 'succeeded'),
       count(*) FILTER (WHERE status NOT IN ('succeeded', 'failed', 'cancelled'))
FROM jobs_job
WHERE workshop_id = %(workshop)s AND NOT demo AND created_at >= coalesce(
  (SELECT max(opens_at) FROM accounts_classsession
   WHERE workshop_id = %(workshop)s AND opens_at <= market_now()), '-infinity')
GROUP BY student_id
"""


def policy_of(workshop: Workshop) -> Policy:
    """The workshop's mode, with its fairness slider."""
    return registry.named(workshop.policy, workshop.fairness_phi)


def place(job: Job, now: datetime, student: StudentFacts | None = None) -> tuple[int, int]:
    """(class, key in ms) of a job that joins the line at `now`. `student`: looked up when left out."""
    policy = policy_of(job.workshop)
    if student is None:
        student = student_facts(job.workshop, job.student_id) if policy.needs_student else NOBODY
    staff = policy.needs_staff and access.is_staff_of(job.student, job.workshop_id)
    facts = facts_of(job, milliseconds(now), staff=staff)
    return policy.key(facts, student, facts.joined_ms)


def facts_of(job: Job, joined_ms: int, *, staff: bool = False) -> JobFacts:
    """What a policy may know of the job."""
    return JobFacts(
        joined_ms=joined_ms,
        gpu_seconds=job.gpu_seconds,
        bid=job.bid,
        demo=job.demo,
        unpaid=job.unpaid,
        staff=staff,
    )


def student_facts(workshop: Workshop, student_id: int) -> StudentFacts:
    """What a policy may know of one student of the class."""
    return of_student(class_facts(workshop), student_id)


def of_student(known: Mapping[int, StudentFacts], student_id: int) -> StudentFacts:
    """One student's of what `class_facts` told."""
    mean = next(iter(known.values())).class_mean_gpu_seconds if known else 0.0
    return known.get(student_id, StudentFacts(class_mean_gpu_seconds=mean))


def class_facts(workshop: Workshop) -> Mapping[int, StudentFacts]:
    """The same of everybody who has sent a job in this session, by user id."""
    with connection.cursor() as cursor:
        cursor.execute(_CLASS, {"workshop": workshop.pk})
        rows = cursor.fetchall()
    used = [float(seconds) for _student, seconds, _done, _living in rows if seconds]
    mean = sum(used) / len(used) if used else 0.0
    return {
        student: StudentFacts(float(seconds), mean, done, living) for student, seconds, done, living in rows
    }


def milliseconds(moment: datetime) -> int:
    """Since the epoch, as keys are."""
    return round(moment.timestamp() * 1000)
