"""Workflows to begin with: files beside this one, in API format, with the words a newcomer sees."""

import json
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

FOLDER = Path(__file__).parent / "starters"
LARGEST_SEED = 2**32


@dataclass(frozen=True, slots=True)
class Starter:
    """One starter: `prompt_node` and `seed_node` are where its prompt and its seed go."""

    slug: str
    name: Promise
    description: Promise
    model: str
    prompt_node: str
    seed_node: str

    @property
    def prompt(self) -> str:
        """The prompt the file comes with."""
        return str(_graph(self.slug)[self.prompt_node]["inputs"]["text"])

    def workflow(self, prompt: str = "") -> bytes:
        """The file with this prompt and a fresh seed: the same seed twice would paint the same picture."""
        graph = json.loads(json.dumps(_graph(self.slug)))
        graph[self.seed_node]["inputs"]["seed"] = secrets.randbelow(LARGEST_SEED)
        if prompt.strip():
            graph[self.prompt_node]["inputs"]["text"] = prompt.strip()
        return json.dumps(graph, indent=2, ensure_ascii=False).encode()


STARTERS = (
    Starter(
        slug="sdxl-text-to-image",
        name=_("Text to image"),
        description=_("The everyday workhorse: one picture of 1024×1024 from a sentence."),
        model="SDXL",
        prompt_node="6",
        seed_node="3",
    ),
    Starter(
        slug="sd15-sketch",
        name=_("Quick sketch"),
        description=_("Small, fast and cheap: for trying words before the real thing. 512×512."),
        model="Stable Diffusion 1.5",
        prompt_node="6",
        seed_node="3",
    ),
)


def starter(slug: str) -> Starter | None:
    """The starter of this name, if there is one."""
    return next((found for found in STARTERS if found.slug == slug), None)


@cache
def _graph(slug: str) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads((FOLDER / f"{slug}.json").read_text())
    return graph
