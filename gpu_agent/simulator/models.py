"""The model files the simulated host pretends to hold, by ComfyUI's folder; sizes in bytes."""

_GB = 1_000_000_000

MODEL_FILES: dict[str, dict[str, int]] = {
    "checkpoints": {
        "v1-5-pruned-emaonly.safetensors": 4_270_000_000,
        "v1-5-pruned-emaonly-fp16.safetensors": 2_130_000_000,
        "512-inpainting-ema.safetensors": 5_210_000_000,
        "DreamShaper_8_pruned.safetensors": 2_130_000_000,
        "sd_xl_base_1.0.safetensors": 6_940_000_000,
        "sd_xl_refiner_1.0.safetensors": 6_080_000_000,
        "sd_xl_turbo_1.0_fp16.safetensors": 6_940_000_000,
        "sd3.5_large_fp8_scaled.safetensors": 14_900_000_000,
        "ltx-video-2b-v0.9.safetensors": 9_370_000_000,
        "ltx-2-19b-dev-fp8.safetensors": 27_100_000_000,
        "ltx-2-19b-distilled-fp8.safetensors": 27_100_000_000,
    },
    "diffusion_models": {
        "flux1-dev.safetensors": 23_800_000_000,
        "flux1-schnell.safetensors": 23_800_000_000,
        "flux1-fill-dev.safetensors": 23_800_000_000,
        "flux-2-klein-4b.safetensors": 7_750_000_000,
        "wan2.1_t2v_1.3B_fp16.safetensors": 2_840_000_000,
        "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": 14_300_000_000,
        "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": 14_300_000_000,
        "wan2.2_ti2v_5B_fp16.safetensors": 10 * _GB,
        "qwen_image_edit_2509_fp8_e4m3fn.safetensors": 20_400_000_000,
        "z_image_turbo_bf16.safetensors": 12_300_000_000,
    },
    "text_encoders": {
        "clip_l.safetensors": 246_000_000,
        "t5xxl_fp16.safetensors": 9_790_000_000,
        "t5xxl_fp8_e4m3fn.safetensors": 4_890_000_000,
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors": 6_740_000_000,
        "gemma_3_12B_it_fp4_mixed.safetensors": 9_450_000_000,
        "qwen_2.5_vl_7b_fp8_scaled.safetensors": 9_380_000_000,
        "qwen_3_4b.safetensors": 8_040_000_000,
    },
    "vae": {
        "ae.safetensors": 335_000_000,
        "flux2-vae.safetensors": 336_000_000,
        "vae-ft-mse-840000-ema-pruned.safetensors": 335_000_000,
        "sdxl_vae.safetensors": 335_000_000,
        "wan_2.1_vae.safetensors": 254_000_000,
        "wan2.2_vae.safetensors": 1_410_000_000,
        "qwen_image_vae.safetensors": 254_000_000,
    },
    "loras": {
        "add_detail.safetensors": 38_000_000,
        "film_grain.safetensors": 151_000_000,
        "ltx-2-19b-distilled-lora-384.safetensors": 7_670_000_000,
        "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors": 1_230_000_000,
        "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors": 1_230_000_000,
    },
    "controlnet": {
        "control_v11p_sd15_scribble_fp16.safetensors": 723_000_000,
        "control_v11p_sd15_openpose_fp16.safetensors": 723_000_000,
        "diffusers_xl_canny_full.safetensors": 2_500_000_000,
    },
    "upscale_models": {
        "RealESRGAN_x4plus.safetensors": 67_000_000,
        "4x-UltraSharp.pth": 67_000_000,
    },
    "latent_upscale_models": {"ltx-2-spatial-upscaler-x2-1.0.safetensors": 996_000_000},
    "clip_vision": {"clip_vision_h.safetensors": 1_260_000_000},
}
_SIZES = {name: size for folder in MODEL_FILES.values() for name, size in folder.items()}


def names(folder: str) -> list[str]:
    return sorted(MODEL_FILES.get(folder, {}))


def size_bytes(file: str, otherwise: int) -> int:
    """The file's size; `otherwise` for one the host only pretends to have."""
    return _SIZES.get(file.rpartition("/")[2], otherwise)
