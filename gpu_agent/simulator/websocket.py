"""The sockets of /ws: who is connected under which client id, and the one line all messages leave by."""

import asyncio
import contextlib
import json
import struct
import uuid
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

PREVIEW_IMAGE = 1
TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4
JPEG = 1


def preview_frame(jpeg: bytes) -> bytes:
    """Binary event 1: names neither prompt nor node."""
    return struct.pack(">II", PREVIEW_IMAGE, JPEG) + jpeg


def preview_frame_with_metadata(jpeg: bytes, metadata: dict[str, Any]) -> bytes:
    """Binary event 4."""
    header = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(header)) + header + jpeg


def text_frame(node_id: str, text: str) -> bytes:
    """Binary event 3."""
    node = node_id.encode()
    return struct.pack(">II", TEXT, len(node)) + node + text.encode()


class Hub:
    """Sockets by client id. `send` may be called from any thread; everything else from the event loop.

    One task sends message after message, as in ComfyUI: a client that stops reading therefore holds up
    everybody's messages as soon as its socket's buffer is full.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, WebSocket] = {}
        self._flags: dict[str, dict[str, Any]] = {}
        self._outbox: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        # What the worker last told about; shown to a client that connects again.
        self.client_id: str | None = None
        self.last_node_id: str | None = None

    async def publish(self) -> None:
        """Send for ever what `send` was given."""
        self._loop = asyncio.get_running_loop()
        while True:
            payload, client_id = await self._outbox.get()
            for socket in self._receivers(client_id):
                # A socket that closed meanwhile is noticed and removed by its own reader.
                with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
                    if isinstance(payload, bytes):
                        await socket.send_bytes(payload)
                    else:
                        await socket.send_text(payload)

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """A JSON message to one client; to everybody when `client_id` is None."""
        self._put(json.dumps({"type": event, "data": data}), client_id)

    def send_bytes(self, frame: bytes, client_id: str | None) -> None:
        self._put(frame, client_id)

    def supports(self, client_id: str | None, feature: str) -> bool:
        """Whether that client's first message negotiated the feature."""
        return client_id is not None and bool(self._flags.get(client_id, {}).get(feature))

    def client_ids(self) -> list[str]:
        """Ids that messages can reach."""
        return list(self._sockets)

    async def serve(
        self, socket: WebSocket, greeting: dict[str, Any], features: dict[str, Any], *, reads: bool
    ) -> None:
        """Hold one connection until it closes."""
        await socket.accept()
        client_id = socket.query_params.get("clientId") or uuid.uuid4().hex
        # A second socket of the same id takes over. When either of them closes, the id is unregistered,
        # whoever holds it by then: ComfyUI's own flaw, which clients have to live with.
        self._sockets[client_id] = socket
        self._flags[client_id] = {}
        try:
            await socket.send_text(json.dumps({"type": "status", "data": {**greeting, "sid": client_id}}))
            if self.client_id == client_id and self.last_node_id is not None:
                await socket.send_text(json.dumps({"type": "executing", "data": {"node": self.last_node_id}}))
            if not reads:
                await asyncio.Event().wait()
            await self._read(socket, client_id, features)
        finally:
            self._sockets.pop(client_id, None)
            self._flags.pop(client_id, None)

    async def _read(self, socket: WebSocket, client_id: str, features: dict[str, Any]) -> None:
        first = True
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not first or not message.get("text"):
                continue
            first = False
            with contextlib.suppress(ValueError):
                told = json.loads(message["text"])
                if isinstance(told, dict) and told.get("type") == "feature_flags":
                    self._flags[client_id] = dict(told.get("data") or {})
                    self.send("feature_flags", features, client_id)

    def _receivers(self, client_id: str | None) -> list[WebSocket]:
        if client_id is None:
            return list(self._sockets.values())
        socket = self._sockets.get(client_id)
        return [] if socket is None else [socket]

    def _put(self, payload: str | bytes, client_id: str | None) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, (payload, client_id))
