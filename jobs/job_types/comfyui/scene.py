"""A graph seen as a price sees it: constants followed through links, sizes of images and latents.

Everything is answered once and remembered, and long graphs are answered sources first, so that neither
cycles, switch bombs nor chains of thousands of nodes cost more than one visit per linked output.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jobs.job_types.base import UploadedFile
from jobs.job_types.comfyui import arithmetic, graph, stock

Scalar = str | int | float | bool
T = TypeVar("T")

ASSUMED_PIXELS_SIDE = 1024
ASSUMED_FRAMES = 121
ASSUMED_CHUNK = 21  # frames SeedVR2 takes at once, where it chooses itself
ASSUMED_FRAMES_PER_SECOND = 60.0  # of an uploaded clip: more than most have, lest a length be priced short
MAX_TEXT = 10_000  # characters of a text that is followed; joining a text with itself doubles it
MAX_COUNT = 1e7  # beyond any limit a check sets; keeps products finite
_DEEP = 40  # graphs with longer chains of nodes are answered sources first


@dataclass(frozen=True, slots=True)
class Image:
    """Images on a wire: pixels, and how many. `known` is False where a size had to be assumed."""

    width: float
    height: float
    count: float = 1
    known: bool = True

    @property
    def pixels(self) -> float:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Latent:
    """A latent on a wire, in the pixels and frames it decodes to. `model_class`: of the sampler it left."""

    width: float
    height: float
    frames: float = 1
    batch: float = 1
    known: bool = True
    model_class: str = ""
    audio: bool = False


UNKNOWN_IMAGE = Image(ASSUMED_PIXELS_SIDE, ASSUMED_PIXELS_SIDE, 1, known=False)
UNKNOWN_LATENT = Latent(ASSUMED_PIXELS_SIDE, ASSUMED_PIXELS_SIDE, known=False)


class Scene:
    """Answers about one structured graph. `files`: file name in the graph → upload. Never raises."""

    def __init__(
        self, nodes: graph.Graph, files: Mapping[str, UploadedFile], outputs: Collection[str] | None = None
    ) -> None:
        self.nodes = nodes
        self.files = files
        self.wires = {node_id: dict(graph.links(node)) for node_id, node in nodes.items()}  # input → link
        self._memo: dict[tuple[str, str, int], Any] = {}
        self._through: dict[graph.Link, graph.Link | None] = {}
        self.order, around = graph.topological(nodes)
        # Whether an answer may have to reach so far back that it must be asked for sources first.
        self.long = bool(around) or self._longest_chain() > _DEEP
        if self.long:
            for link in self.sources_first():
                self.items(link[0])
                self.value_at(link)
                self.image_at(link)
                self.latent_at(link)
        self.live = self._reached(_outputs(nodes) if outputs is None else outputs)

    @property
    def answers(self) -> int:
        """How many different questions were answered: a bounded number for each link of the graph."""
        return len(self._memo)

    # --- asking --------------------------------------------------------------------------

    def kind(self, node: str) -> str:
        return str(self.nodes[node]["class_type"])

    def has(self, node: str, field: str) -> bool:
        return field in self.nodes[node]["inputs"]

    def remember(self, what: str, node: str, slot: int, fallback: T, answer: Callable[[], T]) -> T:
        """Answer once; `fallback` is what a question that comes back to itself gets."""
        key = (what, node, slot)
        if key not in self._memo:
            self._memo[key] = fallback
            self._memo[key] = answer()
        found: T = self._memo[key]
        return found

    def source(self, node: str, field: str) -> graph.Link | None:
        """The output that feeds an input, seen through switches; None where nothing does."""
        found = self.wires[node].get(field)
        if found is None:
            return None
        passed: list[graph.Link] = []
        while found is not None and found not in self._through:
            if found[0] not in self.nodes or found in passed:
                return None
            passed.append(found)
            if self.kind(found[0]) != "ComfySwitchNode":
                self._through[found] = found
            else:
                found = self.wires[found[0]].get(self.branch(found[0]))
        end = None if found is None else self._through[found]
        for link in passed:  # a long chain of switches is walked once, not once for each user
            self._through[link] = end
        return end

    def branch(self, switch: str) -> str:
        """Which input of a ComfySwitchNode runs; the second where its condition can't be followed."""
        chosen = self.value(switch, "switch")
        return "on_false" if chosen is not None and not chosen else "on_true"

    def value(self, node: str, field: str) -> Scalar | None:
        """The constant an input will have, None where it can't be told before running."""
        raw = self.nodes[node]["inputs"].get(field)
        if isinstance(raw, Scalar):
            return raw
        link = graph.link(raw)
        if link is None or link[0] not in self.nodes:
            return None
        return self.value_at(link)

    def value_at(self, link: graph.Link) -> Scalar | None:
        return self.remember("value", link[0], link[1], None, lambda: _output_value(self, *link))

    def number(self, node: str, field: str, default: float) -> float:
        """`value` as a finite number within ±1e7, `default` where there is none."""
        found = as_number(self.value(node, field))
        return default if found is None else max(-MAX_COUNT, min(MAX_COUNT, found))

    def text(self, node: str, field: str) -> str:
        found = self.value(node, field)
        return found if isinstance(found, str) else ""

    def image(self, node: str, *fields: str) -> Image:
        """Size of the image (or mask, or video) at the first of `fields` that is linked."""
        inputs = self.nodes[node]["inputs"]
        for field in fields:
            link = self.source(node, field) if field in inputs else None
            if link is not None:
                return self.image_at(link)
        return UNKNOWN_IMAGE

    def given(self, node: str) -> Image:
        """The picture a node is given, whatever its input is called; or what the thing it is given was read
        off (depth, poses, tracks)."""
        return self.remember("given", node, 0, UNKNOWN_IMAGE, lambda: _given(self, node))

    def image_at(self, link: graph.Link) -> Image:
        return self.remember("image", link[0], link[1], UNKNOWN_IMAGE, lambda: _output_image(self, *link))

    def latent(self, node: str, *fields: str) -> Latent:
        """The latent at the first of `fields` that is linked."""
        inputs = self.nodes[node]["inputs"]
        for field in fields:
            link = self.source(node, field) if field in inputs else None
            if link is not None:
                return self.latent_at(link)
        return UNKNOWN_LATENT

    def latent_at(self, link: graph.Link) -> Latent:
        return self.remember("latent", link[0], link[1], UNKNOWN_LATENT, lambda: _output_latent(self, *link))

    def runs(self, node: str) -> float:
        """How often a node runs: ComfyUI runs it once for each item of the longest list it is fed."""
        return self.remember("runs", node, 0, 1.0, lambda: self._runs(node))

    def sources_first(self) -> Iterator[graph.Link]:
        """Every linked output, those first that others depend on: asked in this order, no answer has to
        reach further back than one link."""
        slots: dict[str, set[int]] = {}
        for wires in self.wires.values():
            for source, slot in wires.values():
                slots.setdefault(source, set()).add(slot)
        for node_id in self.order:
            for slot in slots.get(node_id, ()):
                yield node_id, slot

    # --- inside --------------------------------------------------------------------------

    def _longest_chain(self) -> int:
        """Nodes on the longest way through the graph."""
        lengths: dict[str, int] = {}
        for node in self.order:
            before = (lengths.get(source, 0) for _, (source, _) in self.wires[node].items())
            lengths[node] = 1 + max(before, default=0)
        return max(lengths.values(), default=0)

    def _runs(self, node: str) -> float:
        if self.kind(node) in stock.TAKES_LISTS:
            return 1.0
        lengths = [self.items(source) for _, (source, _) in self.wires[node].items()]
        return max(lengths, default=1.0)

    def items(self, node: str) -> float:
        """Items in the list a node gives out; 1 for what is no list."""
        return self.remember("items", node, 0, 1.0, lambda: self._count_items(node))

    def _count_items(self, node: str) -> float:
        kind = self.kind(node)
        if kind == "ComfySwitchNode":
            chosen = self.source(node, self.branch(node))
            return self.items(chosen[0]) if chosen else 1.0
        if kind == "CreateList":
            links = self.wires[node].items()
            return min(MAX_COUNT, math.fsum(self.items(source) for _, (source, _) in links)) or 1.0
        if kind in ("RebatchImages", "RebatchLatents"):
            whole = self.image(node, "images").count
            if kind == "RebatchLatents":
                whole = self.latent(node, "latents").batch
            return math.ceil(whole / max(1.0, self.number(node, "batch_size", 1)))
        if kind == "SplitImageToTileList":
            image = self.image(node, "image")
            across = math.ceil(image.width / max(64.0, self.number(node, "tile_width", 1024) / 2))
            down = math.ceil(image.height / max(64.0, self.number(node, "tile_height", 1024) / 2))
            return across * down
        if kind == "WanDancerPadKeyframesList":
            return max(1.0, self.number(node, "num_segments", 1))
        if kind == "SeedVR2TemporalChunk":
            overlap = 4 * max(0.0, self.number(node, "temporal_overlap", 0))
            span = max(4.0, self.number(node, "chunking_mode.frames_per_chunk", ASSUMED_CHUNK) - overlap)
            latent = self.latent(node, "latent")
            return math.ceil(max(latent.frames, latent.batch) / span)
        if kind in ("ShuffleDataset", "ShuffleImageTextDataset", "MergeImageLists", "ImageDeduplication"):
            linked = self.wires[node].items()
            return max((self.items(source) for _, (source, _) in linked), default=1.0)
        return self.runs(node)

    def _reached(self, outputs: Collection[str]) -> frozenset[str]:
        """Nodes that run: behind an output node, on the chosen side of every switch."""
        stack = [node for node in outputs if node in self.nodes]
        seen = set(stack)
        while stack:
            node = stack.pop()
            skipped = ""
            if self.kind(node) == "ComfySwitchNode":
                skipped = "on_true" if self.branch(node) == "on_false" else "on_false"
            for field, (source, _) in self.wires[node].items():
                if field != skipped and source in self.nodes and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return frozenset(seen)


