"""The price before the click, and the click."""

import json
import re
import uuid
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client

from accounts.ledger import posting
from accounts.models import User, Workshop
from jobs.models import Job, Upload
from marketplace.fleet.models import Agent
from marketplace.market import orders, template_quotes
from marketplace.market.models import Quote
from tests.factories.clock import advance
from tests.factories.jobs import a_quote, a_student, balance_of
from tests.factories.templates import a_template
from tests.marketplace.web.pages import without_token

pytestmark = pytest.mark.django_db


def test_the_price_says_all_there_is_to_know_before_the_click(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=99.0, gib=12, model="big.safetensors")
    shown = page.get(f"/quotes/{quote.pk}").content.decode()
    for words in (
        "<b>9.9</b>", "never above <strong>12.4</strong>", "Run for up to 12.38 credits", "99\u00a0s", "free",
        "about 12.0\u00a0GB of GPU memory", "1–3\u00a0min", "under 1\u00a0min", "Leaves 87.62 available",
        "Simulated GPU", "holds until", "big.safetensors",
    ):  # fmt: skip
        assert words in shown


def test_the_lines_add_up_to_the_price(
    page: Client, student: User, workshop: Workshop, agent: Agent, sketch: Callable[..., str]
) -> None:
    quote = orders.quote(student, workshop, sketch(steps=50).encode())
    table = page.get(f"/quotes/{quote.pk}").content.decode().split("<tbody>")[1].split("</tbody>")[0]
    amounts = re.findall(r"<td>([\d.]+)</td></tr>", table)
    assert sum(map(Decimal, amounts)) * 1000 == quote.quote_milli
    assert table.count("<td>free</td>") == sum(line["free"] for line in quote.lines)


def test_running_sets_the_ceiling_aside_and_leads_to_the_job(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=2)
    answer = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)})
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.pk}"
    assert balance_of(student, workshop).held_milli == quote.ceiling_milli


def test_pressing_twice_and_coming_back_give_the_same_job(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop)
    first = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)})
    second = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)})
    assert first.url == second.url == page.get(f"/quotes/{quote.pk}").url
    assert Job.objects.count() == 1


def test_another_key_for_a_spent_price_leads_to_its_job(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop)
    first = page.post(f"/quotes/{quote.pk}/run", {"key": "one"})
    assert page.post(f"/quotes/{quote.pk}/run", {"key": "two"}).url == first.url


def test_too_few_credits_say_how_many_are_missing(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=1000)
    assert "You are 25.00 credits short." in page.get(f"/quotes/{quote.pk}").content.decode()
    answer = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)})
    assert answer.status_code == 402
    assert "You are 25.00 credits short. Nothing was set aside." in answer.content.decode()
    assert not Job.objects.exists()


def test_an_expired_price_is_renewed_and_says_what_changed(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=2)
    advance(hours=1)
    Workshop.objects.filter(pk=workshop.pk).update(milli_per_gpu_second=200)
    assert "This price has expired." in page.get(f"/quotes/{quote.pk}").content.decode()
    answer = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)}, follow=True)
    assert "It was never above 0.25, now it is never above 0.50." in answer.content.decode()
    assert not Job.objects.exists()


def test_a_renewed_price_that_did_not_change_says_so(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop)
    answer = page.post(f"/quotes/{quote.pk}/again", follow=True)
    assert "Nothing changed." in answer.content.decode()
    assert Quote.objects.count() == 2


def test_files_keep_their_names_when_a_workflow_is_priced_again(
    page: Client, student: User, workshop: Workshop, agent: Agent, sketch: Callable[..., str]
) -> None:
    Upload.objects.create(
        owner=student, workshop=workshop, sha256="a" * 64, name="harbour.png", media_type="image/png",
        size_bytes=9, width=64, height=64,
    )  # fmt: skip
    graph = json.loads(sketch())
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "harbour.png"}}
    graph["11"] = {"class_type": "SaveImage", "inputs": {"images": ["10", 0], "filename_prefix": "x"}}
    quote = orders.quote(student, workshop, json.dumps(graph).encode())
    answer = page.post(f"/quotes/{quote.pk}/again")
    assert answer.status_code == 302
    renewed = Quote.objects.exclude(pk=quote.pk).get()
    assert renewed.inputs == quote.inputs


def test_the_run_bar_is_the_same_alone_as_in_the_page(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop)
    fragment = page.get(f"/quotes/{quote.pk}/_fragment").content.decode()
    assert "Run for up to" in fragment
    assert fragment in page.get(f"/quotes/{quote.pk}").content.decode()


def test_the_run_bar_follows_the_balance(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = a_quote(student, workshop, seconds=1000)
    before = page.get(f"/quotes/{quote.pk}/_fragment")
    posting.grant(
        account_id=posting.member_account(student, workshop),
        amount_milli=50_000,
        key=uuid.uuid4(),
        reference="gift",
    )
    after = page.get(f"/quotes/{quote.pk}/_fragment", headers={"If-None-Match": before["ETag"]})
    assert "credits short" in before.content.decode()
    assert "Leaves 25.00 available" in after.content.decode()


def test_full_waiting_places_are_told_and_nothing_is_set_aside(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    Workshop.objects.filter(pk=workshop.pk).update(max_waiting=0)
    quote = a_quote(student, workshop)
    answer = page.post(f"/quotes/{quote.pk}/run", {"key": str(quote.pk)})
    assert answer.status_code == 429
    assert balance_of(student, workshop).held_milli == 0


@pytest.mark.parametrize("address", ["", "/_fragment", "/run", "/again"])
def test_a_strangers_price_is_answered_as_none(
    page: Client, workshop: Workshop, agent: Agent, address: str
) -> None:
    theirs = a_quote(a_student(workshop), workshop)
    send = page.post if address in ("/run", "/again") else page.get
    foreign, none = send(f"/quotes/{theirs.pk}{address}"), send(f"/quotes/{uuid.uuid4()}{address}")
    assert foreign.status_code == none.status_code == 404
    assert without_token(foreign) == without_token(none)


def test_ordering_needs_a_form_of_ours(student: User, workshop: Workshop, agent: Agent) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(student)
    quote = a_quote(student, workshop)
    assert strict.post(f"/quotes/{quote.pk}/run", {"key": "x"}).status_code == 403
    assert not Job.objects.exists()


def test_a_hint_is_applied_to_the_same_workflow_and_its_form(
    page: Client, student: User, workshop: Workshop, agent: Agent
) -> None:
    quote = template_quotes.store(student, a_template(workshop), {"steps": 40})
    assert quote.hints
    change = json.dumps(quote.hints[0]["changes"])
    answer = page.post(f"/quotes/{quote.pk}/change", {"apply": change})
    renewed = Quote.objects.exclude(pk=quote.pk).get()
    assert answer.url == f"/quotes/{renewed.pk}"
    assert quote.quote_milli - renewed.quote_milli == quote.hints[0]["saved_milli"]
    assert renewed.form_values["steps"] == renewed.payload["3"]["inputs"]["steps"] < 40
