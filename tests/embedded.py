"""Early pytest plugin: throw-away PostgreSQL and Valkey for this run, unless the environment names servers.

Early, because pytest-django reads the settings before any conftest.
"""

import contextlib
import os
import tempfile
import time

import pytest

from marketplace.quickstart.stores import temporary_stores

_held = contextlib.ExitStack()
_header = "stores: those of DATABASE_URL and REDIS_URL"

# Tests must not depend on a secret of somebody's .env, nor leave files in ./var.
os.environ.setdefault("SECRET_KEY", "tests-only-" + "x" * 40)
os.environ["DATA_DIR"] = _held.enter_context(tempfile.TemporaryDirectory(prefix="market-data-"))

if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
    _began = time.perf_counter()
    os.environ.update(_held.enter_context(temporary_stores()))
    _header = f"stores: embedded, up in {time.perf_counter() - _began:.1f} s"


def pytest_report_header(config: pytest.Config) -> str:
    return _header


def pytest_unconfigure(config: pytest.Config) -> None:
    _held.close()
