"""Who is asking, decided from headers alone: before a body is read, and for sockets."""

from importlib import import_module
from typing import cast

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.http.cookie import parse_cookie

from accounts.models import User
from marketplace.api import tokens
from marketplace.api.answers import Scope
from marketplace.fleet import registry
from marketplace.fleet.models import Agent


def header(scope: Scope, name: bytes) -> str:
    """The header's value, "" without it."""
    for key, value in scope["headers"]:
        if key == name:
            return cast(bytes, value).decode("latin-1")
    return ""


def bearer(text: str) -> str:
    """The token of an Authorization header, "" without one."""
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def find_agent(scope: Scope) -> Agent | None:
    """The agent whose token the request carries."""
    token = bearer(header(scope, b"authorization"))
    return registry.authenticate(token) if token else None


def find_user(scope: Scope) -> User | None:
    """The user of the request's API token or session."""
    token = bearer(header(scope, b"authorization"))
    if token:
        row = tokens.find(token)
        return row.user if row else None
    key = parse_cookie(header(scope, b"cookie")).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)  # checks the password's hash, too: a changed password ends sessions
    return user if isinstance(user, User) and user.is_active else None


def _is_known(scope: Scope) -> bool:
    return find_agent(scope) is not None or find_user(scope) is not None


# Threads of their own: a slow query must not hold up everybody else's.
afind_agent = database_sync_to_async(find_agent, thread_sensitive=False)
afind_user = database_sync_to_async(find_user, thread_sensitive=False)
ais_known = database_sync_to_async(_is_known, thread_sensitive=False)
