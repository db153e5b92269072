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
from tests.factories.workflows import MODEL, a_sketch

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
