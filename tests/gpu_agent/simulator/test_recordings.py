"""The simulator against the recorded traffic of a real ComfyUI 0.33.0 (and, where it differs, 0.3.64)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpu_agent.simulator.__main__ import load_definitions
from gpu_agent.simulator.options import CURRENT_VERSION, OLD_VERSION
from tests.fakes.comfyui import ComfyUI
from tests.gpu_agent.simulator.pictures import png
from tests.gpu_agent.simulator.replay import Replay

pytestmark = pytest.mark.recordings

SPEED = 8.0
# Steps of 0.1 s, for the recorder interrupted between two of them; the model lies on the GPU already.
SAMPLING_SPEED = 0.12
# Questions asked while a prompt runs must come before it ends, on a busy machine too: as slow as recorded.
UNHURRIED_SPEED = 1.0
UNHURRIED = (
    "ws_queue_order",
    "ws_queue_delete",
    "ws_jobs_cancel",
    "ws_disconnect_reconnect",
    "ws_interrupt_targeted",
)
NUMBERED = re.compile(r"(.+)_(\d{5})(_?\..+)")
NAMES = [
    "cached_output_file_gone",
    "dead_worker",
    "free_and_history",
    "outputs_forms",
    "post_prompt_validation",
    "view_and_upload",
    "ws_disconnect_for_good",
    "ws_disconnect_reconnect",
    "ws_duplicate_prompt_id",
    "ws_execution_blocked",
    "ws_execution_error",
    "ws_execution_error_memory",
    "ws_interrupt_global",
    "ws_interrupt_sampling",
    "ws_interrupt_targeted",
    "ws_interrupt_uninterruptible_node",
    "ws_interrupt_while_idle",
    "ws_jobs_cancel",
    "ws_no_client_id_in_url",
    "ws_progress_text",
    "ws_queue_delete",
    "ws_queue_order",
    "ws_restart_kill9",
    "ws_restart_sigterm",
    "ws_same_client_id_twice",
    "ws_sampling_preview_legacy",
    "ws_sampling_preview_metadata",
    "ws_sampling_preview_none",
    "ws_success",
    "ws_two_clients",
]


def prompts_in(events: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The accepted prompts: request and answer."""
    return [
        (event["request"], event["response"])
        for event in events
        if event["kind"] == "http"
        and event["method"] == "POST"
        and event["path"] == "/prompt"
        and event["status"] == 200
    ]


def first_cached(events: list[dict[str, Any]]) -> list[str]:
    """Nodes that the first prompt found in the cache, left there by an earlier recording."""
    for event in events:
        if event["kind"] == "ws" and event.get("message", {}).get("type") == "execution_cached":
            return list(event["message"]["data"]["nodes"])
    return []


def recorded_order(events: list[dict[str, Any]]) -> Callable[[list[str]], list[str]]:
    """The order in which ComfyUI's set of a prompt's outputs happened to come."""
    orders = [
        entry["prompt"][4]
        for event in events
        if event.get("path", "").startswith("/history") and isinstance(event.get("response"), dict)
        for entry in event["response"].values()
    ]
    return lambda outputs: next((one for one in orders if set(one) == set(outputs)), outputs)


