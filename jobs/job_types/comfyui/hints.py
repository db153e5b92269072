"""Small changes that would make a checked graph cheaper: fewer steps, a distilled model that is here, a
smaller picture, fewer frames, one instead of many.

Only what stands in the graph as a number is changed, at its source where a primitive feeds it. What a change
saves is found by whoever prices the changed graph.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.job_types.base import Change, Checked, Surroundings, Variant
from jobs.job_types.comfyui import graph, model_classes, stock
from jobs.job_types.comfyui.graph import Graph

MOST_NODES = 600  # above it the graph is left alone: each variant is priced anew
MAX_HOPS = 8  # of primitives between an input and its number
_PRIMITIVES = {
    "PrimitiveInt": "value",
    "PrimitiveFloat": "value",
    "PrimitiveNode": "value",
    "INTConstant": "value",
}
_STEP_FIELDS = ("steps", "start_at_step", "end_at_step")
_FRAME_FIELDS = ("length", "num_frames", "video_frames", "frames_number")
_MOVES = re.compile(r"Video|Latent|Wan|LTX|Hunyuan|Cosmos|Mochi", re.IGNORECASE)
_MANY_FIELDS = ("batch_size", "amount")
_CFG_FIELDS = ("cfg", "cfg_conds")
LEAST_STEPS, STEP_SHARE = 10, 0.6
LEAST_SIDE, SIDE_SHARE = 384, 0.75
LEAST_FRAMES, FRAME_SHARE = 25, 0.6
SIDE_STEP = 64
FRAME_STEP = 8  # video models take 8 n + 1 frames, and so 4 n + 1


@dataclass(frozen=True, slots=True)
class Place:
    """A number in the graph."""

    node: str
    input: str
    value: float


@dataclass(frozen=True, slots=True)
class Distilled:
    """Models whose name matches `base` have a faster sibling named like `fast`, made for so few steps."""

    base: re.Pattern[str]
    fast: re.Pattern[str]
    steps: int


_DISTILLED = tuple(
    Distilled(re.compile(base), re.compile(fast), steps)
    for base, fast, steps in (
        (r"flux1?[-_.]?dev", r"flux1?[-_.]?schnell", 4),
        (r"klein[-_]base[-_]4b", r"klein[-_]4b", 4),
        (r"klein[-_]base[-_]9b", r"klein[-_]9b", 4),
        (r"z_?image(?!.*turbo)", r"z_?image.*turbo", 8),
        (r"sd_?xl[-_]base", r"sd_?xl.*(lightning|hyper)", 8),
        (r"sd3\.5_large(?!.*turbo)", r"sd3\.5_large.*turbo", 4),
        (r"ltx-?2.*dev", r"ltx-?2.*distilled(?!.*lora)", 8),
    )
)


def cheaper(checked: Checked, around: Surroundings) -> tuple[Variant, ...]:
    """Variants of the graph, none twice, in no order of saving; none for very large graphs."""
    nodes: Graph = checked.payload
    if len(nodes) > MOST_NODES:
        return ()
    found = (_fewer_steps(nodes), _distilled(nodes, around), _smaller(nodes), _shorter(nodes), _single(nodes))
    return tuple(variant for variant in found if variant is not None)


def changed(payload: Mapping[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """A copy of a graph with these inputs set. Raises KeyError for a node it lacks."""
    nodes = dict(payload)
    for change in changes:
        node = nodes[change.node]
        nodes[change.node] = {**node, "inputs": {**node["inputs"], change.input: change.value}}
    return nodes


# --- variants ------------------------------------------------------------------------------------


def _fewer_steps(nodes: Graph) -> Variant | None:
    most = max((place.value for place in _places(nodes, ("steps",))), default=0)
    if most < LEAST_STEPS:
        return None
    target = max(1, round(STEP_SHARE * most))
    changes = _steps_scaled(nodes, target / most)
    return Variant(f"{target} steps instead of {most:.0f}", changes) if changes else None


def _distilled(nodes: Graph, around: Surroundings) -> Variant | None:
    for node, field, name, folder in _models(nodes):
        fast = _sibling(name, _held(around, folder))
        if fast is None:
            continue
        file, steps = fast
        most = max((each.value for each in _places(nodes, ("steps",))), default=0)
        fewer = _steps_scaled(nodes, steps / most) if most > steps else ()
        guided = [each for each in _places(nodes, _CFG_FIELDS) if each.value > 1]
        changes = (
            Change(node, field, file),
            *fewer,
            *(Change(each.node, each.input, 1.0) for each in guided),
        )
        return Variant(f"the faster model {file} with {min(steps, most) or steps:.0f} steps", changes)
    return None


def _smaller(nodes: Graph) -> Variant | None:
    pairs = []
    for node in nodes:
        width, height = (_number(nodes, node, field) for field in ("width", "height"))
        if width and height and min(width.value, height.value) >= LEAST_SIDE:
            pairs.append((width, height))
    if not pairs:
        return None
    sides = {place for pair in pairs for place in pair}
    changes = _set(sides, lambda value: _rounded(SIDE_SHARE * value, SIDE_STEP))
    wide, high = max(pairs, key=lambda pair: pair[0].value * pair[1].value)
    small = [_rounded(SIDE_SHARE * side.value, SIDE_STEP) for side in (wide, high)]
    words = f"{small[0]}×{small[1]} pixels instead of {wide.value:.0f}×{high.value:.0f}"
    return Variant(words, changes) if changes else None


def _shorter(nodes: Graph) -> Variant | None:
    moving = {node for node in nodes if _MOVES.search(nodes[node]["class_type"])}
    places = [each for each in _places(nodes, _FRAME_FIELDS, moving) if each.value >= LEAST_FRAMES]
    if not places:
        return None
    most = max(place.value for place in places)
    changes = _set(places, _frames)
    return Variant(f"{_frames(most)} frames instead of {most:.0f}", changes) if changes else None


def _single(nodes: Graph) -> Variant | None:
    places = [each for each in _places(nodes, _MANY_FIELDS) if each.value >= 2]
    if not places:
        return None
    most = max(place.value for place in places)
    return Variant(f"1 at a time instead of {most:.0f}", _set(places, lambda _value: 1))


# --- numbers in the graph ------------------------------------------------------------------------


def _places(nodes: Graph, fields: Collection[str], among: Collection[str] | None = None) -> list[Place]:
    """Where the numbers of inputs so named stand; each once, in the graph's order."""
    found = (
        _number(nodes, node, field)
        for node in (nodes if among is None else (node for node in nodes if node in among))
        for field in fields
        if field in nodes[node]["inputs"]
    )
    return list(dict.fromkeys(place for place in found if place is not None))


