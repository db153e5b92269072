"""Starting a simulator: in this process for tests, in its own for everything else."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import uvicorn

from gpu_agent.simulator.app import make_app
from gpu_agent.simulator.machine import Machine
from gpu_agent.simulator.options import Options

START_SECONDS = 15.0


class DidNotStart(RuntimeError):
    """The simulator did not come up in time."""


@dataclass(slots=True)
class Running:
    """A simulator in a thread of this process."""

    url: str
    machine: Machine
    server: uvicorn.Server
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop

    def kill(self) -> None:
        """As SIGKILL would: connections break without a farewell, the port closes, memory is lost."""
        self.machine.stop()
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._abort)
        if threading.current_thread() is not self.thread:
            self.thread.join(START_SECONDS)

    stop = kill  # nothing is worth a farewell, and waiting for one would take a second a test

    def break_sockets(self) -> None:
        """Every WebSocket is lost without a farewell; HTTP goes on."""
        self.loop.call_soon_threadsafe(self._abort_sockets)

    def _abort_sockets(self) -> None:
        for connection in list(self.server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and "WebSocket" in type(connection).__name__:
                transport.abort()

    def _abort(self) -> None:
        for server in self.server.servers:
            server.close()
        for connection in list(self.server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        self.server.should_exit = True


def start(options: Options, host: str = "127.0.0.1", port: int = 0) -> Running:
    """Start one on that port (0: a free one) and return once it listens. Raises `DidNotStart`."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    url = f"http://{host}:{listening.getsockname()[1]}"
    running: list[Running] = []
    machine = Machine(options, die=lambda: threading.Thread(target=lambda: running[0].kill()).start())
    server = uvicorn.Server(_config(machine, host))
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        watcher = asyncio.create_task(_announce(server, started))
        await server.serve(sockets=[listening])
        watcher.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="simulator", daemon=True)
    thread.start()
    if not started.wait(START_SECONDS):
        raise DidNotStart(url)
    running.append(Running(url, machine, server, thread, loops[0]))
    return running[0]


async def _announce(server: uvicorn.Server, started: threading.Event) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    started.set()


@contextlib.contextmanager
def simulator_at(options: Options, host: str = "127.0.0.1", port: int = 0) -> Iterator[Running]:
    """A running simulator, stopped at the end: `with simulator_at(Options(folder=…)) as running`."""
    running = start(options, host, port)
    try:
        yield running
    finally:
        running.stop()


@contextlib.asynccontextmanager
async def running_simulator(options: Options, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The address of a running simulator, for asynchronous callers."""
    running = await asyncio.to_thread(start, options, host, port)
    try:
        yield running.url
    finally:
        await asyncio.to_thread(running.stop)


def serve(options: Options, host: str, port: int) -> None:
    """Serve in this process until it is told to stop. Misbehaviours that die take the process with them."""
    machine = Machine(options, die=lambda: os._exit(137))
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, lambda *_: os._exit(0))  # ComfyUI says no farewell either
    _Abrupt(_config(machine, host, port)).run()


class _Abrupt(uvicorn.Server):
    """Leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(machine: Machine, host: str, port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(machine),
        host=host,
        port=port,
        ws="websockets-sansio",
        ws_max_size=2**24,
        ws_ping_interval=None,  # ComfyUI's server does not ping
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
