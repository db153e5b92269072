"""The routes of the simulated ComfyUI; all of them also under /api."""

import asyncio
import contextlib
import json
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gpu_agent.simulator import jobs, models, uploads
from gpu_agent.simulator.executor import work
from gpu_agent.simulator.machine import Machine
from gpu_agent.simulator.queue import Entry
from gpu_agent.simulator.validation import validate

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Answer = Callable[[Request], Awaitable[Response]]


def answer(content: Any, status: int = 200) -> Response:
    """JSON as aiohttp writes it."""
    return Response(json.dumps(content), status, media_type="application/json; charset=utf-8")


def is_prompt_id(value: object) -> bool:
    """A UUID in its canonical form: lowercase, with hyphens."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


class Routes:
    """Handlers that share one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # --- prompts -------------------------------------------------------------------------------

    async def get_prompt(self, request: Request) -> Response:
        return answer(self.machine.status())

    async def post_prompt(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.machine.log("got prompt")
        number: float = self.machine.number
        if "number" in body:
            number = float(body["number"])
        else:
            if "front" in body and body["front"]:  # noqa: RUF019 - the body may be a list
                number = -number
            self.machine.number += 1
        if "prompt" not in body:
            return _refused("no_prompt", "No prompt provided", "No prompt provided")
        prompt_id = body.get("prompt_id")
        old = self.machine.options.is_old
        if prompt_id is not None and not old and not is_prompt_id(prompt_id):
            details = (
                "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let "
                "the server generate one"
            )
            return _refused("invalid_prompt_id", "prompt_id must be a valid UUID", details)
        if prompt_id is None and not (old and "prompt_id" in body):
            prompt_id = uuid.uuid4()
        prompt_id = str(prompt_id)  # old versions take anything, null as "None"
        verdict = validate(body["prompt"], body.get("partial_execution_targets"), self.machine.rules)
        if verdict.error is not None:
            return answer({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        extra_data = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if not old:
            extra_data["create_time"] = int(time.time() * 1000)
        outputs = self.machine.options.order_outputs(verdict.outputs)
        self.machine.queue.put(Entry(number, prompt_id, body["prompt"], extra_data, outputs))
        if self.machine.options.misbehaviour.after_queuing():
            raise RuntimeError("fails after queuing, as told")
        return answer({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    async def get_queue(self, request: Request) -> Response:
        running, waiting = self.machine.queue.snapshot()
        return answer(
            {
                "queue_running": [entry.shown() for entry in running],
                "queue_pending": [entry.shown() for entry in waiting],
            }
        )

    async def post_queue(self, request: Request) -> Response:
        body = json.loads(await request.body())
        if body.get("clear"):
            self.machine.queue.clear()
        for prompt_id in body.get("delete", []):
            if self.machine.options.misbehaviour.takes_deletion():
                self.machine.queue.delete(prompt_id)
        return Response()

    async def post_interrupt(self, request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id") if isinstance(body, dict) else None
        running, _ = self.machine.queue.snapshot()
        if not prompt_id or any(entry.prompt_id == prompt_id for entry in running):
            self.machine.interrupt()
        return Response()

    async def post_free(self, request: Request) -> Response:
        body = json.loads(await request.body())
        for flag in ("unload_models", "free_memory"):
            if body.get(flag):
                self.machine.queue.set_flag(flag, True)
        return Response()

    # --- history and jobs ----------------------------------------------------------------------

    async def get_history(self, request: Request) -> Response:
        query = request.query_params
        max_items = int(query["max_items"]) if "max_items" in query else None
        return answer(self.machine.queue.history(None, max_items, int(query.get("offset", -1))))

    async def get_one_history(self, request: Request) -> Response:
        return answer(self.machine.queue.history(request.path_params["prompt_id"]))

    async def post_history(self, request: Request) -> Response:
        body = json.loads(await request.body())
        if body.get("clear"):
            self.machine.queue.clear_history()
        for prompt_id in body.get("delete", []):
            self.machine.queue.delete_history(prompt_id)
        return Response()

    async def get_jobs(self, request: Request) -> Response:
        try:
            return answer(jobs.job_list(self.machine.queue, dict(request.query_params)))
        except ValueError as error:
            return answer({"error": str(error)}, 400)

    async def get_job(self, request: Request) -> Response:
        job = jobs.one_job(self.machine.queue, request.path_params["prompt_id"])
        return answer({"error": "Job not found"}, 404) if job is None else answer(job)

    async def cancel_job(self, request: Request) -> Response:
        return answer({"cancelled": self._cancel(request.path_params["prompt_id"])})

    async def cancel_jobs(self, request: Request) -> Response:
        wanted = json.loads(await request.body()).get("job_ids", [])
        invalid = [one for one in wanted if not is_prompt_id(one)]
        if invalid:
            return answer({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, 400)
        cancelled = [self._cancel(one) for one in wanted]
        return answer({"cancelled": any(cancelled)})

    def _cancel(self, prompt_id: str) -> bool:
        running, _ = self.machine.queue.snapshot()
        if any(entry.prompt_id == prompt_id for entry in running):
            self.machine.interrupt()
            return True
        return self.machine.queue.delete(prompt_id)

    # --- what the server is --------------------------------------------------------------------

    async def get_system_stats(self, request: Request) -> Response:
        return answer(self.machine.system_stats())

    async def get_features(self, request: Request) -> Response:
        return answer(self.machine.features())

    async def get_object_info(self, request: Request) -> Response:
        return answer(self.machine.definitions)

    async def get_one_object_info(self, request: Request) -> Response:
        name = request.path_params["name"]
        return answer({name: self.machine.definitions[name]} if name in self.machine.definitions else {})

    async def get_models(self, request: Request) -> Response:
        return answer(list(models.MODEL_FILES))

    async def get_folder_models(self, request: Request) -> Response:
        folder = request.path_params["folder"]
        return answer(models.names(folder)) if folder in models.MODEL_FILES else Response(status_code=404)

    async def get_embeddings(self, request: Request) -> Response:
        return answer([])

    # --- files ---------------------------------------------------------------------------------

    async def get_view(self, request: Request) -> Response:
        return await asyncio.to_thread(
            uploads.view, self.machine.folders, dict(request.query_params), request.headers.get("range")
        )

    async def post_upload(self, request: Request) -> Response:
        return await uploads.upload(self.machine.folders, request)

    async def post_mask(self, request: Request) -> Response:
        return await uploads.upload(self.machine.folders, request, mask=True)

    async def get_internal_files(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            return answer([f"{name} [{kind}]" for name in self.machine.folders.listing(kind)])
        except KeyError:
            return answer({"error": "Invalid directory type"}, 400)

    async def get_raw_logs(self, request: Request) -> Response:
        size = {"cols": 80, "rows": 24}
        return answer({"entries": list(self.machine.logs), "size": size})

    async def get_executions(self, request: Request) -> Response:
        """When the simulated GPU worked. ComfyUI has no such route."""
        ran = [[one.prompt_id, one.began, one.ended] for one in self.machine.queue.executions()]
        return answer({"now": time.monotonic(), "executions": ran})

    async def serve_socket(self, socket: WebSocket) -> None:
        await self.machine.hub.serve(
            socket,
            {"status": self.machine.status()},
            self.machine.features(),
            reads=self.machine.options.misbehaviour.reads_sockets,
        )


def _refused(kind: str, message: str, details: str) -> Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return answer({"error": error, "node_errors": {}}, 400)


def _table(routes: Routes) -> list[tuple[str, str, Answer]]:
    table: list[tuple[str, str, Answer]] = [
        ("GET", "/prompt", routes.get_prompt),
        ("POST", "/prompt", routes.post_prompt),
        ("GET", "/queue", routes.get_queue),
        ("POST", "/queue", routes.post_queue),
        ("POST", "/interrupt", routes.post_interrupt),
        ("POST", "/free", routes.post_free),
        ("GET", "/history", routes.get_history),
        ("GET", "/history/{prompt_id}", routes.get_one_history),
        ("POST", "/history", routes.post_history),
        ("GET", "/system_stats", routes.get_system_stats),
        ("GET", "/features", routes.get_features),
        ("GET", "/object_info", routes.get_object_info),
        ("GET", "/object_info/{name}", routes.get_one_object_info),
        ("GET", "/models", routes.get_models),
        ("GET", "/models/{folder}", routes.get_folder_models),
        ("GET", "/embeddings", routes.get_embeddings),
        ("GET", "/view", routes.get_view),
        ("POST", "/upload/image", routes.post_upload),
        ("POST", "/upload/mask", routes.post_mask),
    ]
    return table


def _jobs_table(routes: Routes) -> list[tuple[str, str, Answer]]:
    return [
        ("GET", "/api/jobs", routes.get_jobs),
        ("POST", "/api/jobs/cancel", routes.cancel_jobs),
        ("GET", "/api/jobs/{prompt_id}", routes.get_job),
        ("POST", "/api/jobs/{prompt_id}/cancel", routes.cancel_job),
    ]


def make_app(machine: Machine) -> Starlette:
    """The application; its worker thread runs while the application does."""
    routes = Routes(machine)
    table: list[BaseRoute] = [
        Route(prefix + path, handler, methods=[method])
        for prefix in ("", "/api")
        for method, path, handler in _table(routes)
    ]
    if not machine.options.is_old:
        table += [Route(path, handler, methods=[method]) for method, path, handler in _jobs_table(routes)]
    table += [
        Route("/internal/files/{kind}", routes.get_internal_files),
        Route("/internal/logs/raw", routes.get_raw_logs),
        Route("/simulated/executions", routes.get_executions),
        WebSocketRoute("/ws", routes.serve_socket),
        WebSocketRoute("/api/ws", routes.serve_socket),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        publishing = asyncio.create_task(machine.hub.publish())
        worker = threading.Thread(target=work, args=(machine,), name="simulator-worker", daemon=True)
        if machine.options.misbehaviour.worker_lives:
            worker.start()
        yield
        machine.stop()
        publishing.cancel()
        if worker.is_alive():
            await asyncio.to_thread(worker.join, 5)

    return Starlette(
        routes=table,
        lifespan=lifespan,
        middleware=[Middleware(Gate, machine=machine)],
        exception_handlers={HTTPException: _http_error},
    )


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    # ComfyUI's route for the editor's files catches every other path, for GET.
    if status == 404 and request.method == "GET":
        return Response(status_code=404, media_type="application/octet-stream")
    return Response("405: Method Not Allowed", 405, media_type="text/plain; charset=utf-8")


class Gate:
    """Refuses other origins, and answers what a handler raises with aiohttp's plain 500."""

    def __init__(self, app: ASGIApp, machine: Machine) -> None:
        self.app = app
        self.machine = machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        if scope["type"] == "http" and self._is_foreign(headers):
            await Response(status_code=403)(scope, receive, send)
            return
        started = False

        async def watch(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:  # aiohttp answers whatever a handler raises the same way
            self.machine.log(traceback.format_exc())
            if started or scope["type"] != "http":
                raise
            words = "500 Internal Server Error\n\nServer got itself in trouble"
            await Response(words, 500, media_type="text/plain; charset=utf-8")(scope, receive, send)

    def _is_foreign(self, headers: dict[str, str]) -> bool:
        if not self.machine.options.is_old and headers.get("sec-fetch-site") == "cross-site":
            return True
        origin, host = headers.get("origin"), headers.get("host", "")
        if not origin or urlsplit(f"//{host}").hostname not in LOOPBACK:
            return False
        return urlsplit(origin).netloc.lower() != host.lower()
