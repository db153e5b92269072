"""A prompt's way through the simulator, without the recordings."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.fakes.comfyui import ComfyUI
from tests.gpu_agent.simulator.talk import Talk, kinds, node, picture, sampling, sleeper


def test_a_prompt_tells_of_each_node_and_ends_with_executing_null(talk: Talk) -> None:
    prompt_id = talk.submit(picture())
    told = [kind for kind in kinds(talk.finish()) if kind != "status"]
    per_node = ["progress_state", "executing"]
    ends = ["executed", "progress_state", "execution_success", "executing"]
    start = ["execution_start", "execution_cached", *per_node, "progress_state"]
    assert told == [*start, *per_node, *ends]
    assert talk.history(prompt_id)["status"]["completed"] is True


def test_the_saved_file_can_be_viewed_and_carries_the_graph(talk: Talk) -> None:
    prompt_id = talk.submit(picture(color=0xFF8000, prefix="sub/made"))
    talk.finish()
    (output,) = talk.history(prompt_id)["outputs"]["2"]["images"]
    assert output == {"filename": "made_00001_.png", "subfolder": "sub", "type": "output"}
    image = Image.open(BytesIO(talk.http.get("/view", params=output).content))
    assert image.getpixel((3, 3)) == (255, 128, 0)
    assert "EmptyImage" in image.info["prompt"]


def test_a_rerun_is_cached_whole_and_names_the_old_file(comfyui: ComfyUI, talk: Talk) -> None:
    talk.submit(picture())
    talk.finish()
    comfyui.machine.folders.inside("output", "made_00001_.png").unlink()
    prompt_id = talk.submit(picture())
    (cached,) = [one for one in talk.finish() if one["type"] == "execution_cached"]
    assert cached["data"]["nodes"] == ["1", "2"]
    (output,) = talk.history(prompt_id)["outputs"]["2"]["images"]
    assert output["filename"] == "made_00001_.png"
    assert talk.http.get("/view", params=output).status_code == 404


def test_a_new_prefix_runs_the_saving_node_alone(talk: Talk) -> None:
    talk.submit(picture(prefix="one"))
    talk.finish()
    talk.submit(picture(prefix="two"))
    executing = [one["data"]["node"] for one in talk.finish() if one["type"] == "executing"]
    assert executing == ["2", None]


def test_freeing_memory_empties_the_cache(comfyui: ComfyUI, talk: Talk, poll: Callable[..., Any]) -> None:
    talk.submit(sampling())
    talk.finish()
    full = comfyui.machine.system_stats()["devices"][0]
    talk.http.post("/free", json={"unload_models": True, "free_memory": True})
    poll(lambda: comfyui.machine.system_stats()["devices"][0]["torch_vram_total"] == 0)
    assert full["torch_vram_total"] > 1_000_000_000
    talk.submit(sampling())
    (cached,) = [one for one in talk.finish() if one["type"] == "execution_cached"]
    assert cached["data"]["nodes"] == []


def test_each_step_sends_a_preview_without_ids(talk: Talk) -> None:
    talk.submit(sampling(steps=3))
    told = talk.finish()
    frames = [one["data"] for one in told if one["type"] == "binary"]
    assert frames == [{"event": 1, "image_type": 1}] * 3
    assert [one["data"]["value"] for one in told if one["type"] == "progress"] == [1, 2, 3]


def test_negotiated_previews_name_prompt_and_node(comfyui: ComfyUI) -> None:
    with Talk(comfyui.url, metadata=True) as talk:
        talk.until("feature_flags")
        prompt_id = talk.submit(sampling(steps=2))
        frames = [one["data"] for one in talk.finish() if one["type"] == "binary"]
    assert [frame["event"] for frame in frames] == [4, 4]
    assert {(frame["metadata"]["prompt_id"], frame["metadata"]["node_id"]) for frame in frames} == {
        (prompt_id, "3")
    }


def test_previews_can_be_switched_off_for_a_prompt(talk: Talk) -> None:
    talk.submit(sampling(), extra_data={"preview_method": "none"})
    assert "binary" not in kinds(talk.finish())


def test_equal_words_and_seed_paint_equal_pictures(talk: Talk) -> None:
    pictures = []
    for seed in (7, 8, 7):
        prompt_id = talk.submit(sampling(seed=seed))
        talk.finish()
        (output,) = talk.history(prompt_id)["outputs"]["9"]["images"]
        pictures.append(Image.open(BytesIO(talk.http.get("/view", params=output).content)).tobytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_a_failing_node_keeps_the_outputs_before_it(talk: Talk) -> None:
    graph = picture() | {"3": node("PeerFail", image=["1", 0], message="broken")}
    graph |= {"4": node("SaveImage", images=["3", 0], filename_prefix="never")}
    prompt_id = talk.submit(graph)
    talk.finish()
    history = talk.history(prompt_id)
    assert (history["status"]["status_str"], list(history["outputs"])) == ("error", ["2"])
    event, data = history["status"]["messages"][-1]
    assert event == "execution_error"
    assert (data["node_id"], data["exception_type"]) == ("3", "ValueError")


def test_a_blocked_branch_sends_an_error_and_ends_in_success(talk: Talk) -> None:
    graph = picture() | {"3": node("PeerBlock", image=["1", 0], message="no")}
    graph |= {"4": node("SaveImage", images=["3", 0], filename_prefix="never")}
    prompt_id = talk.submit(graph)
    told = kinds(talk.finish())
    assert told.index("execution_error") < told.index("execution_success")
    history = talk.history(prompt_id)
    assert history["status"]["status_str"] == "success"
    assert [event for event, _ in history["status"]["messages"]][-1] == "execution_success"


def test_text_goes_out_as_binary_event_three(talk: Talk) -> None:
    graph = picture() | {"3": node("PeerText", image=["1", 0], text="position 3")}
    graph |= {"4": node("PreviewImage", images=["3", 0])}
    talk.submit(graph)
    (frame,) = [one["data"] for one in talk.finish() if one["type"] == "binary"]
    assert frame == {"event": 3, "node": "3", "text": "position 3"}


def test_a_targeted_interrupt_stops_only_its_prompt(talk: Talk) -> None:
    prompt_id = talk.submit(sleeper(seconds=100, steps=100))
    talk.until("progress")
    talk.http.post("/interrupt", json={"prompt_id": "0b5d2c3e-6c0f-4b52-8f3f-1d0c4a1b2c3d"})
    talk.until("progress")
    talk.http.post("/interrupt", json={"prompt_id": prompt_id})
    assert "execution_interrupted" in kinds(talk.finish())
    assert talk.http.get(f"/api/jobs/{prompt_id}").json()["status"] == "cancelled"


def test_a_deleted_prompt_leaves_no_trace(talk: Talk) -> None:
    talk.submit(sleeper(seconds=20))
    waiting = talk.submit(picture())
    assert talk.http.post("/queue", json={"delete": [waiting]}).status_code == 200
    assert talk.http.get(f"/history/{waiting}").json() == {}
    assert talk.http.get(f"/api/jobs/{waiting}").status_code == 404


def test_equal_number_and_id_kill_the_worker(talk: Talk, poll: Callable[..., Any]) -> None:
    talk.submit(sleeper(seconds=20))
    twin = {"prompt_id": "0b5d2c3e-6c0f-4b52-8f3f-1d0c4a1b2c3d", "number": 5}
    answers = [talk.post(picture(color), **twin).status_code for color in (1, 2, 3, 4)]
    assert answers == [200, 500, 500, 500]
    talk.finish()
    poll(lambda: talk.http.get("/queue").json()["queue_running"] == [])
    assert talk.http.get("/prompt").json() == {"exec_info": {"queue_remaining": 3}}


def test_a_closing_socket_silences_the_one_that_took_its_id_over(
    comfyui: ComfyUI, talk: Talk, poll: Callable[..., Any]
) -> None:
    with Talk(comfyui.url, client_id=talk.client_id) as second:
        second.until("status")
        talk.socket.close()
        poll(lambda: talk.client_id not in comfyui.machine.hub.client_ids())
        prompt_id = second.submit(picture())
        poll(lambda: second.http.get(f"/history/{prompt_id}").json())
        with pytest.raises(TimeoutError):
            second.socket.recv(timeout=0)


def test_out_of_memory_is_told_in_torchs_words(talk: Talk) -> None:
    graph = picture() | {"3": node("PeerOutOfMemory", image=["1", 0])}
    prompt_id = talk.submit(graph | {"4": node("PreviewImage", images=["3", 0])})
    talk.finish()
    _, data = talk.history(prompt_id)["status"]["messages"][-1]
    assert data["exception_type"] == "torch.OutOfMemoryError"
    assert "ran out of memory on your GPU" in data["exception_message"]


def test_a_clip_is_saved_as_mp4_under_images(talk: Talk) -> None:
    graph = {
        "1": node("EmptyImage", width=64, height=48, batch_size=8, color=99),
        "2": node("CreateVideo", images=["1", 0], fps=8.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="clip", format="auto", codec="auto"),
    }
    prompt_id = talk.submit(graph)
    talk.finish()
    output = talk.history(prompt_id)["outputs"]["3"]
    assert output["animated"] == [True]
    response = talk.http.get("/view", params=output["images"][0])
    assert response.headers["content-type"] == "video/mp4"
    assert response.content[4:8] == b"ftyp"
