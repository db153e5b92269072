"""The real workflows beside the repository, priced with a real ComfyUI's node definitions."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.job_types.base import AssumedUploads, Refusal, Surroundings
from marketplace.pricing.quote import PricedQuote, price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui.graphs import COMFYUI

pytestmark = pytest.mark.recordings


@pytest.fixture
def real(recordings: Path) -> Surroundings:
    told = json.loads(gzip.decompress((recordings / "comfyui/object_info.json.gz").read_bytes()))
    return Surroundings(node_definitions=told, any_model=True, uploads=AssumedUploads())


def quoted(path: Path, real: Surroundings) -> PricedQuote | Refusal:
    try:
        return price(COMFYUI.demand(COMFYUI.check(COMFYUI.parse(path.read_bytes()), real)), DEFAULT_RATE)
    except Refusal as refusal:
        return refusal


def test_every_api_file_is_priced_or_refused_naming_the_node(recordings: Path, real: Surroundings) -> None:
    outcomes = {p.name: quoted(p, real) for p in sorted((recordings / "workflows").glob("*.api.json"))}
    refused: dict[str, Any] = {name: each for name, each in outcomes.items() if isinstance(each, Refusal)}
    assert len(outcomes) == 33
    assert {name: each.problems[0].code for name, each in refused.items()} == {
        "api_openai_gpt_image_2_t2i.converted.api.json": "no_class_type",
        "fork_flux-controlnet-0.api.json": "unknown_node",
        "fork_image-upscale-with-model-0.api.json": "unknown_node",
        "fork_ltxv-1.api.json": "unknown_node",
        "fork_sdxl-union-controlnet-0.api.json": "unknown_node",
    }
    assert all(problem.node for each in refused.values() for problem in each.problems)


def test_both_forms_of_a_file_get_the_same_quote(recordings: Path, real: Surroundings) -> None:
    same = 0
    for path in sorted((recordings / "workflows").glob("*.ui.json")):
        ours = quoted(path, real)
        theirs = quoted(path.with_name(path.name.replace(".ui.", ".converted.api.")), real)
        if isinstance(ours, PricedQuote) and isinstance(theirs, PricedQuote):
            assert (ours.quote_milli, ours.gpu_seconds) == (theirs.quote_milli, theirs.gpu_seconds), path.name
            same += 1
    assert same == 21
