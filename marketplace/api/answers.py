"""Answers given before or beside Django: small JSON bodies over plain ASGI."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from gpu_agent.protocol.messages import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RETRY_AFTER_SECONDS = 2


def error_body(code: str, message: str, field: str = "", **more: Any) -> dict[str, Any]:
    """The body of every error of the student API."""
    return {"code": code, "message": message, "field": field, "problems": [], **more}


def refusal(path: str, status: int, code: str, message: str, field: str = "") -> JSONResponse:
    """An error in the words of the API the path belongs to."""
    headers: Mapping[str, str] = {}
    if status in (429, 503, 507):
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if path.startswith("/agent/"):
        return JSONResponse(Refused(code, message, field).to_dict(), status, headers)
    return JSONResponse(error_body(code, message, field), status, headers)
