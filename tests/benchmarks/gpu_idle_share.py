"""Two simulated GPUs, jobs of 3 to 10 s, twenty students for five minutes: do the GPUs ever stand idle?

The whole house as processes, the simulators at the reference GPU's own speed, so that every overhead is real.
Measured from the simulators' own execution logs. IDLE_SECONDS shortens it.
"""

import asyncio
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from marketplace.quickstart import ports
from marketplace.quickstart.house import House
from marketplace.quickstart.options import Options
from marketplace.quickstart.supervisor import Child, Supervisor
from tests.benchmarks.whole_house import _say
from tests.fakes.students import CLASS, ENDED, Student, picture, until

SECONDS = float(os.environ.get("IDLE_SECONDS") or 300)
GOAL_SHARE_PERCENT = 98.0
GOAL_GAP_MS = 50.0
LANES = 2  # jobs a student has in the market at a time
LOOK_SECONDS = 3.0
SHORTEST_SECONDS, LONGEST_SECONDS = 3.0, 10.0
STEP_SECONDS, OTHER_SECONDS = 0.0664, 0.1  # of SD 1.5 at 512² on the reference GPU

# Every attempt's prompt, and from when on its job waited: placed, or back in line.
_WAITS = """
SELECT t.prompt_id::text, extract(epoch FROM max(e.at))::float
FROM jobs_attempt t JOIN jobs_jobevent e ON e.job_id = t.job_id
WHERE e.kind IN ('placed', 'requeued', 'admitted') AND e.at <= t.created_at
GROUP BY t.id, t.prompt_id
UNION ALL
SELECT '', extract(epoch FROM created_at)::float FROM jobs_job WHERE status IN ('queued', 'held_back')
"""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Run:
    """A prompt on one GPU, in seconds of this machine's monotonic clock."""

    prompt_id: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What the two GPUs did while work waited."""

    share_percent: float
    gaps_ms: list[float]
    jobs: int


def run() -> Iterator[dict[str, Any]]:
    """The share of the time in which GPUs execute while work waits, and the gap between their jobs."""
    found = measure(SECONDS)
    gap_ms = statistics.median(found.gaps_ms)
    yield _result(
        "gpu_idle_share", found.share_percent, "% of the time executing", GOAL_SHARE_PERCENT,
        found.share_percent >= GOAL_SHARE_PERCENT,
    )  # fmt: skip
    yield _result("gpu_gap", gap_ms, "ms p50 between jobs", GOAL_GAP_MS, gap_ms <= GOAL_GAP_MS)


def measure(seconds: float) -> Findings:
    """Start a house with two GPUs and its class, let them work, stop it."""
    with tempfile.TemporaryDirectory(prefix="market-bench-") as folder:
        wishes = {"DATA_DIR": folder, "WEB_BIND": f"127.0.0.1:{ports.free_port()}", "AGENTS": "24,24"}
        house = House(Options.from_environment(wishes), _say)
        found: list[Findings] = []
        try:
            house.prepare()
            children = house.children()

            async def work() -> int:
                found.append(await _class_time(house, children, seconds))
                return 0

            asyncio.run(Supervisor(children, house.stores, _say).run(work))
        finally:
            house.stop()
    return found[0]


async def _class_time(house: House, children: Iterable[Child], seconds: float) -> Findings:
    url = house.options.web.url
    simulators = [_address(child) for child in children if child.name.endswith("-sim")]
    async with asyncio.TaskGroup() as lessons:
        await until(lambda: _is_ready(url), "the site was not ready")
        lanes = [
            lessons.create_task(_lane(url, name, CLASS.index(name) * LANES + lane))
            for name in CLASS
            for lane in range(LANES)
        ]
        await until(lambda: _all_work(simulators), "the GPUs did not begin")
        begins = time.monotonic()
        await asyncio.sleep(seconds)
        ends = time.monotonic()
        runs = [await _runs(simulator, ends) for simulator in simulators]
        waits = _waits(house.environment["DATABASE_URL"], runs, ends)
        for lane in lanes:
            lane.cancel()
    return findings(runs, waits, (begins, ends))


def findings(gpus: list[list[Run]], waits: list[Span], window: Span) -> Findings:
    """`waits`: when somebody's job waited, apart from each other."""
    waiting = [span for span in (_common(one, window) for one in waits) if span[1] > span[0]]
    waited = sum(end - begin for begin, end in waiting)
    busy = sum(
        max(0.0, min(run.ended, end) - max(run.began, begin))
        for runs in gpus
        for run in runs
        for begin, end in waiting
    )
    gaps_ms = [
        1000 * (later.began - sooner.ended)
        for runs in gpus
        for sooner, later in itertools.pairwise(runs)
        if any(begin <= sooner.ended and later.began <= end for begin, end in waiting)
    ]
    return Findings(100 * busy / (len(gpus) * waited), gaps_ms, sum(map(len, gpus)))


