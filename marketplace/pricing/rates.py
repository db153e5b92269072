"""What a second of the reference GPU costs."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

SHARE_OF_CAPACITY = Fraction(8, 10)  # of all GPU time that all allowances together can buy


class NoCapacity(ValueError):
    """There are no GPUs, or no students, to make a price from."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A price list's version. Every quote names the version it was made with."""

    version: int
    milli_per_gpu_second: int | Fraction

    def __post_init__(self) -> None:
        if self.milli_per_gpu_second <= 0:
            raise ValueError("a second of GPU time costs more than nothing")


# 100 students with 10 credits an hour on about three reference GPUs.
DEFAULT_RATE = Rate(version=1, milli_per_gpu_second=110)


def base_rate(version: int, students: int, allowance_milli: int, gpu_speeds: Iterable[float]) -> Rate:
    """The base price of a class: its hourly allowances (milli-credits each) buy 80 % of an hour of its GPUs
    (speeds against the reference GPU). A whole number of milli-credits, at least one. Raises `NoCapacity`."""
    speed = sum((Fraction(each).limit_denominator(1000) for each in gpu_speeds), Fraction(0))
    if speed <= 0 or students <= 0 or allowance_milli <= 0:
        raise NoCapacity("A base price needs students with an allowance, and GPUs.")
    exact = Fraction(students * allowance_milli) / (3600 * speed * SHARE_OF_CAPACITY)
    return Rate(version, max(1, round(exact)))
