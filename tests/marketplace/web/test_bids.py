"""Bids, the unpaid lane and buying from a failed job, as pages offer them."""

import uuid

import pytest
from django.test import Client

from accounts.ledger import audit, posting
from accounts.models import User, Workshop
from gpu_agent.protocol.phases import Cause
from jobs.models import Job
from marketplace.fleet.models import Agent
from tests.factories.jobs import a_job, a_quote, a_student, balance_of, taken

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop(workshop: Workshop) -> Workshop:
    workshop.policy = Workshop.Policy.MARKET
    workshop.save()
    return workshop


@pytest.fixture
def crowd(workshop: Workshop, agent: Agent) -> None:
    """Shorter jobs of others, which go first, for more than a minute."""
    for _each in range(5):
        a_job(a_student(workshop, 1_000_000), workshop, seconds=60.0)


def test_bids_show_their_ceilings_and_waits_where_there_is_a_line(
    page: Client, student: User, workshop: Workshop, crowd: None
) -> None:
    quote = a_quote(student, workshop, seconds=99.0)
    text = page.get(f"/quotes/{quote.pk}").content.decode()
    for words in ("Standard", "Fast", "Express", "up to 24.76", "up to 49.52", "base price"):
        assert words in text
    assert text.count("data-bid ") == 3


def test_an_idle_class_or_a_mode_without_bids_offers_none(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=9.0)
    assert "data-bid " not in page.get(f"/quotes/{quote.pk}").content.decode()
    Workshop.objects.update(policy="fair_share")
    a_job(a_student(workshop, 1_000_000), workshop, seconds=900.0)
    assert "data-bid " not in page.get(f"/quotes/{quote.pk}").content.decode()


def test_a_bid_sets_its_multiple_aside_and_can_be_changed_while_the_job_waits(
    page: Client, student: User, workshop: Workshop, crowd: None
) -> None:
    quote = a_quote(student, workshop, seconds=9.0)
    address = page.post(f"/quotes/{quote.pk}/run", {"bid": "2"}).url
    job = Job.objects.get(order__quote=quote)
    assert balance_of(student, workshop).held_milli == 2 * quote.ceiling_milli
    assert "Raise to Express" in page.get(address).content.decode()
    told = page.post(f"{address}/bid", {"multiple": "4"}, follow=True).content.decode()
    assert "Your bid is ×4 now" in told
    page.post(f"{address}/bid", {"multiple": "1"})
    job.refresh_from_db()
    assert (job.bid, job.held_milli) == (1, quote.ceiling_milli)
    assert audit.findings() == []


@pytest.mark.parametrize("bid", ["3", "-1", "1e9", "express"])
def test_a_bid_off_the_ladder_is_refused_by_name(
    page: Client, student: User, workshop: Workshop, agent: Agent, bid: str
) -> None:
    quote = a_quote(student, workshop, seconds=9.0)
    answer = page.post(f"/quotes/{quote.pk}/run", {"bid": bid})
    assert answer.status_code == 409
    assert "A bid is one of 1, 2, 4" in answer.content.decode()
    assert balance_of(student, workshop).held_milli == 0


def test_a_bid_beyond_ones_credits_changes_nothing(
    page: Client, student: User, workshop: Workshop, crowd: None
) -> None:
    job = a_job(student, workshop, seconds=300.0)
    told = page.post(f"/jobs/{job.pk}/bid", {"multiple": "4"}, follow=True).content.decode()
    assert "credits short of that bid" in told
    job.refresh_from_db()
    assert job.bid == 1


def test_anothers_bid_and_job_are_not_found(page: Client, workshop: Workshop, agent: Agent) -> None:
    job = a_job(a_student(workshop), workshop)
    assert page.post(f"/jobs/{job.pk}/bid", {"multiple": "2"}).status_code == 404
    assert page.post(f"/jobs/{job.pk}/buy").status_code == 404


def test_out_of_credits_a_job_still_runs_and_pays_nothing(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    account = posting.member_account(student, workshop)
    posting.hold(account_id=account, amount_milli=99_990, key=uuid.uuid4(), subject="job:else")
    quote = a_quote(student, workshop, seconds=9.0)
    assert "Run it later for nothing" in page.get(f"/quotes/{quote.pk}").content.decode()
    address = page.post(f"/quotes/{quote.pk}/run", {"unpaid": "1"}).url
    assert "nothing is set aside and nothing paid" in page.get(address).content.decode()
    taken(agent).succeed(charged_ms=9_000)
    job = Job.objects.get(order__quote=quote)
    assert (job.status, job.captured_milli) == ("succeeded", 0)


def test_who_has_credits_is_told_so_instead_of_queueing_unpaid(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=9.0)
    assert "Run it later for nothing" not in page.get(f"/quotes/{quote.pk}").content.decode()
    answer = page.post(f"/quotes/{quote.pk}/run", {"unpaid": "1"})
    assert answer.status_code == 409
    assert "You have enough credits" in answer.content.decode()


def test_what_a_failed_job_did_produce_can_be_bought_once(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    job = a_job(student, workshop, seconds=9.0)
    voice = taken(agent)
    voice.stored(1)
    voice.fail(Cause.EXECUTION_ERROR, charged_ms=4_000)
    before = balance_of(student, workshop).available_milli
    shown = page.get(f"/jobs/{job.pk}").content.decode()
    assert "Buy it for 0.40 credits" in shown
    for _twice in range(2):
        told = page.post(f"/jobs/{job.pk}/buy", follow=True).content.decode()
    assert "You bought what it did produce for 0.40 credits" in told
    assert before - balance_of(student, workshop).available_milli == 400
    assert audit.findings() == []
