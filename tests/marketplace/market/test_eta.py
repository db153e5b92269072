"""When a job will start, and why it waits: honest numbers and one sentence."""

import pytest

from marketplace.market import dispatch, eta, orders
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_quote, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


def test_positions_count_from_one_in_the_order_of_the_line() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    jobs = [a_job(student, workshop) for _ in range(3)]
    assert [eta.position(job) for job in jobs] == [(1, 3), (2, 3), (3, 3)]


def test_a_running_job_has_no_position_and_nothing_to_wait_for() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    job = a_job(student, workshop)
    a_job(student, workshop)
    taken(agent)
    job.refresh_from_db()
    assert (eta.position(job), eta.interval(job), eta.why_waiting(job)) == ((0, 1), (0.0, 0.0), "")


def test_held_back_jobs_stand_behind_the_line() -> None:
    workshop = a_workshop(max_in_flight=1)
    an_agent()
    student, other = a_student(workshop), a_student(workshop)
    a_job(student, workshop)
    held = a_job(student, workshop)
    a_job(other, workshop)
    assert held.status == "held_back"
    assert eta.position(held) == (3, 3)
    assert "joins the line" in eta.why_waiting(held)


def test_with_an_idle_gpu_and_nobody_ahead_it_starts_at_once() -> None:
    workshop = a_workshop()
    an_agent()
    quote = a_quote(a_student(workshop), workshop)
    assert eta.before_click(quote) == (0.0, eta.LEAST_HIGH_SECONDS)


def test_more_work_ahead_means_later_and_more_gpus_sooner() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=59)
    quote = a_quote(student, workshop)
    low, high = eta.before_click(quote)
    assert low < 60 < high
    an_agent()
    assert eta.before_click(quote)[1] < high


def test_time_spent_on_the_running_job_is_not_waited_for_again() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=100)
    waiting = a_job(student, workshop)
    taken(agent).run()
    _low, high = eta.interval(waiting)
    advance(seconds=50)
    assert eta.interval(waiting)[1] < high


def test_the_sentence_names_the_pause_first() -> None:
    workshop = a_workshop(paused_reason="Lecture until ten")
    an_agent()
    job = a_job(a_student(workshop), workshop)
    assert eta.why_waiting(job) == "The queue is paused: Lecture until ten"


def test_the_sentence_says_that_no_gpu_is_online() -> None:
    workshop = a_workshop()
    an_agent(state="lost")
    assert eta.why_waiting(a_job(a_student(workshop), workshop)) == "No GPU is online."


def test_the_sentence_names_the_gpu_that_is_missing() -> None:
    workshop = a_workshop()
    an_agent(gib=24)
    job = a_job(a_student(workshop), workshop, gib=70)
    assert eta.why_waiting(job) == "No GPU with 80 GB is online."


def test_the_sentence_counts_those_ahead() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    jobs = [a_job(student, workshop) for _ in range(3)]
    assert [eta.why_waiting(job) for job in jobs] == [
        "It is next: it starts in a moment.",
        "1 job is ahead of it.",
        "2 jobs are ahead of it.",
    ]


def test_the_sentence_tells_what_sent_a_job_back() -> None:
    workshop, agent = a_workshop(), an_agent()
    job = a_job(a_student(workshop), workshop)
    taken(agent)
    advance(seconds=31)
    dispatch.reap()
    an_agent()
    job.refresh_from_db()
    assert eta.why_waiting(job) == f"{agent.name} stopped answering. The job is back in line."


def test_an_ended_job_waits_for_nothing() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    job = a_job(student, workshop)
    orders.cancel(job, by=student)
    job.refresh_from_db()
    assert (eta.position(job), eta.why_waiting(job)) == ((0, 0), "")
