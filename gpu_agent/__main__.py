"""`python -m gpu_agent`: joins the site with this host's GPU and runs jobs until told to leave.

Exit codes: 0 left as asked, 1 an error, 2 misconfigured (no GPU, bad setting), 3 refused by the site.
"""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import structlog

from gpu_agent import config as configuration
from gpu_agent import logs
from gpu_agent.comfyui.http import ComfyUI, ComfyUIError
from gpu_agent.comfyui.link import ComfyUILink
from gpu_agent.comfyui.process import ComfyUIProcess
from gpu_agent.config import BadConfiguration, Config
from gpu_agent.core import Core, run_in_thread
from gpu_agent.journal import Journal
from gpu_agent.models import cli as models
from gpu_agent.runners.comfyui import ComfyUIRunner
from gpu_agent.runners.registry import Registry
from gpu_agent.site import SiteClient, SiteRefused
from gpu_agent.vram import ComfyUIProbe, Gpu, NoDevice, NvmlProbe, Probe, ProbeFailed, read_stats
from gpu_agent.worker import DeliveryLoop

MISCONFIGURED = 2
REFUSED = 3

logger = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] == "models":
        return models.main(given[1:])
    try:
        config = configuration.load(given)
        logs.set_up(config)
        lock = _lock(config.data_dir)
        probe = _nvml(config)
    except (BadConfiguration, NoDevice) as error:
        print(f"gpu_agent: {error}", file=sys.stderr)
        return MISCONFIGURED
    with lock, Journal(config.data_dir / "journal.sqlite") as journal:
        return _Agent(config, journal, probe).run()


def _lock(data_dir: Path) -> IO[str]:
    """Hold the data folder: two agents on one journal would send each other's reports."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise BadConfiguration(f"AGENT_DATA_DIR: another agent uses {data_dir}") from None
    return lock


def _nvml(config: Config) -> NvmlProbe | None:
    """The real GPU; None when ComfyUI's own figures were chosen. Raises `NoDevice`, saying what to do."""
    if config.vram_probe != "nvml":
        return None
    try:
        return NvmlProbe(config.gpu)
    except NoDevice as error:
        raise NoDevice(
            f"{error}. AGENT_GPU names the card; COMFYUI_SIMULATED=1 runs against the simulator; "
            "VRAM_PROBE=comfyui trusts ComfyUI's figures on cards without NVML."
        ) from error


class _Agent:
    """The process: core in its thread, RQ worker in this one."""

    def __init__(self, config: Config, journal: Journal, nvml: NvmlProbe | None) -> None:
        self._config = config
        self._journal = journal
        self._nvml = nvml
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._deliveries: DeliveryLoop | None = None

    def run(self) -> int:
        core_made = threading.Event()
        made: list[Core] = []

        def make() -> Core:
            made.append(build(self._config, self._journal, self._nvml))
            core_made.set()
            return made[0]

        thread = run_in_thread(make, self._core_ended)
        core_made.wait()
        core = made[0] if made else None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: core.leave() if core else None)
        if core is not None:
            _wait(core.ready)
            if core.welcome is not None and not self._ended.is_set():
                self._take_deliveries(core)
        while thread.is_alive():
            thread.join(0.2)
        return self._exit_code()

    def _take_deliveries(self, core: Core) -> None:
        welcome = core.welcome
        if welcome is None:
            raise LookupError("deliveries are taken after the handshake")
        self._deliveries = loop = DeliveryLoop(welcome, self._config.token, core.deliver)
        loop.on_signal = lambda: None if self._ended.is_set() else core.leave()
        core.check_queue = loop.look_now
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, loop.take_signal)
        loop.run()

    def _core_ended(self, error: BaseException | None) -> None:
        self._error = error
        self._ended.set()
        if self._deliveries is not None:
            # The main thread sits in a blocking pop; only a signal ends that.
            self._deliveries.stop()
            os.kill(os.getpid(), signal.SIGTERM)

    def _exit_code(self) -> int:
        if self._error is None:
            return 0
        if isinstance(self._error, SiteRefused):
            print(f"gpu_agent: the site refuses this agent: {self._error}", file=sys.stderr)
            return REFUSED
        logger.error("agent_broke", exc_info=self._error)
        return 1


def _wait(event: threading.Event) -> None:
    while not event.wait(0.2):  # in slices, so that a signal is heard
        pass


def build(config: Config, journal: Journal, nvml: NvmlProbe | None) -> Core:
    """Put the parts together, inside the core's event loop."""
    http = ComfyUI(config.comfyui_url)
    process = _process(config)
    client_id = journal.fact("client_id", os.urandom(16).hex())
    link = ComfyUILink(http, config.comfyui_url, client_id, process)

    async def stats() -> dict[str, Any]:
        try:
            return await http.system_stats()
        except ComfyUIError as error:
            raise ProbeFailed(f"ComfyUI does not answer: {error}") from error

    async def reclaimable() -> int:
        return read_stats(await stats()).torch_total_bytes

    async def free() -> None:
        try:
            await http.free()
        except ComfyUIError as error:
            raise ProbeFailed(str(error)) from error

    probe: Probe = nvml or ComfyUIProbe(stats, simulated=config.simulated)
    gpu = Gpu(probe, margin_bytes=config.vram_margin_bytes, reclaimable=reclaimable, free=free)
    runner = ComfyUIRunner(
        link,
        speed_factor=config.speed_factor,
        hang_seconds=config.hang_seconds,
        comfyui_dir=config.comfyui_dir,
        vram_total_bytes=lambda: gpu.state.vram_total_bytes if gpu.state else None,
        killed_by=lambda: process.killed_by if process else None,
    )
    return Core(
        config,
        journal=journal,
        site=SiteClient(config.site_url, config.token),
        link=link,
        gpu=gpu,
        registry=Registry([runner]),
        resident_models=lambda: runner.resident_models,
        helpers=(process.run,) if process else (),
    )


def _process(config: Config) -> ComfyUIProcess | None:
    if not config.comfyui_command:
        return None
    return ComfyUIProcess(config.comfyui_command, config.data_dir / "comfyui.log")


if __name__ == "__main__":
    sys.exit(main())
