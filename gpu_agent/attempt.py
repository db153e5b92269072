"""One attempt in hand: from its delivery to the last acknowledged byte."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from gpu_agent.journal import Entry, Journal
from gpu_agent.protocol.messages import (
    PROTOCOL_VERSION,
    ArtifactRef,
    AttemptBeat,
    Delivery,
    Fault,
    InputFile,
    JobSpec,
    Progress,
    Report,
)
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from gpu_agent.runners.base import (
    Ending,
    Failed,
    HandedBack,
    Output,
    Runner,
    Stop,
    StopKind,
    Stopped,
    Times,
    infrastructure,
)
from gpu_agent.runners.registry import Registry
from gpu_agent.site import Backoff, SiteAway, SiteClient, SiteRefused

logger = structlog.get_logger(__name__)

ORDER = list(Phase)
# Told only in heartbeats and progress: a report of its own would say nothing a job status knows.
UNREPORTED = frozenset({Phase.PREPARING})
RUNNING = frozenset({Phase.LOADING, Phase.RUNNING})
Answer = TypeVar("Answer")


class Surroundings(Protocol):
    """What an attempt needs of the core around it."""

    site: SiteClient
    journal: Journal
    registry: Registry
    data_dir: Path

    async def admit(self, hand: "Hand") -> bool:
        """Wait for the attempt's turn; True when it stands behind one that runs."""
        ...

    def handed_over(self, hand: "Hand") -> None:
        """ComfyUI has it: the next may be queued behind it."""
        ...

    def leave_line(self, hand: "Hand") -> None:
        """It no longer stands in the line for the GPU, if it did."""
        ...

    def reported(self) -> None:
        """A report waits in the journal."""
        ...

    def show(self, progress: Progress) -> None: ...


@dataclass(slots=True)
class _Ended:
    """What is left to say: kept in the attempt's memory, so that storing can go on after a kill -9."""

    outcome: Outcome
    times: Times
    fault: Fault | None
    cached: bool
    artifacts: tuple[ArtifactRef, ...]


