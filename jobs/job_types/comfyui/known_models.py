"""Model files we can say something about: size, folder, licence, where they come from.

Sizes are those of the published files in bytes, the last digits of some rounded. `commercial` says whether
the licence lets anyone sell what they make; it is False where that depends on who asks.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

HUB = "https://huggingface.co"
APACHE, MIT, BSD = "Apache-2.0", "MIT", "BSD-3-Clause"
OPENRAIL = "CreativeML OpenRAIL-M"
OPENRAIL_PLUS = "CreativeML OpenRAIL++-M"
FLUX_DEV = "FLUX.1 [dev] non-commercial licence"
FLUX2 = "FLUX non-commercial licence"
LTX2 = "LTX-2 community licence (commercial use below a yearly revenue)"
LTXV = "LTX-Video open weights licence"
GEMMA = "Gemma terms of use"
STABILITY = "Stability AI community licence (commercial use below a yearly revenue)"
_RESTRICTED = frozenset({FLUX_DEV, FLUX2, LTX2, LTXV, STABILITY})
_FOLDER_ALIASES = {"unet": "diffusion_models", "clip": "text_encoders"}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One published file. `folder`: below ComfyUI's models folder."""

    folder: str
    name: str
    size_bytes: int
    licence: str
    commercial: bool
    url: str

    def row(self) -> dict[str, Any]:
        """As a template's `model_files` holds it."""
        return asdict(self)


