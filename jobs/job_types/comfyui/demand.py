"""Work of a graph, line by line, in seconds of the reference GPU, and the memory it peaks at."""

import math
from collections.abc import Collection, Iterator

from jobs.job_types.base import Checked, Demand, DemandLine, stored_name
from jobs.job_types.comfyui import known_models, sampling, side_work, stock
from jobs.job_types.comfyui.model_classes import (
    CLASSES,
    DISK_BYTES_PER_SECOND,
    REFERENCE_FLOPS,
    VAE_EFFICIENCY,
    ModelClass,
)
from jobs.job_types.comfyui.sampling import Sampling
from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.sizes import upscale_factor
from jobs.job_types.comfyui.traits import Image, Latent

START_SECONDS = 0.5
UNKNOWN_MODEL_NODE_SECONDS = 2.0
UPSCALER_FLOPS = 36e6  # per input pixel
VAE_FLOPS = VAE_EFFICIENCY * REFERENCE_FLOPS
BASE_BAND = 1.3
UNKNOWN_BAND = 1.2  # added in full where all work is guessed
SPARE_BYTES = 1.4e9  # what ComfyUI keeps beside the model
DECODE_BYTES_PER_PIXEL = 2178 * 2
LORA_BYTES, VAE_BYTES, OTHER_BYTES = 0.4e9, 0.3e9, 1.0e9
MAX_DECODE_BYTES = 16e9  # where it doesn't fit, ComfyUI decodes tile by tile
HELPER_BYTES = 3e9  # a network that doesn't sample, loaded as samplers are
TEXT_MODEL_BYTES = 8e9  # one that writes text, size unknown

_MAIN_LOADERS = frozenset(
    {"UNETLoader", "CheckpointLoaderSimple", "ImageOnlyCheckpointLoader", "unCLIPCheckpointLoader"}
)
# Loaders that take a part of a file which another loader reads whole.
_SHARED_FILE = frozenset({"LTXVAudioVAELoader", "LTXAVTextEncoderLoader"})
_MODEL_WIRES = frozenset({"MODEL", "LATENT", "CLIP", "VAE", "GUIDER", "CONTROL_NET", "UPSCALE_MODEL"})


def demand(checked: Checked) -> Demand:
    """See JobType.demand."""
    scene = checked.found
    if not isinstance(scene, Scene) or scene.nodes is not checked.payload:
        files = {stored_name(upload): upload for upload in checked.inputs}
        scene = Scene(checked.payload, files, checked.outputs or None)
    return _Estimate(checked, scene).demand()


