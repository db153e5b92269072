"""Work of a graph, line by line, in seconds of the reference GPU, and the memory it peaks at."""

import math
from collections.abc import Iterator

from jobs.job_types.base import Checked, Demand, DemandLine
from jobs.job_types.comfyui import check, graph, sampling, stock
from jobs.job_types.comfyui.model_classes import (
    CLASSES,
    DISK_BYTES_PER_SECOND,
    REFERENCE_FLOPS,
    VAE_EFFICIENCY,
    ModelClass,
)
from jobs.job_types.comfyui.sampling import Sampling
from jobs.job_types.comfyui.scene import Image, Latent, Scene, upscale_factor

START_SECONDS = 0.5
TEXT_SECONDS = 0.15
OUTPUT_SECONDS = 0.3
LIGHT_SECONDS = 0.1
UNKNOWN_MODEL_NODE_SECONDS = 2.0
UPSCALER_FLOPS = 36e6  # per input pixel
VAE_FLOPS = VAE_EFFICIENCY * REFERENCE_FLOPS
BASE_BAND = 1.3
UNKNOWN_BAND = 1.2  # added in full where all work is guessed
SPARE_BYTES = 1.4e9  # what ComfyUI keeps beside the model
DECODE_BYTES_PER_PIXEL = 2178 * 2
LORA_BYTES, VAE_BYTES, OTHER_BYTES = 0.4e9, 0.3e9, 0.2e9

# Stock nodes that run a network of their own: seconds for each picture of a megapixel (or for each run).
_NETWORKS = {
    "AudioEncoderEncode": 0.5,
    "CLIPVisionEncode": 0.1,
    "DA3Inference": 0.3,
    "FrameInterpolate": 0.05,
    "GLSLShader": 0.05,
    "LTXVAudioVAEDecode": 1.0,
    "LTXVAudioVAEEncode": 0.5,
    "LTXVDurationPredictor": 0.2,
    "LTXVLatentUpsampler": 0.02,
    "HunyuanVideo15LatentUpscaleWithModel": 0.02,
    "MediaPipeFaceLandmarker": 0.05,
    "MoGeInference": 0.3,
    "RTDETR_detect": 0.1,
    "RemoveBackground": 0.2,
    "SAM3_Detect": 0.5,
    "SAM3_VideoTrack": 0.2,
    "SDPoseKeypointExtractor": 0.2,
    "VAEDecodeAudio": 0.5,
    "VAEDecodeAudioTiled": 0.8,
    "VAEEncodeAudio": 0.5,
    "VAEDecodeHunyuan3D": 8.0,
    "VAEDecodeTripoSplat": 3.0,
    "VOIDWarpedNoise": 0.1,
    "VaeDecodeShapeTrellis": 5.0,
    "VaeDecodeStructureTrellis2": 2.0,
    "VaeDecodeTextureTrellis": 5.0,
}
_MAIN_LOADERS = frozenset(
    {"UNETLoader", "CheckpointLoaderSimple", "ImageOnlyCheckpointLoader", "unCLIPCheckpointLoader"}
)
_PICTURE_WIRES = frozenset({"IMAGE", "MASK", "VIDEO", "AUDIO", "MESH", "VOXEL", "SPLAT"})
_MODEL_WIRES = frozenset({"MODEL", "LATENT", "CLIP", "VAE", "GUIDER", "CONTROL_NET", "UPSCALE_MODEL"})


def demand(checked: Checked) -> Demand:
    """See JobType.demand."""
    files = {check.stored_name(upload): upload for upload in checked.inputs}
    return _Estimate(checked, Scene(checked.payload, files, checked.outputs or None)).demand()


