"""What is on a graph's wires, as a price sees it: constants, images, latents."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from jobs.job_types.base import UploadedFile
from jobs.job_types.comfyui import graph

Scalar = str | int | float | bool

ASSUMED_PIXELS_SIDE = 1024
ASSUMED_CHUNK = 21  # frames SeedVR2 takes at once, where it chooses itself
ASSUMED_FRAMES_PER_SECOND = 60.0  # of an uploaded clip: more than most have, lest a length be priced short
MAX_COUNT = 1e7  # beyond any limit a check sets; keeps products finite


@dataclass(frozen=True, slots=True)
class Image:
    """Images on a wire: pixels, and how many. `known` is False where a size had to be assumed."""

    width: float
    height: float
    count: float = 1
    known: bool = True

    @property
    def pixels(self) -> float:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Latent:
    """A latent on a wire, in the pixels and frames it decodes to. `model_class`: of the sampler it left."""

    width: float
    height: float
    frames: float = 1
    batch: float = 1
    known: bool = True
    model_class: str = ""
    audio: bool = False


UNKNOWN_IMAGE = Image(ASSUMED_PIXELS_SIDE, ASSUMED_PIXELS_SIDE, 1, known=False)
UNKNOWN_LATENT = Latent(ASSUMED_PIXELS_SIDE, ASSUMED_PIXELS_SIDE, known=False)


def as_number(value: object) -> float | None:
    """A number, or the number a short text spells."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 32 else None
        except ValueError:
            return None
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


class Asking(Protocol):
    """The questions about a graph that answers are built from; see Scene, which keeps them."""

    nodes: graph.Graph
    files: Mapping[str, UploadedFile]
    wires: dict[str, dict[str, graph.Link]]

    def kind(self, node: str) -> str: ...

    def has(self, node: str, field: str) -> bool: ...

    def source(self, node: str, field: str) -> graph.Link | None: ...

    def branch(self, switch: str) -> str: ...

    def value(self, node: str, field: str) -> Scalar | None: ...

    def number(self, node: str, field: str, default: float) -> float: ...

    def text(self, node: str, field: str) -> str: ...

    def image(self, node: str, *fields: str) -> Image: ...

    def given(self, node: str) -> Image: ...

    def image_at(self, link: graph.Link) -> Image: ...

    def latent(self, node: str, *fields: str) -> Latent: ...

    def latent_at(self, link: graph.Link) -> Latent: ...

    def items(self, node: str) -> float: ...