def as_number(value: object) -> float | None:
    """A number, or the number a short text spells."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 32 else None
        except ValueError:
            return None
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _outputs(nodes: graph.Graph) -> list[str]:
    """Nodes whose name says that they give something out; without definitions there is no surer sign."""
    named = [n for n, node in nodes.items() if re.match(r"Save|Preview|VHS_VideoCombine", node["class_type"])]
    return named or list(nodes)


# --- constants -------------------------------------------------------------------------------


def _output_value(scene: Scene, node: str, slot: int) -> Scalar | None:
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
    if kind == "GetVideoComponents" and slot == 2:
        return ASSUMED_FRAMES_PER_SECOND
    if kind.startswith("String") or kind == "JsonExtractString":
        return _text(scene, node, kind)
    if kind == "ColorToRGBInt" and slot == 0:
        return _color(scene.text(node, "color"))
    return None


_TEXT_FIELDS = {"JsonExtractString": "json_string", "StringConcatenate": "string_a"}


def _text(scene: Scene, node: str, kind: str) -> Scalar | None:
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


def _expression(scene: Scene, node: str) -> float | None:
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


def _logic(scene: Scene, node: str, kind: str) -> bool | None:
    values = [scene.value(node, field) for field in scene.nodes[node]["inputs"]]
    if not values or any(value is None for value in values):
        return None
    if kind == "ComfyNotNode":
        return not values[0]
    return all(values) if kind == "ComfyAndNode" else any(values)


def _resolution(scene: Scene, node: str, slot: int) -> float | None:
    sides = re.match(r"(\d{1,3}):(\d{1,3})", scene.text(node, "aspect_ratio"))
    if sides is None or "0" in sides.groups():
        return None
    across, down = float(sides[1]), float(sides[2])
    multiple = max(1.0, scene.number(node, "multiple", 8))
    unit = math.sqrt(max(0.01, scene.number(node, "megapixels", 1)) * 1024 * 1024 / (across * down))
    return max(1, round((across, down)[slot > 0] * unit / multiple)) * multiple


def _color(text: str) -> int | None:
    return int(text[1:], 16) if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else None


# --- images ----------------------------------------------------------------------------------

_IMAGE_FIELDS = (
    "image", "images", "image1", "images.image0", "pixels", "input", "destination", "source", "video", "mask",
    "masks", "resized_images", "image_target", "samples", "image_list", "file", "Y",
)  # fmt: skip
_SIZE_PREFIXES = ("", "target_", "final_", "output_", "size_mode.")


def _output_image(scene: Scene, node: str, slot: int) -> Image:
    kind = scene.kind(node)
    if kind in stock.FILE_INPUTS and kind != "Painter":
        return _uploaded(scene, node, kind)
    if kind.startswith("VAEDecode"):
        latent = scene.latent(node, "samples")
        return Image(latent.width, latent.height, latent.batch * latent.frames, latent.known)
    changed = _changed_count(scene, node, kind) or _changed_size(scene, node, kind)
    if changed is not None:
        one_mask = kind == "ImagePadForOutpaint" and slot == 1
        return _within(replace(changed, count=1) if one_mask else changed)
    base = scene.given(node)
    width = _first_number(
        scene, node, "width", "target_width", "final_width", "output_width", "size_mode.width"
    )
    height = _first_number(
        scene, node, "height", "target_height", "final_height", "output_height", "size_mode.height"
    )
    if width is None or height is None:
        return base
    count = scene.number(node, "batch_size", scene.number(node, "frames", base.count))
    if width <= 0 or height <= 0:  # ComfyUI: zero keeps the proportions
        scale = max(width, 0) / base.width or max(height, 0) / base.height or 1.0
        return _within(Image(base.width * scale, base.height * scale, count, base.known))
    return _within(Image(width, height, max(1.0, count)))


def _given(scene: Scene, node: str) -> Image:
    if not scene.wires[node].keys().isdisjoint(_IMAGE_FIELDS):
        return scene.image(node, *_IMAGE_FIELDS)
    links = (scene.source(node, field) for field, _ in scene.wires[node].items())
    return next((image for link in links if link and (image := scene.image_at(link)).known), UNKNOWN_IMAGE)


def _uploaded(scene: Scene, node: str, kind: str) -> Image:
    upload = scene.files.get(scene.text(node, stock.FILE_INPUTS[kind]))
    frames = ASSUMED_FRAMES if kind == "LoadVideo" else 1
    if upload is None or not upload.width or not upload.height:
        return replace(UNKNOWN_IMAGE, count=(upload and upload.frames) or frames)
    known = bool(upload.frames) or kind != "LoadVideo"
    return _within(Image(upload.width, upload.height, upload.frames or frames, known))


def _changed_count(scene: Scene, node: str, kind: str) -> Image | None:
    """Nodes that change how many images there are."""
    base = scene.image(node, *_IMAGE_FIELDS)
    if kind in ("ImageBatch", "BatchImagesNode", "BatchMasksNode"):
        links = [scene.source(node, field) for field, _ in scene.wires[node].items()]
        return replace(base, count=math.fsum(scene.image_at(link).count for link in links if link))
    if kind == "RepeatImageBatch":
        return replace(base, count=base.count * max(1.0, scene.number(node, "amount", 1)))
    if kind in ("ImageFromBatch", "VideoTemporalCrop", "VideoRandomTemporalCrop"):
        return replace(base, count=min(base.count, max(1.0, scene.number(node, "length", 1))))
    if kind == "VideoFrameSample":
        return replace(base, count=min(base.count, max(1.0, scene.number(node, "num_frames", 16))))
    if kind == "Video Slice" and scene.number(node, "duration", 0) > 0:
        frames = math.ceil(scene.number(node, "duration", 0) * ASSUMED_FRAMES_PER_SECOND)
        return replace(base, count=min(base.count, frames))
    if kind == "FrameInterpolate":
        return replace(base, count=base.count * max(1.0, scene.number(node, "multiplier", 2)))
    if kind == "RebatchImages":
        return replace(base, count=min(base.count, max(1.0, scene.number(node, "batch_size", 1))))
    return None


def _changed_size(scene: Scene, node: str, kind: str) -> Image | None:
    """Nodes whose output size is a function of their input's."""
    base = scene.image(node, *_IMAGE_FIELDS)
    if kind == "ImageScaleBy":
        return _scaled(base, scene.number(node, "scale_by", 1))
    if kind == "ImageScaleToTotalPixels":
        return _to_area(base, scene.number(node, "megapixels", 1) * 1024 * 1024)
    if kind == "FluxKontextImageScale":
        return _to_area(base, 1024 * 1024)
    if kind == "ImageScaleToMaxDimension":
        return _scaled(base, scene.number(node, "largest_size", 512) / max(base.width, base.height))
    if kind == "ResizeImagesByLongerEdge":
        return _scaled(base, scene.number(node, "longer_edge", 1024) / max(base.width, base.height))
    if kind == "ResizeImagesByShorterEdge":
        return _scaled(base, scene.number(node, "shorter_edge", 512) / min(base.width, base.height))
    if kind == "ImageUpscaleWithModel":
        return _scaled(base, upscale_factor(scene, node))
    if kind == "ImagePadForOutpaint":
        width = base.width + scene.number(node, "left", 0) + scene.number(node, "right", 0)
        return replace(base, width=width, height=base.height + _sum(scene, node, "top", "bottom"))
    if kind == "ImageStitch":
        other = scene.image(node, "image2") if scene.source(node, "image2") else Image(0, 0)
        if scene.text(node, "direction") in ("up", "down"):
            return replace(base, height=base.height + other.height, width=max(base.width, other.width))
        return replace(base, width=base.width + other.width, height=max(base.height, other.height))
    if kind == "SplitImageToTileList":
        width = min(base.width, scene.number(node, "tile_width", 1024))
        return replace(base, width=width, height=min(base.height, scene.number(node, "tile_height", 1024)))
    if kind == "ResizeImageMaskNode":
        return _resized(scene, node, base)
    return None


