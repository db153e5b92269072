"""The asyncio core: attempts in hand, heartbeats, reports, commands. Runs in a thread of its own.

Everything here runs on one event loop; the RQ worker's thread reaches it through `deliver` and `leave`.
"""

import asyncio
import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from gpu_agent import inventory
from gpu_agent.attempt import Hand
from gpu_agent.comfyui.http import ComfyUIError
from gpu_agent.comfyui.link import ComfyUILink
from gpu_agent.config import Config
from gpu_agent.journal import Journal, WaitingReport
from gpu_agent.protocol.messages import (
    PREFETCH_MS,
    PROTOCOL_VERSION,
    Command,
    CommandKind,
    Delivery,
    Handshake,
    Heartbeat,
    HeartbeatAnswer,
    Inventory,
    Progress,
    Welcome,
)
from gpu_agent.protocol.phases import Phase
from gpu_agent.runners.base import HandedBack, StopKind
from gpu_agent.runners.registry import Registry
from gpu_agent.site import Backoff, SiteAway, SiteClient, SiteRefused, SiteSocket
from gpu_agent.vram import DoesNotFit, Gpu

logger = structlog.get_logger(__name__)

SAMPLE_SECONDS = 1.0
IDLE_SAMPLE_SECONDS = 5.0
FLUSH_SECONDS = 5.0
INPUT_CACHE_BYTES = 8 * 1024**3
LOOPBACK_WARNING = "ComfyUI listens beyond this machine: anyone who reaches it can read and run everything"


