"""The supervisor, with small stand-in programs for its children."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from marketplace.quickstart.stores import Stores
from marketplace.quickstart.supervisor import Child, Delay, Supervisor
from tests.polling import poll

FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
POLITE = (
    "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit()))\n" + FOREVER
)
FAMILY = "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)\n" + FOREVER
KILLED_SUPERVISOR = """
import asyncio, os, signal
from tests.marketplace.quickstart.test_supervisor import FOREVER, child
from marketplace.quickstart.supervisor import Supervisor
def die(name, line):
    print(house.pid("web"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
house = Supervisor([child("web", FOREVER)], (), die)
async def nothing(): return None
asyncio.run(house.run(nothing))
"""

Lines = list[tuple[str, str]]


def child(name: str, source: str, grace_seconds: float = 5.0) -> Child:
    return Child(name, [sys.executable, "-c", source], dict(os.environ), Path.cwd(), grace_seconds)


@asynccontextmanager
async def supervised(children: list[Child], stores: tuple = ()) -> AsyncIterator[tuple[Supervisor, Lines]]:
    lines: Lines = []
    supervisor = Supervisor(children, stores, lambda name, line: lines.append((name, line)))

    async def nothing() -> None:
        return None

    running = asyncio.create_task(supervisor.run(nothing))
    yield supervisor, lines
    supervisor.stop()
    await running


async def until(question: Callable[[], object], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not question():
            await asyncio.sleep(0.02)


async def test_lines_carry_the_name_of_their_process() -> None:
    complain = "import sys\nprint('why', file=sys.stderr)\n" + FOREVER
    async with supervised([child("web", complain)]) as (_, lines):
        await until(lambda: {("web", "up"), ("web", "why")} <= set(lines))


async def test_a_killed_child_is_started_again() -> None:
    async with supervised([child("web", FOREVER)]) as (supervisor, lines):
        await until(lambda: ("web", "up") in lines)
        first = supervisor.pid("web")
        os.kill(first, signal.SIGKILL)
        await until(lambda: lines.count(("web", "up")) == 2)
        assert ("web", "ended (signal SIGKILL), starting again in 0.5 s") in lines
        assert supervisor.pid("web") != first


async def test_a_killed_store_is_back_at_the_same_url(tmp_path: Path) -> None:
    stores = Stores(tmp_path, durable=False)
    stores.start()
    url = stores.valkey.url
    async with supervised([], tuple(stores.started)) as (supervisor, lines):
        for name in ("valkey", "postgres"):
            os.kill(supervisor.pid(name), signal.SIGKILL)
            await until(lambda name=name: (name, "is back") in lines)
    assert stores.valkey.url == url
    assert stores.valkey.ready()
    assert stores.postgres.ready()
    stores.stop()


async def test_children_stop_in_the_reverse_order_of_their_start() -> None:
    async with supervised([child("web", POLITE), child("agent", POLITE)]) as (_, lines):
        await until(lambda: {("web", "up"), ("agent", "up")} <= set(lines))
    assert [name for name, line in lines if line == "bye"] == ["agent", "web"]


async def test_a_child_that_does_not_leave_is_killed_after_its_grace() -> None:
    async with supervised([child("stuck", STUBBORN, grace_seconds=0.2)]) as (supervisor, lines):
        await until(lambda: ("stuck", "up") in lines)
    assert ("stuck", "did not stop in time, killed") in lines
    assert supervisor.pid("stuck") is None


async def test_a_second_request_to_stop_does_not_wait_for_the_grace() -> None:
    async with supervised([child("stuck", STUBBORN, grace_seconds=600)]) as (supervisor, lines):
        await until(lambda: ("stuck", "up") in lines)
        supervisor.stop()
        supervisor.stop()
    assert ("stuck", "did not stop in time, killed") in lines


async def test_what_a_child_started_dies_with_it() -> None:
    async with supervised([child("family", FAMILY)]) as (supervisor, lines):
        await until(lambda: lines)
        grandchild = int(lines[0][1])
        os.kill(supervisor.pid("family"), signal.SIGKILL)
        await until(lambda: _gone(grandchild))


async def test_a_result_ends_the_run() -> None:
    async def work() -> int:
        return 3

    supervisor = Supervisor([child("web", FOREVER)], (), lambda name, line: None)
    assert await supervisor.run(work) == 3
    assert supervisor.pid("web") is None


async def test_a_fault_in_the_work_is_not_lost() -> None:
    async def work() -> int:
        raise LookupError("no such file")

    supervisor = Supervisor([child("web", FOREVER)], (), lambda name, line: None)
    with pytest.raises(LookupError, match="no such file"):
        await supervisor.run(work)
    assert supervisor.pid("web") is None


def test_delays_double_to_a_limit_and_shrink_after_a_steady_run() -> None:
    delay = Delay()
    assert [delay.after(0.1) for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert delay.after(60) == 0.5


def test_children_die_with_a_killed_supervisor() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_SUPERVISOR], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    poll(lambda: _gone(int(killed.stdout)))


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
