"""ComfyUI over HTTP, from 0.3.45 on: what differs between versions is found out, not assumed.

No call sends `number` or `front`: two prompts with an equal number and id kill ComfyUI's worker thread.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
DOWNLOAD_TIMEOUT = httpx.Timeout(60.0, connect=3.0)
CHUNK_BYTES = 256 * 1024


class ComfyUIError(Exception):
    """A call to ComfyUI did not do what was asked."""


class Unreachable(ComfyUIError):
    """No connection: the request was surely not received."""


class Unsure(ComfyUIError):
    """A timeout, a broken answer or a 5xx: the request may have been carried out."""


class Rejected(ComfyUIError):
    """A 4xx: ComfyUI read the request and refused it. `body` is its JSON, {} if there was none."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"ComfyUI answered {status}")
        self.status = status
        self.body = body


class Place(StrEnum):
    """Where a prompt is."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Queue:
    """Prompt ids in ComfyUI's queue, in its order."""

    running: tuple[str, ...]
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Submitted:
    """POST /prompt's 200. `node_errors` not empty: only part of the graph was accepted."""

    prompt_id: str
    node_errors: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A history entry, as far as it matters."""

    outputs: dict[str, Any]
    success: bool
    interrupted: bool
    error: dict[str, Any] | None  # ComfyUI's execution_error data
    executing_ms: int | None  # by ComfyUI's own clock, start → end
    cached: frozenset[str]


class ComfyUI:
    """Client of one ComfyUI. All methods raise `ComfyUIError`s only."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT, trust_env=False)
        self._has_jobs: bool | None = None  # /api/jobs exists (0.6 and later); None = not asked yet

    async def aclose(self) -> None:
        await self._http.aclose()

    def forget_features(self) -> None:
        """It was restarted, perhaps as another version."""
        self._has_jobs = None

    # --- prompts -------------------------------------------------------------------------

    async def submit(self, graph: dict[str, Any], prompt_id: str, client_id: str, preview: str) -> Submitted:
        """Queue a graph under our id. `Rejected`: refused; `Unsure`: look it up, never post again blindly."""
        body = {
            "prompt": graph,
            "client_id": client_id,
            "prompt_id": prompt_id,
            "extra_data": {"preview_method": preview},
        }
        answer = _object(await self._send("POST", "/prompt", json=body))
        errors = answer.get("node_errors")
        return Submitted(str(answer.get("prompt_id", "")), errors if isinstance(errors, dict) else {})

    async def where(self, prompt_id: str) -> Place:
        """Queue first, then history: prompts only ever move that way."""
        if await self._jobs_known():
            return await self._where_by_jobs(prompt_id)
        queue = await self.queue()
        if prompt_id in queue.running:
            return Place.RUNNING
        if prompt_id in queue.pending:
            return Place.PENDING
        return Place.ENDED if await self.history(prompt_id) is not None else Place.NOWHERE

    async def _where_by_jobs(self, prompt_id: str) -> Place:
        try:
            answer = _object(await self._send("GET", f"/api/jobs/{quote(prompt_id)}"))
        except Rejected as error:
            if error.status == 404:
                return Place.NOWHERE
            raise
        status = answer.get("status")
        return {"pending": Place.PENDING, "in_progress": Place.RUNNING}.get(str(status), Place.ENDED)

    async def _jobs_known(self) -> bool:
        if self._has_jobs is None:
            try:
                answer = await self._send("GET", "/api/jobs", params={"limit": "1"})
                self._has_jobs = isinstance(answer, dict) and "jobs" in answer
            except Rejected:
                self._has_jobs = False
        return self._has_jobs

    async def queue(self) -> Queue:
        answer = _object(await self._send("GET", "/queue"))
        return Queue(_ids(answer.get("queue_running")), _ids(answer.get("queue_pending")))

    async def history(self, prompt_id: str) -> Ended | None:
        """The end of a prompt; None while it has none (or never had, or it was deleted)."""
        answer = _object(await self._send("GET", f"/history/{quote(prompt_id)}"))
        entry = answer.get(prompt_id)
        return _ended(entry) if isinstance(entry, dict) else None

    async def delete_history(self, prompt_id: str) -> None:
        await self._send("POST", "/history", json={"delete": [prompt_id]})

    async def dequeue(self, prompt_id: str) -> None:
        """Take a pending prompt out of the queue. Leaves no trace; nothing happens to a running one."""
        await self._send("POST", "/queue", json={"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        """Ask the running prompt to stop, if it is this one. May get lost: repeat until it has ended.

        Versions before 0.3.57 ignore the id and stop whatever runs, so look first.
        """
        await self._send("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def free(self) -> None:
        """Unload models and drop cached node outputs, after the current prompt."""
        await self._send("POST", "/free", json={"unload_models": True, "free_memory": True})

    # --- what it has ---------------------------------------------------------------------

    async def system_stats(self) -> dict[str, Any]:
        return _object(await self._send("GET", "/system_stats"))

    async def object_info(self) -> bytes:
        """All node definitions, as ComfyUI wrote them (about 1 MB of JSON)."""
        return (await self._request("GET", "/object_info", timeout=DOWNLOAD_TIMEOUT)).content

    async def model_folders(self) -> tuple[str, ...] | None:
        """Names of the model folders; None where ComfyUI has no such list."""
        try:
            answer = await self._send("GET", "/models")
        except Rejected:
            return None
        return tuple(item for item in answer if isinstance(item, str)) if isinstance(answer, list) else None

    async def models(self, folder: str) -> tuple[str, ...]:
        answer = await self._send("GET", f"/models/{quote(folder)}")
        return tuple(item for item in answer if isinstance(item, str)) if isinstance(answer, list) else ()

    # --- files ---------------------------------------------------------------------------

    async def upload(self, path: Path, name: str, subfolder: str) -> str:
        """Put an input file into its own sub-folder; returns `subfolder/name` as ComfyUI stored it."""
        with path.open("rb") as file:
            answer = _object(
                await self._send(
                    "POST",
                    "/upload/image",
                    data={"subfolder": subfolder, "type": "input", "overwrite": "true"},
                    files={"image": (name, file, "application/octet-stream")},
                    timeout=DOWNLOAD_TIMEOUT,
                )
            )
        stored, folder = answer.get("name"), answer.get("subfolder")
        if not isinstance(stored, str) or not isinstance(folder, str):
            raise Unsure("ComfyUI did not say where it put the upload")
        return f"{folder}/{stored}" if folder else stored

    async def view(self, filename: str, subfolder: str, folder: str) -> AsyncIterator[bytes]:
        """Stream a file. `Rejected` with 404: the file is gone."""
        params = {"filename": filename, "subfolder": subfolder, "type": folder}
        try:
            async with self._http.stream("GET", "/view", params=params, timeout=DOWNLOAD_TIMEOUT) as response:
                if response.status_code >= 400:
                    await response.aread()
                _check(response)
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    yield chunk
        except httpx.ConnectError as error:
            raise Unreachable(str(error)) from error
        except httpx.HTTPError as error:
            raise Unsure(f"{type(error).__name__}: {error}") from error

    # --- inside --------------------------------------------------------------------------

    async def _send(self, method: str, path: str, **options: Any) -> Any:
        response = await self._request(method, path, **options)
        if not response.content.strip():
            return None
        try:
            return response.json()
        except ValueError as error:
            raise Unsure(f"{method} {path.split('?')[0]}: the answer is not JSON") from error

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        except httpx.HTTPError as error:
            raise Unsure(f"{type(error).__name__}: {error}") from error
        _check(response)
        return response


def _check(response: httpx.Response) -> None:
    if response.status_code < 400:
        return
    if response.status_code >= 500:
        raise Unsure(f"ComfyUI answered {response.status_code}")
    try:
        body = response.json()
    except ValueError:
        body = {}
    raise Rejected(response.status_code, body if isinstance(body, dict) else {})


def _object(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Unsure("ComfyUI's answer is not an object")
    return cast(dict[str, Any], answer)


def _ids(items: object) -> tuple[str, ...]:
    """Prompt ids of queue entries `[number, id, graph, extra, targets]`."""
    if not isinstance(items, list):
        return ()
    return tuple(str(item[1]) for item in items if isinstance(item, list) and len(item) > 1)


def _ended(entry: Mapping[str, Any]) -> Ended:
    outputs = entry.get("outputs")
    status = entry.get("status")
    status = status if isinstance(status, dict) else {}
    messages = _messages(status.get("messages"))
    interrupted = "execution_interrupted" in messages
    error = messages.get("execution_error")
    success = status.get("status_str", "success") == "success" and not interrupted and error is None
    cached = messages.get("execution_cached", {}).get("nodes")
    return Ended(
        outputs=outputs if isinstance(outputs, dict) else {},
        success=success,
        interrupted=interrupted,
        error=None if success else error,
        executing_ms=_executing_ms(messages),
        cached=frozenset(map(str, cached)) if isinstance(cached, list) else frozenset(),
    )


def _messages(items: object) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in items if isinstance(items, list) else ():
        match item:
            case [str(kind), dict(data)]:
                found[kind] = data
    return found


def _executing_ms(messages: Mapping[str, Mapping[str, Any]]) -> int | None:
    start = messages.get("execution_start", {}).get("timestamp")
    ends = ("execution_success", "execution_error", "execution_interrupted")
    end = next((messages[kind].get("timestamp") for kind in ends if kind in messages), None)
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    return max(0, end - start)  # the host's clock may have been set back meanwhile


def dump_canonical(value: object) -> bytes:
    """JSON that is equal for equal values: what digests are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
