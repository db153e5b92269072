"""Waiting for something asynchronous: a deadline instead of a sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def poll(question: Callable[[], Found], seconds: float = 10.0, what: str = "") -> Found:
    """Ask until the answer is true, and return it. AssertionError with the last answer after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'no answer'} within {seconds:g} s; last answer: {answer!r}")
        time.sleep(0.02)
