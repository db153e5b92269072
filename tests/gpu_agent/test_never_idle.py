"""Two attempts in hand: the next stands in ComfyUI's queue before the running one ends, or is recalled."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.config import Config
from gpu_agent.core import Core
from gpu_agent.protocol.messages import PREFETCH_MS, Command, CommandKind, InputFile, JobSpec
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from gpu_agent.runners.comfyui import ComfyUIRunner
from tests.fakes.comfyui import ComfyUI, RacingComfyUI
from tests.fakes.site import FakeSite
from tests.gpu_agent import lab

Configured = Callable[..., Config]
SPEED = 20.0


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[ComfyUI]:
    with ComfyUI(tmp_path / "comfyui", speed=SPEED) as running:
        yield running


@pytest.fixture
def config(configured: Configured, comfyui: ComfyUI) -> Config:
    return configured(comfyui.url)


def long_spec(attempt: int, steps: int = 800, expected_ms: int = 600_000) -> JobSpec:
    """Some ten seconds with 800 steps of 1024²."""
    graph = lab.picture_graph(steps, seed=attempt, prefix=f"jobs/a{attempt}", size=1024)
    return lab.make_spec(attempt, graph=graph, expected_ms=expected_ms)


async def two_in_hand(core: Core, site: FakeSite, first: JobSpec, second: JobSpec) -> None:
    """The first runs, the second stands in ComfyUI's queue."""
    core.deliver(site.offer(first))
    await lab.until(lambda: {Phase.LOADING, Phase.RUNNING} & set(site.phases(1)), what="the first runs not")
    core.deliver(site.offer(second))
    await lab.until(lambda: Phase.WAITING in site.phases(2), what="the second does not wait in ComfyUI")


def memory_of(core: Core, attempt: int) -> dict[str, Any]:
    """What the journal would find again after a kill."""
    entry = core.journal.entry(attempt, 1)
    return entry.memory if entry is not None else {}


def prompts_run(comfyui: ComfyUI) -> list[str]:
    return [one.prompt_id for one in comfyui.machine.queue.executions()]


def pictures(comfyui: ComfyUI, attempt: int) -> int:
    return len(list((comfyui.options.folder / f"output/jobs/a{attempt}").rglob("*.png")))


async def test_waiting_in_comfyuis_queue_is_neither_executing_nor_charged(
    site: FakeSite, config: Config
) -> None:
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1), lab.make_spec(2))
        waits_since, beats = time.monotonic(), len(site.heartbeats)
        await lab.until(lambda: len(site.heartbeats) > beats + 4)
        waited_ms = (time.monotonic() - waits_since) * 1000
        site.commands = [Command(CommandKind.CANCEL, 1, 1)]
        end = await lab.finish(site, 2)
    assert 0 < end.executing_ms < waited_ms
    assert end.charged_ms <= end.executing_ms * SPEED


async def test_outputs_of_one_are_stored_while_the_next_runs(site: FakeSite, config: Config) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1, steps=60), lab.make_spec(2))
        await lab.until(lambda: Phase.STORING in site.phases(2), what="the second does not run")
        assert Phase.FINISHED not in site.phases(1)
        site.full = False
        ends = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert [end.outcome for end in ends] == [Outcome.SUCCEEDED] * 2


async def test_outputs_still_to_store_after_a_kill_do_not_hold_the_gpu(
    site: FakeSite, config: Config
) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(1)))
        await lab.until(lambda: "ended" in memory_of(core, 1), what="nothing to store")
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(2)))
        await lab.until(lambda: Phase.STORING in site.phases(2), what="the second does not run")
        assert Phase.FINISHED not in site.phases(1)
        assert Phase.WAITING not in site.phases(2)


async def test_a_ready_attempt_passes_one_whose_input_is_slow_to_come(site: FakeSite, config: Config) -> None:
    content = (Path(__file__).parent / "small.png").read_bytes()
    file = InputFile(site.upload(content), "a.png", len(content))
    site.uploads[file.sha256] = b"damaged on the way, so fetched again and again"
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "jobs/a1/out"}},
    }
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(1, graph=graph, nodes={}, inputs=(file,))))
        core.deliver(site.offer(lab.make_spec(2)))
        assert (await lab.finish(site, 2)).outcome is Outcome.SUCCEEDED
        site.uploads[file.sha256] = content
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_the_site_hears_at_once_that_a_job_is_nearly_done(site: FakeSite, config: Config) -> None:
    site.heartbeat_seconds = 600.0
    async with lab.running_core(config) as core:
        core.deliver(site.offer(long_spec(1, steps=100)))
        await lab.finish(site, 1)
    told = [beat for heartbeat in site.heartbeats for beat in heartbeat.attempts]
    assert [beat.attempt for beat in told] == [1]
    assert 0 < (told[0].remaining_ms or 0) <= PREFETCH_MS