def _resized(scene: Scene, node: str, base: Image) -> Image:
    field = "resize_type"
    way = scene.text(node, field)
    if "multiplier" in way:
        return _scaled(base, scene.number(node, f"{field}.multiplier", 1))
    if "longer" in way:
        return _scaled(base, scene.number(node, f"{field}.longer_size", 512) / max(base.width, base.height))
    if "shorter" in way:
        return _scaled(base, scene.number(node, f"{field}.shorter_size", 512) / min(base.width, base.height))
    if "pixels" in way:
        return _to_area(base, scene.number(node, f"{field}.megapixels", 1) * 1024 * 1024)
    if scene.source(node, f"{field}.match"):
        return replace(scene.image(node, f"{field}.match"), count=base.count)
    width, height = scene.number(node, f"{field}.width", 0), scene.number(node, f"{field}.height", 0)
    if width > 0 and height > 0:
        return replace(base, width=width, height=height)
    return _scaled(base, max(width, 0) / base.width or max(height, 0) / base.height or 1.0)


def upscale_factor(scene: Scene, node: str) -> float:
    """How much an upscale model enlarges a side: its file name tells, four where it doesn't."""
    loader = scene.source(node, "upscale_model")
    name = scene.text(loader[0], "model_name").lower() if loader else ""
    told = re.search(r"(?:^|[^\d])([1248])x|x([1248])(?!\d)", name)
    return float(told[1] or told[2]) if told else 4.0


