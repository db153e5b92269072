"""The agent against recorded traffic of real ComfyUIs, two versions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_agent.config import Config
from gpu_agent.protocol.messages import Report
from gpu_agent.protocol.phases import Cause, Outcome
from tests.fakes.site import FakeSite
from tests.gpu_agent import lab
from tests.gpu_agent.comfyui.scripted import recorded, scripted_at

pytestmark = pytest.mark.recordings
Configured = Callable[..., Config]

SUCCESSES = [
    "ws_success", "ws_execution_blocked", "ws_progress_text", "ws_sampling_preview_legacy",
    "ws_sampling_preview_metadata", "ws_sampling_preview_none", "ws_disconnect_reconnect",
    "ws_same_client_id_twice", "ws_queue_order", "ws_two_clients", "ws_disconnect_for_good",
    "v0.33.0-assets-enabled/ws_success",
    "v0.3.64/ws_success", "v0.3.64/ws_sampling_preview_legacy", "v0.3.64/ws_sampling_preview_metadata",
    "v0.3.64/ws_disconnect_reconnect",
]  # fmt: skip
FAILURES = [
    ("ws_execution_error", Cause.EXECUTION_ERROR),
    ("ws_execution_error_memory", Cause.OUT_OF_MEMORY),
    ("ws_interrupt_targeted", Cause.INFRASTRUCTURE),
    ("ws_interrupt_global", Cause.INFRASTRUCTURE),
    ("ws_interrupt_sampling", Cause.INFRASTRUCTURE),
    ("v0.3.64/ws_execution_error", Cause.EXECUTION_ERROR),
    ("v0.3.64/ws_interrupt_global", Cause.INFRASTRUCTURE),
    ("v0.3.64/ws_interrupt_targeted", Cause.INFRASTRUCTURE),
]


async def replay(path: Path, site: FakeSite, configured: Configured) -> Report:
    scenario = recorded(path)
    spec = lab.make_spec(graph=scenario.graph, nodes={})
    object.__setattr__(spec, "output_prefix", "")
    with scripted_at(scenario) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(spec))
            end: Report = await lab.finish(site, 1)
            return end


@pytest.mark.parametrize("name", SUCCESSES)
async def test_a_recorded_success_is_one(
    recordings: Path, site: FakeSite, configured: Configured, name: str
) -> None:
    end = await replay(recordings / f"comfyui/{name}.json", site, configured)
    assert end.outcome is Outcome.SUCCEEDED
    assert end.artifacts


@pytest.mark.parametrize(("name", "cause"), FAILURES)
async def test_a_recorded_failure_has_its_cause(
    recordings: Path, site: FakeSite, configured: Configured, name: str, cause: Cause
) -> None:
    end = await replay(recordings / f"comfyui/{name}.json", site, configured)
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, cause)
