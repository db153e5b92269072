"""What is learned of how far the replay is off."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from marketplace.market import waits
from marketplace.market.waits import FIRST_GUESS, Quantiles

quantiles = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(lambda three: Quantiles(*sorted(three)))


@given(quantiles, st.floats(0, 1e5), st.floats(0, 1e7))
def test_the_quantiles_stay_in_order(known: Quantiles, replayed: float, actual: float) -> None:
    after = waits.learned(known, replayed, actual)
    assert after.low <= after.middle <= after.high
    assert after.count == known.count + 1


@given(quantiles, st.floats(0, 1e5))
def test_an_interval_holds_its_middle_and_never_reaches_into_the_past(known: Quantiles, at: float) -> None:
    low, high = waits.interval(known, at)
    assert 0 <= low <= waits.middle(known, at) <= high + 1e-6
    assert high >= waits.LEAST_HIGH_SECONDS


def test_after_many_starts_eight_in_ten_fall_within() -> None:
    chance, known, inside = random.Random(3), FIRST_GUESS, 0
    for turn in range(4000):
        replayed = chance.uniform(0, 600)
        actual = (replayed + waits.SMOOTH_SECONDS) * math.exp(chance.gauss(0.8, 0.5)) - waits.SMOOTH_SECONDS
        low, high = waits.interval(known, replayed)
        inside += turn >= 2000 and low <= actual <= high
        known = waits.learned(known, replayed, actual)
    assert 0.75 <= inside / 2000 <= 0.85


def test_one_wild_wait_moves_the_bound_a_step_only() -> None:
    once = waits.learned(Quantiles(-0.5, 0.3, 1.0, count=500), 1.0, 1e9)
    assert once.high - 1.0 <= waits.LAST_STEP
