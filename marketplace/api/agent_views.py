"""The agent API: authenticate, decode the message, call one door, answer."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import redis.exceptions
import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from gpu_agent.protocol.manifest import ManifestProgress
from gpu_agent.protocol.messages import (
    MAX_MESSAGE_BYTES,
    Handshake,
    Heartbeat,
    HeartbeatAnswer,
    Inventory,
    MalformedMessage,
    Message,
    Refused,
    Report,
    Welcome,
)
from marketplace.api import strict_json
from marketplace.api.answers import RETRY_AFTER_SECONDS
from marketplace.api.callers import bearer
from marketplace.fleet import manifest, registry
from marketplace.fleet.models import Agent
from marketplace.market import dispatch, settlement

log = structlog.get_logger(__name__)
Said = TypeVar("Said", bound=Message)
AgentView = Callable[..., Message | None]


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.refused = Refused(code, message, field)


def _endpoint(method: str) -> Callable[[AgentView], Callable[..., HttpResponse]]:
    """A view of the agent API: `view(request, agent, …)` returns the answer, or raises."""

    def decorate(view: AgentView) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest, **arguments: int) -> HttpResponse:
            try:
                if request.method != method:
                    raise _Refusal(405, "method_not_allowed", f"{method} is what this address takes.")
                agent = _authenticated(request)
                words = view(request, agent, **arguments)
            except Exception as error:
                return _refused(_as_refusal(error))
            return JsonResponse(words.to_dict() if words else {})

        return answer

    return decorate


@_endpoint("POST")
def handshake(request: HttpRequest, agent: Agent) -> Welcome:
    return registry.handshake(agent, _said(request, Handshake))


@_endpoint("PUT")
def inventory(request: HttpRequest, agent: Agent) -> None:
    registry.publish_inventory(agent, _said(request, Inventory))


@_endpoint("GET")
def model_manifest(request: HttpRequest, agent: Agent) -> Message:
    return manifest.of_agent(agent)


@_endpoint("POST")
def model_progress(request: HttpRequest, agent: Agent) -> None:
    manifest.take_progress(agent, _said(request, ManifestProgress))


@_endpoint("POST")
def heartbeat(request: HttpRequest, agent: Agent) -> HeartbeatAnswer:
    beat = _said(request, Heartbeat)
    registry.seen(agent, beat)
    return dispatch.renew(agent, beat)


@_endpoint("POST")
def reports(request: HttpRequest, agent: Agent) -> Message:
    report = _said(request, Report)
    structlog.contextvars.bind_contextvars(attempt=report.attempt)
    return settlement.report(agent, report)


@_endpoint("GET")
def spec(request: HttpRequest, agent: Agent, attempt: int) -> Message:
    token = request.GET.get("token", "")
    if not token.isdecimal() or len(token) > 18:
        raise _Refusal(400, "bad_token", "token must be the attempt's fencing token.", "token")
    structlog.contextvars.bind_contextvars(attempt=attempt)
    return dispatch.spec(agent, attempt, int(token))


@_endpoint("GET")
def unknown(request: HttpRequest, agent: Agent, rest: str = "") -> None:
    raise _Refusal(404, "not_found", "The agent API has no such address.")


def _authenticated(request: HttpRequest) -> Agent:
    token = bearer(request.headers.get("Authorization", ""))
    agent = registry.authenticate(token) if token else None
    if agent is None:
        raise _Refusal(401, "not_authenticated", "An enrolled agent's token is needed.")
    structlog.contextvars.bind_contextvars(agent=agent.pk)
    return agent


def _said(request: HttpRequest, kind: type[Said]) -> Said:
    # Read past Django's own limit for forms: this API's is MAX_MESSAGE_BYTES, enforced at the edge too.
    body = request.read(MAX_MESSAGE_BYTES + 1)
    if len(body) > MAX_MESSAGE_BYTES:
        raise _Refusal(413, "too_large", f"A message may have {MAX_MESSAGE_BYTES} bytes.")
    data = strict_json.parse(body)
    if isinstance(data, dict) and type(data.get("protocol")) is int:
        # Before the shape: another version may well have another one.
        registry.check_message(data["protocol"], None)
    said = kind.from_dict(data)
    told = getattr(said, "timeline", None)
    if told is not None:
        registry.check_message(said.protocol, told)  # type: ignore[attr-defined]
    return said


def _as_refusal(error: Exception) -> _Refusal:
    match error:
        case _Refusal():
            return error
        case strict_json.BadJson():
            return _Refusal(400, "bad_json", str(error))
        case MalformedMessage():
            where = str(error).partition(": ")[0].partition(".")[2]
            return _Refusal(400, "malformed", str(error), where)
        case registry.BadValue():
            return _Refusal(400, "bad_value", str(error), error.field)
        case registry.ProtocolMismatch():
            return _Refusal(426, "protocol", str(error), "protocol")
        case registry.StaleTimeline():
            return _Refusal(409, "timeline", str(error), "timeline")
        case registry.DefinitionsWanted():
            return _Refusal(409, "definitions_wanted", str(error), "node_definitions")
        case dispatch.Superseded():
            return _Refusal(409, "superseded", "This attempt is not in this agent's hands any more.")
        case settlement.ArtifactMissing():
            return _Refusal(409, "artifact_missing", str(error), "artifacts")
        case OperationalError() | InterfaceError():
            log.warning("agent_api.database_away", fault=type(error).__name__)
            return _Refusal(503, "unavailable", "The database cannot be reached; try again.")
        case redis.exceptions.RedisError():
            log.warning("agent_api.redis_away", fault=type(error).__name__)
            return _Refusal(503, "unavailable", "Redis cannot be reached; try again.")
    log.error("agent_api.broken", exc_info=error)
    return _Refusal(500, "internal", "The site failed; it is logged with this request's id.")


def _refused(refusal: _Refusal) -> HttpResponse:
    answer = JsonResponse(refusal.refused.to_dict(), status=refusal.status)
    if refusal.status == 503:
        answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if refusal.status == 401:
        answer["WWW-Authenticate"] = "Bearer"
    if refusal.status == 426:
        answer["Upgrade"] = f"gpu-agent/{refusal.refused.supported[0]}"
    return answer
