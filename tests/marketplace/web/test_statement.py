"""The statement: each line with its job and the balance after it."""

import csv
import io
import re
from collections.abc import Callable

import pytest
from django.test import Client

from accounts.ledger import balances, posting
from accounts.models import User, Workshop
from marketplace.fleet.models import Agent
from tests.factories.jobs import a_job, a_student, taken
from tests.factories.people import give

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
    with django_assert_max_num_queries(9):
        page.get("/statement")
