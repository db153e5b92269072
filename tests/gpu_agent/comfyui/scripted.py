"""A ComfyUI that plays a recorded (or hand-written) scenario: what it sends after a POST is fixed.

It knows the one thing the agent must not depend on: the recorded prompt id is replaced by the agent's own.
"""

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.polling import poll

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass
class Scenario:
    """What happens after the agent's POST. Prompt ids in it are `recorded_id`."""

    recorded_id: str = "recorded"
    version: str = "0.33.0"
    answer: tuple[int, Any] = (200, {"prompt_id": "recorded", "number": 0, "node_errors": {}})
    messages: list[dict[str, Any] | bytes] = field(default_factory=list)
    history: dict[str, Any] | None = None  # the entry, once the last message was sent
    deaf: bool = False  # it runs, but the socket hears nothing
    ends_when_reopened: bool = False
    view_status: int = 200
    graph: dict[str, Any] = field(default_factory=dict)


def recorded(path: Path) -> Scenario:
    """The first prompt of a recording that has its history in it, else the first one."""
    recording = json.loads(path.read_text())
    events = recording["events"]
    histories = {
        event["path"].rpartition("/")[2]: event["response"]
        for event in events
        if event["kind"] == "http" and event["path"].startswith("/history/") and event["response"]
    }
    posts = [event for event in events if event.get("path") == "/prompt" and event.get("status") == 200]
    known = [event for event in posts if event["response"]["prompt_id"] in histories]
    post = (known or posts)[0]
    prompt_id = post["response"]["prompt_id"]
    messages = _messages_of(events, prompt_id, events.index(post))
    history = histories[prompt_id][prompt_id] if known else _history_of(messages)
    return Scenario(
        recorded_id=prompt_id,
        version=recording["comfyui_version"],
        answer=(200, post["response"]),
        messages=messages,
        history=history,
        graph=post["request"]["prompt"],
    )


def _messages_of(events: list[dict[str, Any]], prompt_id: str, since: int) -> list[dict[str, Any] | bytes]:
    found: list[dict[str, Any] | bytes] = []
    for event in events[since:]:
        if event["kind"] != "ws":
            continue
        if "binary" in event:
            if "base64" in event["binary"]:
                found.append(base64.b64decode(event["binary"]["base64"]))
            continue
        message = event["message"]
        if message["data"].get("prompt_id") in {prompt_id, None}:
            found.append(message)
        if message["type"] == "executing" and message["data"] == {"node": None, "prompt_id": prompt_id}:
            break
    return found


def _history_of(messages: list[dict[str, Any] | bytes]) -> dict[str, Any]:
    """What the history would have said, from the messages of a success."""
    told = [message["data"] for message in messages if isinstance(message, dict) and "data" in message]
    outputs = {data["node"]: data["output"] for data in told if "output" in data}
    return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}}


