"""The market page: everyone's place under aliases, what it costs, the GPUs and the clock."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.aliases import aliases_of
from accounts.ledger import posting
from accounts.models import ClassSession, Enrolment, User, Workshop
from gpu_agent.protocol.phases import Outcome
from jobs.models import Job, Template
from marketplace.fleet.models import Agent
from marketplace.market import closing, levers, market_view, preemption
from marketplace.market.models import Quote
from tests.factories import people
from tests.factories.clock import advance
from tests.factories.jobs import a_job, a_member, a_quote, a_student, taken

pytestmark = pytest.mark.django_db


def shown(page: Client) -> str:
    """The page's text, with the check that the live part alone is the same as in the page."""
    whole = page.get("/market").content.decode()
    fragment = page.get("/market/_fragment").content.decode()
    assert fragment in whole, "live must equal reload"
    return whole


def named_student(workshop: Workshop, name: str, alias: str = "") -> User:
    student = a_student(workshop)
    student.display_name = name
    student.save()
    Enrolment.objects.filter(user=student).update(alias=alias)
    return student


def test_an_empty_market_says_that_a_job_would_start_now(page: Client, agent: Agent) -> None:
    text = shown(page)
    assert "Nobody is in line. A job would start now." in text
    assert "0 of 1 running" in text
    assert "24.0\u00a0GB VRAM together" in text


