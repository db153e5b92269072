"""Rows a user may see. Views fetch jobs and artifacts no other way."""

import uuid

from django.db.models import Min, Q, QuerySet

from accounts.access import may_grant, staffed_workshops, workshops_of
from accounts.models import User, Workshop
from jobs.models import Artifact, Job, JobEvent, Template, Upload
from jobs.templates import licence_refusal


def visible_jobs(user: User) -> QuerySet[Job]:
    """One's own jobs, and those of the workshops one staffs; newest first."""
    return (
        Job.objects.filter(Q(student=user) | Q(workshop__in=staffed_workshops(user)))
        .select_related("workshop", "student")
        .order_by("-created_at", "-number")
    )


def own_jobs(user: User) -> QuerySet[Job]:
    """The jobs this user asked for; newest first."""
    return Job.objects.filter(student=user).select_related("workshop").order_by("-created_at", "-number")


def visible_job(user: User, job_id: uuid.UUID | str) -> Job:
    """The job. Raises `Job.DoesNotExist` for strangers as for jobs that are not there."""
    return visible_jobs(user).get(pk=job_id)


def visible_artifacts(user: User) -> QuerySet[Artifact]:
    """Outputs of visible jobs that are settled and not deleted."""
    return Artifact.objects.filter(
        job__in=visible_jobs(user).order_by().values("pk"), visible_at__isnull=False, deleted_at__isnull=True
    ).select_related("job")


def events_after(job: Job, seq: int, limit: int = 500) -> QuerySet[JobEvent]:
    """The job's events above `seq`, in order: what a live view replays."""
    return JobEvent.objects.filter(job=job, seq__gt=seq).order_by("seq")[:limit]


def own_uploads(user: User, workshop_id: int) -> QuerySet[Upload]:
    """Files the user brought to this workshop."""
    return Upload.objects.filter(owner=user, workshop_id=workshop_id)


def templates_for(user: User, workshop: Workshop) -> list[Template]:
    """Templates offered to this person in this workshop, in the order they were first made: the published
    version of each, none that the workshop's rule on licences keeps back."""
    offered = [row for row in _published(user, workshop) if not licence_refusal(row, workshop)]
    families = Template.objects.filter(workshop=workshop).order_by().values("slug")
    first = dict(families.annotate(first=Min("pk")).values_list("slug", "first"))
    return sorted(offered, key=lambda row: first[row.slug])


def visible_template(user: User, template_id: int) -> Template:
    """A template one may open: published in a workshop of one's own, or any of one whose rules one looks
    after. Raises `Template.DoesNotExist`."""
    mine = Template.objects.filter(workshop__in=workshops_of(user)).select_related("workshop")
    row = mine.get(pk=template_id)
    if not _is_published(row) and not may_grant(user, row.workshop_id):
        raise Template.DoesNotExist
    return row


def earlier_takes(user: User, template: Template, limit: int = 6) -> list[Job]:
    """One's own jobs of this template, of any version; newest first."""
    mine = Job.objects.filter(
        student=user, template__workshop=template.workshop_id, template__slug=template.slug
    )
    return list(mine.order_by("-created_at", "-number")[:limit])


def successor(user: User, template_id: int) -> Template | None:
    """The version offered now in place of one that was withdrawn; None where there is none to see."""
    old = (
        Template.objects.filter(pk=template_id, withdrawn_at__isnull=False).select_related("workshop").first()
    )
    return _published(user, old.workshop).filter(slug=old.slug).first() if old is not None else None


def _published(user: User, workshop: Workshop) -> QuerySet[Template]:
    shown = Template.objects.filter(published_at__isnull=False, withdrawn_at__isnull=True)
    return shown.filter(workshop=workshop, workshop__in=workshops_of(user)).select_related("workshop")


def _is_published(row: Template) -> bool:
    return row.published_at is not None and row.withdrawn_at is None
