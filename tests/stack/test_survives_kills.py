"""Kill -9 of every process of the house during a class: nothing is lost, nothing is paid twice."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.factories.workflows import a_sketch
from tests.polling import poll
from tests.stack.conftest import RunningHouse, start_house

pytestmark = pytest.mark.stack

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
def house(tmp_path: Path) -> Iterator[RunningHouse]:
    """A house slow enough that jobs are in every state while processes die."""
    running = start_house(tmp_path, speed="2")
    yield running
    running.stop()


def test_killing_every_process_loses_no_job_and_charges_none_twice(house: RunningHouse) -> None:
    house.wait_for("Sign in as")
    with httpx.Client(base_url=house.url, trust_env=False, timeout=20) as student:
        login = {"username": "student", "password": "darkroom-demo"}
        token = _steady(student, "POST", "/api/v1/token", json=login).json()["token"]
        student.headers["Authorization"] = f"Bearer {token}"
        jobs = [_buy(student) for _number in range(JOBS)]
        for words in VICTIMS.values():
            assert not all(_ended(student, job) for job in jobs), "the class was over before the last kill"
            _kill_and_wait_for_its_successor(house, words)
        poll(lambda: all(_ended(student, job) for job in jobs), seconds=240, what="every job's end")
        final = [_steady(student, "GET", f"/api/v1/jobs/{job}").json() for job in jobs]
        balance = _steady(student, "GET", "/api/v1/me").json()["balance"]
        lines = _statement(student)
        proof = house.manage("check_ledger")
    assert proof.returncode == 0, proof.stderr
    assert [job["status"] for job in final] == ["succeeded"] * JOBS
    assert all(len(job["artifacts"]) == 1 for job in final)
    settled = [line for line in lines if line["kind"] in ("capture", "release")]
    assert sorted(line["subject"] for line in settled) == sorted(f"job:{job}" for job in jobs)
    assert balance["held_milli"] == 0
    paid = -sum(int(str(line["amount_milli"])) for line in lines if line["kind"] == "capture")
    assert paid == sum(job["captured_milli"] for job in final)


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
    quote = _steady(student, "POST", "/api/v1/quotes", json={"workflow": a_sketch()}).json()["id"]
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


def _kill_and_wait_for_its_successor(house: RunningHouse, words: str) -> None:
    victim = house.child(words)
    victim.kill()
    poll(lambda: _successor(house, words, victim), seconds=30, what=f"a new {words}")


def _successor(house: RunningHouse, words: str, victim: psutil.Process) -> bool:
    try:
        return house.child(words).pid != victim.pid
    except LookupError:  # none yet
        return False
