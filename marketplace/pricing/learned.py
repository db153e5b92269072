"""What measured runs have taught, seconds and memory, and what a demand becomes by it. Pure.

One state, `Learned`, is stored as JSON: with every new run, and again in each version of the rates.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.job_types.base import Demand, DemandLine
from marketplace.pricing.calibration import QUANTILE, Calibration, Prediction, Run

# A card counts as used what it keeps of earlier models, and a sample every second misses peaks: a measured
# peak moves the prediction within these shares of the estimate.
LEAST_MEMORY, MOST_MEMORY = 0.75, 1.25
FEW_PEAKS = 5
LEAST_BIAS = 1.05  # below it a student's record is noise, and isn't charged
SHOWN = 0.005  # a correction smaller than this share isn't worth words


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU that may run the job. `speed`: of all of them together, against the reference;
    `vram_bytes`: of one."""

    name: str
    speed: float = 1.0
    vram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Peak:
    """Quantile of measured ÷ estimated memory of one model class on one kind of GPU."""

    ratio: float = 1.0
    runs: int = 0

    def learned(self, estimate_bytes: float, peak_bytes: float) -> "Peak":
        """One stochastic quantile step; a run without both figures teaches nothing."""
        if estimate_bytes <= 0 or peak_bytes <= 0:
            return self
        seen = peak_bytes / estimate_bytes
        step = max(0.01, 0.1 / math.sqrt(self.runs + 1))
        moved = self.ratio + step * (QUANTILE if seen > self.ratio else QUANTILE - 1)
        return Peak(max(LEAST_MEMORY, min(MOST_MEMORY, moved)), self.runs + 1)


@dataclass(slots=True)
class Learned:
    """Seconds and memory learned from `runs` runs. `learn` changes it; everything else only reads."""

    calibration: Calibration = field(default_factory=Calibration)
    peaks: dict[tuple[str, str], Peak] = field(default_factory=dict)
    runs: int = 0

    def learn(self, run: Run, estimate_bytes: int = 0, peak_bytes: int | None = None) -> None:
        """One warm run, in charged seconds and, where it was measured, its peak of memory."""
        self.calibration.learn(run)
        key = (run.model_class, run.gpu)
        if peak_bytes:
            self.peaks[key] = self.peaks.get(key, Peak()).learned(estimate_bytes, peak_bytes)
        self.runs += 1

    def predict(
        self, model_class: str, template: str, gpus: Iterable[Gpu], estimate: float, band: float
    ) -> Prediction:
        """Seconds of a run estimated at `estimate` on whichever of the GPUs takes it: the mean by how much
        each kind works, and the widest p90, since nobody knows yet which it will be."""
        kinds = list(gpus) or [Gpu("")]
        told = [
            (max(0.0, gpu.speed), self.calibration.predict(model_class, gpu.name, template, estimate, band))
            for gpu in kinds
        ]
        speed = math.fsum(weight for weight, _ in told)
        if speed <= 0:
            told, speed = [(1.0, one) for _, one in told], float(len(told))
        p50 = math.fsum(weight / speed * one.p50 for weight, one in told)
        return Prediction(p50, max(p50, *(one.p90 for _, one in told)), sum(one.runs for _, one in told))

    def memory(self, model_class: str, gpus: Iterable[Gpu], estimate_bytes: int) -> int:
        """The peak of memory to expect: what was measured on the neediest kind of GPU, the estimate where
        few were measured, and never below the floor."""
        ratios = []
        for gpu in gpus:
            peak = self.peaks.get((model_class, gpu.name), Peak())
            ratios.append(peak.ratio if peak.runs >= FEW_PEAKS else max(1.0, peak.ratio))
        return math.ceil(estimate_bytes * max(ratios, default=1.0))

    def copy(self) -> "Learned":
        """The same state, to learn on apart."""
        return copy.deepcopy(self)

    def to_json(self) -> dict[str, Any]:
        peaks = [[*key, asdict(peak)] for key, peak in sorted(self.peaks.items())]
        return {**self.calibration.to_json(), "peaks": peaks, "runs": self.runs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Learned":
        """From `to_json`; `{}` is nothing learned."""
        if not data:
            return cls()
        peaks = {(a, b): Peak(**told) for a, b, told in data["peaks"]}
        return cls(Calibration.from_json(data), peaks, data["runs"])


@dataclass(frozen=True, slots=True)
class Change:
    """How far a new version moves one model class on one kind of GPU: 0.25 is 25 %, either way."""

    model_class: str
    gpu: str
    runs: int
    change: float


def changes(before: Learned, after: Learned, runs: Iterable[Run]) -> list[Change]:
    """The changes of every pair among `runs`, largest first, at the estimates those runs had."""
    logs: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        old, new = (
            each.calibration.predict(run.model_class, run.gpu, run.template, run.estimate).p50
            for each in (before, after)
        )
        logs.setdefault((run.model_class, run.gpu), []).append(math.log(new / old))
    found = [
        Change(*key, len(told), math.exp(abs(math.fsum(told) / len(told))) - 1) for key, told in logs.items()
    ]
    return sorted(found, key=lambda one: (-one.change, one.model_class, one.gpu))


def corrected(
    demand: Demand, learned: Learned, gpus: Iterable[Gpu], model_class: str, template: str
) -> Demand:
    """The demand as measured runs know it: each charged line stretched, and saying so. `gpus` may run it, if
    they hold it."""
    kinds = tuple(gpus)
    holding = [gpu for gpu in kinds if gpu.vram_bytes >= demand.vram_bytes] or kinds
    vram_bytes = learned.memory(model_class, holding, demand.vram_bytes)
    if demand.gpu_seconds <= 0:
        return replace(demand, vram_bytes=vram_bytes)
    told = learned.predict(model_class, template, holding, demand.gpu_seconds, demand.band)
    factor = told.p50 / demand.gpu_seconds
    return replace(
        demand,
        lines=tuple(line if line.loader else _stretched(line, factor) for line in demand.lines),
        gpu_seconds=told.p50,
        band=max(1.0, told.p90 / told.p50),
        vram_bytes=vram_bytes,
    )


def with_bias(demand: Demand, factor: float) -> Demand:
    """The demand of a student whose jobs run `factor` times their estimates: one plain line more."""
    if factor < LEAST_BIAS:
        return demand
    more = demand.gpu_seconds * (factor - 1)
    words = f"your jobs have run {100 * (factor - 1):.0f} % longer than estimated"
    line = DemandLine("Your earlier jobs", "", "", more, words)
    return replace(demand, lines=(*demand.lines, line), gpu_seconds=demand.gpu_seconds * factor)


def _stretched(line: DemandLine, factor: float) -> DemandLine:
    if factor == 1:
        return line
    words = line.words
    if abs(factor - 1) >= SHOWN:
        words = f"{words} × {factor:.2f}, as measured" if words else f"× {factor:.2f}, as measured"
    return replace(line, gpu_seconds=line.gpu_seconds * factor, words=words)
