"""What a job type must do on the GPU host: check, run with progress and cancel, collect, clean up.

A runner is one file beside this one and one line in `registry.py` (or an entry point of another package).
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from gpu_agent.protocol.messages import Fault, InputFile, JobSpec, Progress
from gpu_agent.protocol.phases import Cause, Outcome, Phase


class StopKind(StrEnum):
    """Why an attempt is to stop before its own end."""

    CANCEL = "cancel"
    PREEMPT = "preempt"
    HAND_BACK = "hand_back"  # drain, second SIGTERM
    FORGET = "forget"  # no longer ours: not a word about it to the site


class Failed(Exception):
    """The attempt ends as failed; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Stopped(Exception):
    """`run.stop` was asked for before anything was started: nothing to withdraw."""


class HandedBack(Exception):
    """This host can't do it now: back to the queue, no fault of the job."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def infrastructure(message: str) -> Failed:
    """A failure of this host's, not of the job's: the site tries again elsewhere."""
    return Failed(Fault(Cause.INFRASTRUCTURE, message))


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds so far or final; `charged_ms` is time of the reference GPU."""

    executing_ms: int = 0
    loading_ms: int = 0
    charged_ms: int = 0
    remaining_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, before its outputs are collected."""

    outcome: Outcome
    times: Times
    fault: Fault | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A collected output file, lying in the attempt's own folder on this host."""

    path: Path
    sha256: str
    name: str
    media_type: str
    size_bytes: int
    kind: str
    node: str


@dataclass(slots=True)
class Stop:
    """A request to stop; the first reason stands, except that FORGET overrides."""

    kind: StopKind | None = None
    reason: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, kind: StopKind, reason: str = "") -> bool:
        """True if this was news."""
        if self.kind is None or (kind is StopKind.FORGET and self.kind is not StopKind.FORGET):
            self.kind, self.reason = kind, reason
            self.asked.set()
            return True
        return False

    def lapse(self) -> None:
        """The request is moot."""
        self.kind, self.reason = None, ""
        self.asked.clear()


class Run(Protocol):
    """What the core lends a runner for one attempt."""

    spec: JobSpec
    folder: Path  # the attempt's own; removed when the site has acknowledged the end
    stop: Stop
    times: Times  # the runner keeps it current: heartbeats read it

    def recall(self) -> dict[str, Any]:
        """What `remember` stored, also before a kill -9."""
        ...

    def remember(self, **values: Any) -> None:
        """Durable when it returns."""
        ...

    def enter(self, phase: Phase) -> None:
        """Report a phase to the site; entering the same or an earlier one changes nothing."""
        ...

    def show(self, progress: Progress) -> None:
        """Offer a progress frame; the site gets at most four a second, the latest wins."""
        ...

    async def fetch_input(self, file: InputFile) -> Path:
        """The file's bytes, verified, from the site or this host's cache. Raises `Failed`."""
        ...

    async def admit(self) -> bool:
        """Wait until this attempt may be started, or queued behind a running one: then True.

        Raises `HandedBack` when it does not fit, `Stopped` when `stop` was asked for meanwhile.
        """
        ...

    def started(self) -> None:
        """The work was handed over: the next attempt may be admitted behind this one."""
        ...

    def leave_gpu(self) -> None:
        """The GPU is free for the next attempt."""
        ...


class Runner(Protocol):
    """The GPU half of a job type. One instance serves all attempts."""

    name: str

    def check(self, spec: JobSpec) -> None:
        """Refuse a spec this host must not run. Raises `Failed`."""
        ...

    async def prepare(self, run: Run) -> None:
        """Bring inputs into place, before the GPU is needed. Raises `Failed`. May be cancelled."""
        ...

    async def run(self, run: Run) -> Ending:
        """Start (or rejoin, if `recall` says it was started), follow to the end, obey `run.stop`.

        Raises `Failed`, `HandedBack` or `Stopped`. Is not cancelled: it must withdraw the work itself.
        """
        ...

    async def collect(self, run: Run) -> tuple[Output, ...]:
        """Bring the outputs into `run.folder`. Raises `Failed`. May be cancelled."""
        ...

    async def clean_up(self, run: Run) -> None:
        """Remove what the attempt left behind. Never raises; logs what it could not do."""
        ...
