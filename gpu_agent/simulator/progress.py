"""progress_state, progress and previews: what a client hears while nodes run."""

from collections.abc import Mapping
from typing import Any

from gpu_agent.simulator.websocket import Hub, preview_frame, preview_frame_with_metadata


class Progress:
    """The state of each node of one prompt that has started; cached ones never appear."""

    def __init__(self, prompt_id: str, hub: Hub, client_id: str | None) -> None:
        self._prompt_id = prompt_id
        self._hub = hub
        self._client_id = client_id
        self._nodes: dict[str, dict[str, Any]] = {}

    def start(self, node_id: str) -> None:
        self._nodes[node_id] = self._entry(node_id, 0.0, 1.0, "running")
        self._tell()

    def tick(self, node_id: str, value: int, maximum: int, jpeg: bytes | None, repeats: int = 1) -> None:
        """One step of a node. The order of state, preview and progress depends on what was negotiated."""
        entry = self._nodes[node_id]
        entry["value"], entry["max"] = value, maximum
        self._tell()
        knows_metadata = self._hub.supports(self._client_id, "supports_preview_metadata")
        if jpeg is not None and knows_metadata:
            metadata = {"node_id": node_id, "prompt_id": self._prompt_id, **_ids(node_id)}
            self._repeat(preview_frame_with_metadata(jpeg, metadata), repeats)
        data = {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node_id}
        self._hub.send("progress", data, self._client_id)
        if jpeg is not None and not knows_metadata:
            self._repeat(preview_frame(jpeg), repeats)

    def finish(self, node_id: str) -> None:
        entry = self._nodes.setdefault(node_id, self._entry(node_id, 0, 1, "pending"))
        entry["value"], entry["state"] = entry["max"], "finished"
        self._tell()

    def _repeat(self, frame: bytes, repeats: int) -> None:
        for _ in range(repeats):
            self._hub.send_bytes(frame, self._client_id)

    def _entry(self, node_id: str, value: float, maximum: float, state: str) -> dict[str, Any]:
        ids: Mapping[str, Any] = {"node_id": node_id, "prompt_id": self._prompt_id, **_ids(node_id)}
        return {"value": value, "max": maximum, "state": state, **ids}

    def _tell(self) -> None:
        self._hub.send(
            "progress_state", {"prompt_id": self._prompt_id, "nodes": self._nodes}, self._client_id
        )


def _ids(node_id: str) -> dict[str, Any]:
    return {"display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}
