"""Fixtures every test may use. Network is limited to this machine by the options in pyproject.toml."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests import polling

RECORDINGS = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def poll() -> Callable[..., Any]:
    """`poll(question, seconds=10)`: ask until the answer is true; see tests/polling.py."""
    return polling.poll


@pytest.fixture
def recordings() -> Path:
    """The folder of recorded traffic beside the repository; skips where it is not at hand."""
    if not RECORDINGS.is_dir():
        pytest.skip("no recordings beside the repository")
    return RECORDINGS


@pytest.fixture
def chromium() -> str:
    """Path of a Chromium; skips without one, unless REQUIRE_BROWSER forbids the skip."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set and no Chromium was found")
        pytest.skip("no Chromium was found; .ci/run installs it")
    return found


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """End what threads of the tests still hold open, or the test database could not be dropped."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def _flush_past_the_ledgers_triggers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the flush after a `transaction=True` test empty tables whose triggers refuse to lose a row.

    Torn down before the database fixture, so the setting is in place when the flush runs; Django then closes
    the connection, and the setting goes with it.
    """
    if not _flushes(request):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")


def _flushes(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    marked = marker is not None and bool(marker.kwargs.get("transaction") or (marker.args and marker.args[0]))
    return marked or bool({"transactional_db", "live_server"} & set(request.fixturenames))
