"""Each misbehaviour shows what it promises, over the same HTTP and WebSocket as the real ComfyUI."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from gpu_agent.simulator.misbehaviour import MISBEHAVIOURS, named
from tests.fakes import comfyui as fakes
from tests.gpu_agent.simulator.talk import Talk, kinds, picture, sampling, sleeper


def test_every_misbehaviour_has_a_fake_of_its_own() -> None:
    kinds_of_fakes = [one for one in vars(fakes).values() if isinstance(one, type)]
    offered = {one.misbehaviour for one in kinds_of_fakes if issubclass(one, fakes.ComfyUI)}
    assert offered == set(MISBEHAVIOURS)


def test_an_unknown_misbehaviour_is_refused_with_the_choices() -> None:
    with pytest.raises(KeyError, match="dies_mid_step"):
        named("nonsense")


def test_slow_takes_ten_times_as_long(tmp_path: Path) -> None:
    with fakes.SlowComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(sleeper(seconds=2, steps=1))
        talk.finish()
        messages = talk.history(prompt_id)["status"]["messages"]
    assert messages[-1][1]["timestamp"] - messages[0][1]["timestamp"] >= 400  # ms; 40 when it behaves


def test_hung_never_ends_and_takes_no_notice_of_interrupts(tmp_path: Path, poll: Callable[..., Any]) -> None:
    with fakes.HungComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(sampling())
        talk.until("executing", node="3")
        poll(lambda: comfyui.machine.moment and comfyui.machine.moment.tick == 1)
        talk.http.post("/interrupt", json={"prompt_id": prompt_id})
        with pytest.raises(TimeoutError):
            talk.socket.recv(timeout=0.3)
        assert talk.http.get("/queue").json()["queue_running"][0][1] == prompt_id


def test_dying_breaks_the_socket_and_refuses_connections(tmp_path: Path) -> None:
    with fakes.DyingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        talk.submit(sampling())
        with pytest.raises(ConnectionClosed) as closed:
            talk.finish()
        assert closed.value.rcvd is None  # 1006: no farewell
        comfyui.kill()
        with pytest.raises(httpx.ConnectError):
            talk.http.get("/queue")


def test_started_again_it_knows_nothing_but_its_files(tmp_path: Path) -> None:
    with fakes.ComfyUI(tmp_path) as comfyui:
        with Talk(comfyui.url) as talk:
            prompt_id = talk.submit(picture())
            talk.finish()
        comfyui.restart()
        with Talk(comfyui.url) as talk:
            assert talk.http.get(f"/history/{prompt_id}").json() == {}
            assert talk.post(picture()).json()["number"] == 0
            assert (tmp_path / "output" / "made_00001_.png").exists()


def test_forgetful_leaves_neither_queue_entry_nor_history(tmp_path: Path) -> None:
    with fakes.ForgetfulComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(picture())
        talk.finish()
        assert talk.http.get(f"/history/{prompt_id}").json() == {}
        assert talk.http.get(f"/api/jobs/{prompt_id}").status_code == 404


def test_deaf_stops_at_the_fourth_interrupt(tmp_path: Path) -> None:
    with fakes.DeafComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(sleeper(seconds=100, steps=100))
        for _ in range(3):
            talk.http.post("/interrupt", json={"prompt_id": prompt_id})
            talk.until("progress")
        talk.http.post("/interrupt", json={"prompt_id": prompt_id})
        assert "execution_interrupted" in kinds(talk.finish())


def test_a_dead_worker_answers_and_runs_nothing(tmp_path: Path) -> None:
    with fakes.DeadWorkerComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        assert talk.post(picture()).status_code == 200
        assert talk.post(picture(color=2)).status_code == 200
        queue = talk.http.get("/queue").json()
        assert (queue["queue_running"], len(queue["queue_pending"])) == ([], 2)


def test_a_wrong_answer_hides_a_prompt_that_runs(tmp_path: Path, poll: Callable[..., Any]) -> None:
    prompt_id = "0b5d2c3e-6c0f-4b52-8f3f-1d0c4a1b2c3d"
    with fakes.WronglyAnsweringComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        assert talk.post(picture(), prompt_id=prompt_id).status_code == 500
        history = poll(lambda: talk.http.get(f"/history/{prompt_id}").json())
        assert history[prompt_id]["status"]["status_str"] == "success"


def test_a_blocked_node_ends_in_success_without_outputs(tmp_path: Path) -> None:
    with fakes.BlockedComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(picture())
        assert "execution_error" in kinds(talk.finish())
        history = talk.history(prompt_id)
        assert (history["status"]["status_str"], history["outputs"]) == ("success", {})


@pytest.mark.parametrize(
    ("kind", "exception_type"),
    [(fakes.OutOfMemoryComfyUI, "torch.OutOfMemoryError"), (fakes.DiskFullComfyUI, "OSError")],
)
def test_a_broken_host_fails_the_prompt(
    tmp_path: Path, kind: type[fakes.ComfyUI], exception_type: str
) -> None:
    with kind(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(picture())
        talk.finish()
        _, data = talk.history(prompt_id)["status"]["messages"][-1]
    assert data["exception_type"] == exception_type


def test_partial_keeps_the_first_output_and_fails_at_the_second(tmp_path: Path) -> None:
    graph = picture()
    graph["3"] = {**graph["2"], "inputs": {"images": ["1", 0], "filename_prefix": "second"}}
    with fakes.PartialComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(graph)
        talk.finish()
        history = talk.history(prompt_id)
    assert (history["status"]["status_str"], len(history["outputs"])) == ("error", 1)


def test_a_lost_file_is_named_and_not_found(tmp_path: Path) -> None:
    with fakes.FileLosingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(picture())
        talk.finish()
        (output,) = talk.history(prompt_id)["outputs"]["2"]["images"]
        assert talk.http.get("/view", params=output).status_code == 404


def test_a_flood_sends_fifty_previews_a_step(tmp_path: Path) -> None:
    with fakes.FloodingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        talk.submit(sampling(steps=2))
        assert kinds(talk.finish()).count("binary") == 100


def test_never_reading_leaves_a_ping_unanswered(tmp_path: Path) -> None:
    with fakes.NeverReadingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        talk.submit(picture())
        assert "execution_success" in kinds(talk.finish())


def test_a_liar_names_a_file_outside_its_folder(tmp_path: Path) -> None:
    with fakes.LyingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        prompt_id = talk.submit(picture())
        talk.finish()
        hostile = talk.history(prompt_id)["outputs"]["2"]["images"][0]
        assert hostile["filename"].endswith("etc/passwd")
        assert talk.http.get("/view", params=hostile).status_code == 400


def test_an_old_one_has_no_jobs_and_takes_any_id(tmp_path: Path) -> None:
    with fakes.OldComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        assert talk.submit(picture(), prompt_id="mine") == "mine"
        talk.finish()
        assert "create_time" not in talk.history("mine")["prompt"][3]
        assert talk.http.get("/api/jobs").status_code == 404
        assert talk.http.get("/system_stats").json()["system"]["comfyui_version"] == "0.3.64"


def test_what_starts_meanwhile_is_not_taken_out_of_the_queue(tmp_path: Path) -> None:
    with fakes.RacingComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        ran = [talk.submit(sleeper(seconds=5, seed=seed)) for seed in (1, 2)]
        assert talk.http.post("/queue", json={"delete": [ran[1]]}).status_code == 200
        for prompt_id in ran:
            talk.until("executing", node=None, prompt_id=prompt_id)
        executions = talk.http.get("/simulated/executions").json()["executions"]
    assert [prompt_id for prompt_id, _began, _ended in executions] == ran


def test_broken_sockets_leave_http_as_it_was(tmp_path: Path) -> None:
    with fakes.ComfyUI(tmp_path) as comfyui, Talk(comfyui.url) as talk:
        talk.until("status")
        comfyui.break_sockets()
        with pytest.raises(ConnectionClosed):
            talk.until("nothing of the kind")
        assert talk.http.get("/queue").status_code == 200
