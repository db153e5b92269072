"""Empty latents, samplers and decoders: where the picture appears, step by step."""

from dataclasses import replace
from typing import Any

from PIL import Image

from gpu_agent.simulator.nodes.base import Inputs, NodeRun, handles
from gpu_agent.simulator.nodes.images import allocate, resized
from gpu_agent.simulator.nodes.loading import place
from gpu_agent.simulator.painting import noise_for, paint, sharpened
from gpu_agent.simulator.png import encode_png
from gpu_agent.simulator.timing import MEGAPIXEL, decode_seconds, family_named, step_seconds
from gpu_agent.simulator.values import (
    Conditioning,
    Decoder,
    Guider,
    Images,
    Latent,
    Model,
    Noise,
    Picture,
    Sigmas,
    Sound,
)

GIB = 1024**3
DRAWN_FRAMES = 24  # of a clip are drawn at most; the others repeat them
FRAME_PIXELS = 384  # longer side of a drawn frame
PREVIEW_BASE = 384
SILENT = Conditioning("")


@handles(
    "EmptyLatentImage", "EmptySD3LatentImage", "EmptyFlux2LatentImage", "EmptyHunyuanImageLatent",
    "EmptyLTXVLatentVideo", "EmptyHunyuanLatentVideo", "EmptyMochiLatentVideo", "EmptyCosmosLatentVideo",
    "Wan22ImageToVideoLatent", "HunyuanVideo15ImageToVideo", "EmptyQwenImageLayeredLatentImage",
)  # fmt: skip
def empty_latent(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    frames, batch = int(inputs.get("length", 1)), int(inputs.get("batch_size", 1))
    allocate(run, inputs["width"] // 8, inputs["height"] // 8, batch * frames)
    return (Latent(inputs["width"], inputs["height"], batch, frames, inputs.get("start_image")),)


@handles("LTXVImgToVideo")
def ltxv_image_to_video(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent = Latent(inputs["width"], inputs["height"], int(inputs["batch_size"]), int(inputs["length"]))
    return inputs["positive"], inputs["negative"], replace(latent, images=inputs["image"])


@handles("LTXVImgToVideoInplace")
def ltxv_image_in_place(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["latent"]
    return (latent if inputs.get("bypass") else replace(latent, images=inputs["image"]),)


@handles("LTXVEmptyLatentAudio")
def empty_latent_audio(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    seconds = int(inputs["frames_number"]) / max(1, int(inputs["frame_rate"]))
    return (Latent(0, 0, sound=Sound(seconds)),)


@handles("LTXVConcatAVLatent")
def concat_av(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (replace(inputs["video_latent"], sound=inputs["audio_latent"].sound),)


@handles("LTXVSeparateAVLatent")
def separate_av(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    both: Latent = inputs["av_latent"]
    return replace(both, sound=None), Latent(0, 0, sound=both.sound)


@handles("LTXVCropGuides")
def crop_guides(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return inputs["positive"], inputs["negative"], inputs["latent"]


@handles("LTXVLatentUpsampler")
def latent_upsampler(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    run.spend(0.4)
    latent: Latent = inputs["samples"]
    return (_scaled(latent, latent.width * 2, latent.height * 2),)


@handles("LatentUpscale")
def latent_upscale(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["samples"]
    width = inputs["width"] or round(latent.width * inputs["height"] / max(1, latent.height)) or latent.width
    height = inputs["height"] or round(latent.height * width / max(1, latent.width))
    run.spend(0.005)
    return (_scaled(latent, width, height),)


@handles("LatentUpscaleBy")
def latent_upscale_by(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["samples"]
    scale = float(inputs["scale_by"])
    return (_scaled(latent, max(8, round(latent.width * scale)), max(8, round(latent.height * scale))),)


def _scaled(latent: Latent, width: int, height: int) -> Latent:
    images = latent.images
    bigger = resized(images, width, height, "bicubic", crop=False) if images is not None else None
    return replace(latent, width=width, height=height, images=bigger)


@handles("RepeatLatentBatch")
def repeat_latent(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["samples"]
    return (replace(latent, batch=latent.batch * inputs["amount"]),)


@handles("SetLatentNoiseMask")
def set_noise_mask(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (inputs["samples"],)


@handles("VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint")
def vae_encode(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (_encoded(run, inputs["pixels"], inputs.get("vae")),)


@handles("InpaintModelConditioning")
def inpaint_conditioning(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return inputs["positive"], inputs["negative"], _encoded(run, inputs["pixels"], inputs.get("vae"))


def _encoded(run: NodeRun, images: Images, vae: Any) -> Latent:
    if isinstance(vae, Decoder):
        place(run, vae.file, vae.size_bytes)
    run.spend(decode_seconds(images.width, images.height, 1) * 0.6)
    return Latent(images.width, images.height, len(images.pictures), images=images)


# --- sampling --------------------------------------------------------------------------------


@handles(
    "BasicScheduler",
    "SDTurboScheduler",
    "LTXVScheduler",
    "Flux2Scheduler",
    "KarrasScheduler",
    "BetaSamplingScheduler",
)
def scheduler(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Sigmas(max(1, round(int(inputs["steps"]) * _denoise(inputs)))),)


@handles("AlignYourStepsScheduler")
def align_scheduler(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Sigmas(max(1, round(int(inputs["steps"]) * _denoise(inputs)))),)


@handles("ManualSigmas")
def manual_sigmas(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Sigmas(max(1, len([part for part in str(inputs["sigmas"]).split(",") if part.strip()]) - 1)),)


@handles("SplitSigmas")
def split_sigmas(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    whole, first = inputs["sigmas"].steps, min(inputs["step"], inputs["sigmas"].steps)
    return Sigmas(max(1, first)), Sigmas(max(1, whole - first))


@handles("RandomNoise")
def random_noise(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Noise(inputs["noise_seed"]),)


@handles("DisableNoise")
def disable_noise(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Noise(0),)


@handles("BasicGuider")
def basic_guider(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Guider(inputs["model"], inputs["conditioning"], SILENT, 1),)


@handles("CFGGuider")
def cfg_guider(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Guider(inputs["model"], inputs["positive"], inputs["negative"], _passes(inputs["cfg"])),)


@handles("KSampler")
def k_sampler(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    guider = Guider(inputs["model"], inputs["positive"], inputs["negative"], _passes(inputs["cfg"]))
    denoise = _denoise(inputs)
    return (_sample(run, guider, inputs["latent_image"], inputs["seed"], int(inputs["steps"]), denoise),)


@handles("KSamplerAdvanced")
def k_sampler_advanced(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    guider = Guider(inputs["model"], inputs["positive"], inputs["negative"], _passes(inputs["cfg"]))
    whole = int(inputs["steps"])
    start, end = int(inputs["start_at_step"]), min(whole, int(inputs["end_at_step"]))
    share = max(0, end - start) / whole
    return (_sample(run, guider, inputs["latent_image"], inputs["noise_seed"], max(1, end - start), share),)


@handles("SamplerCustom")
def sampler_custom(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    guider = Guider(inputs["model"], inputs["positive"], inputs["negative"], _passes(inputs["cfg"]))
    latent = _sample(run, guider, inputs["latent_image"], inputs["noise_seed"], inputs["sigmas"].steps, 1.0)
    return latent, latent


@handles("SamplerCustomAdvanced")
def sampler_custom_advanced(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    noise, sigmas = inputs["noise"], inputs["sigmas"]
    latent = _sample(run, inputs["guider"], inputs["latent_image"], noise.seed, sigmas.steps, 1.0)
    return latent, latent


def _denoise(inputs: Inputs) -> float:
    return float(inputs.get("denoise", 1.0))


def _passes(cfg: float) -> int:
    """The negative prompt costs a second evaluation, unless it has no weight."""
    return 1 if abs(float(cfg) - 1.0) < 1e-6 else 2


def _sample(run: NodeRun, guider: Guider, latent: Latent, seed: int, steps: int, strength: float) -> Latent:
    """Denoise: one tick a step, with a preview that gets clearer."""
    model = guider.model if isinstance(guider.model, Model) else Model("unknown", "sd15", 2_000_000_000)
    family = family_named(model.family)
    width, height = max(64, latent.width), max(64, latent.height)
    megapixels = width * height / MEGAPIXEL * max(1, latent.batch)
    latent_frames = 1 + (latent.frames - 1) // family.latent_frames
    working = round((0.4 + family.work_gib * megapixels * latent_frames**0.75) * GIB)
    place(run, model.file, model.size_bytes, working)
    words = " ".join((guider.positive.text, model.words))
    images = _drawn(words, seed, latent, strength)
    for picture in dict.fromkeys(images.pictures):
        picture.start(encode_png if latent.frames == 1 else None)
    seconds = step_seconds(family, width, height, latent.frames, latent.batch, guider.passes)
    scale = min(1.0, min(PREVIEW_BASE, run.machine.options.preview_pixels) / max(width, height))
    base = paint(words, seed, max(8, round(width * scale)), max(8, round(height * scale)))
    noise = noise_for(base.size, seed)
    for step in range(1, steps + 1):
        run.spend(seconds)
        run.tick(step, steps, lambda done=step / steps: sharpened(base, noise, done))  # type: ignore[misc]
    sound = replace(latent.sound, words=words, seed=seed) if latent.sound is not None else None
    return replace(latent, images=images, strength=strength, sound=sound)


def _drawn(words: str, seed: int, latent: Latent, strength: float) -> Images:
    """The batch (or clip) that sampling arrives at. Little strength keeps the picture it began with."""
    size = (max(64, latent.width), max(64, latent.height))
    if latent.frames > 1:
        return _frames(words, seed, size, latent)
    pictures = []
    for index in range(max(1, latent.batch)):
        before = latent.images.pictures[index % len(latent.images.pictures)] if latent.images else None

        def draw(one: int = seed + index, before: Picture | None = before) -> Image.Image:
            fresh = paint(words, one, *size)
            if before is None or strength >= 1.0:
                return fresh
            old = before.image().convert("RGB").resize(size)
            return Image.blend(old, fresh, strength**1.5)

        pictures.append(Picture(*size, draw))
    return Images(tuple(pictures))


def _frames(words: str, seed: int, size: tuple[int, int], latent: Latent) -> Images:
    """A slow pan, drawn small: a clip of hundreds of frames has to be made in a moment."""
    scale = min(1.0, FRAME_PIXELS / max(size))
    small = (max(16, round(size[0] * scale) // 2 * 2), max(16, round(size[1] * scale) // 2 * 2))
    count = min(latent.frames, DRAWN_FRAMES)
    drawn = [
        Picture(*size, lambda shift=0.22 * index / count: paint(words, seed, *small, shift))  # type: ignore[misc]
        for index in range(count)
    ]
    return Images(tuple(drawn[index * count // latent.frames] for index in range(latent.frames)))


@handles("VAEDecode", "VAEDecodeTiled")
def vae_decode(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    latent: Latent = inputs["samples"]
    vae = inputs.get("vae")
    if isinstance(vae, Decoder):
        place(run, vae.file, vae.size_bytes)
    allocate(run, latent.width, latent.height, latent.batch * latent.frames)
    run.spend(decode_seconds(latent.width, latent.height, latent.frames) * max(1, latent.batch))
    if latent.images is not None:
        return (latent.images,)
    size = (max(1, latent.width), max(1, latent.height))
    grey = Picture(*size, lambda: Image.new("RGB", size, (124, 116, 108)))
    return (Images((grey,) * max(1, latent.batch * latent.frames)),)


@handles("LTXVAudioVAEDecode", "VAEDecodeAudio")
def audio_decode(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    run.spend(0.2)
    latent = inputs["samples"]
    return (latent.sound if isinstance(latent, Latent) and latent.sound else Sound(1.0),)
