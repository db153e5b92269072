"""What holds of every graph: no exception but a refusal, a finite price, and no way to pay less for more."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_agent.simulator.definitions import own_definitions
from jobs.job_types.base import Checked, Refusal
from jobs.job_types.comfyui import form, graph
from jobs.job_types.comfyui.demand import demand as estimate
from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.starters import STARTERS, StarterTemplate
from marketplace.pricing.quote import PricedQuote, price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui.graphs import demand, text_to_image, with_node
from tests.jobs.job_types.comfyui.mutants import mutated, originals
from tests.jobs.job_types.comfyui.ui_files import Ui, text_to_image_ui


def quoted(found: dict[str, Any], **more: Any) -> int:
    return price(demand(found, **more), DEFAULT_RATE).quote_milli


def bare(nodes: graph.Graph) -> Checked:
    """A graph handed to the estimate as if every check had let it pass."""
    return Checked(nodes, (), {}, (), (), outputs=tuple(nodes))


@pytest.mark.parametrize("seed", range(20))
def test_a_hundred_mutants_are_refused_or_priced(seed: int) -> None:
    chance = random.Random(seed)
    outcomes = [outcome(mutated(chance.choice(originals()), chance)) for _ in range(100)]
    refused = [each for each in outcomes if isinstance(each, Refusal)]
    priced = [each for each in outcomes if isinstance(each, PricedQuote)]
    assert len(refused) > 10
    assert len(priced) > 10
    assert all(problem.code and problem.message for each in refused for problem in each.problems)
    assert all(10 <= each.quote_milli <= each.ceiling_milli for each in priced)
    assert all(math.isfinite(each.seconds_p90) for each in priced)


def outcome(mutant: dict[str, Any]) -> Refusal | PricedQuote:
    try:
        return price(demand(mutant), DEFAULT_RATE)
    except Refusal as refusal:
        return refusal


@pytest.mark.parametrize("seed", range(5))
def test_an_estimate_is_finite_and_bounded_even_without_checks(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        mutant = mutated(chance.choice(originals()), chance)
        try:
            nodes = graph.structured(mutant)
        except Refusal:
            continue
        found = estimate(bare(nodes))
        assert math.isfinite(found.gpu_seconds)
        assert found.gpu_seconds >= 0.5
        assert found.vram_bytes > 0
        links = sum(1 for node in nodes.values() for _ in graph.links(node))
        assert Scene(nodes, {}).answers <= 8 * (links + len(nodes))


@pytest.mark.recordings
def test_mutants_of_real_workflows_never_break_the_estimate(recordings: Path) -> None:
    chance = random.Random(7)
    for path in sorted((recordings / "workflows").glob("*.api.json")):
        real = json.loads(path.read_bytes())
        for _ in range(20):
            try:
                nodes = graph.structured(mutated(real, chance))
            except Refusal:
                continue
            assert math.isfinite(estimate(bare(nodes)).gpu_seconds)


@given(st.integers(1, 500), st.integers(1, 500))
@settings(max_examples=50)
def test_more_steps_never_cost_less(one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    assert quoted(text_to_image(sampler__steps=fewer)) <= quoted(text_to_image(sampler__steps=more))


@given(st.integers(16, 4096), st.integers(16, 4096), st.integers(0, 2048))
@settings(max_examples=50)
def test_a_larger_picture_never_costs_less(width: int, height: int, more: int) -> None:
    small = text_to_image(empty__width=width, empty__height=height)
    large = text_to_image(empty__width=width + more, empty__height=height)
    assert quoted(small) <= quoted(large)


@given(
    st.sampled_from(["ltx-2-19b", "wan2.2_14B", "hunyuan_video"]), st.integers(1, 300), st.integers(0, 300)
)
@settings(max_examples=50)
def test_more_frames_never_cost_less(model: str, frames: int, more: int) -> None:
    def clip(length: int) -> dict[str, Any]:
        plain = text_to_image(model__ckpt_name=f"{model}.safetensors", sampler__latent_image=["clip", 0])
        return with_node(plain, "clip", "EmptyHunyuanLatentVideo", width=640, height=384, length=length)

    assert quoted(clip(frames)) <= quoted(clip(frames + more))


@given(st.integers(1, 128), st.integers(0, 128))
@settings(max_examples=50)
def test_a_larger_batch_never_costs_less(batch: int, more: int) -> None:
    assert quoted(text_to_image(empty__batch_size=batch)) <= quoted(
        text_to_image(empty__batch_size=batch + more)
    )


@given(st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_a_renumbered_copy_costs_the_same(chance: random.Random) -> None:
    for original in originals():
        ids = list(original)
        names = dict(zip(ids, map(str, chance.sample(range(1000), len(ids))), strict=True))
        copy = {}
        for node_id in chance.sample(ids, len(ids)):
            inputs = original[node_id]["inputs"].items()
            moved = {k: [names[v[0]], v[1]] if isinstance(v, list) else v for k, v in inputs}
            copy[names[node_id]] = {"class_type": original[node_id]["class_type"], "inputs": moved}
        assert quoted(copy) == quoted(original)


def dearer(starter: StarterTemplate, chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two sets of values for a starter's form, the second nowhere smaller than the first."""
    small, large = {}, {}
    for row in starter.form:
        if row["kind"] == "image":
            small[row["name"]] = large[row["name"]] = "castle.PNG"
        elif row["name"] in ("width", "height", "frames", "steps", "batch", "megapixels"):
            places = int((row["maximum"] - row["minimum"]) / row["step"])
            one, other = sorted(chance.choices(range(places + 1), k=2))
            small[row["name"]] = row["minimum"] + one * row["step"]
            large[row["name"]] = row["minimum"] + other * row["step"]
    return small, large


@pytest.mark.parametrize("starter", STARTERS, ids=lambda one: one.slug)
def test_more_of_anything_in_a_starters_form_never_costs_less(starter: StarterTemplate) -> None:
    chance = random.Random(3)
    for _ in range(12):
        cheap, dear = (
            quoted(form.fill(starter.payload, starter.form, values), node_definitions=own_definitions())
            for values in dearer(starter, chance)
        )
        assert cheap <= dear


@given(st.integers(0, 4), st.integers(16, 2048), st.integers(1, 8))
@settings(max_examples=40)
def test_a_canvas_inside_subgraphs_costs_what_it_costs_flattened(depth: int, width: int, batch: int) -> None:
    ui = text_to_image_ui()
    inner = Ui().add(4, "EmptyLatentImage", 512, 1024, 1)
    for level in range(depth):
        inner.wire(-10, 0, 4, "width", "INT", widget=True).wire(-10, 1, 4, "batch_size", "INT", widget=True)
        ends = {"LATENT": (4, 0)}
        ui.subgraphs.append(inner.as_subgraph(f"level {level}", ["width", "batch_size"], ends))
        inner = Ui().add(4, f"level {level}", 512, 1)
    values = [width, batch] if depth else [width, 1024, batch]
    ui.nodes[3] = {**ui.nodes[3], "type": f"level {depth - 1}" if depth else "EmptyLatentImage"}
    ui.nodes[3]["widgets_values"] = values
    flat = text_to_image(empty__width=width, empty__batch_size=batch)
    assert quoted(ui.data) == quoted(flat)
