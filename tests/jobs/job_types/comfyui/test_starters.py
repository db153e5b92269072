"""Our own templates: each fits its form, passes every check and has a price, also on a real ComfyUI."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.simulator.definitions import own_definitions
from gpu_agent.simulator.models import MODEL_FILES
from jobs.job_types.base import Checked, Surroundings, UploadedFile
from jobs.job_types.comfyui import form, known_models
from jobs.job_types.comfyui.starters import STARTERS, StarterTemplate
from marketplace.pricing.quote import PricedQuote, price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui.graphs import COMFYUI

SCAN = UploadedFile("ab" * 32, "scan.png", 90_000, width=1024, height=768)


def checked(starter: StarterTemplate, node_definitions: dict[str, Any], **more: Any) -> Checked:
    pictures = {row["name"]: "scan.png" for row in starter.form if row["kind"] == "image"}
    filled = form.fill(starter.payload, starter.form, pictures)
    around = Surroundings(node_definitions=node_definitions, uploads={"scan.png": SCAN}, **more)
    return COMFYUI.check(COMFYUI.parse(json.dumps(filled).encode()), around)


def quoted(found: Checked) -> PricedQuote:
    return price(COMFYUI.demand(found), DEFAULT_RATE)


@pytest.mark.parametrize("starter", STARTERS, ids=lambda one: one.slug)
def test_a_starter_runs_on_the_simulator_with_the_models_it_names(starter: StarterTemplate) -> None:
    form.validate(starter.form, starter.payload)
    found = checked(starter, own_definitions(), models=MODEL_FILES)
    assert set(found.model_files) == {(row["folder"], row["name"]) for row in starter.model_files}
    assert all(row["size_bytes"] > 1e7 and row["licence"] and row["url"] for row in starter.model_files)
    assert found.unfamiliar == frozenset()
    assert COMFYUI.demand(found).band == pytest.approx(1.3)
    assert 100 < quoted(found).quote_milli < 10_000


@pytest.mark.recordings
@pytest.mark.parametrize("starter", STARTERS, ids=lambda one: one.slug)
def test_a_real_comfyui_takes_a_starter_at_the_same_price(starter: StarterTemplate, recordings: Path) -> None:
    told = json.loads(gzip.decompress((recordings / "comfyui/object_info.json.gz").read_bytes()))
    real = quoted(checked(starter, told, any_model=True))
    assert real.quote_milli == quoted(checked(starter, own_definitions(), models=MODEL_FILES)).quote_milli


def test_there_are_starters_for_every_kind_of_work() -> None:
    kinds = {starter.category for starter in STARTERS}
    assert kinds >= {"Text to image", "Image to image", "Inpaint", "Upscale", "Text to video"}
    assert "Image to video" in kinds
    assert len({starter.slug for starter in STARTERS}) == len(STARTERS) == 11


def test_a_file_is_known_by_its_name_whatever_subfolder_the_host_keeps_it_in() -> None:
    found = known_models.known("unet", "flux\\flux1-schnell.safetensors")
    assert found is not None
    assert (found.folder, found.licence, found.commercial) == ("diffusion_models", "Apache-2.0", True)
    restricted = known_models.known("", "flux1-dev.safetensors")
    assert restricted is not None
    assert not restricted.commercial
    (row,) = known_models.rows([("loras", "mine.safetensors")])
    assert (row["name"], row["size_bytes"], row["commercial"]) == ("mine.safetensors", 0, False)
