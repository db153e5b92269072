"""Early pytest plugin: throw-away PostgreSQL and Valkey for this run, unless the environment names servers.

Early, because pytest-django reads the settings before any conftest. Of a parallel run each worker has its
own stores, so that one's flush empties nobody else's; the process that hands out the tests needs none.
"""

import contextlib
import os
import sys
import tempfile
import time

import pytest

from marketplace.quickstart.stores import temporary_stores

NO_STORE = {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://localhost:1"}

_held = contextlib.ExitStack()
_header = "stores: those of DATABASE_URL and REDIS_URL"
_hands_out = "PYTEST_XDIST_WORKER" not in os.environ and any(
    word.startswith(("-n", "--numprocesses")) for word in sys.argv[1:]
)
_named = bool(os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))

# Tests must not depend on a secret of somebody's .env, nor leave files in ./var.
os.environ.setdefault("SECRET_KEY", "tests-only-" + "x" * 40)
os.environ["ETA_CACHE_SECONDS"] = "0"  # a test reads what it has just written
os.environ["DATA_DIR"] = _held.enter_context(tempfile.TemporaryDirectory(prefix="market-data-"))

if _hands_out and not _named:
    os.environ.update(NO_STORE)
    _header = "stores: embedded, one pair for each worker"
elif not _named:
    _began = time.perf_counter()
    os.environ.update(_held.enter_context(temporary_stores()))
    _header = f"stores: embedded, up in {time.perf_counter() - _began:.1f} s"


def pytest_configure(config: pytest.Config) -> None:
    """The settings are read by now; workers inherit the environment and must find no names in it."""
    if _hands_out and not _named:
        for name in NO_STORE:
            del os.environ[name]


def pytest_report_header(config: pytest.Config) -> str:
    return _header


def pytest_unconfigure(config: pytest.Config) -> None:
    _held.close()
