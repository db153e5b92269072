"""Admission: what fits, what is freed first, what is handed back; and NVML through a fake library."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.protocol.messages import DeviceState
from gpu_agent.protocol.phases import Cause
from gpu_agent.vram import (
    DeviceLost,
    DoesNotFit,
    Gpu,
    ProbeFailed,
    fits_alone,
    fits_behind,
    read_stats,
)

GIB = 1024**3
FAKES = Path(__file__).parent.parent / "fakes/nvml"
Ask = Callable[[], dict[str, Any]]


def card(free: float, total: float = 24.0) -> DeviceState:
    return DeviceState("u", "card", int(total * GIB), int(free * GIB))


class OtherProcess:
    """Memory as three parties use it: ComfyUI's cache, somebody else, and nobody."""

    def __init__(self, comfyui: float, others: float, failure: ProbeFailed | None = None) -> None:
        self.comfyui, self.others, self.failure, self.freed = comfyui, others, failure, 0
        self.leaves_when_freed = 0.0

    async def read(self) -> DeviceState:
        if self.failure is not None:
            raise self.failure
        return card(24 - self.comfyui - self.others)

    async def reclaimable(self) -> int:
        return int(self.comfyui * GIB)

    async def free(self) -> None:
        self.freed += 1
        self.comfyui, self.others = 0.0, self.others - self.leaves_when_freed

    def gpu(self) -> Gpu:
        return Gpu(self, margin_bytes=GIB, reclaimable=self.reclaimable, free=self.free)


@pytest.mark.parametrize(("predicted", "fits"), [(15, True), (16, False)])
def test_alone_free_memory_and_what_comfyui_gives_back_must_hold_peak_and_margin(
    predicted: int, fits: bool
) -> None:
    verdict = fits_alone(card(free=10), 6 * GIB, predicted * GIB, GIB)
    assert (verdict.fits, verdict.available_bytes) == (fits, 16 * GIB)


@pytest.mark.parametrize(("predicted", "fits"), [(19, True), (20, False)])
def test_behind_another_only_other_processes_memory_is_in_the_way(predicted: int, fits: bool) -> None:
    verdict = fits_behind(card(free=2), 18 * GIB, predicted * GIB, GIB)  # 22 used, 18 of them ComfyUI's
    assert (verdict.fits, verdict.available_bytes) == (fits, 20 * GIB)


def test_nothing_fits_a_lost_device() -> None:
    assert not fits_alone(replace(card(24), lost=True), 0, 0, 0).fits


async def test_what_fits_is_admitted_without_freeing_warm_models() -> None:
    memory = OtherProcess(comfyui=20, others=0)
    await memory.gpu().admit(20 * GIB)
    assert memory.freed == 0


async def test_comfyui_is_asked_to_free_first_and_then_it_is_looked_again() -> None:
    memory = OtherProcess(comfyui=4, others=10)
    memory.leaves_when_freed = 8.0  # what its own figures did not show
    await memory.gpu().admit(20 * GIB)
    assert memory.freed == 1


async def test_what_never_fits_is_refused_with_figures_and_nothing_is_freed() -> None:
    memory = OtherProcess(comfyui=4, others=0)
    with pytest.raises(DoesNotFit) as refused:
        await memory.gpu().admit(40 * GIB)
    fault = refused.value.fault
    assert (fault.needed_bytes, fault.available_bytes) == (41 * GIB, 24 * GIB)
    assert memory.freed == 0


async def test_what_another_process_holds_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_agent.vram.FREE_SECONDS", 0.2)
    memory = OtherProcess(comfyui=4, others=16)
    with pytest.raises(DoesNotFit) as refused:
        await memory.gpu().admit(20 * GIB)
    fault = refused.value.fault
    assert (fault.cause, fault.needed_bytes, fault.available_bytes) == (
        Cause.OUT_OF_MEMORY,
        21 * GIB,
        8 * GIB,
    )
    assert memory.freed == 1


@pytest.mark.parametrize(("failure", "lost"), [(ProbeFailed("broken"), False), (DeviceLost("gone"), True)])
async def test_a_gpu_that_cannot_be_read_is_closed_and_opens_again(failure: ProbeFailed, lost: bool) -> None:
    memory = OtherProcess(comfyui=0, others=0)
    gpu = memory.gpu()
    await gpu.admit(GIB)
    memory.failure = failure
    with pytest.raises(DoesNotFit, match="could not be read"):
        await gpu.admit(GIB)
    assert not await gpu.admits_behind(GIB)
    assert gpu.state is not None
    assert (gpu.state.lost, gpu.state.vram_free_bytes) == (lost, 0)
    memory.failure = None
    await gpu.admit(GIB)
    assert not gpu.state.lost


@pytest.mark.parametrize("stats", [{}, {"devices": []}, {"devices": [{"name": "x"}]}, {"devices": "none"}])
def test_a_comfyui_without_figures_fails_closed(stats: dict[str, Any]) -> None:
    with pytest.raises(ProbeFailed):
        read_stats(stats)


# --- NVML ------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc was found; .ci/run installs it")
    target = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", target, FAKES / "nvml.c"], check=True
    )
    return tmp_path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_text("")
    return path


def start(library: Path, state: Path, gpu: str) -> "subprocess.Popen[str]":
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(state), "PYTHONPATH": "."}
    return subprocess.Popen(
        [sys.executable, FAKES / "probe.py", gpu],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def ask(library: Path, state: Path) -> Iterator[Ask]:
    """Ask the agent's probe, in a process that finds the fake library."""
    with start(library, state, "0") as process:

        def ask() -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield ask
        process.kill()


def test_nvml_figures_are_read(ask: Ask, state: Path) -> None:
    state.write_text(f"total {80 * GIB}\nused {30 * GIB}\nutil 55\ncelsius 61\nmilliwatts 312500\n")
    told = ask()
    assert (told["vram_total_bytes"], told["vram_free_bytes"]) == (80 * GIB, 50 * GIB)
    assert (told["utilization_percent"], told["temperature_celsius"], told["power_watts"]) == (55, 61, 312.5)
    assert (told["name"], told["uuid"], told["simulated"]) == ("Fake GPU", "GPU-fake-0000", False)


def test_a_lost_gpu_is_told_from_a_failing_one_and_both_can_recover(ask: Ask, state: Path) -> None:
    assert ask()["lost"] is False
    state.write_text("error 15\n")
    assert ask() == {"failed": "GPU is lost", "lost": True}
    state.write_text("error 999\n")
    assert ask()["lost"] is False
    state.write_text("")
    assert ask()["vram_total_bytes"] == 24 * GIB


@pytest.mark.parametrize(("gpu", "found"), [("GPU-fake-0000", True), ("GPU-other", False), ("7", False)])
def test_a_gpu_is_named_by_index_or_uuid(library: Path, state: Path, gpu: str, found: bool) -> None:
    with start(library, state, gpu) as process:
        _, said = process.communicate("", timeout=20)
    assert (process.returncode == 0) is found
    assert found or f"NVML finds no GPU {gpu}" in said
