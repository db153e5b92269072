"""Ending database connections under whoever holds them."""

from asgiref.sync import SyncToAsync
from django.db import connection, connections


def end_all_other_connections() -> None:
    """As an administrator would. The thread in which async tests use the database keeps its connection from
    test to test; it is made to notice, or the next test of its kind would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
