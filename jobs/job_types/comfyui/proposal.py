"""Which inputs of a workflow people would want in a form: a proposal from the graph and its definitions.

What authors of workflows expose by hand again and again: prompts, pictures, size, frames, steps, guidance,
seed, models. Inputs of the same name and value in several nodes move together, as the two samplers of Wan do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.job_types.base import Place, Surroundings
from jobs.job_types.comfyui import definitions, graph, known_models, model_classes, stock
from jobs.job_types.comfyui.definitions import Spec
from jobs.job_types.comfyui.form import MAX_CHOICES, MAX_FIELDS

MAX_WALK = 2_000  # nodes looked at on the way from a sampler to its prompt


@dataclass(frozen=True, slots=True)
class Known:
    """An input worth exposing: what people call it, and the range that makes sense to try."""

    name: str
    label: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    help: str = ""


_FRAMES = Known("frames", "Frames", 1, 257)
_NUMBERS = {
    "width": Known("width", "Width", 256, 2048, 8),
    "height": Known("height", "Height", 256, 2048, 8),
    "length": _FRAMES,
    "num_frames": _FRAMES,
    "video_frames": _FRAMES,
    "frames_number": _FRAMES,
    "steps": Known("steps", "Steps", 1, 60, 1, "More steps take longer; beyond about 30 little changes."),
    "cfg": Known("cfg", "Guidance", 1, 20, 0.5, "How closely the picture follows the prompt."),
    "guidance": Known("guidance", "Guidance", 0, 20, 0.5, "How closely the picture follows the prompt."),
    "denoise": Known("denoise", "Change", 0, 1, 0.05, "1 makes everything anew, 0 changes nothing."),
    "batch_size": Known("batch", "Pictures", 1, 8, 1, "Made at once from one prompt."),
    "fps": Known("fps", "Frames per second", 1, 60),
    "frame_rate": Known("fps", "Frames per second", 1, 60),
    "strength_model": Known("strength", "Strength", 0, 2, 0.05),
}
_SEEDS = frozenset({"seed", "noise_seed"})
_TEXTS = frozenset({"text", "prompt", "clip_l", "t5xxl", "text_g", "text_l", "tags", "lyrics"})
_PRIMITIVES = {
    "PrimitiveInt": "integer",
    "PrimitiveFloat": "number",
    "PrimitiveBoolean": "boolean",
    "PrimitiveString": "text",
    "PrimitiveStringMultiline": "text",
}
_MAIN_FOLDERS = ("checkpoints", "diffusion_models")
_ORDER = (
    "prompt",
    "negative",
    "image",
    "width",
    "height",
    "frames",
    "steps",
    "cfg",
    "guidance",
    "seed",
    "batch",
)


def fields_of(payload: Mapping[str, Any], node_definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Proposed fields of a graph in API form, the ones everybody wants first. Never raises for a checked
    graph; nodes without a definition are passed over."""
    proposed: dict[tuple[str, str], dict[str, Any]] = {}
    wanted, unwanted = _prompts(payload, "positive"), _prompts(payload, "negative")
    for node_id, node in payload.items():
        definition = node_definitions.get(node["class_type"])
        if not isinstance(definition, Mapping):
            continue
        for spec in definitions.expanded(definition, node["inputs"]):
            value = node["inputs"].get(spec.name)
            if value is None or graph.link(value) is not None:
                continue
            role = "negative" if node_id in unwanted and node_id not in wanted else "prompt"
            found = _propose(node, spec, value, role)
            if found is not None:
                _gather(proposed, node_id, spec.name, found)
    ranked = sorted(proposed.values(), key=lambda one: _rank(one["name"]))[:MAX_FIELDS]
    return _named(ranked)


def place(payload: Mapping[str, Any], node: str, name: str, around: Surroundings) -> Place:
    """See JobType.place: models present in its folder, or the choices its definition offers."""
    body = payload.get(node)
    if not isinstance(body, Mapping) or name not in body.get("inputs", {}):
        return Place()
    kind, value = str(body.get("class_type", "")), body["inputs"][name]
    folder = stock.MODEL_INPUTS.get(kind, {}).get(name, "")
    offered = set(around.models.get(folder, ())) if folder else set()
    definition = around.node_definitions.get(kind)
    if isinstance(definition, Mapping):
        for spec in definitions.expanded(definition, body["inputs"]):
            if spec.name == name:
                offered.update(str(each) for each in spec.choices or ())
    named = value if isinstance(value, str) else ""
    known = known_models.known(folder, named) if folder else None
    size_bytes = known.size_bytes if known else _about_bytes(folder, named)
    return Place(named, folder, size_bytes, known is not None, tuple(sorted(offered))[:MAX_CHOICES])


def _about_bytes(folder: str, name: str) -> int | None:
    """Weights times bytes of the model class a name tells; a checkpoint holds its text encoder too."""
    found = model_classes.class_of(name) if folder in _MAIN_FOLDERS else ""
    if not found:
        return None
    model = model_classes.CLASSES[found]
    beside = model.text_encoder_gb * 1e9 if folder == "checkpoints" else 0
    return round(model.weights * model_classes.bytes_per_weight(name) + beside)