# (folder, repository, path in it, bytes, licence)
_PUBLISHED: tuple[tuple[str, str, str, int, str], ...] = (
    ("checkpoints", "Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly.safetensors",
     4_265_146_304, OPENRAIL),
    ("checkpoints", "Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors",
     2_132_696_762, OPENRAIL),
    ("checkpoints", "Comfy-Org/stable_diffusion_2.1_repackaged", "512-inpainting-ema.safetensors",
     5_214_604_418, OPENRAIL_PLUS),
    ("checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors",
     6_938_078_334, OPENRAIL_PLUS),
    ("checkpoints", "stabilityai/stable-diffusion-xl-refiner-1.0", "sd_xl_refiner_1.0.safetensors",
     6_075_981_930, OPENRAIL_PLUS),
    ("checkpoints", "stabilityai/sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors", 6_938_081_905, STABILITY),
    ("checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_large_fp8_scaled.safetensors",
     14_900_000_000, STABILITY),
    ("checkpoints", "Comfy-Org/flux1-schnell", "flux1-schnell-fp8.safetensors", 17_236_328_572, APACHE),
    ("checkpoints", "Comfy-Org/flux1-dev", "flux1-dev-fp8.safetensors", 17_246_524_772, FLUX_DEV),
    ("checkpoints", "Lightricks/LTX-2", "ltx-2-19b-dev-fp8.safetensors", 27_100_000_000, LTX2),
    ("checkpoints", "Lightricks/LTX-2", "ltx-2-19b-distilled-fp8.safetensors", 27_100_000_000, LTX2),
    ("checkpoints", "Lightricks/LTX-2", "ltx-2-19b-dev.safetensors", 43_300_000_000, LTX2),
    ("checkpoints", "Lightricks/LTX-2", "ltx-2-19b-distilled.safetensors", 43_300_000_000, LTX2),
    ("checkpoints", "Lightricks/LTX-Video", "ltx-video-2b-v0.9.safetensors", 9_370_000_000, LTXV),
    ("diffusion_models", "Comfy-Org/flux1-schnell", "flux1-schnell.safetensors", 23_782_506_688, APACHE),
    ("diffusion_models", "black-forest-labs/FLUX.1-dev", "flux1-dev.safetensors", 23_802_932_552, FLUX_DEV),
    ("diffusion_models", "black-forest-labs/FLUX.1-Fill-dev", "flux1-fill-dev.safetensors",
     23_804_922_408, FLUX_DEV),
    ("diffusion_models", "Comfy-Org/flux2-klein", "split_files/diffusion_models/flux-2-klein-4b.safetensors",
     7_750_000_000, APACHE),
    ("diffusion_models", "Comfy-Org/flux2-klein",
     "split_files/diffusion_models/flux-2-klein-base-4b.safetensors", 7_750_000_000, APACHE),
    ("diffusion_models", "black-forest-labs/FLUX.2-klein-9b-fp8", "flux-2-klein-9b-fp8.safetensors",
     9_430_000_000, FLUX2),
    ("diffusion_models", "Comfy-Org/flux2-dev", "split_files/diffusion_models/flux2_dev_fp8mixed.safetensors",
     35_500_000_000, FLUX2),
    ("diffusion_models", "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
     "split_files/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors", 2_838_276_000, APACHE),
    ("diffusion_models", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
     "split_files/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors", 9_999_658_848, APACHE),
    *(
        ("diffusion_models", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
         f"split_files/diffusion_models/wan2.2_{what}_{noise}_noise_14B_fp8_scaled.safetensors",
         14_294_000_000, APACHE)
        for what in ("t2v", "i2v")
        for noise in ("high", "low")
    ),
    ("diffusion_models", "Comfy-Org/z_image_turbo",
     "split_files/diffusion_models/z_image_turbo_bf16.safetensors", 12_309_866_400, APACHE),
    ("diffusion_models", "Comfy-Org/Qwen-Image-Edit_ComfyUI",
     "split_files/diffusion_models/qwen_image_edit_2509_fp8_e4m3fn.safetensors", 20_430_635_136, APACHE),
    ("text_encoders", "comfyanonymous/flux_text_encoders", "clip_l.safetensors", 246_144_152, MIT),
    ("text_encoders", "comfyanonymous/flux_text_encoders", "t5xxl_fp16.safetensors", 9_787_841_024, APACHE),
    ("text_encoders", "comfyanonymous/flux_text_encoders", "t5xxl_fp8_e4m3fn.safetensors",
     4_893_934_904, APACHE),
    ("text_encoders", "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
     "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors", 6_735_906_897, APACHE),
    ("text_encoders", "Comfy-Org/z_image_turbo", "split_files/text_encoders/qwen_3_4b.safetensors",
     8_044_982_048, APACHE),
    ("text_encoders", "Comfy-Org/HunyuanVideo_1.5_repackaged",
     "split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", 9_384_670_680, APACHE),
    ("text_encoders", "Comfy-Org/ltx-2", "split_files/text_encoders/gemma_3_12B_it_fp4_mixed.safetensors",
     9_450_000_000, GEMMA),
    ("vae", "Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors", 335_304_388, APACHE),
    ("vae", "Comfy-Org/flux2-dev", "split_files/vae/flux2-vae.safetensors", 336_213_556, APACHE),
    ("vae", "Comfy-Org/Wan_2.1_ComfyUI_repackaged", "split_files/vae/wan_2.1_vae.safetensors",
     253_815_318, APACHE),
    ("vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "split_files/vae/wan2.2_vae.safetensors",
     1_409_400_960, APACHE),
    ("vae", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/vae/qwen_image_vae.safetensors", 253_806_246,
     APACHE),
    ("vae", "stabilityai/sd-vae-ft-mse-original", "vae-ft-mse-840000-ema-pruned.safetensors", 334_641_190,
     MIT),
    ("loras", "Lightricks/LTX-2", "ltx-2-19b-distilled-lora-384.safetensors", 7_670_000_000, LTX2),
    *(
        ("loras", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
         f"split_files/loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_{noise}_noise.safetensors",
         1_226_977_424, APACHE)
        for noise in ("high", "low")
    ),
    ("upscale_models", "Comfy-Org/Real-ESRGAN_repackaged", "RealESRGAN_x4plus.safetensors", 67_000_000, BSD),
    ("latent_upscale_models", "Lightricks/LTX-2", "ltx-2-spatial-upscaler-x2-1.0.safetensors",
     996_000_000, LTX2),
    ("clip_vision", "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
     "split_files/clip_vision/clip_vision_h.safetensors", 1_264_219_396, MIT),
)  # fmt: skip


@cache
def all_known() -> Mapping[tuple[str, str], KnownModel]:
    """(folder, file name) → what is known of it."""
    found: dict[tuple[str, str], KnownModel] = {}
    for folder, repository, path, size_bytes, licence in _PUBLISHED:
        name = path.rpartition("/")[2]
        url = f"{HUB}/{repository}/resolve/main/{path}"
        found[folder, name] = KnownModel(folder, name, size_bytes, licence, licence not in _RESTRICTED, url)
    return found


def known(folder: str, name: str) -> KnownModel | None:
    """What is known of a file, None if nothing is. A name may carry subfolders of the host's own; `folder`
    is "" where only the name tells."""
    base = name.replace("\\", "/").rpartition("/")[2]
    wanted = _FOLDER_ALIASES.get(folder, folder)
    if wanted:
        return all_known().get((wanted, base))
    return next((one for (_, known_name), one in all_known().items() if known_name == base), None)


def rows(model_files: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """`model_files` of a template for what a checked workflow loads; what isn't known has size 0, no licence
    and counts as not for commercial use."""
    found = []
    for folder, name in model_files:
        one = known(folder, name)
        blank = KnownModel(folder, name, 0, "", commercial=False, url="")
        found.append({**(one or blank).row(), "name": name})
    return found
