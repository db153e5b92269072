"""A class at work in a running house: twenty scripted students, an instructor at the levers, accidents."""

import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from tests.fakes.students import CLASS, ENDED, SD15, SDXL, GaveUp, Student, picture, until
from tests.polling import poll
from tests.stack.conftest import REPOSITORY, RunningHouse

Act = Callable[[], Awaitable[object]]
Words = dict[str, Any]
WAITING = frozenset({"queued", "held_back"})
LADDER = (1, 1, 1, 2, 2, 4)
MOST_JOBS = 3  # of a student at a time
LOOK_SECONDS = 1.5
PAGE_SHARE = 0.2  # of the times somebody looks, also at the page
NO_REASON = "The line is being looked at."  # what a page says when it knows none
LAST_JOBS_SECONDS = 300.0
REBIRTH_SECONDS = 60.0
# The longest film of the class fits the largest GPU alone.
WORKFLOWS: tuple[Words, ...] = (
    {"model": SD15, "size": 512},
    {"model": SD15, "size": 512},
    {"model": SDXL, "size": 1024},
    {"model": SDXL, "size": 2048},
)


@dataclass
class ClassReport:
    """What the class saw."""

    orders: Counter[str] = field(default_factory=Counter)  # by the answer's status
    ends: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    looks: int = 0
    pages: int = 0
    unexplained: list[str] = field(default_factory=list)  # waits without a position or a reason
    unended: list[str] = field(default_factory=list)
    proof: Words = field(default_factory=dict)


