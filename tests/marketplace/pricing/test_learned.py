"""What runs taught becomes seconds and memory of a demand, and its lines say so."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.job_types.base import Demand, DemandLine
from marketplace.pricing import learned as room
from marketplace.pricing.calibration import Run
from marketplace.pricing.learned import Gpu, Learned, Peak
from marketplace.pricing.quote import price
from marketplace.pricing.rates import DEFAULT_RATE

LINES = (
    DemandLine("Load", "1", "Loader", 4.0, "4 s", loader=True),
    DemandLine("Sample", "2", "KSampler", 8.0, "20 steps × 0.4 s", sampler=True),
    DemandLine("Save", "3", "SaveImage", 2.0, "2 s"),
)
DEMAND = Demand(LINES, 10.0, 4.0, 8_000, "m", "sdxl", 1.3, "")


def taught(slower: float, runs: int = 40, gpu: str = "A") -> Learned:
    state = Learned()
    for number in range(runs):
        estimate = 4.0 + number % 9
        state.learn(Run("sdxl", gpu, "", estimate, slower * estimate), 8_000, 6_800)
    return state


def test_every_charged_line_is_stretched_and_loading_is_not() -> None:
    found = room.corrected(DEMAND, taught(1.5), [Gpu("A")], "sdxl", "")
    assert found.gpu_seconds == pytest.approx(15, rel=0.03)
    assert found.lines[0].gpu_seconds == 4.0
    charged = sum(line.gpu_seconds for line in found.lines if not line.loader)
    assert charged == pytest.approx(found.gpu_seconds)
    assert found.lines[1].words.endswith("as measured")


def test_nothing_learned_changes_nothing() -> None:
    assert room.corrected(DEMAND, Learned(), [Gpu("A")], "sdxl", "") == DEMAND
    assert room.with_bias(DEMAND, 1.04) == DEMAND


def test_gpus_count_by_how_much_they_work_and_the_widest_p90_stands() -> None:
    state = taught(2.0)
    mixed = state.predict("sdxl", "", [Gpu("A", 3.0), Gpu("B", 1.0)], 10.0, 1.3)
    alone = state.predict("sdxl", "", [Gpu("A")], 10.0, 1.3)
    assert mixed.p50 == pytest.approx((3 * alone.p50 + 10) / 4)
    assert mixed.p90 == alone.p90


def test_a_gpu_too_small_for_the_job_has_no_say() -> None:
    state = taught(2.0, gpu="small")
    found = room.corrected(DEMAND, state, [Gpu("small", 1, 7_000), Gpu("large", 1, 9_000)], "sdxl", "")
    assert found.gpu_seconds == 10.0


@given(st.lists(st.floats(1, 1e12), max_size=60))
def test_a_predicted_peak_stays_within_its_bounds(peaks: list[float]) -> None:
    peak = Peak()
    for measured in peaks:
        peak = peak.learned(8e9, measured)
    assert room.LEAST_MEMORY <= peak.ratio <= room.MOST_MEMORY


def test_few_small_peaks_lower_nothing_yet() -> None:
    state = taught(1.0, runs=4)
    assert state.memory("sdxl", [Gpu("A")], 8_000) == 8_000
    assert taught(1.0, runs=40).memory("sdxl", [Gpu("A")], 8_000) < 8_000


@given(st.floats(1.05, 10))
def test_a_students_record_is_its_own_line_of_a_quote_that_adds_up(bias: float) -> None:
    found = price(room.with_bias(DEMAND, bias), DEFAULT_RATE)
    assert found.gpu_seconds == pytest.approx(10 * bias)
    assert sum(line.amount_milli for line in found.lines) == found.quote_milli
    assert "longer than estimated" in found.lines[-1].words


def test_the_state_survives_storing_and_a_copy_learns_apart() -> None:
    state = taught(1.5)
    again = Learned.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    again.copy().learn(Run("sdxl", "A", "", 5.0, 50.0))
    assert again == state
    assert Learned.from_json({}) == Learned()


def test_changes_are_told_of_each_pair_among_the_runs() -> None:
    runs = [Run("sdxl", "A", "", 6.0, 9.0), Run("flux1", "B", "", 6.0, 6.0)]
    large, none = room.changes(Learned(), taught(1.5), runs)
    assert (large.model_class, large.gpu, none.change) == ("sdxl", "A", 0)
    assert large.change == pytest.approx(0.5, rel=0.05)


def test_work_without_seconds_keeps_none() -> None:
    empty = replace(DEMAND, lines=(), gpu_seconds=0.0)
    assert room.corrected(empty, taught(2.0), [Gpu("A")], "sdxl", "").gpu_seconds == 0.0
