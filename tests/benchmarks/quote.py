"""A workflow of sixty nodes, as the editor keeps it, priced over HTTP: parsed, converted, checked, priced
with its hints, stored. Compared with a DRF endpoint that parses the same body and inserts one row, in turn.

The installation is as `make run` starts it: the same server, stores that write to disk.
"""

import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import django
import httpx

from marketplace.quickstart import ports
from marketplace.quickstart.house import House
from marketplace.quickstart.options import Options
from marketplace.quickstart.supervisor import Supervisor
from tests.benchmarks import whole_house

GOAL = 3.0
WARM_UP = 20
ROUNDS = 150
NODES = 60
CHAINS = 5
SITE = ("marketplace.asgi:application", "tests.benchmarks.quote_site:application")
ADDRESSES = ("/api/v1/quotes", "/api/v1/reference")


def run() -> Iterator[dict[str, Any]]:
    """One line: the median quote against the median of the endpoint it is compared with."""
    with tempfile.TemporaryDirectory(prefix="market-bench-") as folder:
        web = f"127.0.0.1:{ports.free_port()}"
        house = House(Options.from_environment({"DATA_DIR": folder, "WEB_BIND": web}), _silent)
        times: dict[str, list[float]] = {address: [] for address in ADDRESSES}
        try:
            house.prepare()
            os.environ.update(house.environment)
            token = _student_with_an_agent()
            (server,) = [child for child in house.children() if child.name == "web"]
            command = [SITE[1] if word == SITE[0] else word for word in server.command]
            supervisor = Supervisor([replace(server, command=command)], house.stores, _silent)

            async def measure() -> int:
                await _measure(f"http://{web}", token, times)
                return 0

            asyncio.run(supervisor.run(measure))
        finally:
            house.stop()
    quote_ms, reference_ms = (statistics.median(times[address]) for address in ADDRESSES)
    yield {
        "name": "quote",
        "value": round(quote_ms, 2),
        "unit": f"ms p50, {NODES} nodes",
        "reference": f"{reference_ms:.2f} ms p50: same authentication and body, one row",
        "ratio": round(quote_ms / reference_ms, 2),
        "goal": f"<= {GOAL:g} times the reference",
        "met": quote_ms <= GOAL * reference_ms,
    }


def workflow() -> dict[str, Any]:
    """Five pictures, each sampled, enlarged and sampled again, with all that the editor keeps of a node."""
    from tests.jobs.job_types.comfyui.ui_files import Ui

    ui = Ui()
    ui.add(1, "CheckpointLoaderSimple", "sdxl.safetensors")
    model = 1
    for lora in range(2, NODES - 11 * CHAINS + 1):
        ui.add(lora, "LoraLoaderModelOnly", f"style-{lora}.safetensors", 0.8)
        ui.wire(model, 0, lora, "model", "MODEL")
        model = lora
    for chain in range(CHAINS):
        _add_chain(ui, NODES - 11 * CHAINS + 11 * chain, model)
    for number, node in enumerate(ui.nodes):
        node.update(
            pos=[210 * number, 90.5 * number], size=[315, 262], flags={}, order=number, color="#432",
            properties={"Node name for S&R": node["type"], "cnr_id": "comfy-core", "ver": "0.3.40"},
        )  # fmt: skip
    assert len(ui.nodes) == NODES
    return {**ui.data, "extra": {"ds": {"scale": 0.7, "offset": [12.5, -40.25]}}}


def _add_chain(ui: Any, before: int, model: int) -> None:
    good, bad, empty, first, grown, second, decode, scaled, upscaler, large, save = range(
        before + 1, before + 12
    )
    ui.add(good, "CLIPTextEncode", f"a lighthouse at dusk, picture {before}").add(
        bad, "CLIPTextEncode", "blurry"
    )
    ui.wire(1, 1, good, "clip", "CLIP").wire(1, 1, bad, "clip", "CLIP")
    ui.add(empty, "EmptyLatentImage", 1024, 1024, 1)
    ui.add(grown, "LatentUpscaleBy", 1.5).wire(first, 0, grown, "samples", "LATENT")
    for sampler, latent, share in ((first, empty, 1.0), (second, grown, 0.4)):
        ui.add(sampler, "KSampler", before, "randomize", 30, 7.5, "euler", "normal", share)
        ui.wire(model, 0, sampler, "model", "MODEL").wire(latent, 0, sampler, "latent_image", "LATENT")
        ui.wire(good, 0, sampler, "positive", "CONDITIONING").wire(
            bad, 0, sampler, "negative", "CONDITIONING"
        )
    ui.add(decode, "VAEDecode").wire(second, 0, decode, "samples", "LATENT").wire(1, 2, decode, "vae", "VAE")
    ui.add(scaled, "ImageScaleBy", 0.5).wire(decode, 0, scaled, "image", "IMAGE")
    ui.add(upscaler, "UpscaleModelLoader", "RealESRGAN_x4plus.safetensors")
    ui.add(large, "ImageUpscaleWithModel").wire(upscaler, 0, large, "upscale_model", "UPSCALE_MODEL")
    ui.wire(scaled, 0, large, "image", "IMAGE")
    ui.add(save, "SaveImage", "ComfyUI").wire(large, 0, save, "images", "IMAGE")


def _student_with_an_agent() -> str:
    """The API token of a student whose workshop has an agent that knows the workflow's nodes."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "marketplace.settings"
    django.setup()
    logging.disable()  # what is printed here is the result
    from gpu_agent.simulator.definitions import own_definitions
    from marketplace.api import tokens
    from marketplace.fleet.models import Inventory, NodeDefinitions
    from tests.factories import jobs as make
    from tests.jobs.job_types.comfyui.graphs import DEFINITIONS

    workshop = make.a_workshop()
    agent = make.an_agent(gib=640, workshop=workshop)
    body = {**own_definitions(), **DEFINITIONS}
    for definition in body.values():  # PostgreSQL keeps no order of keys, and ComfyUI tells it apart
        groups = definition["input"].items()
        definition["input_order"] = {group: list(inputs) for group, inputs in groups}
    known = NodeDefinitions.objects.create(pk="benchmark", body=body)
    Inventory.objects.filter(agent=agent).update(node_definitions=known)
    return tokens.make(make.a_student(workshop), "benchmark")


async def _measure(site: str, token: str, times: dict[str, list[float]]) -> None:
    body = {"title": "sixty nodes", "workflow": workflow()}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=site, headers=headers, trust_env=False, timeout=30) as client:
        await whole_house._until(lambda: whole_house._ready(client), "the site")
        for turn in range(WARM_UP + ROUNDS):
            content = json.dumps(body).encode()
            for address in ADDRESSES:
                began = time.perf_counter()
                answer = await client.post(address, content=content)
                took_ms = 1000 * (time.perf_counter() - began)
                if answer.status_code != 201:
                    raise RuntimeError(f"{address} answered {answer.status_code}: {answer.text[:500]}")
                if turn >= WARM_UP:
                    times[address].append(took_ms)


def _silent(name: str, line: str) -> None:
    if os.environ.get("BENCH_LOG"):
        print(f"{name:>12} | {line}", file=sys.stderr, flush=True)
