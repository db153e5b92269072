"""A graph seen as a price sees it: constants followed through links, sizes of images and latents.

Everything is answered once and remembered, and long graphs are answered sources first, so that neither
cycles, switch bombs nor chains of thousands of nodes cost more than one visit per linked output.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from jobs.job_types.base import UploadedFile
from jobs.job_types.comfyui import constants, graph, sizes, stock
from jobs.job_types.comfyui.traits import (
    ASSUMED_CHUNK,
    MAX_COUNT,
    UNKNOWN_IMAGE,
    UNKNOWN_LATENT,
    Image,
    Latent,
    Scalar,
    as_number,
)

T = TypeVar("T")
_DEEP = 40  # graphs with longer chains of nodes are answered sources first


class Scene:
    """Answers about one structured graph. `files`: file name in the graph → upload. Never raises."""

    def __init__(
        self,
        nodes: graph.Graph,
        files: Mapping[str, UploadedFile],
        outputs: Collection[str] | None = None,
        *,
        like: "Scene | None" = None,
    ) -> None:
        """`like`: of a graph with the same links, which need not be followed again."""
        self.nodes = nodes
        self.files = files
        self._memo: dict[tuple[str, str, int], Any] = {}
        self._through: dict[graph.Link, graph.Link | None] = {}
        self.wires: dict[str, dict[str, graph.Link]]  # of a node: input → link
        self.order: list[str]
        self.long: bool
        if like is not None:
            self.wires, self.order, self.long = like.wires, like.order, like.long
        else:
            self.wires = {node_id: dict(graph.links(node)) for node_id, node in nodes.items()}
            self.order, around = graph.topological(nodes)
            # Whether an answer may have to reach so far back that it must be asked for sources first.
            self.long = bool(around) or self._longest_chain() > _DEEP
        if self.long:
            for link in self.sources_first():
                self.items(link[0])
                self.value_at(link)
                self.image_at(link)
                self.latent_at(link)
        self.live = self._reached(_outputs(nodes) if outputs is None else outputs)

    @property
    def answers(self) -> int:
        """How many different questions were answered: a bounded number for each link of the graph."""
        return len(self._memo)

    # --- asking --------------------------------------------------------------------------

    def kind(self, node: str) -> str:
        return str(self.nodes[node]["class_type"])

    def has(self, node: str, field: str) -> bool:
        return field in self.nodes[node]["inputs"]

    def remember(self, what: str, node: str, slot: int, fallback: T, answer: Callable[[], T]) -> T:
        """Answer once; `fallback` is what a question that comes back to itself gets."""
        key = (what, node, slot)
        if key not in self._memo:
            self._memo[key] = fallback
            self._memo[key] = answer()
        found: T = self._memo[key]
        return found

    def source(self, node: str, field: str) -> graph.Link | None:
        """The output that feeds an input, seen through switches; None where nothing does."""
        found = self.wires[node].get(field)
        if found is None:
            return None
        passed: list[graph.Link] = []
        while found is not None and found not in self._through:
            if found[0] not in self.nodes or found in passed:
                return None
            passed.append(found)
            if self.kind(found[0]) != "ComfySwitchNode":
                self._through[found] = found
            else:
                found = self.wires[found[0]].get(self.branch(found[0]))
        end = None if found is None else self._through[found]
        for link in passed:  # a long chain of switches is walked once, not once for each user
            self._through[link] = end
        return end

    def branch(self, switch: str) -> str:
        """Which input of a ComfySwitchNode runs; the second where its condition can't be followed."""
        chosen = self.value(switch, "switch")
        return "on_false" if chosen is not None and not chosen else "on_true"

    def value(self, node: str, field: str) -> Scalar | None:
        """The constant an input will have, None where it can't be told before running."""
        raw = self.nodes[node]["inputs"].get(field)
        if isinstance(raw, Scalar):
            return raw
        link = graph.link(raw)
        if link is None or link[0] not in self.nodes:
            return None
        return self.value_at(link)

    def value_at(self, link: graph.Link) -> Scalar | None:
        return self.remember("value", link[0], link[1], None, lambda: constants.output_value(self, *link))

    def number(self, node: str, field: str, default: float) -> float:
        """`value` as a finite number within ±1e7, `default` where there is none."""
        found = as_number(self.value(node, field))
        return default if found is None else max(-MAX_COUNT, min(MAX_COUNT, found))

    def text(self, node: str, field: str) -> str:
        found = self.value(node, field)
        return found if isinstance(found, str) else ""

    def image(self, node: str, *fields: str) -> Image:
        """Size of the image (or mask, or video) at the first of `fields` that is linked."""
        inputs = self.nodes[node]["inputs"]
        for field in fields:
            link = self.source(node, field) if field in inputs else None
            if link is not None:
                return self.image_at(link)
        return UNKNOWN_IMAGE

    def given(self, node: str) -> Image:
        """The picture a node is given, whatever its input is called; or what the thing it is given was read
        off (depth, poses, tracks)."""
        return self.remember("given", node, 0, UNKNOWN_IMAGE, lambda: sizes.given(self, node))

    def image_at(self, link: graph.Link) -> Image:
        return self.remember(
            "image", link[0], link[1], UNKNOWN_IMAGE, lambda: sizes.output_image(self, *link)
        )

    def latent(self, node: str, *fields: str) -> Latent:
        """The latent at the first of `fields` that is linked."""
        inputs = self.nodes[node]["inputs"]
        for field in fields:
            link = self.source(node, field) if field in inputs else None
            if link is not None:
                return self.latent_at(link)
        return UNKNOWN_LATENT

    def latent_at(self, link: graph.Link) -> Latent:
        return self.remember(
            "latent", link[0], link[1], UNKNOWN_LATENT, lambda: sizes.output_latent(self, *link)
        )

    def runs(self, node: str) -> float:
        """How often a node runs: ComfyUI runs it once for each item of the longest list it is fed."""
        return self.remember("runs", node, 0, 1.0, lambda: self._runs(node))

    def sources_first(self) -> Iterator[graph.Link]:
        """Every linked output, those first that others depend on: asked in this order, no answer has to
        reach further back than one link."""
        slots: dict[str, set[int]] = {}
        for wires in self.wires.values():
            for source, slot in wires.values():
                slots.setdefault(source, set()).add(slot)
        for node_id in self.order:
            for slot in slots.get(node_id, ()):
                yield node_id, slot

    # --- inside --------------------------------------------------------------------------

    def _longest_chain(self) -> int:
        """Nodes on the longest way through the graph."""
        lengths: dict[str, int] = {}
        for node in self.order:
            before = (lengths.get(source, 0) for _, (source, _) in self.wires[node].items())
            lengths[node] = 1 + max(before, default=0)
        return max(lengths.values(), default=0)

    def _runs(self, node: str) -> float:
        if self.kind(node) in stock.TAKES_LISTS:
            return 1.0
        lengths = [self.items(source) for _, (source, _) in self.wires[node].items()]
        return max(lengths, default=1.0)

    def items(self, node: str) -> float:
        """Items in the list a node gives out; 1 for what is no list."""
        return self.remember("items", node, 0, 1.0, lambda: self._count_items(node))

    def _count_items(self, node: str) -> float:
        kind = self.kind(node)
        if kind == "ComfySwitchNode":
            chosen = self.source(node, self.branch(node))
            return self.items(chosen[0]) if chosen else 1.0
        if kind == "CreateList":
            links = self.wires[node].items()
            return min(MAX_COUNT, math.fsum(self.items(source) for _, (source, _) in links)) or 1.0
        if kind in ("RebatchImages", "RebatchLatents"):
            whole = self.image(node, "images").count
            if kind == "RebatchLatents":
                whole = self.latent(node, "latents").batch
            return math.ceil(whole / max(1.0, self.number(node, "batch_size", 1)))
        if kind == "SplitImageToTileList":
            image = self.image(node, "image")
            across = math.ceil(image.width / max(64.0, self.number(node, "tile_width", 1024) / 2))
            down = math.ceil(image.height / max(64.0, self.number(node, "tile_height", 1024) / 2))
            return across * down
        if kind == "WanDancerPadKeyframesList":
            return max(1.0, self.number(node, "num_segments", 1))
        if kind == "SeedVR2TemporalChunk":
            overlap = 4 * max(0.0, self.number(node, "temporal_overlap", 0))
            span = max(4.0, self.number(node, "chunking_mode.frames_per_chunk", ASSUMED_CHUNK) - overlap)
            latent = self.latent(node, "latent")
            return math.ceil(max(latent.frames, latent.batch) / span)
        if kind in ("ShuffleDataset", "ShuffleImageTextDataset", "MergeImageLists", "ImageDeduplication"):
            linked = self.wires[node].items()
            return max((self.items(source) for _, (source, _) in linked), default=1.0)
        return self.runs(node)

    def _reached(self, outputs: Collection[str]) -> frozenset[str]:
        """Nodes that run: behind an output node, on the chosen side of every switch."""
        stack = [node for node in outputs if node in self.nodes]
        seen = set(stack)
        while stack:
            node = stack.pop()
            skipped = ""
            if self.kind(node) == "ComfySwitchNode":
                skipped = "on_true" if self.branch(node) == "on_false" else "on_false"
            for field, (source, _) in self.wires[node].items():
                if field != skipped and source in self.nodes and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return frozenset(seen)


def _outputs(nodes: graph.Graph) -> list[str]:
    """Nodes whose name says that they give something out; without definitions there is no surer sign."""
    named = [n for n, node in nodes.items() if re.match(r"Save|Preview|VHS_VideoCombine", node["class_type"])]
    return named or list(nodes)
