"""What would make a graph cheaper: found where the numbers stand, and such that the graph still checks."""

from typing import Any

import pytest

from jobs.job_types.base import Variant
from tests.jobs.job_types.comfyui.graphs import COMFYUI, around, check, demand, text_to_image, with_node


def variants(graph: dict[str, Any], **more: Any) -> list[Variant]:
    return list(COMFYUI.cheaper(check(graph, **more), around(**more)))


def said(graph: dict[str, Any], **more: Any) -> list[str]:
    return [variant.words for variant in variants(graph, **more)]


def values(variant: Variant) -> dict[tuple[str, str], Any]:
    return {(change.node, change.input): change.value for change in variant.changes}


def test_steps_size_and_batch_are_each_made_smaller() -> None:
    assert said(text_to_image(empty__batch_size=4)) == [
        "12 steps instead of 20",
        "768×768 pixels instead of 1024×1024",
        "1 at a time instead of 4",
    ]


def test_every_variant_checks_and_asks_for_less_work() -> None:
    graph = text_to_image(empty__batch_size=4)
    checked = check(graph)
    for variant in COMFYUI.cheaper(checked, around()):
        smaller = COMFYUI.changed(checked, variant)
        assert COMFYUI.check(smaller.payload, around()).payload == smaller.payload
        assert COMFYUI.demand(smaller).gpu_seconds < demand(graph).gpu_seconds
    assert checked.payload["sampler"]["inputs"]["steps"] == 20


def test_a_primitive_is_changed_at_its_source() -> None:
    graph = with_node(text_to_image(sampler__steps=["count", 0]), "count", "PrimitiveInt", value=30)
    steps = variants(graph)[0]
    assert (steps.words, values(steps)) == ("18 steps instead of 30", {("count", "value"): 18})


def test_clips_get_fewer_frames_that_a_video_model_can_make() -> None:
    graph = text_to_image(model__ckpt_name="hunyuan_video.safetensors")
    graph["empty"] = {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 640, "height": 384, "length": 121, "batch_size": 1},
    }
    (shorter,) = [one for one in variants(graph) if "frames" in one.words]
    assert shorter.words == "73 frames instead of 121"
    assert values(shorter) == {("empty", "length"): 73}


def test_a_faster_model_is_named_only_where_it_is_present() -> None:
    graph = text_to_image(model__ckpt_name="flux1-dev-fp8.safetensors")
    assert not [words for words in said(graph) if "faster" in words]
    here = {"checkpoints": {"flux1-schnell.safetensors", "flux1-schnell-fp8.safetensors", "sdxl.safetensors"}}
    (fast,) = [one for one in variants(graph, models=here) if "faster" in one.words]
    assert fast.words == "the faster model flux1-schnell-fp8.safetensors with 4 steps"
    assert values(fast)["model", "ckpt_name"] == "flux1-schnell-fp8.safetensors"
    assert (values(fast)["sampler", "steps"], values(fast)["sampler", "cfg"]) == (4, 1.0)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_what_is_small_already_is_left_alone(steps: int) -> None:
    assert said(text_to_image(sampler__steps=steps, empty__width=320, empty__height=320)) == []


def test_steps_at_which_samplers_hand_over_move_along() -> None:
    nodes = {
        "first": {"class_type": "KSamplerAdvanced", "inputs": {"steps": 20, "end_at_step": 10}},
        "then": {
            "class_type": "KSamplerAdvanced",
            "inputs": {"steps": 20, "start_at_step": 10, "end_at_step": 10_000},
        },
    }
    checked = check(text_to_image())
    (fewer,) = COMFYUI.cheaper(type(checked)(nodes, (), {}, (), ()), around())
    assert values(fewer) == {
        ("first", "steps"): 12,
        ("first", "end_at_step"): 6,
        ("then", "steps"): 12,
        ("then", "start_at_step"): 6,
    }


def test_a_very_large_graph_is_left_alone() -> None:
    checked = check(text_to_image())
    nodes = {str(number): checked.payload["sampler"] for number in range(601)}
    assert COMFYUI.cheaper(type(checked)(nodes, (), {}, (), ()), around()) == ()
