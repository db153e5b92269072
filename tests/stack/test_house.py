"""`make run` as a person meets it: it comes up, refuses a second start, stops cleanly and comes back."""

import os
import subprocess
import sys

import httpx
import psutil
import pytest

from marketplace.quickstart import ports
from tests.polling import poll
from tests.stack.conftest import OF_THE_TESTS, REPOSITORY, RunningHouse, start_house

pytestmark = pytest.mark.stack


def test_a_house_comes_up_stops_on_request_and_comes_back_with_its_data(house: RunningHouse) -> None:
    house.wait_for("Sign in as")
    assert f"The site is at {house.url}" in house.log
    assert all(f"{name} " in house.log for name in ("student", "instructor", "organizer"))
    family = house.runner.children(recursive=True)
    with httpx.Client(base_url=house.url, trust_env=False) as student:
        login = {"username": "student", "password": "darkroom-demo"}
        token = student.post("/api/v1/token", json=login).json()["token"]
        assert house.stop() == 0
        poll(lambda: not any(map(_works, family)), what="everybody's end")
        again = start_house(house.folder, port=int(house.url.rpartition(":")[2]))
        try:
            again.wait_for("Sign in as")
            assert "enrolling" not in again.log
            me = student.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
            assert me.json()["balance"]["available_milli"] > 0
        finally:
            assert again.stop() == 0


def test_a_second_start_is_told_who_holds_the_folder(house: RunningHouse) -> None:
    house.wait_for("setup | ")
    second = _run_beside(house)
    assert second.returncode == 1
    assert f"{house.folder} is held by process {house.runner.pid} since " in second.stderr


def test_a_taken_port_is_refused_with_its_holder(house: RunningHouse) -> None:
    with ports.socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        second = _run_beside(house, DATA_DIR=str(house.folder / "other"), WEB_BIND=f"127.0.0.1:{port}")
    assert second.returncode == 1
    assert f"WEB_BIND: port {port} is held by process {os.getpid()} " in second.stderr


def test_nothing_survives_a_killed_runner(house: RunningHouse) -> None:
    house.wait_for("Sign in as")
    family = house.runner.children(recursive=True)
    assert len(family) >= 7, [child.cmdline() for child in family]
    house.runner.kill()
    poll(lambda: not any(map(_works, family)), seconds=30, what="everybody's end")


def test_nonsense_is_refused_by_the_name_of_its_variable(house: RunningHouse) -> None:
    second = _run_beside(house, AGENTS="many")
    assert second.returncode == 1
    assert second.stderr.startswith("Cannot start: AGENTS must list the GiB of each agent")


def _run_beside(house: RunningHouse, **wishes: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    environment |= {"DATA_DIR": str(house.folder), **wishes}
    return subprocess.run(
        [sys.executable, "-m", "marketplace.quickstart", "run"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def _works(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