def _propose(node: Mapping[str, Any], spec: Spec, value: Any, role: str) -> dict[str, Any] | None:
    kind = node["class_type"]
    title = str(node.get("_meta", {}).get("title") or "").strip()
    if kind in _PRIMITIVES and spec.name == "value":
        return _field(_slug(title or kind), title or "Value", _PRIMITIVES[kind], value)
    if spec.uploads and stock.FILE_INPUTS.get(kind) == spec.name:
        return _field("image", title or "Picture", "image", "")
    if spec.name in stock.MODEL_INPUTS.get(kind, {}) and isinstance(value, str):
        offered = sorted({value, *(str(each) for each in spec.choices or ())})[:MAX_CHOICES]
        return _field("model", title or "Model", "choice", value, choices=offered)
    if spec.name in _SEEDS and spec.type == "INT":
        hint = "The same seed makes the same picture again. Leave it blank for a new one."
        return _field("seed", "Seed", "seed", value, help=hint)
    if spec.name in _TEXTS and spec.type == "STRING" and isinstance(value, str):
        label = "Prompt" if role == "prompt" else "Not wanted"
        return _field(role, label, "text", value)
    known = _NUMBERS.get(spec.name.rpartition(".")[2])
    if known is None or spec.type not in ("INT", "FLOAT") or isinstance(value, bool | str):
        return None
    return _number(known, spec, value)


def _number(known: Known, spec: Spec, value: Any) -> dict[str, Any]:
    """The range people try, within what the node takes, and with the author's own value in it."""
    low, high = (
        _bound(known.low, spec.options.get("min"), max),
        _bound(known.high, spec.options.get("max"), min),
    )
    low = min(low, value) if low is not None else None
    high = max(high, value) if high is not None else None
    whole = spec.type == "INT"
    step = spec.options.get("step") if whole else known.step
    step = max(step or 1, known.step or 1) if whole else step
    if low is not None and step and abs((value - low) / step - round((value - low) / step)) > 1e-6:
        # The author's value stands between two steps: count from the node's own minimum, in its own steps.
        step = 1 if whole else None
    return _field(
        known.name,
        known.label,
        "integer" if whole else "number",
        value,
        help=known.help,
        minimum=low,
        maximum=high,
        step=step,
    )


def _bound(ours: float | None, theirs: Any, tighter: Any) -> float | None:
    if not isinstance(theirs, int | float) or isinstance(theirs, bool):
        return ours
    return theirs if ours is None else tighter(ours, theirs)


def _field(name: str, label: str, kind: str, default: Any, **more: Any) -> dict[str, Any]:
    given = {key: value for key, value in more.items() if value not in (None, "", [])}
    return {"name": name, "label": label[:120], "kind": kind, "default": default, **given}


def _gather(
    proposed: dict[tuple[str, str], dict[str, Any]], node: str, name: str, found: dict[str, Any]
) -> None:
    """Keep the field; one that moves together with an earlier one joins it."""
    together = found["kind"] in ("integer", "number") and "label" in found
    key = (found["name"], repr(found["default"])) if together else (found["name"], f"{node}.{name}")
    first = proposed.get(key)
    if first is None:
        proposed[key] = {"node": node, "input": name, **found}
    else:
        first.setdefault("also", []).append({"node": node, "input": name})


def _named(proposed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Names and labels made unique: steps, steps_2 …; Steps, Steps 2 …"""
    names: dict[str, int] = {}
    labels: dict[str, int] = {}
    for one in proposed:
        for key, taken, between in (("name", names, "_"), ("label", labels, " ")):
            base = one[key]
            taken[base] = taken.get(base, 0) + 1
            if taken[base] > 1:
                one[key] = f"{base}{between}{taken[base]}"
    return proposed


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _slug(title: str) -> str:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in title.lower())
    plain = "_".join(part for part in plain.split("_") if part)[:40]
    return plain if plain[:1].isalpha() else f"value_{plain}".rstrip("_")


def _prompts(payload: Mapping[str, Any], socket: str) -> frozenset[str]:
    """Nodes that feed a socket of this name, directly or through others."""
    found: set[str] = set()
    waiting = [link[0] for node in payload.values() for name, link in graph.links(node) if name == socket]
    while waiting and len(found) < MAX_WALK:
        node = waiting.pop()
        if node in found or node not in payload:
            continue
        found.add(node)
        waiting.extend(_feeding(payload[node], socket))
    return frozenset(found)


def _feeding(node: Mapping[str, Any], socket: str) -> Iterator[str]:
    """Sources of a node on the way up; where it keeps both sides apart, only of the side asked for."""
    sides = [(name, link[0]) for name, link in graph.links(dict(node))]
    apart = any(name in ("positive", "negative") for name, _ in sides)
    for name, source in sides:
        if not apart or name == socket:
            yield source
