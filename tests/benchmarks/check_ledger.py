"""The proof of a ledger of a million entries."""

import os
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import ledger_ground

GOAL_SECONDS = 20.0
ENTRIES = int(os.environ.get("LEDGER_BENCH_ENTRIES", "1000000"))


def run() -> Iterator[dict[str, Any]]:
    yield from ledger_ground.apart(__name__)


def measure() -> Iterator[dict[str, Any]]:
    from accounts.ledger import audit

    ledger_ground.big_ledger(ENTRIES, min(10_000, ENTRIES // 4))
    began = time.perf_counter()
    found = audit.findings()
    took = time.perf_counter() - began
    assert found == [], found
    yield {
        "name": "check_ledger",
        "value": round(took, 2),
        "unit": f"s, {ENTRIES} entries",
        "reference": None,
        "ratio": None,
        "goal": GOAL_SECONDS,
        "met": took <= GOAL_SECONDS,
    }


if __name__ == "__main__":
    ledger_ground.lay_ground()
    ledger_ground.print_lines(measure())
