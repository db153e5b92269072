"""Fixtures of the agent's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_agent.config import Config
from tests.fakes.site import FakeSite, site_at
from tests.gpu_agent import lab


@pytest.fixture
def site() -> Iterator[FakeSite]:
    with site_at() as site:
        yield site


@pytest.fixture
def configured(site: FakeSite, tmp_path: Path) -> Callable[..., Config]:
    """`configured(comfyui_url, **settings)`: settings of an agent between that ComfyUI and the fake site."""

    def configured(comfyui_url: str, **settings: str) -> Config:
        return lab.make_config(site.url, comfyui_url, tmp_path / "agent", **settings)

    return configured
