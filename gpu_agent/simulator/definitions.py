"""Node definitions of our own writing, in the shape of /object_info, for the nodes of common workflows."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from gpu_agent.simulator.models import names

Spec = list[Any]
Specs = Mapping[str, Spec]

MAX_SIZE = 16384
MAX_SEED = 0xFFFFFFFFFFFFFFFF
SAMPLERS = [
    *("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive"),
    *("dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "ddim"),
    *("res_multistep", "uni_pc", "uni_pc_bh2"),
]
SCHEDULERS = [
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "kl_optimal",
]
RESIZERS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def integer(default: int, low: int, high: int, step: int = 1) -> Spec:
    return ["INT", {"default": default, "min": low, "max": high, "step": step}]


def number(default: float, low: float, high: float, step: float = 0.01) -> Spec:
    return ["FLOAT", {"default": default, "min": low, "max": high, "step": step}]


def words(default: str = "", *, multiline: bool = False) -> Spec:
    return ["STRING", {"default": default, "multiline": multiline}]


def choice(options: Iterable[str], **config: Any) -> Spec:
    return [list(options), config]


def flag(default: bool) -> Spec:
    return ["BOOLEAN", {"default": default}]


def socket(kind: str) -> Spec:
    return [kind, {}]


def size(default: int, step: int = 8) -> Spec:
    return integer(default, 16, MAX_SIZE, step)


def seed() -> Spec:
    return ["INT", {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}]


def node(
    name: str,
    display: str,
    category: str,
    required: Specs,
    outputs: Iterable[str] = (),
    *,
    optional: Specs | None = None,
    output: bool = False,
) -> dict[str, Any]:
    """One definition. Output nodes get the hidden inputs that ComfyUI fills with the graph."""
    inputs: dict[str, Any] = {"required": dict(required)}
    order = {"required": list(required)}
    if optional:
        inputs["optional"], order["optional"] = dict(optional), list(optional)
    if output:
        inputs["hidden"] = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        order["hidden"] = ["prompt", "extra_pnginfo"]
    kinds = list(outputs)
    return {
        "input": inputs,
        "input_order": order,
        "is_input_list": False,
        "output": kinds,
        "output_is_list": [False] * len(kinds),
        "output_name": kinds,
        "name": name,
        "display_name": display,
        "description": "",
        "python_module": "nodes",
        "category": category,
        "output_node": output,
        "has_intermediate_output": False,
        "search_aliases": [],
    }


def _loaders() -> list[dict[str, Any]]:
    kinds = ["stable_diffusion", "sd3", "flux", "flux2", "wan", "ltxv", "qwen_image", "hunyuan_video"]
    kinds.append("lumina2")
    lora = {
        "lora_name": choice(names("loras")),
        "strength_model": number(1.0, -100.0, 100.0),
    }
    return [
        node("CheckpointLoaderSimple", "Load Checkpoint", "loaders",
             {"ckpt_name": choice(names("checkpoints"))}, ["MODEL", "CLIP", "VAE"]),
        node("UNETLoader", "Load Diffusion Model", "loaders",
             {"unet_name": choice(names("diffusion_models")),
              "weight_dtype": choice(["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"])}, ["MODEL"]),
        node("CLIPLoader", "Load CLIP", "loaders",
             {"clip_name": choice(names("text_encoders")), "type": choice(kinds)}, ["CLIP"],
             optional={"device": choice(["default", "cpu"])}),
        node("DualCLIPLoader", "Load two CLIPs", "loaders",
             {"clip_name1": choice(names("text_encoders")), "clip_name2": choice(names("text_encoders")),
              "type": choice(["sdxl", "sd3", "flux", "hunyuan_video"])}, ["CLIP"],
             optional={"device": choice(["default", "cpu"])}),
        node("VAELoader", "Load VAE", "loaders", {"vae_name": choice(names("vae"))}, ["VAE"]),
        node("LoraLoader", "Load LoRA", "loaders",
             {"model": socket("MODEL"), "clip": socket("CLIP"), **lora,
              "strength_clip": number(1.0, -100.0, 100.0)}, ["MODEL", "CLIP"]),
        node("LoraLoaderModelOnly", "Load LoRA (model only)", "loaders",
             {"model": socket("MODEL"), **lora}, ["MODEL"]),
        node("ControlNetLoader", "Load ControlNet", "loaders",
             {"control_net_name": choice(names("controlnet"))}, ["CONTROL_NET"]),
        node("UpscaleModelLoader", "Load Upscale Model", "loaders",
             {"model_name": choice(names("upscale_models"))}, ["UPSCALE_MODEL"]),
        node("CLIPVisionLoader", "Load CLIP Vision", "loaders",
             {"clip_name": choice(names("clip_vision"))}, ["CLIP_VISION"]),
        node("LatentUpscaleModelLoader", "Load Latent Upscale Model", "loaders",
             {"model_name": choice(names("latent_upscale_models"))}, ["LATENT_UPSCALE_MODEL"]),
        node("LTXAVTextEncoderLoader", "Load LTX Text Encoder", "loaders",
             {"text_encoder": choice(names("text_encoders")), "ckpt_name": choice(names("checkpoints")),
              "device": choice(["default", "cpu"])}, ["CLIP"]),
        node("LTXVAudioVAELoader", "Load LTX Audio VAE", "loaders",
             {"ckpt_name": choice(names("checkpoints"))}, ["VAE"]),
    ]  # fmt: skip


def _conditioning() -> list[dict[str, Any]]:
    cond = socket("CONDITIONING")
    both = {"positive": cond, "negative": cond}
    return [
        node("CLIPTextEncode", "Encode Text", "conditioning",
             {"text": words(multiline=True), "clip": socket("CLIP")}, ["CONDITIONING"]),
        node("CLIPTextEncodeFlux", "Encode Text (Flux)", "conditioning",
             {"clip": socket("CLIP"), "clip_l": words(multiline=True), "t5xxl": words(multiline=True),
              "guidance": number(3.5, 0.0, 100.0, 0.1)}, ["CONDITIONING"]),
        node("CLIPSetLastLayer", "Last Layer of CLIP", "conditioning",
             {"clip": socket("CLIP"), "stop_at_clip_layer": integer(-1, -24, -1)}, ["CLIP"]),
        node("ConditioningCombine", "Combine", "conditioning",
             {"conditioning_1": cond, "conditioning_2": cond}, ["CONDITIONING"]),
        node("ConditioningConcat", "Concatenate", "conditioning",
             {"conditioning_to": cond, "conditioning_from": cond}, ["CONDITIONING"]),
        node("ConditioningSetArea", "Set Area", "conditioning",
             {"conditioning": cond, "width": size(64), "height": size(64), "x": integer(0, 0, MAX_SIZE, 8),
              "y": integer(0, 0, MAX_SIZE, 8), "strength": number(1.0, 0.0, 10.0)}, ["CONDITIONING"]),
        node("ConditioningZeroOut", "Zero Out", "conditioning", {"conditioning": cond}, ["CONDITIONING"]),
        node("FluxGuidance", "Flux Guidance", "conditioning",
             {"conditioning": cond, "guidance": number(3.5, 0.0, 100.0, 0.1)}, ["CONDITIONING"]),
        node("LTXVConditioning", "LTX Conditioning", "conditioning",
             {**both, "frame_rate": number(25.0, 0.0, 1000.0)}, ["CONDITIONING", "CONDITIONING"]),
        node("ControlNetApplyAdvanced", "Apply ControlNet", "conditioning",
             {**both, "control_net": socket("CONTROL_NET"), "image": socket("IMAGE"),
              "strength": number(1.0, 0.0, 10.0), "start_percent": number(0.0, 0.0, 1.0, 0.001),
              "end_percent": number(1.0, 0.0, 1.0, 0.001)},
             ["CONDITIONING", "CONDITIONING"], optional={"vae": socket("VAE")}),
        node("ControlNetApply", "Apply ControlNet (old)", "conditioning",
             {"conditioning": cond, "control_net": socket("CONTROL_NET"), "image": socket("IMAGE"),
              "strength": number(1.0, 0.0, 10.0)}, ["CONDITIONING"]),
        node("InpaintModelConditioning", "Inpaint Conditioning", "conditioning",
             {**both, "vae": socket("VAE"), "pixels": socket("IMAGE"), "mask": socket("MASK"),
              "noise_mask": flag(True)}, ["CONDITIONING", "CONDITIONING", "LATENT"]),
        node("ModelSamplingSD3", "Model Sampling SD3", "advanced",
             {"model": socket("MODEL"), "shift": number(3.0, 0.0, 100.0)}, ["MODEL"]),
        node("ModelSamplingFlux", "Model Sampling Flux", "advanced",
             {"model": socket("MODEL"), "max_shift": number(1.15, 0.0, 100.0),
              "base_shift": number(0.5, 0.0, 100.0), "width": size(1024), "height": size(1024)}, ["MODEL"]),
        node("DifferentialDiffusion", "Differential Diffusion", "advanced",
             {"model": socket("MODEL")}, ["MODEL"], optional={"strength": number(1.0, 0.0, 1.0)}),
    ]  # fmt: skip


def _latents() -> list[dict[str, Any]]:
    batch = integer(1, 1, 4096)
    latent, vae = socket("LATENT"), socket("VAE")
    tiles = {
        "tile_size": integer(512, 64, 4096, 64),
        "overlap": integer(64, 0, 4096, 32),
        "temporal_size": integer(64, 8, 4096, 4),
        "temporal_overlap": integer(8, 4, 4096, 4),
    }
    return [
        node("EmptyLatentImage", "Empty Latent", "latent",
             {"width": size(512), "height": size(512), "batch_size": batch}, ["LATENT"]),
        node("EmptySD3LatentImage", "Empty Latent (16 channels)", "latent",
             {"width": size(1024, 16), "height": size(1024, 16), "batch_size": batch}, ["LATENT"]),
        node("EmptyFlux2LatentImage", "Empty Latent (Flux 2)", "latent",
             {"width": size(1024, 16), "height": size(1024, 16), "batch_size": batch}, ["LATENT"]),
        node("EmptyLTXVLatentVideo", "Empty LTX Video", "latent",
             {"width": size(768, 32), "height": size(512, 32), "length": integer(97, 1, MAX_SIZE, 8),
              "batch_size": batch}, ["LATENT"]),
        node("EmptyHunyuanLatentVideo", "Empty Video", "latent",
             {"width": size(848, 16), "height": size(480, 16), "length": integer(25, 1, MAX_SIZE, 4),
              "batch_size": batch}, ["LATENT"]),
        node("Wan22ImageToVideoLatent", "Empty Wan 2.2 Video", "latent",
             {"vae": vae, "width": size(1280, 32), "height": size(704, 32),
              "length": integer(49, 1, MAX_SIZE, 4), "batch_size": batch}, ["LATENT"],
             optional={"start_image": socket("IMAGE")}),
        node("LTXVEmptyLatentAudio", "Empty LTX Audio", "latent",
             {"frames_number": integer(97, 1, 1000), "frame_rate": integer(25, 1, 1000), "batch_size": batch,
              "audio_vae": vae}, ["LATENT"]),
        node("LTXVConcatAVLatent", "Join Video and Audio", "latent",
             {"video_latent": latent, "audio_latent": latent}, ["LATENT"]),
        node("LTXVSeparateAVLatent", "Part Video and Audio", "latent",
             {"av_latent": latent}, ["LATENT", "LATENT"]),
        node("LTXVPreprocess", "Prepare Frame for LTX", "latent",
             {"image": socket("IMAGE"), "img_compression": integer(35, 0, 100)}, ["IMAGE"]),
        node("LTXVImgToVideoInplace", "LTX Frame into Clip", "latent",
             {"vae": vae, "image": socket("IMAGE"), "latent": latent, "strength": number(1.0, 0.0, 1.0),
              "bypass": flag(False)}, ["LATENT"]),
        node("LTXVLatentUpsampler", "Upsample LTX Latent", "latent",
             {"samples": latent, "upscale_model": socket("LATENT_UPSCALE_MODEL"), "vae": vae}, ["LATENT"]),
        node("LTXVAudioVAEDecode", "Decode LTX Audio", "latent",
             {"samples": latent, "audio_vae": vae}, ["AUDIO"]),
        node("VAEDecode", "VAE Decode", "latent", {"samples": latent, "vae": vae}, ["IMAGE"]),
        node("VAEDecodeTiled", "VAE Decode (tiled)", "latent",
             {"samples": latent, "vae": vae, **tiles}, ["IMAGE"]),
        node("VAEEncode", "VAE Encode", "latent", {"pixels": socket("IMAGE"), "vae": vae}, ["LATENT"]),
        node("VAEEncodeForInpaint", "VAE Encode (inpaint)", "latent",
             {"pixels": socket("IMAGE"), "vae": vae, "mask": socket("MASK"), "grow_mask_by": integer(6, 0,
              64)},
             ["LATENT"]),
        node("SetLatentNoiseMask", "Set Noise Mask", "latent",
             {"samples": latent, "mask": socket("MASK")}, ["LATENT"]),
        node("LatentUpscale", "Upscale Latent", "latent",
             {"samples": latent, "upscale_method": choice(RESIZERS), "width": integer(512, 0, MAX_SIZE, 8),
              "height": integer(512, 0, MAX_SIZE, 8), "crop": choice(["disabled", "center"])}, ["LATENT"]),
        node("LatentUpscaleBy", "Upscale Latent By", "latent",
             {"samples": latent, "upscale_method": choice(RESIZERS), "scale_by": number(1.5, 0.01, 8.0)},
             ["LATENT"]),
        node("RepeatLatentBatch", "Repeat Latent", "latent",
             {"samples": latent, "amount": integer(1, 1, 64)}, ["LATENT"]),
        node("SaveLatent", "Save Latent", "latent",
             {"samples": latent, "filename_prefix": words("latents/ComfyUI")}, [], output=True),
    ]  # fmt: skip


def _sampling() -> list[dict[str, Any]]:
    model, cond, latent = socket("MODEL"), socket("CONDITIONING"), socket("LATENT")
    steps, cfg = integer(20, 1, 10000), number(8.0, 0.0, 100.0, 0.1)
    both = {"positive": cond, "negative": cond}
    kinds = {"sampler_name": choice(SAMPLERS), "scheduler": choice(SCHEDULERS)}
    return [
        node("KSampler", "KSampler", "sampling",
             {"model": model, "seed": seed(), "steps": steps, "cfg": cfg, **kinds, **both,
              "latent_image": latent, "denoise": number(1.0, 0.0, 1.0)}, ["LATENT"]),
        node("KSamplerAdvanced", "KSampler (advanced)", "sampling",
             {"model": model, "add_noise": choice(["enable", "disable"]), "noise_seed": seed(),
              "steps": steps,
              "cfg": cfg, **kinds, **both, "latent_image": latent, "start_at_step": integer(0, 0, 10000),
              "end_at_step": integer(10000, 0, 10000),
              "return_with_leftover_noise": choice(["disable", "enable"])}, ["LATENT"]),
        node("SamplerCustom", "Sampler (custom)", "sampling",
             {"model": model, "add_noise": flag(True), "noise_seed": seed(), "cfg": cfg, **both,
              "sampler": socket("SAMPLER"), "sigmas": socket("SIGMAS"), "latent_image": latent},
             ["LATENT", "LATENT"]),
        node("SamplerCustomAdvanced", "Sampler (custom, guided)", "sampling",
             {"noise": socket("NOISE"), "guider": socket("GUIDER"), "sampler": socket("SAMPLER"),
              "sigmas": socket("SIGMAS"), "latent_image": latent}, ["LATENT", "LATENT"]),
        node("KSamplerSelect", "Choose Sampler", "sampling", {"sampler_name": choice(SAMPLERS)}, ["SAMPLER"]),
        node("BasicScheduler", "Basic Scheduler", "sampling",
             {"model": model, "scheduler": choice(SCHEDULERS), "steps": steps,
              "denoise": number(1.0, 0.0, 1.0)}, ["SIGMAS"]),
        node("SDTurboScheduler", "Turbo Scheduler", "sampling",
             {"model": model, "steps": integer(1, 1, 10), "denoise": number(1.0, 0.0, 1.0)}, ["SIGMAS"]),
        node("LTXVScheduler", "LTX Scheduler", "sampling",
             {"steps": steps, "max_shift": number(2.05, 0.0, 100.0), "base_shift": number(0.95, 0.0, 100.0),
              "stretch": flag(True), "terminal": number(0.1, 0.0, 0.99)}, ["SIGMAS"],
             optional={"latent": latent}),
        node("Flux2Scheduler", "Flux 2 Scheduler", "sampling",
             {"steps": integer(20, 1, 4096), "width": integer(1024, 16, MAX_SIZE),
              "height": integer(1024, 16, MAX_SIZE)}, ["SIGMAS"]),
        node("ManualSigmas", "Manual Sigmas", "sampling", {"sigmas": words("1, 0.5")}, ["SIGMAS"]),
        node("BasicGuider", "Basic Guider", "sampling", {"model": model, "conditioning": cond}, ["GUIDER"]),
        node("CFGGuider", "CFG Guider", "sampling", {"model": model, **both, "cfg": cfg}, ["GUIDER"]),
        node("RandomNoise", "Random Noise", "sampling", {"noise_seed": seed()}, ["NOISE"]),
        node("DisableNoise", "No Noise", "sampling", {}, ["NOISE"]),
    ]  # fmt: skip


def _pictures() -> list[dict[str, Any]]:
    image, resizer = socket("IMAGE"), choice(RESIZERS)
    prefix = words("ComfyUI")
    return [
        node("LoadImage", "Load Image", "image", {"image": [[], {"image_upload": True}]}, ["IMAGE", "MASK"]),
        node("LoadImageMask", "Load Image (as mask)", "image",
             {"image": [[], {"image_upload": True}], "channel": choice(["alpha", "red", "green", "blue"])},
             ["MASK"]),
        node("SaveImage", "Save Image", "image",
             {"images": image, "filename_prefix": prefix}, ["IMAGE"], output=True),
        node("PreviewImage", "Preview Image", "image", {"images": image}, ["IMAGE"], output=True),
        node("EmptyImage", "Empty Image", "image",
             {"width": integer(512, 1, MAX_SIZE), "height": integer(512, 1, MAX_SIZE),
              "batch_size": integer(1, 1, 4096), "color": integer(0, 0, 0xFFFFFF)}, ["IMAGE"]),
        node("ImageScale", "Scale Image", "image",
             {"image": image, "upscale_method": resizer, "width": integer(512, 0, MAX_SIZE),
              "height": integer(512, 0, MAX_SIZE), "crop": choice(["disabled", "center"])}, ["IMAGE"]),
        node("ImageScaleBy", "Scale Image By", "image",
             {"image": image, "upscale_method": resizer, "scale_by": number(1.0, 0.01, 8.0)}, ["IMAGE"]),
        node("ImageScaleToTotalPixels", "Scale Image to Megapixels", "image",
             {"image": image, "upscale_method": resizer, "megapixels": number(1.0, 0.01, 16.0)}, ["IMAGE"],
             optional={"resolution_steps": integer(1, 1, 256)}),
        node("ImageUpscaleWithModel", "Upscale Image (model)", "image",
             {"upscale_model": socket("UPSCALE_MODEL"), "image": image}, ["IMAGE"]),
        node("ImageInvert", "Invert Image", "image", {"image": image}, ["IMAGE"]),
        node("ImageBlur", "Blur Image", "image",
             {"image": image, "blur_radius": integer(1, 1, 31), "sigma": number(1.0, 0.1, 10.0)}, ["IMAGE"]),
        node("ImageSharpen", "Sharpen Image", "image",
             {"image": image, "sharpen_radius": integer(1, 1, 31), "sigma": number(1.0, 0.1, 10.0),
              "alpha": number(1.0, 0.0, 5.0)}, ["IMAGE"]),
        node("ImageCrop", "Crop Image", "image",
             {"image": image, "width": integer(512, 1, MAX_SIZE), "height": integer(512, 1, MAX_SIZE),
              "x": integer(0, 0, MAX_SIZE), "y": integer(0, 0, MAX_SIZE)}, ["IMAGE"]),
        node("ImageBatch", "Batch Images", "image", {"image1": image, "image2": image}, ["IMAGE"]),
        node("ImageFromBatch", "Image From Batch", "image",
             {"image": image, "batch_index": integer(0, 0, 4095), "length": integer(1, 1, 4096)}, ["IMAGE"]),
        node("RepeatImageBatch", "Repeat Image", "image",
             {"image": image, "amount": integer(1, 1, 4096)}, ["IMAGE"]),
        node("ImagePadForOutpaint", "Pad Image for Outpainting", "image",
             {"image": image, **{side: integer(0, 0, MAX_SIZE, 8) for side in ("left", "top", "right",
              "bottom")},
              "feathering": integer(40, 0, MAX_SIZE)}, ["IMAGE", "MASK"]),
        node("GetImageSize", "Get Image Size", "image", {"image": image}, ["INT", "INT", "INT"]),
        node("Canny", "Canny Edges", "image",
             {"image": image, "low_threshold": number(0.4, 0.01, 0.99),
              "high_threshold": number(0.8, 0.01, 0.99)}, ["IMAGE"]),
        node("SolidMask", "Solid Mask", "mask",
             {"value": number(1.0, 0.0, 1.0), "width": integer(512, 1, MAX_SIZE),
              "height": integer(512, 1, MAX_SIZE)}, ["MASK"]),
        node("MaskPreview", "Preview Mask", "mask", {"mask": socket("MASK")}, [], output=True),
        node("MaskToImage", "Mask to Image", "mask", {"mask": socket("MASK")}, ["IMAGE"]),
        node("ImageToMask", "Image to Mask", "mask",
             {"image": image, "channel": choice(["red", "green", "blue", "alpha"])}, ["MASK"]),
    ]  # fmt: skip


def _media() -> list[dict[str, Any]]:
    image, prefix = socket("IMAGE"), words("ComfyUI")
    audio, video = socket("AUDIO"), socket("VIDEO")
    return [
        node("CreateVideo", "Create Video", "video", {"images": image, "fps": number(30.0, 1.0, 120.0, 1.0)},
             ["VIDEO"], optional={"audio": audio}),
        node("SaveVideo", "Save Video", "video",
             {"video": video, "filename_prefix": words("video/ComfyUI"),
              "format": choice(["auto", "mp4"]), "codec": choice(["auto", "h264"])}, [], output=True),
        node("LoadVideo", "Load Video", "video", {"file": [[], {"video_upload": True}]}, ["VIDEO"]),
        node("GetVideoComponents", "Get Video Components", "video", {"video": video},
             ["IMAGE", "AUDIO", "FLOAT"]),
        node("SaveWEBM", "Save WEBM", "video",
             {"images": image, "filename_prefix": prefix, "codec": choice(["vp9", "av1"]),
              "fps": number(24.0, 0.01, 1000.0), "crf": number(32.0, 0.0, 63.0, 1.0)}, ["IMAGE"],
               output=True),
        node("SaveAnimatedWEBP", "Save Animated WEBP", "image",
             {"images": image, "filename_prefix": prefix, "fps": number(6.0, 0.01, 1000.0),
              "lossless": flag(True), "quality": integer(80, 0, 100),
              "method": choice(["default", "fastest", "slowest"])}, ["IMAGE"], output=True),
        node("SaveAnimatedPNG", "Save Animated PNG", "image",
             {"images": image, "filename_prefix": prefix, "fps": number(6.0, 0.01, 1000.0),
              "compress_level": integer(4, 0, 9)}, ["IMAGE"], output=True),
        node("EmptyAudio", "Empty Audio", "audio",
             {"duration": number(60.0, 0.0, 100000.0), "sample_rate": integer(44100, 1, 192000),
              "channels": integer(2, 1, 2)}, ["AUDIO"]),
        node("LoadAudio", "Load Audio", "audio", {"audio": [[], {"audio_upload": True}]}, ["AUDIO"]),
        node("SaveAudio", "Save Audio (FLAC)", "audio",
             {"audio": audio, "filename_prefix": words("audio/ComfyUI")}, [], output=True),
        node("SaveAudioMP3", "Save Audio (MP3)", "audio",
             {"audio": audio, "filename_prefix": words("audio/ComfyUI"),
              "quality": choice(["V0", "128k", "320k"])}, [], output=True),
        node("PreviewAudio", "Preview Audio", "audio", {"audio": audio}, [], output=True),
    ]  # fmt: skip


def _primitives() -> list[dict[str, Any]]:
    low, high = -(2**63), 2**63 - 1
    return [
        node("PrimitiveInt", "Int", "utilities", {"value": integer(0, low, high)}, ["INT"]),
        node("PrimitiveFloat", "Float", "utilities", {"value": number(0.0, float(low), float(high))},
         ["FLOAT"]),
        node("PrimitiveString", "String", "utilities", {"value": words()}, ["STRING"]),
        node("PrimitiveStringMultiline", "Text", "utilities", {"value": words(multiline=True)}, ["STRING"]),
        node("PrimitiveBoolean", "Boolean", "utilities", {"value": flag(False)}, ["BOOLEAN"]),
        node("PreviewAny", "Preview as Text", "utilities", {"source": ["*", {}]}, ["STRING"], output=True),
        node("SaveText", "Save Text", "utilities",
             {"text": words(multiline=True), "filename_prefix": words("ComfyUI"),
              "format": choice(["txt", "md", "json"])}, ["STRING"], output=True),
        node("StringConcatenate", "Concatenate Text", "utilities",
             {"string_a": words(multiline=True), "string_b": words(multiline=True), "delimiter": words()},
             ["STRING"]),
    ]  # fmt: skip


@cache
def own_definitions() -> dict[str, Any]:
    """All of our definitions by class name."""
    groups = (_loaders, _conditioning, _latents, _sampling, _pictures, _media, _primitives)
    return {one["name"]: one for group in groups for one in group()}


@cache
def test_node_definitions() -> dict[str, Any]:
    """Nodes that misbehave on request, offered with --test-nodes."""
    image = socket("IMAGE")
    sleep = {
        "image": image,
        "seconds": number(5.0, 0.0, 600.0),
        "steps": integer(10, 1, 1000),
        "seed": integer(0, 0, 2**32),
    }
    message = {"image": image, "message": words("deliberate failure")}
    made = [
        node("PeerSleep", "Sleep in Steps", "test", sleep, ["IMAGE"]),
        node("PeerSleepHard", "Sleep Without Looking", "test", sleep, ["IMAGE"]),
        node("PeerFail", "Fail", "test", message, ["IMAGE"]),
        node("PeerBlock", "Block", "test", message, ["IMAGE"]),
        node("PeerText", "Progress Text", "test", {"image": image, "text": words("text")}, ["IMAGE"]),
        node("PeerOutOfMemory", "Out of Memory", "test", {"image": image}, ["IMAGE"]),
    ]
    return {one["name"]: one for one in made}
