"""The statement page of a student with 10,000 lines in a ledger of a million entries."""

import os
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import ledger_ground

GOAL_MS = 50.0
ENTRIES = int(os.environ.get("LEDGER_BENCH_ENTRIES", "1000000"))
LINES = 10_000
VISITS = 200


def run() -> Iterator[dict[str, Any]]:
    yield from ledger_ground.apart(__name__)


def measure() -> Iterator[dict[str, Any]]:
    from django.conf import settings
    from django.test import Client

    from accounts.models import User

    lines = min(LINES, ENTRIES // 4)
    _account, user_id = ledger_ground.big_ledger(ENTRIES, lines)
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(pk=user_id))
    chance = random.Random(1)
    times = []
    for visit in range(VISITS):
        # Every other visit is somewhere deep in the history.
        page = {"before": chance.randrange(60, lines)} if visit % 2 else {}
        began = time.perf_counter()
        answer = client.get("/statement", page)
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.status_code
    p95 = statistics.quantiles(times, n=20)[-1]
    yield {
        "name": "statement_1m",
        "value": round(p95, 1),
        "unit": f"ms p95, {ENTRIES} entries",
        "reference": round(statistics.median(times), 1),
        "ratio": None,
        "goal": GOAL_MS,
        "met": p95 <= GOAL_MS,
    }


if __name__ == "__main__":
    ledger_ground.lay_ground()
    ledger_ground.print_lines(measure())
