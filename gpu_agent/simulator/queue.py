"""Prompts waiting and running, and the history of those that ended.

As in ComfyUI, waiting prompts are a heap of tuples compared from the left: number, id, graph. Two entries
equal in number and id are therefore compared by their graphs, which Python refuses: `put` raises TypeError
with the entry already appended, and `get` raises it in the worker thread, which dies of it.
"""

import collections
import copy
import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_HISTORY = 10_000
MAX_EXECUTIONS = 10_000


class Entry(NamedTuple):
    """One prompt in the queue. The first five fields are what HTTP shows."""

    number: float
    prompt_id: str
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    outputs: list[str]

    def shown(self) -> list[Any]:
        return list(self)


@dataclass(slots=True)
class Execution:
    """When a prompt ran, by the monotonic clock of this machine, in seconds."""

    prompt_id: str
    began: float
    ended: float | None = None


class PromptQueue:
    """`on_change` is called, with no lock held by the caller, whenever the number of prompts may differ."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[Entry] = []
        self._running: dict[int, Entry] = {}
        self._executions: collections.deque[Execution] = collections.deque(maxlen=MAX_EXECUTIONS)
        self._history: dict[str, dict[str, Any]] = {}
        self._flags: dict[str, Any] = {}
        self._tasks = 0

    def put(self, entry: Entry) -> None:
        """Queue it. Raises TypeError when number and id equal those of another waiting entry."""
        with self._changed:
            heapq.heappush(self._waiting, entry)
            self._on_change()
            self._changed.notify()

    def get(self, timeout_seconds: float) -> tuple[int, Entry] | None:
        """Take the next one as running; None after the timeout or when a flag was set."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_seconds)
            if not self._waiting:
                return None
            entry = heapq.heappop(self._waiting)
            self._tasks += 1
            self._running[self._tasks] = entry
            self._executions.append(Execution(entry.prompt_id, time.monotonic()))
            self._on_change()
            return self._tasks, entry

    def finish(self, task: int, history: dict[str, Any] | None) -> None:
        """Move a running entry into the history; None forgets it."""
        with self._changed:
            entry = self._running.pop(task)
            self._executions[-1].ended = time.monotonic()  # one worker: what ends is what began last
            if history is not None:
                while len(self._history) > MAX_HISTORY:
                    self._history.pop(next(iter(self._history)))
                self._history[entry.prompt_id] = {"prompt": entry.shown(), **copy.deepcopy(history)}
            self._on_change()

    def executions(self) -> list[Execution]:
        """What ran, oldest first: no part of ComfyUI's interface, but what idle time is measured by."""
        with self._changed:
            return list(self._executions)

    def snapshot(self) -> tuple[list[Entry], list[Entry]]:
        """Running and waiting entries, the latter in the order of the heap's list."""
        with self._changed:
            return list(self._running.values()), list(self._waiting)

    def remaining(self) -> int:
        with self._changed:
            return len(self._running) + len(self._waiting)

    def clear(self) -> None:
        with self._changed:
            self._waiting = []
            self._on_change()

    def delete(self, prompt_id: str) -> bool:
        """Remove a waiting prompt without a trace; False if there is none of that id."""
        with self._changed:
            for index, entry in enumerate(self._waiting):
                if entry.prompt_id == prompt_id:
                    if len(self._waiting) == 1:
                        self.clear()  # tells of the change once more than the other branch, as observed
                    else:
                        self._waiting.pop(index)
                        heapq.heapify(self._waiting)
                    self._on_change()
                    return True
            return False

    def history(
        self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1
    ) -> dict[str, Any]:
        """Ended prompts by id, oldest first; without an offset the newest `max_items`."""
        with self._changed:
            if prompt_id is not None:
                found = self._history.get(prompt_id)
                return {} if found is None else {prompt_id: found}
            if max_items is None:
                return dict(self._history)
            if offset < 0:
                offset = max(0, len(self._history) - max_items)
            return dict(list(self._history.items())[offset : offset + max_items])

    def clear_history(self) -> None:
        with self._changed:
            self._history = {}

    def delete_history(self, prompt_id: str) -> None:
        with self._changed:
            self._history.pop(prompt_id, None)

    def set_flag(self, name: str, value: Any) -> None:
        with self._changed:
            self._flags[name] = value
            self._changed.notify()

    def has_flags(self) -> bool:
        """Whether the worker has yet to read one."""
        with self._changed:
            return bool(self._flags)

    def take_flags(self) -> dict[str, Any]:
        with self._changed:
            taken, self._flags = self._flags, {}
            return taken
