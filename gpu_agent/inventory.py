"""What this host can run, as told to the site: ComfyUI's version, nodes and models, and the GPU."""

import asyncio
import hashlib
import json
from typing import Any

import structlog

from gpu_agent.comfyui.http import ComfyUI, ComfyUIError, dump_canonical
from gpu_agent.protocol.messages import PROTOCOL_VERSION, DeviceState, Inventory, ModelFile

logger = structlog.get_logger(__name__)

MAX_MODELS = 10_000
# Folders of settings and code, not of model files.
NO_MODELS = frozenset({"configs", "custom_nodes", "classifiers"})
FOLDERS_BY_INPUT = {
    "ckpt_name": "checkpoints",
    "lora_name": "loras",
    "vae_name": "vae",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
}


async def take(
    comfyui: ComfyUI,
    *,
    timeline: int,
    devices: tuple[DeviceState, ...],
    job_types: tuple[str, ...],
    any_model: bool,
) -> Inventory:
    """Ask ComfyUI for all of it, node definitions included. Raises `ComfyUIError`."""
    stats = await comfyui.system_stats()
    text = await comfyui.object_info()
    definitions, digest = await asyncio.to_thread(_digested, text)
    return Inventory(
        protocol=PROTOCOL_VERSION,
        timeline=timeline,
        comfyui_version=version_of(stats),
        node_definitions_sha256=digest,
        node_definitions=definitions,
        models=await _models(comfyui, definitions),
        devices=devices,
        any_model=any_model,
        job_types=job_types,
    )


def version_of(stats: dict[str, Any]) -> str:
    system = stats.get("system")
    return str(system.get("comfyui_version", ""))[:40] if isinstance(system, dict) else ""


def _digested(text: bytes) -> tuple[dict[str, Any], str]:
    definitions = json.loads(text)
    if not isinstance(definitions, dict):
        raise ComfyUIError("/object_info is not an object")
    return definitions, hashlib.sha256(dump_canonical(definitions)).hexdigest()


async def _models(comfyui: ComfyUI, definitions: dict[str, Any]) -> tuple[ModelFile, ...]:
    folders = await comfyui.model_folders()
    if folders is None:
        return _models_in_combos(definitions)
    found: list[ModelFile] = []
    for folder in folders:
        if folder in NO_MODELS:
            continue
        try:
            found += [ModelFile(folder, name) for name in await comfyui.models(folder)]
        except ComfyUIError as error:
            logger.warning("models_unreadable", folder=folder, error=str(error))
    return tuple(found[:MAX_MODELS])


def _models_in_combos(definitions: dict[str, Any]) -> tuple[ModelFile, ...]:
    """Where ComfyUI lists no models: the choices its loader nodes offer."""
    found: set[tuple[str, str]] = set()
    for node in definitions.values():
        inputs = node.get("input") if isinstance(node, dict) else None
        required = inputs.get("required") if isinstance(inputs, dict) else None
        for name, spec in required.items() if isinstance(required, dict) else ():
            folder = FOLDERS_BY_INPUT.get(str(name))
            choices = spec[0] if isinstance(spec, list) and spec else None
            if folder and isinstance(choices, list):
                found.update((folder, choice) for choice in choices if isinstance(choice, str))
    return tuple(ModelFile(folder, name) for folder, name in sorted(found)[:MAX_MODELS])
