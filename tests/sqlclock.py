"""Another time of day in the database, for one connection."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def at_offset(seconds: float) -> Iterator[None]:
    """Inside, `market_now()` is so many seconds later on this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('market.offset', %s, false)", [f"{seconds} seconds"])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('market.offset', '', false)")
