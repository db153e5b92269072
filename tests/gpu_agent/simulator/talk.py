"""A small client, and graphs to send with it."""

import json
import uuid
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from tests.gpu_agent.simulator.replay import decoded_frame

Graph = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def picture(color: int = 255, prefix: str = "made", batch_size: int = 1) -> Graph:
    """One image of a colour, saved."""
    return {
        "1": node("EmptyImage", width=32, height=32, batch_size=batch_size, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def sleeper(seconds: float = 1.0, steps: int = 4, seed: int = 0) -> Graph:
    """Sleeps in steps at which it can be interrupted, then saves."""
    return {
        "1": node("EmptyImage", width=32, height=32, batch_size=1, color=1),
        "2": node("PeerSleep", image=["1", 0], seconds=seconds, steps=steps, seed=seed),
        "3": node("SaveImage", images=["2", 0], filename_prefix="slept"),
    }


def sampling(text: str = "a red fox", steps: int = 3, seed: int = 1) -> Graph:
    """SD 1.5 at 128²."""
    checkpoint = "v1-5-pruned-emaonly.safetensors"
    settings = {"cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    wires = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "5": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "6": node("CLIPTextEncode", text=text, clip=["4", 1]),
        "7": node("CLIPTextEncode", text="", clip=["4", 1]),
        "3": node("KSampler", seed=seed, steps=steps, **settings, **wires),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="sampled"),
    }


class Talk:
    """One client with its socket."""

    def __init__(self, url: str, *, metadata: bool = False, client_id: str = "") -> None:
        self.client_id = client_id or str(uuid.uuid4())
        self.http = httpx.Client(base_url=url, timeout=20)
        path = url.replace("http", "ws", 1) + f"/ws?clientId={self.client_id}"
        self.socket = connect(path, max_size=None, ping_interval=None, close_timeout=1)
        if metadata:
            flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            self.socket.send(json.dumps(flags))

    def post(self, graph: Graph, **more: Any) -> httpx.Response:
        return self.http.post("/prompt", json={"prompt": graph, "client_id": self.client_id, **more})

    def submit(self, graph: Graph, **more: Any) -> str:
        return str(self.post(graph, **more).raise_for_status().json()["prompt_id"])

    def until(self, kind: str, **data: Any) -> list[dict[str, Any]]:
        """All messages up to the first of that kind whose data has those values; frames as `binary`."""
        messages: list[dict[str, Any]] = []
        while True:
            raw = self.socket.recv(timeout=20)
            if isinstance(raw, bytes):
                messages.append({"type": "binary", "data": decoded_frame(raw)})
            else:
                messages.append(json.loads(raw))
            last = messages[-1]
            if last["type"] == kind and data.items() <= last["data"].items():
                return messages

    def finish(self) -> list[dict[str, Any]]:
        """All messages up to the end of the prompt."""
        return self.until("executing", node=None)

    def history(self, prompt_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/history/{prompt_id}").json()[prompt_id]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        self.http.close()


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]
