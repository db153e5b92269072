"""The whole way of an own file on the whole house: told what is missing, swapped, run, paid."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.browser.subgraph_file import GONE, subgraph_file
from tests.factories.workflows import MODEL

pytestmark = [pytest.mark.browser, pytest.mark.stack]
PATIENCE_MS = 60_000


def most_credits(watched: Watched) -> float:
    found = re.search(r"up to ([\d.,]+) credits", watched.page.locator("#run").inner_text())
    assert found is not None
    return float(found[1])


def hints(watched: Watched) -> str:
    return " ".join(watched.page.locator("[data-hints]").all_inner_texts())


def run_to_its_receipt(watched: Watched) -> None:
    watched.page.locator("#run").click()
    watched.page.wait_for_url("**/jobs/*")
    expect(watched.page.locator("[data-receipt=paid]")).to_be_visible(timeout=PATIENCE_MS)
    expect(watched.page.get_by_role("img", name="Result:")).to_be_visible()


def test_a_template_with_more_steps_costs_more_and_runs(watched: Watched) -> None:
    watched.sign_in()
    page = watched.page
    page.get_by_role("link", name="Quick sketch").click()
    few, at_20 = most_credits(watched), hints(watched)
    page.get_by_role("slider", name="Steps").fill("40")
    expect(page.locator("#quote")).not_to_contain_text(f"up to {few:.2f} credits")
    assert most_credits(watched) > few
    assert hints(watched) != at_20
    run_to_its_receipt(watched)
    assert not watched.complaints


def test_an_own_file_with_a_subgraph_runs_once_its_missing_model_is_swapped(
    watched: Watched, tmp_path: Path
) -> None:
    watched.sign_in("student2")
    page = watched.page
    page.locator("#workflow-file").set_input_files(subgraph_file(tmp_path))
    page.locator("#own").get_by_role("button", name="See the price").click()
    told = page.get_by_role("alert")
    expect(told).to_contain_text(f"{GONE} has about")
    told.get_by_label(f"Use instead of {GONE}").select_option(MODEL)
    told.get_by_role("button", name="Use these and price again").click()
    page.wait_for_url("**/quotes/*")
    run_to_its_receipt(watched)
    # The refused file is answered with 400, which Chromium writes to its console.
    assert all("400" in said for said in watched.complaints)
