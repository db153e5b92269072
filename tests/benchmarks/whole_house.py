"""A throw-away installation, as `make run` starts it, that runs one student's jobs one after another."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from marketplace.quickstart import ports
from marketplace.quickstart.house import House
from marketplace.quickstart.logins import DEMO_PASSWORD
from marketplace.quickstart.options import Options
from marketplace.quickstart.supervisor import Supervisor
from tests.factories.workflows import a_sketch

WARM_UP = 3
JOBS = 20
POLL_SECONDS = 0.015
PATIENCE_SECONDS = 60.0

_TIMES = """
SELECT extract(epoch FROM t.execution_started_at)::float, t.executing_ms
FROM jobs_attempt t WHERE t.job_id = %s AND t.outcome = 'succeeded'
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """One job, in milliseconds."""

    submit_to_execution_ms: float  # order sent → ComfyUI's execution_start
    end_to_visible_ms: float  # ComfyUI's end → the student's API shows the artifact


def timings(jobs: int = JOBS) -> list[Timing]:
    """Start a house, run jobs on its idle agent, stop it."""
    with tempfile.TemporaryDirectory(prefix="market-bench-") as folder:
        environment = {
            "DATA_DIR": folder,
            "WEB_BIND": f"127.0.0.1:{ports.free_port()}",
            "SIMULATOR_SPEED": "20",
        }
        house = House(Options.from_environment(environment), _say)
        found: list[Timing] = []
        try:
            house.prepare()
            supervisor = Supervisor(house.children(), house.stores, _say)

            async def measure() -> int:
                found.extend(await _run_jobs(house, jobs))
                return 0

            asyncio.run(supervisor.run(measure))
        finally:
            house.stop()
    return found


def result(name: str, values: list[float], goal: float) -> dict[str, Any]:
    """One line of `make bench`: the median against its goal, in milliseconds."""
    p50 = statistics.median(values)
    return {
        "name": name,
        "value": round(p50, 1),
        "unit": "ms p50",
        "reference": None,
        "ratio": None,
        "goal": goal,
        "met": p50 <= goal,
        "p95": round(statistics.quantiles(values, n=20)[-1], 1),
        "samples": len(values),
    }


async def _run_jobs(house: House, jobs: int) -> list[Timing]:
    async with httpx.AsyncClient(base_url=house.options.web.url, trust_env=False, timeout=30) as client:
        await _until(lambda: _ready(client), "the site")
        answer = await client.post("/api/v1/token", json={"username": "student", "password": DEMO_PASSWORD})
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        await _until(lambda: _can_quote(client), "an agent")
        with psycopg.connect(house.environment["DATABASE_URL"], autocommit=True) as database:
            times = [await _one_job(client, database, seed) for seed in range(WARM_UP + jobs)]
    return times[WARM_UP:]


async def _one_job(client: httpx.AsyncClient, database: psycopg.Connection, seed: int) -> Timing:
    quote = (await _quote(client, seed)).raise_for_status().json()
    sent_at = time.time()
    answer = await client.post(
        "/api/v1/jobs", json={"quote": quote["id"]}, headers={"Idempotency-Key": f"bench-{seed}"}
    )
    job_id = answer.raise_for_status().json()["id"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        job = (await client.get(f"/api/v1/jobs/{job_id}")).raise_for_status().json()
        seen_at = time.time()
        if job["artifacts"]:
            break
        if job["status"] in ("failed", "cancelled") or time.monotonic() > deadline:
            raise RuntimeError(f"job {job_id} is {job['status']}: {job['message']}")
        await asyncio.sleep(POLL_SECONDS)
    row = database.execute(_TIMES, [job_id]).fetchone()
    assert row is not None
    started_at, executing_ms = row
    return Timing(
        submit_to_execution_ms=(started_at - sent_at) * 1000,
        end_to_visible_ms=(seen_at - started_at) * 1000 - executing_ms,
    )


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).is_success
    except httpx.TransportError:
        return False  # not listening yet


async def _can_quote(client: httpx.AsyncClient) -> bool:
    return (await _quote(client, 0)).is_success


async def _quote(client: httpx.AsyncClient, seed: int) -> httpx.Response:
    workflow = a_sketch(steps=15)
    workflow["3"]["inputs"]["seed"] = seed  # nothing comes from ComfyUI's cache
    return await client.post("/api/v1/quotes", json={"workflow": workflow, "title": f"bench {seed}"})


async def _until(question: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await question():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} was not there within {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.2)


def _say(name: str, line: str) -> None:
    if os.environ.get("BENCH_LOG"):
        print(f"{name:>12} | {line}", file=sys.stderr, flush=True)
