"""Credits as integers: 1 credit is 1,000 milli-credits, and every posted amount is a multiple of 10 of them.

Pure. There is one rounding rule: amounts are multiples of `STEP_MILLI`, and a price or a ceiling goes up
to the next one. So two decimals always add up, and nobody is charged more precisely than a page can show.
"""

import math
import re
from fractions import Fraction
from typing import Literal

MILLI = 1000
STEP_MILLI = 10
MAX_MILLI = 10**13  # ten thousand million credits: sums of very many still fit the database's 64 bits

_NOISE = 10**6  # floats are read to a millionth of a milli-credit: 0.1 + 0.2 must not cost a step more
_AMOUNT = re.compile(r"\+?(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?", re.ASCII)
_LONGEST = 60


class InvalidAmount(ValueError):
    """An amount that is no positive, finite number of credits in steps of 0.01."""


def round_up(value: Fraction | int | float) -> int:
    """Milli-credits up to the next step: prices and ceilings. InvalidAmount if not finite, or too much."""
    return _checked(math.ceil(_exact(value) / STEP_MILLI) * STEP_MILLI)


def round_down(value: Fraction | int | float) -> int:
    """Milli-credits down to a step: what is given back or shown as a balance."""
    return _checked(math.floor(_exact(value) / STEP_MILLI) * STEP_MILLI)


def round_nearest(value: Fraction | int | float) -> int:
    """Milli-credits to the nearest step, halves away from zero: measured amounts."""
    steps = _exact(value) / STEP_MILLI
    nearest = math.floor(abs(steps) + Fraction(1, 2))
    return _checked((nearest if steps >= 0 else -nearest) * STEP_MILLI)


def check_amount(amount_milli: int) -> int:
    """The amount itself if it may be posted: positive, a multiple of the step, below the maximum."""
    if type(amount_milli) is not int:
        raise InvalidAmount(f"an amount is a whole number of milli-credits, not {amount_milli!r:.60}")
    if amount_milli <= 0:
        raise InvalidAmount("an amount must be more than zero")
    if amount_milli % STEP_MILLI:
        raise InvalidAmount("an amount can't be finer than 0.01 credits")
    return _checked(amount_milli)


def parse_credits(text: str) -> int:
    """Milli-credits of what a person typed ("12.5", "1,250.27"). InvalidAmount says what is wrong with it."""
    typed = text.strip()
    if len(typed) > _LONGEST:
        raise InvalidAmount("that is too long for a number of credits")
    if typed[:1] in ("-", "−"):
        raise InvalidAmount("an amount must be more than zero")
    match = _AMOUNT.fullmatch(typed)
    if match is None:
        raise InvalidAmount(f"{typed!r} is not a number of credits, as in 12.50")
    whole, decimals = match[1].replace(",", ""), (match[2] or "").rstrip("0")
    if len(decimals) > 2:
        raise InvalidAmount("an amount can't be finer than 0.01 credits")
    return check_amount(int(whole) * MILLI + int(decimals.ljust(3, "0")))


def format_credits(
    amount_milli: int, places: int = 2, *, rounding: Literal["nearest", "up", "down"] = "nearest"
) -> str:
    """Credits for people: "−1,250.27". `places` 0–3; ceilings are rounded up, balances down."""
    unit = 10 ** (3 - places)
    whole, rest = divmod(amount_milli, unit)
    if rounding == "up":
        whole += rest > 0
    elif rounding == "nearest":
        whole += 2 * rest >= unit if amount_milli >= 0 else 2 * rest > unit
    digits = f"{abs(whole) / 10**places:,.{places}f}" if abs(whole) < 2**53 else _long(abs(whole), places)
    return f"−{digits}" if whole < 0 else digits


def _long(units: int, places: int) -> str:
    whole, rest = divmod(units, 10**places)
    return f"{whole:,}.{rest:0{places}d}" if places else f"{whole:,}"


def _exact(value: Fraction | int | float) -> Fraction:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidAmount(f"{value} is not a number of credits")
        return Fraction(round(Fraction(value) * _NOISE), _NOISE)
    return Fraction(value)


def _checked(amount_milli: int) -> int:
    if abs(amount_milli) > MAX_MILLI:
        raise InvalidAmount("that is more credits than the ledger can post at once")
    return amount_milli
