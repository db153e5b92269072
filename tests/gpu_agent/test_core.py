"""The agent's core between a fake site and the simulator."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_agent.config import Config
from gpu_agent.protocol.messages import Command, CommandKind, InputFile, JobSpec
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from gpu_agent.simulator.options import Options
from gpu_agent.simulator.server import Running, simulator_at
from tests.fakes.site import FakeSite, site_at
from tests.gpu_agent import lab

SLOW_STEPS = 800  # some ten seconds even on the simulated GPU: long enough to act in


@pytest.fixture
def site() -> Iterator[FakeSite]:
    with site_at() as site:
        yield site


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[Running]:
    with simulator_at(Options(folder=tmp_path / "comfyui", speed=20, any_model=True, test_nodes=True)) as it:
        yield it


@pytest.fixture
def config(site: FakeSite, comfyui: Running, tmp_path: Path) -> Config:
    return lab.make_config(site.url, comfyui.url, tmp_path / "agent", COMFYUI_DIR=str(tmp_path / "comfyui"))


def slow_spec(attempt: int = 1) -> JobSpec:
    graph = lab.picture_graph(SLOW_STEPS, seed=attempt, prefix=f"jobs/a{attempt}", size=1024)
    return lab.make_spec(attempt, graph=graph)


async def executing(site: FakeSite, attempt: int) -> None:
    await lab.until(
        lambda: {Phase.LOADING, Phase.RUNNING} & set(site.phases(attempt)), what=f"{attempt} does not run"
    )


async def test_a_delivery_becomes_a_finish_report_with_an_artifact(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.SUCCEEDED
    digests = [hashlib.sha256(site.artifacts[one.sha256]).hexdigest() for one in end.artifacts]
    assert digests == [one.sha256 for one in end.artifacts]
    assert [(one.kind, one.media_type, one.node) for one in end.artifacts] == [("image", "image/png", "9")]
    assert site.phases(1) == sorted(site.phases(1), key=list(Phase).index)


async def test_reports_are_numbered_from_one_without_a_hole(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.finish(site, 1)
    sequences = [report.sequence for report in site.reports_of(1)]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_loading_the_model_is_not_charged(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        end = await lab.finish(site, 1)
    assert 0 < end.loading_ms < end.executing_ms
    assert end.charged_ms == pytest.approx((end.executing_ms - end.loading_ms) * 20, abs=30)


async def test_progress_names_node_step_and_percent_and_brings_previews(
    site: FakeSite, config: Config
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(graph=lab.picture_graph(steps=150, size=1024))))
        await lab.finish(site, 1)
    steps = [frame.step for frame in site.progress if frame.node == "3" and frame.step is not None]
    assert len(steps) >= 3
    assert steps == sorted(steps)
    percents = [frame.percent for frame in site.progress]
    assert percents == sorted(percents)
    assert {frame.node_title for frame in site.progress} >= {"Sample"}
    assert any(frame.preview_base64 for frame in site.progress)


async def test_the_next_attempt_stands_in_comfyuis_queue_before_the_first_ends(
    site: FakeSite, config: Config
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec(1)))
        await executing(site, 1)
        core.deliver(site.offer(lab.make_spec(2)))
        await lab.until(lambda: Phase.WAITING in site.phases(2), what="the second does not wait in ComfyUI")
        assert Phase.FINISHED not in site.phases(1)
        site.commands = [Command(CommandKind.CANCEL, 1, 1)]
        assert (await lab.finish(site, 2)).outcome is Outcome.SUCCEEDED


async def test_a_running_attempt_is_cancelled_by_command(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec()))
        await executing(site, 1)
        site.commands = [Command(CommandKind.CANCEL, 1, 1, "its owner asked")]
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.CANCELLED
    assert not end.artifacts
    assert end.executing_ms > 0


async def test_a_prefetched_attempt_is_preempted_without_a_trace(
    site: FakeSite, config: Config, comfyui: Running
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec(1)))
        await executing(site, 1)
        core.deliver(site.offer(lab.make_spec(2)))
        await lab.until(lambda: Phase.WAITING in site.phases(2))
        site.commands = [Command(CommandKind.PREEMPT, 2, 1)]
        end = await lab.finish(site, 2)
        assert Phase.FINISHED not in site.phases(1)
    assert (end.outcome, end.executing_ms, end.charged_ms) == (Outcome.CANCELLED, 0, 0)
    assert not (comfyui.machine.options.folder / "output/jobs/a2").exists()


async def test_a_command_for_another_token_stops_nothing(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        site.commands = [Command(CommandKind.CANCEL, 1, 99)]
        core.deliver(site.offer(lab.make_spec()))
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_a_superseded_attempt_is_stopped_and_not_spoken_of(
    site: FakeSite, config: Config, comfyui: Running
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec()))
        await executing(site, 1)
        site.superseded.add(1)
        await lab.until(lambda: not site.heartbeats[-1].attempts, what="it is still in hand")
        # A phase reported just before may still be on its way.
        await lab.until(lambda: core.journal.waiting_reports() == 0, what="a report still waits")
    assert Phase.FINISHED not in site.phases(1)
    assert not list((comfyui.machine.options.folder / "output").rglob("*.png"))


async def test_draining_hands_back_what_comes_and_resuming_takes_it(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        site.commands = [Command(CommandKind.DRAIN)]
        await lab.until(lambda: site.heartbeats[-1].draining, what="it does not drain")
        core.deliver(site.offer(lab.make_spec(1)))
        assert (await lab.finish(site, 1)).outcome is Outcome.HANDED_BACK
        site.commands = [Command(CommandKind.RESUME)]
        await lab.until(lambda: not site.heartbeats[-1].draining, what="it does not resume")
        core.deliver(site.offer(lab.make_spec(2)))
        assert (await lab.finish(site, 2)).outcome is Outcome.SUCCEEDED


async def test_a_restored_site_is_joined_anew_and_old_attempts_are_forgotten(
    site: FakeSite, config: Config
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec(1)))
        await executing(site, 1)
        site.timeline = 2
        await lab.until(lambda: len(site.handshakes) == 2, what="no second handshake")
        await lab.until(lambda: not site.heartbeats[-1].attempts, what="the old attempt is still in hand")
        core.deliver(site.offer(lab.make_spec(2)))
        assert (await lab.finish(site, 2)).timeline == 2
    assert Phase.FINISHED not in site.phases(1)


async def test_a_site_away_in_mid_run_gets_everything_afterwards(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await executing(site, 1)
        site.away = True
        await lab.until(lambda: core.journal.waiting_reports() > 0)
        site.away = False
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.SUCCEEDED
    assert set(site.artifacts) == {one.sha256 for one in end.artifacts}


async def test_a_full_store_is_waited_for(site: FakeSite, config: Config) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.until(lambda: Phase.STORING in site.phases(1), what="nothing to store")
        assert Phase.FINISHED not in site.phases(1)
        site.full = False
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED
    assert site.artifacts


async def test_outputs_the_site_lost_are_stored_again(site: FakeSite, config: Config) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.until(lambda: list((tmp := config.data_dir / "attempts").rglob("?" * 64)) and tmp)
        site.missing_once = {path.name for path in (config.data_dir / "attempts").rglob("?" * 64)}
        site.full = False
        end = await lab.finish(site, 1)
    assert set(site.artifacts) == {one.sha256 for one in end.artifacts}
    assert len(site.stored) == 2


async def test_storing_goes_on_after_a_kill(site: FakeSite, config: Config) -> None:
    site.full = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.until(lambda: Phase.STORING in site.phases(1), what="nothing to store")
        await lab.until(lambda: list((config.data_dir / "attempts").rglob("?" * 64)))
    site.full = False
    async with lab.running_core(config):
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.SUCCEEDED
    assert set(site.artifacts) == {one.sha256 for one in end.artifacts}
    assert site.phases(1).count(Phase.RUNNING) == 1


async def test_a_finish_the_site_never_heard_is_said_after_a_kill(site: FakeSite, config: Config) -> None:
    site.hears_no_end = True
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.until(lambda: not core.journal.open_entries() and site.artifacts, what="it did not end")
        assert core.journal.waiting_reports() > 0
    site.hears_no_end = False
    async with lab.running_core(config):
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED
    sequences = [one.sequence for one in site.reports_of(1)]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_a_prompt_superseded_while_the_agent_was_dead_is_withdrawn(
    site: FakeSite, config: Config, comfyui: Running
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(slow_spec()))
        await executing(site, 1)
    site.superseded.add(1)
    async with lab.running_core(config) as core:
        await lab.until(lambda: not core.journal.open_entries(), what="it is still in hand")
        queue = await core._link.http.queue()
    assert (queue.running, queue.pending) == ((), ())
    assert Phase.FINISHED not in site.phases(1)


async def test_an_input_is_fetched_by_hash_and_read_by_its_node(site: FakeSite, config: Config) -> None:
    content = (Path(__file__).parent / "small.png").read_bytes()
    file = InputFile(site.upload(content), "a-picture.png", len(content))
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a-picture.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "jobs/a1/out"}},
    }
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(graph=graph, nodes={}, inputs=(file,))))
        assert (await lab.finish(site, 1)).outcome is Outcome.SUCCEEDED


async def test_a_damaged_input_is_never_run(site: FakeSite, config: Config) -> None:
    digest = site.upload(b"whole")
    site.uploads[digest] = b"damaged"
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(graph=graph, inputs=(InputFile(digest, "a.png", 5),))))
        await lab.until(lambda: any(beat.attempts for beat in site.heartbeats))
        site.commands = [Command(CommandKind.CANCEL, 1, 1)]
        assert (await lab.finish(site, 1)).outcome is Outcome.CANCELLED
    assert not list((config.data_dir / "inputs").iterdir())


async def test_what_does_not_fit_is_handed_back_with_figures(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(vram_bytes=30 * lab.GIB)))
        end = await lab.finish(site, 1)
    assert end.outcome is Outcome.HANDED_BACK
    assert end.fault is not None
    assert end.fault.cause is Cause.OUT_OF_MEMORY
    assert end.fault.needed_bytes == 30 * lab.GIB + config.vram_margin_bytes
    assert 0 < (end.fault.available_bytes or 0) <= 24 * lab.GIB


async def test_a_job_over_its_budget_is_stopped(site: FakeSite, config: Config) -> None:
    spec = replace(slow_spec(), stop_after_ms=3_000)
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(spec))
        end = await lab.finish(site, 1)
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, Cause.OVER_BUDGET)
    assert end.charged_ms > 3_000


async def test_a_job_past_its_time_is_stopped(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(replace(slow_spec(), timeout_ms=300)))
        end = await lab.finish(site, 1)
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, Cause.TIMED_OUT)


async def test_an_unknown_job_type_fails_as_infrastructure(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(replace(lab.make_spec(), job_type="alchemy")))
        end = await lab.finish(site, 1)
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, Cause.INFRASTRUCTURE)


async def test_nodes_that_write_models_are_not_run_here(site: FakeSite, config: Config) -> None:
    graph = {"1": {"class_type": "CheckpointSave", "inputs": {"filename_prefix": "x"}}}
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(graph=graph)))
        end = await lab.finish(site, 1)
    assert end.fault is not None
    assert (end.fault.cause, end.fault.node) == (Cause.INVALID_WORKFLOW, "1")


async def test_the_inventory_is_told_with_node_definitions_and_any_model(
    site: FakeSite, config: Config
) -> None:
    async with lab.working_core(config, site):
        await lab.until(lambda: site.inventories, what="no inventory")
    told = site.inventories[0]
    assert told.any_model
    assert told.node_definitions is not None
    assert "KSampler" in told.node_definitions
    assert told.devices[0].simulated
    assert told.comfyui_version == "0.33.0"


async def test_nothing_of_a_finished_job_stays_behind(
    site: FakeSite, config: Config, comfyui: Running
) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.finish(site, 1)
        attempts = config.data_dir / "attempts"
        await lab.until(lambda: not list(attempts.iterdir()), what="the spool is not empty")
        await lab.until(lambda: not (comfyui.machine.options.folder / "output/jobs/a1").exists())
        await lab.until(lambda: not site.heartbeats[-1].attempts)
        assert await core._link.http.history(site.specs[1].prompt_id) is None


async def test_warm_models_are_named_in_heartbeats(site: FakeSite, config: Config) -> None:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec()))
        await lab.finish(site, 1)
        await lab.until(lambda: site.heartbeats[-1].resident_models == ("sd15.safetensors",))


async def test_a_comfyui_beyond_loopback_is_warned_of(config: Config) -> None:
    async with lab.running_core(config) as core:
        core.config = replace(config, comfyui_url="http://192.0.2.1:8188")
        assert "listens beyond this machine" in core.heartbeat().warnings[0]
        core.config = config
        assert not core.heartbeat().warnings
