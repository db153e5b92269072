"""Eight processes hold and capture on one pool, against bare INSERTs through the same cursors."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks import ledger_ground

GOAL = 0.12  # of the floor: ledger.md, section 8


def run() -> Iterator[dict[str, Any]]:
    yield from ledger_ground.apart(__name__)


def measure() -> Iterator[dict[str, Any]]:
    yield ledger_ground.compare("ledger_hot_account", ledger_ground.pool_accounts(1), 8, GOAL)


if __name__ == "__main__":
    ledger_ground.lay_ground()
    ledger_ground.print_lines(measure())
