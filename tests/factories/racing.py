"""Many threads doing one thing at once, each on its own database connection."""

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import connection

Answer = TypeVar("Answer")


def race(count: int, turn: Callable[[int], Answer]) -> list[Answer | Exception]:
    """Call `turn(n)` for n in 0…count−1, all let go together; answers or exceptions, in that order."""
    answers: list[Answer | Exception] = [TimeoutError("the thread did not end")] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '20s'")
            barrier.wait(30)
            answers[number] = turn(number)
        except Exception as error:  # the test looks at it
            answers[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers
