"""The line replayed over the fleet: when each waiting job would start if nobody joined or left. PURE.

Each GPU that falls free takes the best of what it can run, as the dispatcher would choose it (`matching`);
jobs take the time they were quoted. What comes later is not known here: `waits` corrects for it.
"""

import heapq
import math
from bisect import insort
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from marketplace.market import matching
from marketplace.market.matching import Abilities, Candidate

MOST_REPLAYED = 2000  # jobs; those behind are reckoned by the work ahead of them
HEADS = 8  # of each kind of job looked at by one pick


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that takes jobs. `free_seconds`: until what it holds has ended: 0 when it is idle, infinity
    when it is away."""

    name: str
    speed: float  # against the reference GPU
    abilities: Abilities
    free_seconds: float = 0.0
    model_bytes: Mapping[str, int] = field(default_factory=dict)  # of its resident models, where known


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in line. `gpus`: places, in the fleet, of the GPUs that could run it."""

    candidate: Candidate
    gpu_seconds: float  # on the reference GPU
    loading_seconds: float = 0.0  # of its model, where that isn't resident
    model_bytes: int = 0
    gpus: tuple[int, ...] = ()

    @property
    def place(self) -> tuple[int, int, str]:
        return self.candidate.queue_class, self.candidate.queue_key_ms, str(self.candidate.job_id)


@dataclass(frozen=True, slots=True)
class Start:
    """When and where a job starts, in seconds from now. `gpu` None: reckoned, not replayed."""

    seconds: float
    gpu: int | None
    ends_seconds: float


class Line:
    """Jobs in the order of the line, sorted by where they can run and what model they want, so that a pick
    looks at the head of each kind only."""

    def __init__(self, jobs: Iterable[Waiting] = ()) -> None:
        self._kinds: dict[tuple[tuple[int, ...], str], list[tuple[tuple[int, int, str], Waiting]]] = {}
        self._kinds_of: dict[int, list[list[tuple[tuple[int, int, str], Waiting]]]] = {}
        for job in sorted(jobs, key=lambda job: job.place):
            self._kind(job).append((job.place, job))

    def __iter__(self) -> Iterator[Waiting]:
        """In order."""
        return (job for _place, job in heapq.merge(*self._kinds.values(), key=lambda pair: pair[0]))

    def add(self, job: Waiting) -> None:
        """Insert a job at its place."""
        insort(self._kind(job), (job.place, job), key=lambda pair: pair[0])

    def remove(self, job: Waiting) -> None:
        """Take a job out. Raises ValueError when it isn't there."""
        self._kind(job).remove((job.place, job))

    def heads(self, gpu: int, depth: int = HEADS) -> list[Waiting]:
        """The first `depth` of each kind that this GPU could run, in no order."""
        return [job for kind in self._kinds_of.get(gpu, ()) for _place, job in kind[:depth]]

    def copy(self) -> "Line":
        """An independent line with the same jobs."""
        made = Line()
        for key, jobs in self._kinds.items():
            made._add_kind(key, list(jobs))
        return made

    def _kind(self, job: Waiting) -> list[tuple[tuple[int, int, str], Waiting]]:
        key = (job.gpus, job.candidate.model_key)
        return self._kinds[key] if key in self._kinds else self._add_kind(key, [])

    def _add_kind(
        self, key: tuple[tuple[int, ...], str], jobs: list[tuple[tuple[int, int, str], Waiting]]
    ) -> list[tuple[tuple[int, int, str], Waiting]]:
        self._kinds[key] = jobs
        for gpu in key[0]:
            self._kinds_of.setdefault(gpu, []).append(jobs)
        return jobs


class Residency:
    """Models in one GPU's memory, least lately used first; what doesn't fit any more leaves."""

    def __init__(self, total_bytes: int, held: Mapping[str, int] | None = None) -> None:
        self._total_bytes = total_bytes
        self._held = dict(held or {})

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self._held)

    def holds(self, model: str) -> bool:
        return model in self._held

    def use(self, model: str, size_bytes: int) -> None:
        """The model is loaded, or used again."""
        if not model:
            return
        self._held.pop(model, None)
        while self._held and sum(self._held.values()) + size_bytes > self._total_bytes:
            del self._held[next(iter(self._held))]
        self._held[model] = size_bytes

    def sizes(self) -> dict[str, int]:
        """Model → bytes."""
        return dict(self._held)


def best(line: Line, gpu: int, abilities: Abilities, depth: int = 1) -> list[Waiting]:
    """What the GPU would take of the line, best first, as far as `depth` shows."""
    heads = {job.candidate.job_id: job for job in line.heads(gpu, depth)}
    ordered = matching.ranked([job.candidate for job in heads.values()], abilities)
    return [heads[candidate.job_id] for candidate in ordered]


def starts(
    gpus: Sequence[Gpu], line: Line | Iterable[Waiting], *, until: Hashable = None, most: int = MOST_REPLAYED
) -> dict[Hashable, Start]:
    """Job id → its start; jobs that no GPU can run are left out. `until`: stop once this job has one. Takes
    O(n·k·log k) for n jobs of k kinds, and replays `most` of them at most."""
    waiting = line.copy() if isinstance(line, Line) else Line(line)
    found: dict[Hashable, Start] = {}
    stocks = [Residency(gpu.abilities.vram_total_bytes, _sizes(gpu)) for gpu in gpus]
    # Of several idle GPUs the fastest takes first, as the dispatcher goes through them.
    free = [
        (gpu.free_seconds, -gpu.speed, index) for index, gpu in enumerate(gpus) if gpu.free_seconds < math.inf
    ]
    heapq.heapify(free)
    while free and len(found) < most:
        at, order, index = heapq.heappop(free)
        gpu, stock = gpus[index], stocks[index]
        choice = best(waiting, index, replace(gpu.abilities, resident_models=stock.models))
        if not choice:
            continue  # nothing it could run is left, and nothing joins
        job = choice[0]
        ends = at + seconds_on(gpu.speed, job, resident=stock.holds(job.candidate.model_key))
        stock.use(job.candidate.model_key, job.model_bytes)
        waiting.remove(job)
        found[job.candidate.job_id] = Start(at, index, ends)
        if job.candidate.job_id == until:
            return found
        heapq.heappush(free, (ends, order, index))
    if free:
        _reckon(gpus, [at for at, _order, _index in free], waiting, found)
    return found


def seconds_on(speed: float, job: Waiting, *, resident: bool) -> float:
    """How long the job holds a GPU of this speed."""
    return (job.gpu_seconds + (0.0 if resident else job.loading_seconds)) / speed


def _sizes(gpu: Gpu) -> dict[str, int]:
    return {model: gpu.model_bytes.get(model, 0) for model in gpu.abilities.resident_models}


def _reckon(gpus: Sequence[Gpu], free: Sequence[float], waiting: Line, found: dict[Hashable, Start]) -> None:
    """Far behind, a job starts when the work ahead of it is done by all GPUs together."""
    at, speed = max(free), sum(gpu.speed for gpu in gpus)
    for job in waiting:
        if not job.gpus:
            continue
        ends = at + seconds_on(gpus[job.gpus[0]].speed, job, resident=True)
        found[job.candidate.job_id] = Start(at, None, ends)
        at += job.gpu_seconds / speed
