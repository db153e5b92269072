"""Editor's files built for the tests."""

from typing import Any

from tests.jobs.job_types.comfyui.graphs import DEFINITIONS

NORMAL, MUTED, BYPASSED = 0, 2, 4


class Ui:
    """A graph of the editor in the making: `add` nodes, `wire` them, take `data`."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.subgraphs: list[dict[str, Any]] = []

    def add(self, node_id: Any, kind: str, *values: Any, mode: int = NORMAL, **more: Any) -> "Ui":
        types = DEFINITIONS.get(kind, {}).get("output", ["*"])
        outputs = [{"name": each, "type": each, "links": []} for each in types]
        node = {"id": node_id, "type": kind, "mode": mode, "inputs": [], "outputs": outputs}
        self.nodes.append({**node, "widgets_values": list(values), "properties": {}, **more})
        return self

    def wire(
        self, source: Any, slot: int, target: Any, name: str, kind: str, *, widget: bool = False
    ) -> "Ui":
        link = len(self.links) + 1
        node = next((node for node in self.nodes if node["id"] == target), None)
        self.links.append([link, source, slot, target, 0, kind])
        if node is not None:
            socket: dict[str, Any] = {"name": name, "type": kind, "link": link}
            node["inputs"].append(socket | ({"widget": {"name": name}} if widget else {}))
        return self

    @property
    def data(self) -> dict[str, Any]:
        whole = {"version": 0.4, "nodes": self.nodes, "links": self.links}
        return {**whole, "definitions": {"subgraphs": self.subgraphs}}

    def as_subgraph(
        self, name: str, inputs: list[str], outputs: dict[str, tuple[Any, int]]
    ) -> dict[str, Any]:
        """This graph as the inside of a subgraph; inputs were wired from -10, in this order of slots."""
        drawn = [[link[0] for link in self.links if link[1:3] == [-10, n]] for n in range(len(inputs))]
        ends = []
        for kind, (source, slot) in outputs.items():
            self.links.append([len(self.links) + 1, source, slot, -20, len(ends), kind])
            ends.append({"name": kind, "type": kind, "linkIds": [len(self.links)]})
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return {
            "id": name,
            "nodes": self.nodes,
            "links": [dict(zip(keys, link, strict=True)) for link in self.links],
            "inputs": [
                {"name": n, "type": "*", "linkIds": ids} for n, ids in zip(inputs, drawn, strict=True)
            ],
            "outputs": ends,
        }


def text_to_image_ui() -> Ui:
    """The graph of `graphs.text_to_image` as the editor keeps it."""
    ui = Ui()
    ui.add(1, "CheckpointLoaderSimple", "sdxl.safetensors").add(2, "CLIPTextEncode", "a lighthouse")
    ui.add(3, "CLIPTextEncode", "blurry").add(4, "EmptyLatentImage", 1024, 1024, 1)
    ui.add(5, "KSampler", 7, "randomize", 20, 8.0, "euler", "normal", 1.0)
    ui.add(6, "VAEDecode").add(7, "SaveImage", "ComfyUI")
    ui.wire(1, 1, 2, "clip", "CLIP").wire(1, 1, 3, "clip", "CLIP").wire(1, 0, 5, "model", "MODEL")
    ui.wire(2, 0, 5, "positive", "CONDITIONING").wire(3, 0, 5, "negative", "CONDITIONING")
    ui.wire(4, 0, 5, "latent_image", "LATENT").wire(5, 0, 6, "samples", "LATENT")
    return ui.wire(1, 2, 6, "vae", "VAE").wire(6, 0, 7, "images", "IMAGE")
