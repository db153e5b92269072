"""Files made to cost much get an answer: a price for what would run, or a refusal that says why."""

import math

import pytest

from jobs.job_types.base import Refusal
from jobs.job_types.comfyui import graph
from jobs.job_types.comfyui.scene import Scene
from marketplace.pricing.quote import price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui import hostile
from tests.jobs.job_types.comfyui.graphs import COMFYUI, around

ANSWERS = {
    "long_chain": "priced",
    "growing_chain": "too_many_frames",
    "switch_bomb": "priced",
    "switches_on_switches": "priced",
    "lists_of_lists": "too_large_batch",
    "everything_linked_to_everything": "too_large_batch",
    "circle": "cycle",
    "exponents": "count_not_followed",
    "thousands_of_problems": "unknown_node",
    "many_values": "missing_input",
    "deep_nesting": "too_many_values",
    "long_keys": "bad_node_id",
    "long_text": "priced",
    "dynamic_prompts": "priced",
    "subgraph_bomb": "too_many_nodes",
    "subgraph_in_itself": "recursive_subgraph",
    "wide_subgraphs": "no_output",
    "reroutes_for_everyone": "too_many_links",
    "packed_text": "broken_picture",
    "many_chunks": "no_workflow_in_picture",
}


def answer(body: bytes) -> str:
    try:
        found = price(COMFYUI.demand(COMFYUI.check(COMFYUI.parse(body), around())), DEFAULT_RATE)
    except Refusal as refusal:
        brief = len(refusal.problems) <= graph.MAX_PROBLEMS and len(str(refusal)) < 50_000
        return refusal.problems[0].code if brief else "endless"
    return "priced" if math.isfinite(found.seconds_p90) else "without end"


@pytest.mark.parametrize("make", hostile.FILES, ids=lambda make: make.__name__)
def test_a_hostile_file_gets_its_answer(make: hostile.Make) -> None:
    assert answer(make()) == ANSWERS[make.__name__]


@pytest.mark.parametrize("make", [hostile.long_chain, hostile.switches_on_switches, hostile.lists_of_lists])
def test_no_question_about_a_large_graph_is_answered_twice(make: hostile.Make) -> None:
    nodes = graph.structured(graph.load(make()))
    links = sum(1 for node in nodes.values() for _ in graph.links(node))
    assert Scene(nodes, {}).answers <= 8 * (links + len(nodes))