class Hand:
    """An attempt in hand. Is the `Run` its runner works with."""

    spec: JobSpec

    def __init__(self, around: Surroundings, entry: Entry) -> None:
        self._around = around
        self.delivery: Delivery = entry.delivery
        self.folder = around.data_dir / "attempts" / f"{entry.delivery.attempt}-{entry.delivery.token}"
        self.stop = Stop()
        self.times = Times()
        self.phase = Phase.TAKEN
        self.handed_over = False  # ComfyUI has it
        self.told_nearly_done = False
        self.vram_peak_bytes: int | None = None
        self._memory = dict(entry.memory)
        self._known_spec = entry.spec
        self._fresh = entry.sequence == 0

    @property
    def key(self) -> tuple[int, int]:
        return self.delivery.attempt, self.delivery.token

    @property
    def submitted(self) -> bool:
        return bool(self._memory.get("submitted"))

    @property
    def wants_gpu(self) -> bool:
        """Taken up again after a restart with its prompt in ComfyUI, rather than with outputs to store."""
        return self.submitted and not self._memory.get("ended")

    @property
    def executing(self) -> bool:
        return self.phase in RUNNING

    @property
    def predicted_vram_bytes(self) -> int:
        return self.spec.vram_bytes

    def beat(self) -> AttemptBeat:
        times = self.times
        return AttemptBeat(
            attempt=self.delivery.attempt,
            token=self.delivery.token,
            phase=self.phase,
            executing_ms=times.executing_ms,
            loading_ms=times.loading_ms,
            charged_ms=times.charged_ms,
            remaining_ms=times.remaining_ms,
        )

    # --- the whole way -------------------------------------------------------------------

    async def live(self) -> None:
        """Take the attempt to its end. Never raises: an error of ours is an infrastructure failure."""
        structlog.contextvars.bind_contextvars(attempt=self.delivery.attempt, job=self.delivery.job)
        try:
            ended = await self._to_the_end()
        except Stopped:
            ended = self._stopped()
        except HandedBack as error:
            ended = _Ended(Outcome.HANDED_BACK, self.times, error.fault, False, ())
        except Failed as error:
            ended = _Ended(Outcome.FAILED, self.times, error.fault, False, ())
        except Exception as error:
            logger.exception("attempt_broke")
            fault = Fault(Cause.INFRASTRUCTURE, f"The agent failed: {type(error).__name__}")
            ended = _Ended(Outcome.FAILED, self.times, fault, False, ())
        finally:
            self.leave_gpu()
        await self._close(ended)

    async def _to_the_end(self) -> _Ended:
        if self._memory.get("ended"):
            return await self._store(_ended_from(self._memory["ended"]))
        if self._fresh:
            self.report(Phase.TAKEN)
        if self._known_spec is not None:
            self.spec = self._known_spec  # also when told to stop: what was submitted must be withdrawn
        else:
            self.spec = await self._or_stop(self._fetch_spec())
        runner = self._around.registry.find(self.spec.job_type)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.submitted:
            self.phase = Phase.PREPARING
            runner.check(self.spec)
            await self._or_stop(runner.prepare(self))
        ending = await self._run(runner)
        if ending.outcome is not Outcome.SUCCEEDED:
            return await self._salvage(runner, ending)
        if self.stop.kind is StopKind.PREEMPT:
            self.stop.lapse()  # it was quicker than the interrupt: the GPU is free, its outputs count
        self.enter(Phase.STORING)
        outputs = await self._or_stop(runner.collect(self))
        ended = _Ended(ending.outcome, ending.times, None, ending.cached, tuple(map(_reference, outputs)))
        self.remember(ended=_ended_to(ended), vram_peak_bytes=self.vram_peak_bytes)
        return await self._store(ended)

    async def _run(self, runner: Runner) -> Ending:
        if self.stop.asked.is_set() and not self.submitted:
            raise Stopped
        try:
            ending = await runner.run(self)
        finally:
            self.leave_gpu()
        self.times = ending.times
        return ending

    async def _salvage(self, runner: Runner, ending: Ending) -> _Ended:
        """What a failed job did make, stored beside its failure: its owner may buy it. Where that fails too,
        the job ends as it would have."""
        ended = _Ended(ending.outcome, ending.times, ending.fault, False, ())
        if ending.fault is None or ending.fault.cause is Cause.INFRASTRUCTURE:
            return ended
        try:
            outputs = await self._or_stop(runner.collect(self))
            self.enter(Phase.STORING)
            return await self._store(replace(ended, artifacts=tuple(map(_reference, outputs))))
        except Failed as nothing:
            logger.info("nothing_salvaged", why=nothing.fault.message)
            return ended

    async def _fetch_spec(self) -> JobSpec:
        attempt, token = self.key
        try:
            spec = await self._persist(lambda: self._around.site.spec(attempt, token))
        except SiteRefused as error:
            logger.info("spec_refused", code=error.refused.code)
            self.stop.ask(StopKind.FORGET, error.refused.code)
            raise Stopped from error
        if (spec.attempt, spec.token) != self.key:
            raise infrastructure("The site answered with another attempt's spec")
        self._around.journal.keep_spec(spec)
        self._known_spec = spec
        return spec

    async def _store(self, ended: _Ended) -> _Ended:
        """Upload the outputs; nothing is reported as done before the site has them all."""
        self.times = ended.times
        for artifact in ended.artifacts:
            await self._or_stop(self._upload(artifact))
        return ended

    async def _upload(self, artifact: ArtifactRef) -> None:
        attempt, token = self.key
        path = self.folder / artifact.sha256
        if not path.is_file():
            raise infrastructure(f"The output {artifact.name} is gone from this host")
        try:
            await self._persist(lambda: self._around.site.store(attempt, token, artifact, path))
        except SiteRefused as error:
            if error.status in {404, 409}:
                self.stop.ask(StopKind.FORGET, error.refused.code)
                raise Stopped from error
            message = f"The site did not take {artifact.name}: {error.refused.message}"
            raise Failed(Fault(Cause.EXECUTION_ERROR, message, node=artifact.node)) from error

    async def _persist(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Try again, with growing waits, for as long as the site is away."""
        backoff = Backoff()
        while True:
            try:
                return await call()
            except SiteAway as error:
                logger.info("site_away", error=str(error))
                await asyncio.sleep(backoff.next_seconds(error.retry_after_seconds))

    async def _or_stop(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """The work's answer, or `Stopped` as soon as a stop is asked for; the work is then cancelled."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.stop.asked.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
            return task.result()
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    # --- the end -------------------------------------------------------------------------

    def _stopped(self) -> _Ended:
        kind = self.stop.kind or StopKind.HAND_BACK
        outcome = Outcome.HANDED_BACK if kind is StopKind.HAND_BACK else Outcome.CANCELLED
        fault = Fault(Cause.INFRASTRUCTURE, self.stop.reason) if kind is StopKind.HAND_BACK else None
        return _Ended(outcome, self.times, fault, False, ())

    async def _close(self, ended: _Ended) -> None:
        attempt, token = self.key
        self.phase = Phase.FINISHED
        if self.stop.kind is StopKind.FORGET:
            self._around.journal.abandon(attempt, token)
            logger.info("attempt_forgotten", reason=self.stop.reason)
        else:
            self.report(Phase.FINISHED, ended)
            cause = ended.fault.cause.value if ended.fault else ""
            logger.info("attempt_finished", outcome=ended.outcome.value, cause=cause, **asdict(ended.times))
        await self.clean_up()
        if self.stop.kind is StopKind.FORGET:
            self.discard()

    async def clean_up(self) -> None:
        """Remove what the attempt left on this host; also after a kill that came in between."""
        if self._known_spec is not None:
            self.spec = self._known_spec
            with contextlib.suppress(Failed):  # a job type this host does not know left nothing
                await self._around.registry.find(self.spec.job_type).clean_up(self)
        self._around.journal.close_attempt(*self.key)

    def discard(self) -> None:
        """Remove the attempt's folder: the site has everything, or wants nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def report(self, phase: Phase, ended: _Ended | None = None) -> None:
        """Spool a report; it is sent in order until the site acknowledges it."""
        times = ended.times if ended else self.times
        peak = self.vram_peak_bytes or self._memory.get("vram_peak_bytes")
        self._around.journal.add_report(
            Report(
                protocol=PROTOCOL_VERSION,
                timeline=self.delivery.timeline,
                attempt=self.delivery.attempt,
                token=self.delivery.token,
                sequence=0,
                phase=phase,
                executing_ms=times.executing_ms,
                loading_ms=times.loading_ms,
                charged_ms=times.charged_ms,
                vram_peak_bytes=peak,
                outcome=ended.outcome if ended else None,
                fault=ended.fault if ended else None,
                artifacts=ended.artifacts if ended else (),
                cached=ended.cached if ended else False,
            ),
            last=ended is not None,
        )
        self._around.reported()

    # --- the Run its runner sees ---------------------------------------------------------

    def recall(self) -> dict[str, Any]:
        return self._memory

    def remember(self, **values: Any) -> None:
        self._memory.update(values)
        self._around.journal.remember(*self.key, **values)

    def enter(self, phase: Phase) -> None:
        if ORDER.index(phase) <= ORDER.index(self.phase):
            return
        self.phase = phase
        if phase not in UNREPORTED and self.stop.kind is not StopKind.FORGET:
            self.report(phase)

    def show(self, progress: Progress) -> None:
        self._around.show(progress)

    async def fetch_input(self, file: InputFile) -> Path:
        path = self._around.data_dir / "inputs" / file.sha256
        if path.is_file() and path.stat().st_size == file.size_bytes:
            os.utime(path)  # the cache drops what was used longest ago
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            await self._persist(lambda: self._download(file, path))
        except SiteRefused as error:
            raise infrastructure(f"The site did not hand over the input {file.name}") from error
        return path

    async def _download(self, file: InputFile, path: Path) -> None:
        partial, digest = path.with_name(f"{path.name}.{time.monotonic_ns()}.part"), hashlib.sha256()
        try:
            with partial.open("wb") as target:
                async for chunk in self._around.site.fetch_upload(file):
                    digest.update(chunk)
                    await asyncio.to_thread(target.write, chunk)
            if digest.hexdigest() != file.sha256:
                raise SiteAway(f"the input {file.name} arrived damaged")
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    async def admit(self) -> bool:
        return await self._or_stop(self._around.admit(self))

    def started(self) -> None:
        self.handed_over = True
        self._around.handed_over(self)

    def leave_gpu(self) -> None:
        self._around.leave_line(self)


def _reference(output: Output) -> ArtifactRef:
    return ArtifactRef(
        sha256=output.sha256,
        name=output.name,
        media_type=output.media_type,
        size_bytes=output.size_bytes,
        kind=output.kind,
        node=output.node,
    )


def _ended_to(ended: _Ended) -> dict[str, Any]:
    return {
        "outcome": ended.outcome.value,
        "times": asdict(ended.times),
        "cached": ended.cached,
        "artifacts": [artifact.to_dict() for artifact in ended.artifacts],
    }


def _ended_from(data: dict[str, Any]) -> _Ended:
    artifacts = tuple(ArtifactRef.from_dict(item) for item in data["artifacts"])
    return _Ended(Outcome(data["outcome"]), Times(**data["times"]), None, bool(data["cached"]), artifacts)
