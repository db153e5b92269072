"""The contended paths, on separate connections."""

from collections import Counter

import pytest

from accounts.ledger import audit
from gpu_agent.protocol.phases import Outcome, Phase
from jobs.models import Attempt, Job, JobEvent
from marketplace.market import dispatch, orders, settlement
from tests.factories.jobs import a_job, a_quote, a_student, a_workshop, an_agent, balance_of, taken
from tests.factories.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_fifty_orders_with_credits_for_one_one_is_accepted() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 250)
    quotes = [a_quote(student, workshop, seconds=2) for _ in range(50)]
    answers = race(50, lambda n: orders.place(student, quotes[n].pk))
    kinds = Counter(type(answer) for answer in answers)
    assert kinds == {Job: 1, orders.InsufficientCredits: 49}
    assert balance_of(student, workshop).available_milli == 0
    assert (Job.objects.count(), audit.findings(), settlement.job_findings()) == (1, [], [])


def test_twenty_orders_with_one_key_make_one_job_and_get_twenty_equal_answers() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 10_000)
    quote = a_quote(student, workshop, seconds=2)
    answers = race(20, lambda n: orders.place(student, quote.pk, key="double click"))
    assert {(type(job), getattr(job, "pk", None)) for job in answers} == {(Job, Job.objects.get().pk)}
    assert balance_of(student, workshop).held_milli == 250
    assert JobEvent.objects.count() == 1


def test_one_key_for_two_quotes_makes_one_job_and_conflicts() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop, 10_000)
    quotes = [a_quote(student, workshop, seconds=2) for _ in range(2)]
    answers = race(8, lambda n: orders.place(student, quotes[n % 2].pk, key="k"))
    kinds = Counter(type(answer) for answer in answers)
    assert kinds == {Job: 4, orders.KeyConflict: 4}
    assert (Job.objects.count(), balance_of(student, workshop).held_milli) == (1, 250)


def test_the_waiting_limit_holds_under_a_burst() -> None:
    workshop = a_workshop(max_waiting=3)
    an_agent()
    student = a_student(workshop)
    quotes = [a_quote(student, workshop) for _ in range(10)]
    answers = race(10, lambda n: orders.place(student, quotes[n].pk))
    assert Counter(type(answer) for answer in answers) == {Job: 3, orders.WaitingLimit: 7}


def test_sixteen_pickers_never_assign_a_job_twice() -> None:
    workshop = a_workshop()
    agents = [an_agent() for _ in range(16)]
    student = a_student(workshop, 1_000_000)
    for _ in range(12):
        a_job(student, workshop)
    answers = race(16, lambda n: dispatch.assign(agents[n].pk))
    given = [answer.job_id for answer in answers if isinstance(answer, dispatch.Assigned)]
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len(given) == len(set(given)) == Attempt.objects.count()
    while (more := [a for a in (dispatch.assign(agent.pk) for agent in agents) if a]) != []:
        given += [one.job_id for one in more]
    assert len(set(given)) == len(given) == 12


def test_two_loops_never_give_one_agent_more_than_it_holds() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    for _ in range(8):
        a_job(student, workshop, seconds=60)
    race(8, lambda n: dispatch.assign(agent.pk))
    dispatch.assign(agent.pk)
    assert Attempt.objects.filter(agent_id=agent.pk).count() == 1


def test_a_doubled_finish_settles_once() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 1000)
    a_job(student, workshop, seconds=2)
    voice = taken(agent)
    words = voice.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, charged_ms=2000, artifacts=voice.stored(1))
    answers = race(10, lambda n: settlement.report(agent, words))
    assert all(getattr(answer, "accepted", False) for answer in answers)
    assert JobEvent.objects.filter(kind="succeeded").count() == 1
    assert balance_of(student, workshop).available_milli == 800


@pytest.mark.parametrize("turn", range(3))
def test_finish_cancel_expiry_and_heartbeats_at_once_end_in_one_settlement(turn: int) -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop, 1000)
    job = a_job(student, workshop, seconds=2)
    voice = taken(agent)
    refs = voice.stored(1)
    words = voice.words(Phase.FINISHED, outcome=Outcome.SUCCEEDED, charged_ms=2000, artifacts=refs)
    beat = voice.beat(Phase.RUNNING)
    doors = (
        lambda: settlement.report(agent, words),
        lambda: orders.cancel(job, by=student),
        lambda: dispatch.renew(agent, beat),
        lambda: settlement.lose(voice.attempt.pk),
    )
    answers = race(12, lambda n: doors[(n + turn) % 4]())
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    job.refresh_from_db()
    assert (job.status, job.captured_milli) == ("succeeded", 200)
    assert (audit.findings(), settlement.job_findings()) == ([], [])
    seqs = list(job.events.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))
