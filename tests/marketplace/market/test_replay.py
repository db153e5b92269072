"""The line replayed over the fleet."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.market import replay
from marketplace.market.matching import GIB, Abilities, Candidate
from marketplace.market.replay import Gpu, Line, Residency, Start, Waiting

seconds = st.floats(0.5, 300)


def a_gpu(speed: float = 1.0, free_seconds: float = 0.0, resident: tuple[str, ...] = ()) -> Gpu:
    abilities = Abilities(24 * GIB, any_model=True, resident_models=resident)
    return Gpu("gpu", speed, abilities, free_seconds)


def waiting(
    number: int, key_ms: int = 0, work: float = 10.0, model: str = "", gpus: tuple[int, ...] = (0,)
) -> Waiting:
    candidate = Candidate(f"{number:04}", number, model, 1, key_ms)
    return Waiting(candidate, work, loading_seconds=5.0 if model else 0.0, model_bytes=GIB, gpus=gpus)


def begins(found: dict[object, Start]) -> list[float]:
    return [found[name].seconds for name in sorted(found, key=str)]


@st.composite
def lines(draw: st.DrawFn, gpus: int = 3) -> list[Waiting]:
    places = st.lists(st.integers(0, gpus - 1), min_size=1, unique=True).map(lambda one: tuple(sorted(one)))
    rows = draw(st.lists(st.tuples(st.integers(0, 10**6), seconds, places), max_size=25))
    return [waiting(number, key, work, gpus=where) for number, (key, work, where) in enumerate(rows)]


fleets = st.lists(st.builds(a_gpu, st.floats(0.2, 3), st.floats(0, 60)), min_size=3, max_size=3)


@given(fleets, lines())
def test_no_gpu_is_idle_while_a_job_it_could_run_waits(gpus: list[Gpu], jobs: list[Waiting]) -> None:
    found = replay.starts(gpus, jobs)
    assert len(found) == len(jobs)
    for job in jobs:
        start = found[job.candidate.job_id]
        for place in job.gpus:
            mine = sorted((one.seconds, one.ends_seconds) for one in found.values() if one.gpu == place)
            at = gpus[place].free_seconds
            for begin, end in mine:
                if begin >= start.seconds:
                    break
                assert begin == at
                at = end
            assert at >= start.seconds or math.isclose(at, start.seconds)


@given(fleets, lines())
def test_each_gpu_keeps_the_order_of_the_line(gpus: list[Gpu], jobs: list[Waiting]) -> None:
    found = replay.starts(gpus, jobs)
    for one in jobs:
        for other in jobs:
            if one.place < other.place and set(other.gpus) <= set(one.gpus):
                assert found[one.candidate.job_id].seconds <= found[other.candidate.job_id].seconds


@given(fleets, lines(), st.integers(0, 10**6), seconds)
def test_a_job_more_delays_nobody_ahead_of_it(
    gpus: list[Gpu], jobs: list[Waiting], key_ms: int, work: float
) -> None:
    newcomer = waiting(9999, key_ms, work, gpus=(0, 1, 2))
    before, after = replay.starts(gpus, jobs), replay.starts(gpus, [*jobs, newcomer])
    for job in jobs:
        if job.place < newcomer.place:
            assert after[job.candidate.job_id] == before[job.candidate.job_id]


@given(st.lists(st.floats(0, 60), min_size=1, max_size=4), st.lists(seconds, max_size=20), st.floats(1, 4))
def test_a_faster_or_larger_fleet_starts_nothing_later(
    free: list[float], works: list[float], speed: float
) -> None:
    every = tuple(range(len(free) + 1))
    jobs = [waiting(number, number, work, gpus=every) for number, work in enumerate(works)]
    gpus = [a_gpu(1.0, at) for at in free]
    slow = begins(replay.starts(gpus, [replace(job, gpus=every[:-1]) for job in jobs]))
    fast = begins(replay.starts([replace(gpu, speed=speed) for gpu in gpus], jobs))
    more = begins(replay.starts([*gpus, a_gpu()], jobs))
    assert all(new <= old + 1e-6 for new, old in zip(fast, slow, strict=True))
    assert all(new <= old + 1e-6 for new, old in zip(more, slow, strict=True))


def test_a_resident_model_is_worth_two_minutes_of_the_line() -> None:
    jobs = [waiting(1, 0, model="b"), waiting(2, 119_000, model="a"), waiting(3, 121_000, model="a")]
    found = replay.starts([a_gpu(resident=("a",))], jobs)
    assert begins(found) == [10.0, 0.0, 25.0]


def test_a_loaded_model_isnt_loaded_again() -> None:
    found = replay.starts([a_gpu()], [waiting(1, 1, model="a"), waiting(2, 2, model="a"), waiting(3, 3)])
    assert begins(found) == [0.0, 15.0, 25.0]


def test_of_idle_gpus_the_fastest_takes_the_first() -> None:
    found = replay.starts([a_gpu(0.5), a_gpu(2.0)], [waiting(1, gpus=(0, 1))])
    assert found["0001"] == Start(0.0, 1, 5.0)


def test_a_job_that_no_gpu_can_run_has_no_start() -> None:
    away = a_gpu(free_seconds=math.inf)
    assert replay.starts([away], [waiting(1)]) == {}
    assert replay.starts([a_gpu()], [waiting(1, gpus=())]) == {}


def test_behind_the_bound_starts_are_reckoned_from_the_work_ahead() -> None:
    jobs = [waiting(number, number) for number in range(8)]
    found = replay.starts([a_gpu()], jobs, most=3)
    assert begins(found) == [10.0 * number for number in range(8)]
    assert [found[name].gpu for name in sorted(found, key=str)] == [0] * 3 + [None] * 5


def test_the_replay_stops_at_the_job_asked_for_and_leaves_the_line_whole() -> None:
    line = Line([waiting(1, 1), waiting(2, 2), waiting(3, 3)])
    assert list(replay.starts([a_gpu()], line, until="0002")) == ["0001", "0002"]
    assert [job.candidate.job_id for job in line] == ["0001", "0002", "0003"]


def test_a_line_gives_and_takes_jobs_in_their_places() -> None:
    line = Line([waiting(1, 10), waiting(2, 30)])
    line.add(waiting(3, 20))
    line.remove(waiting(1, 10))
    assert [job.candidate.job_id for job in line] == ["0003", "0002"]
    with pytest.raises(ValueError, match="not in list"):
        line.remove(waiting(1, 10))


def test_the_least_lately_used_model_leaves_a_full_gpu() -> None:
    stock = Residency(10, {"a": 4, "b": 4})
    stock.use("a", 4)
    stock.use("c", 5)
    assert stock.models == ("a", "c")
    assert stock.sizes() == {"a": 4, "c": 5}
