"""Hostile and broken files get an answer of their own, before anything else looks at them."""

import json
from typing import Any

import pytest

from jobs.job_types.base import Problem, Refusal
from jobs.job_types.comfyui import graph
from tests.jobs.job_types.comfyui.graphs import COMFYUI, text_to_image


def refused(body: bytes) -> Problem:
    with pytest.raises(Refusal) as caught:
        COMFYUI.parse(body)
    return caught.value.problems[0]


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "Any", "inputs": inputs}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty"),
        (b" " * (graph.MAX_BYTES + 1), "too_large"),
        (b"\xff\xfe{}", "not_utf8"),
        (b'{"1": }', "not_json"),
        (b"[]", "not_an_object"),
        (b"{}", "empty_graph"),
        (b"[" * 100_000, "too_deep"),
        (b'{"1":' * 40 + b"1" + b"}" * 40, "too_deep"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"1": {"class_type": "A", "inputs": {"x": NaN}}}', "not_a_number"),
        (b'{"1": {"class_type": "A", "inputs": {"x": -Infinity}}}', "not_a_number"),
        (b'{"1": {"class_type": "A", "inputs": {"x": 1e999}}}', "huge_number"),
        (b'{"1": {"class_type": "A", "inputs": {"x": ' + b"9" * 21 + b"}}}", "huge_number"),
        (b'{"1": {"class_type": "A", "inputs": {"x": [' + b"[]," * 300_000 + b"0]}}}", "too_many_values"),
        (b'{"1": 5}', "bad_node"),
        (b'{"1": {"inputs": {}}}', "no_class_type"),
        (b'{"1": {"class_type": "A", "inputs": []}}', "bad_inputs"),
        (b'{"": {"class_type": "A", "inputs": {}}}', "bad_node_id"),
    ],
)
def test_each_kind_of_bad_file_has_its_own_code(body: bytes, code: str) -> None:
    assert refused(body).code == code


@pytest.mark.parametrize(("text", "code"), [("\x00", "nul_character"), ("\ud800", "lone_surrogate")])
def test_a_character_no_database_takes_is_refused_with_node_and_field(text: str, code: str) -> None:
    problem = refused(json.dumps({"prompt": {"3": node(text=f"a{text}b")}}).encode())
    assert (problem.code, problem.node, problem.field) == (code, "3", "text")


def test_the_body_posted_to_comfyui_is_accepted_too() -> None:
    body = {"prompt": text_to_image(), "client_id": "x", "extra_data": {}}
    assert COMFYUI.parse(json.dumps(body).encode()) == COMFYUI.parse(json.dumps(text_to_image()).encode())


def test_only_what_comfyui_reads_is_kept_of_a_node() -> None:
    body = {"1": {**node(x=1), "is_changed": ["a"], "_meta": {"title": "First", "other": {}}}}
    assert COMFYUI.parse(json.dumps(body).encode()) == {"1": {**node(x=1), "_meta": {"title": "First"}}}


@pytest.mark.parametrize("slot", [True, -1, 0.5, 1000])
def test_a_link_to_no_output_slot_is_refused_with_node_and_field(slot: Any) -> None:
    problem = refused(json.dumps({"1": node(), "2": node(x=["1", slot])}).encode())
    assert (problem.code, problem.node, problem.field) == ("bad_link", "2", "x")


def test_a_link_to_a_missing_node_is_refused_with_node_and_field() -> None:
    problem = refused(json.dumps({"2": node(x=["9", 0])}).encode())
    assert (problem.code, problem.node, problem.field) == ("missing_link", "2", "x")


def test_a_slot_written_as_a_float_is_the_link_comfyui_takes_it_for() -> None:
    parsed = COMFYUI.parse(json.dumps({"1": node(), "2": node(x=["1", 0.0])}).encode())
    assert parsed["2"]["inputs"]["x"] == ["1", 0]


def test_a_loop_is_refused_naming_its_nodes_and_no_other() -> None:
    loop = {"1": node(x=["3", 0]), "2": node(x=["1", 0]), "3": node(x=["2", 0]), "4": node(x=["3", 0])}
    problem = refused(json.dumps(loop).encode())
    assert problem.code == "cycle"
    assert all(name in problem.message for name in "123")
    assert "4" not in problem.message


def test_more_nodes_than_allowed_are_refused() -> None:
    body = json.dumps({str(n): node() for n in range(graph.MAX_NODES + 1)}).encode()
    assert refused(body).code == "too_many_nodes"


def test_all_structural_problems_are_told_at_once() -> None:
    with pytest.raises(Refusal) as caught:
        COMFYUI.parse(json.dumps({"1": {"inputs": {}}, "2": node(x=["9", 0]), "3": 4}).encode())
    assert [problem.code for problem in caught.value.problems] == [
        "no_class_type",
        "missing_link",
        "bad_node",
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"3": {"class_type": "KSampler", "inputs": {"seed": ' + "9" * 40 + "}}}", "huge_number"),
        ('{"3": ' + "[" * 60 + "]" * 60 + "}", "too_deep"),
        ('{"3": [' + "0," * 250_001 + "0]}", "too_many_values"),
    ],
)
def test_what_came_decoded_has_the_bounds_of_a_file(text: str, code: str) -> None:
    for take in (graph.load, lambda body: graph.bounded(json.loads(body))):
        with pytest.raises(Refusal) as refusal:
            take(text.encode())
        assert refusal.value.problems[0].code == code
