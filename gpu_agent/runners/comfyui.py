"""The `comfyui` job type on the GPU host: a workflow graph run through the local ComfyUI.

History is the truth for the end; the socket only tells sooner. Gotcha numbers refer to the list the
tests in tests/gpu_agent/runners/test_gotchas.py are named after.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from gpu_agent.comfyui import faults, outputs
from gpu_agent.comfyui.events import Preview, Tracker
from gpu_agent.comfyui.http import ComfyUI, ComfyUIError, Ended, Place, Rejected, Unreachable, Unsure
from gpu_agent.comfyui.link import ComfyUILink
from gpu_agent.protocol.messages import PROTOCOL_VERSION, Fault, JobSpec, NodeWork, Progress
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from gpu_agent.runners.base import (
    Ending,
    Failed,
    HandedBack,
    Output,
    Run,
    StopKind,
    Stopped,
    Times,
    infrastructure,
)

logger = structlog.get_logger(__name__)

TICK_SECONDS = 0.2
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 0.25
MAX_PREVIEW_BYTES = 256 * 1024
READY_SECONDS = 30.0  # how long a prepared attempt waits for ComfyUI to come up
DOWN_SECONDS = 3.0  # how long ComfyUI may be away in mid-prompt before the attempt is given up
INTERRUPT_SECONDS = 0.25
DEQUEUE_SECONDS = 0.02
STOP_SECONDS = 30.0
HANG_STOP_SECONDS = 10.0
HANG_FLOOR_SECONDS = 10.0
LOST_LOOKS = 2
FETCH_TRIES = 5
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# They write gigabytes of weights to disk; no job of a class needs that.
DENIED_NODE_TYPES = frozenset(
    {"CheckpointSave", "CLIPSave", "ModelSave", "LoraSave", "VAESave", "ImageOnlyCheckpointSave"}
)
SOCKET_SAVERS = frozenset({"SaveImageWebsocket"})


class ComfyUIRunner:
    """Runs workflow graphs."""

    name = "comfyui"

    def __init__(
        self,
        link: ComfyUILink,
        *,
        speed_factor: float,
        hang_seconds: float,
        comfyui_dir: Path | None = None,
        vram_total_bytes: Callable[[], int | None] = lambda: None,
        killed_by: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.link = link
        self.speed_factor = speed_factor
        self.hang_seconds = max(HANG_FLOOR_SECONDS, hang_seconds / speed_factor)
        self.vram_total_bytes = vram_total_bytes
        self.killed_by = killed_by
        self._comfyui_dir = comfyui_dir
        self.resident_models: tuple[str, ...] = ()

    # --- before --------------------------------------------------------------------------

    def check(self, spec: JobSpec) -> None:
        if not UUID.fullmatch(spec.prompt_id):
            raise infrastructure("The site named a prompt that is not a lowercase UUID")
        try:
            for part in spec.output_prefix.strip("/").split("/") if spec.output_prefix else ():
                outputs.check_name(part)
            for file in spec.inputs:
                outputs.check_name(file.name)
        except outputs.HostileName as error:
            raise Failed(Fault(Cause.INVALID_WORKFLOW, str(error))) from error
        for node, entry in spec.payload.items():
            _check_node(node, entry)

    async def prepare(self, run: Run) -> None:
        stored = dict(run.recall().get("inputs", {}))
        for file in run.spec.inputs:
            if file.name in stored:
                continue
            path = await run.fetch_input(file)
            try:
                stored[file.name] = await self.link.http.upload(path, file.name, _input_folder(run))
            except ComfyUIError as error:
                raise infrastructure(f"ComfyUI did not take the input {file.name}") from error
            run.remember(inputs=stored)

    # --- the run -------------------------------------------------------------------------

    async def run(self, run: Run) -> Ending:
        follow = _Follow(self, run)
        self.link.follow(run.spec.prompt_id, follow)
        try:
            if run.recall().get("submitted"):
                await follow.rejoin()
            else:
                await self._wait_ready(run)
                behind = await run.admit()
                if run.stop.asked.is_set():
                    raise Stopped
                run.remember(behind=behind)
                await follow.submit()
            run.started()
            ending = await follow.to_end()
        finally:
            self.link.unfollow(run.spec.prompt_id)
            run.leave_gpu()
        if ending.outcome is Outcome.SUCCEEDED:
            self.resident_models = _models_of(run.spec)
        return ending

    async def _wait_ready(self, run: Run) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.link.ready:
            if run.stop.asked.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                why = self.link.stuck or "ComfyUI does not answer on this host"
                raise HandedBack(Fault(Cause.INFRASTRUCTURE, why))
            await asyncio.sleep(TICK_SECONDS / 4)

    # --- after ---------------------------------------------------------------------------

    async def collect(self, run: Run) -> tuple[Output, ...]:
        memory = run.recall()
        found = outputs.collect(memory.get("outputs", {}), run.spec.output_prefix)
        for refused in found.refused:
            logger.warning("output_refused", why=refused)
        made = [await self._fetch(run, file) for file in found.files]
        made += [_text_output(run, text) for text in found.texts]
        made += [_saved_frame(run, number, about) for number, about in enumerate(memory.get("frames", []))]
        if not made:
            why = found.refused[0] if found.refused else "ComfyUI finished without making any file"
            raise Failed(Fault(Cause.EXECUTION_ERROR, faults.said(why)))
        return tuple(made)

    async def _fetch(self, run: Run, file: outputs.OutputFile) -> Output:
        for attempt in range(FETCH_TRIES):
            try:
                return await self._download(run, file)
            except Rejected as error:
                # Gotcha 6: a cached node named a file that is gone. The next try gets another prefix.
                raise infrastructure(f"ComfyUI no longer has the output {file.filename}") from error
            except ComfyUIError as error:
                logger.warning("output_fetch_failed", file=file.filename, error=str(error))
                await asyncio.sleep(0.5 * 2**attempt)
        raise infrastructure(f"ComfyUI did not hand over the output {file.filename}")

    async def _download(self, run: Run, file: outputs.OutputFile) -> Output:
        partial, digest, size = run.folder / "download.part", hashlib.sha256(), 0
        with partial.open("wb") as target:
            async for chunk in self.link.http.view(file.filename, file.subfolder, file.folder):
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(target.write, chunk)
        path = partial.rename(run.folder / digest.hexdigest())
        return Output(path, digest.hexdigest(), file.filename, file.media_type, size, file.kind, file.node)

    async def clean_up(self, run: Run) -> None:
        try:
            await self.link.http.delete_history(run.spec.prompt_id)
        except ComfyUIError as error:
            logger.info("history_not_deleted", error=str(error))
        if self._comfyui_dir is not None:
            await asyncio.to_thread(self._remove_files, run, self._comfyui_dir)

    def _remove_files(self, run: Run, base: Path) -> None:
        folders = [base / "input" / _input_folder(run)]
        prefix = run.spec.output_prefix.strip("/")
        if prefix:
            folders.append(base / "output" / prefix)
        for folder in folders:
            if folder.is_dir() and folder.resolve().is_relative_to(base.resolve()):
                shutil.rmtree(folder, ignore_errors=True)
        for file in outputs.collect(run.recall().get("outputs", {}), prefix).files:
            if file.folder == "temp":
                with contextlib.suppress(OSError):
                    (base / "temp" / file.subfolder / file.filename).unlink()


class _Follow:
    """One prompt on its way through ComfyUI: the socket's listener and the polling truth in one."""

    def __init__(self, runner: ComfyUIRunner, run: Run) -> None:
        self._runner = runner
        self._run = run
        self._spec = run.spec
        self._http: ComfyUI = runner.link.http
        self._titles = {node: work.title for node, work in run.spec.nodes.items()}
        self._tracker = self._new_tracker()
        self._changed = asyncio.Event()
        self._place: Place | None = None
        self._missing_looks = 0
        self._lost = ""
        self._limit: Fault | None = None  # over budget, timed out, hung: why we stop it ourselves
        self._withdrawal: asyncio.Task[None] | None = None
        self._gone = False  # withdrawn before it ran: no history will come
        self._submitted_at = time.monotonic()
        self._rejoined = False
        self._doubted = False
        self._deaf = False
        self._preview: Preview | None = None
        self._previewed_at = 0.0
        self._shown_at = 0.0
        self._frames: list[dict[str, str]] = []

    def _new_tracker(self) -> Tracker:
        return Tracker(
            self._spec.prompt_id, self._spec.nodes, self._runner.speed_factor, self._spec.expected_ms
        )

    # --- listener ------------------------------------------------------------------------

    def on_message(self, kind: str, data: dict[str, Any]) -> None:
        self._tracker.feed(kind, data, _now_ms())
        self._changed.set()

    def on_preview(self, preview: Preview) -> None:
        node = self._spec.payload.get(preview.node or self._tracker.node)
        if isinstance(node, dict) and node.get("class_type") in SOCKET_SAVERS:
            self._save_frame(preview)
        elif len(preview.image) <= MAX_PREVIEW_BYTES and preview.media_type in {"image/jpeg", "image/png"}:
            self._preview = preview
            self._changed.set()

    def on_gap(self) -> None:
        self._tracker.miss()

    def _save_frame(self, frame: Preview) -> None:
        """A node whose output is sent over the socket alone: the frame is the output."""
        name = hashlib.sha256(frame.image).hexdigest()
        (self._run.folder / name).write_bytes(frame.image)
        node = frame.node or self._tracker.node
        self._frames.append({"sha256": name, "media_type": frame.media_type, "node": node})

    # --- in ------------------------------------------------------------------------------

    async def submit(self) -> None:
        """POST the prompt, once; when its fate is unclear, look before anything else (gotcha 1)."""
        if not self._runner.link.socket_open.is_set():
            self._tracker.miss()
        self._run.remember(submitted=True)
        self._submitted_at = time.monotonic()
        try:
            answer = await self._http.submit(
                self._graph(), self._spec.prompt_id, self._runner.link.client_id, self._preview_method()
            )
        except Rejected as error:
            raise self._refusal(error) from error
        except Unreachable as error:
            raise HandedBack(Fault(Cause.INFRASTRUCTURE, "ComfyUI does not answer on this host")) from error
        except Unsure as error:
            logger.warning("submission_unsure", error=str(error))
            await self._find_or_resubmit()
            return
        if answer.node_errors:  # gotcha 10: the rest of the graph would run without these outputs
            await self._withdraw(STOP_SECONDS)
            raise Failed(faults.partly_refused(answer.node_errors, self._titles))

    def _refusal(self, error: Rejected) -> Failed:
        if error.status in {401, 403, 413}:
            return infrastructure(f"ComfyUI does not let this agent in ({error.status})")
        return Failed(faults.refused(error.body, self._titles))

    async def rejoin(self) -> None:
        """After a restart of the agent: find our own prompt again."""
        self._tracker.miss()
        self._rejoined = True
        await self._find_or_resubmit()

    async def _find_or_resubmit(self) -> None:
        for look in range(LOST_LOOKS + 1):
            try:
                self._place = await self._http.where(self._spec.prompt_id)
            except ComfyUIError as error:
                logger.info("lookup_failed", error=str(error))
                self._place = None
            if self._place not in {None, Place.NOWHERE}:
                return
            await asyncio.sleep(0.2 * (look + 1))
        await self._lost_prompt("ComfyUI lost the prompt")

    async def _lost_prompt(self, why: str) -> None:
        """In neither queue nor history (gotcha 7): resubmit once, unless we took it out ourselves."""
        memory = self._run.recall()
        if memory.get("withdrawn"):
            self._gone = True
            return
        # It only stood in the queue while another ran: what brought ComfyUI down was not this one.
        bystander = bool(memory.get("behind")) and self._tracker.started_ms is None
        if self._runner.killed_by() == 9 and not bystander:
            raise Failed(faults.out_of_memory("ComfyUI", "", "", None, self._runner.vram_total_bytes()))
        if memory.get("resubmitted") or self._runner.link.down_since is not None or self._runner.link.stuck:
            await self._take_out()
            raise HandedBack(Fault(Cause.INFRASTRUCTURE, why)) if bystander else infrastructure(why)
        logger.warning("prompt_lost_resubmitting")
        self._run.remember(resubmitted=True, behind=False)
        self._tracker = self._new_tracker()
        self._lost, self._missing_looks, self._place = "", 0, None
        await self.submit()

    async def _take_out(self) -> None:
        """Given up: should it still stand in the queue, it must not run for nobody."""
        self._run.remember(withdrawn=True)
        with contextlib.suppress(ComfyUIError):
            await self._http.dequeue(self._spec.prompt_id)

    def _graph(self) -> dict[str, Any]:
        """The payload with input names as ComfyUI stored them (gotcha 12)."""
        stored = self._run.recall().get("inputs", {})
        return {
            node: {
                **entry,
                "inputs": {name: _renamed(value, stored) for name, value in entry["inputs"].items()},
            }
            for node, entry in self._spec.payload.items()
        }

    def _preview_method(self) -> str:
        return "latent2rgb" if self._spec.previews_per_second > 0 else "none"

    # --- to the end ----------------------------------------------------------------------

    async def to_end(self) -> Ending:
        poll = asyncio.create_task(self._poll())
        try:
            while True:
                if self._gone:
                    return self._withdrawn_ending()
                if self._lost:
                    await self._lost_prompt(self._lost)
                ended = await self._ended()
                if ended is not None:
                    return self._ending(ended)
                self._look_at_limits()
                self._tell()
                await self._wait()
        finally:
            for task in (poll, self._withdrawal):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _wait(self) -> None:
        waits = [asyncio.ensure_future(self._changed.wait())]
        if self._withdrawal is None:
            waits.append(asyncio.ensure_future(self._run.stop.asked.wait()))
        _, pending = await asyncio.wait(waits, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        self._changed.clear()
        if self._run.stop.asked.is_set() and self._withdrawal is None:
            self._start_withdrawal(STOP_SECONDS)

    async def _ended(self) -> Ended | None:
        """The history entry, once the prompt is over (gotchas 3 and 4)."""
        if not self._tracker.over and self._place is not Place.ENDED:
            return None
        try:
            ended = await self._http.history(self._spec.prompt_id)
        except ComfyUIError as error:
            logger.info("history_unreadable", error=str(error))
            await asyncio.sleep(TICK_SECONDS)
            return None
        if ended is None:
            await asyncio.sleep(TICK_SECONDS / 4)
        return ended

    def _look_at_limits(self) -> None:
        now_ms = _now_ms()
        figures = self._tracker.figures(now_ms)
        self._run.times = Times(
            figures.executing_ms, figures.loading_ms, figures.charged_ms, figures.remaining_ms
        )
        if self._withdrawal is not None or self._tracker.started_ms is None:
            return
        if self._spec.stop_after_ms and figures.charged_ms > self._spec.stop_after_ms:
            self._stop_it(Cause.OVER_BUDGET, "It ran longer than its price covers", STOP_SECONDS)
        elif self._spec.timeout_ms and figures.executing_ms > self._spec.timeout_ms:
            self._stop_it(
                Cause.TIMED_OUT, f"It ran longer than {self._spec.timeout_ms // 1000} s", STOP_SECONDS
            )
        else:
            self._look_at_silence(now_ms - (self._tracker.last_sign_ms or now_ms))

    def _look_at_silence(self, silent_ms: float) -> None:
        """Half-way to a hang, doubt the socket first: a prompt must not die because nobody listened."""
        if silent_ms > self._silence_ms():
            self._stop_it(Cause.INFRASTRUCTURE, "ComfyUI made no progress", HANG_STOP_SECONDS)
        elif silent_ms < self._silence_ms() / 2:
            self._doubted = False
        elif not self._doubted:
            self._doubted = self._deaf = True

    def _silence_ms(self) -> float:
        """How long ComfyUI may say nothing about a running prompt before it counts as hung."""
        return max(self._runner.hang_seconds * 1000, 5 * self._tracker.usual_step_ms())

    def _stop_it(self, cause: Cause, message: str, seconds: float) -> None:
        node = self._tracker.node
        self._limit = Fault(cause, message, node=node)
        logger.warning("prompt_stopped", cause=cause.value, node=node)
        self._start_withdrawal(seconds)

    # --- out -----------------------------------------------------------------------------

    def _start_withdrawal(self, seconds: float) -> None:
        self._withdrawal = asyncio.create_task(self._withdraw(seconds))

    async def _withdraw(self, seconds: float) -> None:
        """Dequeue or interrupt, again and again: either may get lost (gotcha 5)."""
        prompt_id = self._spec.prompt_id
        self._run.remember(withdrawn=True)
        deadline = time.monotonic() + seconds
        while True:
            try:
                queue = await self._http.queue()
                pause_seconds = INTERRUPT_SECONDS
                if prompt_id in queue.pending:
                    # It may start at this very moment; then there was nothing to take out, and we look again.
                    await self._http.dequeue(prompt_id)
                    pause_seconds = DEQUEUE_SECONDS
                elif prompt_id in queue.running:
                    await self._http.interrupt(prompt_id)
                else:
                    await self._settle_withdrawal()
                    return
            except ComfyUIError as error:
                logger.info("withdrawal_failed", error=str(error))
                pause_seconds = INTERRUPT_SECONDS
            await asyncio.sleep(pause_seconds)
            if time.monotonic() > deadline:
                if not await self._runner.link.restart("a prompt does not stop"):
                    self._runner.link.block(prompt_id)
                self._gone = True
                self._changed.set()
                return

    async def _settle_withdrawal(self) -> None:
        if await self._http.history(self._spec.prompt_id) is None:
            self._gone = True
        else:
            self._place = Place.ENDED
        self._changed.set()

    async def _poll(self) -> None:
        """The truth, once a second: the socket may be deaf."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._runner.link.stuck and self._place is Place.PENDING:
                self._lost = self._runner.link.stuck
                self._changed.set()
            down_since = self._runner.link.down_since
            if down_since is not None:
                if time.monotonic() - down_since > DOWN_SECONDS:
                    self._lost = "ComfyUI went away"
                    self._changed.set()
                continue
            try:
                place = await self._http.where(self._spec.prompt_id)
            except ComfyUIError as error:
                logger.info("poll_failed", error=str(error))
                continue
            if place is Place.RUNNING and self._tracker.started_ms is None:
                await asyncio.sleep(TICK_SECONDS)  # its start may be on its way
            untold = place is Place.RUNNING and self._tracker.started_ms is None
            self._see(place)
            if untold or self._deaf:
                self._deaf = False
                await self._runner.link.socket_is_deaf()

    def _see(self, place: Place) -> None:
        self._missing_looks = self._missing_looks + 1 if place is Place.NOWHERE else 0
        if place is Place.RUNNING:
            self._tracker.seen_running(_now_ms())
        if self._missing_looks >= LOST_LOOKS:
            self._lost = "ComfyUI lost the prompt"
        self._place = place
        self._changed.set()

    # --- what it was ---------------------------------------------------------------------

    def _ending(self, ended: Ended) -> Ending:
        times = self._final_times(ended)
        self._run.times = times
        self._run.remember(outputs=ended.outputs, frames=self._frames)
        cached = bool(self._spec.payload) and ended.cached >= set(self._spec.payload)
        kind = self._run.stop.kind
        if ended.success and kind not in {StopKind.CANCEL, StopKind.FORGET}:
            return Ending(Outcome.SUCCEEDED, times, cached=cached)
        if kind is not None:
            return Ending(_outcome_of(kind), times)
        if self._limit is not None:
            return Ending(Outcome.FAILED, times, self._limit)
        if ended.error is not None and not ended.interrupted:
            fault = faults.raised(ended.error, self._titles, self._runner.vram_total_bytes())
            return Ending(Outcome.FAILED, times, fault)
        return Ending(Outcome.FAILED, times, Fault(Cause.INFRASTRUCTURE, "It was interrupted inside ComfyUI"))

    def _withdrawn_ending(self) -> Ending:
        kind = self._run.stop.kind
        times = replace(self._run.times, remaining_ms=0)
        if kind is not None:
            return Ending(_outcome_of(kind), times)
        fault = self._limit or Fault(Cause.INFRASTRUCTURE, "It was taken out of ComfyUI's queue")
        return Ending(Outcome.FAILED, times, fault)

    def _final_times(self, ended: Ended) -> Times:
        now_ms = _now_ms()
        tracker = self._tracker
        complete = tracker.started_ms is not None and tracker.ended_ms is not None and not tracker.gap
        if complete or ended.executing_ms is None:
            figures = tracker.figures(now_ms)
        else:
            wall_ms = (time.monotonic() - self._submitted_at) * 1000
            most_ms = ended.executing_ms if self._rejoined else min(ended.executing_ms, wall_ms)
            figures = tracker.figures_of(most_ms, now_ms)
        return Times(figures.executing_ms, figures.loading_ms, figures.charged_ms, 0)

    # --- what is told --------------------------------------------------------------------

    def _tell(self) -> None:
        phase = self._tracker.phase
        self._run.enter(phase)
        now = time.monotonic()
        if now - self._shown_at < PROGRESS_SECONDS or phase is Phase.WAITING:
            return
        self._shown_at = now
        self._run.show(self._progress(phase, self._due_preview(now)))

    def _due_preview(self, now: float) -> Preview | None:
        rate = self._spec.previews_per_second
        if self._preview is None or rate <= 0 or now - self._previewed_at < 1 / rate:
            return None
        self._previewed_at = now
        preview, self._preview = self._preview, None
        return preview

    def _progress(self, phase: Phase, preview: Preview | None) -> Progress:
        tracker, now_ms = self._tracker, _now_ms()
        step, stage, figures = tracker.step, tracker.stage, tracker.figures(now_ms)
        work = self._spec.nodes.get(tracker.node)
        return Progress(
            protocol=PROTOCOL_VERSION,
            timeline=self._spec.timeline,
            attempt=self._spec.attempt,
            token=self._spec.token,
            phase=phase,
            percent=tracker.percent(now_ms),
            node=tracker.node,
            node_title=work.title if work else "",
            step=step[0] if step else None,
            steps=step[1] if step else None,
            stage=stage[0] if stage else None,
            stages=stage[1] if stage else None,
            remaining_ms=figures.remaining_ms,
            executing_ms=figures.executing_ms,
            charged_ms=figures.charged_ms,
            note=_note(work, step),
            preview_media_type=preview.media_type if preview else "",
            preview_base64=base64.b64encode(preview.image).decode() if preview else "",
        )


def _check_node(node: str, entry: object) -> None:
    """This host's own look at a node: shape, deny-list, and where it writes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("inputs"), dict):
        raise Failed(Fault(Cause.INVALID_WORKFLOW, f"Node {node[:40]} is not a node", node=node[:40]))
    node_type = entry.get("class_type")
    if not isinstance(node_type, str):
        raise Failed(Fault(Cause.INVALID_WORKFLOW, f"Node {node[:40]} has no type", node=node[:40]))
    if node_type in DENIED_NODE_TYPES:
        message = f"{node_type} writes model files and is not allowed on this host"
        raise Failed(Fault(Cause.INVALID_WORKFLOW, message, node=node, node_type=node_type))
    prefix = entry["inputs"].get("filename_prefix")
    if isinstance(prefix, str) and (prefix.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", prefix)):
        message = f"{node_type} would write outside its folder"
        raise Failed(Fault(Cause.INVALID_WORKFLOW, message, node=node, node_type=node_type))


def _renamed(value: Any, stored: dict[str, str]) -> Any:
    return stored.get(value, value) if isinstance(value, str) else value


def _input_folder(run: Run) -> str:
    return f"attempt-{run.spec.attempt}-{run.spec.token}"


def _text_output(run: Run, text: outputs.OutputText) -> Output:
    content = text.text.encode()
    digest = hashlib.sha256(content).hexdigest()
    path = run.folder / digest
    path.write_bytes(content)
    name = f"text-{re.sub(r'[^0-9A-Za-z]', '-', text.node)[:40]}.txt"
    return Output(path, digest, name, "text/plain", len(content), "text", text.node)


def _saved_frame(run: Run, number: int, about: dict[str, str]) -> Output:
    path = run.folder / about["sha256"]
    suffix = "png" if about["media_type"] == "image/png" else "jpg"
    name, size = f"image-{number + 1:05}.{suffix}", path.stat().st_size
    return Output(path, about["sha256"], name, about["media_type"], size, "image", about["node"])


def _models_of(spec: JobSpec) -> tuple[str, ...]:
    """Model files the graph's loaders named: they are warm now."""
    names = {
        value
        for node, work in spec.nodes.items()
        if work.loader
        for value in spec.payload.get(node, {}).get("inputs", {}).values()
        if isinstance(value, str) and value.lower().endswith(faults.MODEL_SUFFIXES)
    }
    return tuple(sorted(names))


def _outcome_of(kind: StopKind) -> Outcome:
    return Outcome.HANDED_BACK if kind is StopKind.HAND_BACK else Outcome.CANCELLED


def _note(work: NodeWork | None, step: tuple[int, int] | None) -> str:
    loading = work is not None and (work.loader or (work.sampler and not (step and step[0])))
    return f"loading {work.title}" if loading and work is not None else ""


def _now_ms() -> float:
    return time.monotonic() * 1000
