"""The statement: each line with its job and the balance after it."""

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from accounts import clock as market_clock
from accounts.ledger import balances, posting
from accounts.models import User, Workshop
from marketplace.fleet.models import Agent
from tests.factories import clock
from tests.factories.jobs import a_job, a_student, taken
from tests.factories.people import give, hold

pytestmark = pytest.mark.django_db


def test_each_line_leads_to_its_job_and_shows_the_balance_after_it(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    job = a_job(student, workshop, seconds=99.0)
    taken(agent).succeed(charged_ms=93_500)
    text = page.get("/statement").content.decode()
    assert text.count(f'href="/jobs/{job.pk}"') == 2
    assert "released 3.03" in text
    for words in (
        "−12.38",
        "+12.38",
        "−9.35",
        "+3.03",
        "87.62",
        "90.65 available + 0.00 held = 90.65. Adds up.",
    ):
        assert words in text


def test_the_filter_shows_one_kind(page: Client, student: User, workshop: Workshop, agent: Agent) -> None:
    job = a_job(student, workshop)
    page_of = {
        word: page.get(f"/statement?show={word}").content.decode() for word in ("in", "held", "nonsense")
    }
    assert f"/jobs/{job.pk}" not in page_of["in"]
    assert f"/jobs/{job.pk}" in page_of["held"]
    assert "Granted" in page_of["nonsense"]


def test_pages_go_by_key_so_new_lines_shift_nothing(page: Client, student: User, workshop: Workshop) -> None:
    account_id = posting.member_account(student, workshop)
    for amount in range(1, 61):
        give(account_id, amount * 10, reason=f"gift number {amount}.")
    first = page.get("/statement").content.decode()
    give(account_id, 10, reason="came meanwhile.")
    found = re.search(r'href="\?before=(\d+)"', first)
    assert found is not None
    second = page.get(f"/statement?before={found[1]}").content.decode()
    told = re.findall(r"gift number (\d+)\.", first + second)
    assert told == [str(amount) for amount in range(60, 0, -1)]


def test_the_spreadsheet_replays_to_the_balance(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    job = a_job(student, workshop, seconds=99.0)
    taken(agent).succeed(charged_ms=93_500)
    answer = page.get("/statement.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    now = balances.balance(posting.member_account(student, workshop))
    assert round(sum(float(row["available_change"]) for row in rows) * 1000) == now.available_milli
    assert rows[0]["job"] == str(job.number)
    assert [row["entry"] for row in rows] == ["capture", "hold", "grant"]


def test_a_title_that_looks_like_a_formula_is_made_harmless(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    job = a_job(student, workshop)
    type(job).objects.update(title="=HYPERLINK(1)")
    assert ",'=HYPERLINK(1)," in b"".join(page.get("/statement.csv")).decode()


def test_an_empty_statement_says_so(client: Client, workshop: Workshop) -> None:
    client.force_login(a_student(workshop, credits_milli=0))
    assert "No entries here yet." in client.get("/statement").content.decode()


def test_a_statement_asks_few_questions(
    page: Client, student: User, workshop: Workshop, agent: Agent, django_assert_max_num_queries: Callable
) -> None:
    for _ in range(10):
        a_job(student, workshop)
    with django_assert_max_num_queries(10):
        page.get("/statement")


def an_hour_apart(account_id: int) -> str:
    """A gift now and one in two hours; the time between, as the page's field writes it in Berlin."""
    give(account_id, 5_000, reason="came early.")
    between = market_clock.now() + timedelta(hours=1)
    clock.advance(hours=2)
    give(account_id, 7_000, reason="came late.")
    return f"{between.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%dT%H:%M}"


def test_one_can_look_back_and_the_page_is_about_that_time(
    page: Client, student: User, workshop: Workshop
) -> None:
    when = an_hour_apart(posting.member_account(student, workshop))
    text = page.get("/statement", {"as_of": when}).content.decode()
    assert "came early." in text
    assert "came late." not in text
    assert "105.00 available + 0.00 held = 105.00. Adds up." in text
    assert f'href="/statement.csv?as_of={when.replace(":", "%3A")}"' in text
    assert "112.00 available" in page.get("/statement").content.decode()


def test_the_spreadsheet_follows_filter_and_time(page: Client, student: User, workshop: Workshop) -> None:
    account_id = posting.member_account(student, workshop)
    hold(account_id, 1_000)
    when = an_hour_apart(account_id)
    text = b"".join(page.get("/statement.csv", {"show": "in", "as_of": when})).decode()
    assert "came early." in text
    assert "came late." not in text
    assert ",hold," not in text


@pytest.mark.parametrize("address", ["/statement", "/statement.csv"])
@pytest.mark.parametrize("when", ["yesterday", "2031-02-30T10:00", "-5"])
def test_a_time_that_is_none_is_refused_by_name(page: Client, address: str, when: str) -> None:
    answer = page.get(address, {"as_of": when})
    assert answer.status_code == 400
    assert f"“{when}” is not a time" in answer.content.decode()


@pytest.mark.parametrize("when", ["9999-12-31T23:59", "0001-01-01T00:00"])
def test_the_ends_of_time_are_times(page: Client, when: str) -> None:
    text = page.get("/statement", {"as_of": when}).content.decode()
    assert ("Granted" in text) == when.startswith("9")
