"""Small graphs and the node definitions they need, written for the tests."""

import copy
import json
from typing import Any

from jobs.job_types.base import Checked, Demand, Refusal, Surroundings, UploadedFile
from jobs.job_types.comfyui.job_type import ComfyUI

COMFYUI = ComfyUI()
UPLOAD = UploadedFile(sha256="ab" * 32, name="castle.PNG", size_bytes=9000, width=768, height=512)
CLIP = UploadedFile(sha256="cd" * 32, name="walk.mp4", size_bytes=9000, width=640, height=360, frames=48)


def _int(default: int, low: int = 1, high: int = 16384) -> list[Any]:
    return ["INT", {"default": default, "min": low, "max": high}]


def _float(default: float, low: float = 0.0, high: float = 100.0) -> list[Any]:
    return ["FLOAT", {"default": default, "min": low, "max": high}]


def _node(inputs: dict[str, Any], outputs: list[str], **more: Any) -> dict[str, Any]:
    return {
        "input": {"required": inputs},
        "output": outputs,
        "python_module": "nodes",
        "category": "",
        **more,
    }


_SAMPLERS = ["euler", "heun", "dpmpp_sde"]
_SIZE = {"width": _int(512, 16), "height": _int(512, 16)}
_SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]
_PREFIX = ["STRING", {"default": "ComfyUI"}]

DEFINITIONS: dict[str, Any] = {
    "CheckpointLoaderSimple": _node({"ckpt_name": [["sdxl.safetensors"]]}, ["MODEL", "CLIP", "VAE"]),
    "UNETLoader": _node({"unet_name": [[]], "weight_dtype": [["default", "fp8_e4m3fn"]]}, ["MODEL"]),
    "LoraLoaderModelOnly": _node(
        {"model": ["MODEL"], "lora_name": [[]], "strength_model": _float(1.0, -100.0)}, ["MODEL"]
    ),
    "ControlNetLoader": _node({"control_net_name": [[]]}, ["CONTROL_NET"]),
    "ControlNetApplyAdvanced": _node(
        {
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "control_net": ["CONTROL_NET"],
            "image": ["IMAGE"],
            "strength": _float(1.0, 0.0, 10.0),
            "start_percent": _float(0.0, 0.0, 1.0),
            "end_percent": _float(1.0, 0.0, 1.0),
        },
        ["CONDITIONING", "CONDITIONING"],
    ),
    "CLIPTextEncode": _node(
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP"]}, ["CONDITIONING"]
    ),
    "EmptyLatentImage": _node({**_SIZE, "batch_size": _int(1, 1, 4096)}, ["LATENT"]),
    "EmptyHunyuanLatentVideo": _node(
        {**_SIZE, "length": _int(25), "batch_size": _int(1, 1, 4096)}, ["LATENT"]
    ),
    "RepeatLatentBatch": _node({"samples": ["LATENT"], "amount": _int(1, 1, 64)}, ["LATENT"]),
    "LatentUpscaleBy": _node({"samples": ["LATENT"], "scale_by": _float(1.5, 0.01, 8.0)}, ["LATENT"]),
    "KSampler": _node(
        {
            "model": ["MODEL"],
            "seed": _SEED,
            "steps": _int(20, 1, 10000),
            "cfg": _float(8.0),
            "sampler_name": [_SAMPLERS],
            "scheduler": ["COMBO", {"options": ["normal", "karras"]}],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
            "denoise": _float(1.0, 0.0, 1.0),
        },
        ["LATENT"],
    ),
    "VAEDecode": _node({"samples": ["LATENT"], "vae": ["VAE"]}, ["IMAGE"]),
    "VAEEncode": _node({"pixels": ["IMAGE"], "vae": ["VAE"]}, ["LATENT"]),
    "LoadImage": _node({"image": [[], {"image_upload": True}]}, ["IMAGE", "MASK"]),
    "GetImageSize": _node({"image": ["IMAGE"]}, ["INT", "INT", "INT"]),
    "ImageScaleBy": _node({"image": ["IMAGE"], "scale_by": _float(1.0, 0.01, 8.0)}, ["IMAGE"]),
    "UpscaleModelLoader": _node({"model_name": ["COMBO", {"options": []}]}, ["UPSCALE_MODEL"]),
    "ImageUpscaleWithModel": _node({"upscale_model": ["UPSCALE_MODEL"], "image": ["IMAGE"]}, ["IMAGE"]),
    "SaveImage": _node({"images": ["IMAGE"], "filename_prefix": _PREFIX}, [], output_node=True),
    "PreviewImage": _node({"images": ["IMAGE"]}, [], output_node=True),
    "CheckpointSave": _node({"model": ["MODEL"], "filename_prefix": _PREFIX}, [], output_node=True),
    "PrimitiveInt": _node({"value": _int(0, -(2**31), 2**31)}, ["INT"]),
    "PrimitiveBoolean": _node({"value": ["BOOLEAN", {}]}, ["BOOLEAN"]),
    "ComfySwitchNode": _node(
        {
            "switch": ["BOOLEAN", {}],
            "on_false": ["COMFY_MATCHTYPE_V3", {}],
            "on_true": ["COMFY_MATCHTYPE_V3", {}],
        },
        ["COMFY_MATCHTYPE_V3"],
    ),
    "ComfyMathExpression": _node(
        {
            "expression": ["STRING", {"default": "a + b"}],
            "values": ["COMFY_AUTOGROW_V3", {"template": {"min": 1}}],
        },
        ["FLOAT", "INT", "BOOLEAN"],
    ),
    "CreateList": _node({"inputs": ["COMFY_AUTOGROW_V3", {}]}, ["COMFY_MATCHTYPE_V3"]),
    "JsonExtractString": _node({"json_string": ["STRING", {}], "key": ["STRING", {}]}, ["STRING"]),
    "StrangeFilter": _node({"image": ["IMAGE"]}, ["IMAGE"], python_module="custom_nodes.strange"),
    "StrangeSampler": _node(
        {"model": ["MODEL"], "latent": ["LATENT"]}, ["LATENT"], python_module="custom_nodes.strange"
    ),
    "PaidPicture": _node({"prompt": ["STRING", {}]}, ["IMAGE"], api_node=True),
}


