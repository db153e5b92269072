"""Ways in which a real ComfyUI misbehaves, each by name.

A misbehaviour overrides the hooks of the well-behaved base class. Hooks are called from the worker thread
and from the event loop; none blocks the event loop.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SimulatedOutOfMemoryError(RuntimeError):
    """Allocation on device"""

    told_as = "torch.OutOfMemoryError"


@dataclass(slots=True)
class Moment:
    """Where in a prompt a hook is called."""

    prompt_id: str
    node_id: str
    class_type: str
    is_output: bool
    tick: int = 0  # 0 at the node's start
    ticks: int = 0


class Misbehaviour:
    """Behaves."""

    name = ""
    time_factor = 1.0  # simulated work takes this much longer
    reads_sockets = True
    worker_lives = True
    preview_repeats = 1  # each preview is sent this often

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0

    def first_time(self, times: int = 1) -> bool:
        """True for the first `times` calls: most misbehaviours strike once, so that a retry can succeed."""
        with self._lock:
            self._seen += 1
            return self._seen <= times

    def at_moment(self, moment: Moment, machine: "Machinery") -> None:
        """At a node's start and at each of its ticks. May raise what the node would raise."""

    def takes_interrupt(self) -> bool:
        """False: the interrupt is answered with 200 and lost."""
        return True

    def takes_deletion(self) -> bool:
        """False: taking a prompt out of the queue is answered with 200 and comes too late."""
        return True

    def after_queuing(self) -> bool:
        """True: POST /prompt answers 500 although the prompt was queued."""
        return False

    def before_storing_history(self, prompt_id: str) -> bool:
        """False: the prompt vanishes from the queue and never reaches the history."""
        return True

    def ui_of(self, moment: Moment, ui: dict[str, Any]) -> dict[str, Any]:
        """What the output node tells about itself."""
        return ui

    def after_saving(self, path: Path) -> None:
        """A file was written."""

    def before_saving(self, path: Path) -> None:
        """A file is about to be written. May raise OSError."""


@dataclass(slots=True)
class Machinery:
    """The parts of the simulator that a misbehaviour may reach."""

    die: Callable[[], None]
    stopping: threading.Event


class Slow(Misbehaviour):
    """Takes ten times as long as promised."""

    name = "slow"
    time_factor = 10.0


class Hangs(Misbehaviour):
    """The first sampling (or else output) node never comes back; interrupts are not looked at."""

    name = "hangs"

    def at_moment(self, moment: Moment, machine: Machinery) -> None:
        if (moment.tick == 1 or moment.is_output) and self.first_time():
            machine.stopping.wait()


class DiesMidStep(Misbehaviour):
    """The process is gone in the middle of a node."""

    name = "dies_mid_step"

    def at_moment(self, moment: Moment, machine: Machinery) -> None:
        if (moment.tick == 2 or moment.is_output) and self.first_time():
            machine.die()
            machine.stopping.wait()


class ForgetsPrompt(Misbehaviour):
    """A prompt runs to its end without a trace: neither in the queue nor in the history."""

    name = "forgets_prompt"

    def before_storing_history(self, prompt_id: str) -> bool:
        return not self.first_time()


class LosesInterrupt(Misbehaviour):
    """The first three interrupts are answered with 200 and do nothing."""

    name = "loses_interrupt"

    def takes_interrupt(self) -> bool:
        return not self.first_time(3)


class StartsMeanwhile(Misbehaviour):
    """What is to be taken out of the queue is no longer waiting by then: it starts when its turn comes."""

    name = "starts_meanwhile"

    def takes_deletion(self) -> bool:
        return False


class DeadWorker(Misbehaviour):
    """The worker thread is dead: every request is answered, nothing ever runs."""

    name = "dead_worker"
    worker_lives = False


class AnswersWrongly(Misbehaviour):
    """POST /prompt answers 500 once, although the prompt was queued and runs."""

    name = "500_after_queuing"

    def after_queuing(self) -> bool:
        return self.first_time()


class Blocked(Exception):
    """Raised by a hook: the node is blocked, with this message."""


class BlockedNode(Misbehaviour):
    """An output node is blocked: execution_error is sent, yet the prompt ends in success without outputs."""

    name = "blocked_node"

    def at_moment(self, moment: Moment, machine: Machinery) -> None:
        if moment.is_output and moment.tick == 0:
            raise Blocked("blocked on purpose")


class OutOfMemory(Misbehaviour):
    """The first sampling (or else output) node runs out of GPU memory, every time."""

    name = "out_of_memory"

    def at_moment(self, moment: Moment, machine: Machinery) -> None:
        if moment.tick == 1 or moment.is_output:
            raise SimulatedOutOfMemoryError("Allocation on device ")


class PartialOutputs(Misbehaviour):
    """The first output node works, the second one fails."""

    name = "partial_outputs"

    def at_moment(self, moment: Moment, machine: Machinery) -> None:
        if moment.is_output and moment.tick == 0 and not self.first_time():
            raise ValueError("the second output failed")


class MissingFile(Misbehaviour):
    """Output files are named, but gone when they are fetched."""

    name = "missing_file"

    def after_saving(self, path: Path) -> None:
        path.unlink()


class DiskFull(Misbehaviour):
    """No output can be written."""

    name = "disk_full"

    def before_saving(self, path: Path) -> None:
        raise OSError(28, "No space left on device")


class PreviewsFlood(Misbehaviour):
    """Fifty previews for each one."""

    name = "previews_flood"
    preview_repeats = 50


class NeverReads(Misbehaviour):
    """Never reads from its sockets: pings and closing frames stay unanswered."""

    name = "never_reads"
    reads_sockets = False


class Lies(Misbehaviour):
    """Reports a file outside its folder, and of a prompt that nobody sent."""

    name = "lies"

    def ui_of(self, moment: Moment, ui: dict[str, Any]) -> dict[str, Any]:
        hostile = {"filename": "../../../etc/passwd", "subfolder": "../..", "type": "output"}
        return {**ui, "images": [hostile, *ui.get("images", [])]}


MISBEHAVIOURS: dict[str, type[Misbehaviour]] = {
    kind.name: kind
    for kind in (
        Misbehaviour,
        Slow,
        Hangs,
        DiesMidStep,
        ForgetsPrompt,
        LosesInterrupt,
        StartsMeanwhile,
        DeadWorker,
        AnswersWrongly,
        BlockedNode,
        OutOfMemory,
        PartialOutputs,
        MissingFile,
        DiskFull,
        PreviewsFlood,
        NeverReads,
        Lies,
    )
}


def named(name: str) -> Misbehaviour:
    """The misbehaviour of that name; "" behaves. Raises KeyError naming the choices."""
    if name not in MISBEHAVIOURS:
        raise KeyError(f"no misbehaviour {name!r}; there are {', '.join(filter(None, MISBEHAVIOURS))}")
    return MISBEHAVIOURS[name]()
