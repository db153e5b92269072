"""A fleet whose truth is hidden: what calibration has to find out, and how well it did."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from marketplace.pricing.calibration import Calibration, Run

CLASSES = ("sdxl", "flux1", "qwen_image", "ltx2_19b", "wan_14b")
GPUS = ("A", "B", "C")
NOISE, OUTLIERS = 0.07, 0.04


@dataclass
class Fleet:
    """Hidden factors per class and GPU, fixed seconds per class, biases of machines and templates, noise,
    outliers, and one change of a machine's speed in mid-stream."""

    chance: random.Random
    factors: dict[tuple[str, str], float] = field(default_factory=dict)
    fixed: dict[str, float] = field(default_factory=dict)
    templates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gauss = self.chance.gauss
        machines = {gpu: math.exp(gauss(0, 0.1)) for gpu in GPUS}
        for name in CLASSES:
            self.fixed[name] = self.chance.uniform(0.5, 4.0)
            for gpu in GPUS:
                self.factors[name, gpu] = math.exp(gauss(0, 0.28)) * machines[gpu]
        self.templates = {f"template {n}": math.exp(gauss(0, 0.1)) for n in range(12)}

    def runs(self, count: int) -> Iterator[Run]:
        for number in range(count):
            if number == count // 2:
                for name in CLASSES:
                    self.factors[name, "B"] *= 1.25
            name, gpu = self.chance.choice(CLASSES), self.chance.choice(GPUS)
            template = self.chance.choice(list(self.templates))
            base = 180.0 if name in ("ltx2_19b", "wan_14b") else 6.0
            estimate = base * math.exp(self.chance.gauss(0, 0.6))
            actual = self.fixed[name] + self.factors[name, gpu] * estimate
            actual *= self.templates[template] * math.exp(self.chance.gauss(0, NOISE))
            if self.chance.random() < OUTLIERS:
                actual *= self.chance.uniform(1.5, 4.0)
            yield Run(name, gpu, template, estimate, actual)


def outcome(seed: int, count: int = 1500) -> tuple[float, float]:
    """(mean error of the p50, share of runs under the p90) of runs after the tenth of their pair. Outliers
    count for the coverage, not for the error: nobody could foresee them."""
    calibration, seen = Calibration(), dict[tuple[str, str], int]()
    errors: list[float] = []
    covered: list[bool] = []
    for run in Fleet(random.Random(seed)).runs(count):
        key = (run.model_class, run.gpu)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 10:
            told = calibration.predict(run.model_class, run.gpu, run.template, run.estimate)
            errors.append(abs(told.p50 / run.actual - 1))
            covered.append(run.actual <= told.p90)
        calibration.learn(run)
    return sum(errors) / len(errors), sum(covered) / len(covered)
