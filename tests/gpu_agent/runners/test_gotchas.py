"""The thirteen gotchas of the real ComfyUI, each by its number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.comfyui import faults
from gpu_agent.config import Config
from gpu_agent.protocol.messages import Command, CommandKind, InputFile, Report
from gpu_agent.protocol.phases import Cause, Outcome, Phase
from tests.fakes import comfyui as fakes
from tests.fakes.site import FakeSite
from tests.gpu_agent import lab
from tests.gpu_agent.comfyui.scripted import Scenario, scripted_at

Configured = Callable[..., Config]
RECORDED = "00000000-0000-4000-8000-000000000000"
SAVED = {"9": {"images": [{"filename": "out_00001_.png", "subfolder": "jobs/a1", "type": "output"}]}}
SUCCESS = {"outputs": SAVED, "status": {"status_str": "success", "completed": True, "messages": []}}


def said(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"prompt_id": RECORDED, **data}}


def success(**changes: Any) -> Scenario:
    """Start, one node, end."""
    messages = [
        said("execution_start"), said("executing", node="9"), said("execution_success"),
        said("executing", node=None),
    ]  # fmt: skip
    return Scenario(**{"recorded_id": RECORDED, "messages": messages, "history": SUCCESS, **changes})


async def run(site: FakeSite, config: Config, **spec: Any) -> Report:
    async with lab.working_core(config, site) as core:
        core.deliver(site.offer(lab.make_spec(**spec)))
        end: Report = await lab.finish(site, 1)
        return end


async def test_gotcha_1_a_500_that_queued_the_prompt_is_not_posted_again(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.WronglyAnsweringComfyUI(tmp_path / "c") as comfyui:
        end = await run(site, configured(comfyui.url))
        files = list((tmp_path / "c/output").rglob("*.png"))
    assert end.outcome is Outcome.SUCCEEDED
    assert len(files) == 1


async def test_gotcha_1_a_500_that_queued_nothing_is_posted_once_more_then_given_up(
    site: FakeSite, configured: Configured
) -> None:
    with scripted_at(Scenario(answer=(500, "500 Internal Server Error"))) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert len(comfyui.posts) == 2
    assert end.fault is not None
    assert end.fault.cause is Cause.INFRASTRUCTURE


async def test_gotcha_2_no_number_and_no_front_is_ever_sent(site: FakeSite, configured: Configured) -> None:
    with scripted_at(success()) as comfyui:
        await run(site, configured(comfyui.url))
    assert set(comfyui.posts[0]) == {"prompt", "client_id", "prompt_id", "extra_data"}


async def test_gotcha_2_a_dead_worker_thread_is_noticed_and_told(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.DeadWorkerComfyUI(tmp_path / "c") as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(lab.make_spec()))
            await lab.until(lambda: "must be restarted" in " ".join(site.heartbeats[-1].warnings))
            assert not site.heartbeats[-1].comfyui_ready
            end = await lab.finish(site, 1)
    assert end.fault is not None
    assert end.fault.cause is Cause.INFRASTRUCTURE


async def test_gotcha_3_the_history_is_read_at_executing_null_not_at_success(
    site: FakeSite, configured: Configured
) -> None:
    with scripted_at(success()) as comfyui:
        end = await run(site, configured(comfyui.url))
    reads = [found for method, path, found in comfyui.asked if method == "GET" and "/history/" in path]
    assert end.outcome is Outcome.SUCCEEDED
    assert reads
    assert all(reads)


async def test_gotcha_4_a_blocked_branch_is_no_failure(site: FakeSite, configured: Configured) -> None:
    blocked = said("execution_error", node_id="3", exception_type="ExecutionBlocked", exception_message="no")
    scenario = success()
    scenario.messages.insert(2, blocked)
    with scripted_at(scenario) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert (end.outcome, len(end.artifacts)) == (Outcome.SUCCEEDED, 1)


async def test_gotcha_5_a_lost_interrupt_is_repeated(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.DeafComfyUI(tmp_path / "c", speed=20.0) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(lab.make_spec(graph=lab.picture_graph(800, size=1024))))
            await lab.until(lambda: {Phase.LOADING, Phase.RUNNING} & set(site.phases(1)))
            site.commands = [Command(CommandKind.CANCEL, 1, 1)]
            end = await lab.finish(site, 1)
    assert end.outcome is Outcome.CANCELLED


async def test_gotcha_6_an_output_file_that_is_gone_goes_back_to_be_made_again(
    site: FakeSite, configured: Configured
) -> None:
    with scripted_at(success(view_status=404)) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.fault is not None
    assert (end.outcome, end.fault.cause) == (Outcome.FAILED, Cause.INFRASTRUCTURE)


async def test_gotcha_7_a_lost_prompt_is_submitted_once_more(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.ForgetfulComfyUI(tmp_path / "c") as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.outcome is Outcome.SUCCEEDED


async def test_gotcha_7_a_prompt_we_withdrew_is_not_submitted_again(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.ComfyUI(tmp_path / "c", speed=20.0) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(lab.make_spec(graph=lab.picture_graph(800, size=1024))))
            await lab.until(lambda: {Phase.LOADING, Phase.RUNNING} & set(site.phases(1)))
            # As long as the first: should it start as that one is stopped, it does not end by itself.
            core.deliver(site.offer(lab.make_spec(2, graph=lab.picture_graph(800, size=1024))))
            await lab.until(lambda: Phase.WAITING in site.phases(2))
            site.commands = [Command(CommandKind.CANCEL, 2, 1), Command(CommandKind.CANCEL, 1, 1)]
            ends = [await lab.finish(site, attempt) for attempt in (1, 2)]
    assert [end.outcome for end in ends] == [Outcome.CANCELLED, Outcome.CANCELLED]
    assert not list((tmp_path / "c/output").rglob("*.png"))


async def test_gotcha_8_a_deaf_socket_is_closed_before_the_next_is_opened(
    site: FakeSite, configured: Configured
) -> None:
    with scripted_at(success(deaf=True, ends_when_reopened=True)) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.outcome is Outcome.SUCCEEDED
    assert comfyui.sockets_opened == 2
    assert comfyui.most_sockets == 1


async def test_gotcha_8_what_the_socket_missed_the_poll_finds(site: FakeSite, configured: Configured) -> None:
    with scripted_at(success(deaf=True)) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.outcome is Outcome.SUCCEEDED
    assert end.charged_ms <= lab.make_spec().expected_ms


async def test_gotcha_9_a_frame_of_many_megabytes_does_not_end_the_connection(
    site: FakeSite, configured: Configured
) -> None:
    scenario = success()
    scenario.messages.insert(2, b"\0\0\0\1\0\0\0\1" + bytes(8 * 1024 * 1024))
    with scripted_at(scenario) as comfyui:
        end = await run(site, configured(comfyui.url))
    assert end.outcome is Outcome.SUCCEEDED
    assert comfyui.sockets_opened == 1


async def test_gotcha_9_a_flood_of_previews_is_read_and_thinned_out(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    with fakes.FloodingComfyUI(tmp_path / "c", speed=20.0) as comfyui:
        end = await run(site, configured(comfyui.url), graph=lab.picture_graph(60, size=1024))
    assert end.outcome is Outcome.SUCCEEDED
    shown = [frame for frame in site.progress if frame.preview_base64]
    assert len(shown) <= 2 + 4 * end.executing_ms / 1000


async def test_gotcha_10_a_partly_accepted_graph_is_withdrawn_and_refused(
    site: FakeSite, configured: Configured
) -> None:
    error = {"type": "value_not_in_list", "message": "Value not in list", "extra_info": {"input_name": "x"}}
    errors = {"6": {"errors": [error], "class_type": "KSampler"}}
    answer = (200, {"number": 0, "node_errors": errors})
    with scripted_at(Scenario(answer=answer)) as comfyui:
        end = await run(site, configured(comfyui.url))
        prompt_id = comfyui.posts[0]["prompt_id"]
    assert end.fault is not None
    assert (end.outcome, end.fault.cause, end.fault.node) == (Outcome.FAILED, Cause.INVALID_WORKFLOW, "6")
    assert ("POST", "/interrupt", {"prompt_id": prompt_id}) in comfyui.asked


async def test_gotcha_11_tracebacks_host_paths_and_tensors_are_not_shown(
    site: FakeSite, configured: Configured, tmp_path: Path
) -> None:
    error = {
        "node_id": "3", "node_type": "KSampler", "exception_type": "ValueError",
        "exception_message": "bad /home/somebody/ComfyUI/models/x.py with tensor([[1, 2]])\nmore",
        "traceback": ['File "/home/somebody/ComfyUI/nodes.py"'],
    }  # fmt: skip
    fault = faults.raised(error, {}, None)
    assert fault.message == "KSampler: bad …/x.py with"
    assert "somebody" not in fault.to_json()


async def test_gotcha_12_inputs_go_to_a_folder_per_attempt_under_the_name_comfyui_gave(
    site: FakeSite, configured: Configured
) -> None:
    file = InputFile(site.upload(b"picture"), "in.png", 7)
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}}}
    with scripted_at(success()) as comfyui:
        await run(site, configured(comfyui.url), graph=graph, inputs=(file,))
    assert comfyui.uploads == ["attempt-1-1"]
    assert comfyui.posts[0]["prompt"]["1"]["inputs"]["image"] == "attempt-1-1/renamed (1).png"


async def test_gotcha_12_history_is_deleted_after_collecting(site: FakeSite, configured: Configured) -> None:
    with scripted_at(success()) as comfyui:
        async with lab.working_core(configured(comfyui.url), site) as core:
            core.deliver(site.offer(lab.make_spec()))
            await lab.finish(site, 1)
            deletion = ("POST", "/history", {"delete": [site.specs[1].prompt_id]})
            await lab.until(lambda: deletion in comfyui.asked, what="the history entry was not deleted")


@pytest.mark.parametrize("node_type", ["CheckpointSave", "CLIPSave", "ModelSave", "LoraSave"])
async def test_gotcha_13_nodes_that_write_weights_never_reach_comfyui(
    site: FakeSite, configured: Configured, node_type: str
) -> None:
    with scripted_at(success()) as comfyui:
        end = await run(site, configured(comfyui.url), graph={"1": {"class_type": node_type, "inputs": {}}})
    assert not comfyui.posts
    assert end.fault is not None
    assert end.fault.node_type == node_type


async def test_gotcha_13_a_prefix_that_climbs_out_never_reaches_comfyui(
    site: FakeSite, configured: Configured
) -> None:
    graph = {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a/../../b"}}}
    with scripted_at(success()) as comfyui:
        end = await run(site, configured(comfyui.url), graph=graph)
    assert not comfyui.posts
    assert end.outcome is Outcome.FAILED
