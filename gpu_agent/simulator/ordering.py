"""Which node runs next.

Among the nodes whose inputs are there, ComfyUI prefers those that show a result soon: an output node, then
a node right before one, then one two links before; else the one that was met first.
"""

from collections.abc import Callable, Iterable
from typing import Any

Link = tuple[str, str, bool]  # node it comes from, input's name, lazy


class Ordering:
    """The unfinished nodes of a prompt, in the order they were met, and what they wait for."""

    def __init__(
        self,
        links_of: Callable[[str], Iterable[Link]],
        is_output: Callable[[str], bool],
        is_cached: Callable[[str], bool],
    ) -> None:
        self._links_of = links_of
        self._is_output = is_output
        self._is_cached = is_cached
        self._waits_for: dict[str, set[str]] = {}
        self._feeds: dict[str, dict[str, None]] = {}

    def add(self, node_id: str) -> None:
        """Add a node and all it needs. Lazy inputs are added when the node asks for them."""
        stack = [node_id]
        while stack:
            current = stack.pop()
            if current in self._waits_for:
                continue
            self._waits_for[current] = set()
            self._feeds.setdefault(current, {})
            for source, _, lazy in self._links_of(current):
                if lazy or self._is_cached(source):
                    continue
                self._link(source, current)
                stack.append(source)

    def require(self, node_id: str, source: str) -> None:
        """A lazy input turned out to be needed."""
        if not self._is_cached(source):
            self.add(source)
            self._link(source, node_id)

    def pick(self) -> str | None:
        """The next node to run; None when all are done."""
        ready = [node_id for node_id, needs in self._waits_for.items() if not needs]
        if not ready:
            return None
        for distance in range(3):
            for node_id in ready:
                if self._shows_result(node_id, distance):
                    return node_id
        return ready[0]

    def done(self, node_id: str) -> None:
        del self._waits_for[node_id]
        for fed in self._feeds.pop(node_id, {}):
            self._waits_for[fed].discard(node_id)

    def _link(self, source: str, target: str) -> None:
        self._feeds.setdefault(source, {})[target] = None
        self._waits_for[target].add(source)

    def _shows_result(self, node_id: str, distance: int) -> bool:
        if distance == 0:
            return self._is_output(node_id)
        return any(self._shows_result(fed, distance - 1) for fed in self._feeds.get(node_id, {}))


def links_in(inputs: dict[str, Any], prompt: dict[str, Any], lazy: Callable[[str], bool]) -> list[Link]:
    """The links among a node's inputs."""
    return [
        (value[0], name, lazy(name))
        for name, value in inputs.items()
        if isinstance(value, list) and len(value) == 2 and value[0] in prompt
    ]
