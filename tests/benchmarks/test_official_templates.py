"""The count of official templates counts, with a package of three made for the test."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import official_templates
from tests.jobs.job_types.comfyui.graphs import DEFINITIONS
from tests.jobs.job_types.comfyui.ui_files import text_to_image_ui

INDEX = [{"templates": [{"name": "good", "openSource": True}, {"name": "paid", "openSource": False}]}]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    templates = tmp_path / "templates"
    templates.mkdir()
    files = {"good": text_to_image_ui(), "paid": text_to_image_ui().add(9, "PaidCloudNode"),
             "newer": text_to_image_ui().add(9, "NodeOfNextYear")}  # fmt: skip
    for name, ui in files.items():
        (templates / f"{name}.json").write_text(json.dumps(ui.data))
    (templates / "index.json").write_text(json.dumps(INDEX))
    (tmp_path / "object_info.json").write_text(json.dumps(DEFINITIONS))
    monkeypatch.setenv("OFFICIAL_TEMPLATES", str(templates))
    monkeypatch.setenv("NODE_DEFINITIONS", str(tmp_path / "object_info.json"))
    return templates


def test_what_is_priced_and_what_is_refused_for_which_cause_is_told(package: Path) -> None:
    figures = {figure["name"]: figure for figure in official_templates.run()}
    assert (figures["official_templates"]["value"], figures["official_templates"]["met"]) == (1, True)
    assert figures["official_templates_refused (partner node)"]["unit"] == "PaidCloudNode 1"
    assert figures["official_templates_refused (node unknown to these definitions)"]["value"] == 1


def test_a_refusal_of_our_own_making_misses_the_goal(package: Path) -> None:
    strange = text_to_image_ui()
    strange.nodes[3]["widgets_values"] = [-5, 64, 1]
    (package / "strange.json").write_text(json.dumps(strange.data))
    counted = next(iter(official_templates.run()))
    assert (counted["value"], counted["unit"], counted["met"]) == (1, "of 2 with only known nodes", False)


def test_without_the_package_it_says_so(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DEFINITIONS", str(package / "nothing.json"))
    (figure,) = official_templates.run()
    assert figure["unit"] == "not run: no node definitions installed"
    assert figure["met"] is None