class _Estimate:
    """One graph's estimate in the making."""

    def __init__(self, checked: Checked, scene: Scene) -> None:
        self.checked = checked
        self.scene = scene
        self.samplings = sampling.samplings(scene)
        self.main = sampling.largest(self.samplings)
        self.by_node = {one.node: one for one in self.samplings}
        kinds = [one.model_class for one in self.samplings] or [CLASSES["sd15"]]
        self.vae_mflop = max(kind.vae_mflop for kind in kinds)  # which VAE decodes what isn't followed

    def demand(self) -> Demand:
        start = DemandLine("Start", "", "", START_SECONDS, "preparing the job")
        alive = (node for node in self.scene.nodes if node in self.scene.live)
        lines = [start, *(line for node in alive for line in self.node(node))]
        work = [line for line in lines if not line.loader]
        seconds = math.fsum(line.gpu_seconds for line in work)
        guessed = math.fsum(line.gpu_seconds for line in work if not line.understood)
        images = self.images()
        main = self.main
        return Demand(
            lines=tuple(lines),
            gpu_seconds=seconds,
            loading_seconds=math.fsum(line.gpu_seconds for line in lines if line.loader),
            vram_bytes=math.ceil(self.vram_bytes()),
            model_key=main.model.file if main else self.first_file(),
            model_class=main.class_name if main else "",
            band=BASE_BAND + UNKNOWN_BAND * guessed / seconds,
            summary=self.summary(images),
            images=math.ceil(min(1e9, math.fsum(image.count for image in images))),
            frames=math.ceil(main.shape.frames) if main and main.shape.frames > 1 else 0,
            width=math.ceil(max((image.width for image in images), default=0)),
            height=math.ceil(max((image.height for image in images), default=0)),
        )

    # --- lines ------------------------------------------------------------------------------

    def node(self, node: str) -> Iterator[DemandLine]:
        """The lines of one node; none for what takes no time worth naming."""
        kind = self.scene.kind(node)
        runs = self.scene.runs(node)
        wires = self.checked.wires.get(node, frozenset())
        if kind in stock.MODEL_INPUTS:
            yield self.loader(node, kind)
        elif kind in sampling.SAMPLERS:
            yield self.sampler(self.by_node[node])
        elif kind in ("VAEDecode", "VAEDecodeTiled"):
            yield self.vae("Decode", node, self.scene.image_at((node, 0)), 1.0, runs)
        elif kind in ("VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint"):
            image = self.scene.image(node, "pixels")
            yield self.vae("Encode picture", node, image, side_work.ENCODE_SHARE, runs)
        elif kind == "ImageUpscaleWithModel":
            yield self.upscale(node, runs)
        elif node in self.checked.unfamiliar:
            yield self.custom(node, wires, runs)
        else:
            for share in side_work.of(self.scene, node, wires, side_work.Vae(self.vae_mflop, VAE_FLOPS)):
                yield self.side(node, share)
        if node in self.checked.outputs:
            yield self.side(node, side_work.saved(self.scene, node, wires))

    def side(self, node: str, share: side_work.Side) -> DemandLine:
        return self.line(share.label, node, share.seconds, share.words, understood=share.understood)

    def line(
        self, label: str, node: str, seconds: float, words: str, *, understood: bool = True
    ) -> DemandLine:
        return DemandLine(
            label, node, self.scene.kind(node), max(0.0, min(1e12, seconds)), words, understood=understood
        )

    def sampler(self, one: Sampling) -> DemandLine:
        words = f"{_steps(one.steps)} × {_short(one.passes)} × {one.pass_seconds():.3f} s"
        if one.runs > 1:
            words += f" × {one.runs:.0f} runs"
        shape = one.shape
        about = [f"{shape.width:.0f}×{shape.height:.0f}"]
        if shape.frames > 1:
            about.append(f"{shape.frames:.0f} frames")
        if shape.batch > 1:
            about.append(f"batch of {shape.batch:.0f}")
        if one.controlnets:
            about.append(f"ControlNet +{35 * one.controlnets:.0f} %")
        if one.model.loras:
            about.append(f"{one.model.loras} LoRA")
        return DemandLine(
            label="Sample",
            node=one.node,
            node_type=self.scene.kind(one.node),
            gpu_seconds=min(1e12, one.seconds),
            words=f"{words} ({one.model_class.label}, {', '.join(about)})",
            sampler=True,
            understood=one.model.known and one.latent.known,
        )

    def vae(self, label: str, node: str, image: Image, share: float, runs: float) -> DemandLine:
        mflop = self.vae_mflop * share
        seconds = image.pixels * image.count * mflop * 1e6 / VAE_FLOPS * runs
        count = f" × {image.count * runs:.0f}" if image.count * runs > 1 else ""
        words = f"{image.width:.0f}×{image.height:.0f} pixels{count} × {mflop:g} MFLOP"
        return self.line(label, node, seconds, words, understood=image.known)

    def upscale(self, node: str, runs: float) -> DemandLine:
        image = self.scene.image(node, "image")
        seconds = image.pixels * image.count * UPSCALER_FLOPS / VAE_FLOPS * runs
        factor = upscale_factor(self.scene, node)
        words = (
            f"{image.width:.0f}×{image.height:.0f} pixels × {image.count * runs:.0f}, enlarged {factor:.0f}×"
        )
        return self.line("Upscale", node, seconds, words, understood=image.known)

    def custom(self, node: str, wires: Collection[str], runs: float) -> DemandLine:
        heavy = bool(set(wires) & _MODEL_WIRES)
        seconds = UNKNOWN_MODEL_NODE_SECONDS if heavy else side_work.LIGHT_SECONDS
        words = f"{seconds:g} s, guessed: this node is not known to the price list"
        return self.line("Custom node", node, seconds * runs, words, understood=False)

    # --- loading ----------------------------------------------------------------------------

    def loader(self, node: str, kind: str) -> DemandLine:
        size = self.file_bytes(node, kind)
        names = ", ".join(name[:80] for _, name in self.files(node, kind))
        words = f"{size / 1e9:.1f} GB from disk: {names}"
        return DemandLine("Load", node, kind, size / DISK_BYTES_PER_SECOND, words, loader=True)

    def files(self, node: str, kind: str) -> list[tuple[str, str]]:
        """(folder, name) of the files a loader reads."""
        named = ((folder, self.scene.text(node, field)) for field, folder in stock.MODEL_INPUTS[kind].items())
        return [(folder, name) for folder, name in named if name]

    def file_bytes(self, node: str, kind: str) -> float:
        """What a loader reads: published sizes where they are known, else what the file's name tells."""
        if kind in _SHARED_FILE:
            return VAE_BYTES if kind == "LTXVAudioVAELoader" else self.guessed_bytes(node, kind)
        told = [known_models.known(folder, name) for folder, name in self.files(node, kind)]
        sizes = [float(one.size_bytes) for one in told if one is not None]
        return sum(sizes) if sizes and len(sizes) == len(told) else self.guessed_bytes(node, kind)

    def guessed_bytes(self, node: str, kind: str) -> float:
        main = self.main.model_class if self.main else CLASSES["sd15"]
        if kind in _MAIN_LOADERS:
            model = sampling.model_at(self.scene, (node, 0))
            samplers = {one.model.file: one.model_class for one in self.samplings}
            told = CLASSES.get(model.model_class) or samplers.get(model.file)
            if told is None:
                return HELPER_BYTES
            both = 0.0 if kind == "UNETLoader" else told.text_encoder_gb * 1e9 + VAE_BYTES
            return told.weights * model.weight_bytes + both
        if "CLIPLoader" in kind or kind == "LTXAVTextEncoderLoader":
            return main.text_encoder_gb * 1e9 if self.main else TEXT_MODEL_BYTES
        if "ControlNet" in kind:
            return 0.3 * main.weights * 2
        if "lora" in kind.lower():
            return LORA_BYTES
        return VAE_BYTES if kind == "VAELoader" else OTHER_BYTES

    # --- memory -----------------------------------------------------------------------------

    def vram_bytes(self) -> float:
        """Peak: the heaviest sampler or decoder with its model, or any other model alone, and what is
        spare."""
        decode = max((self.decode_bytes(node) for node in self.scene.live), default=0.0)
        needs = [decode, *self.loaded_alone()]
        for one in self.samplings:
            needs.append(_weights(one) + max(_working_bytes(one), decode))
            needs.append(one.model_class.text_encoder_gb * 1e9)
        return min(1e13, max(needs) + SPARE_BYTES)

    def loaded_alone(self) -> Iterator[float]:
        """Sizes of text encoders and helper networks: ComfyUI moves each out for the next."""
        for node in self.scene.live:
            kind = self.scene.kind(node)
            if kind in stock.MODEL_INPUTS and kind not in _MAIN_LOADERS and "lora" not in kind.lower():
                yield self.file_bytes(node, kind)

    def decode_bytes(self, node: str) -> float:
        kind = self.scene.kind(node)
        if kind == "ImageUpscaleWithModel":
            return 1.5e9  # tiled by ComfyUI itself
        if not kind.startswith("VAEDecode"):
            return 0.0
        image = self.scene.image_at((node, 0))
        pixels = image.pixels
        if kind == "VAEDecodeTiled":
            pixels = min(pixels, max(64.0, self.scene.number(node, "tile_size", 512)) ** 2)
        return min(MAX_DECODE_BYTES, pixels * DECODE_BYTES_PER_PIXEL)

    # --- words ------------------------------------------------------------------------------

    def images(self) -> list[Image]:
        """What the output nodes are fed."""
        found = []
        for node in self.checked.outputs:
            if self.checked.wires.get(node, frozenset()) & {"IMAGE", "VIDEO"}:
                runs = self.scene.runs(node)
                image = self.scene.given(node)
                found.append(Image(image.width, image.height, image.count * runs, image.known))
        return found

    def first_file(self) -> str:
        return min((name for _, name in self.checked.model_files), default="")

    def summary(self, images: list[Image]) -> str:
        main = self.main
        if main is None:
            count = f", {math.fsum(image.count for image in images):.0f} pictures" if images else ""
            return f"{len(self.scene.live)} nodes, no sampling{count}"
        shape = main.shape
        seen: Image | Latent = max(images, key=lambda image: image.pixels) if images else shape
        parts = [main.model_class.label, f"{seen.width:.0f}×{seen.height:.0f}"]
        if shape.frames > 1:
            parts.append(f"{shape.frames:.0f} frames")
        if shape.batch * main.runs > 1:
            parts.append(f"{shape.batch * main.runs:.0f} pictures")
        parts.append(_steps(main.steps))
        return ", ".join(parts)


def _weights(one: Sampling) -> float:
    return one.model_class.weights * one.model.weight_bytes * (1 + 0.3 * min(4.0, one.controlnets))


def _working_bytes(one: Sampling) -> float:
    """ComfyUI's own estimate of what sampling needs beside the weights."""
    kind: ModelClass = one.model_class
    shape = one.shape
    cells = kind.cells(shape.width, shape.height, shape.frames)
    return cells * shape.batch * min(one.passes, 2.0) * 2 * 0.01 * kind.memory_factor * 1024**2


def _short(passes: float) -> str:
    return "1 pass" if passes == 1 else f"{side_work.plain(passes)} passes"


def _steps(steps: float) -> str:
    return "1 step" if steps == 1 else f"{steps:.0f} steps"
