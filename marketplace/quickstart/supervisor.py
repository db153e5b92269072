"""Keeps a set of processes running: prefixed lines, restart with back-off, an orderly end.

Children start in the order given and stop in the reverse one. A store that dies is started again in place.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marketplace.quickstart.stores import START_SECONDS, Store, StoreError, death_signal, last_words

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 15.0
STEADY_SECONDS = 20.0
LONGEST_LINE_BYTES = 1 << 20
GLANCE_SECONDS = 0.2

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Child:
    """A process to keep alive. `environment` is all it gets; `grace_seconds` is how long a stop may take."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    grace_seconds: float = 10.0


@dataclass
class Delay:
    """Seconds to wait before the next start: doubling, and small again after a steady run."""

    seconds: float = field(default=0.0, init=False)

    def after(self, lived_seconds: float) -> float:
        steady = lived_seconds > STEADY_SECONDS
        doubled = FIRST_DELAY_SECONDS if steady or not self.seconds else self.seconds * 2
        self.seconds = min(doubled, LONGEST_DELAY_SECONDS)
        return self.seconds


class Supervisor:
    """Runs children beside stores that were started already. `say(name, line)` shows one line."""

    def __init__(self, children: Sequence[Child], stores: Sequence[Store], say: Say) -> None:
        self._keepers = [_Keeper(child, say) for child in children]
        self._stores = stores
        self._say = say
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def pid(self, name: str) -> int | None:
        """The process number of a child or store; None while it is down."""
        for keeper in self._keepers:
            if keeper.child.name == name:
                return keeper.pid
        return next((store.pid for store in self._stores if store.name == name), None)

    def stop(self) -> None:
        """Ask for the end; asked twice, whoever still runs is killed."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, meanwhile: Callable[[], Awaitable[int | None]]) -> int:
        """Run until a signal, `stop()`, or a whole number from `meanwhile`, which becomes the result.

        `meanwhile` starts with the children; when it returns None the house stays up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        keepers = [asyncio.create_task(keeper.keep()) for keeper in self._keepers]
        keepers += [asyncio.create_task(self._keep_store(store)) for store in self._stores]
        work = asyncio.ensure_future(meanwhile())
        try:
            return await self._until_over(work)
        finally:
            work.cancel()
            for task in keepers:
                task.cancel()
            results = await asyncio.gather(work, *keepers, return_exceptions=True)
            for keeper in reversed(self._keepers):
                await keeper.end(self._hurry)
            _raise_first_fault(results)

    async def _until_over(self, work: "asyncio.Future[int | None]") -> int:
        stopping = asyncio.create_task(self._stop.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {work, stopping}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done() and (result := work.result()) is not None:
                return result
            await stopping
            return 0
        finally:
            stopping.cancel()

    async def _keep_store(self, store: Store) -> None:
        delay = Delay()
        began = time.monotonic()
        while True:
            await asyncio.sleep(GLANCE_SECONDS)
            status = store.exit_status()
            if status is None:
                continue
            wait_seconds = delay.after(time.monotonic() - began)
            self._say(store.name, f"died ({_reason(status)}), starting again in {wait_seconds:g} s")
            await asyncio.sleep(wait_seconds)
            began = time.monotonic()
            try:
                store.spawn()  # here and not in a thread: its death signal is tied to the spawning thread
                await _until_ready(store)
                self._say(store.name, "is back")
            except StoreError as error:
                self._say(store.name, str(error))


class _Keeper:
    """Keeps one child alive."""

    def __init__(self, child: Child, say: Say) -> None:
        self.child = child
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep(self) -> None:
        delay = Delay()
        while True:
            began = time.monotonic()
            status = await self._run_once()
            wait_seconds = delay.after(time.monotonic() - began)
            self._say(self.child.name, f"ended ({_reason(status)}), starting again in {wait_seconds:g} s")
            await asyncio.sleep(wait_seconds)

    async def end(self, hurry: asyncio.Event) -> None:
        """Stop it and everything it started: politely, and by force after its grace."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        leaving = asyncio.ensure_future(process.wait())
        hurrying = asyncio.ensure_future(hurry.wait())
        await asyncio.wait(
            {leaving, hurrying}, timeout=self.child.grace_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurrying.cancel()
        if not leaving.done():
            self._say(self.child.name, "did not stop in time, killed")
        _kill_group(process.pid)
        await leaving
        await self._finish_reading()

    async def _run_once(self) -> int:
        # A pipe of our own: asyncio would count a child as running while a grandchild still holds its pipe.
        reading, writing = os.pipe()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *death_signal("TERM"),
                *self.child.command,
                env=dict(self.child.environment),
                cwd=self.child.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,  # Ctrl-C is ours to pass on, in order
            )
            self._reader = asyncio.create_task(self._show_lines(reading))
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        status = await process.wait()
        _kill_group(process.pid)  # a half-dead family must not work beside its successor
        await self._finish_reading()
        return status

    async def _finish_reading(self) -> None:
        """Show the last lines, but don't wait for a pipe that somebody else still holds open."""
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=1)
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _show_lines(self, descriptor: int) -> None:
        stream = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream),
            open(descriptor, "rb", buffering=0),  # noqa: SIM115 - the transport closes it
        )
        try:
            while True:
                try:
                    line = await stream.readline()
                except ValueError:
                    self._say(self.child.name, f"(a line over {LONGEST_LINE_BYTES} bytes was dropped)")
                    continue
                if not line:
                    return
                self._say(self.child.name, line.decode(errors="replace").rstrip())
        finally:
            transport.close()


async def _until_ready(store: Store) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await asyncio.to_thread(store.ready):
        if store.exit_status() is not None or time.monotonic() > deadline:
            raise StoreError(f"did not start; its last words:\n{last_words(store)}")
        await asyncio.sleep(0.05)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _reason(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"signal {signal.Signals(-status).name}"


def _raise_first_fault(results: Sequence[object]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
