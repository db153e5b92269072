"""What may run, what is missing, and what is rewritten before it runs."""

from typing import Any

import pytest

from jobs.job_types.base import Refusal
from jobs.job_types.comfyui import limits
from tests.jobs.job_types.comfyui.graphs import (
    COMFYUI,
    DEFINITIONS,
    UPLOAD,
    check,
    refusals,
    text_to_image,
    with_node,
)

REPAINT = with_node(
    with_node(text_to_image(sampler__latent_image=["encode", 0]), "file", "LoadImage", image="castle.PNG"),
    "encode",
    "VAEEncode",
    pixels=["file", 0],
    vae=["model", 2],
)


def renamed(name: Any) -> dict[str, Any]:
    return with_node(REPAINT, "file", "LoadImage", image=name)


def test_before_an_agent_has_reported_nothing_can_be_checked() -> None:
    assert refusals(text_to_image(), node_definitions={}) == [("no_agent", "", "")]


def test_all_unknown_nodes_are_listed_at_once() -> None:
    graph = with_node(with_node(text_to_image(), "a", "NoSuchNode"), "b", "NorThis")
    assert refusals(graph) == [("unknown_node", "a", ""), ("unknown_node", "b", "")]


def test_an_unknown_node_is_told_with_the_agents_that_would_have_it() -> None:
    graph = with_node(with_node(text_to_image(), "a", "NoSuchNode"), "b", "NorThis")
    with pytest.raises(Refusal) as caught:
        check(graph, agents_with={"NorThis": ["studio-2", "attic"]})
    first, second = (problem.message for problem in caught.value.problems)
    assert first.startswith("NoSuchNode (node a) is not installed on any GPU here.")
    assert second == "NorThis (node b) can't run now: attic, studio-2 have it, but are not connected."


@pytest.mark.parametrize(
    ("kind", "inputs", "code"),
    [
        ("CheckpointSave", {"model": ["model", 0]}, "node_not_allowed"),
        ("StrangeFilter", {"image": ["decode", 0]}, "node_not_allowed"),
        ("PaidPicture", {"prompt": "x"}, "partner_node"),
    ],
)
def test_nodes_beyond_the_stock_list_need_an_instructors_word(
    kind: str, inputs: dict[str, Any], code: str
) -> None:
    graph = with_node(text_to_image(), "x", kind, **inputs)
    assert refusals(graph) == [(code, "x", "")]
    assert refusals(graph, allowed_node_types=[kind]) == []


def test_a_custom_node_that_takes_a_stock_nodes_name_is_not_let_in_by_it() -> None:
    taken = {**DEFINITIONS["VAEDecode"], "python_module": "custom_nodes.impostor"}
    found = refusals(text_to_image(), node_definitions={**DEFINITIONS, "VAEDecode": taken})
    assert found == [("node_not_allowed", "decode", "")]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("steps", 0, "too_small"),
        ("steps", 10_001, "too_large"),
        ("steps", "many", "not_a_number"),
        ("steps", None, "not_a_number"),
        ("steps", True, "not_a_number"),
        ("seed", 2**64, "too_large"),
        ("sampler_name", "magic", "not_a_choice"),
        ("scheduler", "magic", "not_a_choice"),
        ("sampler_name", {}, "not_a_choice"),
        ("model", "sdxl", "not_linked"),
        ("model", ["empty", 0], "wrong_type"),
        ("model", ["model", 7], "bad_link"),
    ],
)
def test_a_value_outside_its_definition_is_refused_with_node_and_field(
    field: str, value: Any, code: str
) -> None:
    assert (code, "sampler", field) in refusals(text_to_image(**{f"sampler__{field}": value}))


def test_the_largest_seed_passes_unrounded() -> None:
    checked = check(text_to_image(sampler__seed=2**64 - 1))
    assert checked.payload["sampler"]["inputs"]["seed"] == 2**64 - 1


def test_a_value_an_older_file_lacks_gets_the_editors_default() -> None:
    graph = text_to_image()
    del graph["sampler"]["inputs"]["denoise"], graph["sampler"]["inputs"]["positive"]
    assert refusals(graph) == [("missing_input", "sampler", "positive")]
    graph["sampler"]["inputs"]["positive"] = ["good", 0]
    assert check(graph).payload["sampler"]["inputs"]["denoise"] == 1.0


