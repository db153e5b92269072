"""`python -m gpu_agent` as a process of its own, fed through RQ with the agent's own Redis user."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from gpu_agent.protocol.messages import queue_name
from gpu_agent.protocol.phases import Outcome, Phase
from gpu_agent.simulator.options import Options
from gpu_agent.simulator.server import Running, simulator_at
from tests.fakes.site import AGENT, TOKEN, FakeSite, send_by_rq, site_at, write_redis_user
from tests.gpu_agent import lab
from tests.polling import poll

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def admin() -> Iterator["redis.Redis"]:
    """A connection that may do everything; the agent's user and keys are gone afterwards."""
    place = urlsplit(os.environ["REDIS_URL"])
    with redis.Redis(
        host=place.hostname or "", port=place.port or 0, username=place.username, password=place.password
    ) as admin:
        write_redis_user(admin)
        yield admin
        admin.execute_command("ACL", "DELUSER", queue_name(AGENT))
        for key in admin.scan_iter(match=f"rq:*{AGENT}*"):
            admin.delete(key)


@pytest.fixture
def site(admin: "redis.Redis") -> Iterator[FakeSite]:
    place = urlsplit(os.environ["REDIS_URL"])
    with site_at() as site:
        site.redis_url = f"redis://{queue_name(AGENT)}@{place.hostname}:{place.port}/0"
        yield site


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[Running]:
    with simulator_at(Options(folder=tmp_path / "comfyui", speed=20, any_model=True, test_nodes=True)) as it:
        yield it