class _Estimate:
    """One graph's estimate in the making."""

    def __init__(self, checked: Checked, scene: Scene) -> None:
        self.checked = checked
        self.scene = scene
        self.samplings = sampling.samplings(scene)
        self.main = sampling.largest(self.samplings)
        self.by_node = {one.node: one for one in self.samplings}

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
        again = f" × {runs:.0f} runs" if runs > 1 else ""
        if kind in stock.MODEL_INPUTS:
            yield self.loader(node, kind)
        elif kind in sampling.SAMPLERS:
            yield self.sampler(self.by_node[node])
        elif kind.startswith(("CLIPTextEncode", "TextEncode", "MiniMaxMusic3TextEncode")):
            yield self.line("Encode text", node, TEXT_SECONDS * runs, f"{TEXT_SECONDS} s{again}")
        elif kind.startswith("TextGenerate"):
            tokens = max(1.0, self.scene.number(node, "max_length", 512))
            yield self.line("Write text", node, 0.02 * tokens * runs, f"{tokens:.0f} tokens × 0.02 s{again}")
        elif kind in ("VAEDecode", "VAEDecodeTiled"):
            yield self.vae("Decode", node, self.scene.image_at((node, 0)), 1.0, runs)
        elif kind.startswith("VAEEncode") and kind not in _NETWORKS:
            yield self.vae("Encode picture", node, self.scene.image(node, "pixels"), 0.5, runs)
        elif kind == "ImageUpscaleWithModel":
            yield self.upscale(node, runs)
        elif kind in _NETWORKS:
            yield self.network(node, kind, runs)
        else:
            yield from self.other(node, kind, runs)
        if node in self.checked.outputs:
            yield self.line("Save", node, OUTPUT_SECONDS * runs, f"{OUTPUT_SECONDS} s{again}")

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
        mflop = (self.main.model_class if self.main else CLASSES["sd15"]).vae_mflop * share
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

    def network(self, node: str, kind: str, runs: float) -> DemandLine:
        image = self.scene.image(node, *self.linked(node))
        share = max(1.0, image.pixels / 1024**2) * image.count * runs
        words = (
            f"{_NETWORKS[kind]:g} s × {_plain(share)} megapixels" if share > 1 else f"{_NETWORKS[kind]:g} s"
        )
        seen = bool(self.checked.wires.get(node, frozenset()) & {"IMAGE", "MASK", "VIDEO"})
        return self.line("Analyse", node, _NETWORKS[kind] * share, words, understood=image.known or not seen)

    def other(self, node: str, kind: str, runs: float) -> Iterator[DemandLine]:
        wires = self.checked.wires.get(node, frozenset())
        if node in self.checked.unfamiliar:
            heavy = bool(wires & _MODEL_WIRES)
            seconds = UNKNOWN_MODEL_NODE_SECONDS if heavy else LIGHT_SECONDS
            words = f"{seconds:g} s, guessed: this node is not known to the price list"
            yield self.line("Custom node", node, seconds * runs, words, understood=False)
        elif wires & _PICTURE_WIRES and node not in self.checked.outputs:
            image = self.scene.image(node, *self.linked(node))
            share = max(1.0, image.pixels * image.count / (8 * 1024**2)) * runs
            words = f"{LIGHT_SECONDS:g} s × {_plain(share)}" if share > 1 else f"{LIGHT_SECONDS:g} s"
            yield self.line("Edit picture", node, LIGHT_SECONDS * share, words)

    def linked(self, node: str) -> list[str]:
        return [field for field, _ in graph.links(self.scene.nodes[node])]

    # --- loading ----------------------------------------------------------------------------

    def loader(self, node: str, kind: str) -> DemandLine:
        size = self.file_bytes(node, kind)
        name = next(
            (text for field in stock.MODEL_INPUTS[kind] if (text := self.scene.text(node, field))), ""
        )
        words = f"{size / 1e9:.1f} GB from disk: {name[:80]}"
        return DemandLine("Load", node, kind, size / DISK_BYTES_PER_SECOND, words, loader=True)

    def file_bytes(self, node: str, kind: str) -> float:
        """What a loader reads, by what its file's name tells."""
        main = self.main.model_class if self.main else CLASSES["sd15"]
        if kind in (
            "UNETLoader",
            "CheckpointLoaderSimple",
            "ImageOnlyCheckpointLoader",
            "unCLIPCheckpointLoader",
        ):
            model = sampling.model_at(self.scene, (node, 0))
            told = CLASSES[model.model_class] if model.model_class else main
            both = 0.0 if kind == "UNETLoader" else told.text_encoder_gb * 1e9 + VAE_BYTES
            return told.weights * model.weight_bytes + both
        if "CLIPLoader" in kind or kind == "LTXAVTextEncoderLoader":
            return main.text_encoder_gb * 1e9
        if "ControlNet" in kind:
            return 0.3 * main.weights * 2
        if "lora" in kind.lower():
            return LORA_BYTES
        return VAE_BYTES if kind == "VAELoader" else OTHER_BYTES

    # --- memory -----------------------------------------------------------------------------

    def vram_bytes(self) -> float:
        """Peak: the heaviest sampler or decoder with its model, or the text encoder, and what is spare."""
        decode = max((self.decode_bytes(node) for node in self.scene.live), default=0.0)
        needs = [decode]
        for one in self.samplings:
            needs.append(_weights(one) + max(_working_bytes(one), decode))
            needs.append(one.model_class.text_encoder_gb * 1e9)
        return min(1e13, max(needs) + SPARE_BYTES)

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
        return pixels * DECODE_BYTES_PER_PIXEL

    # --- words ------------------------------------------------------------------------------

    def images(self) -> list[Image]:
        """What the output nodes are fed."""
        found = []
        for node in self.checked.outputs:
            if self.checked.wires.get(node, frozenset()) & {"IMAGE", "VIDEO"}:
                runs = self.scene.runs(node)
                image = self.scene.image(node, *self.linked(node))
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
    return "1 pass" if passes == 1 else f"{_plain(passes)} passes"


def _steps(steps: float) -> str:
    return "1 step" if steps == 1 else f"{steps:.0f} steps"


def _plain(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
