"""Constants followed through a graph's links: primitives, switches, arithmetic, texts, sizes of pictures."""

import json
import math
import re

from jobs.job_types.comfyui import arithmetic
from jobs.job_types.comfyui.traits import ASSUMED_FRAMES_PER_SECOND, Asking, Scalar, as_number

MAX_TEXT = 10_000  # characters of a text that is followed; joining a text with itself doubles it


def output_value(scene: Asking, node: str, slot: int) -> Scalar | None:
    """The constant at a node's output; None for what only running would tell."""
    kind = scene.kind(node)
    if kind.startswith("Primitive"):
        return scene.value(node, "value")
    if kind == "SeedNode":
        return scene.value(node, "seed")
    if kind == "ComfySwitchNode":
        return scene.value(node, scene.branch(node))
    if kind == "CustomCombo":
        return scene.value(node, "index" if slot == 1 else "choice")
    if kind == "ComfyMathExpression":
        return _converted(_expression(scene, node), slot)
    if kind == "ComfyNumberConvert":
        return _converted(as_number(scene.value(node, "value")), slot)
    if kind in ("ComfyNotNode", "ComfyAndNode", "ComfyOrNode"):
        return _logic(scene, node, kind)
    if kind == "GetImageSize":
        image = scene.image(node, "image")
        return (image.width, image.height, image.count)[slot] if slot < 3 and image.known else None
    if kind == "ResolutionSelector":
        return _resolution(scene, node, slot)
    if kind == "WanCameraEmbedding" and slot > 0:
        return scene.value(node, ("width", "height", "length")[min(slot, 3) - 1])
    if kind == "LTXVDurationPredictor":
        seconds = scene.number(node, "max_seconds", 10)
        return math.ceil(seconds * scene.number(node, "frame_rate", 25)) + 1 if slot == 0 else seconds
    if kind == "MiniMaxMusic3TextEncode" and slot == 1:
        return scene.value(node, "max_duration")
    if kind == "SeedVR2TemporalChunk" and slot == 1:
        return scene.value(node, "temporal_overlap")
    if kind == "GetVideoComponents" and slot == 2:
        return ASSUMED_FRAMES_PER_SECOND
    if kind.startswith("String") or kind == "JsonExtractString":
        return _text(scene, node, kind)
    if kind == "ColorToRGBInt" and slot == 0:
        return _color(scene.text(node, "color"))
    return None


_TEXT_FIELDS = {"JsonExtractString": "json_string", "StringConcatenate": "string_a"}


def _text(scene: Asking, node: str, kind: str) -> Scalar | None:
    """Plain operations on constant texts; regular expressions are left alone."""
    whole = scene.value(node, _TEXT_FIELDS.get(kind, "string"))
    if not isinstance(whole, str) or len(whole) > MAX_TEXT:
        return None
    if kind == "StringLength":
        return len(whole)
    if kind == "StringConcatenate":
        other = scene.value(node, "string_b")
        joined = f"{whole}{scene.text(node, 'delimiter')}{other}"
        return joined if isinstance(other, str) and len(joined) <= MAX_TEXT else None
    if kind == "StringReplace":
        find, put = scene.value(node, "find"), scene.value(node, "replace")
        if not isinstance(find, str) or not isinstance(put, str) or len(put) * len(whole) > 10 * MAX_TEXT:
            return None
        return whole.replace(find, put)
    if kind == "StringTrim":
        trimmed = {"Left": whole.lstrip(), "Right": whole.rstrip()}
        return trimmed.get(scene.text(node, "mode"), whole.strip())
    return _json_text(whole, scene.text(node, "key")) if kind == "JsonExtractString" else None


def _json_text(text: str, key: str) -> str | None:
    """What a key of a JSON object holds, as text (an object in it in Python's spelling, as ComfyUI does)."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = found.get(key) if isinstance(found, dict) else None
    return None if value is None else str(value)[:MAX_TEXT]


def _expression(scene: Asking, node: str) -> float | None:
    names: dict[str, float] = {}
    for field in scene.nodes[node]["inputs"]:
        parent, _, name = field.partition(".")
        if parent == "values":
            value = as_number(scene.value(node, field))
            if value is None:
                return None
            names[name] = value
    return arithmetic.evaluate(scene.text(node, "expression"), names)


def _converted(value: float | None, slot: int) -> Scalar | None:
    """Outputs of the math nodes: 0 a float, 1 an integer, 2 a boolean."""
    if value is None or slot == 0:
        return value
    return int(value) if slot == 1 else bool(value)


def _logic(scene: Asking, node: str, kind: str) -> bool | None:
    values = [scene.value(node, field) for field in scene.nodes[node]["inputs"]]
    if not values or any(value is None for value in values):
        return None
    if kind == "ComfyNotNode":
        return not values[0]
    return all(values) if kind == "ComfyAndNode" else any(values)


def _resolution(scene: Asking, node: str, slot: int) -> float | None:
    sides = re.match(r"(\d{1,3}):(\d{1,3})", scene.text(node, "aspect_ratio"))
    if sides is None or "0" in sides.groups():
        return None
    across, down = float(sides[1]), float(sides[2])
    multiple = max(1.0, scene.number(node, "multiple", 8))
    unit = math.sqrt(max(0.01, scene.number(node, "megapixels", 1)) * 1024 * 1024 / (across * down))
    return max(1, round((across, down)[slot > 0] * unit / multiple)) * multiple


def _color(text: str) -> int | None:
    return int(text[1:], 16) if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else None