@pytest.fixture
def start(site: FakeSite, comfyui: Running, tmp_path: Path) -> Iterator[Start]:
    """Start an agent process; `**environ` overrides its settings."""
    with contextlib.ExitStack() as started:

        def start(**environ: str) -> "subprocess.Popen[str]":
            settings = {
                "SITE_URL": site.url, "AGENT_TOKEN": TOKEN, "COMFYUI_URL": comfyui.url,
                "COMFYUI_SIMULATED": "1", "SIMULATOR_SPEED": "20", "DISK_FLOOR_MB": "0",
                "AGENT_DATA_DIR": str(tmp_path / "agent"), "PATH": os.environ["PATH"], "LOG_FORMAT": "json",
            }  # fmt: skip
            process = subprocess.Popen(
                [sys.executable, "-m", "gpu_agent"],
                env={**settings, **environ}, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            started.callback(_end, process)
            return process

        yield start


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def joined(site: FakeSite) -> None:
    poll(lambda: site.heartbeats and site.heartbeats[-1].comfyui_ready, 30, "the agent is not ready")


def send_two(site: FakeSite, admin: "redis.Redis") -> None:
    """The second when the first runs: otherwise whichever is ready first would go first."""
    for attempt in (1, 2):
        graph = lab.picture_graph(150, seed=attempt, prefix=f"jobs/a{attempt}", size=1024)
        send_by_rq(admin, site.offer(lab.make_spec(attempt, graph=graph)))
        poll(lambda: {Phase.LOADING, Phase.RUNNING} & set(site.phases(1)), 30, "the first does not run")


def test_a_delivery_by_rq_becomes_a_finish_report(start: Start, site: FakeSite, admin: "redis.Redis") -> None:
    start()
    joined(site)
    send_by_rq(admin, site.offer(lab.make_spec()))
    assert site.finish(1).outcome is Outcome.SUCCEEDED
    poll(lambda: admin.hget(f"rq:job:{AGENT}-1-1", "status") == b"finished", what="RQ's job is not done")


def test_doubled_deliveries_run_once(start: Start, site: FakeSite, admin: "redis.Redis") -> None:
    start()
    joined(site)
    delivery = site.offer(lab.make_spec())
    for count in (1, 2, 3):
        send_by_rq(admin, delivery, count)
    site.finish(1)
    poll(lambda: admin.llen(f"rq:queue:{queue_name(AGENT)}") == 0, what="deliveries wait")
    assert len({report.sequence for report in site.reports_of(1)}) == len(site.reports_of(1))
    assert [report.outcome for report in site.reports_of(1) if report.outcome] == [Outcome.SUCCEEDED]


def test_a_killed_agent_finishes_both_its_prompts_after_the_next_start(
    start: Start, site: FakeSite, admin: "redis.Redis", comfyui: Running
) -> None:
    first = start()
    joined(site)
    send_two(site, admin)
    poll(lambda: Phase.WAITING in site.phases(2), 30, "the second does not wait in ComfyUI")
    first.kill()
    first.wait()
    start()
    assert [site.finish(attempt, 60).outcome for attempt in (1, 2)] == [Outcome.SUCCEEDED] * 2
    assert len(list((comfyui.machine.options.folder / "output").rglob("*.png"))) == 2


def test_sigterm_finishes_what_runs_and_hands_back_the_next(
    start: Start, site: FakeSite, admin: "redis.Redis"
) -> None:
    process = start()
    joined(site)
    send_two(site, admin)
    poll(lambda: any(len(beat.attempts) == 2 and beat.attempts[0].executing_ms for beat in site.heartbeats))
    process.send_signal(signal.SIGTERM)
    assert site.finish(2).outcome is Outcome.HANDED_BACK
    assert site.finish(1).outcome is Outcome.SUCCEEDED
    assert process.wait(20) == 0


def test_a_second_sigterm_hands_back_what_runs(start: Start, site: FakeSite, admin: "redis.Redis") -> None:
    process = start()
    joined(site)
    send_by_rq(admin, site.offer(lab.make_spec(graph=lab.picture_graph(steps=800, size=1024))))
    poll(lambda: any(beat.attempts and beat.attempts[0].executing_ms for beat in site.heartbeats), 30)
    process.send_signal(signal.SIGTERM)
    poll(lambda: site.heartbeats[-1].draining, 10, "the first signal was not told")
    process.send_signal(signal.SIGTERM)
    assert site.finish(1).outcome is Outcome.HANDED_BACK
    assert process.wait(20) == 0


def test_it_works_while_redis_is_away_and_leaves_when_told(start: Start, site: FakeSite) -> None:
    site.redis_url = f"redis://{queue_name(AGENT)}@127.0.0.1:1/0"
    process = start()
    joined(site)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_supervised_comfyui_that_dies_is_started_again(
    start: Start, site: FakeSite, admin: "redis.Redis", tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--port {port} --folder {tmp_path / 'own'} --speed 20 --any-model --misbehave dies_mid_step"
    process = start(
        COMFYUI_URL=f"http://127.0.0.1:{port}",
        COMFYUI_COMMAND=f"{sys.executable} -m gpu_agent.simulator {options} --misbehave-once",
    )
    joined(site)
    send_by_rq(admin, site.offer(lab.make_spec()))
    site.finish(1)  # submitted again, or given up when the new start took long
    poll(lambda: site.heartbeats[-1].comfyui_ready, 30, "ComfyUI was not started again")
    send_by_rq(admin, site.offer(lab.make_spec(2)))
    assert site.finish(2).outcome is Outcome.SUCCEEDED
    process.terminate()
    assert process.wait(20) == 0
    with socket.socket() as gone:
        assert gone.connect_ex(("127.0.0.1", port)) != 0  # its ComfyUI went with it


def test_an_unknown_token_ends_it_saying_so(start: Start) -> None:
    process = start(AGENT_TOKEN="unknown")
    assert process.wait(20) == 3
    assert "not_authenticated" in _said(process)


def test_another_protocol_ends_it_saying_so(start: Start, site: FakeSite) -> None:
    site.protocols = (99,)
    process = start()
    assert process.wait(20) == 3
    assert "426 protocol" in _said(process)


def test_without_a_gpu_or_a_simulator_it_refuses_to_start(start: Start) -> None:
    process = start(COMFYUI_SIMULATED="0")
    assert process.wait(20) == 2
    assert "COMFYUI_SIMULATED=1 runs against the simulator" in _said(process)


def test_two_agents_cannot_share_a_data_folder(start: Start, site: FakeSite) -> None:
    start()
    joined(site)
    second = start()
    assert second.wait(20) == 2
    assert "AGENT_DATA_DIR: another agent uses" in _said(second)


def test_neither_prompt_nor_token_reaches_the_log(start: Start, site: FakeSite, admin: "redis.Redis") -> None:
    process = start(LOG_LEVEL="DEBUG")
    joined(site)
    send_by_rq(admin, site.offer(lab.make_spec()))
    site.finish(1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert "attempt_finished" in said
    assert "lighthouse" not in said
    assert TOKEN not in said


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.read()