def test_a_graph_that_gives_nothing_out_is_refused() -> None:
    graph = text_to_image()
    del graph["save"]
    assert refusals(graph) == [("no_output", "", "")]


def test_an_output_linked_to_nothing_is_left_out_with_a_warning() -> None:
    checked = check(with_node(text_to_image(), "idle", "PreviewImage"))
    assert "idle" not in checked.payload
    assert [(warning.code, warning.node) for warning in checked.warnings] == [("output_not_linked", "idle")]
    lone = {"idle": {"class_type": "PreviewImage", "inputs": {}}}
    assert refusals(lone) == [("missing_input", "idle", "images")]


def test_nodes_no_output_depends_on_are_neither_checked_nor_sent() -> None:
    checked = check(with_node(text_to_image(), "loose", "LoadImage", image="nobody.png"))
    assert set(checked.payload) == set(text_to_image())


def test_a_missing_model_is_named_with_the_folder_it_belongs_in() -> None:
    graph = text_to_image(model__ckpt_name="other.safetensors")
    assert refusals(graph, any_model=False) == [("missing_model", "model", "ckpt_name")]
    assert refusals(graph, any_model=False, models={"checkpoints": ["other.safetensors"]}) == []
    assert refusals(graph, any_model=False, models={"loras": ["other.safetensors"]}) != []
    assert check(graph).model_files == (("checkpoints", "other.safetensors"),)


def test_a_missing_model_is_told_with_its_size_where_that_is_known() -> None:
    graph = text_to_image(model__ckpt_name="sd_xl_base_1.0.safetensors")
    graph = with_node(graph, "lora", "LoraLoaderModelOnly", model=["model", 0], lora_name="mine.safetensors")
    graph["sampler"]["inputs"]["model"] = ["lora", 0]
    with pytest.raises(Refusal) as caught:
        check(graph, any_model=False)
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        "Missing model sd_xl_base_1.0.safetensors (6.9 GB, belongs in models/checkpoints/)",
        "Missing model mine.safetensors (belongs in models/loras/)",
    ]


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "C:/x.safetensors", "", 5])
def test_a_model_name_that_leaves_its_folder_is_refused(name: Any) -> None:
    assert refusals(text_to_image(model__ckpt_name=name))[0][1:] == ("model", "ckpt_name")


def test_an_uploads_name_becomes_its_hash_and_suffix() -> None:
    checked = check(REPAINT)
    assert checked.payload["file"]["inputs"]["image"] == f"{UPLOAD.sha256}.png"
    assert checked.inputs == (UPLOAD,)


def test_a_name_linked_from_a_primitive_is_rewritten_where_it_is_used() -> None:
    definitions = {**DEFINITIONS, "PrimitiveString": {"input": {"required": {"value": ["STRING", {}]}}}}
    definitions["PrimitiveString"]["output"] = ["STRING"]
    graph = with_node(renamed(["name", 0]), "name", "PrimitiveString", value="castle.PNG")
    assert check(graph, node_definitions=definitions).payload["file"]["inputs"]["image"].endswith(".png")
    graph["name"]["inputs"]["value"] = "/etc/passwd"
    assert refusals(graph, node_definitions=definitions) == [("foreign_file", "file", "image")]


def test_what_was_painted_in_the_editor_is_an_upload_of_the_students_too() -> None:
    painter = {"input": {"required": {"mask": ["STRING", {}]}}, "output": ["IMAGE"], "python_module": "nodes"}
    graph = with_node(text_to_image(save__images=["p", 0]), "p", "Painter", mask="painter/castle.PNG [temp]")
    told = {"node_definitions": DEFINITIONS | {"Painter": painter}}
    assert check(graph, **told).payload["p"]["inputs"]["mask"] == f"{UPLOAD.sha256}.png"
    graph["p"]["inputs"]["mask"] = "painter/other.png [temp]"
    assert refusals(graph, **told) == [("missing_upload", "p", "mask")]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nobody.png", "missing_upload"),
        ("x/../../etc/passwd", "foreign_file"),
        ("/etc/passwd", "foreign_file"),
        ("castle.PNG [output]", "foreign_file"),
        ("C:\\x.png", "foreign_file"),
        (["good", 0], "file_not_named"),
        (7, "file_not_named"),
    ],
)
def test_only_the_students_own_uploads_can_be_read(name: Any, code: str) -> None:
    assert refusals(renamed(name)) == [(code, "file", "image")]