def text_to_image(**changes: Any) -> dict[str, Any]:
    """SDXL, 1024×1024, 20 steps, CFG 8; `sampler__steps=30` changes one input of one node."""
    graph: dict[str, Any] = {
        "model": _api("CheckpointLoaderSimple", ckpt_name="sdxl.safetensors"),
        "good": _api("CLIPTextEncode", text="a lighthouse", clip=["model", 1]),
        "bad": _api("CLIPTextEncode", text="blurry", clip=["model", 1]),
        "empty": _api("EmptyLatentImage", width=1024, height=1024, batch_size=1),
        "sampler": _api(
            "KSampler",
            model=["model", 0],
            seed=7,
            steps=20,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            positive=["good", 0],
            negative=["bad", 0],
            latent_image=["empty", 0],
            denoise=1.0,
        ),
        "decode": _api("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "save": _api("SaveImage", images=["decode", 0], filename_prefix="../../etc/x"),
    }
    for path, value in changes.items():
        node, _, name = path.partition("__")
        graph[node]["inputs"][name] = value
    return graph


def with_node(graph: dict[str, Any], node_id: str, kind: str, **inputs: Any) -> dict[str, Any]:
    """A copy of the graph with one more node."""
    return {**copy.deepcopy(graph), node_id: _api(kind, **inputs)}


def around(**more: Any) -> Surroundings:
    """Definitions above, any model present, two files uploaded."""
    told: dict[str, Any] = {
        "node_definitions": DEFINITIONS,
        "any_model": True,
        "uploads": {"castle.PNG": UPLOAD, "walk.mp4": CLIP},
    }
    return Surroundings(**(told | more))


def check(graph: dict[str, Any], **more: Any) -> Checked:
    return COMFYUI.check(COMFYUI.parse(json.dumps(graph).encode()), around(**more))


def demand(graph: dict[str, Any], **more: Any) -> Demand:
    return COMFYUI.demand(check(graph, **more))


def refusals(graph: dict[str, Any], **more: Any) -> list[tuple[str, str, str]]:
    """(code, node, field) of every problem; an empty list if the graph passes."""
    try:
        check(graph, **more)
    except Refusal as refusal:
        return [(problem.code, problem.node, problem.field) for problem in refusal.problems]
    return []


def _api(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