class Instructor:
    """Talks to the process at the levers."""

    def __init__(self, house: RunningHouse) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.market.instructor"],
            cwd=REPOSITORY, env=house.child("run_market").environ(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def do(self, act: str, **words: Any) -> Any:
        """What came of it. Raises RuntimeError with the refusal."""
        answer = await asyncio.to_thread(self._say, {"act": act, **words})
        if "error" in answer:
            raise RuntimeError(f"{act}: {answer['error']}")
        return answer["done"]

    def _say(self, command: Words) -> Words:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            with contextlib.suppress(ValueError):  # a log line
                answer: Words = json.loads(line)
                if set(answer) & {"done", "error"}:
                    return answer
        raise RuntimeError("the instructor left")

    def leave(self) -> None:
        self._process.kill()
        self._process.communicate()


def hold(house: RunningHouse, seconds: float) -> ClassReport:
    """Let the class work for so long, wait for its last jobs, and prove what is left."""
    report = ClassReport()
    instructor = Instructor(house)
    try:
        asyncio.run(_Class(house, instructor, report, seconds).hold())
    finally:
        instructor.leave()
    return report


class _Class:
    def __init__(
        self, house: RunningHouse, instructor: Instructor, report: ClassReport, seconds: float
    ) -> None:
        self._house = house
        self._instructor = instructor
        self._report = report
        self._seconds = seconds
        self._over = asyncio.Event()

    async def hold(self) -> None:
        async with asyncio.TaskGroup() as people:
            for number, name in enumerate(CLASS):
                people.create_task(self._attend(name, random.Random(number)))
            await self._teach()
            self._over.set()
        self._report.proof = await self._instructor.do("proof")

    # --- students ------------------------------------------------------------------------

    async def _attend(self, name: str, chance: random.Random) -> None:
        mine: dict[str, str] = {}  # job → status last seen
        async with Student(self._house.url, name) as student:
            await self._pause(chance.uniform(0, 3))
            while not self._over.is_set():
                if len(mine) < MOST_JOBS:
                    await self._order(student, chance, mine)
                await self._look(student, mine)
                if mine and chance.random() < PAGE_SHARE:
                    await self._read_page(student, chance.choice(list(mine)))
                if mine and chance.random() < 0.02:
                    await student.cancel(chance.choice(list(mine)))
                await self._pause(LOOK_SECONDS * chance.uniform(0.7, 1.3))
            try:
                await until(lambda: self._all_ended(student, mine), f"{name}'s last jobs", LAST_JOBS_SECONDS)
            except GaveUp:
                self._report.unended += [f"{name}: {job} is {status}" for job, status in mine.items()]

    async def _order(self, student: Student, chance: random.Random, mine: dict[str, str]) -> None:
        graph = picture(chance.randrange(2**31), chance.randint(20, 60), **chance.choice(WORKFLOWS))
        try:
            quote = await student.quote(graph, f"Frame {chance.randint(1, 99)}")
        except httpx.HTTPStatusError as refused:
            self._report.refusals.append(str(refused))
            return
        answer = await student.order(quote, chance.choice(LADDER))
        if answer.status_code == 400 and answer.json()["code"] == "bad_bid":
            answer = await student.order(quote)  # only the market takes bids
        self._report.orders[str(answer.status_code)] += 1
        if answer.is_success:
            mine[answer.json()["id"]] = "queued"
        else:
            self._report.refusals.append(answer.text[:200])

    async def _look(self, student: Student, mine: dict[str, str]) -> None:
        for job_id in list(mine):
            job = await student.job(job_id)
            self._report.looks += 1
            mine[job_id] = job["status"]
            if not _explained(job):
                self._report.unexplained.append(f"{student.name}: {json.dumps(job)[:400]}")
            if job["status"] in ENDED:
                self._report.ends[job["status"]] += 1
                del mine[job_id]

    async def _read_page(self, student: Student, job_id: str) -> None:
        page = await student.page(f"/jobs/{job_id}")
        self._report.pages += 1
        state = re.search(r'data-state="(\w+)"', page)
        placed = "place__n" in page or NO_REASON not in page
        if state is None or (state[1] in WAITING and not placed):
            self._report.unexplained.append(f"{student.name}: the page of job {job_id}")

    async def _all_ended(self, student: Student, mine: dict[str, str]) -> bool:
        await self._look(student, mine)
        return not mine

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    # --- the lesson ----------------------------------------------------------------------

    async def _teach(self) -> None:
        """Each act at its share of the time; a share of 1 is the end."""
        loop = asyncio.get_running_loop()
        begins = loop.time()
        for share, name, act in self._plan():
            await asyncio.sleep(max(0.0, begins + share * self._seconds - loop.time()))
            try:
                await act()
                self._report.acts[name] += 1
            except (RuntimeError, GaveUp) as refused:
                self._report.refusals.append(str(refused))
                self._report.acts[f"{name} refused"] += 1
        await asyncio.sleep(max(0.0, begins + self._seconds - loop.time()))

    def _plan(self) -> list[tuple[float, str, Act]]:
        do = self._instructor.do
        plan: list[tuple[float, str, Act]] = [
            (0.00, "fund", lambda: do("fund")),
            (0.05, "switch", lambda: do("switch", policy="market")),
            (0.07, "rebid", lambda: do("rebid", multiple=4)),
            (0.08, "rebid", lambda: do("rebid", multiple=1)),
            (0.10, "freeze", lambda: do("freeze", frozen=True)),
            (0.13, "thaw", lambda: do("freeze", frozen=False)),
            (0.15, "kill market", lambda: self._kill("run_market", 0)),
            (0.22, "pause", lambda: do("pause", reason="Listen, please")),
            (0.27, "resume", lambda: do("pause", reason="")),
            (0.30, "demo", self._show),
            (0.33, "switch", lambda: do("switch", policy="round_robin")),
            (0.36, "kill agent", lambda: self._kill("gpu_agent --", 0)),
            (0.42, "switch", lambda: do("switch", policy="fifo")),
            (0.46, "front", lambda: do("front")),
            (0.50, "demo", self._show),
            (0.54, "drain", lambda: do("drain", number=1, wanted=True)),
            (0.60, "resume agent", lambda: do("drain", number=1, wanted=False)),
            (0.63, "kill market", lambda: self._kill("run_market", 0)),
            (0.68, "switch", lambda: do("switch", policy="priority")),
            (0.72, "stop", lambda: do("stop")),
            (0.76, "kill agent", lambda: self._kill("gpu_agent --", 2)),
            (0.82, "switch", lambda: do("switch", policy="fair_share")),
            (0.86, "pause", lambda: do("pause", reason="Two minutes of quiet")),
            (0.90, "resume", lambda: do("pause", reason="")),
            (0.93, "demo", self._show),
            (0.96, "switch", lambda: do("switch", policy="market")),
            (0.98, "rebid", lambda: do("rebid", multiple=2)),
        ]
        return plan

    async def _show(self) -> None:
        """A demo of the instructor's, ahead of everybody."""
        async with Student(self._house.url, "instructor") as instructor:
            quote = await instructor.quote(picture(random.randrange(2**31), 30), "Shown to the class")
        await self._instructor.do("demo", quote=quote)

    async def _kill(self, words: str, number: int) -> None:
        await asyncio.to_thread(_kill_and_wait_for_its_successor, self._house, words, number)


def _explained(job: Words) -> bool:
    """Whether the student sees where the job stands or why."""
    if job["status"] in WAITING:
        place = job["position"]
        return bool(job["wait_reason"]) or (place is not None and place["position"] >= 1)
    if job["status"] in ENDED:
        return job["status"] != "failed" or bool(job["cause"] and job["message"])
    return bool(job["agent"])


def _kill_and_wait_for_its_successor(house: RunningHouse, words: str, number: int) -> None:
    victims = _processes(house, words)
    victims[number % len(victims)].kill()
    poll(lambda: len(_processes(house, words)) == len(victims), REBIRTH_SECONDS, f"a new {words}")


def _processes(house: RunningHouse, words: str) -> list[psutil.Process]:
    """Living ones below the house's runner with these words in their command lines."""
    found = []
    for child in house.runner.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline()) + " --"
            if words in line and "simulator" not in line and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found
