"""The editor's files become the graphs the editor would send."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.job_types.base import Refusal
from jobs.job_types.comfyui import graph
from jobs.job_types.comfyui.convert import convert
from tests.jobs.job_types.comfyui import graphs
from tests.jobs.job_types.comfyui.graphs import DEFINITIONS
from tests.jobs.job_types.comfyui.ui_files import BYPASSED, MUTED, Ui, text_to_image_ui

OPTION = [{"key": "fast", "inputs": {"required": {"speed": ["INT", {"default": 3}]}}}, {"key": "slow"}]
MORE = DEFINITIONS | {
    "Dynamic": {
        "input": {"required": {"way": ["COMFY_DYNAMICCOMBO_V3", {"options": OPTION}], "n": ["INT", {}]}}
    },
    "Prompt": {"input": {"required": {"text": ["STRING", {"dynamicPrompts": True}]}}, "output": ["STRING"]},
    "Forced": {"input": {"required": {"a": ["INT", {"forceInput": True}], "b": ["INT", {}]}}},
    "List": {"input": {"required": {"boxes": ["BOUNDING_BOXES", {}]}}},
    "CustomCombo": {
        "input": {"required": {"choice": ["COMBO", {"options": []}]}},
        "output": ["STRING", "INT"],
    },
}


def inputs(ui: Ui, node: str, definitions: dict[str, Any] = MORE) -> dict[str, Any]:
    found: dict[str, Any] = convert(ui.data, definitions).graph[node]["inputs"]
    return found


def codes(data: dict[str, Any]) -> list[str]:
    with pytest.raises(Refusal) as caught:
        convert(data, MORE)
    return [problem.code for problem in caught.value.problems]


def test_a_plain_file_becomes_the_graph_it_shows() -> None:
    made = convert(text_to_image_ui().data, DEFINITIONS).graph
    assert made["5"]["inputs"] == {
        "seed": 7,
        "steps": 20,
        "cfg": 8.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["3", 0],
        "latent_image": ["4", 0],
    }
    assert set(made) == set("1234567")


def test_both_forms_of_a_workflow_cost_the_same() -> None:
    checked = graphs.COMFYUI.check(json.loads(json.dumps(text_to_image_ui().data)), graphs.around())
    assert graphs.COMFYUI.demand(checked).gpu_seconds == graphs.demand(graphs.text_to_image()).gpu_seconds


def test_missing_values_get_defaults_and_surplus_ones_are_ignored() -> None:
    assert inputs(Ui().add(1, "EmptyLatentImage", 64), "1") == {"width": 64, "height": 512, "batch_size": 1}
    assert inputs(Ui().add(1, "PrimitiveInt", 5, "fixed", 9), "1") == {"value": 5}


def test_links_in_objects_and_ids_in_texts_are_read_too() -> None:
    ui = Ui().add("a", "PrimitiveInt", 5).add("b", "EmptyLatentImage", 1, 2, 3)
    ui.wire("a", 0, "b", "width", "INT", widget=True)
    ui.links[0] = {"id": 1, "origin_id": "a", "origin_slot": 0}  # type: ignore[call-overload]
    assert inputs(ui, "b")["width"] == ["a", 0]


def test_a_muted_source_leaves_a_widget_its_own_value_and_a_socket_empty() -> None:
    ui = Ui().add(1, "PrimitiveInt", 5, mode=MUTED).add(2, "EmptyLatentImage", 64, 64, 1)
    ui.add(3, "VAEDecode", mode=MUTED).add(4, "SaveImage", "x")
    ui.wire(1, 0, 2, "width", "INT", widget=True).wire(3, 0, 4, "images", "IMAGE")
    assert inputs(ui, "2")["width"] == 64
    assert inputs(ui, "4") == {"filename_prefix": "x"}


def test_a_bypassed_node_lets_the_input_of_its_outputs_type_through() -> None:
    ui = Ui().add(1, "CheckpointLoaderSimple", "a").add(2, "LoraLoaderModelOnly", "l", 1.0, mode=BYPASSED)
    ui.add(3, "KSampler").wire(1, 0, 2, "model", "MODEL").wire(2, 0, 3, "model", "MODEL")
    assert inputs(ui, "3")["model"] == ["1", 0]


def test_a_bypassed_node_without_such_an_input_cuts() -> None:
    ui = Ui().add(1, "EmptyLatentImage").add(2, "VAEDecode", mode=BYPASSED).add(3, "SaveImage", "x")
    ui.wire(1, 0, 2, "samples", "LATENT").wire(2, 0, 3, "images", "IMAGE")
    assert inputs(ui, "3") == {"filename_prefix": "x"}


def test_reroutes_pass_and_a_primitive_replaces_a_widgets_value() -> None:
    ui = Ui().add(1, "EmptyLatentImage").add(2, "Reroute").add(3, "Reroute").add(4, "KSampler")
    ui.wire(1, 0, 2, "", "*").wire(2, 0, 3, "", "*").wire(3, 0, 4, "latent_image", "LATENT")
    ui.add(5, "PrimitiveNode", 33, "fixed").wire(5, 0, 4, "steps", "INT", widget=True)
    assert inputs(ui, "4")["latent_image"] == ["1", 0]
    assert inputs(ui, "4")["steps"] == 33


def test_a_get_node_finds_the_set_node_of_its_name() -> None:
    ui = (
        Ui().add(1, "EmptyLatentImage").add(2, "SetNode", "room").add(3, "GetNode", "room").add(4, "KSampler")
    )
    ui.wire(1, 0, 2, "LATENT", "LATENT").wire(3, 0, 4, "latent_image", "LATENT")
    assert inputs(ui, "4")["latent_image"] == ["1", 0]


def subgraph(**instance: Any) -> Ui:
    """Node 9: a sampler and a decoder in a subgraph with a socket, latent, and two widgets, steps and cfg."""
    inner = Ui().add(1, "KSampler", 7, "fixed", 20, 8.0, "euler", "normal", 1.0).add(2, "VAEDecode")
    inner.wire(-10, 0, 1, "latent_image", "LATENT").wire(-10, 1, 1, "steps", "INT", widget=True)
    inner.wire(-10, 2, 1, "cfg", "FLOAT", widget=True).wire(1, 0, 2, "samples", "LATENT")
    ui = Ui().add(8, "EmptyLatentImage", 64, 64, 1).add(9, "sub", **instance).add(10, "SaveImage", "x")
    ui.subgraphs.append(inner.as_subgraph("sub", ["latent", "steps", "cfg"], {"IMAGE": (2, 0)}))
    return ui.wire(8, 0, 9, "latent", "LATENT").wire(9, 0, 10, "images", "IMAGE")


def test_a_subgraphs_nodes_get_the_instances_id_before_theirs() -> None:
    made = convert(subgraph().data, MORE).graph
    assert set(made) == {"8", "9:1", "9:2", "10"}
    assert made["9:1"]["inputs"]["latent_image"] == ["8", 0]
    assert made["10"]["inputs"]["images"] == ["9:2", 0]


def test_an_instances_values_go_to_its_promoted_widgets_in_order() -> None:
    found = inputs(subgraph(widgets_values=[33, 5.5]), "9:1")
    assert (found["steps"], found["cfg"]) == (33, 5.5)
    assert (inputs(subgraph(), "9:1")["steps"], inputs(subgraph(widgets_values=[None]), "9:1")["steps"]) == (
        20,
        20,
    )


def test_proxy_entries_override_the_order_and_reach_inner_widgets() -> None:
    proxies = [["1", "cfg"], ["-1", "steps"], ["1", "denoise"], ["$$canvas-image-preview", "x"]]
    found = inputs(subgraph(widgets_values=[1.5, 44, 0.25], properties={"proxyWidgets": proxies}), "9:1")
    assert (found["cfg"], found["steps"], found["denoise"]) == (1.5, 44, 0.25)
    text = json.dumps(proxies)
    assert inputs(subgraph(widgets_values=[1.5, 44], properties={"proxyWidgets": text}), "9:1")["steps"] == 44


def test_a_bypassed_instance_passes_by_its_inputs_and_its_nodes_are_not_sent() -> None:
    ui = subgraph(mode=BYPASSED)
    assert set(convert(ui.data, MORE).graph) == {"8", "10"}


def test_two_instances_are_independent_copies() -> None:
    ui = subgraph(widgets_values=[11]).add(12, "sub", 22).add(13, "PrimitiveNode", 44)
    ui.wire(13, 0, 12, "cfg", "FLOAT", widget=True)
    assert (inputs(ui, "9:1")["steps"], inputs(ui, "12:1")["steps"]) == (11, 22)
    assert (inputs(ui, "9:1")["cfg"], inputs(ui, "12:1")["cfg"]) == (8.0, 44)


def test_a_dynamic_combos_children_follow_its_key() -> None:
    assert inputs(Ui().add(1, "Dynamic", "fast", 7, 1), "1") == {"way": "fast", "way.speed": 7, "n": 1}
    assert inputs(Ui().add(1, "Dynamic", "slow", 1), "1") == {"way": "slow", "n": 1}
    stray = Ui().add(1, "Dynamic", "slow", 1).add(2, "PrimitiveInt", 4).wire(2, 0, 1, "way.speed", "INT")
    assert "way.speed" not in inputs(stray, "1")


def test_autogrow_sockets_are_sent_when_linked() -> None:
    ui = (
        Ui().add(1, "PrimitiveInt", 4).add(2, "ComfyMathExpression", "a * 2").wire(1, 0, 2, "values.a", "INT")
    )
    assert inputs(ui, "2") == {"expression": "a * 2", "values.a": ["1", 0]}


def test_old_values_of_inputs_that_are_now_only_wired_are_skipped() -> None:
    assert inputs(Ui().add(1, "Forced", 5, 6), "1") == {"b": 6}
    assert inputs(Ui().add(1, "Forced", 6), "1") == {"b": 6}


def test_lists_are_wrapped_and_a_combos_options_numbered() -> None:
    assert inputs(Ui().add(1, "List", [1, 2]), "1") == {"boxes": {"__value__": [1, 2]}}
    found = inputs(Ui().add(1, "CustomCombo", "b", 1, "a", "b"), "1")
    assert found == {"choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""}


def test_values_by_name_are_taken_by_name() -> None:
    ui = Ui().add(1, "EmptyLatentImage")
    ui.nodes[0]["widgets_values"] = {"height": 64, "other": 1}
    assert inputs(ui, "1") == {"width": 512, "height": 64, "batch_size": 1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a /* b */ c // d", {"a  c "}),
        ("a /* b // c\nd", {"a /* b \nd"}),
        ("{one}", {"one"}),
        (r"\{one\}", {"{one}"}),
        ("{a|b} {", {"a {", "b {"}),
        ("{a|{b|c}}!", {"a!", "b!", "c!"}),
        ("a } b | c", {"a } b | c"}),
        ("{a|b", {"{a|b"}),
    ],
)
def test_dynamic_prompts_lose_comments_and_keep_one_choice(text: str, wanted: set[str]) -> None:
    assert inputs(Ui().add(1, "Prompt", text), "1")["text"] in wanted
    assert inputs(Ui().add(1, "Prompt", text), "1") == inputs(Ui().add(1, "Prompt", text), "1")


def test_every_choice_of_a_dynamic_prompt_is_made_by_some_file() -> None:
    made = {
        inputs(Ui().add(1, "Prompt", "{a|b|c}").add(2, "PrimitiveInt", n), "1")["text"] for n in range(40)
    }
    assert made == {"a", "b", "c"}


def test_all_active_unknown_nodes_are_listed_and_the_others_are_fine() -> None:
    ui = Ui().add(1, "Alien", properties={"cnr_id": "aliens"}).add(2, "Other", mode=MUTED).add(3, "Third")
    with pytest.raises(Refusal, match="package aliens") as caught:
        convert(ui.data, MORE)
    assert [problem.node for problem in caught.value.problems] == ["1", "3"]
    assert codes(Ui().add(1, "workflow>Old").data) == ["old_group_node"]
    assert codes(Ui().add(1, "b7c2d337-c38d-4c04-922b-2d638449d13e").data) == ["old_group_node"]


def test_a_link_to_nothing_is_dropped_with_a_warning() -> None:
    ui = Ui().add(1, "KSampler")
    ui.nodes[0]["inputs"] = [{"name": "model", "type": "MODEL", "link": 77}]
    converted = convert(ui.data, MORE)
    assert "model" not in converted.graph["1"]["inputs"]
    assert [warning.code for warning in converted.warnings] == ["broken_link"]


def test_a_promoted_value_also_reaches_plain_sockets_behind_it() -> None:
    shown = {"PreviewAny": {"input": {"required": {"source": ["*", {}]}}, "output": ["STRING"]}}
    inner = Ui().add(5, "EmptyLatentImage", 64, 64, 1).add(6, "PreviewAny")
    inner.wire(-10, 0, 5, "width", "INT", widget=True).wire(-10, 0, 6, "source", "*")
    ui = Ui().add(1, "sub", 768)
    ui.subgraphs.append(inner.as_subgraph("sub", ["width"], {}))
    assert inputs(ui, "1:6", MORE | shown) == {"source": 768}
    assert inputs(ui, "1:5", MORE | shown)["width"] == 768


def test_values_another_version_wrote_go_by_name_or_become_defaults() -> None:
    told = {"width": 64, "shape": "round", "height": 32, "batch_size": "auto"}
    ui = Ui().add(1, "EmptyLatentImage", 64, "round", 32, "auto", widgets_values_named=told)
    made = convert(ui.data, DEFINITIONS)
    assert made.graph["1"]["inputs"] == {"width": 64, "height": 32, "batch_size": 1}
    assert [warning.code for warning in made.warnings] == ["other_version", "value_replaced"]
    assert "batch_size 'auto' here: 1 stands in" in made.warnings[1].message


def test_values_that_still_make_sense_keep_their_positions_with_a_warning() -> None:
    told = {"width": 1, "height": 2, "shape": 3}
    ui = Ui().add(1, "EmptyLatentImage", 64, 32, 2, widgets_values_named=told)
    made = convert(ui.data, DEFINITIONS)
    assert made.graph["1"]["inputs"] == {"width": 64, "height": 32, "batch_size": 2}
    assert [warning.code for warning in made.warnings] == ["other_version"]


def test_hostile_subgraphs_and_links_are_refused() -> None:
    itself = Ui().add(1, "sub")
    itself.subgraphs.append(Ui().add(1, "sub").as_subgraph("sub", [], {}))
    assert codes(itself.data) == ["recursive_subgraph"]
    bomb = Ui().add(1, "s0")
    for depth in range(20):
        inner = Ui()
        for copy in range(4):
            inner.add(copy, f"s{depth + 1}" if depth < 19 else "PrimitiveInt")
        bomb.subgraphs.append(inner.as_subgraph(f"s{depth}", [], {}))
    assert codes(bomb.data) == ["too_many_nodes"]
    circle = Ui().add(1, "Reroute").add(2, "Reroute").add(3, "SaveImage", "x")
    circle.wire(1, 0, 2, "", "*").wire(2, 0, 1, "", "*").wire(1, 0, 3, "images", "IMAGE")
    assert codes(circle.data) == ["loop"]


def test_thousands_of_chained_reroutes_are_followed() -> None:
    ui = Ui().add(0, "EmptyLatentImage")
    for number in range(1, 4000):
        ui.nodes.append({"id": number, "type": "Reroute", "inputs": [{"name": "", "link": number}]})
        ui.links.append([number, number - 1, 0, number, 0, "*"])
    ui.add(5000, "KSampler").wire(3999, 0, 5000, "latent_image", "LATENT")
    assert inputs(ui, "5000")["latent_image"] == ["0", 0]


@pytest.mark.parametrize(
    "data",
    [
        {"nodes": [5]},
        {"nodes": [{"type": "A"}]},
        {"nodes": [{"id": 1}]},
        {"nodes": [{"id": True, "type": "A"}]},
        {"nodes": [{"id": 1, "type": "KSampler"}, {"id": "1", "type": "KSampler"}]},
    ],
)
def test_a_file_of_another_shape_is_refused(data: dict[str, Any]) -> None:
    assert codes(data) == ["bad_ui_file"]


@pytest.mark.recordings
def test_real_files_become_what_the_real_editor_makes_of_them(recordings: Path) -> None:
    real = json.loads(gzip.decompress((recordings / "comfyui/object_info.json.gz").read_bytes()))
    equal, refused = [], []
    for path in sorted((recordings / "workflows").glob("*.ui.json")):
        name = path.name.removesuffix(".ui.json")
        wanted = json.loads(path.with_name(f"{name}.converted.api.json").read_bytes())
        try:
            made = convert(graph.load(path.read_bytes()), real).graph
        except Refusal as refusal:
            refused.append((name, refusal.problems[0].node_type))
            continue
        bare = [{k: (n["class_type"], n["inputs"]) for k, n in each.items()} for each in (made, wanted)]
        assert bare[0] == bare[1], name
        equal.append(name)
    assert len(equal) == 21
    assert refused == [("api_openai_gpt_image_2_t2i", "OpenAIGPTImageNodeV2")]
