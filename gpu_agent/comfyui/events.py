"""ComfyUI's message stream turned into the state of one prompt. Pure: no clock, no network.

`now_ms` is the caller's monotonic clock. Whatever ComfyUI says is clamped to what can be true.
"""

import json
import statistics
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_agent.protocol.messages import NodeWork
from gpu_agent.protocol.phases import Phase

PREVIEW_IMAGE = 1
TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4
MEDIA_TYPES = {1: "image/jpeg", 2: "image/png"}


class BadFrame(ValueError):
    """A binary frame of a known kind that is cut short or malformed."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of the work in progress; `prompt_id` and `node` are "" in frames that carry no ids."""

    media_type: str
    image: bytes
    prompt_id: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class NodeText:
    """Text a node shows while it runs."""

    node: str
    text: str


def parse_frame(frame: bytes) -> Preview | NodeText | None:
    """Read a binary WebSocket frame; None for kinds we have no use for. Raises `BadFrame`."""
    try:
        (kind,) = struct.unpack_from(">I", frame)
        if kind == PREVIEW_IMAGE:
            (image_type,) = struct.unpack_from(">I", frame, 4)
            return Preview(MEDIA_TYPES.get(image_type, "application/octet-stream"), frame[8:])
        if kind == TEXT:
            (length,) = struct.unpack_from(">I", frame, 4)
            return NodeText(frame[8 : 8 + length].decode(), frame[8 + length :].decode())
        if kind == PREVIEW_IMAGE_WITH_METADATA:
            return _preview_with_metadata(frame)
    except (struct.error, ValueError) as error:
        raise BadFrame(str(error)) from error
    return None


def _preview_with_metadata(frame: bytes) -> Preview:
    (length,) = struct.unpack_from(">I", frame, 4)
    if 8 + length > len(frame):
        raise BadFrame("the metadata is longer than the frame")
    about = json.loads(frame[8 : 8 + length])
    if not isinstance(about, dict):
        raise BadFrame("the metadata is not an object")
    return Preview(
        media_type=str(about.get("image_type", "image/jpeg")),
        image=frame[8 + length :],
        prompt_id=str(about.get("prompt_id") or ""),
        node=str(about.get("node_id") or ""),
    )


@dataclass(slots=True)
class Span:
    """The time of one node, and the ticks seen in it."""

    entered_ms: float
    left_ms: float | None = None
    earlier_ms: float = 0.0  # of former visits
    ticks: list[tuple[float, float]] = field(default_factory=list)  # (when, value), of the latest sampling
    first_tick: tuple[float, float] | None = None
    top: float = 0.0

    def duration_ms(self, now_ms: float) -> float:
        end = self.left_ms if self.left_ms is not None else now_ms
        return self.earlier_ms + max(0.0, end - self.entered_ms)

    def tick_ms(self) -> float | None:
        """Median time of one step; None before two ticks."""
        steps = [
            (later - sooner) / (high - low)
            for (sooner, low), (later, high) in zip(self.ticks, self.ticks[1:], strict=False)
            if high > low
        ]
        return statistics.median(steps) if steps else None


@dataclass(frozen=True, slots=True)
class Figures:
    """Times of a prompt so far: on this device, and of the reference GPU in `charged_ms`."""

    executing_ms: int = 0
    loading_ms: int = 0
    charged_ms: int = 0
    remaining_ms: int | None = None


