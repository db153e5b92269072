"""How long the slowest of 2,000 damaged graphs takes to be refused or priced."""

import contextlib
import json
import random
import time
from collections.abc import Iterable
from typing import Any

from jobs.job_types.base import Refusal
from marketplace.pricing.quote import price
from marketplace.pricing.rates import DEFAULT_RATE
from tests.jobs.job_types.comfyui.graphs import COMFYUI, around
from tests.jobs.job_types.comfyui.mutants import mutated, originals

MUTANTS = 2_000
GOAL_MS = 50.0


def run() -> Iterable[dict[str, Any]]:
    """One dict a figure: name, value, unit, reference, ratio, goal, met."""
    chance, told = random.Random(1), around()
    slowest_ms = 0.0
    for _ in range(MUTANTS):
        body = json.dumps(mutated(chance.choice(originals()), chance)).encode()
        began = time.perf_counter()
        with contextlib.suppress(Refusal):  # a refusal is an answer too, and is timed like a price
            price(COMFYUI.demand(COMFYUI.check(COMFYUI.parse(body), told)), DEFAULT_RATE)
        slowest_ms = max(slowest_ms, 1000 * (time.perf_counter() - began))
    yield {
        "name": "mutants_quote",
        "value": round(slowest_ms, 2),
        "unit": f"ms, slowest of {MUTANTS:,}",
        "reference": None,
        "ratio": None,
        "goal": f"<= {GOAL_MS:g} ms",
        "met": slowest_ms <= GOAL_MS,
    }
