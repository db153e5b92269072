"""The estimate: what each node asks for, followed through links, and nothing hidden by them."""

from typing import Any

import pytest

from jobs.job_types.base import DemandLine
from tests.jobs.job_types.comfyui.graphs import demand, refusals, text_to_image, with_node


def line(graph: dict[str, Any], node: str, **more: Any) -> DemandLine:
    return next(line for line in demand(graph, **more).lines if line.node == node)


def sampling(**changes: Any) -> float:
    return line(text_to_image(**changes), "sampler").gpu_seconds


def test_an_sdxl_picture_takes_what_public_timings_say() -> None:
    found = demand(text_to_image(sampler__steps=30))
    assert found.gpu_seconds == pytest.approx(3.6, abs=0.2)
    assert found.vram_bytes == pytest.approx(11e9, rel=0.05)
    assert (found.model_class, found.model_key) == ("sdxl", "sdxl.safetensors")
    assert found.summary == "SDXL, 1024×1024, 30 steps"
    assert found.band == pytest.approx(1.3)


def test_the_lines_add_up_and_loading_stands_apart() -> None:
    found = demand(text_to_image())
    charged = [line.gpu_seconds for line in found.lines if not line.loader]
    assert sum(charged) == pytest.approx(found.gpu_seconds)
    assert found.loading_seconds == pytest.approx(7.0, abs=0.2)
    assert {line.label for line in found.lines} == {
        "Start",
        "Load",
        "Encode text",
        "Sample",
        "Decode",
        "Save",
    }


def test_a_line_says_its_arithmetic_in_words() -> None:
    assert line(text_to_image(), "sampler").words.startswith(
        "20 steps × 2 passes × 0.040 s (SDXL, 1024×1024)"
    )


def test_guidance_of_one_halves_the_passes_and_a_second_order_sampler_doubles_them() -> None:
    assert sampling(sampler__cfg=1.0) == pytest.approx(sampling() / 2)
    assert sampling(sampler__sampler_name="heun") == pytest.approx(sampling() * 2)


def test_a_controlnet_costs_a_third_of_a_pass_for_the_share_of_steps_it_is_on() -> None:
    graph = text_to_image(sampler__positive=["c", 0], sampler__negative=["c", 1])
    graph = with_node(graph, "hint", "LoadImage", image="castle.PNG")
    graph = with_node(graph, "net", "ControlNetLoader", control_net_name="canny.safetensors")
    inputs = {
        "control_net": ["net", 0],
        "image": ["hint", 0],
        "positive": ["good", 0],
        "negative": ["bad", 0],
    }
    whole = with_node(graph, "c", "ControlNetApplyAdvanced", **inputs, strength=1.0)
    half = with_node(graph, "c", "ControlNetApplyAdvanced", **inputs, strength=1.0, end_percent=0.5)
    compute = sampling() - 40 * 0.02  # launches are not multiplied
    assert line(whole, "sampler").gpu_seconds == pytest.approx(sampling() + 0.35 * compute)
    assert line(half, "sampler").gpu_seconds == pytest.approx(sampling() + 0.175 * compute)
    assert "ControlNet +35 %" in line(whole, "sampler").words


def test_a_count_behind_primitives_math_and_a_switch_is_followed() -> None:
    graph = with_node(text_to_image(sampler__steps=["pick", 0]), "ten", "PrimitiveInt", value=10)
    values = {"values.a": ["ten", 0]}
    graph = with_node(graph, "math", "ComfyMathExpression", expression="a * 3 + 2", **values)
    graph = with_node(graph, "on", "PrimitiveBoolean", value=True)
    pick = {"on_false": ["ten", 0], "on_true": ["math", 1]}
    graph = with_node(graph, "pick", "ComfySwitchNode", switch=["on", 0], **pick)
    assert line(graph, "sampler").gpu_seconds == pytest.approx(sampling(sampler__steps=32))
    graph["on"]["inputs"]["value"] = False
    assert line(graph, "sampler").gpu_seconds == pytest.approx(sampling(sampler__steps=10))


def test_the_size_of_an_upload_is_followed_through_scaling() -> None:
    graph = text_to_image(empty__width=["size", 0], empty__height=["size", 1])
    graph = with_node(graph, "file", "LoadImage", image="castle.PNG")
    graph = with_node(graph, "scale", "ImageScaleBy", image=["file", 0], scale_by=2.0)
    graph = with_node(graph, "size", "GetImageSize", image=["scale", 0])
    assert demand(graph).summary == "SDXL, 1536×1024, 20 steps"


def test_the_side_of_a_switch_that_does_not_run_is_not_charged() -> None:
    graph = text_to_image(decode__samples=["pick", 0])
    again = dict(text_to_image(sampler__steps=400)["sampler"]["inputs"])
    graph = with_node(graph, "other", "KSampler", **again)
    pick = {"on_false": ["sampler", 0], "on_true": ["other", 0]}
    graph = with_node(graph, "pick", "ComfySwitchNode", switch=False, **pick)
    assert demand(graph).gpu_seconds == pytest.approx(demand(text_to_image()).gpu_seconds)