def _scaled(image: Image, factor: float) -> Image:
    return replace(image, width=image.width * factor, height=image.height * factor)


def _to_area(image: Image, pixels: float) -> Image:
    return _scaled(image, math.sqrt(max(1.0, pixels) / image.pixels))


def _within(image: Image) -> Image:
    """Sides and count as whole numbers from 1 to 1e7, so that later products stay finite."""
    sides = [min(MAX_COUNT, max(1.0, round(side))) for side in (image.width, image.height)]
    return replace(image, width=sides[0], height=sides[1], count=min(MAX_COUNT, max(1.0, image.count)))


# --- latents ---------------------------------------------------------------------------------

_LATENT_FIELDS = (
    "latent_image", "latent", "samples", "video_latent", "av_latent", "samples1", "samples_to", "latents",
    "destination", "shape_latent", "latents.latent0",
)  # fmt: skip
_AUDIO_KINDS = re.compile(r"^(Empty\w*Audio$|VAEEncodeAudio|LTXVEmptyLatentAudio|LTXVAudioVAEEncode)")


def _output_latent(scene: Scene, node: str, slot: int) -> Latent:
    kind = scene.kind(node)
    if _AUDIO_KINDS.match(kind):
        seconds = min(3600.0, max(1.0, scene.number(node, "seconds", 60)))
        side = ASSUMED_PIXELS_SIDE * math.sqrt(max(0.25, seconds / 60))
        batch = max(1.0, scene.number(node, "batch_size", 1))
        return Latent(side, side, 1, min(batch, MAX_COUNT), known=False, audio=True)
    derived = _derived_latent(scene, node, kind)
    if derived is not None:
        return _latent_within(derived)
    linked = not scene.wires[node].keys().isdisjoint(_LATENT_FIELDS)
    base = scene.latent(node, *_LATENT_FIELDS)
    width, height = _first_number(scene, node, "width"), _first_number(scene, node, "height")
    if width is None or height is None or width <= 0 or height <= 0:
        frames = _first_number(scene, node, "length") or base.frames
        return base if linked else _latent_within(_of_pixels(scene, node, frames))
    frames = _first_number(scene, node, "length", "video_frames") or (base.frames if linked else 1)
    frames += max(0.0, scene.number(node, "layers", 0))
    batch = _first_number(scene, node, "batch_size") or (base.batch if linked else 1)
    return _latent_within(Latent(width, height, frames, batch, model_class=base.model_class))


