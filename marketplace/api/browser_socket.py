"""Who may open the browsers' socket: pages of this site, and programs with an API token."""

from urllib.parse import urlsplit

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http.request import split_domain_port, validate_host

from marketplace.api import callers
from marketplace.api.answers import Application, Receive, Scope, Send
from marketplace.live.consumers import LiveConsumer

CLOSE_FOREIGN_ORIGIN = 4403
CLOSE_TRY_LATER = 1013
_consumer: Application = LiveConsumer.as_asgi()


async def browser_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Authenticate by header alone, then hand over to the consumer with `scope["user"]`.

    A browser sends its cookie with a socket any page opens, so its Origin must be ours. A token travels in a
    header no page can set.
    """
    by_token = callers.bearer(callers.header(scope, b"authorization"))
    if not by_token and not is_own_origin(callers.header(scope, b"origin"), callers.header(scope, b"host")):
        await _close(receive, send, CLOSE_FOREIGN_ORIGIN)
        return
    try:
        user = await callers.afind_user(scope)
    except (OperationalError, InterfaceError):
        await _close(receive, send, CLOSE_TRY_LATER)
        return
    await _consumer({**scope, "user": user}, receive, send)


def is_own_origin(origin: str, host: str) -> bool:
    """Whether the page is one of this site's: its host and port are those it calls, or it is trusted."""
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    domain, _port = split_domain_port(host.lower())
    allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    return bool(origin) and validate_host(domain, allowed) and urlsplit(origin).netloc.lower() == host.lower()


async def _close(receive: Receive, send: Send, code: int) -> None:
    await receive()
    await send({"type": "websocket.close", "code": code})