def test_nodes_that_reach_no_output_are_not_charged() -> None:
    graph = with_node(text_to_image(), "idle", "KSampler", **text_to_image()["sampler"]["inputs"])
    assert demand(graph).gpu_seconds == pytest.approx(demand(text_to_image()).gpu_seconds)


def test_a_list_makes_every_node_behind_it_run_once_for_each_item() -> None:
    seeds = {f"inputs.input{n}": ["one", 0] for n in range(5)}
    graph = with_node(text_to_image(sampler__seed=["seeds", 0]), "one", "PrimitiveInt", value=1)
    graph = with_node(graph, "seeds", "CreateList", **seeds)
    assert line(graph, "sampler").gpu_seconds == pytest.approx(5 * sampling())
    assert "× 5 runs" in line(graph, "sampler").words
    assert demand(graph).images == 5


def test_repeating_a_latent_costs_as_much_as_the_batch_it_makes() -> None:
    graph = text_to_image(sampler__latent_image=["again", 0])
    graph = with_node(graph, "again", "RepeatLatentBatch", samples=["empty", 0], amount=4)
    assert demand(graph).gpu_seconds == pytest.approx(demand(text_to_image(empty__batch_size=4)).gpu_seconds)


def test_a_video_is_counted_in_frames() -> None:
    graph = text_to_image(model__ckpt_name="ltx-2-19b-dev-fp8.safetensors", sampler__latent_image=["clip", 0])
    graph = with_node(graph, "clip", "EmptyHunyuanLatentVideo", width=1280, height=704, length=121)
    found = demand(graph)
    assert found.frames == 121
    assert found.summary == "LTX-2, 1280×704, 121 frames, 20 steps"
    assert found.vram_bytes == pytest.approx(25e9, rel=0.1)


def test_an_upscalers_factor_is_read_from_its_name() -> None:
    graph = with_node(
        text_to_image(save__images=["up", 0]), "um", "UpscaleModelLoader", model_name="2x_a.pth"
    )
    graph = with_node(graph, "up", "ImageUpscaleWithModel", upscale_model=["um", 0], image=["decode", 0])
    assert (demand(graph).width, demand(graph).height) == (2048, 2048)
    assert line(graph, "up").gpu_seconds == pytest.approx(1024 * 1024 * 36e6 / (0.28 * 330e12))


def test_unknown_nodes_and_models_widen_the_band() -> None:
    allowed = {"allowed_node_types": ["StrangeSampler", "StrangeFilter"]}
    light = with_node(text_to_image(save__images=["x", 0]), "x", "StrangeFilter", image=["decode", 0])
    assert line(light, "x", **allowed).gpu_seconds == pytest.approx(0.1)
    heavy = text_to_image(decode__samples=["x", 0])
    heavy = with_node(heavy, "x", "StrangeSampler", model=["model", 0], latent=["empty", 0])
    assert line(heavy, "x", **allowed).gpu_seconds == pytest.approx(2.0)
    assert not line(heavy, "x", **allowed).understood
    assert demand(heavy, **allowed).band > demand(light, **allowed).band > 1.3
    assert demand(text_to_image(model__ckpt_name="mystery.safetensors")).band > 2


def test_five_thousand_nodes_in_one_chain_are_answered() -> None:
    graph = text_to_image(decode__samples=["n4900", 0])
    for number in range(1, 4901):
        source = "sampler" if number == 1 else f"n{number - 1}"
        graph[f"n{number}"] = {
            "class_type": "RepeatLatentBatch",
            "inputs": {"samples": [source, 0], "amount": 1},
        }
    assert demand(graph).gpu_seconds == pytest.approx(demand(text_to_image()).gpu_seconds)


def test_a_switch_bomb_is_answered() -> None:
    graph = with_node(text_to_image(sampler__steps=["s2000", 0]), "s0", "PrimitiveInt", value=9)
    for number in range(1, 2001):
        below = [f"s{number - 1}", 0]
        inputs = {"switch": below, "on_false": below, "on_true": below}
        graph[f"s{number}"] = {"class_type": "ComfySwitchNode", "inputs": inputs}
    assert line(graph, "sampler").gpu_seconds == pytest.approx(sampling(sampler__steps=9))


def test_lists_of_lists_multiply_without_being_walked() -> None:
    graph = with_node(text_to_image(sampler__seed=["l12", 0]), "l0", "PrimitiveInt", value=9)
    for number in range(1, 13):
        many = {f"inputs.input{n}": [f"l{number - 1}", 0] for n in range(8)}
        graph[f"l{number}"] = {"class_type": "CreateList", "inputs": many}
    assert ("too_large_batch", "sampler", "latent_image") in refusals(graph)
