"""The GPU's memory: read it (NVML, or ComfyUI's own figures), and decide whether an attempt fits.

A reading that fails closes the door: without figures nothing is admitted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pynvml
import structlog

from gpu_agent.protocol.messages import DeviceState, Fault
from gpu_agent.protocol.phases import Cause

logger = structlog.get_logger(__name__)

READ_SECONDS = 3.0  # a broken driver hangs rather than fails
FREE_SECONDS = 5.0
FREE_POLL_SECONDS = 0.1
GIB = 1024**3


class NoDevice(RuntimeError):
    """The GPU asked for does not exist on this host."""


class ProbeFailed(RuntimeError):
    """The GPU could not be read just now."""


class DeviceLost(ProbeFailed):
    """The GPU has fallen off the bus or was taken away."""


class Probe(Protocol):
    """A source of device figures."""

    async def read(self) -> DeviceState:
        """The device now. Raises `ProbeFailed`."""
        ...


class NvmlProbe:
    """NVIDIA's management library. Calls run in a thread: they can hang with a broken driver."""

    def __init__(self, gpu: str) -> None:
        """`gpu` is an index or a UUID. Raises `NoDevice`, saying why."""
        self._gpu = gpu
        try:
            pynvml.nvmlInit()
            self._handle()
        except pynvml.NVMLError as error:
            raise NoDevice(f"NVML finds no GPU {gpu}: {error}") from error

    async def read(self) -> DeviceState:
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._read), READ_SECONDS)
        except TimeoutError as error:
            raise ProbeFailed("NVML did not answer") from error

    def _handle(self) -> Any:
        if self._gpu.isdigit():
            return pynvml.nvmlDeviceGetHandleByIndex(int(self._gpu))
        return pynvml.nvmlDeviceGetHandleByUUID(self._gpu)

    def _read(self) -> DeviceState:
        try:
            handle = self._handle()
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError as error:
            if error.value in {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_NOT_FOUND}:
                raise DeviceLost(str(error)) from error
            raise ProbeFailed(str(error)) from error
        return DeviceState(
            uuid=_text(_optional(pynvml.nvmlDeviceGetUUID, handle)) or f"nvml-{self._gpu}",
            name=_text(_optional(pynvml.nvmlDeviceGetName, handle)) or "NVIDIA GPU",
            vram_total_bytes=int(memory.total),
            vram_free_bytes=int(memory.free),
            utilization_percent=_utilization(handle),
            temperature_celsius=_float(
                _optional(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
            ),
            power_watts=_scaled(_optional(pynvml.nvmlDeviceGetPowerUsage, handle), 1000),
        )


def _optional(call: Callable[..., Any], *arguments: Any) -> Any:
    """A figure not every card gives; None without it."""
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        logger.debug("nvml_figure_missing", call=getattr(call, "__name__", ""), error=str(error))
        return None


def _utilization(handle: Any) -> float | None:
    rates = _optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return float(rates.gpu) if rates is not None else None


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _scaled(value: object, divisor: float) -> float | None:
    return float(value) / divisor if isinstance(value, (int, float)) else None


@dataclass(frozen=True, slots=True)
class ComfyUIMemory:
    """ComfyUI's word on memory, from /system_stats."""

    name: str
    vram_total_bytes: int
    vram_free_bytes: int
    torch_total_bytes: int  # what its allocator holds and can give back
    torch_free_bytes: int


def read_stats(stats: dict[str, Any]) -> ComfyUIMemory:
    """The first device of /system_stats. Raises `ProbeFailed` when there is none."""
    devices = stats.get("devices")
    device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else None
    if device is None:
        raise ProbeFailed("ComfyUI names no device")

    def figure(name: str) -> int:
        value = device.get(name)
        return max(0, int(value)) if isinstance(value, (int, float)) else 0

    total = figure("vram_total")
    if total == 0:
        raise ProbeFailed("ComfyUI gives no memory figures")
    return ComfyUIMemory(
        name=str(device.get("name", "GPU"))[:120],
        vram_total_bytes=total,
        vram_free_bytes=min(total, figure("vram_free")),
        torch_total_bytes=min(total, figure("torch_vram_total")),
        torch_free_bytes=figure("torch_vram_free"),
    )


class ComfyUIProbe:
    """ComfyUI's own figures: for the simulator, and for cards without NVML, when chosen explicitly.

    `stats` fetches /system_stats and raises `ProbeFailed`.
    """

    def __init__(self, stats: Callable[[], Awaitable[dict[str, Any]]], *, simulated: bool) -> None:
        self._stats = stats
        self._simulated = simulated

    async def read(self) -> DeviceState:
        memory = read_stats(await self._stats())
        return DeviceState(
            uuid="simulated" if self._simulated else f"comfyui-{memory.name}",
            name=memory.name,
            vram_total_bytes=memory.vram_total_bytes,
            vram_free_bytes=memory.vram_free_bytes,
            simulated=self._simulated,
        )


# --- does it fit? ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an attempt fits, with the figures that decided."""

    fits: bool
    needed_bytes: int
    available_bytes: int


def fits_alone(
    device: DeviceState, reclaimable_bytes: int, predicted_bytes: int, margin_bytes: int
) -> Verdict:
    """On an idle GPU: free memory and what ComfyUI can give back, against predicted peak and margin."""
    available = min(device.vram_total_bytes, device.vram_free_bytes + max(0, reclaimable_bytes))
    needed = predicted_bytes + margin_bytes
    return Verdict(not device.lost and needed <= available, needed, available)


def fits_behind(
    device: DeviceState, reclaimable_bytes: int, predicted_bytes: int, margin_bytes: int
) -> Verdict:
    """Behind a running attempt: it will be gone by then, other processes' memory won't."""
    used = device.vram_total_bytes - device.vram_free_bytes
    others = max(0, used - max(0, reclaimable_bytes))
    available = max(0, device.vram_total_bytes - others)
    needed = predicted_bytes + margin_bytes
    return Verdict(not device.lost and needed <= available, needed, available)


class DoesNotFit(Exception):
    """The attempt goes back to the queue; `fault` says why, with figures."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Gpu:
    """The device as last read, and the admission check.

    `reclaimable` asks how much memory ComfyUI could give back; `free` asks it to do so. Both may raise
    `ProbeFailed`.
    """

    def __init__(
        self,
        probe: Probe,
        *,
        margin_bytes: int,
        reclaimable: Callable[[], Awaitable[int]],
        free: Callable[[], Awaitable[None]],
    ) -> None:
        self._probe = probe
        self._margin_bytes = margin_bytes
        self._reclaimable = reclaimable
        self._free = free
        self.state: DeviceState | None = None
        self.failure = ""

    async def sample(self) -> DeviceState | None:
        """Read the device and keep it for heartbeats; None when it can't be read."""
        try:
            self.state = await self._probe.read()
            self.failure = ""
            return self.state
        except ProbeFailed as error:
            if str(error) != self.failure:
                logger.warning("gpu_unreadable", error=str(error), lost=isinstance(error, DeviceLost))
            self.failure = str(error)
            if self.state is not None:
                lost = isinstance(error, DeviceLost) or self.state.lost
                self.state = replace(self.state, lost=lost, vram_free_bytes=0)
            return None

    async def admit(self, predicted_bytes: int) -> None:
        """Let an attempt onto the idle GPU, or raise `DoesNotFit`. Asks ComfyUI to free memory first."""
        verdict = await self._check(predicted_bytes, fits_alone)
        if verdict.fits:
            return
        if self.state is not None and verdict.needed_bytes > self.state.vram_total_bytes:
            raise DoesNotFit(_no_room(verdict))  # freeing would only cost the warm models
        await self._make_room()
        deadline = asyncio.get_running_loop().time() + FREE_SECONDS
        while not verdict.fits and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(FREE_POLL_SECONDS)
            verdict = await self._check(predicted_bytes, fits_alone)
        if not verdict.fits:
            raise DoesNotFit(_no_room(verdict))

    async def admits_behind(self, predicted_bytes: int) -> bool:
        """Whether an attempt may be queued in ComfyUI behind the running one."""
        try:
            return (await self._check(predicted_bytes, fits_behind)).fits
        except DoesNotFit:
            return False

    async def _check(
        self, predicted_bytes: int, rule: Callable[[DeviceState, int, int, int], Verdict]
    ) -> Verdict:
        device = await self.sample()
        if device is None:
            raise DoesNotFit(Fault(Cause.INFRASTRUCTURE, f"The GPU could not be read: {self.failure}"))
        try:
            reclaimable = await self._reclaimable()
        except ProbeFailed as error:
            logger.warning("comfyui_memory_unreadable", error=str(error))
            reclaimable = 0
        return rule(device, reclaimable, predicted_bytes, self._margin_bytes)

    async def _make_room(self) -> None:
        try:
            await self._free()
        except ProbeFailed as error:
            logger.warning("comfyui_free_failed", error=str(error))


def _no_room(verdict: Verdict) -> Fault:
    return Fault(
        Cause.OUT_OF_MEMORY,
        f"Needs {verdict.needed_bytes / GIB:.1f} GiB of GPU memory, "
        f"{verdict.available_bytes / GIB:.1f} GiB can be had now",
        needed_bytes=verdict.needed_bytes,
        available_bytes=verdict.available_bytes,
    )