async def test_the_site_hears_at_once_that_comfyui_is_ready(site: FakeSite, config: Config) -> None:
    site.heartbeat_seconds = 600.0
    async with lab.running_core(config):
        await lab.until(lambda: any(beat.comfyui_ready for beat in site.heartbeats), what="never told ready")


async def test_a_recalled_attempt_that_starts_at_that_moment_is_interrupted_alone(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with RacingComfyUI(tmp_path / "comfyui", speed=SPEED) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            await two_in_hand(core, site, long_spec(1, steps=100), long_spec(2))
            site.commands = [Command(CommandKind.PREEMPT, 2, 1)]
            ends = [await lab.finish(site, attempt) for attempt in (1, 2)]
        assert [end.outcome for end in ends] == [Outcome.SUCCEEDED, Outcome.CANCELLED]
        assert prompts_run(comfyui) == [site.specs[1].prompt_id, site.specs[2].prompt_id]
        assert pictures(comfyui, 2) == 0


async def test_a_recall_that_comes_when_the_gpu_is_done_with_it_changes_nothing(
    site: FakeSite, config: Config
) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(1)))
        await lab.until(lambda: Phase.STORING in site.phases(1), what="it does not run")
        site.commands = [Command(CommandKind.PREEMPT, 1, 1)]
        beats = len(site.heartbeats)
        await lab.until(lambda: len(site.heartbeats) > beats + 2)
        site.full = False
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_both_prompts_survive_a_comfyui_that_is_started_again_at_once(
    site: FakeSite, config: Config, comfyui: ComfyUI
) -> None:
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1, steps=60), lab.make_spec(2))
        comfyui.restart()
        ends = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert [end.outcome for end in ends] == [Outcome.SUCCEEDED] * 2
    assert sorted(prompts_run(comfyui)) == sorted(site.specs[attempt].prompt_id for attempt in (1, 2))


async def test_only_the_running_attempt_is_blamed_for_a_comfyui_that_stays_away(
    site: FakeSite, config: Config, comfyui: ComfyUI
) -> None:
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1), lab.make_spec(2))
        comfyui.kill()
        first, second = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert (first.outcome, first.fault.cause) == (Outcome.FAILED, Cause.INFRASTRUCTURE)
    assert (second.outcome, second.executing_ms, second.charged_ms) == (Outcome.HANDED_BACK, 0, 0)


async def test_only_the_running_attempt_is_blamed_when_the_memory_killer_takes_comfyui(
    site: FakeSite, config: Config, comfyui: ComfyUI
) -> None:
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1), lab.make_spec(2))
        runner = core.registry.find("comfyui")
        assert isinstance(runner, ComfyUIRunner)
        runner.killed_by = lambda: 9
        comfyui.restart()
        first, second = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert (first.outcome, first.fault.cause) == (Outcome.FAILED, Cause.OUT_OF_MEMORY)
    assert second.outcome is Outcome.SUCCEEDED


async def test_both_prompts_are_found_again_after_a_kill_of_the_agent(
    site: FakeSite, config: Config, comfyui: ComfyUI
) -> None:
    async with lab.working_core(config, site) as core:
        await two_in_hand(core, site, long_spec(1, steps=200), lab.make_spec(2))
    async with lab.running_core(config):
        ends = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert [end.outcome for end in ends] == [Outcome.SUCCEEDED] * 2
    assert prompts_run(comfyui) == [site.specs[1].prompt_id, site.specs[2].prompt_id]


async def test_a_socket_lost_before_an_attempt_starts_leaves_its_times_exact(
    site: FakeSite, config: Config, comfyui: ComfyUI
) -> None:
    # With messages missed, at most what was quoted is charged: nothing, here.
    async with lab.working_core(config, site) as core:
        second = lab.make_spec(2, expected_ms=0)
        await two_in_hand(core, site, long_spec(1, steps=200, expected_ms=0), second)
        comfyui.break_sockets()
        await lab.until(lambda: not core._link.socket_open.is_set(), what="the socket was not lost")
        first_end, second_end = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert first_end.charged_ms == 0
    assert second_end.charged_ms > 0
