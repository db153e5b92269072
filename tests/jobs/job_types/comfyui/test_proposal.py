"""The form that is proposed for a workflow."""

from typing import Any

from gpu_agent.simulator.definitions import own_definitions
from jobs.job_types.base import Place, Surroundings
from jobs.job_types.comfyui import form
from jobs.job_types.comfyui.job_type import ComfyUI
from jobs.job_types.comfyui.proposal import fields_of, place

LINKED = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
SAMPLING = {"steps": 20, "cfg": 6.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


def a_graph() -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 1000, "height": 768, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 7, **SAMPLING, **LINKED}},
    }


def proposed(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in fields_of(graph, own_definitions())}


def test_what_people_want_to_change_is_proposed_prompt_first() -> None:
    found = fields_of(a_graph(), own_definitions())
    names = [one["name"] for one in found]
    assert names[0] == "prompt"
    assert {"negative", "width", "height", "steps", "cfg", "seed", "batch", "model"} <= set(names)
    assert "sampler_name" not in names


def test_the_unwanted_prompt_is_told_from_the_wanted() -> None:
    found = proposed(a_graph())
    assert (found["prompt"]["default"], found["prompt"]["node"]) == ("a lighthouse", "2")
    assert (found["negative"]["default"], found["negative"]["node"]) == ("blurry", "3")


def test_a_proposal_fits_its_own_workflow() -> None:
    graph = a_graph()
    assert form.validate(fields_of(graph, own_definitions()), graph)
    assert ComfyUI().form(graph, Surroundings(node_definitions=own_definitions()))


def test_two_samplers_with_as_many_steps_move_together() -> None:
    graph = a_graph()
    graph["6"] = {"class_type": "KSampler", "inputs": {"seed": 8, **SAMPLING, **LINKED}}
    found = proposed(graph)
    assert found["steps"]["also"] == [{"node": "6", "input": "steps"}]
    assert found["seed_2"]["node"] == "6", "but each has its own seed"


def test_linked_inputs_are_not_proposed() -> None:
    graph = a_graph()
    graph["5"]["inputs"]["steps"] = ["9", 0]
    assert "steps" not in proposed(graph)


def test_models_that_are_here_can_stand_in_a_models_place() -> None:
    models = {"checkpoints": {"b.safetensors", "a.safetensors"}, "vae": {"c.safetensors"}}
    here = Surroundings(node_definitions={}, models=models)
    found = place(a_graph(), "1", "ckpt_name", here)
    assert (found.folder, found.choices) == ("checkpoints", ("a.safetensors", "b.safetensors"))
    assert found.value == "sd_xl_base_1.0.safetensors"
    assert (found.size_bytes, found.exact) == (6_938_078_334, True)
    assert place(a_graph(), "2", "nothing", here) == place(a_graph(), "99", "text", here) == Place()
