"""When a job will start, and why it waits: honest numbers and one sentence."""

from typing import Any

import pytest

from accounts.clock import MarketNow
from jobs.models import Template
from marketplace.fleet.models import Agent
from marketplace.market import board, dispatch, eta, orders
from marketplace.market.models import WaitQuantile
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_quote, a_student, a_workshop, an_agent, taken

pytestmark = pytest.mark.django_db


def told(interval: tuple[float, float] | None) -> tuple[float, float]:
    assert interval is not None
    return interval


def heard_now(agent: Agent) -> None:
    Agent.objects.filter(pk=agent.pk).update(last_seen_at=MarketNow())


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
    low, high = told(eta.before_click(quote))
    assert low < 60 < high
    an_agent()
    assert told(eta.before_click(quote))[1] < high


def test_time_spent_on_the_running_job_is_not_waited_for_again() -> None:
    workshop, agent = a_workshop(), an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=100)
    waiting = a_job(student, workshop)
    taken(agent).run()
    _low, high = told(eta.interval(waiting))
    advance(seconds=50)
    heard_now(agent)
    assert told(eta.interval(waiting))[1] < high


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


def test_nobody_can_say_while_no_gpu_could_run_it() -> None:
    workshop = a_workshop()
    agent = an_agent(gib=80)
    student = a_student(workshop)
    quote = a_quote(student, workshop, gib=70)
    job = a_job(student, workshop, gib=70)
    Agent.objects.filter(pk=agent.pk).update(state="lost")
    an_agent(gib=24)
    assert eta.before_click(quote) is None
    assert eta.p50_start_seconds(quote) is None
    assert eta.interval(job) is None


def test_nobody_can_say_while_it_is_paused() -> None:
    workshop = a_workshop(paused_reason="Lecture")
    an_agent()
    student = a_student(workshop)
    assert eta.interval(a_job(student, workshop)) is None
    assert eta.before_click(a_quote(student, workshop)) is None


def test_each_bid_of_the_market_has_its_time() -> None:
    workshop = a_workshop(policy="market")
    an_agent()
    for _ in range(4):
        a_job(a_student(workshop), workshop, seconds=60)
    quote = a_quote(a_student(workshop), workshop, seconds=60)
    found = eta.before_click_by_bid(quote)
    assert told(found[4]) < told(found[1])
    assert told(found[4]) == (0.0, eta.LEAST_HIGH_SECONDS)
    assert list(found) == [1, 2, 4]


def test_a_higher_bid_is_never_told_a_later_start() -> None:
    workshop = a_workshop(policy="market")
    agent = an_agent()
    a_job(a_student(workshop), workshop, seconds=60)
    taken(agent).run()
    quote = a_quote(a_student(workshop), workshop)
    WaitQuantile.objects.create(
        workshop=workshop, policy="market", level=4, low=1.0, middle=2.0, high=3.0, count=9
    )
    found = eta.before_click_by_bid(quote)
    assert told(eta.before_click(quote, 4)) > told(found[1])
    assert told(found[4]) <= told(found[2]) <= told(found[1])


def test_where_bids_dont_count_there_is_one_time() -> None:
    workshop = a_workshop(policy="fifo")
    an_agent()
    assert list(eta.before_click_by_bid(a_quote(a_student(workshop), workshop))) == [1]


def test_without_credits_it_starts_behind_those_who_pay() -> None:
    workshop = a_workshop(policy="market")
    an_agent()
    for _ in range(2):
        a_job(a_student(workshop), workshop, seconds=60)
    quote = a_quote(a_student(workshop), workshop, seconds=1)
    paid, unpaid = eta.p50_start_seconds(quote), eta.p50_start_seconds(quote, unpaid=True)
    assert paid is not None
    assert unpaid is not None
    assert paid < unpaid


def test_what_was_learned_of_waits_corrects_the_replay() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=100)
    quote = a_quote(student, workshop)
    before = told(eta.before_click(quote))
    WaitQuantile.objects.create(
        workshop=workshop, policy=workshop.policy, level=1, low=1.0, middle=1.5, high=2.0, count=50
    )
    low, high = told(eta.before_click(quote))
    assert low > before[0]
    assert high > before[1]
    assert low < (eta.p50_start_seconds(quote) or 0) < high


def test_a_model_that_no_gpu_has_is_named() -> None:
    workshop = a_workshop()
    agent = an_agent(any_model=False, models=["m.safetensors"])
    job = a_job(a_student(workshop), workshop, model="m.safetensors")
    Agent.objects.filter(pk=agent.pk).update(state="lost")
    an_agent(any_model=False)
    assert eta.why_waiting(job) == "No GPU that is online has the model m.safetensors."


def test_the_sentence_names_a_paused_gpu_and_template() -> None:
    workshop = a_workshop()
    agent = an_agent(gib=80)
    an_agent(gib=24)
    job = a_job(a_student(workshop), workshop, gib=70)
    Agent.objects.filter(pk=agent.pk).update(pause_reason="New fans")
    assert eta.why_waiting(job) == f"{agent.name} is paused: New fans"
    assert eta.interval(job) is None


def test_the_sentence_names_the_paused_template() -> None:
    workshop = a_workshop()
    an_agent()
    job = a_job(a_student(workshop), workshop)
    job.template = Template(workshop=workshop, slug="t", name="T", paused_reason="Broken")
    assert eta.why_waiting(job) == "This template is paused: Broken"
    assert eta.interval(job) is None


def test_a_held_back_job_has_a_time_too() -> None:
    workshop = a_workshop(max_in_flight=1)
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=30)
    held = a_job(student, workshop)
    assert told(eta.interval(held))[1] >= 30


def test_behind_the_rows_read_the_work_ahead_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "MOST_ROWS", 2)
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    jobs = [a_job(student, workshop, seconds=50) for _ in range(6)]
    near, far = told(eta.interval(jobs[1])), told(eta.interval(jobs[5]))
    assert near < far
    assert far <= told(eta.before_click(a_quote(student, workshop)))


def test_a_board_is_kept_for_its_second_and_read_anew_for_a_new_job(settings: Any) -> None:
    settings.ETA_CACHE_SECONDS = 60
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    a_job(student, workshop, seconds=60)
    first = board.of(workshop)
    assert board.of(workshop) is first
    newcomer = a_job(student, workshop)
    assert told(eta.interval(newcomer))[1] > eta.LEAST_HIGH_SECONDS
    assert board.of(workshop) is not first