class Core:
    """One agent's life."""

    def __init__(
        self,
        config: Config,
        *,
        journal: Journal,
        site: SiteClient,
        link: ComfyUILink,
        gpu: Gpu,
        registry: Registry,
        resident_models: Callable[[], tuple[str, ...]] = lambda: (),
        helpers: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (),
    ) -> None:
        """`helpers` run beside the core as long as it does, e.g. ComfyUI's supervision."""
        self.config = config
        self.journal = journal
        self.site = site
        self.registry = registry
        self.data_dir = config.data_dir
        self.welcome: Welcome | None = None
        self.ready = threading.Event()  # the handshake is done: deliveries may come
        self.check_queue: Callable[[], None] = lambda: None
        self._link = link
        self._gpu = gpu
        self._resident_models = resident_models
        self._helpers = helpers
        self._socket = SiteSocket(config.site_url, config.token, self._on_command)
        self._hands: dict[tuple[int, int], Hand] = {}
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._cleaning: list[asyncio.Task[None]] = []
        self._line: list[Hand] = []  # for the GPU; the first runs, others stand behind it
        self._line_moved = asyncio.Event()
        self._report_waits = asyncio.Event()
        self._inventory_due = asyncio.Event()
        self._beat_due = asyncio.Event()
        self._draining = False  # the site asked
        self._leaving = 0  # SIGTERMs so far
        self._left = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- from other threads --------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """Hand over a delivery; returns at once."""
        self._soon(lambda: self._take(delivery))

    def leave(self) -> None:
        """First call: finish what runs, hand back the rest, end. Second: hand back everything, end."""
        self._soon(self._leave)

    def _soon(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    # --- life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Until asked to leave. Raises `SiteRefused` when the site will not have this agent."""
        self._loop = asyncio.get_running_loop()
        self._link.on_fresh = self._inventory_due.set
        self._link.on_ready = self._beat_due.set  # the site need not wait for the next one to give us work
        helpers = (helper() for helper in self._helpers)
        background = [asyncio.create_task(work) for work in (*helpers, self._link.run(), self._until_left())]
        try:
            background.append(asyncio.create_task(self._work()))
            done, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # what ended did so by an error, or we were asked to leave
            await self._flush()
        finally:
            self.ready.set()
            unfinished = [*background, *self._tasks.values(), *self._cleaning]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def aclose(self) -> None:
        """Close the connections of a core that has ended."""
        await self.site.aclose()
        await self._link.http.aclose()

    async def _work(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        await self._gpu.sample()
        await self._shake_hands()
        self._recover()
        self.ready.set()
        async with asyncio.TaskGroup() as tasks:
            for loop in (
                self._beat_loop(),
                self._report_loop(),
                self._inventory_loop(),
                self._sample_loop(),
                self._socket.run(),
            ):
                tasks.create_task(loop)

    async def _shake_hands(self) -> None:
        backoff = Backoff()
        words = Handshake(
            protocol=PROTOCOL_VERSION,
            agent_version=_version(),
            hostname=socket.gethostname(),
            simulated=self.config.simulated,
            speed_factor=self.config.speed_factor,
        )
        while True:
            try:
                self.welcome = await self.site.handshake(words)
            except SiteAway as error:
                logger.warning("site_away", error=str(error))
                await asyncio.sleep(backoff.next_seconds(error.retry_after_seconds))
                continue
            structlog.contextvars.bind_contextvars(agent=self.welcome.agent[:8])
            logger.info("joined", name=self.welcome.name, timeline=self.welcome.timeline)
            self._inventory_due.set()
            return

    @property
    def timeline(self) -> int:
        return self.welcome.timeline if self.welcome is not None else 0

    def _recover(self) -> None:
        """Go on with what the journal holds; another timeline's attempts are none of ours any more."""
        for entry in self.journal.open_entries():
            hand = Hand(self, entry)
            logger.info("attempt_found_in_journal", attempt=hand.delivery.attempt, submitted=hand.submitted)
            if entry.delivery.timeline != self.timeline:
                hand.stop.ask(StopKind.FORGET, "the site was restored")
            self._begin(hand)
        for entry in self.journal.ended_entries():
            self._cleaning.append(asyncio.create_task(Hand(self, entry).clean_up()))
        held = {hand.folder.name for hand in self._hands.values()}
        waiting = {f"{attempt}-{token}" for attempt, token in self.journal.reported_attempts()}
        for folder in _folders(self.data_dir / "attempts"):
            if folder.name not in held | waiting:
                shutil.rmtree(folder, ignore_errors=True)
        _prune(self.data_dir / "inputs", INPUT_CACHE_BYTES)

    # --- attempts ------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        if delivery.timeline != self.timeline:
            logger.info("delivery_of_another_timeline", attempt=delivery.attempt, timeline=delivery.timeline)
            self._beat_due.set()  # the answer tells whether we missed a restore
            return
        if not self.journal.take(delivery):
            logger.info("delivery_doubled", attempt=delivery.attempt)
            return
        entry = self.journal.entry(delivery.attempt, delivery.token)
        if entry is None:
            raise LookupError("the journal lost a delivery it had just taken")
        for hand in self._hands.values():
            if hand.delivery.attempt == delivery.attempt:
                hand.stop.ask(StopKind.FORGET, "delivered again under a new token")
        hand = Hand(self, entry)
        if self._draining or self._leaving:
            hand.stop.ask(StopKind.HAND_BACK, "This agent takes nothing new")
        elif self._disk_low():
            hand.stop.ask(StopKind.HAND_BACK, "The disk of this host is nearly full")
        self._begin(hand)

    def _begin(self, hand: Hand) -> None:
        before = [task for key, task in self._tasks.items() if key[0] == hand.delivery.attempt]
        self._hands[hand.key] = hand
        if hand.wants_gpu:
            self._line.append(hand)  # its prompt is in ComfyUI already
        task = asyncio.create_task(self._live(hand, before))
        self._tasks[hand.key] = task

    async def _live(self, hand: Hand, before: list[asyncio.Task[None]]) -> None:
        if before:  # the same attempt under an older token: its prompt has the same id
            await asyncio.wait(before)
        try:
            await hand.live()
        finally:
            self._hands.pop(hand.key, None)
            self._tasks.pop(hand.key, None)
            self._socket.forget(hand.delivery.attempt)

    # --- the line for the GPU ------------------------------------------------------------

    async def admit(self, hand: Hand) -> bool:
        """Wait for this attempt's turn: alone on the GPU (False), or in ComfyUI's queue behind one that runs
        (True). Who is ready first goes first: the GPU doesn't stand idle for another's download."""
        self._line.append(hand)
        while True:
            moved, ahead = self._line_moved, self._line[: self._line.index(hand)]
            if not ahead:
                try:
                    await self._gpu.admit(hand.predicted_vram_bytes)
                except DoesNotFit as error:
                    raise HandedBack(error.fault) from error
                return False
            one_runs = len(ahead) == 1 and ahead[0].handed_over
            if one_runs and await self._gpu.admits_behind(hand.predicted_vram_bytes):
                hand.enter(Phase.WAITING)
                return True
            await moved.wait()

    def handed_over(self, hand: Hand) -> None:
        self._move_line()

    def leave_line(self, hand: Hand) -> None:
        if hand in self._line:
            self._line.remove(hand)
            self._move_line()

    def _move_line(self) -> None:
        # A fresh event for those who look from now on: clearing a shared one could lose somebody's wake-up.
        moved, self._line_moved = self._line_moved, asyncio.Event()
        moved.set()

    def reported(self) -> None:
        self._report_waits.set()

    def show(self, progress: Progress) -> None:
        self._socket.show(progress)
        hand = self._hands.get((progress.attempt, progress.token))
        left_ms = progress.remaining_ms
        if hand is not None and not hand.told_nearly_done and left_ms is not None and left_ms <= PREFETCH_MS:
            # A heartbeat of its own: by what it says the site picks this agent's next job in time.
            hand.told_nearly_done = True
            self._beat_due.set()

    # --- heartbeats and commands ---------------------------------------------------------

    async def _beat_loop(self) -> None:
        """Heartbeats at a steady pace; nothing else is awaited here, so nothing can hold them up."""
        period = self.welcome.heartbeat_seconds if self.welcome else 5.0
        while True:
            began = time.monotonic()
            await self._beat()
            self._beat_due.clear()
            with contextlib.suppress(TimeoutError):
                left = max(0.05, period - (time.monotonic() - began))
                await asyncio.wait_for(self._beat_due.wait(), left)

    async def _beat(self) -> None:
        try:
            answer = await self.site.beat(self.heartbeat())
        except SiteAway as error:
            logger.info("heartbeat_unanswered", error=str(error))
        except SiteRefused as error:
            logger.warning("heartbeat_refused", status=error.status, code=error.refused.code)
            if error.refused.code == "timeline":
                await self._new_timeline()
        else:
            await self._heed(answer)

    def heartbeat(self) -> Heartbeat:
        device = self._gpu.state
        return Heartbeat(
            protocol=PROTOCOL_VERSION,
            timeline=self.timeline,
            attempts=tuple(
                hand.beat() for hand in self._hands.values() if hand.stop.kind is not StopKind.FORGET
            ),
            devices=(device,) if device is not None else (),
            comfyui_ready=self._can_work(),
            draining=self._draining or self._leaving > 0,
            resident_models=self._resident_models(),
            warnings=tuple(self._warnings()),
        )

    def _can_work(self) -> bool:
        return self._link.ready and not self._gpu.failure and not self._disk_low()

    def _warnings(self) -> list[str]:
        warnings = []
        if not self.config.comfyui_on_loopback:
            warnings.append(LOOPBACK_WARNING)
        if self._link.stuck:
            warnings.append(self._link.stuck)
        if self._gpu.failure:
            warnings.append(f"The GPU cannot be read: {self._gpu.failure}")
        if self._disk_low():
            warnings.append("The disk is nearly full: no new jobs are taken")
        return warnings

    def _disk_low(self) -> bool:
        return shutil.disk_usage(self.data_dir).free < self.config.disk_floor_bytes

    async def _heed(self, answer: HeartbeatAnswer) -> None:
        if answer.timeline != self.timeline:
            await self._new_timeline()
            return
        for hand in self._hands.values():
            if hand.delivery.attempt in answer.superseded:
                hand.stop.ask(StopKind.FORGET, "superseded")
        for command in answer.commands:
            self._on_command(command)
        if answer.inventory_wanted:
            self._inventory_due.set()

    def _on_command(self, command: Command) -> None:
        """Do as told; told again, nothing more happens."""
        match command.kind:
            case CommandKind.CANCEL:
                self._stop(command, StopKind.CANCEL)
            case CommandKind.PREEMPT:
                self._stop(command, StopKind.PREEMPT)
            case CommandKind.DRAIN:
                if not self._draining:
                    logger.info("draining", reason=command.reason)
                self._draining = True
                self._hand_back(lambda hand: not hand.executing and hand.phase is not Phase.STORING)
            case CommandKind.RESUME:
                self._draining = False
            case CommandKind.CHECK_QUEUE:
                self.check_queue()

    def _stop(self, command: Command, kind: StopKind) -> None:
        hand = self._hands.get((command.attempt, command.token))
        if hand is None or (kind is StopKind.PREEMPT and hand.phase is Phase.STORING):
            return  # the GPU is free of it already
        if hand.stop.ask(kind, command.reason):
            logger.info("attempt_stop_asked", attempt=command.attempt, kind=kind.value)

    def _hand_back(self, which: Callable[[Hand], bool]) -> None:
        for hand in self._hands.values():
            if which(hand):
                hand.stop.ask(StopKind.HAND_BACK, "This agent is being drained")

    async def _new_timeline(self) -> None:
        """The site was restored from a snapshot: forget what is in hand, and join anew."""
        logger.warning("timeline_changed")
        for hand in self._hands.values():
            hand.stop.ask(StopKind.FORGET, "the site was restored")
        self.journal.drop_reports()
        await self._shake_hands()

    # --- leaving -------------------------------------------------------------------------

    def _leave(self) -> None:
        self._leaving += 1
        logger.info("leaving", signal=self._leaving)
        self._beat_due.set()
        if self._leaving == 1:
            self._hand_back(lambda hand: not hand.executing and hand.phase is not Phase.STORING)
        else:
            self._hand_back(lambda hand: True)
        self._left.set()

    async def _until_left(self) -> None:
        await self._left.wait()
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=0.5)

    async def _flush(self) -> None:
        """Give the last reports a moment; what stays is sent after the next start."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self.journal.waiting_reports() and time.monotonic() < deadline:
            self._report_waits.set()
            await asyncio.sleep(0.02)

    # --- reports -------------------------------------------------------------------------

    async def _report_loop(self) -> None:
        """Send what the journal holds, oldest first, until each is acknowledged."""
        backoff = Backoff()
        while True:
            waiting = self.journal.first_report()
            if waiting is None:
                self._report_waits.clear()
                await self._report_waits.wait()
                continue
            try:
                await self._send(waiting)
                backoff.reset()
            except SiteAway as error:
                logger.info("report_unanswered", error=str(error))
                await asyncio.sleep(backoff.next_seconds(error.retry_after_seconds))

    async def _send(self, waiting: WaitingReport) -> None:
        report = waiting.report
        try:
            answer = await self.site.report(report)
        except SiteRefused as error:
            if error.refused.code == "artifact_missing" and await self._store_again(waiting):
                raise SiteAway("outputs were stored again") from error
            logger.warning("report_refused", attempt=report.attempt, code=error.refused.code)
        else:
            if not answer.accepted:
                logger.info("report_not_accepted", attempt=report.attempt, reason=answer.reason)
                self._forget(report.attempt, report.token, answer.reason)
        self.journal.acknowledge(waiting.place)
        if report.phase is Phase.FINISHED:
            shutil.rmtree(self._folder_of(waiting), ignore_errors=True)

    async def _store_again(self, waiting: WaitingReport) -> bool:
        """The site lacks outputs of a finished attempt: send them once more. False: we don't have them."""
        report, folder = waiting.report, self._folder_of(waiting)
        for artifact in report.artifacts:
            if not (folder / artifact.sha256).is_file():
                return False
            await self.site.store(report.attempt, report.token, artifact, folder / artifact.sha256)
        return True

    def _folder_of(self, waiting: WaitingReport) -> Path:
        return self.data_dir / "attempts" / f"{waiting.report.attempt}-{waiting.report.token}"

    def _forget(self, attempt: int, token: int, reason: str) -> None:
        hand = self._hands.get((attempt, token))
        if hand is not None:
            hand.stop.ask(StopKind.FORGET, reason or "not accepted")

    # --- what the site should know -------------------------------------------------------

    async def _sample_loop(self) -> None:
        while True:
            device = await self._gpu.sample()
            running = [hand for hand in self._hands.values() if hand.executing]
            if device is not None:
                used = device.vram_total_bytes - device.vram_free_bytes
                for hand in running:
                    hand.vram_peak_bytes = max(hand.vram_peak_bytes or 0, used)
            await asyncio.sleep(SAMPLE_SECONDS if running else IDLE_SAMPLE_SECONDS)

    async def _inventory_loop(self) -> None:
        """Publish after joining, when asked, and when ComfyUI came back (perhaps with other nodes)."""
        backoff, told = Backoff(0.5, 10.0), ""
        while True:
            await self._inventory_due.wait()
            self._inventory_due.clear()
            try:
                told = await self._publish(told)
                backoff.reset()
            except (ComfyUIError, SiteAway) as error:
                logger.info("inventory_not_published", error=str(error))
                self._inventory_due.set()
                await asyncio.sleep(backoff.next_seconds())
            except SiteRefused as error:
                logger.error("inventory_refused", code=error.refused.code, message=error.refused.message)

    async def _publish(self, told: str) -> str:
        """Send the inventory; the node definitions' body only when the site may not have it."""
        if self._gpu.state is None:
            await self._gpu.sample()
        device = self._gpu.state
        full = await inventory.take(
            self._link.http,
            timeline=self.timeline,
            devices=(device,) if device is not None else (),
            job_types=self.registry.names,
            any_model=self.config.any_model,
        )
        digest = full.node_definitions_sha256
        await self._publish_briefly(full, brief=digest == told)
        logger.info("inventory_published", comfyui=full.comfyui_version, models=len(full.models))
        return digest

    async def _publish_briefly(self, full: Inventory, *, brief: bool) -> None:
        try:
            await self.site.publish(replace(full, node_definitions=None) if brief else full)
        except SiteRefused as error:
            if error.refused.code != "definitions_wanted" or not brief:
                raise
            await self.site.publish(full)


def _version() -> str:
    try:
        return version("gpu-marketplace")
    except PackageNotFoundError:
        return "0"


def _folders(path: Path) -> list[Path]:
    return [folder for folder in path.iterdir() if folder.is_dir()] if path.is_dir() else []


def _prune(folder: Path, limit_bytes: int) -> None:
    """Keep the input cache below its limit: what was used longest ago goes first."""
    files = [(path.stat(), path) for path in folder.iterdir()] if folder.is_dir() else []
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda item: item[0].st_mtime):
        if total <= limit_bytes:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size


def run_in_thread(
    build: Callable[[], Core], on_end: Callable[[BaseException | None], None]
) -> threading.Thread:
    """Build and run the core on its own event loop; `on_end` gets the error that ended it, or None."""

    async def life() -> None:
        core = build()
        try:
            await core.run()
        finally:
            await core.aclose()

    def main() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(life())
        except BaseException as problem:
            error = problem
        on_end(error)

    thread = threading.Thread(target=main, name="core", daemon=True)
    thread.start()
    return thread
