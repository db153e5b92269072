"""ComfyUI's refusals and errors, sorted into causes and said for people."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.comfyui import faults
from gpu_agent.protocol.phases import Cause


def node_error(kind: str, value: Any = None, name: str = "seed") -> dict[str, Any]:
    about = {"input_name": name, "received_value": value}
    error = {"type": kind, "message": "Value not in list", "details": "", "extra_info": about}
    return {"error": {"type": "prompt_outputs_failed_validation", "message": "failed"},
            "node_errors": {"4": {"errors": [error], "class_type": "Loader"}}}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB", "Allocation on device ", "HIP out of memory.",
        "MPS backend out of memory", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4",
        "CUBLAS_STATUS_ALLOC_FAILED when calling", "cudaErrorMemoryAllocation", "Not enough memory",
    ],
)  # fmt: skip
def test_out_of_memory_is_known_in_all_its_forms(text: str) -> None:
    fault = faults.raised({"exception_type": "RuntimeError", "exception_message": text}, {}, None)
    assert fault.cause is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize("kind", ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "MemoryError"])
def test_out_of_memory_is_known_by_its_type(kind: str) -> None:
    assert faults.is_out_of_memory(kind, "")


def test_what_was_asked_for_is_told() -> None:
    error = {
        "exception_type": "RuntimeError",
        "exception_message": "CUDA out of memory. Tried to allocate 2.50 GiB",
    }
    fault = faults.raised({**error, "node_id": "3"}, {"3": "Sample"}, 8 * 1024**3)
    assert (fault.needed_bytes, fault.available_bytes) == (2_684_354_560, 8 * 1024**3)
    assert "Sample ran out of GPU memory (asked for 2.5 GiB more) on a GPU of 8.0 GiB" in fault.message


@pytest.mark.parametrize("value", ["a.safetensors", "b.ckpt", "c.GGUF", "folder/d.pth"])
def test_a_model_not_on_the_list_is_a_missing_model(value: str) -> None:
    fault = faults.refused(node_error("value_not_in_list", value), {"4": "Load model"})
    assert (fault.cause, fault.node, fault.node_type) == (Cause.MISSING_MODEL, "4", "Loader")


def test_another_choice_not_on_the_list_is_an_invalid_workflow() -> None:
    fault = faults.refused(node_error("value_not_in_list", "nope", "sampler_name"), {})
    assert (fault.cause, fault.message) == (Cause.INVALID_WORKFLOW, "Loader: Value not in list: sampler_name")


def test_a_missing_node_of_an_old_version_is_known_by_its_words() -> None:
    message = "Cannot execute because node My Node does not exist."
    fault = faults.refused(
        {"error": {"type": "invalid_prompt", "message": message, "details": "Node ID '#7'"}}, {}
    )
    assert (fault.cause, fault.node) == (Cause.MISSING_NODE, "7")


@pytest.mark.parametrize(
    "body", [{}, {"error": "x"}, {"error": None, "node_errors": []}, {"node_errors": {"1": 3}}]
)
def test_odd_refusals_are_invalid_workflows(body: dict[str, Any]) -> None:
    assert faults.refused(body, {}).cause is Cause.INVALID_WORKFLOW


def test_what_is_said_is_short() -> None:
    assert len(faults.said("word " * 1000)) == faults.MAX_MESSAGE_LENGTH


@pytest.mark.recordings
@pytest.mark.parametrize("version", ["", "v0.3.64/"])
def test_every_recorded_refusal_has_a_cause_and_no_host_path(recordings: Path, version: str) -> None:
    events = json.loads((recordings / f"comfyui/{version}post_prompt_validation.json").read_text())["events"]
    bodies = [event["response"] for event in events if event.get("status") == 400]
    assert len(bodies) > 10
    for body in bodies:
        fault = faults.refused(body, {})
        assert fault.cause in {Cause.INVALID_WORKFLOW, Cause.MISSING_MODEL, Cause.MISSING_NODE}
        assert "execution.py" not in fault.message


@pytest.mark.recordings
def test_a_recorded_missing_node_and_model_are_named(recordings: Path) -> None:
    events = json.loads((recordings / "comfyui/post_prompt_validation.json").read_text())["events"]
    found = [faults.refused(event["response"], {}) for event in events if event.get("status") == 400]
    by_cause = {fault.cause: fault for fault in reversed(found)}
    assert by_cause[Cause.MISSING_NODE].node_type == "NotInstalledNode"
    assert "missing.safetensors" in by_cause[Cause.MISSING_MODEL].message
