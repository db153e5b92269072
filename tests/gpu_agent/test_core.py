"""The agent's core between a fake site and the simulator."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_agent.protocol.phases import Outcome, Phase
from gpu_agent.simulator.options import Options
from gpu_agent.simulator.server import Running, simulator_at
from tests.fakes.site import FakeSite, site_at
from tests.gpu_agent import lab


@pytest.fixture
def site() -> Iterator[FakeSite]:
    with site_at() as site:
        yield site


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[Running]:
    with simulator_at(Options(folder=tmp_path / "comfyui", speed=20, any_model=True, test_nodes=True)) as it:
        yield it


async def test_a_delivery_becomes_a_finish_report_with_an_artifact(
    site: FakeSite, comfyui: Running, tmp_path: Path
) -> None:
    async with lab.working_core(lab.make_config(site.url, comfyui.url, tmp_path / "agent"), site) as core:
        core.deliver(site.offer(lab.make_spec()))
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.SUCCEEDED
    assert [hashlib.sha256(site.artifacts[one.sha256]).hexdigest() for one in end.artifacts] == [
        one.sha256 for one in end.artifacts
    ]
    assert site.phases(1)[0] is Phase.TAKEN
    assert 0 < end.charged_ms <= 20 * end.executing_ms
