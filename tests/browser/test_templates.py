"""A student's way from a template to a job: steps moved, a missing model swapped, the run."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Workshop
from jobs.models import Job
from marketplace.market import importing
from marketplace.market.models import Quote
from tests.browser.live import aside
from tests.browser.subgraph_file import GONE, subgraph_file
from tests.factories.jobs import a_student, a_workshop
from tests.factories.templates import a_comfyui_agent, a_template
from tests.factories.workflows import MODEL, a_sketch

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "darkroom-demo"


def a_class_with_starters() -> str:
    """A workshop with a GPU, our starters and a student; the student's name."""
    place = a_workshop()
    a_comfyui_agent(place)
    importing.import_starters(place)
    student = a_student(place)
    student.set_password(PASSWORD)
    student.save()
    return student.username


def a_template_of_a_missing_model() -> int:
    prompt = {
        "name": "prompt",
        "node": "6",
        "input": "text",
        "kind": "text",
        "default": "",
        "label": "Prompt",
    }
    return a_template(Workshop.objects.get(), a_sketch(model=GONE), form=[prompt]).pk


def sign_in(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/studio")


def offered(page: Page) -> Decimal:
    found = re.search(r"up to ([\d.,]+) credits", page.locator("#run").inner_text())
    assert found is not None
    return Decimal(found[1])


def held_credits(name: str) -> list[Decimal]:
    return [
        Decimal(job.held_milli) / 1000
        for job in Job.objects.filter(student__username=name).order_by("number")
    ]


def sampled_with(name: str) -> dict[str, Any]:
    """Inputs of the loader and the sampler of the last quote."""
    payload = Quote.objects.filter(student__username=name).latest("created_at").payload
    return {**payload["1"]["inputs"], **payload["128:5"]["inputs"]}


def test_steps_move_the_price_and_a_missing_model_is_swapped(
    live_server: LiveServer, context: BrowserContext, tmp_path: Path
) -> None:
    name, file = aside(a_class_with_starters), subgraph_file(tmp_path)
    page = context.new_page()
    sign_in(page, live_server.url, name)
    page.get_by_role("link", name="Quick sketch").click()
    page.wait_for_url("**/templates/*")
    steps = page.get_by_role("spinbutton", name="Steps")
    expect(steps).to_have_value("20")
    few = offered(page)
    hints_at_20 = page.locator("[data-hints]").inner_text()
    page.get_by_role("slider", name="Steps").fill("40")
    expect(steps).to_have_value("40")
    expect(page.locator("#quote")).not_to_contain_text(f"up to {few} credits")
    many = offered(page)
    assert many > few
    assert page.locator("[data-hints]").inner_text() != hints_at_20
    page.reload()
    expect(steps).to_have_value("40")
    assert offered(page) == many
    page.locator("#run").click()
    page.wait_for_url("**/jobs/*")
    assert aside(held_credits, name) == [many]

    page.goto(f"{live_server.url}/studio")
    page.locator("#workflow-file").set_input_files(file)
    expect(page.get_by_label("Title")).to_have_value("tram at night")
    page.locator("#own").get_by_role("button", name="See the price").click()
    told = page.get_by_role("alert")
    expect(told).to_contain_text("One thing to mend")
    expect(told).to_contain_text(f"{GONE} has about")
    expect(told).to_contain_text("models/checkpoints/")
    told.get_by_label(f"Use instead of {GONE}").select_option(MODEL)
    told.get_by_role("button", name="Use these and price again").click()
    page.wait_for_url("**/quotes/*")
    assert aside(sampled_with, name)["ckpt_name"] == MODEL
    assert aside(sampled_with, name)["steps"] == 12
    asked = offered(page)
    page.locator("#run").click()
    page.wait_for_url("**/jobs/*")
    assert aside(held_credits, name) == [many, asked]


def test_a_template_works_without_scripts(live_server: LiveServer, browser: Browser) -> None:
    name = aside(a_class_with_starters)
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, live_server.url, name)
        page.get_by_role("link", name="Quick sketch").click()
        few = offered(page)
        page.get_by_role("spinbutton", name="Steps").fill("40")
        page.get_by_role("button", name="Price", exact=True).click()
        expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("40")
        many = offered(page)
        assert many > few
        page.locator("#run").click()
        page.wait_for_url("**/jobs/*")
    assert aside(held_credits, name) == [many]


def test_a_templates_missing_model_is_swapped_where_it_is_told(
    live_server: LiveServer, context: BrowserContext
) -> None:
    name = aside(a_class_with_starters)
    number = aside(a_template_of_a_missing_model)
    page = context.new_page()
    sign_in(page, live_server.url, name)
    page.goto(f"{live_server.url}/templates/{number}")
    expect(page.locator("#quote")).to_contain_text(f"{GONE} has about")
    page.get_by_label(f"Use instead of {GONE}").select_option(MODEL)
    page.get_by_role("button", name="Use these and price again").click()
    expect(page.locator("#run")).to_be_visible()
    expect(page.get_by_role("list", name="Changes to the workflow")).to_contain_text(MODEL)
    page.get_by_text("What it pays for").click()
    page.evaluate(
        "() => { window.swapped = new Promise((done) => addEventListener('htmx:afterSettle', done)); }"
    )
    page.get_by_label("Prompt").fill("a red door")
    page.evaluate("() => window.swapped.then(() => true)")
    expect(page.locator("#lines")).to_have_attribute("open", "")


def test_pages_of_templates_scroll_no_way_but_down(live_server: LiveServer, context: BrowserContext) -> None:
    name = aside(a_class_with_starters)
    page = context.new_page()
    sign_in(page, live_server.url, name)
    page.get_by_role("link", name="Text to video").first.click()
    page.wait_for_url("**/templates/*")
    template = page.url.partition("#")[0]
    page.get_by_role("button", name="Several at once: a sweep").click()
    page.get_by_label("Width").fill("512, 768")
    expect(page.locator("#run")).to_contain_text("Run 2 jobs")
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 780})
        for address in (f"{live_server.url}/studio", template, f"{template}/sweep"):
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
