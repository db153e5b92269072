"""The simulator as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gpu_agent.simulator.talk import Talk, picture, sampling

MODULE = [sys.executable, "-m", "gpu_agent.simulator"]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def launch(tmp_path: Path, port: int, poll: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Start it with these arguments and wait until it answers."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        command = [*MODULE, "--port", str(port), "--folder", str(tmp_path), *arguments]
        process = subprocess.Popen(command, env={**os.environ, "SIMULATOR_SPEED": "40"})
        started.append(process)
        poll(lambda: process.poll() is not None or answers(port), seconds=30)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/queue", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_it_serves_and_leaves_without_a_farewell_when_told(launch: Callable[..., Any], port: int) -> None:
    process = launch("--vram-gib", "8")
    with Talk(f"http://127.0.0.1:{port}") as talk:
        talk.submit(picture())
        talk.finish()
        assert talk.http.get("/system_stats").json()["devices"][0]["name"] == "Simulated GPU 8 GB"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_it_dies_mid_step_once_and_behaves_when_started_again(launch: Callable[..., Any], port: int) -> None:
    told = ["--misbehave", "dies_mid_step", "--misbehave-once"]
    first = launch(*told)
    with Talk(f"http://127.0.0.1:{port}") as talk:
        talk.submit(sampling())
        assert first.wait(20) == 137
    launch(*told)
    with Talk(f"http://127.0.0.1:{port}") as talk:
        prompt_id = talk.submit(sampling())
        talk.finish()
        assert talk.history(prompt_id)["status"]["status_str"] == "success"


def test_strange_arguments_are_refused_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    command = [*MODULE, "--folder", str(tmp_path), "--node-definitions", str(missing)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--node-definitions" in refused.stderr
