"""What a misbehaving ComfyUI makes of a job: end state and cause, the agent staying up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.config import Config
from gpu_agent.protocol.messages import Report
from gpu_agent.protocol.phases import Cause, Outcome
from tests.fakes import comfyui as fakes
from tests.fakes.site import FakeSite
from tests.gpu_agent import lab

Configured = Callable[..., Config]

ENDS = [
    (fakes.ComfyUI, Outcome.SUCCEEDED, None),
    (fakes.OldComfyUI, Outcome.SUCCEEDED, None),
    (fakes.SlowComfyUI, Outcome.SUCCEEDED, None),
    (fakes.ForgetfulComfyUI, Outcome.SUCCEEDED, None),
    (fakes.WronglyAnsweringComfyUI, Outcome.SUCCEEDED, None),
    (fakes.FloodingComfyUI, Outcome.SUCCEEDED, None),
    (fakes.NeverReadingComfyUI, Outcome.SUCCEEDED, None),
    (fakes.LyingComfyUI, Outcome.SUCCEEDED, None),
    (fakes.BlockedComfyUI, Outcome.FAILED, Cause.EXECUTION_ERROR),
    (fakes.OutOfMemoryComfyUI, Outcome.FAILED, Cause.OUT_OF_MEMORY),
    (fakes.FileLosingComfyUI, Outcome.FAILED, Cause.INFRASTRUCTURE),
    (fakes.DiskFullComfyUI, Outcome.FAILED, Cause.EXECUTION_ERROR),
    (fakes.DyingComfyUI, Outcome.FAILED, Cause.INFRASTRUCTURE),
]


async def run(site: FakeSite, config: Config, **spec: Any) -> Report:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(**spec)))
        end: Report = await lab.finish(site, 1)
        return end


@pytest.mark.parametrize(("kind", "outcome", "cause"), ENDS)
async def test_each_misbehaviour_ends_the_job_with_its_cause(
    site: FakeSite,
    configured: Configured,
    tmp_path: Path,
    kind: type[fakes.ComfyUI],
    outcome: Outcome,
    cause: Cause | None,
) -> None:
    with kind(tmp_path / "c") as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.outcome is outcome
    assert (end.fault.cause if end.fault else None) is cause


async def test_out_of_memory_names_the_node_the_gpu_and_what_to_change(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.OutOfMemoryComfyUI(tmp_path / "c") as comfyui:
        fault = (await run(site, configured(comfyui.url))).fault
    assert fault is not None
    assert (fault.node, fault.node_type, fault.available_bytes) == ("3", "KSampler", 24 * lab.GIB)
    assert fault.message.startswith("Sample ran out of GPU memory on a GPU of 24.0 GiB. Try a smaller")


async def test_a_lying_comfyui_gets_no_file_from_outside_the_jobs_folder_stored(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.LyingComfyUI(tmp_path / "c") as comfyui:
        end = await run(site, configured(comfyui.url))
    assert [one.node for one in end.artifacts] == ["9"]
    assert all("/" not in one.name and ".." not in one.name for one in end.artifacts)


async def test_a_hung_prompt_is_noticed_interrupted_and_given_up(
    site: FakeSite, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_agent.runners.comfyui.HANG_FLOOR_SECONDS", 1.0)
    monkeypatch.setattr("gpu_agent.runners.comfyui.HANG_STOP_SECONDS", 1.0)
    with fakes.HungComfyUI(tmp_path / "c") as comfyui:
        config = configured(comfyui.url, HANG_SECONDS="20")
        end = await run(site, config)
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, Cause.INFRASTRUCTURE)
    assert end.fault.message == "ComfyUI made no progress"


async def test_a_comfyui_killed_in_mid_run_and_back_soon_gets_the_prompt_again(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.DyingComfyUI(tmp_path / "c", speed=20.0) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(lab.make_spec()))
            await lab.until(lambda: core._link.down_since is not None, what="it did not die")
            comfyui.restart()
            assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_the_agent_stays_up_and_tells_when_comfyui_is_down_and_back(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.ComfyUI(tmp_path / "c") as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            published = len(site.inventories)
            comfyui.kill()
            await lab.until(lambda: not site.heartbeats[-1].comfyui_ready, what="it is still called ready")
            comfyui.restart()
            await lab.until(lambda: site.heartbeats[-1].comfyui_ready, what="it is not ready again")
            await lab.until(lambda: len(site.inventories) > published, what="no fresh inventory")
            core.deliver(site.offer(lab.make_spec()))
            assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_a_missing_model_is_named(site: FakeSite, configured: Configured, tmp_path: Path) -> None:
    with fakes.ComfyUI(tmp_path / "c", any_model=False) as comfyui:
        fault = (await run(site, configured(comfyui.url))).fault
    assert fault is not None
    assert (fault.cause, fault.node, fault.node_type) == (Cause.MISSING_MODEL, "4", "CheckpointLoaderSimple")
    assert fault.message == "Load model: the model sd15.safetensors is not on this host"


@pytest.mark.parametrize("kind", [fakes.ComfyUI, fakes.OldComfyUI])
async def test_a_missing_node_is_named(
    site: FakeSite, configured: Configured, tmp_path: Path, kind: type[fakes.ComfyUI]
) -> None:
    graph = {**lab.still_graph(), "5": {"class_type": "NotInstalled", "inputs": {}}}
    with kind(tmp_path / "c") as comfyui:
        fault = (await run(site, configured(comfyui.url), graph=graph)).fault
    assert fault is not None
    assert (fault.cause, fault.node) == (Cause.MISSING_NODE, "5")


async def test_what_a_failed_job_did_make_is_stored_beside_its_failure(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    graph = lab.still_graph()
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    with fakes.PartialComfyUI(tmp_path / "c") as comfyui:
        end = await run(site, configured(comfyui.url), graph=graph)
    assert end.fault is not None
    assert end.fault.cause is Cause.EXECUTION_ERROR
    (made,) = end.artifacts
    assert made.node in {"2", "3"}
    assert made.sha256 in site.artifacts
