"""Forms: fields proposed, checked against their workflow, filled strictly."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.job_types.base import Refusal
from jobs.job_types.comfyui import form
from jobs.job_types.comfyui.job_type import ComfyUI

GRAPH: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 6.5, "model": ["1", 0]}},
    "4": {"class_type": "ImageScale", "inputs": {"width": 1024, "image": ["2", 0]}},
    "5": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
}


def a_field(name: str, node: str, where: str, kind: str, default: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "node": node, "input": where, "kind": kind, "default": default, **more}


WIDTH = a_field("width", "2", "width", "integer", 1024, minimum=256, maximum=2048, step=64)
WIDTH["also"] = [{"node": "4", "input": "width"}]
STEPS = a_field("steps", "3", "steps", "integer", 20, minimum=1, maximum=60, label="Steps")
SEED = a_field("seed", "3", "seed", "seed", 7)
PICTURE = a_field("picture", "5", "image", "image", "")
MODEL = a_field(
    "model", "1", "ckpt_name", "choice", "sdxl.safetensors", choices=["sdxl.safetensors", "b.sft"]
)
FORM = [WIDTH, STEPS, SEED, PICTURE, MODEL]


def codes(refusal: pytest.ExceptionInfo[Refusal]) -> set[tuple[str, str]]:
    return {(problem.code, problem.field) for problem in refusal.value.problems}


def test_values_go_into_every_place_of_their_field() -> None:
    filled = form.fill(GRAPH, FORM, {"width": 1280, "picture": "harbour.png"})
    assert filled["2"]["inputs"]["width"] == filled["4"]["inputs"]["width"] == 1280
    assert filled["5"]["inputs"]["image"] == "harbour.png"
    assert filled["3"]["inputs"]["steps"] == 20
    assert GRAPH["2"]["inputs"]["width"] == 1024, "the workflow itself is left alone"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"steps": 0}, "too_small"),
        ({"steps": 61}, "too_large"),
        ({"steps": "many"}, "wrong_type"),
        ({"steps": True}, "wrong_type"),
        ({"steps": 20.5}, "wrong_type"),
        ({"steps": float("nan")}, "wrong_type"),
        ({"width": 1000}, "not_a_step"),
        ({"seed": -1}, "too_small"),
        ({"seed": 2**64}, "too_large"),
        ({"model": "c.safetensors"}, "not_a_choice"),
        ({"picture": " "}, "no_image"),
        ({"picture": ["1", 0]}, "wrong_type"),
        ({"cfg": 7}, "unknown_field"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_name_of_its_field(
    value: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        form.fill(GRAPH, FORM, {"picture": "a.png", **value})
    assert codes(refusal) == {(code, next(iter(value)))}


def test_all_that_is_wrong_is_told_at_once_with_what_would_do() -> None:
    with pytest.raises(Refusal) as refusal:
        form.fill(GRAPH, FORM, {"steps": 90, "width": 100})
    assert codes(refusal) == {("too_large", "steps"), ("too_small", "width"), ("no_image", "picture")}
    assert "Steps: use 1 to 60." in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        {"node": "9"},
        {"input": "model"},  # fed by another node
        {"kind": "colour"},
        {"minimum": 5, "maximum": 2},
        {"step": 0},
        {"default": 99},
        {"name": "Steps!"},
        {"kind": "choice"},
        {"also": [{"node": "3", "input": "nothing"}]},
    ],
)
def test_a_form_that_does_not_fit_its_workflow_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        form.validate([{**STEPS, **change}], GRAPH)


def test_a_form_that_fits_is_read() -> None:
    assert [one.name for one in form.validate(FORM, GRAPH)] == [one["name"] for one in FORM]
    with pytest.raises(Refusal, match="twice"):
        form.validate([STEPS, STEPS], GRAPH)


def test_a_pages_texts_become_values() -> None:
    flag = a_field("tiled", "3", "tiled", "boolean", True)
    sent = {"steps": "30", "seed": " ", "width": "wide", "picture": "a.png", "model": "b.sft"}
    assert form.from_text([*FORM, flag], sent) == {
        "steps": 30, "width": "wide", "picture": "a.png", "model": "b.sft", "tiled": False,
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.integers().map(str) | st.floats().map(str))
def test_no_text_breaks_the_reading_and_what_is_filled_fits(text: str) -> None:
    values = form.from_text([STEPS, SEED], {"steps": text, "seed": text})
    try:
        inputs = form.fill(GRAPH, [STEPS, SEED], values)["3"]["inputs"]
    except Refusal:
        return
    assert 1 <= inputs["steps"] <= 60
    assert 0 <= inputs["seed"] < 2**64


def test_the_place_of_an_input_tells_its_field() -> None:
    assert form.field_at(FORM, "4", "width") == "width"
    assert form.field_at(FORM, "4", "height") == ""


def test_every_job_type_offers_forms() -> None:
    filled = ComfyUI().fill(GRAPH, [STEPS], {"steps": 3})
    assert filled["3"]["inputs"]["steps"] == 3
