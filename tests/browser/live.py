"""What tests of pages on pytest-django's own server share; the others have a whole house."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connection

Answer = TypeVar("Answer")


def aside(work: Callable[..., Answer], *arguments: Any) -> Answer:
    """Use the database beside Playwright, whose loop Django would not share a thread with."""

    def run() -> Answer:
        try:
            return work(*arguments)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