def _number(nodes: Graph, node: str, field: str) -> Place | None:
    """The number an input has, or that of the primitive which feeds it."""
    for _ in range(MAX_HOPS):
        value = nodes[node]["inputs"].get(field) if node in nodes else None
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            return Place(node, field, value)
        link = graph.link(value)
        if link is None or link[0] not in nodes:
            return None
        node, field = link[0], _PRIMITIVES.get(nodes[link[0]]["class_type"], "")
        if not field:
            return None
    return None


def _steps_scaled(nodes: Graph, share: float) -> tuple[Change, ...]:
    """All samplers' steps times `share`, with the steps at which they hand over to each other."""
    most = max((place.value for place in _places(nodes, ("steps",))), default=0)
    # "To the end" is written as a step far beyond the last.
    places = [each for each in _places(nodes, _STEP_FIELDS) if 0 < each.value <= most]
    return _set(places, lambda value: max(1, round(share * value)))


def _set(places: Iterable[Place], new: Callable[[float], int]) -> tuple[Change, ...]:
    changes = []
    for place in places:
        value = new(place.value)
        if value < place.value:
            changes.append(Change(place.node, place.input, value))
    return tuple(sorted(changes, key=lambda change: (change.node, change.input)))


def _rounded(value: float, step: int) -> int:
    return max(step, round(value / step) * step)


def _frames(value: float) -> int:
    return max(1, round((FRAME_SHARE * value - 1) / FRAME_STEP) * FRAME_STEP + 1)


# --- models --------------------------------------------------------------------------------------


def _models(nodes: Graph) -> Iterator[tuple[str, str, str, str]]:
    """(node, input, file, folder) of every diffusion model that is named outright."""
    for node, words in nodes.items():
        for field, folder in stock.MODEL_INPUTS.get(words["class_type"], {}).items():
            name = words["inputs"].get(field)
            if folder in ("checkpoints", "diffusion_models") and isinstance(name, str):
                yield node, field, name, folder


def _held(around: Surroundings, folder: str) -> list[str]:
    folders = (folder, "unet") if folder == "diffusion_models" else (folder,)
    return sorted(name for each in folders for name in around.models.get(each, ()))


def _sibling(name: str, held: Iterable[str]) -> tuple[str, int] | None:
    """A faster model of the same class among those at hand, and its steps; stored alike if there is one."""
    lowered = name.lower()
    for pair in _DISTILLED:
        if not pair.base.search(lowered) or pair.fast.search(lowered):
            continue
        fits = [
            each
            for each in held
            if pair.fast.search(each.lower())
            and not pair.base.search(each.lower())
            and model_classes.class_of(each) == model_classes.class_of(name)
        ]
        size = model_classes.bytes_per_weight(name)
        fits.sort(key=lambda each: (model_classes.bytes_per_weight(each) != size, each))
        if fits:
            return fits[0], pair.steps
    return None
