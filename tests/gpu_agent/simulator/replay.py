"""Replays a recording against a simulator and compares what comes back.

A recording is a list of events: requests with their answers, sockets opened and closed, messages received.
The requests are sent in their order, each as soon as everything that came before it in the recording has
come again; a GET is repeated until it answers as recorded. So speed and load of the machine matter little.

Two things are a matter of chance in ComfyUI itself, and are compared accordingly: a `status` that another
request caused may come a few messages earlier or later while a prompt starts, and may show the number before
or after the worker took it.

What cannot be equal is made equal on both sides: times, ids the server made, host paths, tracebacks, memory
figures, tensors and media bytes; everything else is compared by value and type.
"""

import base64
import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

WAIT_SECONDS = 20.0
GET_SECONDS = 5.0
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TEMP_NAME = re.compile(r"_temp_[a-z]{5}_")
TIMES = {"timestamp", "create_time", "execution_start_time", "execution_end_time", "t"}
MEMORY = {"ram_total", "ram_free", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
HOST = {"argv", "python_version", "pytorch_version", "deploy_environment", "os", "comfy_package_versions"}
SETS = {"executed", "current_outputs"}


@dataclass
class Differences:
    """What was not as recorded, in words."""

    found: list[str] = field(default_factory=list)

    def compare(self, where: str, recorded: Any, received: Any) -> None:
        if type(recorded) is not type(received):
            self.found.append(f"{where}: recorded {recorded!r:.200}, received {received!r:.200}")
        elif isinstance(recorded, dict):
            for key in recorded.keys() | received.keys():
                if key not in recorded or key not in received:
                    side = "missing" if key in recorded else "unexpected"
                    self.found.append(f"{where}.{key}: {side}")
                else:
                    self.compare(f"{where}.{key}", recorded[key], received[key])
        elif isinstance(recorded, list) and len(recorded) == len(received):
            for index, (one, other) in enumerate(zip(recorded, received, strict=True)):
                self.compare(f"{where}[{index}]", one, other)
        elif recorded != received:
            self.found.append(f"{where}: recorded {recorded!r:.300}, received {received!r:.300}")


class Names:
    """Ids on either side by the order in which they were first met, so that equal roles get equal names."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._letters: dict[str, str] = {}

    def learn(self, recorded: str, received: str) -> None:
        """These two are the same prompt."""
        name = self._known.setdefault(recorded, f"<id {len(self._known)}>")
        self._known.setdefault(received, name)

    def learn_temporary(self, recorded: Any, received: Any) -> None:
        """The random letters in temporary files' names, in the order they are met."""
        pair = [TEMP_NAME.findall(json.dumps(one)) for one in (recorded, received)]
        self._letters.update(zip(*pair, strict=False))

    def knows(self, prompt_id: str) -> bool:
        return prompt_id in self._known

    def translated(self, text: str) -> str:
        """With the recorded ids replaced by those the simulator gave."""
        pairs: dict[str, list[str]] = {}
        for prompt_id, name in self._known.items():
            pairs.setdefault(name, []).append(prompt_id)
        for ids in pairs.values():
            if len(ids) == 2:
                text = text.replace(ids[0], ids[1])
        for recorded, received in self._letters.items():
            text = text.replace(recorded, received)
        return text

    def __call__(self, text: str) -> str:
        return UUID.sub(lambda found: self._known.get(found[0], found[0]), text)


def normal(value: Any, names: Names, key: str = "") -> Any:
    """The value with everything replaced that may differ between two machines."""
    if key in TIMES and isinstance(value, int | str):
        return "<time>"
    if key in MEMORY:
        return "<memory>"
    if key in HOST:
        return "<host>"
    if key == "traceback":
        return "<traceback>"
    if key in SETS and isinstance(value, list):
        return sorted(normal(one, names) for one in value)
    if key == "devices":
        return [sorted(device) for device in value]
    if key == "base64":
        return "<media>"
    if isinstance(value, dict):
        return {names(name): normal(one, names, name) for name, one in value.items()}
    if isinstance(value, list):
        return [normal(one, names) for one in value]
    if isinstance(value, str):
        return _normal_text(value, names)
    return value


def _normal_text(text: str, names: Names) -> str:
    if text.startswith(("tensor(", "simulated(")):
        return "<tensor>"
    if "outside the output folder" in text:
        return "**** ERROR: Saving image outside the output folder is not allowed."
    # The node definitions at hand are of the newer version.
    text = re.sub(r"\(list of length \d+\)", "(list of some length)", text)
    text = re.sub(r"cannot identify image file '[^']*'", "cannot identify image file '<path>'", text)
    return names(TEMP_NAME.sub("_temp_xxxxx_", text))


def decoded_frame(frame: bytes) -> dict[str, Any]:
    """A binary frame's header, as the recorder noted it."""
    event = int.from_bytes(frame[:4], "big")
    if event == 1:
        return {"event": 1, "image_type": int.from_bytes(frame[4:8], "big")}
    if event == 3:
        length = int.from_bytes(frame[4:8], "big")
        return {"event": 3, "node": frame[8 : 8 + length].decode(), "text": frame[8 + length :].decode()}
    length = int.from_bytes(frame[4:8], "big")
    return {"event": event, "metadata": json.loads(frame[8 : 8 + length])}


def recorded_frame(noted: dict[str, Any]) -> dict[str, Any]:
    if noted["event"] == 3:
        return decoded_frame(base64.b64decode(noted["base64"]))
    return {key: noted[key] for key in ("event", "image_type", "metadata") if key in noted}


class Socket:
    """A WebSocket whose messages wait in line, in the form of the recording."""

    def __init__(self, url: str, path: str) -> None:
        self._connection: ClientConnection = connect(url.replace("http", "ws", 1) + path, max_size=None)
        self._received: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._held: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in self._connection:
                if isinstance(message, bytes):
                    self._received.put({"binary": decoded_frame(message)})
                else:
                    self._received.put({"message": json.loads(message)})
        self._received.put(None)

    def next(self, *, status: bool) -> dict[str, Any] | None:
        """The next message; None when the socket closed. AssertionError when nothing comes.

        While a prompt starts, the next status or the next other message, whichever is wanted.
        """
        for index, held in enumerate(self._held):
            if is_status(held) == status:
                return self._held.pop(index)
            if not may_be_passed(held):
                return self._held.pop(0)
        while True:
            try:
                message = self._received.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                raise AssertionError(f"no further message came; passed over {self._held}") from None
            if message is None or is_status(message) == status:
                return message
            if not may_be_passed(message):
                self._held.append(message)
                return self._held.pop(0)
            self._held.append(message)

    def rest(self) -> list[dict[str, Any]]:
        """What came and was not asked for."""
        while not self._received.empty():
            message = self._received.get()
            if message is not None:
                self._held.append(message)
        return self._held

    def send(self, message: Any) -> None:
        self._connection.send(json.dumps(message))

    def close(self) -> None:
        self._connection.close()
        self._thread.join(WAIT_SECONDS)


def is_status(event: dict[str, Any]) -> bool:
    return "message" in event and event["message"]["type"] == "status"


def may_be_passed(event: dict[str, Any]) -> bool:
    """Whether chance orders the message and a status that another request caused: while a node runs."""
    message = event.get("message")
    if message is None:
        return False
    if message["type"] == "executing":
        return message["data"]["node"] is not None
    starting = ("status", "execution_start", "execution_cached", "progress_state", "progress")
    return message["type"] in starting


class Replay:
    """One recording against one simulator.

    `steps` maps the beginning of a note, or "open <client>" or "after POST /free", to what has to be done
    there by hand: deleting a file, killing the process. `uploads` holds the bytes of uploaded files by name,
    one after the other.
    """

    def __init__(
        self,
        url: str,
        steps: dict[str, Callable[[], None]] | None = None,
        uploads: dict[str, list[bytes]] | None = None,
    ) -> None:
        self.url = url
        self.steps = steps or {}
        self.uploads = uploads or {}
        self.names = Names()
        self.differences = Differences()
        self.sockets: dict[str, Socket] = {}
        self.statuses: dict[str, list[tuple[int, int]]] = {}
        self.client = httpx.Client(base_url=url, timeout=WAIT_SECONDS)

    def run(self, events: list[dict[str, Any]]) -> list[str]:
        """Play all events; the differences found, empty when there are none."""
        try:
            for number, event in enumerate(events):
                self._play(f"{number} {event['kind']}", event)
            for client, socket in self.sockets.items():
                if self.statuses.get(client, [(0, 0)])[-1][0] == 0:  # else the recorder left early
                    self._compare(f"rest of {client}", [], socket.rest())
            self._compare_statuses()
        finally:
            for socket in self.sockets.values():
                socket.close()
            self.client.close()
        return self.differences.found

    def _play(self, where: str, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "ws_open":
            self._step(f"open {event['client']}")
            self.sockets[event["client"]] = Socket(self.url, event["path"])
        elif kind == "ws_send":
            self.sockets[event["client"]].send(event["message"])
        elif kind == "ws_closed":
            self._closed(where, event)
        elif kind == "ws":
            self._message(where, event)
        elif kind == "http":
            self._request(where, event)
        elif kind == "http_error":
            with contextlib.suppress(httpx.ConnectError):
                self.differences.found.append(f"{where}: {self._send(event)} instead of a refusal")
        else:
            self._step(event["text"])

    def _step(self, text: str) -> None:
        for start, step in self.steps.items():
            if text.startswith(start):
                step()

    def _closed(self, where: str, event: dict[str, Any]) -> None:
        socket = self.sockets.pop(event["client"])
        if event["code"] is not None:
            message = socket.next(status=False)
            if message is not None:
                self.differences.found.append(f"{where}: {message} instead of a closed socket")
        socket.close()

    def _message(self, where: str, event: dict[str, Any]) -> None:
        if event["client"] not in self.sockets:  # opened without a client id, which was not noted
            self.sockets[event["client"]] = Socket(self.url, "/ws")
        received = self.sockets[event["client"]].next(status=is_status(event))
        if received is None:
            self.differences.found.append(f"{where}: the socket closed instead of {event}")
            return
        if "binary" in event:
            recorded: dict[str, Any] = {"binary": recorded_frame(event["binary"])}
        else:
            recorded = {"message": event["message"]}
        if is_status(recorded) and is_status(received):
            self._remember_status(event["client"], recorded, received)
        self.names.learn_temporary(recorded, received)
        self._compare(where, recorded, received)

    def _remember_status(self, client: str, recorded: dict[str, Any], received: dict[str, Any]) -> None:
        """Take the numbers out, to be compared as a series."""
        pair = [
            one["message"]["data"]["status"]["exec_info"].pop("queue_remaining")
            for one in (recorded, received)
        ]
        self.statuses.setdefault(client, []).append((pair[0], pair[1]))
        if "sid" in recorded["message"]["data"] and client == "anon":
            del recorded["message"]["data"]["sid"], received["message"]["data"]["sid"]

    def _compare_statuses(self) -> None:
        """Equal but for repetitions: 1, 1, 2 when the worker was faster, 1, 2, 2 when the request was."""
        for client, pairs in self.statuses.items():
            recorded, received = (_without_repeats([pair[side] for pair in pairs]) for side in (0, 1))
            self.differences.compare(f"statuses of {client}", recorded, received)

    def _compare(self, where: str, recorded: Any, received: Any) -> None:
        self.differences.compare(where, normal(recorded, self.names), normal(received, self.names))

    def _request(self, where: str, event: dict[str, Any]) -> None:
        """Send it and compare; a GET again and again until it answers as recorded or time is up."""
        deadline = time.monotonic() + GET_SECONDS
        while True:
            kept, self.differences = self.differences, Differences()
            self._answered(f"{where} {event['method']} {event['path']}", event, self._send(event))
            found, self.differences = self.differences.found, kept
            if not found or event["method"] != "GET" or time.monotonic() > deadline:
                self.differences.found += found
                self._step(f"after {event['method']} {event['path']}")
                return
            time.sleep(0.02)

    def _answered(self, where: str, event: dict[str, Any], response: httpx.Response) -> None:
        self.differences.compare(f"{where} status", event["status"], response.status_code)
        told, answer = event.get("response"), _body(response)
        if isinstance(told, dict) and ("base64" in told or "omitted_bytes" in told):
            kind = response.headers.get("content-type", "").partition(";")[0]
            self.differences.compare(f"{where} type", event["content_type"].partition(";")[0], kind)
            self._headers(where, event, response)
            return
        if event["content_type"]:
            kind = response.headers.get("content-type")
            self.differences.compare(f"{where} type", event["content_type"], kind)
        if event["path"] == "/prompt" and "prompt_id" in (told or {}) and "prompt_id" in (answer or {}):
            self.names.learn(told["prompt_id"], answer["prompt_id"])
        if event["path"].startswith("/internal/logs"):
            told, answer = sorted(told or {}), sorted(answer)
        told, answer = self._known_only(event["path"], told), self._known_only(event["path"], answer)
        self._compare(where, _sorted_outputs(told), _sorted_outputs(answer))

    def _known_only(self, path: str, answer: Any) -> Any:
        """Lists without the prompts of earlier recordings, which this simulator never ran."""
        if not isinstance(answer, dict):
            return answer
        if path.partition("?")[0] == "/history":
            return {key: value for key, value in answer.items() if self.names.knows(key)}
        if path.partition("?")[0] == "/api/jobs" and "jobs" in answer:
            return [job for job in answer["jobs"] if self.names.knows(job["id"])]
        return answer

    def _headers(self, where: str, event: dict[str, Any], response: httpx.Response) -> None:
        recorded = event["response_headers"]
        for name in ("Content-Disposition", "X-Content-Type-Options"):
            received = TEMP_NAME.sub("_temp_xxxxx_", response.headers.get(name, ""))
            expected = TEMP_NAME.sub("_temp_xxxxx_", recorded.get(name, received))
            self.differences.compare(f"{where} {name}", expected, received)
        for name in ("ETag", "Last-Modified"):
            self.differences.compare(f"{where} has {name}", name in recorded, name in response.headers)

    def _send(self, event: dict[str, Any]) -> httpx.Response:
        path = self.names.translated(event["path"])
        headers = dict(event.get("request_headers", {}))
        if "Host" in headers:
            headers["Host"] = self.url.rpartition("/")[2]
        form = event.get("request_form")
        if isinstance(form, dict):
            return self._send_form(path, form)
        if isinstance(form, str):
            return self.client.request(event["method"], path, content=form.encode(), headers=headers)
        if "request" in event:
            request = event["request"]
            if "number" in request and "prompt_id" not in request and event["status"] == 200:
                # Equal numbers run in the order of their ids, so these have to be the recorded ones.
                request = {**request, "prompt_id": event["response"]["prompt_id"]}
            body = self.names.translated(json.dumps(request)).encode()
            headers.setdefault("Content-Type", "application/json")
            return self.client.request(event["method"], path, content=body, headers=headers)
        return self.client.request(event["method"], path, headers=headers)

    def _send_form(self, path: str, form: dict[str, str]) -> httpx.Response:
        files: dict[str, Any] = {key: (None, value) for key, value in form.items()}
        for key, value in form.items():
            if value.startswith("<"):
                name = value.removeprefix("<png file ").removesuffix(">")
                files[key] = (name.replace("/", "%2F"), self.uploads[name].pop(0), "image/png")
        return self.client.post(path, files=files)


def _body(response: httpx.Response) -> Any:
    if not response.content:
        return None
    if "json" in response.headers.get("content-type", ""):
        return response.json()
    return response.text


def _without_repeats(numbers: list[int]) -> list[int]:
    return [one for index, one in enumerate(numbers) if index == 0 or numbers[index - 1] != one]


def _sorted_outputs(answer: Any) -> Any:
    """ComfyUI keeps the outputs of a prompt in a set: their order tells nothing."""
    if isinstance(answer, dict):
        return {key: _sorted_outputs(value) for key, value in answer.items()}
    if isinstance(answer, list):
        if len(answer) == 5 and isinstance(answer[2], dict) and isinstance(answer[4], list):
            return [*answer[:4], sorted(answer[4])]
        return [_sorted_outputs(value) for value in answer]
    return answer
