"""Rates that correct themselves from measured runs, per model class and kind of GPU.

For each pair two numbers are learned by recursive least squares, fixed seconds and seconds per estimated
second: a single factor fails because fixed seconds dominate short jobs. What a template adds of its own is
learned apart, shrunk towards nothing while it has few runs, and the p90 by stochastic quantile steps.
Only warm runs may be shown to it (no model was loaded), in charged seconds normalised to the reference GPU.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

FORGETTING = 0.985
CLIP = 2.5  # outliers count as this many standard deviations
PRIOR_FIXED, PRIOR_RATE = 400.0, 9.0  # variances before the first run, in units of the noise's
LEAST_RATE = 0.05  # more work never costs less
FIRST_NOISE, LEAST_NOISE = 0.3, 0.03  # relative
TEMPLATE_PRIOR_RUNS = 3.0
FIRST_P90 = 1.4
QUANTILE = 0.9
FEW_RUNS = 3  # until then the estimate's own band is kept


@dataclass(frozen=True, slots=True)
class Run:
    """One finished warm run. `estimate`, `actual`: seconds."""

    model_class: str
    gpu: str
    template: str  # "" for a workflow that is no template's
    estimate: float
    actual: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds half of such runs stay under, and nine in ten; `runs` it rests on."""

    p50: float
    p90: float
    runs: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known of one model class on one kind of GPU. Actual ≈ fixed + rate × estimate; `covariance`
    is the symmetric matrix's three entries; `p90`: quantile of actual ÷ predicted."""

    fixed: float = 0.0
    rate: float = 1.0
    covariance: tuple[float, float, float] = (PRIOR_FIXED, 0.0, PRIOR_RATE)
    noise: float = FIRST_NOISE
    p90: float = FIRST_P90
    runs: int = 0

    def seconds(self, estimate: float) -> float:
        """Never below a twentieth of the estimate: a fixed part may come out negative."""
        return max(LEAST_RATE * estimate, self.fixed + self.rate * estimate, 0.01)

    def learned(self, estimate: float, actual: float) -> "Cell":
        """One step of recursive least squares on relative errors."""
        predicted = self.seconds(estimate)
        one, many = 1 / predicted, estimate / predicted  # what a second of each part adds, relatively
        error = actual / predicted - (self.fixed * one + self.rate * many)
        clipped = max(-CLIP * self.noise, min(CLIP * self.noise, error))
        a, b, c = self.covariance
        ahead, behind = a * one + b * many, b * one + c * many
        scale = FORGETTING + one * ahead + many * behind
        gain_fixed, gain_rate = ahead / scale, behind / scale
        # Forgetting without news lets a variance grow for ever: none grows past its first value.
        grown = tuple(
            each / FORGETTING
            for each in (a - gain_fixed * ahead, b - gain_fixed * behind, c - gain_rate * behind)
        )
        covariance = (min(PRIOR_FIXED, grown[0]), grown[1], min(PRIOR_RATE, grown[2]))
        if covariance[0] * covariance[2] < covariance[1] ** 2:
            covariance = (covariance[0], 0.0, covariance[2])
        share = max(0.05, 1 / (self.runs + 2))
        # Wider than the clip, so that a lasting change of speed soon stops looking like outliers.
        surprise = min(2 * CLIP * self.noise, abs(error))
        noise = (1 - share) * self.noise + share * 1.25 * surprise
        return replace(
            self,
            fixed=self.fixed + gain_fixed * clipped,
            rate=max(LEAST_RATE, self.rate + gain_rate * clipped),
            covariance=covariance,
            noise=max(LEAST_NOISE, noise),
            runs=self.runs + 1,
        )

    def stepped(self, ratio: float) -> "Cell":
        """The p90 moved by one observed ratio of actual to predicted seconds."""
        step = max(0.02, 0.3 / math.sqrt(self.runs + 1))
        moved = self.p90 + step * (QUANTILE if ratio > self.p90 else QUANTILE - 1)
        return replace(self, p90=max(1.02, min(5.0, moved)))


