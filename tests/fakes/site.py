"""A site, as its agents see it: the agent API over HTTP and the WebSocket, keeping all it was told.

Speaks the real messages. Misbehaves on request: away (503), restored (timeline raised), full (507).
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import redis
import uvicorn
from rq import Queue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gpu_agent.protocol.manifest import Manifest, ManifestFile, ManifestProgress
from gpu_agent.protocol.messages import (
    DELIVERY_FUNCTION,
    PROTOCOL_VERSION,
    Command,
    Delivery,
    Handshake,
    Heartbeat,
    HeartbeatAnswer,
    Inventory,
    JobSpec,
    Progress,
    Refused,
    Report,
    ReportAnswer,
    Welcome,
    delivery_id,
    queue_name,
)
from gpu_agent.protocol.phases import Phase
from tests.polling import poll

TOKEN = "agent-token-of-the-tests"
AGENT = "0123456789abcdef0123456789abcdef"
COMMANDS = (
    "ping hello auth client|setname client|info client|setinfo client|id info exists hget hgetall hset "
    "hincrby hincrbyfloat expire persist del lrem blmove lmove sadd srem smembers zadd zrem xadd multi exec "
    "watch unwatch discard subscribe unsubscribe"
)


class FakeSite:
    """What it was told lies in its public lists; what it says is set on it before."""

    def __init__(self) -> None:
        self.url = ""
        self.redis_url = "redis://agent@127.0.0.1:1/0"
        self.timeline = 1
        self.protocols = (PROTOCOL_VERSION,)
        self.heartbeat_seconds = 0.2
        self.away = False  # 503 to everything
        self.full = False  # 507 to artifacts
        self.hears_no_end = False  # 503 to finish reports
        self.handshakes: list[Handshake] = []
        self.heartbeats: list[Heartbeat] = []
        self.inventories: list[Inventory] = []
        self.reports: list[Report] = []
        self.progress: list[Progress] = []
        self.artifacts: dict[str, bytes] = {}
        self.stored: list[dict[str, str]] = []  # query parameters of each artifact
        self.uploads: dict[str, bytes] = {}
        self.specs: dict[int, JobSpec] = {}
        self.superseded: set[int] = set()
        self.manifest: tuple[ManifestFile, ...] = ()
        self.model_progress: list[ManifestProgress] = []
        self.commands: list[Command] = []  # repeated with every heartbeat answer
        self.known_definitions: set[str] = set()
        self.missing_once: set[str] = set()  # artifacts forgotten once, when a finish names them
        self._sockets: list[WebSocket] = []

    # --- acting --------------------------------------------------------------------------

    def offer(self, spec: JobSpec) -> Delivery:
        """Have a spec ready; returns the delivery that names it."""
        spec = replace(spec, timeline=self.timeline)
        self.specs[spec.attempt] = spec
        return Delivery(PROTOCOL_VERSION, self.timeline, spec.attempt, spec.token, spec.job)

    def upload(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.uploads[digest] = content
        return digest

    # --- asking --------------------------------------------------------------------------

    def reports_of(self, attempt: int) -> list[Report]:
        return [report for report in self.reports if report.attempt == attempt]

    def finish(self, attempt: int, seconds: float = 30.0) -> Report:
        """Wait for the attempt's last report."""

        def last() -> Report | None:
            ends = [one for one in self.reports_of(attempt) if one.phase is Phase.FINISHED]
            return ends[0] if ends else None

        report = poll(last, seconds, f"no end of attempt {attempt}")
        assert report is not None
        return report

    def phases(self, attempt: int) -> list[Phase]:
        return [report.phase for report in self.reports_of(attempt)]

    # --- the agent API -------------------------------------------------------------------

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/agent/v1/handshake", self._handshake, methods=["POST"]),
                Route("/agent/v1/inventory", self._inventory, methods=["PUT"]),
                Route("/agent/v1/heartbeat", self._heartbeat, methods=["POST"]),
                Route("/agent/v1/reports", self._report, methods=["POST"]),
                Route("/agent/v1/attempts/{attempt:int}/spec", self._spec),
                Route("/agent/v1/attempts/{attempt:int}/artifacts/{sha256}", self._artifact, methods=["PUT"]),
                Route("/agent/v1/uploads/{sha256}", self._upload),
                Route("/agent/v1/manifest", self._manifest),
                Route("/agent/v1/manifest/progress", self._model_progress, methods=["POST"]),
                WebSocketRoute("/ws/agent", self._socket),
            ]
        )

    def _refusal(self, request: Request) -> Response | None:
        if self.away:
            return _refused(503, "unavailable", {"Retry-After": "0"})
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _refused(401, "not_authenticated")
        return None

    async def _handshake(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        words = Handshake.from_json(await request.body())
        if words.protocol not in self.protocols:
            return _refused(426, "protocol")
        self.handshakes.append(words)
        welcome = Welcome(
            protocol=PROTOCOL_VERSION,
            timeline=self.timeline,
            agent=AGENT,
            name="tests",
            redis_url=self.redis_url,
            queue=queue_name(AGENT),
            heartbeat_seconds=self.heartbeat_seconds,
            lease_seconds=30,
            workshop="",
        )
        return JSONResponse(welcome.to_dict())

    async def _inventory(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        words = Inventory.from_json(await request.body())
        if words.node_definitions is None and words.node_definitions_sha256 not in self.known_definitions:
            return _refused(409, "definitions_wanted")
        self.known_definitions.add(words.node_definitions_sha256)
        self.inventories.append(words)
        return JSONResponse({})

    async def _heartbeat(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        words = Heartbeat.from_json(await request.body())
        self.heartbeats.append(words)
        answer = HeartbeatAnswer(
            timeline=self.timeline,
            commands=tuple(self.commands),
            superseded=tuple(beat.attempt for beat in words.attempts if beat.attempt in self.superseded),
        )
        return JSONResponse(answer.to_dict())

    async def _report(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        words = Report.from_json(await request.body())
        if self.hears_no_end and words.phase is Phase.FINISHED:
            return _refused(503, "unavailable")
        if words.timeline != self.timeline:
            return _refused(409, "timeline")
        named = {artifact.sha256 for artifact in words.artifacts}
        if named & self.missing_once:
            for digest in named & self.missing_once:
                self.artifacts.pop(digest, None)
            self.missing_once -= named
            return _refused(409, "artifact_missing")
        self.reports.append(words)
        return JSONResponse(ReportAnswer(words.attempt not in self.superseded).to_dict())

    async def _spec(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        attempt = request.path_params["attempt"]
        spec = self.specs.get(attempt)
        if spec is None or attempt in self.superseded or str(spec.token) != request.query_params["token"]:
            return _refused(409, "superseded")
        return JSONResponse(spec.to_dict())

    async def _artifact(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        if self.full:
            return _refused(507, "store_full")
        content = await request.body()
        digest = request.path_params["sha256"]
        if hashlib.sha256(content).hexdigest() != digest:
            return _refused(400, "bad_digest")
        known = digest in self.artifacts
        self.artifacts[digest] = content
        self.stored.append(dict(request.query_params))
        return JSONResponse({}, 200 if known else 201)

    async def _upload(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        content = self.uploads.get(request.path_params["sha256"])
        return Response(content) if content is not None else _refused(404, "not_found")

    async def _manifest(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        return JSONResponse(Manifest(PROTOCOL_VERSION, self.manifest).to_dict())

    async def _model_progress(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        self.model_progress.append(ManifestProgress.from_json(await request.body()))
        return JSONResponse({})

    async def _socket(self, socket: WebSocket) -> None:
        if self.away or socket.headers.get("authorization") != f"Bearer {TOKEN}":
            await socket.close(4401)
            return
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                frame: dict[str, Any] = await socket.receive_json()
                self.progress.append(Progress.from_dict(frame["data"]))
                for command in self.commands:
                    await socket.send_json({"type": "command", "data": command.to_dict()})


def write_redis_user(admin: redis.Redis, agent: str = AGENT, token: str = TOKEN) -> None:
    """The agent's user as the site makes it: its own queue's keys, the commands of a lean worker."""
    queue = queue_name(agent)
    keys = (
        f"queue:{queue}", f"queue:{queue}:intermediate", f"job:{agent}-*", f"job::{agent}-*",
        f"results:{agent}-*", f"execution:{agent}-*", f"executions:{agent}-*", f"wip:{queue}",
        f"finished:{queue}", f"failed:{queue}", f"worker:{agent}", f"worker:{agent}:executions",
        f"workers:{queue}", "workers",
    )  # fmt: skip
    digest = hashlib.sha256(token.encode()).hexdigest()
    rules = ["reset", "on", f"#{digest}", *(f"~rq:{key}" for key in keys), f"&rq:pubsub:{agent}"]
    admin.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", queue, *rules, *(f"+{one}" for one in COMMANDS.split())
    )


def send_by_rq(admin: redis.Redis, delivery: Delivery, count: int = 1, agent: str = AGENT) -> None:
    """Deliver as the site does: a JSON job on the agent's own queue."""
    Queue(queue_name(agent), connection=admin, serializer="json").enqueue(
        DELIVERY_FUNCTION,
        args=(delivery.to_dict(),),
        job_id=delivery_id(agent, delivery.attempt, count),
        job_timeout=10, ttl=60, result_ttl=10, failure_ttl=10, description="delivery",
    )  # fmt: skip


def _refused(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(Refused(code, f"the fake site says {code}").to_dict(), status, headers)


@contextlib.contextmanager
def site_at(site: FakeSite | None = None, port: int = 0) -> Iterator[FakeSite]:
    """Serve a fake site in a thread of its own."""
    site = site or FakeSite()
    config = uvicorn.Config(
        site.app(), host="127.0.0.1", port=port, log_config=None, ws="websockets-sansio", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    poll(lambda: server.started, what="the fake site did not start")
    site.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join(10)