def test_the_line_shows_mine_by_title_and_others_by_alias_never_by_name(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    rook = named_student(workshop, "Rosalind Rivera", "Rook")
    blank = named_student(workshop, "Bertram Blank")
    for who, title in ((rook, "Secret castle"), (blank, "Hidden cellar"), (student, "Lighthouse")):
        Job.objects.filter(pk=a_job(who, workshop).pk).update(title=title)
    text = shown(page)
    assert "Rook" in text
    assert aliases_of(workshop.pk)[blank.pk] in text
    assert not re.search("Rosalind|Rivera|Bertram|Secret|Hidden|person-", text.split('id="main"')[1])
    assert "<strong>You</strong>" in text
    assert "Lighthouse" in text
    assert text.count("<tr data-mine>") == 1


def test_the_gpus_show_whose_job_runs_what_is_loaded_and_why_one_is_paused(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    other = named_student(workshop, "Rosalind Rivera", "Rook")
    a_job(other, workshop)
    taken(agent).run()
    Agent.objects.filter(pk=agent.pk).update(resident_models=["video/ltx-2-19b-dev.safetensors"])
    text = shown(page)
    assert "1 of 1 running" in text
    assert "Rook" in text
    assert "ltx-2-19b-dev<" in text
    Agent.objects.filter(pk=agent.pk).update(pause_reason="the fan is loud")
    assert "the fan is loud" in shown(page)


def test_what_a_credit_buys_follows_base_and_clearing_price(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    assert "10\u00a0s" in shown(page)  # 1000 milli-credits at 100 a second
    Workshop.objects.update(policy="market")
    job = a_job(student, workshop)
    taken(agent)
    Job.objects.filter(pk=job.pk).update(clearing_multiplier=2.0)
    text = shown(page)
    assert "×2.0" in text
    assert "5.0\u00a0s" in text
    assert 'class="c-line s-hold"' in text


def test_bids_and_clearing_prices_show_only_where_they_count(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    a_job(student, workshop)
    assert "Clearing price" not in shown(page)
    Workshop.objects.update(policy="market")
    assert "Clearing price" in shown(page)


def test_a_sessions_price_stands_in_for_the_workshops(page: Client, workshop: Workshop, agent: Agent) -> None:
    people.session(workshop)
    ClassSession.objects.update(base_milli_per_gpu_second=250)
    assert ">0.25<" in shown(page)


def test_the_clock_and_what_was_done_lately_are_told(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    teacher = a_member(workshop, "instructor")
    teacher.display_name = "Ines"
    teacher.save()
    session = people.session(workshop)
    closing.tick()
    closing.turn(teacher, session.pk, "break", reason="coffee")
    levers.pause_workshop(teacher, workshop, "critique until 15:00")
    text = shown(page)
    assert 'data-state="break"' in text
    assert "Break: the line keeps running." in text
    assert "Break begun by Ines: coffee" in text
    assert "Paused by Ines: critique until 15:00" in text
    assert "Paused: critique until 15:00. Credits stay set aside" in text


def test_a_draft_is_sent_again_with_one_click(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    people.session(workshop)
    job = a_job(student, workshop)
    advance(hours=3)
    closing.tick()
    text = shown(page)
    assert "Your drafts" in text
    assert f'formaction="/jobs/{job.pk}/again"' in text
    assert "Jobs are taken" not in text
    answer = page.post(f"/jobs/{job.pk}/again")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/quotes/")


def test_a_job_beyond_the_shown_head_is_still_ones_own_to_find(
    page: Client, student: User, workshop: Workshop, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_view, "ROWS_SHOWN", 2)
    for _ in range(4):
        a_job(a_student(workshop), workshop)
    a_job(student, workshop)
    found = market_view.view(student, workshop)
    assert [(row.place, row.mine) for row in found.rows] == [(1, False), (2, False), (5, True)]
    assert (found.in_line, found.rows_left_out) == (5, 2)


def test_outsiders_see_no_market(client: Client, workshop: Workshop, agent: Agent) -> None:
    assert client.get("/market").status_code == 302
    client.force_login(people.user("stranger"))
    assert client.get("/market").status_code == 403
    assert client.get("/market/_fragment").status_code == 403


def test_the_line_costs_the_same_queries_however_long_it_is(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    counts = []
    for more in (3, 12):
        for _ in range(more):
            a_job(a_student(workshop), workshop)
        page.get("/market/_fragment")  # gives aliases to those who have none
        with CaptureQueriesContext(connection) as asked:
            page.get("/market/_fragment")
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_a_drafts_own_page_says_why_it_ended_and_sends_it_again_with_its_form(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    people.session(workshop)
    template = Template.objects.create(workshop=workshop, slug="timed", name="Timed", payload={})
    job = a_job(student, workshop)
    Job.objects.filter(pk=job.pk).update(template=template, form_values={"seconds": 2})
    advance(hours=3)
    closing.tick()
    text = page.get(f"/jobs/{job.pk}").content.decode()
    assert "The class closed." in text
    assert "Send again" in text
    page.post(f"/jobs/{job.pk}/again")
    quote = Quote.objects.latest("created_at")
    assert (quote.template, quote.form_values) == (template, {"seconds": 2})


def test_who_made_room_for_a_demo_reads_for_whom_on_the_jobs_page(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    teacher = a_member(workshop, "instructor")
    people.give(posting.purse_account(workshop), 100_000)
    job = a_job(student, workshop, seconds=100)
    voice = taken(agent)
    voice.run()
    levers.demo_now(teacher, a_quote(teacher, workshop).pk)
    preemption.make_room()
    voice.finish(Outcome.CANCELLED)
    text = page.get(f"/jobs/{job.pk}").content.decode()
    assert f"A class demo of {teacher.name} needed {agent.name}." in text
    assert "Requeued" in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("break", "Break: the line keeps running."),
        ("last_call", "Last call: jobs are taken while they can start by"),
        ("closing", "The class is closing: running jobs may finish, nothing new is taken."),
        ("closed", "The class is over."),
    ],
)
def test_every_page_says_how_the_class_stands(
    page: Client, workshop: Workshop, agent: Agent, state: str, words: str
) -> None:
    people.session(workshop)
    assert 'class="banner"' not in page.get("/studio").content.decode()
    ClassSession.objects.update(state=state)
    fragment = page.get("/notices/_fragment").content.decode()
    assert words in fragment
    for address in ("/studio", "/jobs", "/statement", "/market"):
        assert fragment in page.get(address).content.decode()


def test_a_pause_is_on_every_page_at_once(page: Client, workshop: Workshop, agent: Agent) -> None:
    levers.pause_workshop(a_member(workshop, "instructor"), workshop, "critique")
    fragment = page.get("/notices/_fragment").content.decode()
    assert "Paused: critique." in fragment
    assert fragment in page.get("/studio").content.decode()
