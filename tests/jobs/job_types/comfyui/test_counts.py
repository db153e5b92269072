"""What changes the size of anything is a count: through a link that can't be followed it is refused."""

import gzip
import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.simulator.definitions import own_definitions
from jobs.job_types.comfyui import definitions, limits, stock
from jobs.job_types.comfyui.definitions import Spec
from jobs.job_types.comfyui.scene import Scene

PICTURE = {"class_type": "EmptyImage", "inputs": {"width": 640, "height": 384, "batch_size": 30}}
CLIP = {"class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 640, "height": 384, "length": 29, "batch_size": 2}}  # fmt: skip
WIRED = {"IMAGE": "picture", "MASK": "picture", "VIDEO": "picture", "LATENT": "clip",
         definitions.MATCH: "picture"}  # fmt: skip


def sizes(kind: str, inputs: dict[str, Any]) -> str:
    """Everything the estimate knows of what a node gives out."""
    nodes = {"picture": PICTURE, "clip": CLIP, "node": {"class_type": kind, "inputs": inputs}}
    scene = Scene(nodes, {})
    outputs = [(scene.image_at(("node", slot)), scene.latent_at(("node", slot))) for slot in range(4)]
    return f"{scene.items('node')} {outputs}"


def wired(definition: Mapping[str, Any]) -> Iterator[tuple[list[Spec], dict[str, Any]]]:
    """(inputs, values) of a node with everything linked or at its default, for each dynamic choice."""
    dynamic = [s for s in definitions.inputs(definition) if s.type == definitions.DYNAMIC_COMBO and s.choices]
    for keys in product(*(spec.choices or () for spec in dynamic)):
        values: dict[str, Any] = {spec.name: key for spec, key in zip(dynamic, keys, strict=True)}
        specs = list(definitions.expanded(definition, values))
        for spec in specs:
            if spec.type in WIRED:
                values[spec.name] = [WIRED[spec.type], 0]
            elif spec.widget:
                values.setdefault(spec.name, spec.default())
        yield specs, values


def tried(spec: Spec) -> list[Any]:
    if spec.type in ("INT", "FLOAT") or spec.options.get("widgetType") in ("INT", "FLOAT"):
        return [spec.options.get("min", 0), spec.default(), min(spec.options.get("max", 4096), 4096)]
    return list(spec.choices or ()) if spec.type == "COMBO" and len(spec.choices or ()) < 20 else []


def uncounted(told: Mapping[str, Any], counts: frozenset[str] = limits.COUNTS) -> set[tuple[str, str]]:
    return {
        (kind, spec.name)
        for kind in stock.STOCK & told.keys()
        for specs, values in wired(told[kind])
        for spec in specs
        if spec.name.rpartition(".")[2] not in counts
        and len({sizes(kind, {**values, spec.name: value}) for value in tried(spec)}) > 1
    }


def test_whatever_changes_a_size_is_counted() -> None:
    assert uncounted(own_definitions()) == set()
    assert ("ImageScaleBy", "scale_by") in uncounted(own_definitions(), frozenset())


@pytest.mark.recordings
def test_whatever_changes_a_size_of_a_real_comfyuis_nodes_is_counted(recordings: Path) -> None:
    told = json.loads(gzip.decompress((recordings / "comfyui/object_info.json.gz").read_bytes()))
    assert uncounted(told) == set()
