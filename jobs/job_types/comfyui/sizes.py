"""Sizes of the images and latents that nodes give out, and how many there are."""

import math
import re
from dataclasses import replace

from jobs.job_types.comfyui import stock
from jobs.job_types.comfyui.traits import (
    ASSUMED_CHUNK,
    ASSUMED_FRAMES_PER_SECOND,
    ASSUMED_PIXELS_SIDE,
    MAX_COUNT,
    UNKNOWN_IMAGE,
    Asking,
    Image,
    Latent,
    as_number,
)

ASSUMED_FRAMES = 121

# --- images ----------------------------------------------------------------------------------

_IMAGE_FIELDS = (
    "image", "images", "image1", "images.image0", "pixels", "input", "destination", "source", "video", "mask",
    "masks", "resized_images", "image_target", "samples", "image_list", "file", "Y",
)  # fmt: skip
_SIZE_PREFIXES = ("", "target_", "final_", "output_", "size_mode.")
_WIDTHS = tuple(f"{prefix}width" for prefix in _SIZE_PREFIXES)
_HEIGHTS = tuple(f"{prefix}height" for prefix in _SIZE_PREFIXES)


def output_image(scene: Asking, node: str, slot: int) -> Image:
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
    width, height = _first_number(scene, node, *_WIDTHS), _first_number(scene, node, *_HEIGHTS)
    if width is None or height is None:
        return base
    count = scene.number(node, "batch_size", scene.number(node, "frames", base.count))
    if width <= 0 or height <= 0:  # ComfyUI: zero keeps the proportions
        scale = max(width, 0) / base.width or max(height, 0) / base.height or 1.0
        return _within(Image(base.width * scale, base.height * scale, count, base.known))
    return _within(Image(width, height, max(1.0, count)))


def given(scene: Asking, node: str) -> Image:
    if not scene.wires[node].keys().isdisjoint(_IMAGE_FIELDS):
        return scene.image(node, *_IMAGE_FIELDS)
    links = (scene.source(node, field) for field, _ in scene.wires[node].items())
    return next((image for link in links if link and (image := scene.image_at(link)).known), UNKNOWN_IMAGE)


def _uploaded(scene: Asking, node: str, kind: str) -> Image:
    upload = scene.files.get(scene.text(node, stock.FILE_INPUTS[kind]))
    frames = ASSUMED_FRAMES if kind == "LoadVideo" else 1
    if upload is None or not upload.width or not upload.height:
        return replace(UNKNOWN_IMAGE, count=(upload and upload.frames) or frames)
    known = bool(upload.frames) or kind != "LoadVideo"
    return _within(Image(upload.width, upload.height, upload.frames or frames, known))


def _changed_count(scene: Asking, node: str, kind: str) -> Image | None:
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


def _changed_size(scene: Asking, node: str, kind: str) -> Image | None:
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


def _resized(scene: Asking, node: str, base: Image) -> Image:
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


def upscale_factor(scene: Asking, node: str) -> float:
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


def output_latent(scene: Asking, node: str, slot: int) -> Latent:
    kind = scene.kind(node)
    if _AUDIO_KINDS.match(kind):
        seconds = min(3600.0, max(1.0, scene.number(node, "seconds", 60)))
        side = ASSUMED_PIXELS_SIDE * math.sqrt(max(0.25, seconds / 60))
        batch = max(1.0, scene.number(node, "batch_size", 1))
        return Latent(side, side, 1, min(batch, MAX_COUNT), known=False, audio=True)
    if kind == "EmptyLatentHunyuan3Dv2":  # `resolution` counts its tokens: as many as this square has
        side = 16 * math.sqrt(max(1.0, scene.number(node, "resolution", 3072)))
        return _latent_within(Latent(side, side, 1, scene.number(node, "batch_size", 1)))
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


def _derived_latent(scene: Asking, node: str, kind: str) -> Latent | None:
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


def _of_pixels(scene: Asking, node: str, frames: float) -> Latent:
    """The latent of encoded images: each is one of a batch, or with a video model a frame (told later)."""
    image = scene.image(node, "pixels", "image", "images", "init_image", "start_image", "video")
    return Latent(image.width, image.height, frames, image.count, image.known)


def _latent_within(latent: Latent) -> Latent:
    width, height, frames, batch = (
        min(MAX_COUNT, max(1.0, round(side)))
        for side in (latent.width, latent.height, latent.frames, latent.batch)
    )
    return replace(latent, width=width, height=height, frames=frames, batch=batch)


def _first_number(scene: Asking, node: str, *fields: str) -> float | None:
    for field in fields:
        if scene.has(node, field):
            found = as_number(scene.value(node, field))
            if found is not None:
                return max(-MAX_COUNT, min(MAX_COUNT, found))
    return None


def _sum(scene: Asking, node: str, *fields: str) -> float:
    return math.fsum(scene.number(node, field, 0) for field in fields)
