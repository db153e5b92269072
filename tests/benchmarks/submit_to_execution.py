"""Order sent → ComfyUI's execution_start, on an idle agent."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks import whole_house

GOAL_MS = 250.0


def run() -> Iterator[dict[str, Any]]:
    """Median over one student's jobs, one after another."""
    values = [timing.submit_to_execution_ms for timing in whole_house.timings()]
    yield whole_house.result("submit_to_execution", values, GOAL_MS)
