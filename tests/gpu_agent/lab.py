"""What the agent's tests share: specs to run, and an agent's core running in the test's event loop."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from gpu_agent import config as configuration
from gpu_agent.__main__ import build
from gpu_agent.config import Config
from gpu_agent.core import Core
from gpu_agent.journal import Journal
from gpu_agent.protocol.messages import PROTOCOL_VERSION, InputFile, JobSpec, NodeWork
from tests.fakes.site import TOKEN, FakeSite

Found = TypeVar("Found")
GIB = 1024**3


def picture_graph(steps: int = 4, seed: int = 1, prefix: str = "jobs/a1", size: int = 128) -> dict[str, Any]:
    """A small SD1.5-shaped graph."""
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": seed, "steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
                "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": f"{prefix}/out"}},
    }  # fmt: skip


PICTURE_WORK = {
    "4": NodeWork("Load model", 2.0, loader=True),
    "6": NodeWork("Prompt", 0.05),
    "3": NodeWork("Sample", 1.5, sampler=True),
    "8": NodeWork("Decode", 0.2),
    "9": NodeWork("Save", 0.0),
}


def still_graph(prefix: str = "jobs/a1") -> dict[str, Any]:
    """Two nodes, no model: done in a moment."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"{prefix}/out"}},
    }


def make_spec(
    attempt: int = 1,
    *,
    graph: dict[str, Any] | None = None,
    nodes: dict[str, NodeWork] | None = None,
    inputs: tuple[InputFile, ...] = (),
    vram_bytes: int = 2 * GIB,
    stop_after_ms: int = 600_000,
    timeout_ms: int = 600_000,
    expected_ms: int = 2_000,
) -> JobSpec:
    prefix = f"jobs/a{attempt}"
    return JobSpec(
        protocol=PROTOCOL_VERSION,
        timeline=1,
        attempt=attempt,
        token=1,
        job=str(uuid.uuid4()),
        prompt_id=str(uuid.uuid4()),
        job_type="comfyui",
        payload=graph if graph is not None else picture_graph(seed=attempt, prefix=prefix),
        inputs=inputs,
        nodes=nodes if nodes is not None else PICTURE_WORK,
        vram_bytes=vram_bytes,
        expected_ms=expected_ms,
        stop_after_ms=stop_after_ms,
        timeout_ms=timeout_ms,
        output_prefix=prefix,
    )


def make_config(site_url: str, comfyui_url: str, folder: Path, **settings: str) -> Config:
    """The settings of an agent on a simulated GPU twenty times as fast as the reference."""
    environ = {
        "SITE_URL": site_url,
        "AGENT_TOKEN": TOKEN,
        "COMFYUI_URL": comfyui_url,
        "COMFYUI_SIMULATED": "1",
        "SIMULATOR_SPEED": "20",
        "AGENT_DATA_DIR": str(folder),
        "DISK_FLOOR_MB": "0",
        **settings,
    }
    return configuration.load([], environ)


@contextlib.asynccontextmanager
async def running_core(config: Config) -> AsyncIterator[Core]:
    """An agent without its RQ worker: deliveries are handed to `core.deliver`. Ends as after a kill:
    nothing is flushed, the journal stays."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    with Journal(config.data_dir / "journal.sqlite") as journal:
        core = build(config, journal, None)
        life = asyncio.create_task(core.run())
        try:
            await until(lambda: core.ready.is_set() or life.done(), what="the core did not join")
            if life.done():
                life.result()
            yield core
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            await core.aclose()


@contextlib.asynccontextmanager
async def working_core(config: Config, site: FakeSite) -> AsyncIterator[Core]:
    """A core that has said it is ready for work."""
    async with running_core(config) as core:
        await until(
            lambda: any(beat.comfyui_ready for beat in site.heartbeats[-1:]), what="ComfyUI is not ready"
        )
        yield core


async def until(question: Callable[[], Found], seconds: float = 30.0, what: str = "") -> Found:
    """`tests.polling.poll` for coroutines: asks while the event loop goes on."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (answer := question()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what or 'no answer'} within {seconds:g} s; last answer: {answer!r}")
        await asyncio.sleep(0.02)
    return answer


async def finish(site: FakeSite, attempt: int, seconds: float = 60.0) -> Any:
    """The attempt's last report, awaited without holding the event loop."""
    return await asyncio.to_thread(site.finish, attempt, seconds)
