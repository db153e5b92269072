"""A simulator of our own node definitions, and a client connected to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.comfyui import ComfyUI
from tests.gpu_agent.simulator.talk import Talk


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[ComfyUI]:
    with ComfyUI(tmp_path) as running:
        yield running


@pytest.fixture
def talk(comfyui: ComfyUI) -> Iterator[Talk]:
    with Talk(comfyui.url) as client:
        yield client
