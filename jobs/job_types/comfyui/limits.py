"""How large a job may be: pixels, frames, batch, steps, counted as it will run, not as it is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from jobs.job_types.base import Problem, Surroundings
from jobs.job_types.comfyui import definitions, graph, sampling
from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.traits import Image, Latent

# Inputs that say how much work there is. Linked ones must lead to a constant, or nobody could price them.
COUNTS = frozenset(
    {
        "amount", "batch_size", "bottom", "denoise", "dim", "direction", "duration", "end_at_step",
        "final_height", "final_width", "frames", "frames_number", "frames_per_chunk", "height",
        "largest_size", "layers", "left", "length", "longer_edge", "longer_size", "max_duration",
        "max_length", "megapixels", "multiplier", "num_frames", "num_segments", "output_height",
        "output_width", "resolution", "right", "scale_by", "scale_ratio", "seconds", "shorter_edge",
        "shorter_size", "start_at_step", "steps", "switch", "target_height", "target_width",
        "temporal_overlap", "tile_height", "tile_width", "top", "video_frames", "width",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each a job may ask for; a workshop overrides them by name."""

    nodes: int = graph.MAX_NODES
    pixels: int = 8192 * 8192  # of one picture
    frames: int = 1_500  # of one clip, or pictures on one wire
    batch: int = 256  # pictures or clips sampled by one node, lists counted
    steps: int = 500  # of one sampler
    passes: int = 40  # evaluations of one step: conditions combined, guidance, samplers
    seconds: int = 86_400  # of sampling, all samplers together, on the reference GPU


def of(around: Surroundings) -> Limits:
    """The defaults, overridden by what the workshop set."""
    known = {each.name for each in fields(Limits)}
    return Limits(**{name: value for name, value in around.limits.items() if name in known})


def exceeded(
    scene: Scene, limit: Limits, node_definitions: Mapping[str, Any], unfamiliar: frozenset[str]
) -> Iterator[Problem]:
    """A problem for every node that asks for more than its share, or for nobody knows how much."""
    tainted = _depending_on(scene, unfamiliar)
    for node in scene.nodes:
        if node in scene.live:
            types = definitions.output_types(node_definitions[scene.kind(node)])
            yield from _uncountable(scene, node, tainted)
            yield from _sizes(scene, node, limit, types)
    found = sampling.samplings(scene)
    for one in found:
        yield from _sampled(scene, one, limit)
    longest = sampling.largest(found)
    if longest and sum(one.seconds for one in found) > limit.seconds:
        asked = f"makes this job longer than {limit.seconds:,} seconds. Use fewer steps, frames or pixels."
        yield _problem(scene, longest.node, "too_much_work", "", asked)


def _uncountable(scene: Scene, node: str, tainted: frozenset[str]) -> Iterator[Problem]:
    """Counts that lead to no constant. What a node let in by name says is guessed, with its wide band."""
    for field, (source, _) in scene.wires[node].items():
        counts = field.rpartition(".")[2] in COUNTS and source not in tainted
        if counts and scene.value(node, field) is None:
            message = "comes through a link that leads to no fixed value, so it can't be priced. Type it in."
            yield _problem(scene, node, "count_not_followed", field, message)


def _depending_on(scene: Scene, nodes: frozenset[str]) -> frozenset[str]:
    """The nodes and all that are fed by them, directly or not."""
    found: set[str] = set()
    for node in scene.order:
        if node in nodes or any(source in found for _, (source, _) in scene.wires[node].items()):
            found.add(node)
    return frozenset(found)


def _sizes(scene: Scene, node: str, limit: Limits, types: list[str]) -> Iterator[Problem]:
    for slot, kind in enumerate(types):
        found: Image | Latent
        if kind in ("IMAGE", "MASK", "VIDEO"):
            found = scene.image_at((node, slot))
            count = found.count
        elif kind == "LATENT":
            found = scene.latent_at((node, slot))
            count = max(found.frames, found.batch)
        else:
            continue
        if found.width * found.height > limit.pixels:
            asked = f"asks for {found.width:.0f}×{found.height:.0f} pixels; {limit.pixels:,} are allowed."
            yield _problem(scene, node, "too_many_pixels", _first(scene, node, "width", "scale_by"), asked)
            return
        if count > limit.frames:
            asked = f"asks for {count:.0f} pictures; {limit.frames:,} are allowed."
            yield _problem(
                scene, node, "too_many_frames", _first(scene, node, "length", "amount", "batch_size"), asked
            )
            return


def _sampled(scene: Scene, one: sampling.Sampling, limit: Limits) -> Iterator[Problem]:
    if one.steps > limit.steps:
        asked = f"makes {one.steps:.0f} steps; {limit.steps:,} are allowed."
        yield _problem(scene, one.node, "too_many_steps", _first(scene, one.node, "steps", "sigmas"), asked)
    if one.shape.batch * one.runs > limit.batch:
        asked = f"samples {one.shape.batch * one.runs:.0f} pictures; {limit.batch} are allowed."
        yield _problem(scene, one.node, "too_large_batch", "latent_image", asked)
    if one.shape.frames > limit.frames:
        asked = f"samples {one.shape.frames:.0f} frames; {limit.frames:,} are allowed."
        yield _problem(scene, one.node, "too_many_frames", "latent_image", asked)
    if one.passes > limit.passes:
        asked = f"evaluates its model {one.passes:.0f} times a step; {limit.passes} are allowed."
        yield _problem(scene, one.node, "too_many_conditions", "positive", asked)


def _first(scene: Scene, node: str, *names: str) -> str:
    return next((name for name in names if scene.has(node, name)), "")


def _problem(scene: Scene, node: str, code: str, field: str, message: str) -> Problem:
    kind = scene.kind(node)
    said = f"{kind} (node {node})" + (f": {field}" if field else "")
    return Problem(code, f"{said} {message}", node, kind, field)
