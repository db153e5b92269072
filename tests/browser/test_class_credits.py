"""An instructor's way through the admin: a roster of thirty, credits for all, and back again."""

import re
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.ledger import audit, balances, posting
from accounts.models import User, Workshop
from tests.browser.live import aside
from tests.factories import people

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PEOPLE = 30


def a_class_with_a_pool() -> int:
    place = people.workshop(name="Night class")
    people.give(
        posting.pool_account(place), 2_000_000, reference="purchase", money_minor=19_900, currency="EUR"
    )
    teacher = people.instructor(place, "ina")
    teacher.set_password("teach-me-well")
    teacher.save()
    return place.pk


def spend(who: str, amount_milli: int) -> None:
    place = Workshop.objects.get()
    account = posting.member_account(User.objects.get(display_name=who), place)
    posting.capture(hold_key=people.hold(account, amount_milli), amount_milli=amount_milli, key=uuid.uuid4())


def what_all_have() -> list[int]:
    place = Workshop.objects.get()
    students = User.objects.filter(enrolments__workshop=place, enrolments__role="student").order_by(
        "display_name"
    )
    return [balances.balance(posting.member_account(who, place)).available_milli for who in students]


def import_roster(page: Page, roster: Path) -> None:
    page.get_by_role("link", name="Import roster").click()
    page.locator("input[type=file]").set_input_files(roster)
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_text(f"Of {PEOPLE + 1} rows, {PEOPLE} would add or change somebody")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Nobody"))).to_contain_text(
        "not-mail is not an e-mail address"
    )
    page.get_by_role("button", name=f"Import {PEOPLE} people").click()
    expect(page.get_by_text(f"{PEOPLE} people imported, 1 rows left out.")).to_be_visible()


def test_an_instructor_imports_grants_and_undoes(
    live_server: LiveServer, context: BrowserContext, tmp_path: Path
) -> None:
    place = aside(a_class_with_a_pool)
    roster = tmp_path / "class.csv"
    lines = [f"Person {n:02},p{n:02}@school.test,student,Night" for n in range(1, PEOPLE + 1)]
    roster.write_text("\n".join(["name,email,role,team", *lines, "Nobody,not-mail,student,Night"]))
    page = context.new_page()
    page.goto(f"{live_server.url}/admin/login/?next=/admin/")
    page.locator("[name=username]").fill("ina")
    page.locator("[name=password]").fill("teach-me-well")
    page.locator("[name=password]").press("Enter")
    page.wait_for_url("**/admin/")
    the_class = f"{live_server.url}/admin/accounts/workshop/{place}/change/"
    page.goto(the_class)
    import_roster(page, roster)

    page.goto(the_class)
    page.get_by_role("link", name="Grant credits").click()  # first click
    page.get_by_label("Credits for each").fill("50")
    page.get_by_label("Reason").fill("Welcome")
    page.get_by_role("button", name="Preview").click()  # second
    expect(page.get_by_text("30 students get 50.00 credits each, 1,500.00 in all")).to_be_visible()
    expect(page.get_by_text("The pool has 2,000.00 and keeps 500.00.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Person 07"))).to_contain_text("50.00")
    assert aside(what_all_have) == [0] * PEOPLE
    page.get_by_role("button", name="Give 1,500.00 credits").click()  # third
    expect(page.get_by_role("button", name="Undo: take 1,500.00 credits back")).to_be_visible()
    assert aside(what_all_have) == [50_000] * PEOPLE

    aside(spend, "Person 03", 12_340)
    aside(spend, "Person 21", 50_000)
    page.reload()
    page.get_by_label("Reason").fill("Wrong class")
    page.get_by_role("button", name="Undo: take 1,437.66 credits back").click()
    undone = page.get_by_role("status").filter(has_text="Undone by ina")
    expect(undone).to_contain_text("1,437.66 credits came back")
    expect(undone).to_contain_text("62.34 did not, since they were spent or set aside: Person 03, Person 21.")
    assert aside(what_all_have) == [0] * PEOPLE
    assert aside(audit.findings) == []
