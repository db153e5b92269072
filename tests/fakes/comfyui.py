"""ComfyUIs named by how they misbehave, for everybody's tests.

    with SlowComfyUI(tmp_path) as comfyui:
        client = Client(comfyui.url)

Each listens on a free port of this machine, runs fifty times as fast as the reference GPU, has every model,
and offers the test nodes. `restart()` brings it up again on the same port and folder, well behaved.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from gpu_agent.simulator.machine import Machine
from gpu_agent.simulator.misbehaviour import Misbehaviour, named
from gpu_agent.simulator.options import CURRENT_VERSION, OLD_VERSION, Options
from gpu_agent.simulator.server import Running, start


class ComfyUI:
    """A well-behaved one. Keyword arguments are those of `Options`."""

    misbehaviour: ClassVar[str] = ""
    version: ClassVar[str] = CURRENT_VERSION

    def __init__(self, folder: Path, **options: Any) -> None:
        defaults: Mapping[str, Any] = {
            "speed": 50.0,
            "any_model": True,
            "test_nodes": True,
            "version": self.version,
            "misbehaviour": named(self.misbehaviour),
        }
        self.options = Options(folder=folder, **{**defaults, **options})
        self.running: Running = start(self.options)

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def machine(self) -> Machine:
        return self.running.machine

    def kill(self) -> None:
        """As SIGKILL would: connections break, the port refuses."""
        self.running.kill()

    def break_sockets(self) -> None:
        self.running.break_sockets()

    def restart(self, misbehaviour: Misbehaviour | None = None) -> None:
        """Start again where it listened, with nothing remembered but its files."""
        self.running.kill()
        port = int(self.url.rpartition(":")[2])
        fields = {name: getattr(self.options, name) for name in Options.__slots__}
        self.options = Options(**{**fields, "misbehaviour": misbehaviour or Misbehaviour()})
        self.running = start(self.options, port=port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.stop()


class OldComfyUI(ComfyUI):
    """0.3.64: no /api/jobs, any prompt_id, no create_time."""

    version = OLD_VERSION


class SlowComfyUI(ComfyUI):
    misbehaviour = "slow"


class HungComfyUI(ComfyUI):
    misbehaviour = "hangs"


class DyingComfyUI(ComfyUI):
    misbehaviour = "dies_mid_step"


class ForgetfulComfyUI(ComfyUI):
    misbehaviour = "forgets_prompt"


class DeafComfyUI(ComfyUI):
    """Loses the first three interrupts."""

    misbehaviour = "loses_interrupt"


class RacingComfyUI(ComfyUI):
    """Each prompt taken out of its queue has just stopped waiting."""

    misbehaviour = "starts_meanwhile"


class DeadWorkerComfyUI(ComfyUI):
    misbehaviour = "dead_worker"


class WronglyAnsweringComfyUI(ComfyUI):
    """Answers 500 to a prompt it queued."""

    misbehaviour = "500_after_queuing"


class BlockedComfyUI(ComfyUI):
    misbehaviour = "blocked_node"


class OutOfMemoryComfyUI(ComfyUI):
    misbehaviour = "out_of_memory"


class PartialComfyUI(ComfyUI):
    """Its second output fails."""

    misbehaviour = "partial_outputs"


class FileLosingComfyUI(ComfyUI):
    misbehaviour = "missing_file"


class DiskFullComfyUI(ComfyUI):
    misbehaviour = "disk_full"


class FloodingComfyUI(ComfyUI):
    misbehaviour = "previews_flood"


class NeverReadingComfyUI(ComfyUI):
    misbehaviour = "never_reads"


class LyingComfyUI(ComfyUI):
    misbehaviour = "lies"