def outputs_in(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        here = [value] if {"filename", "subfolder", "type"} <= value.keys() else []
        return here + [found for one in value.values() for found in outputs_in(one)]
    return [found for one in value for found in outputs_in(one)] if isinstance(value, list) else []


def number_files_as_recorded(comfyui: ComfyUI, events: list[dict[str, Any]]) -> None:
    """Leave a file before the first one of each prefix, so that numbers go on from there."""
    lowest: dict[tuple[str, str], int] = {}
    told = [event.get("message", {}) for event in events if event["kind"] == "ws"]
    told += [event["response"] for event in events if event.get("path", "").startswith("/history/")]
    for output in outputs_in(told):
        found = NUMBERED.fullmatch(output["filename"])
        if found and output["type"] == "output":
            key = (output["subfolder"], found[1])
            lowest[key] = min(lowest.get(key, 99999), int(found[2]))
    for (subfolder, prefix), number in lowest.items():
        folder = comfyui.machine.folders.inside("output", subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        for earlier in range(1, number):
            (folder / f"{prefix}_{earlier:05}_.png").write_bytes(png((9, 9, 9)))


def warm_cache(comfyui: ComfyUI, prompt: dict[str, Any], cached: list[str], poll: Callable[..., Any]) -> None:
    """Run a prompt that shares just those nodes."""
    warming: dict[str, Any] = {}
    saves = any(node["class_type"] == "SaveImage" for node in prompt.values())
    for node_id, node in json.loads(json.dumps(prompt)).items():
        if node_id not in cached and node["class_type"] == "PreviewImage" and saves:
            continue
        if node_id not in cached and node["class_type"] == "SaveImage":
            node = {"class_type": "PreviewImage", "inputs": {"images": node["inputs"]["images"]}}
        elif node_id not in cached:
            node["inputs"] |= {
                name: value for name, value in {"seed": 999, "seconds": 0}.items() if name in node["inputs"]
            }
        warming[node_id] = node
    prompt_id = httpx.post(f"{comfyui.url}/prompt", json={"prompt": warming}).json()["prompt_id"]
    poll(lambda: comfyui.machine.queue.history(prompt_id))


def occupy(comfyui: ComfyUI, prompt: dict[str, Any]) -> None:
    """Leave a prompt running that shares all but the sleeping node, as an earlier recording did."""
    other: dict[str, Any] = json.loads(json.dumps(prompt))
    for node in other.values():
        node["inputs"] |= {name: 1 for name in ("seed", "seconds") if name in node["inputs"]}
        if node["class_type"] == "SaveImage":
            node |= {"class_type": "PreviewImage", "inputs": {"images": node["inputs"]["images"]}}
    body = {"prompt": other, "client_id": "of an earlier recording"}
    httpx.post(f"{comfyui.url}/prompt", json=body).raise_for_status()


def found_busy(events: list[dict[str, Any]]) -> bool:
    """Whether something was running when the recorder connected."""
    first = next((event["message"]["data"] for event in events if event["kind"] == "ws"), {})
    return bool(first.get("status", {}).get("exec_info", {}).get("queue_remaining"))


def speed_for(name: str) -> float:
    if name == "ws_interrupt_sampling":
        return SAMPLING_SPEED
    return UNHURRIED_SPEED if name in UNHURRIED else SPEED


def load_model(comfyui: ComfyUI) -> None:
    memory = comfyui.machine.memory
    for file in ("random-sd15-tiny.safetensors", "random-sd15-tiny.safetensors text"):
        memory.read(file, 2_100_000_000)
        memory.place(file, 2_100_000_000)


def prepared(comfyui: ComfyUI, events: list[dict[str, Any]], name: str, poll: Callable[..., Any]) -> None:
    """Bring a fresh simulator to where the recorded server stood."""
    number_files_as_recorded(comfyui, events)
    prompts = prompts_in(events)
    cached = first_cached(events)
    if name == "ws_interrupt_sampling":
        load_model(comfyui)
    if found_busy(events):
        occupy(comfyui, prompts[0][0]["prompt"])
    elif cached:
        warm_cache(comfyui, prompts[0][0]["prompt"], cached, poll)
    first = prompts[0][1]["number"] if prompts else 0
    comfyui.machine.number = 0 if name == "post_prompt_validation" else first


def first_tick_after_return(events: list[dict[str, Any]]) -> int:
    """The first step the client heard of after it had come back; 0 if none."""
    values = [
        event["message"]["data"]["value"]
        for event in events
        if event.get("client") == "client again" and event.get("message", {}).get("type") == "progress"
    ]
    return int(values[0]) if values else 0


def steps_for(
    comfyui: ComfyUI, poll: Callable[..., Any], events: list[dict[str, Any]]
) -> dict[str, Callable[[], None]]:
    """What the recorder did by hand."""
    tick = first_tick_after_return(events) - 1

    def stay_away() -> None:
        poll(lambda: tick < 1 or (comfyui.machine.moment and comfyui.machine.moment.tick >= tick))

    return {
        "output file deleted": lambda: comfyui.machine.folders.inside(
            "output", "fixture/gone_00001_.png"
        ).unlink(),
        "SIGKILL": comfyui.kill,
        "SIGTERM": comfyui.kill,
        "start again": comfyui.restart,
        "open client again": stay_away,
        "after POST /free": lambda: poll(lambda: not comfyui.machine.queue.has_flags()),
    }


def uploads() -> dict[str, list[bytes]]:
    red, blue = png((200, 30, 30)), png((30, 30, 200))
    return {
        "up.png": [red, red, blue, red],
        "up2.png": [blue],
        "up3.png": [blue],
        "../evil.png": [blue],
        "e.png": [blue],
        "fake.png": [b"no image at all"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_traffic_is_as_recorded(
    recordings: Path, tmp_path: Path, poll: Callable[..., Any], name: str
) -> None:
    events = json.loads((recordings / "comfyui" / f"{name}.json").read_text())["events"]
    definitions = load_definitions(recordings / "comfyui" / "object_info.json.gz")
    options = {
        "definitions": definitions,
        "order_outputs": recorded_order(events),
        "version": CURRENT_VERSION,
    }
    with ComfyUI(tmp_path, speed=speed_for(name), any_model=False, **options) as comfyui:
        prepared(comfyui, events, name, poll)
        replay = Replay(comfyui.url, steps_for(comfyui, poll, events), uploads())
        assert replay.run(events) == []


OLD_NAMES = [
    "post_prompt_validation",
    "ws_disconnect_reconnect",
    "ws_execution_error",
    "ws_interrupt_global",
    "ws_interrupt_targeted",
    "ws_jobs_cancel",
    "ws_sampling_preview_legacy",
    "ws_sampling_preview_metadata",
    "ws_success",
]


@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_traffic_is_as_recorded(
    recordings: Path, tmp_path: Path, poll: Callable[..., Any], name: str
) -> None:
    events = json.loads((recordings / "comfyui" / "v0.3.64" / f"{name}.json").read_text())["events"]
    definitions = load_definitions(recordings / "comfyui" / "object_info.json.gz")
    options = {"definitions": definitions, "order_outputs": recorded_order(events), "version": OLD_VERSION}
    with ComfyUI(tmp_path, speed=speed_for(name), any_model=False, **options) as comfyui:
        prepared(comfyui, events, name, poll)
        replay = Replay(comfyui.url, steps_for(comfyui, poll, events), uploads())
        assert replay.run(events) == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("features", "/features"),
        ("system_stats", "/system_stats"),
        ("queue_idle", "/queue"),
        ("prompt_get", "/prompt"),
    ],
)
def test_idle_answers_have_the_recorded_shape(recordings: Path, tmp_path: Path, name: str, path: str) -> None:
    recorded = json.loads((recordings / "comfyui" / f"{name}.json").read_text())
    event = {
        "kind": "http",
        "method": "GET",
        "path": path,
        "status": 200,
        "content_type": "application/json; charset=utf-8",
        "response": recorded,
    }
    with ComfyUI(tmp_path) as comfyui:
        assert Replay(comfyui.url).run([event]) == []


def errors_by_node(node_errors: dict[str, Any]) -> dict[str, Any]:
    """Order taken out: ComfyUI keeps a node's inputs and a prompt's outputs in sets. Which output is said to
    depend on a broken node follows from the latter."""
    return {
        node_id: (
            found["class_type"],
            sorted((error["type"], error["details"]) for error in found["errors"]),
        )
        for node_id, found in node_errors.items()
    }


def test_real_workflows_are_refused_as_recorded(recordings: Path, tmp_path: Path) -> None:
    results = json.loads((recordings / "comfyui" / "real_workflow_validation.json").read_text())["results"]
    definitions = load_definitions(recordings / "comfyui" / "object_info.json.gz")
    with ComfyUI(tmp_path, any_model=False, definitions=definitions) as comfyui:
        for result in results:
            name = result["converted_api_file"] or result["workflow"]
            prompt = json.loads((recordings / "workflows" / name).read_text())
            response = httpx.post(f"{comfyui.url}/prompt", json={"prompt": prompt})
            recorded, received = result["response"], response.json()
            assert response.status_code == result["status"], name
            assert received["error"] == recorded["error"], name
            assert errors_by_node(received["node_errors"]) == errors_by_node(recorded["node_errors"]), name
