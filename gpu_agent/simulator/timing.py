"""How long the reference GPU takes: a small model of our own, in seconds.

Anchors: SDXL 1024², 30 steps ≈ 3.5 s; SD 1.5 512², 20 steps ≈ 1.5 s; Flux.1 1024², 20 steps ≈ 5.6 s;
LTX-2 1280×720, 121 frames ≈ 24 s.
"""

from dataclasses import dataclass

MEGAPIXEL = 1024 * 1024
DISK_BYTES_PER_SECOND = 2.5e9
UPLOAD_BYTES_PER_SECOND = 12e9


@dataclass(frozen=True, slots=True)
class Family:
    """`step_seconds`: one network evaluation for one megapixel (1024²) of one frame."""

    name: str
    marks: tuple[str, ...]  # parts of file names that tell it
    step_seconds: float
    size_bytes: int
    latent_frames: int = 1  # frames of the clip behind one latent frame
    work_gib: float = 1.5  # memory a megapixel of sampling takes beside the weights


_GB = 1_000_000_000
FAMILIES = (
    Family("ltx2", ("ltx-2", "ltx2"), 0.021, 27 * _GB, 8, 0.35),
    Family("ltxv", ("ltx", "ltxv"), 0.006, 6 * _GB, 8, 0.3),
    Family("wan22", ("wan2.2", "wan22", "wan_2.2"), 0.16, 15 * _GB, 4, 0.6),
    Family("wan21", ("wan2", "wan_2"), 0.05, 3 * _GB, 4, 0.4),
    Family("hunyuan_video", ("hunyuan_video", "hunyuanvideo"), 0.15, 25 * _GB, 4, 0.6),
    Family("hunyuan", ("hunyuan",), 0.09, 7 * _GB),
    Family("mochi", ("mochi",), 0.12, 20 * _GB, 6, 0.5),
    Family("flux2", ("flux2", "flux-2", "flux_2"), 0.55, 34 * _GB, work_gib=3.0),
    Family("schnell", ("schnell",), 0.26, 23 * _GB, work_gib=2.0),
    Family("flux", ("flux",), 0.26, 23 * _GB, work_gib=2.0),
    Family("qwen", ("qwen",), 0.45, 20 * _GB, work_gib=2.5),
    Family("z_image", ("z_image", "z-image"), 0.18, 12 * _GB),
    Family("hidream", ("hidream",), 0.4, 17 * _GB),
    Family("sd3", ("sd3", "stable-diffusion-3"), 0.11, 16 * _GB),
    Family("aura", ("aura",), 0.2, 14 * _GB),
    Family("sdxl", ("xl", "pony", "illustrious"), 0.052, 6_900_000_000),
    Family("sd15", ("",), 0.125, 2_100_000_000),
)


def family_of(file: str) -> Family:
    """The family whose mark is in the file's name; SD 1.5 when none is."""
    low = file.lower()
    return next(family for family in FAMILIES if any(mark in low for mark in family.marks))


def family_named(name: str) -> Family:
    return next((family for family in FAMILIES if family.name == name), FAMILIES[-1])


def step_seconds(family: Family, width: int, height: int, frames: int, batch: int, passes: int) -> float:
    """One sampling step. `frames` are those of the clip; `passes` is 2 with a negative prompt."""
    latent_frames = 1 if frames <= 1 else 1 + (frames - 1) // family.latent_frames
    megapixels = width * height / MEGAPIXEL
    work = megapixels**1.1 * latent_frames * batch * passes
    return float(0.012 + family.step_seconds * work)


def decode_seconds(width: int, height: int, frames: int) -> float:
    return 0.06 + 0.14 * width * height / MEGAPIXEL * (frames if frames <= 1 else frames * 0.22)


def encode_text_seconds(encoder_bytes: int) -> float:
    return 0.02 + encoder_bytes / 250e9


def read_seconds(size_bytes: int) -> float:
    """Reading a model file from disk."""
    return 0.05 + size_bytes / DISK_BYTES_PER_SECOND


def upload_seconds(size_bytes: int) -> float:
    """Moving a model from RAM to the GPU."""
    return 0.01 + size_bytes / UPLOAD_BYTES_PER_SECOND
