"""Prices in whole steps whose lines add up, and captures that never pass the ceiling."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.job_types.base import Demand, DemandLine
from marketplace.pricing import quote as q
from marketplace.pricing.rates import DEFAULT_RATE, NoCapacity, Rate, base_rate

SECONDS = st.floats(min_value=0, max_value=1e5, allow_nan=False)


def demand(*seconds: float, loading: float = 7.0, band: float = 1.5) -> Demand:
    lines = [DemandLine("Sample", str(n), "KSampler", s, f"{s} s") for n, s in enumerate(seconds)]
    lines.append(DemandLine("Load", "m", "CheckpointLoaderSimple", loading, "7 GB", loader=True))
    told: dict[str, Any] = {"vram_bytes": 1, "model_key": "", "model_class": "", "summary": ""}
    return Demand(tuple(lines), sum(seconds), loading, band=band, **told)


def test_a_price_is_seconds_times_rate_and_the_ceiling_a_quarter_more() -> None:
    priced = q.price(demand(3.0, 5.0), DEFAULT_RATE)
    assert (priced.quote_milli, priced.ceiling_milli) == (880, 1100)
    assert (priced.seconds_p50, priced.seconds_p90, priced.loading_seconds) == (8.0, 12.0, 7.0)
    assert priced.rate_version == DEFAULT_RATE.version


def test_loading_is_shown_and_free() -> None:
    line = q.price(demand(3.0), DEFAULT_RATE).lines[-1]
    assert (line.label, line.free, line.amount_milli) == ("Load", True, 0)


def test_even_nothing_costs_a_step() -> None:
    assert q.price(demand(0.0), DEFAULT_RATE).quote_milli == 10


@given(st.lists(SECONDS, min_size=1, max_size=40), st.integers(1, 10_000))
def test_lines_always_add_up_in_whole_steps(seconds: list[float], milli: int) -> None:
    priced = q.price(demand(*seconds), Rate(1, milli))
    assert sum(line.amount_milli for line in priced.lines) == priced.quote_milli
    assert all(line.amount_milli % 10 == 0 and line.amount_milli >= 0 for line in priced.lines)
    assert priced.quote_milli <= priced.ceiling_milli


@given(SECONDS, st.integers(0, 10**9), st.sampled_from([1, 1.37, Fraction(4, 3), 2, 4]))
def test_a_capture_never_passes_the_ceiling_at_its_multiplier(
    seconds: float, charged_ms: int, multiplier: Any
) -> None:
    priced = q.price(demand(seconds), DEFAULT_RATE)
    captured = q.settle(charged_ms, priced, multiplier)
    assert 0 <= captured <= q.ceiling_at(priced, multiplier)
    assert captured % 10 == 0


def test_a_job_pays_what_it_used_up_to_a_quarter_above_its_quote() -> None:
    priced = q.price(demand(8.0), DEFAULT_RATE)
    paid = {0: 0, 4000: 440, 8000: 880, 9000: 990, 10_000: 1100, 60_000: 1100}
    assert {ms: q.settle(ms, priced) for ms in paid} == paid
    assert q.settle(8000, priced, 2) == 1760


def test_a_job_is_stopped_at_three_times_its_quote() -> None:
    assert q.stop_after_ms(q.price(demand(8.0), DEFAULT_RATE)) == 24_000


@given(SECONDS, SECONDS)
def test_more_work_never_costs_less(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert q.price(demand(less), DEFAULT_RATE).quote_milli <= q.price(demand(more), DEFAULT_RATE).quote_milli


def test_the_base_rate_lets_all_allowances_buy_four_fifths_of_the_gpus() -> None:
    rate = base_rate(3, students=100, allowance_milli=10_000, gpu_speeds=[1.0, 0.45, 0.97, 0.75])
    assert (rate.version, rate.milli_per_gpu_second) == (3, 110)
    hour = 3600 * 3.17 * 0.8 * 110
    assert hour == pytest.approx(100 * 10_000, rel=0.01)


@pytest.mark.parametrize(("students", "speeds"), [(0, [1.0]), (10, []), (10, [0.0])])
def test_a_class_without_students_or_gpus_has_no_base_rate(students: int, speeds: list[float]) -> None:
    with pytest.raises(NoCapacity):
        base_rate(1, students, 10_000, speeds)


def test_a_rate_of_nothing_is_no_rate() -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        Rate(1, 0)
