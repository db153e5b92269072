"""What the worst of a zoo of hostile files costs until it is refused or priced: seconds, peak memory."""

import contextlib
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

from jobs.job_types.base import Refusal
from marketplace.pricing.quote import price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui import hostile
from tests.jobs.job_types.comfyui.graphs import COMFYUI, around

GOAL_SECONDS = 1.0
GOAL_BYTES = 100e6


def quoted(body: bytes) -> None:
    with contextlib.suppress(Refusal):  # a refusal is an answer too
        price(COMFYUI.demand(COMFYUI.check(COMFYUI.parse(body), around())), DEFAULT_RATE)


def seconds_of(body: bytes) -> float:
    began = time.perf_counter()
    quoted(body)
    return time.perf_counter() - began


def peak_bytes(body: bytes) -> int:
    """Beyond the file itself, which is in memory before anybody looks at it."""
    tracemalloc.start()
    try:
        quoted(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure: name, value, unit, reference, ratio, goal, met."""
    bodies = {make.__name__: make() for make in hostile.FILES}
    slowest, name = max((seconds_of(body), name) for name, body in bodies.items())
    largest, what = max((peak_bytes(body), name) for name, body in bodies.items())
    yield _figure(
        "hostile_files_time",
        round(slowest, 3),
        f"s ({name})",
        f"<= {GOAL_SECONDS:g} s",
        slowest <= GOAL_SECONDS,
    )
    yield _figure(
        "hostile_files_memory",
        round(largest / 1e6, 1),
        f"MB ({what})",
        f"<= {GOAL_BYTES / 1e6:g} MB",
        largest <= GOAL_BYTES,
    )


def _figure(name: str, value: float, unit: str, goal: str, met: bool) -> dict[str, Any]:
    unit = f"{unit}, worst of {len(hostile.FILES)} files"
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None,
        "ratio": None,
        "goal": goal,
        "met": met,
    }