@dataclass(frozen=True, slots=True)
class Residual:
    """What a template adds of its own: a decaying sum of log ratios and its weight."""

    total: float = 0.0
    weight: float = 0.0

    @property
    def factor(self) -> float:
        return math.exp(self.total / (self.weight + TEMPLATE_PRIOR_RUNS))

    def learned(self, ratio: float, noise: float) -> "Residual":
        known = self.total / (self.weight + TEMPLATE_PRIOR_RUNS)
        news = max(-CLIP * noise, min(CLIP * noise, math.log(ratio) - known))
        return Residual(FORGETTING * self.total + known + news, FORGETTING * self.weight + 1)


@dataclass(slots=True)
class Calibration:
    """All that was learned. `learn` changes it; everything else only reads."""

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    residuals: dict[tuple[str, str], Residual] = field(default_factory=dict)  # (template, model class)

    def predict(
        self, model_class: str, gpu: str, template: str, estimate: float, band: float = FIRST_P90
    ) -> Prediction:
        """Seconds of a run estimated at `estimate`; `band` is the estimate's own p90 ÷ p50."""
        cell = self.cells.get((model_class, gpu), Cell())
        p50 = cell.seconds(estimate) * self._factor(template, model_class)
        wide = max(band, cell.p90) if cell.runs else band
        return Prediction(p50, p50 * (cell.p90 if cell.runs >= FEW_RUNS else wide), cell.runs)

    def learn(self, run: Run) -> None:
        """One warm run. Runs without a finite positive estimate and actual teach nothing."""
        if not all(math.isfinite(each) and each > 0 for each in (run.estimate, run.actual)):
            return
        key = (run.model_class, run.gpu)
        cell = self.cells.get(key, Cell())
        factor = self._factor(run.template, run.model_class)
        self.cells[key] = cell.learned(run.estimate, run.actual / factor).stepped(
            run.actual / (cell.seconds(run.estimate) * factor)
        )
        if run.template:
            held = self.residuals.get((run.template, run.model_class), Residual())
            ratio = run.actual / self.cells[key].seconds(run.estimate)
            self.residuals[run.template, run.model_class] = held.learned(ratio, self.cells[key].noise)

    def error(self, runs: Iterable[Run]) -> float:
        """Mean absolute error of the p50, relative to what happened: said before and after a new version."""
        errors = [
            abs(self.predict(run.model_class, run.gpu, run.template, run.estimate).p50 / run.actual - 1)
            for run in runs
        ]
        return math.fsum(errors) / len(errors) if errors else 0.0

    def _factor(self, template: str, model_class: str) -> float:
        return self.residuals.get((template, model_class), Residual()).factor if template else 1.0

    # --- storing ----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "cells": [[*key, asdict(cell)] for key, cell in sorted(self.cells.items())],
            "residuals": [[*key, asdict(held)] for key, held in sorted(self.residuals.items())],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        cells = {
            (a, b): Cell(**{**told, "covariance": tuple(told["covariance"])}) for a, b, told in data["cells"]
        }
        return cls(cells, {(a, b): Residual(**told) for a, b, told in data["residuals"]})


@dataclass(frozen=True, slots=True)
class Bias:
    """How far one student's jobs run beyond their estimates: hiding work pays once, not for ever."""

    total: float = 0.0
    weight: float = 0.0

    @property
    def factor(self) -> float:
        """Multiplies the student's estimates; never below one, so nobody gains by looking slow."""
        return max(1.0, min(10.0, math.exp(self.total / (self.weight + 1.0))))

    def learned(self, estimate: float, actual: float) -> "Bias":
        """One finished job: seconds predicted for anybody, and seconds it took."""
        if not all(math.isfinite(each) and each > 0 for each in (estimate, actual)):
            return self
        log = max(-1.0, min(3.0, math.log(actual / estimate)))
        return Bias(0.9 * self.total + log, 0.9 * self.weight + 1)
