"""When PostgreSQL is away, a page says so and asks again by itself, instead of claiming to be broken."""

from collections.abc import Callable

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from psycopg_pool import PoolTimeout

RETRY_AFTER_SECONDS = 5
log = structlog.get_logger(__name__)


class DatabaseAway:
    """Middleware: 503 with Retry-After for a page whose database cannot be reached."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answers for a view that could not reach the database; leaves every other fault alone."""
        if not isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
            return None
        log.warning("pages.database_away", fault=type(error).__name__)
        # Without the request: no context processor may ask the database again.
        return HttpResponse(
            render_to_string("503.html"), status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