class ScriptedComfyUI:
    """Plays one scenario per POST. What the agent did lies in its public lists."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.url = ""
        self.posts: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []  # method, path, body
        self.most_sockets = 0  # open at once
        self.sockets_opened = 0
        self.uploads: list[str] = []
        self._sockets: list[WebSocket] = []
        self._pending: list[str] = []
        self._running: list[str] = []
        self._ended: dict[str, Any] = {}
        self._plays: set[asyncio.Task[None]] = set()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/prompt", self._post, methods=["POST"]),
                Route("/queue", self._queue, methods=["GET", "POST"]),
                Route("/history", self._noted, methods=["POST"]),
                Route("/history/{prompt_id}", self._history),
                Route("/interrupt", self._interrupt, methods=["POST"]),
                Route("/free", self._noted, methods=["POST"]),
                Route("/system_stats", self._stats),
                Route("/object_info", self._object_info),
                Route("/models", self._models),
                Route("/api/jobs", self._jobs),
                Route("/api/jobs/{prompt_id}", self._job),
                Route("/upload/image", self._upload, methods=["POST"]),
                Route("/view", self._view),
                WebSocketRoute("/ws", self._socket),
            ]
        )

    # --- what it answers -----------------------------------------------------------------

    async def _post(self, request: Request) -> Response:
        body = await request.json()
        self.posts.append(body)
        status, answer = self.scenario.answer
        if status == 200:
            answer = {**answer, "prompt_id": body["prompt_id"]}
            self._running.append(body["prompt_id"])
            play = asyncio.create_task(self._play(body["prompt_id"]))
            self._plays.add(play)
        return JSONResponse(answer, status) if isinstance(answer, dict) else PlainTextResponse(answer, status)

    async def _play(self, prompt_id: str) -> None:
        for message in self.scenario.messages:
            await self._send(_renamed(message, self.scenario.recorded_id, prompt_id), prompt_id)
        if self.scenario.history is not None and not self.scenario.ends_when_reopened:
            self._end(prompt_id)

    async def _send(self, message: dict[str, Any] | bytes, prompt_id: str) -> None:
        if isinstance(message, dict) and _is_last(message) and not self.scenario.ends_when_reopened:
            self._end(prompt_id)
        for socket in [] if self.scenario.deaf else list(self._sockets):
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_json(message)
        await asyncio.sleep(0)

    def _end(self, prompt_id: str) -> None:
        if prompt_id in self._running:
            self._running.remove(prompt_id)
            self._ended[prompt_id] = self.scenario.history

    async def _queue(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._noted(request)
        entries = [[number, prompt_id, {}, {}, []] for number, prompt_id in enumerate(self._running)]
        return JSONResponse({"queue_running": entries, "queue_pending": []})

    async def _history(self, request: Request) -> Response:
        prompt_id = request.path_params["prompt_id"]
        entry = self._ended.get(prompt_id)
        self.asked.append(("GET", request.url.path, entry is not None))
        return JSONResponse({prompt_id: entry} if entry is not None else {})

    async def _interrupt(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(("POST", "/interrupt", body))
        interrupted = {"status_str": "error", "completed": False, "messages": [["execution_interrupted", {}]]}
        if body.get("prompt_id") in self._running:
            self._running.remove(body["prompt_id"])
            self._ended[body["prompt_id"]] = {"outputs": {}, "status": interrupted}
        return Response()

    async def _noted(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.path, await request.json()))
        return Response()

    async def _stats(self, request: Request) -> Response:
        device = {"name": "scripted", "type": "cuda", "vram_total": 24 * 1024**3, "vram_free": 24 * 1024**3}
        return JSONResponse({"system": {"comfyui_version": self.scenario.version}, "devices": [device]})

    async def _object_info(self, request: Request) -> Response:
        return JSONResponse({"KSampler": {"input": {"required": {}}}})

    async def _models(self, request: Request) -> Response:
        return JSONResponse([])

    async def _jobs(self, request: Request) -> Response:
        old = self.scenario.version.startswith("0.3.")
        return PlainTextResponse("404: Not Found", 404) if old else JSONResponse({"jobs": []})

    async def _job(self, request: Request) -> Response:
        prompt_id = request.path_params["prompt_id"]
        if prompt_id in self._running:
            return JSONResponse({"id": prompt_id, "status": "in_progress"})
        if prompt_id in self._ended:
            return JSONResponse({"id": prompt_id, "status": "completed"})
        return JSONResponse({"error": "Job not found"}, 404)

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            folder = str(form["subfolder"])
        self.uploads.append(folder)
        return JSONResponse({"name": "renamed (1).png", "subfolder": folder, "type": "input"})

    async def _view(self, request: Request) -> Response:
        return Response(PICTURE, self.scenario.view_status, media_type="image/png")

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        self._sockets.append(socket)
        self.sockets_opened += 1
        for prompt_id in list(self._running) if self.scenario.ends_when_reopened else ():
            self._end(prompt_id)
        self.most_sockets = max(self.most_sockets, len(self._sockets))
        try:
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    await socket.receive_text()
        finally:
            self._sockets.remove(socket)


def _is_last(message: dict[str, Any]) -> bool:
    return message["type"] == "executing" and message["data"].get("node") is None


def _renamed(message: dict[str, Any] | bytes, old: str, new: str) -> Any:
    if isinstance(message, bytes):
        return message.replace(old.encode(), new.encode())
    return json.loads(json.dumps(message).replace(old, new))


@contextlib.contextmanager
def scripted_at(scenario: Scenario) -> Iterator[ScriptedComfyUI]:
    """Serve a scripted ComfyUI in a thread of its own."""
    comfyui = ScriptedComfyUI(scenario)
    config = uvicorn.Config(
        comfyui.app(), host="127.0.0.1", port=0, log_config=None, ws="websockets-sansio", lifespan="off",
        ws_max_size=2**26, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    poll(lambda: server.started, what="the scripted ComfyUI did not start")
    comfyui.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield comfyui
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
