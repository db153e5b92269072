"""What a simulated ComfyUI is told when it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_agent.simulator.misbehaviour import Misbehaviour

GIB = 1024**3
CURRENT_VERSION = "0.33.0"
OLD_VERSION = "0.3.64"


def _as_given(outputs: list[str]) -> list[str]:
    return outputs


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes are bytes. `speed` is relative to the reference GPU: 20 runs twenty times as fast."""

    folder: Path  # holds input/, output/ and temp/
    speed: float = 1.0
    version: str = CURRENT_VERSION
    vram_bytes: int = 24 * GIB
    ram_bytes: int = 64 * GIB
    any_model: bool = False  # pretend that every model file a graph names is there
    test_nodes: bool = False  # nodes that sleep, fail, block … on request
    definitions: Mapping[str, Any] | None = None  # in place of our own, in the shape of /object_info
    preview_pixels: int = 512  # longer side of a preview
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)
    # ComfyUI keeps the outputs of a prompt in a set, so any order may be met; a test may fix one.
    order_outputs: Callable[[list[str]], list[str]] = _as_given

    @property
    def is_old(self) -> bool:
        """Before /api/jobs, the UUID check and create_time."""
        return self.version == OLD_VERSION
