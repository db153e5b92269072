"""Small workflows in API format, of nodes the simulator has. Knows no Django."""

from typing import Any

MODEL = "v1-5-pruned-emaonly.safetensors"


def a_sketch(steps: int = 20, model: str = MODEL) -> dict[str, Any]:
    """A small text-to-image graph; node 3 samples, 4 loads, 6 holds the prompt."""
    links: dict[str, Any] = {"positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    sampling = {"steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "an empty tram", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 2210, **sampling, "model": ["4", 0], **links}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "sketch"}},
    }


def a_picture_graph() -> dict[str, Any]:
    """Image to image: the sketch begun from a picture."""
    graph = a_sketch()
    graph["5"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["10"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["5", 0], "vae": ["4", 2]}}
    graph["3"]["inputs"]["latent_image"] = ["10", 0]
    return graph
