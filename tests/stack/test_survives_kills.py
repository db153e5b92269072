"""Kill -9 of every process of the house during a class: nothing is lost, nothing is paid twice."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from marketplace.web import starters
from tests.polling import poll

pytestmark = pytest.mark.stack

REPOSITORY = Path(__file__).resolve().parent.parent.parent
OF_THE_TESTS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR", "DJANGO_SETTINGS_MODULE")
VICTIMS = {
    "agent": "gpu_agent --",
    "web": "uvicorn",
    "worker": "rqworker",
    "market": "run_market",
    "valkey": "valkey-server",
    "postgres": "/postgres -D",
}
JOBS = 20


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The whole site as processes; its runner and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}
    environment |= {"DATA_DIR": str(tmp_path), "WEB_BIND": f"127.0.0.1:{port}", "SIMULATOR_SPEED": "10"}
    with (tmp_path / "house.log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "marketplace.quickstart", "run"],
            cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield psutil.Process(running.pid), f"http://127.0.0.1:{port}"
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)


def test_killing_every_process_loses_no_job_and_charges_none_twice(
    house: tuple[psutil.Process, str],
) -> None:
    runner, url = house
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as student:
        poll(lambda: _answers(student), seconds=90, what="the site")
        login = {"username": "student", "password": "darkroom-demo"}
        token = _steady(student, "POST", "/api/v1/token", json=login).json()["token"]
        student.headers["Authorization"] = f"Bearer {token}"
        jobs = [_buy(student) for _number in range(JOBS)]
        for words in VICTIMS.values():
            _kill(runner, words)
            time.sleep(2)  # the class goes on while the supervisor brings the victim back
        poll(lambda: all(_ended(student, job) for job in jobs), seconds=240, what="every job's end")
        final = [_steady(student, "GET", f"/api/v1/jobs/{job}").json() for job in jobs]
        balance = _steady(student, "GET", "/api/v1/me").json()["balance"]
        lines = _statement(student)
    assert [job["status"] for job in final] == ["succeeded"] * JOBS
    assert all(len(job["artifacts"]) == 1 for job in final)
    settled = [line for line in lines if line["kind"] in ("capture", "release")]
    assert sorted(line["subject"] for line in settled) == sorted(f"job:{job}" for job in jobs)
    assert balance["held_milli"] == 0
    paid = -sum(int(str(line["amount_milli"])) for line in lines if line["kind"] == "capture")
    assert paid == sum(job["captured_milli"] for job in final)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False


def _steady(client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response:
    """Ask until something other than trouble is answered, as any client of a site that restarts would."""

    def ask() -> httpx.Response | None:
        try:
            answer = client.request(method, path, **options)  # type: ignore[arg-type]
        except httpx.TransportError:
            return None
        return None if answer.status_code in (429, 500, 502, 503) else answer

    answer = poll(ask, seconds=60, what=path)
    assert isinstance(answer, httpx.Response)
    assert answer.status_code < 400, answer.text
    return answer


def _buy(student: httpx.Client) -> str:
    workflow = (Path(starters.__file__).parent / "starters" / "sd15-sketch.json").read_text()
    quote = _steady(student, "POST", "/api/v1/quotes", json={"workflow": workflow}).json()["id"]
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return str(_steady(student, "POST", "/api/v1/jobs", json={"quote": quote}, headers=headers).json()["id"])


def _ended(student: httpx.Client, job: str) -> bool:
    return _steady(student, "GET", f"/api/v1/jobs/{job}").json()["status"] in (
        "succeeded", "failed", "cancelled",
    )  # fmt: skip


def _statement(student: httpx.Client) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    before: object = None
    while True:
        path = "/api/v1/statement" + (f"?before={before}" if before else "")
        page = _steady(student, "GET", path).json()
        lines += page["lines"]
        before = page["next_before"]
        if before is None:
            return lines


def _kill(runner: psutil.Process, words: str) -> None:
    for child in runner.children(recursive=True):
        line = " ".join(child.cmdline()) + " --"
        if words in line and "simulator" not in line:
            child.kill()
            return
    raise AssertionError(f"no process runs {words}")
