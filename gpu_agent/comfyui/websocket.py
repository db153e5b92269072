"""The one WebSocket to ComfyUI: always read, pinged by us, reopened under the same client id.

ComfyUI keeps one socket per client id and, when an old one closes late, forgets the new one: the old
socket is therefore closed, and seen closed, before the next is opened. A client that stops reading
freezes messages to everyone, so the handler must not block.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect

from gpu_agent.comfyui.events import BadFrame, NodeText, Preview, parse_frame

logger = structlog.get_logger(__name__)

PING_SECONDS = 10.0
RETRY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)
CLOSE_SECONDS = 2.0

# Asked for in the client's first message: previews that name their prompt and node.
FEATURES = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})

OnMessage = Callable[[str, dict[str, Any]], None]
OnFrame = Callable[[Preview | NodeText], None]


class ComfyUISocket:
    """Keeps a socket open for as long as `run` runs, handing messages to two callbacks."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        *,
        on_message: OnMessage,
        on_frame: OnFrame,
        on_open: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        parts = urlsplit(base_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._url = urlunsplit((scheme, parts.netloc, f"{parts.path}/ws", f"clientId={client_id}", ""))
        self._on_message = on_message
        self._on_frame = on_frame
        self._on_open = on_open
        self._on_close = on_close
        self._socket: ClientConnection | None = None
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect, read, reconnect; until cancelled."""
        failures = 0
        while True:
            try:
                await self._session()
                failures = 0
            except (OSError, websockets.InvalidHandshake, TimeoutError) as error:
                logger.debug("comfyui_socket_refused", error=str(error))
                failures += 1
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])

    async def reopen(self) -> None:
        """Close the present socket; `run` opens the next one once this is really closed."""
        if self._socket is not None:
            await self._socket.close()

    async def _session(self) -> None:
        async with connect(
            self._url,
            max_size=None,  # the default of 1 MiB ends the connection at the first large preview
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=CLOSE_SECONDS,
            open_timeout=5.0,
            compression=None,
            proxy=None,
        ) as socket:
            await socket.send(FEATURES)
            self._socket = socket
            self.connected.set()
            self._on_open()
            try:
                await self._read(socket)
            finally:
                self.connected.clear()
                self._socket = None
                self._on_close()

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self._dispatch(message)
        except websockets.ConnectionClosedError as error:
            logger.info("comfyui_socket_lost", error=str(error))

    def _dispatch(self, message: str | bytes) -> None:
        try:
            if isinstance(message, bytes):
                frame = parse_frame(message)
                if frame is not None:
                    self._on_frame(frame)
                return
            content = json.loads(message)
        except (BadFrame, ValueError) as error:
            logger.warning("comfyui_message_unreadable", error=str(error)[:200])
            return
        match content:
            case {"type": str(kind), "data": dict(data)}:
                self._on_message(kind, data)
