"""The clock's grip on the market: admission, closing, drafts, base price."""

from datetime import timedelta

import pytest

from accounts import clock as market_clock
from accounts import sessions
from accounts.ledger import audit as ledger_audit
from accounts.ledger import posting
from accounts.models import AuditRow, ClassSession, User, Workshop
from gpu_agent.protocol.phases import Outcome
from jobs.models import Job, JobEvent, Status
from marketplace.fleet.models import Agent
from marketplace.market import class_clock, closing, levers, orders, settlement
from marketplace.market.models import Lease
from tests.factories import people
from tests.factories.clock import advance
from tests.factories.jobs import (
    a_job,
    a_member,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    balance_of,
    taken,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Workshop:
    return a_workshop()


@pytest.fixture
def agent(place: Workshop) -> Agent:
    return an_agent(workshop=place)


@pytest.fixture
def session(place: Workshop) -> ClassSession:
    """Three hours from now on, not yet opened by anyone."""
    return people.session(place)


def teacher_of(place: Workshop) -> User:
    return a_member(place, "instructor")


def ended_by(job: Job) -> str:
    return str(JobEvent.objects.get(job=job, kind="cancelled").data["by"])


def test_a_workshop_without_sessions_takes_jobs_at_any_hour(place: Workshop, agent: Agent) -> None:
    assert a_job(a_student(place), place).status == Status.QUEUED


def test_before_the_class_students_wait_and_staff_rehearse(place: Workshop, agent: Agent) -> None:
    people.session(place, market_clock.now() + timedelta(hours=1))
    with pytest.raises(class_clock.NotAdmitted, match="opens at"):
        a_job(a_student(place), place)
    assistant = a_member(place, "assistant", 100_000)
    assert a_job(assistant, place).status == Status.QUEUED
    advance(hours=1)
    assert a_job(a_student(place), place).status == Status.QUEUED


@pytest.mark.parametrize("state", ["closing", "closed"])
def test_a_class_that_closes_takes_nothing_new_and_sets_nothing_aside(
    place: Workshop, agent: Agent, session: ClassSession, state: str
) -> None:
    student = a_student(place)
    quote = a_quote(student, place)
    ClassSession.objects.update(state=state)
    with pytest.raises(class_clock.NotAdmitted):
        orders.place(student, quote.pk)
    assert balance_of(student, place).held_milli == 0


def test_a_break_keeps_the_line_running(place: Workshop, agent: Agent, session: ClassSession) -> None:
    ClassSession.objects.update(state="break")
    a_job(a_student(place), place)
    assert taken(agent).attempt.job.status == Status.ASSIGNED


def test_no_job_is_taken_that_would_start_after_the_close(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    student = a_student(place)
    a_job(a_student(place), place, seconds=600)
    advance(hours=2, minutes=55)
    Agent.objects.update(last_seen_at=market_clock.now())
    with pytest.raises(class_clock.NotAdmitted, match="start after the class closes"):
        a_job(student, place)
    people.give(posting.purse_account(place), 50_000)
    teacher = teacher_of(place)
    assert levers.demo_now(teacher, a_quote(teacher, place).pk).status == Status.QUEUED
    closing.set_end(teacher, session.pk, market_clock.now() + timedelta(hours=1))
    assert a_job(student, place).status == Status.QUEUED


def test_closing_ends_what_waits_releases_it_and_keeps_its_form(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    student = a_student(place)
    running = taken(agent) if a_job(student, place) else None
    assert running is not None
    running.run()
    waiting = a_job(student, place, seconds=3)
    closing.turn(teacher_of(place), session.pk, "open")
    closing.turn(teacher_of(place), session.pk, "closing", reason="Critique")
    waiting.refresh_from_db()
    assert (waiting.status, ended_by(waiting)) == (Status.CANCELLED, "closing")
    assert waiting.message == "The class closed."
    assert class_clock.drafts(student, place) == [waiting]
    assert class_clock.is_draft(waiting)
    assert running.succeed().accepted
    assert closing.tick() == 0
    assert ClassSession.objects.get().state == "closed"
    assert balance_of(student, place).held_milli == 0


def test_what_runs_beyond_the_grace_is_ended_and_pays_nothing(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    student = a_student(place)
    a_job(student, place)
    voice = taken(agent)
    voice.run()
    advance(hours=3)
    closing.tick()
    advance(seconds=session.grace_seconds - 1)
    closing.tick()
    assert Lease.objects.get().command == ""
    advance(seconds=1)
    closing.tick()
    assert Lease.objects.get().command == "cancel"
    voice.finish(Outcome.CANCELLED, charged_ms=5000)
    job = Job.objects.get()
    assert (job.status, job.captured_milli) == (Status.CANCELLED, 0)
    assert class_clock.drafts(student, place) == [job]
    assert settlement.job_findings() == []
    assert ledger_audit.findings() == []


def test_a_draft_sent_again_is_one_no_longer(place: Workshop, agent: Agent, session: ClassSession) -> None:
    student = a_student(place)
    a_job(student, place)
    advance(hours=3)
    closing.tick()
    assert len(class_clock.drafts(student, place)) == 1
    people.session(place)
    a_job(student, place)
    assert class_clock.drafts(student, place) == []


def test_an_old_session_that_closes_leaves_the_jobs_to_the_one_that_is_open(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    advance(hours=3)
    people.session(place)
    job = a_job(a_student(place), place)
    closing.tick()
    job.refresh_from_db()
    assert job.status == Status.QUEUED
    states = ClassSession.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["closed", "open"]


def test_the_loop_turns_the_clock_once_each_time(place: Workshop, session: ClassSession) -> None:
    assert [closing.tick(), closing.tick()] == [1, 0]
    rows = AuditRow.objects.filter(workshop=place, action="session.open")
    assert [(row.actor, row.before) for row in rows] == [(None, {"state": "rehearsal"})]


def test_opening_fixes_a_base_price_at_which_allowances_buy_four_fifths_of_the_fleet(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    for _ in range(10):
        a_member(place)
    closing.tick()
    session.refresh_from_db()
    assert session.base_milli_per_gpu_second == round(10 * 10_000 / (3600 * 0.8))
    Agent.objects.update(speed_factor=1.2)
    assert class_clock.follow_fleet() == 0
    an_agent(workshop=place, speed_factor=0.5)
    assert class_clock.follow_fleet() == 1
    session.refresh_from_db()
    assert session.base_milli_per_gpu_second == round(10 * 10_000 / (3600 * 0.8 * 1.7))
    assert class_clock.follow_fleet() == 0


def test_a_price_staff_wrote_stays_whatever_the_fleet_does(
    place: Workshop, agent: Agent, session: ClassSession
) -> None:
    a_member(place)
    ClassSession.objects.update(base_milli_per_gpu_second=77)
    closing.tick()
    Agent.objects.update(speed_factor=9)
    class_clock.follow_fleet()
    assert ClassSession.objects.get().base_milli_per_gpu_second == 77


def test_without_gpus_the_workshops_price_stays(place: Workshop, session: ClassSession) -> None:
    a_member(place)
    closing.tick()
    session.refresh_from_db()
    assert session.state == "open"
    assert session.base_milli_per_gpu_second is None
    assert class_clock.follow_fleet() == 0


def test_drafts_are_ones_own(place: Workshop, agent: Agent, session: ClassSession) -> None:
    mine, other = a_student(place), a_student(place)
    a_job(mine, place)
    cancelled = a_job(other, place)
    orders.cancel(cancelled, other)
    advance(hours=3)
    closing.tick()
    assert class_clock.drafts(other, place) == []
    assert [job.student for job in class_clock.drafts(mine, place)] == [mine]
    assert not class_clock.is_draft(Job.objects.get(pk=cancelled.pk))
    assert sessions.current(place.pk) is not None
