"""What a simulated node is: a function of its run and its inputs, registered under its class names."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from gpu_agent.simulator.files import OutsideFolder, Saved
from gpu_agent.simulator.machine import Machine
from gpu_agent.simulator.misbehaviour import Moment
from gpu_agent.simulator.progress import Progress

PREVIEW_QUALITY = 85
LATE_SECONDS = 0.02


class SavingOutside(Exception):
    """A file name prefix leads out of the output folder; ComfyUI raises a bare Exception."""

    told_as = "Exception"


@dataclass(frozen=True, slots=True)
class Shown:
    """Outputs of a node that also tells the client something."""

    ui: dict[str, Any]
    outputs: tuple[Any, ...] = ()


Inputs = dict[str, Any]
Handler = Callable[["NodeRun", Inputs], "tuple[Any, ...] | Shown"]
HANDLERS: dict[str, Handler] = {}


def handles(*class_types: str) -> Callable[[Handler], Handler]:
    """Register a handler for those node classes."""

    def register(handler: Handler) -> Handler:
        for class_type in class_types:
            HANDLERS[class_type] = handler
        return handler

    return register


@dataclass(slots=True)
class NodeRun:
    """One node of one prompt being run in the worker thread."""

    machine: Machine
    progress: Progress
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    moment: Moment
    definition: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    spent_seconds: float = 0.0

    def spend(self, reference_seconds: float) -> None:
        """Let simulated work take its time, and look at nothing meanwhile.

        Time is kept by a deadline from the node's start: what drawing took is not added on top.
        """
        options = self.machine.options
        self.spent_seconds += reference_seconds * options.misbehaviour.time_factor / options.speed
        self.machine.sleep_until(self.started + self.spent_seconds)

    def tick(self, value: int, maximum: int, preview: Callable[[], Image.Image] | None = None) -> None:
        """Report a step. Raises `Interrupted` first if the prompt was told to stop."""
        self.machine.check_interrupt()
        self.moment.tick, self.moment.ticks = value, maximum
        self.machine.options.misbehaviour.at_moment(self.moment, self.machine.machinery)
        jpeg = self._jpeg(preview) if preview is not None and self._previews() else None
        repeats = self.machine.options.misbehaviour.preview_repeats
        self.progress.tick(self.moment.node_id, value, maximum, jpeg, repeats)

    def save(
        self, prefix: str, ending: str, bodies: list[Callable[[], bytes]], *, temp: bool = False
    ) -> list[Saved]:
        """Write output files; `prefix` is completed for temp files. Raises `SavingOutside`, OSError."""
        kind = "output"
        if temp:
            kind, prefix = (
                "temp",
                f"{prefix}_temp_{self.machine.temp_suffix(self.moment.node_id, self.moment.class_type)}",
            )
        try:
            named = self.machine.folders.next_names(kind, prefix, ending, len(bodies))
        except OutsideFolder as error:
            raise SavingOutside(
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: {error}\n         output_dir: {self.machine.folders.of(kind)}"
            ) from error
        for (path, _), body in zip(named, bodies, strict=True):
            self._write(path, body())
        return [saved for _, saved in named]

    def _write(self, path: Path, body: bytes) -> None:
        self.machine.options.misbehaviour.before_saving(path)
        path.write_bytes(body)
        self.machine.options.misbehaviour.after_saving(path)

    def _previews(self) -> bool:
        """None when the prompt asked for none, nor when a fast device is behind its own time."""
        if self.extra_data.get("preview_method") == "none":
            return False
        return time.monotonic() - (self.started + self.spent_seconds) < LATE_SECONDS

    def _jpeg(self, preview: Callable[[], Image.Image]) -> bytes:
        image = preview()
        image.thumbnail((self.machine.options.preview_pixels, self.machine.options.preview_pixels))
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=PREVIEW_QUALITY)
        return buffer.getvalue()
