"""A WebSocket client that speaks ASGI to the application in this process."""

import json
from typing import Any

from asgiref.testing import ApplicationCommunicator

PATIENCE_SECONDS = 5.0


class Socket:
    """One connection; `connect` first. Messages are JSON texts."""

    def __init__(self, application: Any, path: str, headers: dict[str, str]) -> None:
        plain = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": plain,
            "subprotocols": [],
            "client": ("127.0.0.1", 1),
        }
        self._talk = ApplicationCommunicator(application, scope)

    async def connect(self) -> bool:
        """Whether the socket was accepted."""
        await self._talk.send_input({"type": "websocket.connect"})
        answer = await self._talk.receive_output(PATIENCE_SECONDS)
        return bool(answer["type"] == "websocket.accept")

    async def say(self, words: Any) -> None:
        await self.say_text(json.dumps(words))

    async def say_text(self, text: str) -> None:
        await self._talk.send_input({"type": "websocket.receive", "text": text})

    async def hear(self) -> Any:
        """The next message. TimeoutError; AssertionError when the socket was closed instead."""
        answer = await self._talk.receive_output(PATIENCE_SECONDS)
        assert answer["type"] == "websocket.send", answer
        return json.loads(answer["text"])

    async def hear_close(self) -> int:
        """The code the site closes with; messages before it are passed over."""
        while True:
            answer = await self._talk.receive_output(PATIENCE_SECONDS)
            if answer["type"] == "websocket.close":
                return int(answer["code"])

    async def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        return bool(await self._talk.receive_nothing(seconds))

    async def leave(self) -> None:
        """Go away and let the application end."""
        await self._talk.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._talk.wait(PATIENCE_SECONDS)
