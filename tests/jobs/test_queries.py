"""Who sees which jobs and outputs."""

import uuid

import pytest

from accounts.clock import MarketNow
from jobs import queries
from jobs.models import Artifact, Job
from tests.factories.jobs import a_job, a_member, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


def test_a_student_sees_their_own_jobs_alone() -> None:
    workshop = a_workshop()
    an_agent()
    mine, other = a_student(workshop), a_student(workshop)
    job = a_job(mine, workshop)
    a_job(other, workshop)
    assert list(queries.visible_jobs(mine)) == [job]
    assert list(queries.own_jobs(mine)) == [job]


def test_staff_see_all_jobs_of_their_workshop_and_none_of_another() -> None:
    workshop, elsewhere = a_workshop(), a_workshop()
    an_agent()
    job = a_job(a_student(workshop), workshop)
    a_job(a_student(elsewhere), elsewhere)
    assistant = a_member(workshop, role="assistant")
    assert list(queries.visible_jobs(assistant)) == [job]
    assert not queries.own_jobs(assistant).exists()


def test_a_strangers_job_is_as_absent_as_one_that_is_not_there() -> None:
    workshop = a_workshop()
    an_agent()
    job = a_job(a_student(workshop), workshop)
    stranger = a_student(workshop)
    for job_id in (job.pk, uuid.uuid4()):
        with pytest.raises(Job.DoesNotExist):
            queries.visible_job(stranger, job_id)


def test_outputs_show_once_settled_and_until_deleted() -> None:
    workshop = a_workshop()
    agent, student = an_agent(), a_student(workshop)
    a_job(student, workshop)
    voice = taken(agent)
    refs = voice.stored(2)
    assert not queries.visible_artifacts(student).exists()
    voice.succeed(artifacts=1)
    shown = queries.visible_artifacts(student).get()
    assert shown.sha256 not in {ref.sha256 for ref in refs}, "only those the finish named"
    Artifact.objects.filter(pk=shown.pk).update(deleted_at=MarketNow())
    assert not queries.visible_artifacts(student).exists()


def test_events_after_a_number_come_in_order() -> None:
    workshop = a_workshop()
    agent, student = an_agent(), a_student(workshop)
    job = a_job(student, workshop)
    taken(agent).run()
    assert [event.kind for event in queries.events_after(job, 1)] == ["assigned", "running"]