# --- the class -----------------------------------------------------------------------------------


async def _lane(url: str, name: str, number: int) -> None:
    """One student's jobs, one after another, for ever."""
    chance = random.Random(number)
    async with Student(url, name) as student:
        await until(lambda: _can_quote(student), f"{name} got no price")
        turn = 0
        while True:
            turn += 1
            wanted = chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
            graph = picture(number * 1000 + turn, round((wanted - OTHER_SECONDS) / STEP_SECONDS))
            answer = await student.order(await student.quote(graph, f"{name} {turn}"))
            job = str(answer.raise_for_status().json()["id"])
            while (await student.job(job))["status"] not in ENDED:
                await asyncio.sleep(LOOK_SECONDS * chance.uniform(0.8, 1.2))


async def _can_quote(student: Student) -> bool:
    words = {"workflow": picture(0, 20), "title": "first look"}
    return (await student.ask("POST", "/api/v1/quotes", json=words)).is_success


async def _is_ready(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        try:
            return (await client.get("/health/ready")).is_success
        except httpx.TransportError:
            return False  # not listening yet


# --- the GPUs ------------------------------------------------------------------------------------


def _address(simulator: Child) -> str:
    return f"http://127.0.0.1:{simulator.command[simulator.command.index('--port') + 1]}"


async def _all_work(simulators: list[str]) -> bool:
    """Each has one job behind it: its model is loaded."""
    now = time.monotonic()
    return all([len(await _runs(simulator, now)) >= 2 for simulator in simulators])


async def _runs(simulator: str, now: float) -> list[Run]:
    async with httpx.AsyncClient(base_url=simulator, trust_env=False) as client:
        try:
            told = (await client.get("/simulated/executions")).raise_for_status().json()
        except httpx.TransportError:
            return []  # not listening yet
    ran = told["executions"]
    return [Run(prompt_id, began, now if ended is None else ended) for prompt_id, began, ended in ran]


def _waits(database_url: str, gpus: list[list[Run]], ends: float) -> list[Span]:
    """From when a job was placed to when a GPU took it up, all jobs together."""
    began = {run.prompt_id: run.began for runs in gpus for run in runs}
    wall_to_monotonic = time.monotonic() - time.time()
    with psycopg.connect(database_url) as database:
        rows = database.execute(_WAITS).fetchall()
    return _united((since + wall_to_monotonic, began.get(prompt, ends)) for prompt, since in rows)


def _united(spans: Iterable[Span]) -> list[Span]:
    """The same time without overlaps."""
    united: list[Span] = []
    for begin, end in sorted(spans):
        if united and begin <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((begin, end))
    return united


def _common(one: Span, other: Span) -> Span:
    return max(one[0], other[0]), min(one[1], other[1])


def _result(name: str, value: float, unit: str, goal: float, met: bool) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 2), "unit": unit, "reference": None, "ratio": None,
        "goal": goal, "met": met,
    }  # fmt: skip