def test_every_prefix_is_replaced_and_no_two_outputs_share_one() -> None:
    graph = with_node(text_to_image(), "a:1", "SaveImage", images=["decode", 0], filename_prefix="x")
    graph = with_node(graph, "a-1", "SaveImage", images=["decode", 0], filename_prefix=["good", 0])
    checked = check(graph)
    bound = COMFYUI.bind(checked.payload, output_prefix="jobs/7")
    prefixes = {bound[name]["inputs"]["filename_prefix"] for name in ("save", "a:1", "a-1")}
    assert prefixes == {"jobs/7/save", "jobs/7/a-1", "jobs/7/a-1-2"}
    assert checked.payload["save"]["inputs"]["filename_prefix"] == "output"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sampler__steps": 600}, "too_many_steps"),
        ({"empty__batch_size": 257}, "too_large_batch"),
        ({"empty__batch_size": 4000}, "too_many_frames"),
        ({"empty__width": 16384, "empty__height": 16384}, "too_many_pixels"),
    ],
)
def test_a_job_beyond_the_limits_is_refused(changes: dict[str, Any], code: str) -> None:
    assert code in {found for found, _, _ in refusals(text_to_image(**changes))}


def test_a_workshop_can_set_its_own_limits() -> None:
    assert refusals(text_to_image(), limits={"steps": 10}) == [("too_many_steps", "sampler", "steps")]
    assert refusals(text_to_image(sampler__steps=600), limits={"steps": 600}) == []
    assert limits.Limits().steps == 500


def test_a_count_behind_a_link_meets_the_same_limit() -> None:
    graph = with_node(text_to_image(sampler__steps=["n", 0]), "n", "PrimitiveInt", value=9000)
    assert ("too_many_steps", "sampler", "steps") in refusals(graph)


def test_batches_multiplied_along_a_chain_meet_the_limit_together() -> None:
    graph = text_to_image(sampler__latent_image=["r3", 0])
    for number, source in ((1, "empty"), (2, "r1"), (3, "r2")):
        graph = with_node(graph, f"r{number}", "RepeatLatentBatch", samples=[source, 0], amount=8)
    assert ("too_large_batch", "sampler", "latent_image") in refusals(graph)


def test_a_count_nobody_can_follow_is_refused_unless_a_node_let_in_by_name_makes_it() -> None:
    graph = with_node(
        text_to_image(sampler__steps=["j", 0]), "j", "JsonExtractString", json_string="{}", key="a"
    )
    assert ("count_not_followed", "sampler", "steps") in refusals(graph)
    custom = {**DEFINITIONS, "Oracle": {"input": {}, "output": ["INT"], "python_module": "custom_nodes.o"}}
    graph = with_node(text_to_image(sampler__steps=["o", 0]), "o", "Oracle")
    assert refusals(graph, node_definitions=custom, allowed_node_types=["Oracle"]) == []


def test_combining_a_condition_with_itself_over_and_over_is_refused() -> None:
    combine = {
        "input": {"required": {"conditioning_1": ["CONDITIONING"], "conditioning_2": ["CONDITIONING"]}}
    }
    definitions = {**DEFINITIONS, "ConditioningCombine": {**combine, "output": ["CONDITIONING"]}}
    graph = text_to_image(sampler__positive=["c30", 0])
    for number in range(1, 31):
        source = ["good" if number == 1 else f"c{number - 1}", 0]
        inputs = {"conditioning_1": source, "conditioning_2": source}
        graph = with_node(graph, f"c{number}", "ConditioningCombine", **inputs)
    assert refusals(graph, node_definitions=definitions) == [("too_many_conditions", "sampler", "positive")]
