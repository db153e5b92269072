"""Numbers as pages say them."""

from datetime import UTC, datetime

import pytest

from marketplace.web import numbers


@pytest.mark.parametrize(
    ("milli", "exact", "headline", "ceiling"),
    [
        (12_380, "12.38", "12.4", "12.4"),
        (12_310, "12.31", "12.3", "12.4"),
        (960, "0.96", "0.96", "0.96"),
        (1_250_270, "1,250.27", "1,250.3", "1,250.3"),
        (0, "0.00", "0.00", "0.00"),
    ],
)
def test_credits_have_two_decimals_in_tables_and_one_in_headlines(
    milli: int, exact: str, headline: str, ceiling: str
) -> None:
    assert numbers.credits_exact(milli) == exact
    assert numbers.credits_headline(milli) == headline
    assert numbers.credits_ceiling(milli) == ceiling


def test_changes_carry_their_sign() -> None:
    assert [numbers.credits_signed(milli) for milli in (1960, -12_380, 0)] == ["+1.96", "−12.38", "0.00"]


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (8, 42, "5–45 s"),
        (3.2, 4.9, "3–5 s"),
        (0, 0.4, "0–1 s"),
        (360, 830, "6–14 min"),
        (5, 5, "5 s"),
        (50, 130, "0–3 min"),
    ],
)
def test_a_wait_is_a_range(low_s: float, high_s: float, words: str) -> None:
    assert numbers.seconds_range(low_s, high_s) == words.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("interval", "words"),
    [(None, "when GPUs are free"), ((0, 30), "under 1\u00a0min"), ((60, 400), "1–7\u00a0min")],
)
def test_a_start_is_told_in_words(interval: tuple[float, float] | None, words: str) -> None:
    assert numbers.starts_in(interval) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.15, "0.15 s"),
        (2.04, "2.0 s"),
        (41.2, "41 s"),
        (461, "7 min 41 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_span_that_is_over_is_told_exactly(seconds: float, words: str) -> None:
    assert numbers.duration(seconds).replace("\u00a0", " ") == words


def test_sizes_have_units_that_never_break_off() -> None:
    assert numbers.memory(int(43.8 * 1024**3)) == "43.8\u00a0GB"
    sizes = [numbers.file_size(size) for size in (12, 830_000, 6_100_000, 2_500_000_000)]
    assert sizes == ["12\u00a0B", "830\u00a0kB", "6.1\u00a0MB", "2.50\u00a0GB"]


def test_a_time_of_today_is_a_clock_time_and_older_ones_say_their_day() -> None:
    now = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
    times = [
        datetime(2026, 3, 5, 9, 5, tzinfo=UTC),
        datetime(2026, 3, 4, 18, 42, tzinfo=UTC),
        datetime(2026, 2, 1, 8, 0, tzinfo=UTC),
    ]
    assert [numbers.moment(at, now) for at in times] == ["09:05", "yesterday 18:42", "1 Feb 08:00"]


def test_a_rate_shows_the_decimals_it_has() -> None:
    assert [numbers.credits_rate(milli) for milli in (110, 20, 125)] == ["0.11", "0.02", "0.125"]
