"""Integer credits: one rounding rule, strict reading, honest writing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.ledger import credits


@given(st.fractions(min_value=-(10**9), max_value=10**9))
def test_rounding_gives_steps_on_the_right_side(value: Fraction) -> None:
    up, down, nearest = credits.round_up(value), credits.round_down(value), credits.round_nearest(value)
    assert up % credits.STEP_MILLI == down % credits.STEP_MILLI == nearest % credits.STEP_MILLI == 0
    assert down <= value <= up
    assert up - down in (0, credits.STEP_MILLI)
    assert abs(nearest - value) <= credits.STEP_MILLI / 2


def test_noise_of_floats_costs_no_step() -> None:
    assert credits.round_up(0.1 * 3 * 1000) == 300
    assert credits.round_up(300.001) == 310


def test_halves_round_away_from_zero() -> None:
    assert credits.round_nearest(15) == 20
    assert credits.round_nearest(-15) == -20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_what_is_no_number_of_credits_is_refused(value: float) -> None:
    with pytest.raises(credits.InvalidAmount):
        credits.round_up(value)


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("12.5", 12_500),
        (" 1,250.27 ", 1_250_270),
        ("0.01", 10),
        ("7", 7_000),
        ("3.100", 3_100),
        ("+2", 2_000),
    ],
)
def test_people_type_credits(text: str, milli: int) -> None:
    assert credits.parse_credits(text) == milli


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-5", "more than zero"),
        ("−5", "more than zero"),
        ("0", "more than zero"),
        ("0.00", "more than zero"),
        ("0.005", "finer than 0.01"),
        ("1" + "0" * 30, "more credits than"),
        ("NaN", "not a number"),
        ("inf", "not a number"),
        ("1e3", "not a number"),
        ("1,2", "not a number"),
        ("", "not a number"),
        ("٣", "not a number"),
        ("9" * 100, "too long"),
    ],
)
def test_what_can_not_be_posted_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(credits.InvalidAmount, match=why):
        credits.parse_credits(text)


@pytest.mark.parametrize("amount", [0, -10, 5, True, 10.0, "10", 10**30])
def test_an_amount_to_post_is_a_positive_number_of_steps(amount: object) -> None:
    with pytest.raises(credits.InvalidAmount):
        credits.check_amount(amount)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("milli", "places", "rounding", "text"),
    [
        (1_250_270, 2, "nearest", "1,250.27"),
        (-12_380, 2, "nearest", "−12.38"),
        (0, 2, "nearest", "0.00"),
        (12_380, 1, "up", "12.4"),
        (12_310, 1, "up", "12.4"),
        (12_380, 1, "down", "12.3"),
        (12_350, 1, "nearest", "12.4"),
        (-12_350, 1, "nearest", "−12.4"),
        (-40, 1, "nearest", "0.0"),
        (999_990, 0, "up", "1,000"),
        (10**16 + 10, 2, "nearest", "10,000,000,000,000.01"),
    ],
)
def test_credits_are_written_for_people(milli: int, places: int, rounding: str, text: str) -> None:
    assert credits.format_credits(milli, places, rounding=rounding) == text  # type: ignore[arg-type]


@given(st.integers(min_value=1, max_value=10**9))
def test_what_is_written_reads_the_same(steps: int) -> None:
    milli = steps * credits.STEP_MILLI
    assert credits.parse_credits(credits.format_credits(milli)) == milli
