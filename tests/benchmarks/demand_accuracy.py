"""How well the demand estimate agrees with public timings of eleven sampling runs on five GPUs."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from jobs.job_types.comfyui.model_classes import CLASSES, EFFECTIVE_FLOPS


@dataclass(frozen=True, slots=True)
class Timing:
    """Measured by others: seconds of `passes` evaluations (steps × evaluations a step) of a model."""

    gpu: str
    model: str
    width: int
    height: int
    frames: int
    passes: int
    seconds: float
    source: str

    def flops(self) -> float:
        return self.passes * CLASSES[self.model].pass_flops(self.width, self.height, self.frames)

    def launching(self) -> float:
        return self.passes * CLASSES[self.model].launch_seconds

    def estimate(self, rate: float) -> float:
        """Seconds on a GPU of `rate` operations a second."""
        return self.flops() / rate + self.launching()

    def rate(self) -> float:
        """Operations a second that this timing shows."""
        return self.flops() / max(1e-6, self.seconds - self.launching())


TIMINGS = (
    Timing("A100", "flux1", 1024, 1024, 1, 1, 0.493, "diffusers benchmark set"),
    Timing("A100", "ltxv_13b", 704, 512, 161, 1, 1.434, "diffusers benchmark set"),
    Timing("A100", "sdxl", 1024, 1024, 1, 1, 0.072, "diffusers benchmark set"),
    Timing("A100", "sdxl", 1024, 1024, 1, 60, 3.704, "SDXL TensorRT model card, baseline"),
    Timing("A100", "wan_14b", 1280, 720, 81, 80, 2735.7, "Wan2.2 issue 284"),
    Timing("H100", "sdxl", 1024, 1024, 1, 60, 2.496, "SDXL TensorRT model card, baseline"),
    Timing("H100", "hunyuan_video", 1280, 720, 129, 50, 1904.08, "HunyuanVideo README"),
    Timing("H100", "ltx2_19b", 768, 512, 121, 16, 6.006, "sglang PR 23137"),
    Timing("RTX4090", "flux1", 1024, 1024, 1, 20, 12.44, "OneDiff PR 1144"),
    Timing("RTX4090", "wan21_1b", 832, 480, 81, 100, 240.0, "Wan2.1 README"),
    Timing("A10", "sdxl", 1024, 1024, 1, 60, 9.399, "SDXL TensorRT model card, baseline"),
)


def errors() -> list[float]:
    """Relative error of each timing with the GPUs' effective rates as they stand."""
    return [abs(each.estimate(EFFECTIVE_FLOPS[each.gpu]) / each.seconds - 1) for each in TIMINGS]


def errors_left_out() -> list[float]:
    """The same with each GPU's rate taken from its other timings alone (their median)."""
    found = []
    for each in TIMINGS:
        others = [other.rate() for other in TIMINGS if other.gpu == each.gpu and other is not each]
        if others:
            found.append(abs(each.estimate(median(others)) / each.seconds - 1))
    return found


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure: name, value, unit, reference, ratio, goal, met."""
    for name, found, goal in (
        ("demand_accuracy", errors(), 0.12),
        ("demand_accuracy_leave_one_out", errors_left_out(), 0.18),
    ):
        value = fmean(found)
        yield {
            "name": name,
            "value": round(100 * value, 2),
            "unit": f"% mean error of {len(found)} timings",
            "reference": None,
            "ratio": None,
            "goal": f"<= {100 * goal:g} %",
            "met": value <= goal,
        }
