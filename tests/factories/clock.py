"""The market's clock in tests: an offset in this connection's session."""

from datetime import timedelta

from django.db import connection


def set_offset(offset: timedelta) -> None:
    """From now on market_now() is this much ahead, on this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('market.offset', %s, false)", [f"{offset.total_seconds()} seconds"])


def advance(**by: float) -> None:
    """Move the clock on, as in advance(hours=1)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(nullif(current_setting('market.offset', true), ''), '0')::interval")
        (offset,) = cursor.fetchone()
    set_offset(offset + timedelta(**by))
