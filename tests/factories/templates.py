"""Published templates of the simulator's nodes, an agent that knows them, and pictures of one's own."""

from typing import Any

from accounts.models import User, Workshop
from gpu_agent.simulator.definitions import own_definitions
from gpu_agent.simulator.models import MODEL_FILES
from jobs import templates
from jobs.job_types.comfyui.proposal import fields_of
from jobs.models import Template, Upload
from marketplace.fleet.models import Agent, Inventory, NodeDefinitions
from tests.factories.jobs import NODES, an_agent

MODEL = "v1-5-pruned-emaonly.safetensors"
REQUIREMENT = {
    "folder": "checkpoints", "name": MODEL, "size_bytes": 4_270_000_000,
    "licence": "CreativeML Open RAIL-M", "commercial": True, "url": "",
}  # fmt: skip


def a_comfyui_agent(workshop: Workshop, **columns: Any) -> Agent:
    """An agent with the simulator's nodes and models, and no others."""
    found = an_agent(workshop=workshop, any_model=False, **columns)
    body = {**own_definitions(), **{node: {} for node in NODES}}
    known, _ = NodeDefinitions.objects.get_or_create(pk="simulator-and-timed", defaults={"body": body})
    files = {folder: sorted(names) for folder, names in MODEL_FILES.items()}
    Inventory.objects.filter(agent=found).update(node_definitions=known, model_files=files)
    return found


def a_sketch(steps: int = 20, model: str = MODEL) -> dict[str, Any]:
    """A small text-to-image graph."""
    links: dict[str, Any] = {"positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    sampling = {"steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 7, **sampling, "model": ["1", 0], **links}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
    }


def a_picture_graph() -> dict[str, Any]:
    """Image to image: the sketch begun from a picture."""
    graph = a_sketch()
    graph["4"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["8"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}}
    graph["5"]["inputs"]["latent_image"] = ["8", 0]
    return graph


def a_template(workshop: Workshop, payload: dict[str, Any] | None = None, **more: Any) -> Template:
    """A published template; its form is the one proposed for its workflow."""
    graph = payload or a_sketch()
    given = {"name": "Sketch", "payload": graph, "model_files": [REQUIREMENT], **more}
    given.setdefault("form", fields_of(graph, own_definitions()))
    return templates.publish(templates.create(workshop, None, **given), None)


def an_upload(owner: User, workshop: Workshop, name: str = "harbour.png") -> Upload:
    """A picture of 640×360; its file is not stored."""
    return Upload.objects.create(
        owner=owner, workshop=workshop, sha256="a" * 64, name=name, media_type="image/png",
        size_bytes=2_400_000, width=640, height=360,
    )  # fmt: skip
