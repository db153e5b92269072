"""The agent's one connection to its ComfyUI: socket, health, and who listens to which prompt."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from gpu_agent.comfyui.events import NodeText, Preview
from gpu_agent.comfyui.http import ComfyUI, ComfyUIError, Queue, Unreachable
from gpu_agent.comfyui.websocket import ComfyUISocket

logger = structlog.get_logger(__name__)

WATCH_SECONDS = 1.0
DEAD_WORKER_SECONDS = 5.0
STUCK_SECONDS = 60.0


class Listener(Protocol):
    """Who follows one prompt."""

    def on_message(self, kind: str, data: dict[str, Any]) -> None: ...

    def on_preview(self, preview: Preview) -> None: ...

    def on_gap(self) -> None:
        """Messages of this prompt may have been missed."""
        ...


class Keeper(Protocol):
    """Whoever can restart ComfyUI: the agent's own supervision, or nobody."""

    async def restart(self, why: str) -> bool:
        """Kill and start it anew. False: this agent does not supervise ComfyUI."""
        ...


class Nobody:
    """ComfyUI was started by somebody else."""

    async def restart(self, why: str) -> bool:
        logger.error("comfyui_needs_a_restart", why=why)
        return False


class ComfyUILink:
    """Socket, health watch and dispatch for one ComfyUI."""

    def __init__(self, http: ComfyUI, base_url: str, client_id: str, keeper: Keeper | None = None) -> None:
        self.http = http
        self.client_id = client_id
        self.ready = False
        self.down_since: float | None = None  # monotonic; None while HTTP answers
        self.stuck = ""  # why it answers but does not work, "" when it does
        self.on_fresh: Callable[[], None] = lambda: None  # called when it came (back) up
        self.on_ready: Callable[[], None] = lambda: None  # called when work can be given to it (again)
        self._keeper: Keeper = keeper or Nobody()
        self._listeners: dict[str, Listener] = {}
        self._running = ""
        self._blocked_by = ""
        self._stuck_since = 0.0
        self._idle_since: float | None = None
        self._socket = ComfyUISocket(
            base_url,
            client_id,
            on_message=self._on_message,
            on_frame=self._on_frame,
            on_open=self._on_open,
            on_close=self._on_close,
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._socket.run())
            tasks.create_task(self._watch())

    def follow(self, prompt_id: str, listener: Listener) -> None:
        self._listeners[prompt_id] = listener

    def unfollow(self, prompt_id: str) -> None:
        self._listeners.pop(prompt_id, None)
        if self._running == prompt_id:
            self._running = ""

    async def socket_is_deaf(self) -> None:
        """Polling saw what the socket did not say: open it anew."""
        logger.info("comfyui_socket_deaf")
        await self._socket.reopen()

    async def restart(self, why: str) -> bool:
        self.ready = False
        return await self._keeper.restart(why)

    def block(self, prompt_id: str) -> None:
        """A prompt does not stop and nobody can restart ComfyUI: not ready until it has gone."""
        self._blocked_by = prompt_id
        self.stuck = "ComfyUI does not stop a prompt: it must be restarted"
        self.ready = False

    @property
    def socket_open(self) -> asyncio.Event:
        return self._socket.connected

    # --- the socket ----------------------------------------------------------------------

    def _on_open(self) -> None:
        self.http.forget_features()
        self.on_fresh()

    def _on_close(self) -> None:
        for listener in list(self._listeners.values()):
            listener.on_gap()

    def _on_message(self, kind: str, data: dict[str, Any]) -> None:
        # The first `executing` after a reconnect names no prompt: it is about the running one.
        prompt_id = str(data.get("prompt_id") or (self._running if kind == "executing" else ""))
        if kind == "execution_start":
            self._running = prompt_id
        listener = self._listeners.get(prompt_id)
        if listener is None:
            return
        if kind == "executing" and data.get("node") is None:
            self._running = ""
        listener.on_message(kind, data)

    def _on_frame(self, frame: Preview | NodeText) -> None:
        if isinstance(frame, Preview):
            listener = self._listeners.get(frame.prompt_id or self._running)
            if listener is not None:
                listener.on_preview(frame)

    # --- health --------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(WATCH_SECONDS)

    async def _look(self) -> None:
        try:
            queue = await self.http.queue()
        except Unreachable as error:
            if self.down_since is None:
                logger.warning("comfyui_down", error=str(error))
                self.down_since = time.monotonic()
            self.ready = False
            return
        except ComfyUIError as error:  # while it loads a model it may not answer for seconds: not down
            logger.info("comfyui_slow", error=str(error))
            return
        if self.down_since is not None:
            logger.info("comfyui_up", down_seconds=round(time.monotonic() - self.down_since, 1))
            self.down_since, self.stuck = None, ""
        await self._check_worker(queue)
        self._running = queue.running[0] if queue.running else self._running
        was_ready, self.ready = self.ready, not self.stuck and self._socket.connected.is_set()
        if self.ready and not was_ready:
            self.on_ready()

    async def _check_worker(self, queue: Queue) -> None:
        """Pending prompts and nothing running, for seconds: its worker is dead, only a restart helps."""
        now = time.monotonic()
        if self._blocked_by and self._blocked_by in queue.running:
            return
        if queue.running:
            self._blocked_by, self._idle_since, self.stuck = "", None, ""
            return
        if not queue.pending:
            # That we took the prompt out proves nothing: stuck for a while, then tried again.
            self._idle_since = None
            if self._blocked_by or now - self._stuck_since > STUCK_SECONDS:
                self._blocked_by, self.stuck = "", ""
            return
        self._idle_since = self._idle_since or now
        if now - self._idle_since >= DEAD_WORKER_SECONDS and not self.stuck:
            self.stuck, self._stuck_since = "ComfyUI takes prompts but runs none: it must be restarted", now
            if await self.restart("its worker thread is dead"):
                self.stuck = ""
