"""The instructor's levers: who may pull them, what they do, and that each leaves a row with its reason."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts.ledger import audit as ledger_audit
from accounts.ledger import balances, posting
from accounts.models import AuditRow, User, Workshop
from gpu_agent.protocol.messages import CommandKind
from gpu_agent.protocol.phases import Outcome
from jobs.models import Job, JobEvent, Status, Template
from marketplace.fleet.models import Agent
from marketplace.market import dispatch, levers, orders, settlement
from tests.factories import people
from tests.factories.jobs import (
    a_job,
    a_member,
    a_quote,
    a_student,
    a_workshop,
    an_agent,
    assigned_attempt,
    balance_of,
    heartbeat,
    taken,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Workshop:
    return a_workshop()


@pytest.fixture
def teacher(place: Workshop) -> User:
    who = a_member(place, "assistant")
    who.display_name = "Ines"
    who.save()
    return who


@pytest.fixture
def agent(place: Workshop) -> Agent:
    return an_agent(workshop=place)


def row_of(action: str) -> AuditRow:
    return AuditRow.objects.get(action=action)


def test_a_pause_stops_new_starts_and_says_why_until_it_is_lifted(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    a_job(a_student(place), place)
    levers.pause_workshop(teacher, place, "critique until 15:00")
    assert dispatch.assign(agent.pk) is None
    row = row_of("lever.pause")
    assert (row.actor, row.workshop, row.reason) == (teacher, place, "critique until 15:00")
    levers.pause_workshop(teacher, place, "")
    assert dispatch.assign(agent.pk) is not None
    assert row_of("lever.resume").before == "critique until 15:00"


def test_a_paused_agent_gets_nothing_and_keeps_what_it_has(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    student = a_student(place)
    a_job(student, place)
    voice = taken(agent)
    levers.pause_agent(teacher, place, agent, "fan is loud")
    a_job(student, place)
    assert dispatch.dispatch() == 0
    assert voice.succeed().accepted
    assert row_of("agent.pause").reason == "fan is loud"
    levers.pause_agent(teacher, place, agent, "")
    assert dispatch.dispatch() == 1


def test_a_drained_agent_is_told_so_with_its_next_heartbeat(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    levers.drain_agent(teacher, place, agent, True, "going home")
    answer = dispatch.renew(agent, heartbeat(agent))
    assert [(one.kind, one.reason) for one in answer.commands] == [(CommandKind.DRAIN, "going home")]
    levers.drain_agent(teacher, place, agent, False)
    assert dispatch.renew(agent, heartbeat(agent)).commands == ()
    assert {row.workshop for row in AuditRow.objects.filter(subject=f"agent:{agent.pk}")} == {place}


def test_an_agent_that_serves_other_classes_too_is_not_one_teachers_to_hold(
    place: Workshop, teacher: User
) -> None:
    shared = an_agent()
    levers.pause_agent(teacher, place, shared, "alone here")
    other = a_workshop()
    with pytest.raises(levers.NotStaff):
        levers.pause_agent(teacher, place, shared, "")
    with pytest.raises(levers.NotStaff):
        levers.drain_agent(teacher, place, an_agent(workshop=other), True, "theirs")


def test_a_template_can_be_paused_with_a_reason(place: Workshop, teacher: User) -> None:
    template = Template.objects.create(workshop=place, slug="portrait", name="Portrait", payload={})
    levers.pause_template(teacher, template, "model is being replaced")
    template.refresh_from_db()
    assert template.paused_reason == "model is being replaced"
    levers.pause_template(teacher, template, "")
    assert [row.action for row in AuditRow.objects.order_by("pk")] == [
        "lever.template_pause", "lever.template_resume",
    ]  # fmt: skip


def test_bids_can_be_frozen_and_thawed(place: Workshop, teacher: User) -> None:
    levers.freeze_bids(teacher, place, True, "last quarter of an hour")
    assert Workshop.objects.get(pk=place.pk).bids_frozen
    levers.freeze_bids(teacher, place, False)
    assert not Workshop.objects.get(pk=place.pk).bids_frozen


def test_a_job_moved_to_the_front_goes_next_and_its_owner_reads_why(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    first, last = a_job(a_student(place), place), a_job(a_student(place), place)
    moved = levers.move_to_front(teacher, last, "presents at 14:30")
    assert moved.wait_reason == "Moved to the front by Ines: presents at 14:30"
    assert JobEvent.objects.get(job=last, kind="moved").data["by"] == "Ines"
    assert assigned_attempt(agent).job_id == last.pk
    first.refresh_from_db()
    assert first.status == Status.QUEUED
    assert row_of("lever.move").subject == f"job:{last.pk}"


def test_a_job_above_its_owners_cap_can_be_moved_to_the_front_too(teacher: User, agent: Agent) -> None:
    place = a_workshop(max_in_flight=1)
    an_agent(workshop=place)
    student = a_student(place)
    a_job(student, place)
    held = a_job(student, place)
    assert held.status == Status.HELD_BACK
    assert levers.move_to_front(a_member(place, "instructor"), held, "next").status == Status.QUEUED


def test_a_job_moved_to_an_agent_is_pinned_there_until_that_is_away(place: Workshop, teacher: User) -> None:
    there = an_agent(workshop=place, gib=80)
    job = levers.move_to_agent(teacher, a_job(a_student(place), place), there, "the big one")
    assert job.pinned_agent_id == there.pk
    assert levers.unpin_lost() == 0
    Agent.objects.filter(pk=there.pk).update(state="lost")
    assert levers.unpin_lost() == 1
    job.refresh_from_db()
    assert job.pinned_agent_id == ""
    assert "away" in job.wait_reason


def test_a_job_is_not_moved_where_it_does_not_fit_or_may_not_go(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    big = an_agent(workshop=place, gib=80)
    job = a_job(a_student(place), place, gib=40)
    for there in (agent, an_agent(workshop=a_workshop(), gib=80)):
        with pytest.raises(levers.LeverRefused):
            levers.move_to_agent(teacher, job, there, "why not")
    assigned_attempt(big)
    with pytest.raises(levers.LeverRefused, match="waiting any more"):
        levers.move_to_front(teacher, job, "too late")


def test_a_stopped_job_pays_nothing_and_its_owner_reads_why(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    student = a_student(place)
    job = a_job(student, place)
    voice = taken(agent)
    voice.run(charged_ms=1500)
    assert levers.stop_job(teacher, job, "wrong model").pending
    voice.finish(Outcome.CANCELLED, charged_ms=1500)
    job.refresh_from_db()
    assert (job.status, job.captured_milli) == (Status.CANCELLED, 0)
    assert job.message == "Stopped by Ines: wrong model"
    assert balance_of(student, place).held_milli == 0
    with pytest.raises(levers.LeverRefused, match="ended already"):
        levers.stop_job(teacher, job, "again")


def test_a_demo_is_ahead_of_all_and_paid_by_the_purse(place: Workshop, teacher: User, agent: Agent) -> None:
    purse = posting.purse_account(place)
    people.give(purse, 50_000)
    a_job(a_student(place), place)
    key = str(uuid.uuid4())
    quote = a_quote(teacher, place)
    demo = levers.demo_now(teacher, quote.pk, key=key, reason="lighting")
    assert levers.demo_now(teacher, quote.pk, key=key, reason="lighting") == demo
    assert (demo.demo, demo.queue_class, demo.status) == (True, 0, Status.QUEUED)
    assert balances.balance(purse).held_milli == demo.held_milli
    assert row_of("lever.demo").after["held_milli"] == demo.held_milli
    voice = taken(agent)
    assert voice.attempt.job_id == demo.pk
    voice.succeed(charged_ms=1000)
    assert balances.balance(purse) == balances.Balance(50_000 - 100, 0)
    assert [settlement.job_findings(), ledger_audit.findings()] == [[], []]


def test_a_demo_needs_a_purse_that_can_pay_and_staff_who_ask(
    place: Workshop, teacher: User, agent: Agent
) -> None:
    with pytest.raises(orders.InsufficientCredits):
        levers.demo_now(teacher, a_quote(teacher, place).pk)
    people.give(posting.purse_account(place), 50_000)
    student = a_student(place)
    with pytest.raises(orders.NotAllowed):
        levers.demo_now(student, a_quote(student, place).pk)
    assert not Job.objects.exists()
    assert not AuditRow.objects.filter(action="lever.demo").exists()


PULLS: dict[str, Callable[[User, Workshop, Agent, Job], Any]] = {
    "pause": lambda who, place, agent, job: levers.pause_workshop(who, place, "x"),
    "pause agent": lambda who, place, agent, job: levers.pause_agent(who, place, agent, "x"),
    "drain": lambda who, place, agent, job: levers.drain_agent(who, place, agent, True, "x"),
    "freeze": lambda who, place, agent, job: levers.freeze_bids(who, place, True, "x"),
    "front": lambda who, place, agent, job: levers.move_to_front(who, job, "x"),
    "agent": lambda who, place, agent, job: levers.move_to_agent(who, job, agent, "x"),
    "stop": lambda who, place, agent, job: levers.stop_job(who, job, "x"),
}


@pytest.mark.parametrize("lever", PULLS)
def test_no_lever_moves_for_students_or_another_workshops_staff(
    place: Workshop, agent: Agent, lever: str
) -> None:
    student = a_student(place)
    job = a_job(student, place)
    before = Job.objects.values().get()
    for who in (student, a_member(a_workshop(), "organizer")):
        with pytest.raises(levers.NotStaff):
            PULLS[lever](who, place, agent, job)
    assert Job.objects.values().get() == before
    assert not AuditRow.objects.exists()


@pytest.mark.parametrize("lever", ["drain", "freeze", "front", "agent", "stop"])
def test_what_students_feel_needs_a_reason(place: Workshop, teacher: User, agent: Agent, lever: str) -> None:
    job = a_job(a_student(place), place)
    with pytest.raises(levers.LeverRefused, match="Say why"):
        {
            "drain": lambda: levers.drain_agent(teacher, place, agent, True, " "),
            "freeze": lambda: levers.freeze_bids(teacher, place, True, ""),
            "front": lambda: levers.move_to_front(teacher, job, ""),
            "agent": lambda: levers.move_to_agent(teacher, job, agent, "\n"),
            "stop": lambda: levers.stop_job(teacher, job, ""),
        }[lever]()
    assert not AuditRow.objects.exists()
