"""A workflow as ComfyUI's editor saves it, with a subgraph, and a model that no GPU has."""

import json
from pathlib import Path

from tests.jobs.job_types.comfyui.ui_files import Ui

GONE = "sdxl_of_somebody.safetensors"


def subgraph_file(folder: Path) -> Path:
    """The editor's file of a sketch whose sampling stands in a subgraph; its model is nobody's."""
    inner = Ui().add(5, "KSampler", 7, "randomize", 12, 7.0, "euler", "normal", 1.0)
    inner.wire(-10, 0, 5, "model", "MODEL").wire(-10, 1, 5, "positive", "CONDITIONING")
    inner.wire(-10, 2, 5, "negative", "CONDITIONING").wire(-10, 3, 5, "latent_image", "LATENT")
    kind = "0b1c2d3e-0000-4000-8000-000000000001"
    subgraph = inner.as_subgraph(kind, ["model", "positive", "negative", "latent_image"], {"LATENT": (5, 0)})
    ui = Ui().add(1, "CheckpointLoaderSimple", GONE).add(2, "CLIPTextEncode", "a lighthouse")
    ui.add(3, "CLIPTextEncode", "blurry").add(4, "EmptyLatentImage", 512, 512, 1).add(128, kind)
    ui.add(6, "VAEDecode").add(7, "SaveImage", "ComfyUI")
    ui.wire(1, 1, 2, "clip", "CLIP").wire(1, 1, 3, "clip", "CLIP").wire(1, 0, 128, "model", "MODEL")
    ui.wire(2, 0, 128, "positive", "CONDITIONING").wire(3, 0, 128, "negative", "CONDITIONING")
    ui.wire(4, 0, 128, "latent_image", "LATENT").wire(128, 0, 6, "samples", "LATENT")
    ui.wire(1, 2, 6, "vae", "VAE").wire(6, 0, 7, "images", "IMAGE")
    ui.subgraphs.append(subgraph)
    file = folder / "tram_at_night.json"
    file.write_text(json.dumps(ui.data))
    return file
