"""ComfyUI's refusals and errors, said for people and sorted into the closed set of causes. Pure.

Tracebacks, host paths and tensors stay out of what is said.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gpu_agent.protocol.messages import Fault
from gpu_agent.protocol.phases import Cause

MAX_MESSAGE_LENGTH = 300
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx", ".pkl")
OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "outofmemory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "unable to allocate",
    "not enough memory",
    "insufficient memory",
    "allocation on device",
    "alloc_failed",
    "memoryallocation",
)
UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "bytes": 1}
ASKED = re.compile(r"allocate\s+([\d.]+)\s*(GiB|MiB|KiB|bytes|B)\b")
HOST_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.@+ -]+)+[/\\]([\w.@+-]+)")
TENSOR = re.compile(r"tensor\(.*", re.DOTALL)


def refused(body: Mapping[str, Any], titles: Mapping[str, str]) -> Fault:
    """The fault behind a 400 of POST /prompt."""
    error = body.get("error")
    error = error if isinstance(error, dict) else {"message": str(error or "ComfyUI refused the workflow")}
    kind = str(error.get("type", ""))
    found = list(_node_errors(body.get("node_errors")))
    missing = _missing_node(kind, error, titles)
    if missing is not None:
        return missing
    if found:
        return _worst(found, titles)
    return Fault(Cause.INVALID_WORKFLOW, said(str(error.get("message") or "ComfyUI refused the workflow")))


def partly_refused(node_errors: Mapping[str, Any], titles: Mapping[str, str]) -> Fault:
    """The fault behind a 200 with `node_errors`: some outputs would silently be left out."""
    found = list(_node_errors(node_errors))
    return (
        _worst(found, titles) if found else Fault(Cause.INVALID_WORKFLOW, "Part of the workflow was refused")
    )


def _missing_node(kind: str, error: Mapping[str, Any], titles: Mapping[str, str]) -> Fault | None:
    message = str(error.get("message", ""))
    # Before 0.12 the type was `invalid_prompt` and only the words told.
    if kind != "missing_node_type" and not (kind == "invalid_prompt" and "not exist" in message):
        return None
    about = error.get("extra_info")
    about = about if isinstance(about, dict) else {}
    node = str(about.get("node_id") or _node_in(str(error.get("details", ""))))
    node_type = str(about.get("class_type") or "")
    return Fault(Cause.MISSING_NODE, said(message), node=node, node_type=node_type)


def _node_in(details: str) -> str:
    found = re.search(r"#([\w:.-]+)", details)
    return found.group(1) if found else ""


def _node_errors(errors: object) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(node, node type, error) of every entry that has the known shape."""
    for node, about in errors.items() if isinstance(errors, dict) else ():
        if not isinstance(about, dict):
            continue
        for error in about.get("errors") or ({"message": "refused"},):
            if isinstance(error, dict):
                yield str(node), str(about.get("class_type", "")), error


def _worst(found: list[tuple[str, str, dict[str, Any]]], titles: Mapping[str, str]) -> Fault:
    """A missing model is what its author can't mend by editing: say that first."""
    faults = [_node_fault(node, node_type, error, titles) for node, node_type, error in found]
    return next((fault for fault in faults if fault.cause is Cause.MISSING_MODEL), faults[0])


def _node_fault(node: str, node_type: str, error: Mapping[str, Any], titles: Mapping[str, str]) -> Fault:
    about = error.get("extra_info")
    about = about if isinstance(about, dict) else {}
    name, received = str(about.get("input_name", "")), about.get("received_value")
    where = titles.get(node) or node_type or f"node {node}"
    is_model = isinstance(received, str) and received.lower().endswith(MODEL_SUFFIXES)
    if error.get("type") == "value_not_in_list" and is_model:
        message = f"{where}: the model {received} is not on this host"
        return Fault(Cause.MISSING_MODEL, said(message), node=node, node_type=node_type)
    details = name or str(error.get("details", ""))
    message = ": ".join(part for part in (where, str(error.get("message", "refused")), details) if part)
    return Fault(Cause.INVALID_WORKFLOW, said(message), node=node, node_type=node_type)


def raised(error: Mapping[str, Any], titles: Mapping[str, str], vram_total_bytes: int | None) -> Fault:
    """The fault behind an `execution_error`."""
    node, node_type = str(error.get("node_id") or ""), str(error.get("node_type") or "")
    kind, text = str(error.get("exception_type") or ""), str(error.get("exception_message") or "")
    where = titles.get(node) or node_type or "a node"
    if is_out_of_memory(kind, text):
        return out_of_memory(where, node, node_type, _asked_bytes(text), vram_total_bytes)
    first_line = next((line for line in text.splitlines() if line.strip()), kind or "error")
    return Fault(Cause.EXECUTION_ERROR, said(f"{where}: {first_line}"), node=node, node_type=node_type)


def is_out_of_memory(kind: str, text: str) -> bool:
    words = f"{kind} {text}".lower()
    return kind.rsplit(".", 1)[-1] == "MemoryError" or any(word in words for word in OUT_OF_MEMORY_WORDS)


def out_of_memory(where: str, node: str, node_type: str, needed: int | None, available: int | None) -> Fault:
    """Figures where known, and what to change."""
    figures = f" (asked for {_gib(needed)} more)" if needed else ""
    figures += f" on a GPU of {_gib(available)}" if available else ""
    message = (
        f"{where} ran out of GPU memory{figures}. Try a smaller picture, fewer frames or a smaller batch."
    )
    return Fault(
        Cause.OUT_OF_MEMORY,
        said(message),
        node=node,
        node_type=node_type,
        needed_bytes=needed,
        available_bytes=available,
    )


def _asked_bytes(text: str) -> int | None:
    found = ASKED.search(text)
    if found is None:
        return None
    try:
        return min(2**62, int(float(found.group(1)) * UNITS[found.group(2)]))
    except ValueError:
        return None


def _gib(count: int) -> str:
    return f"{count / 1024**3:,.1f} GiB"


def said(text: str) -> str:
    """One short line without host paths or tensors."""
    line = " ".join(TENSOR.sub("", HOST_PATH.sub(r"…/\1", text)).split())
    return line if len(line) <= MAX_MESSAGE_LENGTH else line[: MAX_MESSAGE_LENGTH - 1] + "…"
