"""Rates learn from measured runs, and neither an outlier nor a cheat moves them far."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.pricing.calibration import Bias, Calibration, Cell, Run
from tests.benchmarks import synthetic_fleet

SECONDS = st.floats(min_value=1e-3, max_value=1e5)


def trained(count: int, *, fixed: float = 3.0, rate: float = 0.5) -> Calibration:
    calibration = Calibration()
    for number in range(count):
        estimate = 2.0 + 3 * (number % 7)
        calibration.learn(Run("sdxl", "A", "", estimate, fixed + rate * estimate))
    return calibration


def test_without_runs_the_estimate_and_its_own_band_stand() -> None:
    told = Calibration().predict("sdxl", "A", "", 10.0, band=2.0)
    assert (told.p50, told.p90, told.runs) == (10.0, 20.0, 0)


def test_fixed_seconds_and_rate_are_told_apart() -> None:
    calibration = trained(30)
    for estimate in (2.0, 10.0, 60.0):
        found = calibration.predict("sdxl", "A", "", estimate).p50
        assert found == pytest.approx(3.0 + 0.5 * estimate, rel=0.06)


def test_other_classes_and_gpus_are_left_alone() -> None:
    calibration = trained(30)
    assert calibration.predict("sdxl", "B", "", 10.0).p50 == 10.0
    assert calibration.predict("flux1", "A", "", 10.0).p50 == 10.0


def test_one_outlier_hardly_moves_a_learned_rate() -> None:
    calibration = trained(30)
    before = calibration.predict("sdxl", "A", "", 10.0).p50
    calibration.learn(Run("sdxl", "A", "", 10.0, 400.0))
    assert calibration.predict("sdxl", "A", "", 10.0).p50 == pytest.approx(before, rel=0.05)


def test_a_change_of_speed_is_followed() -> None:
    calibration = trained(60)
    for number in range(150):
        estimate = 2.0 + 3 * (number % 7)
        calibration.learn(Run("sdxl", "A", "", estimate, 2 * (3.0 + 0.5 * estimate)))
    assert calibration.predict("sdxl", "A", "", 10.0).p50 == pytest.approx(16.0, rel=0.1)


def test_what_a_template_adds_is_learned_for_that_template() -> None:
    calibration = Calibration()
    for number in range(200):
        slow = number % 4 == 0
        calibration.learn(Run("sdxl", "A", "slow" if slow else "plain", 10.0, 13.0 if slow else 10.0))
    slow, plain = (calibration.predict("sdxl", "A", name, 10.0).p50 for name in ("slow", "plain"))
    assert slow / plain == pytest.approx(1.3, abs=0.06)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_senseless_runs_teach_nothing(bad: float) -> None:
    calibration = Calibration()
    calibration.learn(Run("sdxl", "A", "t", bad, 5.0))
    calibration.learn(Run("sdxl", "A", "t", 5.0, bad))
    assert calibration == Calibration()


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=60))
def test_predictions_stay_finite_and_ordered_whatever_is_learned(pairs: list[tuple[float, float]]) -> None:
    calibration = Calibration()
    for estimate, actual in pairs:
        calibration.learn(Run("sdxl", "A", "t", estimate, actual))
    told = calibration.predict("sdxl", "A", "t", 10.0)
    assert 0 < told.p50 < told.p90 < math.inf


def test_what_was_learned_survives_storing() -> None:
    calibration = trained(5)
    calibration.learn(Run("flux1", "B", "poster", 4.0, 6.0))
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_the_error_before_and_after_tells_what_a_version_gains() -> None:
    runs = [Run("sdxl", "A", "", 2.0 + n, 3.0 + 0.5 * (2.0 + n)) for n in range(10)]
    assert trained(30).error(runs) < 0.05 < Calibration().error(runs)
    assert Calibration().error([]) == 0.0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fleets_hidden_factors_are_found_within_ten_runs(seed: int) -> None:
    error, coverage = synthetic_fleet.outcome(seed)
    assert error <= 0.20
    assert 0.85 <= coverage <= 0.97


def test_hiding_work_raises_ones_own_estimates_until_it_stops() -> None:
    bias = Bias()
    for _ in range(8):
        bias = bias.learned(estimate=2.0, actual=10.0)
    assert bias.factor == pytest.approx(5.0, rel=0.25)
    for _ in range(30):
        bias = bias.learned(estimate=10.0, actual=10.0)
    assert bias.factor == pytest.approx(1.0, abs=0.1)


def test_finishing_early_never_makes_a_student_cheaper_than_others() -> None:
    bias = Bias()
    for _ in range(20):
        bias = bias.learned(estimate=10.0, actual=1.0)
    assert bias.factor == 1.0
    assert bias.learned(0.0, 1.0) == bias


def test_a_cells_seconds_never_fall_to_nothing() -> None:
    assert Cell(fixed=-50.0, rate=0.1).seconds(10.0) == pytest.approx(0.5)
