"""ComfyUI's end of execution → the student's API shows the artifact."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks import whole_house

GOAL_MS = 400.0


def run() -> Iterator[dict[str, Any]]:
    """Median over one student's jobs, one after another."""
    values = [timing.end_to_visible_ms for timing in whole_house.timings()]
    yield whole_house.result("end_to_visible", values, GOAL_MS)
