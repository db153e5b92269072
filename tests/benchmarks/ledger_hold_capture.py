"""Hold and capture through the Python door against a bare INSERT: one client, and eight on 1,000 accounts."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks import ledger_ground

ONE_CLIENT, EIGHT_CLIENTS = 0.35, 0.22  # of the floor: goals of ledger.md, section 8


def run() -> Iterator[dict[str, Any]]:
    yield from ledger_ground.apart(__name__)


def measure() -> Iterator[dict[str, Any]]:
    accounts = ledger_ground.pool_accounts(1_000)
    yield ledger_ground.compare("ledger_hold_capture", accounts[:1], 1, ONE_CLIENT)
    yield ledger_ground.compare("ledger_hold_capture_8", accounts, 8, EIGHT_CLIENTS)


if __name__ == "__main__":
    ledger_ground.lay_ground()
    ledger_ground.print_lines(measure())
