"""A newcomer's way through the whole house: from signing in to a receipt whose numbers add up."""

import copy
import json
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from jobs.job_types.comfyui.starters import STARTERS
from tests.browser.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.stack]
STARTER = next(one for one in STARTERS if one.slug == "sdxl-text-to-image")
PATIENCE_MS = 60_000
WATCH = """
() => {
  window.seen = { percents: new Set(), previews: new Set(), states: new Set() };
  const look = () => {
    const percent = document.querySelector("[data-p=percent]")?.textContent;
    const preview = document.querySelector("img[data-p=preview]")?.getAttribute("src");
    const state = document.querySelector("#main [data-state]")?.dataset.state;
    if (percent) window.seen.percents.add(percent);
    if (preview) window.seen.previews.add(preview);
    if (state) window.seen.states.add(state);
  };
  new MutationObserver(look).observe(document.getElementById("main"),
    { subtree: true, childList: true, characterData: true, attributes: true });
  look();
}
"""
SEEN = "() => Object.fromEntries(Object.entries(window.seen).map(([name, found]) => [name, [...found]]))"


def a_workflow(seed: int, steps: int = 30) -> str:
    graph = copy.deepcopy(STARTER.payload)
    graph["sample"]["inputs"].update(seed=seed, steps=steps)
    return json.dumps(graph, indent=2)


def order(watched: Watched, seed: int, steps: int = 30) -> None:
    """From the studio to the job's page, with a pasted workflow."""
    page = watched.page
    page.get_by_label("Or paste it").fill(a_workflow(seed, steps))
    page.get_by_label("Title").fill("Harbour at dusk")
    page.locator("#own").get_by_role("button", name="See the price").click()
    page.wait_for_url("**/quotes/*")
    page.locator("#run").click()
    page.wait_for_url("**/jobs/*")


def receipt(watched: Watched) -> dict[str, Decimal]:
    cells = {
        name: watched.page.locator(f"[data-receipt={name}]") for name in ("quote", "held", "paid", "returned")
    }
    return {
        name: Decimal(cell.inner_text().replace("+", "").replace(",", "")) for name, cell in cells.items()
    }


def test_a_newcomer_buys_a_picture(watched: Watched) -> None:
    watched.sign_in()
    page = watched.page
    order(watched, seed=11)
    page.evaluate(WATCH)
    expect(page.locator("[data-receipt=paid]")).to_be_visible(timeout=PATIENCE_MS)
    seen = page.evaluate(SEEN)
    assert len(seen["percents"]) >= 3
    assert seen["previews"]
    assert {"running", "succeeded"} <= set(seen["states"])
    picture = page.get_by_role("img", name="Result:")
    expect(picture).to_be_visible()
    page.wait_for_function("picture => picture.naturalWidth === 1024", arg=picture.element_handle())
    told = receipt(watched)
    assert told["paid"] + told["returned"] == told["held"]
    assert 0 < told["paid"] <= told["held"]
    assert watched.complaints == []


def test_the_page_after_the_run_is_the_page_after_a_reload(watched: Watched) -> None:
    watched.sign_in("student2")
    order(watched, seed=12)
    page = watched.page
    expect(page.locator("[data-receipt=paid]")).to_be_visible(timeout=PATIENCE_MS)
    live = page.locator("#main [data-live]").inner_html()
    page.reload()
    assert page.locator("#main [data-live]").inner_html() == live
    assert watched.complaints == []


def test_the_price_names_the_amount_that_is_then_set_aside(watched: Watched) -> None:
    watched.sign_in("student3")
    page = watched.page
    page.get_by_role("link", name="Quick sketch").click()
    page.wait_for_url("**/templates/*")
    offered = page.locator("#run").inner_text()
    page.locator("#run").click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator("[data-receipt=paid]")).to_be_visible(timeout=PATIENCE_MS)
    assert offered == f"Run for up to {receipt(watched)['held']} credits"
    watched.visit("/statement")
    expect(page.get_by_text("Adds up.")).to_be_visible()
    page.get_by_role("link", name="Captured").click()
    expect(page.get_by_text("Welcome to the demo class")).to_be_hidden()
    page.wait_for_url("**/statement?show=captured")
    assert watched.complaints == []


def test_a_running_job_is_cancelled_and_the_rest_returns(watched: Watched) -> None:
    watched.sign_in("student4")
    order(watched, seed=13, steps=150)
    page = watched.page
    expect(page.locator("img[data-p=preview][src]")).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#cancel-button").click()
    expect(page.locator("[data-receipt=returned]")).to_be_visible(timeout=PATIENCE_MS)
    told = receipt(watched)
    assert told["paid"] + told["returned"] == told["held"]
    assert told["returned"] > 0
    assert watched.complaints == []


def test_without_a_socket_the_page_polls_and_arrives_all_the_same(watched: Watched) -> None:
    watched.page.add_init_script(
        "window.WebSocket = class extends EventTarget { constructor() { super();"
        " setTimeout(() => this.dispatchEvent(new CloseEvent('close')), 5); } send() {} };"
        "window.WebSocket.OPEN = 1;"
    )
    watched.sign_in("student5")
    order(watched, seed=14)
    expect(watched.page.locator("[data-receipt=paid]")).to_be_visible(timeout=PATIENCE_MS)
    expect(watched.page.locator("#not-live")).to_be_hidden()
    assert watched.complaints == []


def test_a_page_that_hears_nothing_says_so_after_ten_seconds(watched: Watched) -> None:
    watched.sign_in("student6")
    watched.page.context.set_offline(True)
    expect(watched.page.locator("#not-live")).to_be_visible(timeout=30_000)
    expect(watched.page.locator("#not-live")).to_contain_text("You are offline")
    watched.page.context.set_offline(False)
    expect(watched.page.locator("#not-live")).to_be_hidden(timeout=PATIENCE_MS)


def test_the_keyboard_alone_leads_from_sign_in_to_the_price(watched: Watched) -> None:
    page = watched.page
    watched.visit("/sign-in")
    page.keyboard.type("student7")
    page.keyboard.press("Tab")
    page.keyboard.type("darkroom-demo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("link", name="Quick sketch").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/templates/*")
    expect(page.locator("#run")).to_be_visible()
    assert watched.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_scrolls_sideways(watched: Watched, theme: str, width: int) -> None:
    page = watched.page
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 780})
    watched.sign_in("student")
    for address in ("/studio", "/jobs", "/statement", "/nowhere"):
        watched.visit(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
