"""What a model asks of a GPU: constants behind every demand estimate, and how a file name tells the model.

Figures are public facts and counts of operations; `demand_accuracy` checks them against public timings.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

REFERENCE_GPU = "H200"
EFFECTIVE_FLOPS = {
    "A10": 45e12,
    "L40S": 150e12,
    "RTX4090": 115e12,
    "A100": 148e12,
    "H100": 320e12,
    "H200": 330e12,
}
REFERENCE_FLOPS = EFFECTIVE_FLOPS[REFERENCE_GPU]
DISK_BYTES_PER_SECOND = 1e9
VAE_EFFICIENCY = 0.28


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClass:
    """One family of models. `token_weights`: weights each token is multiplied with; `width`, `layers`: of its
    attention; `cell`: pixels per latent cell and side; `patch`: cells per token and side; `frames_per_cell`
    of video; `text_tokens` joining self-attention; `weights` in the file; `text_encoder_gb` at two bytes;
    `memory_factor`: ComfyUI's memory_usage_factor; `unet_flops` of one pass at one megapixel (0:
    a transformer); `launch_seconds` of one pass; `vae_mflop` per decoded pixel and frame; `rough`: taken from
    descriptions of the model, compared with no timing."""

    label: str
    token_weights: float
    width: int
    layers: int
    weights: float
    text_encoder_gb: float
    memory_factor: float
    text_tokens: int = 256
    cell: int = 8
    patch: int = 2
    frames_per_cell: int = 1
    unet_flops: float = 0.0
    launch_seconds: float = 0.004
    vae_mflop: float = 9.5
    video: bool = False
    rough: bool = False

    def pass_flops(self, width: float, height: float, frames: float = 1, extra_tokens: float = 0) -> float:
        """Operations of one evaluation of the model on one latent of that many pixels and frames."""
        if self.unet_flops:
            area = width * height / 1024**2
            return self.unet_flops * max(1.0, frames) * (0.88 * area + 0.12 * area * area)
        tokens = self.cells(width, height, frames) / self.patch**2 + self.text_tokens + extra_tokens
        return 2 * self.token_weights * tokens + 4 * tokens * tokens * self.width * self.layers

    def cells(self, width: float, height: float, frames: float = 1) -> float:
        """Latent cells, rounded up to whole patches."""
        across = math.ceil(width / self.cell / self.patch) * self.patch
        down = math.ceil(height / self.cell / self.patch) * self.patch
        return across * down * ((max(1.0, frames) - 1) / self.frames_per_cell + 1)

    def extra_tokens(self, pixels: float) -> float:
        """Tokens a reference image of that many pixels adds to self-attention."""
        return 0.0 if self.unet_flops else pixels / (self.cell * self.patch) ** 2


_UNET: dict[str, Any] = {"patch": 1}
_KLEIN: dict[str, Any] = {"cell": 16, "patch": 1, "text_tokens": 512}
_VIDEO: dict[str, Any] = {"frames_per_cell": 4, "vae_mflop": 12.0, "video": True}
_LTX: dict[str, Any] = {
    "cell": 32,
    "patch": 1,
    "frames_per_cell": 8,
    "text_tokens": 0,
    "vae_mflop": 4.0,
    "video": True,
}

CLASSES: dict[str, ModelClass] = {
    "sd15": ModelClass(
        label="SD 1.5", token_weights=860e6, width=320, layers=16, weights=860e6, text_encoder_gb=0.3,
        memory_factor=1.0, unet_flops=3.4e12, launch_seconds=0.012, **_UNET),
    "sdxl": ModelClass(
        label="SDXL", token_weights=2.57e9, width=640, layers=70, weights=2.57e9, text_encoder_gb=1.6,
        memory_factor=0.8, unet_flops=6.7e12, launch_seconds=0.02, **_UNET),
    "sd35_large": ModelClass(
        label="SD 3.5 Large", token_weights=2697068544, width=2432, layers=38, weights=8.1e9,
        text_encoder_gb=4.9, memory_factor=1.6, text_tokens=333),
    "flux1": ModelClass(
        label="FLUX.1", token_weights=6455033856, width=3072, layers=57, weights=11.9e9,
        text_encoder_gb=4.9, memory_factor=2.4, text_tokens=512),
    "flux2_dev": ModelClass(
        label="FLUX.2 dev", token_weights=27481079808, width=6144, layers=56, weights=32e9,
        text_encoder_gb=18.0, memory_factor=22.650691244239628, **_KLEIN),
    "flux2_klein_4b": ModelClass(
        label="FLUX.2 klein 4B", token_weights=3067084800, width=3072, layers=25, weights=3.9e9,
        text_encoder_gb=8.0, memory_factor=11.325345622119814, **_KLEIN),
    "flux2_klein_9b": ModelClass(
        label="FLUX.2 klein 9B", token_weights=6979321856, width=4096, layers=32, weights=9.1e9,
        text_encoder_gb=8.7, memory_factor=15.100460829493088, **_KLEIN),
    "qwen_image": ModelClass(
        label="Qwen-Image", token_weights=6794772480, width=3072, layers=60, weights=20.4e9,
        text_encoder_gb=8.8, memory_factor=1.8),
    "z_image": ModelClass(
        label="Z-Image", token_weights=5.8e9, width=3840, layers=32, weights=6.2e9, text_encoder_gb=8.0,
        memory_factor=2.8),
    "hidream": ModelClass(
        label="HiDream", token_weights=9e9, width=2560, layers=48, weights=17e9, text_encoder_gb=9.0,
        memory_factor=1.6),
    "ltx2_19b": ModelClass(
        label="LTX-2", token_weights=12079595520, width=4096, layers=48, weights=19e9, text_encoder_gb=9.4,
        memory_factor=5.5, launch_seconds=0.02, **_LTX),
    "ltxv_13b": ModelClass(
        label="LTX-Video 13B", token_weights=11274289152, width=4096, layers=48, weights=13e9,
        text_encoder_gb=9.8, memory_factor=5.5, **_LTX),
    "ltxv_2b": ModelClass(
        label="LTX-Video 2B", token_weights=1644167168, width=2048, layers=28, weights=2e9,
        text_encoder_gb=9.8, memory_factor=5.5, **_LTX),
    "wan21_1b": ModelClass(
        label="Wan 2.1 1.3B", token_weights=1250426880, width=1536, layers=30, weights=1.42e9,
        text_encoder_gb=6.3, memory_factor=0.6912691269126913, text_tokens=0, **_VIDEO),
    "wan_14b": ModelClass(
        label="Wan 14B", token_weights=11953766400, width=5120, layers=40, weights=14.3e9,
        text_encoder_gb=6.3, memory_factor=2.3042304230423043, text_tokens=0, **_VIDEO),
    "wan22_5b": ModelClass(
        label="Wan 2.2 5B", token_weights=4341104640, width=3072, layers=30, weights=5e9,
        text_encoder_gb=6.3, memory_factor=1.3825382538253825, text_tokens=0, cell=16, **_VIDEO),
    "hunyuan_video": ModelClass(
        label="HunyuanVideo", token_weights=6794772480, width=3072, layers=60, weights=13e9,
        text_encoder_gb=9.0, memory_factor=1.8, **_VIDEO),
    "mochi": ModelClass(
        label="Mochi", token_weights=6341787648, width=3072, layers=48, weights=10e9, text_encoder_gb=4.9,
        memory_factor=2.0, frames_per_cell=6, vae_mflop=12.0, video=True),
    "sd35_medium": ModelClass(
        label="SD 3.5 Medium", rough=True, token_weights=2.2e9, width=1536, layers=37, weights=2.5e9,
        text_encoder_gb=4.9, memory_factor=1.6, text_tokens=333),
    "chroma": ModelClass(
        label="Chroma", rough=True, token_weights=6455033856, width=3072, layers=57, weights=8.9e9,
        text_encoder_gb=9.8, memory_factor=3.2, text_tokens=512),
    "omnigen2": ModelClass(
        label="OmniGen2", rough=True, token_weights=3.9e9, width=2520, layers=32, weights=3.97e9,
        text_encoder_gb=7.5, memory_factor=1.95),
    "lumina2": ModelClass(
        label="Lumina 2", rough=True, token_weights=2.5e9, width=2304, layers=26, weights=2.6e9,
        text_encoder_gb=5.2, memory_factor=1.4),
    "cosmos2_2b": ModelClass(
        label="Cosmos Predict2 2B", rough=True, token_weights=1.9e9, width=2048, layers=28, weights=2e9,
        text_encoder_gb=9.8, memory_factor=1.0),
    "pixeldit": ModelClass(
        label="PixelDiT", rough=True, token_weights=1.3e9, width=1536, layers=40, weights=1.3e9,
        text_encoder_gb=5.2, memory_factor=2.0, cell=16, patch=1, vae_mflop=0.1),
    "hunyuan3d": ModelClass(
        label="Hunyuan3D", rough=True, token_weights=3e9, width=2048, layers=24, weights=3.3e9,
        text_encoder_gb=1.2, memory_factor=3.5),
    "audio": ModelClass(
        label="audio model", rough=True, token_weights=3.3e9, width=2560, layers=24, weights=3.5e9,
        text_encoder_gb=4.0, memory_factor=0.5, cell=20, text_tokens=512, launch_seconds=0.02),
    "seedvr2_3b": ModelClass(
        label="SeedVR2 3B", rough=True, token_weights=3.2e9, width=2560, layers=2, weights=3.4e9,
        text_encoder_gb=0.1, memory_factor=0.6, text_tokens=0, **_VIDEO),
    "seedvr2_7b": ModelClass(
        label="SeedVR2 7B", rough=True, token_weights=8e9, width=3072, layers=2, weights=8.2e9,
        text_encoder_gb=0.1, memory_factor=0.7, text_tokens=0, **_VIDEO),
    "svd": ModelClass(
        label="SVD", rough=True, token_weights=1.5e9, width=320, layers=16, weights=1.5e9,
        text_encoder_gb=1.3, memory_factor=1.0, unet_flops=5.8e12, launch_seconds=0.03, video=True, patch=1),
    "cogvideox": ModelClass(
        label="CogVideoX 5B", rough=True, token_weights=5e9, width=3072, layers=42, weights=5.6e9,
        text_encoder_gb=9.8, memory_factor=2.0, text_tokens=226, **_VIDEO),
    "kandinsky5_lite": ModelClass(
        label="Kandinsky 5 Lite", rough=True, token_weights=1.9e9, width=1792, layers=34, weights=2e9,
        text_encoder_gb=9.4, memory_factor=1.25, **_VIDEO),
    "hunyuan_video15": ModelClass(
        label="HunyuanVideo 1.5", rough=True, token_weights=7.5e9, width=2048, layers=54, weights=8.3e9,
        text_encoder_gb=9.4, memory_factor=2.0, cell=16, **{**_VIDEO, "patch": 1}),
    "unknown_image": ModelClass(
        label="unknown model", token_weights=6455033856, width=3072, layers=57, weights=12e9,
        text_encoder_gb=8.0, memory_factor=2.4, text_tokens=512),
    "unknown_video": ModelClass(
        label="unknown video model", token_weights=11953766400, width=5120, layers=40, weights=14e9,
        text_encoder_gb=8.0, memory_factor=2.3, text_tokens=0, **_VIDEO),
}  # fmt: skip

# First match wins; tried on the lower-case file name without its folder.
_NAME_RULES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"ace.?step|stable.?audio|minimax_music", "audio"),
        (r"hunyuan.?3d", "hunyuan3d"),
        (r"seedvr2.*7b", "seedvr2_7b"),
        (r"seedvr2", "seedvr2_3b"),
        (r"^pid_|pixeldit", "pixeldit"),
        (r"svd", "svd"),
        (r"cogvideo|void_pass", "cogvideox"),
        (r"kandinsky5lite_(t2v|i2v)", "kandinsky5_lite"),
        (r"hunyuan.?video.?1\.5|capybara", "hunyuan_video15"),
        (r"chrono.?edit|humo", "wan_14b"),
        (r"causal_forcing", "wan21_1b"),
        (r"omnigen2", "omnigen2"),
        (r"neta|lumina", "lumina2"),
        (r"anima[-_]|cosmos.predict2.*2b", "cosmos2_2b"),
        (r"chroma", "chroma"),
        (r"firered.image", "qwen_image"),
        (r"lotus.depth", "sd15"),
        (r"sd3\.?5.?medium|sd3_medium", "sd35_medium"),
        (r"ltx-?2", "ltx2_19b"),
        (r"ltxv?[-_].*13b", "ltxv_13b"),
        (r"ltx.?v(ideo)?", "ltxv_2b"),
        (r"flux.?2(?!.*klein)", "flux2_dev"),
        (r"z.?image", "z_image"),
        (r"sd3\.?5", "sd35_large"),
        (r"hidream(?!_o1)", "hidream"),
        (r"mochi", "mochi"),
        (r"klein.*4b", "flux2_klein_4b"),
        (r"klein.*9b", "flux2_klein_9b"),
        (r"qwen.?image", "qwen_image"),
        (r"wan.*5b", "wan22_5b"),
        (r"wan.*1[._]?3b", "wan21_1b"),
        (r"wan", "wan_14b"),
        (r"hunyuan.*video", "hunyuan_video"),
        (r"flux", "flux1"),
        (r"sd_?xl|xl[-_]|juggernaut|pony", "sdxl"),
        (r"v1-5|sd.?1.?5|v1_?5|dreamshaper|inpainting|realistic_?vision", "sd15"),
    )
)
_TWO_EVALUATIONS = (
    "heun",
    "dpm_2",
    "dpmpp_2s",
    "dpmpp_sde",
    "dpmpp_2m_sde_heun",
    "seeds_2",
    "sa_solver_pece",
)
_MORE_EVALUATIONS = {"seeds_3": 3, "exp_heun": 2, "heunpp2": 3, "dpm_adaptive": 3}


def class_of(file_name: str) -> str:
    """The model class a file name tells, "" where it tells none."""
    lowered = file_name[-200:].lower().replace("\\", "/").rsplit("/", 1)[-1]
    return next((name for pattern, name in _NAME_RULES if pattern.search(lowered)), "")


def bytes_per_weight(file_name: str, weight_dtype: str = "") -> float:
    """How the file stores a weight: 2 bytes unless its name or the loader says otherwise."""
    told = f"{file_name} {weight_dtype}".lower()
    if re.search(r"fp4|int4|q4|nf4|svdq", told):
        return 0.56
    return 1.0 if re.search(r"fp8|e4m3|e5m2|int8|q8", told) else 2.0


def evaluations(sampler_name: str) -> int:
    """Model evaluations a sampler makes in one step."""
    for prefix, count in _MORE_EVALUATIONS.items():
        if sampler_name.startswith(prefix):
            return count
    return 2 if sampler_name.startswith(_TWO_EVALUATIONS) else 1