class Tracker:
    """Follows one prompt through ComfyUI's messages."""

    def __init__(self, prompt_id: str, nodes: Mapping[str, NodeWork], speed: float, expected_ms: int) -> None:
        self.prompt_id = prompt_id
        self.started_ms: float | None = None
        self.ended_ms: float | None = None
        self.over = False  # `executing null`: the history entry is there now
        self.gap = False  # messages were missed: node times can't be trusted
        self.node = ""
        self.last_sign_ms: float | None = None
        self.cached: set[str] = set()
        self._nodes = nodes
        self._speed = speed
        self._expected_ms = expected_ms
        self._spans: dict[str, Span] = {}
        self._finished: set[str] = set()
        self._best_percent = 0.0
        self._computed = False

    # --- what happened -------------------------------------------------------------------

    def feed(self, kind: str, data: Mapping[str, Any], now_ms: float) -> None:
        """Take one message of this prompt."""
        if not (kind == "executing" and data.get("node") == self.node):  # repeated at each reconnect
            self.last_sign_ms = now_ms
        handler = {
            "execution_start": self._on_start,
            "execution_cached": self._on_cached,
            "executing": self._on_executing,
            "progress": self._on_progress,
            "progress_state": self._on_progress_state,
            "execution_success": self._on_end,
            "execution_error": self._on_error,
            "execution_interrupted": self._on_end,
        }.get(kind)
        if handler is not None:
            handler(data, now_ms)

    def miss(self) -> None:
        """The socket was broken. A prompt that had not begun lost nothing by it: either its start is heard
        later, or it is seen running without one."""
        self.gap = self.gap or self.started_ms is not None

    def seen_running(self, now_ms: float) -> None:
        """The queue says it runs though no message did: the start was missed."""
        if self.started_ms is None:
            self.started_ms, self.last_sign_ms, self.gap = now_ms, now_ms, True

    def _on_start(self, data: Mapping[str, Any], now_ms: float) -> None:
        self.started_ms = now_ms

    def _on_cached(self, data: Mapping[str, Any], now_ms: float) -> None:
        nodes = data.get("nodes")
        if isinstance(nodes, list):
            self.cached.update(str(node) for node in nodes)

    def _on_executing(self, data: Mapping[str, Any], now_ms: float) -> None:
        if self.started_ms is None:
            self.seen_running(now_ms)
        node = data.get("node")
        if node is None:
            self._leave(now_ms)
            self.over = True
            self.ended_ms = now_ms if self.ended_ms is None else self.ended_ms
            return
        self._enter(self._known(str(node), data), now_ms)

    def _on_progress(self, data: Mapping[str, Any], now_ms: float) -> None:
        value, top = _number(data.get("value")), _number(data.get("max"))
        node = data.get("node")
        if node is None or value is None or top is None or not 0 <= value <= top:
            return  # a percent above 100 or below 0 is a lie: ignored
        name = self._known(str(node), data)
        if name != self.node:
            self._enter(name, now_ms)
            self.gap = True
        span = self._spans[name]
        if span.top != top or (span.ticks and value < span.ticks[-1][1]):
            span.ticks = []  # a second sampling in the same node; the model was loaded before the first
        span.top = top
        if value > 0 and (not span.ticks or value > span.ticks[-1][1]):
            span.ticks.append((now_ms, value))
            span.first_tick = span.first_tick or (now_ms, value)

    def _on_progress_state(self, data: Mapping[str, Any], now_ms: float) -> None:
        states = data.get("nodes")
        for node, state in states.items() if isinstance(states, dict) else ():
            if isinstance(state, dict) and state.get("state") == "finished":
                self._finished.add(self._known(str(node), state))

    def _on_error(self, data: Mapping[str, Any], now_ms: float) -> None:
        if (
            data.get("exception_type") != "ExecutionBlocked"
        ):  # that one is only a node's word: the prompt goes on
            self._on_end(data, now_ms)

    def _on_end(self, data: Mapping[str, Any], now_ms: float) -> None:
        self._leave(now_ms)
        if self.ended_ms is None:
            self.ended_ms = now_ms

    def _enter(self, node: str, now_ms: float) -> None:
        if node == self.node:
            return
        self._leave(now_ms)
        self.node = node
        former = self._spans.get(node)
        earlier_ms = former.duration_ms(now_ms) if former else 0.0
        self._spans[node] = Span(now_ms, earlier_ms=earlier_ms)
        self._finished.discard(node)

    def _leave(self, now_ms: float) -> None:
        span = self._spans.get(self.node)
        if span is not None and span.left_ms is None:
            span.left_ms = now_ms
            self._finished.add(self.node)
        self.node = ""

    def _known(self, node: str, data: Mapping[str, Any]) -> str:
        """The quote's name for a node: expanded nodes show under the node they came from."""
        display = data.get("display_node") or data.get("display_node_id")
        return node if node in self._nodes or display is None else str(display)

    # --- what follows from it ------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """WAITING until started; LOADING until a sampler ticks or another computing node runs."""
        if self.started_ms is None:
            return Phase.WAITING
        if not self._computed:
            self._computed = any(self._computes(node, span) for node, span in self._spans.items())
        return Phase.RUNNING if self._computed else Phase.LOADING

    def _computes(self, node: str, span: Span) -> bool:
        work = self._nodes.get(node)
        return work is not None and not work.loader and (bool(span.ticks) if work.sampler else True)

    @property
    def step(self) -> tuple[int, int] | None:
        """(step, steps) of the running node, if it counts."""
        span = self._spans.get(self.node)
        if span is None or span.top <= 0:
            return None
        return int(span.ticks[-1][1]) if span.ticks else 0, int(span.top)

    @property
    def stage(self) -> tuple[int, int] | None:
        """(stage, stages): where the running node stands among the nodes with work."""
        order = [node for node in self._nodes if node not in self.cached]
        if not order:
            return None
        done = sum(1 for node in order if node in self._finished)
        return min(len(order), done + (1 if self.node in order else 0)) or 1, len(order)

    def figures(self, now_ms: float) -> Figures:
        """Times so far, or final once the prompt ended."""
        if self.started_ms is None:
            return Figures(remaining_ms=round(self._expected_ms / self._speed))
        end = self.ended_ms if self.ended_ms is not None else now_ms
        executing = max(0.0, end - self.started_ms)
        return self._figures(executing, self._loading_ms(end), now_ms)

    def figures_of(self, executing_ms: float, now_ms: float) -> Figures:
        """Final times when only the whole is known (from history): charged at most as quoted."""
        self.gap = True
        return self._figures(max(0.0, executing_ms), 0.0, now_ms)

    def _figures(self, executing_ms: float, loading_ms: float, now_ms: float) -> Figures:
        if self.gap:
            loading_ms = max(0.0, executing_ms - self._expected_ms / self._speed)
        loading_ms = min(loading_ms, executing_ms)
        charged_ms = (executing_ms - loading_ms) * self._speed
        remaining = 0 if self.ended_ms is not None else self._remaining_ms(now_ms)
        return Figures(round(executing_ms), round(loading_ms), round(charged_ms), round(remaining))

    def _loading_ms(self, now_ms: float) -> float:
        total = 0.0
        for node, span in self._spans.items():
            work = self._nodes.get(node)
            if work is None:
                continue
            if work.loader:
                total += span.duration_ms(now_ms)
            elif work.sampler:
                total += self._sampler_loading_ms(span, work, now_ms)
        return total

    def _sampler_loading_ms(self, span: Span, work: NodeWork, now_ms: float) -> float:
        tick_ms = span.tick_ms()
        if tick_ms is None or span.first_tick is None:
            # No tick, or a single one: what was loading can't be told from work, so at most the quote counts.
            return max(0.0, span.duration_ms(now_ms) - work.seconds * 1000 / self._speed)
        first_ms, first_value = span.first_tick
        return max(0.0, span.earlier_ms + first_ms - span.entered_ms - tick_ms * first_value)

    def percent(self, now_ms: float) -> float:
        """Of the whole job, 0…100, by the quote's weights; never falls, 100 only at the end."""
        weights = self._weights()
        total = sum(weights.values())
        if self.over:
            self._best_percent = 100.0
        elif total > 0:
            done = sum(weight * self._share(node, now_ms) for node, weight in weights.items())
            self._best_percent = max(self._best_percent, min(99.0, 100.0 * done / total))
        return round(self._best_percent, 1)

    def _weights(self) -> dict[str, float]:
        return {node: max(0.0, work.seconds) for node, work in self._nodes.items() if node not in self.cached}

    def _share(self, node: str, now_ms: float) -> float:
        """How much of a node is done, 0…1."""
        span = self._spans.get(node)
        if node == self.node and span is not None:
            if span.top > 0:
                return min(1.0, span.ticks[-1][1] / span.top) if span.ticks else 0.0
            quoted_ms = self._nodes[node].seconds * 1000 / self._speed
            return min(0.95, span.duration_ms(now_ms) / quoted_ms) if quoted_ms > 0 else 0.0
        return 1.0 if node in self._finished else 0.0

    def _remaining_ms(self, now_ms: float) -> float:
        total = 0.0
        for node, weight in self._weights().items():
            span = self._spans.get(node)
            tick_ms = span.tick_ms() if span is not None and node == self.node else None
            if span is not None and tick_ms is not None:
                total += (span.top - span.ticks[-1][1]) * tick_ms
            else:
                total += (1 - self._share(node, now_ms)) * weight * 1000 / self._speed
        return total

    def usual_step_ms(self) -> float:
        """How long the running node may reasonably be silent: a step, or the quoted node."""
        span = self._spans.get(self.node)
        tick_ms = span.tick_ms() if span is not None else None
        if tick_ms is not None:
            return tick_ms
        work = self._nodes.get(self.node)
        return work.seconds * 1000 / self._speed if work is not None else 0.0


def _number(value: object) -> float | None:
    """A finite number of a size that can be a step count; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e9 else None