def _derived_latent(scene: Scene, node: str, kind: str) -> Latent | None:
    """Nodes that make a latent of an image, or change one in a way of their own."""
    base = scene.latent(node, *_LATENT_FIELDS)
    if kind.startswith("VAEEncode") or kind in ("InpaintModelConditioning", "InstructPixToPixConditioning"):
        return _of_pixels(scene, node, 1)
    if kind == "SD_4XUpscale_Conditioning":
        image = _scaled(scene.image(node, "images"), max(0.01, scene.number(node, "scale_ratio", 4)))
        return Latent(image.width, image.height, 1, image.count, image.known)
    if kind == "LatentUpscaleBy":
        factor = scene.number(node, "scale_by", 1.5)
        return replace(base, width=base.width * factor, height=base.height * factor)
    if kind == "LTXVLatentUpsampler":
        return replace(base, width=base.width * 2, height=base.height * 2)
    if kind == "RepeatLatentBatch":
        return replace(base, batch=base.batch * max(1.0, scene.number(node, "amount", 1)))
    if kind in ("LatentBatch", "BatchLatentsNode"):
        links = [scene.source(node, field) for field, _ in scene.wires[node].items()]
        return replace(base, batch=math.fsum(scene.latent_at(link).batch for link in links if link))
    if kind == "LatentFromBatch":
        return replace(base, batch=min(base.batch, max(1.0, scene.number(node, "length", 1))))
    if kind == "RebatchLatents":
        return replace(base, batch=min(base.batch, max(1.0, scene.number(node, "batch_size", 1))))
    if kind == "LatentConcat":
        other = scene.latent(node, "samples2")
        side = {"x": "width", "y": "height"}.get(scene.text(node, "dim").strip("-"), "frames")
        return replace(base, **{side: getattr(base, side) + getattr(other, side)})
    if kind == "SeedVR2TemporalChunk":
        span = max(1.0, scene.number(node, "chunking_mode.frames_per_chunk", ASSUMED_CHUNK))
        return replace(base, batch=min(base.batch, span), frames=min(base.frames, span))
    if kind == "SeedVR2TemporalMerge":
        whole = scene.source(node, "latents")
        chunks = scene.items(whole[0]) if whole else 1.0
        frames = base.frames * chunks if base.frames > 1 else base.frames
        return replace(base, frames=frames, batch=base.batch if base.frames > 1 else base.batch * chunks)
    return None


def _of_pixels(scene: Scene, node: str, frames: float) -> Latent:
    """The latent of encoded images: each is one of a batch, or with a video model a frame (told later)."""
    image = scene.image(node, "pixels", "image", "images", "init_image", "start_image", "video")
    return Latent(image.width, image.height, frames, image.count, image.known)


def _latent_within(latent: Latent) -> Latent:
    width, height, frames, batch = (
        min(MAX_COUNT, max(1.0, round(side)))
        for side in (latent.width, latent.height, latent.frames, latent.batch)
    )
    return replace(latent, width=width, height=height, frames=frames, batch=batch)


def _first_number(scene: Scene, node: str, *fields: str) -> float | None:
    for field in fields:
        if scene.has(node, field):
            found = as_number(scene.value(node, field))
            if found is not None:
                return max(-MAX_COUNT, min(MAX_COUNT, found))
    return None


def _sum(scene: Scene, node: str, *fields: str) -> float:
    return math.fsum(scene.number(node, field, 0) for field in fields)
