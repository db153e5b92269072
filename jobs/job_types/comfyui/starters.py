"""Templates written by us, one JSON file each in `starters/`: a workflow in API form and the form on it.

A file is `{name, description, category, payload, form, models: [[folder, file name], …]}`; its own name is
the slug. PURE: whoever makes rows of them does so elsewhere.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jobs.job_types.comfyui import known_models

# As a class meets them: pictures first, then what changes pictures, then clips.
_ORDER = (
    "sd15-text-to-image",
    "sdxl-text-to-image",
    "flux1-schnell-text-to-image",
    "flux2-klein-text-to-image",
    "sdxl-image-to-image",
    "sdxl-inpaint",
    "upscale",
    "ltx2-text-to-video",
    "ltx2-image-to-video",
    "wan22-text-to-video",
    "wan22-image-to-video",
)


@dataclass(frozen=True, slots=True)
class StarterTemplate:
    """One starter. `form` as in jobs.job_types.comfyui.form; `model_files`: `{folder, name, size_bytes,
    licence, commercial, url}`. A picture's field starts empty: the workflow checks once it is filled in."""

    slug: str
    name: str
    description: str
    category: str
    payload: dict[str, Any]
    form: list[dict[str, Any]]
    model_files: list[dict[str, Any]]


def _read(slug: str) -> StarterTemplate:
    file = resources.files("jobs.job_types.comfyui") / "starters" / f"{slug}.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    return StarterTemplate(
        slug=slug,
        name=found["name"],
        description=found["description"],
        category=found["category"],
        payload=found["payload"],
        form=found["form"],
        model_files=known_models.rows([(folder, name) for folder, name in found["models"]]),
    )


STARTERS: tuple[StarterTemplate, ...] = tuple(map(_read, _ORDER))
