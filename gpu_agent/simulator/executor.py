"""The worker thread: takes prompts, runs their nodes, tells the client, writes the history."""

import hashlib
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpu_agent.simulator.inputs import inputs_of, is_link
from gpu_agent.simulator.machine import Interrupted, Machine, Stopping
from gpu_agent.simulator.misbehaviour import Blocked, Moment, SimulatedOutOfMemoryError
from gpu_agent.simulator.nodes.base import HANDLERS, NodeRun, Shown
from gpu_agent.simulator.nodes.every import run_unknown
from gpu_agent.simulator.nodes.switches import LAZY_NEEDS
from gpu_agent.simulator.ordering import Ordering, links_in
from gpu_agent.simulator.progress import Progress
from gpu_agent.simulator.queue import Entry
from gpu_agent.simulator.values import Blocker

OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might "
    "have accidentally set the batch_size to a large number."
)


@dataclass(frozen=True, slots=True)
class Cached:
    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None


class Failed(Exception):
    """A node ended the prompt."""

    def __init__(self, node_id: str, cause: Exception) -> None:
        super().__init__(str(cause))
        self.node_id = node_id
        self.cause = cause


def work(machine: Machine) -> None:
    """Body of the worker thread: until the simulator stops, or the thread dies as ComfyUI's does."""
    while not machine.stopping.is_set():
        try:
            taken = machine.queue.get(timeout_seconds=0.5)
        except TypeError:
            machine.log(traceback.format_exc())
            return
        if taken is not None:
            task, entry = taken
            try:
                history = Execution(machine, entry).run()
            except Stopping:
                return
            keep = machine.options.misbehaviour.before_storing_history(entry.prompt_id)
            machine.queue.finish(task, history if keep else None)
            machine.hub.last_node_id = None
            if machine.hub.client_id is not None:
                data = {"node": None, "prompt_id": entry.prompt_id}
                machine.hub.send("executing", data, machine.hub.client_id)
        machine.free(machine.queue.take_flags())


class Execution:
    """One prompt being run."""

    def __init__(self, machine: Machine, entry: Entry) -> None:
        self.machine = machine
        self.entry = entry
        self.prompt = entry.prompt
        self.client_id: str | None = entry.extra_data.get("client_id")
        self.progress = Progress(entry.prompt_id, machine.hub, self.client_id)
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.executed: list[str] = []
        self.ui: dict[str, dict[str, Any]] = {}
        self.signatures: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        """Run it and return its history: outputs, status, meta."""
        self.machine.hub.client_id = self.client_id
        self.machine.clear_interrupt()
        self._tell("execution_start", {})
        self._open_cache()
        cached = [node_id for node_id in self.prompt if self._cached(node_id) is not None]
        self._tell("execution_cached", {"nodes": cached})
        try:
            self._run_nodes()
        except Failed as failure:
            self._tell_failure(failure)
            return self._history("error")
        self._tell("execution_success", {})
        return self._history("success")

    def _run_nodes(self) -> None:
        ordering = Ordering(self._links, self._is_output, lambda node_id: self._cached(node_id) is not None)
        for output in self.entry.outputs:
            ordering.add(output)
        while (node_id := ordering.pick()) is not None:
            if self._run_node(node_id, ordering):
                ordering.done(node_id)

    def _run_node(self, node_id: str, ordering: Ordering) -> bool:
        """False when the node asked for a lazy input and waits for it."""
        cached = self._cached(node_id)
        if cached is not None:
            self._tell_executed(node_id, cached.ui)
            self.progress.finish(node_id)
            return True
        self.progress.start(node_id)
        if self.client_id is not None:
            self.machine.hub.last_node_id = node_id
            data = {"node": node_id, "display_node": node_id, "prompt_id": self.entry.prompt_id}
            self.machine.hub.send("executing", data, self.client_id)
        try:
            missing = self._lazy_sources(node_id)
            if missing:
                for source in missing:
                    ordering.require(node_id, source)
                return False
            self._call(node_id)
        except Stopping:
            raise
        except Exception as error:  # a node may raise anything; the prompt ends and the worker goes on
            raise Failed(node_id, error) from error
        self.progress.finish(node_id)
        self.executed.append(node_id)
        return True

    def _call(self, node_id: str) -> None:
        inputs = self._inputs(node_id)
        definition = self._definition(node_id)
        blocker = next((value for value in inputs.values() if isinstance(value, Blocker)), None)
        if blocker is not None:
            self._tell_blocked(node_id, blocker)
            self._store(node_id, tuple(Blocker(None) for _ in definition["output"]), None)
            return
        self.machine.check_interrupt()
        moment = Moment(
            self.entry.prompt_id, node_id, self.prompt[node_id]["class_type"], self._is_output(node_id)
        )
        self.machine.moment = moment
        run = NodeRun(self.machine, self.progress, self.prompt, self.entry.extra_data, moment, definition)
        try:
            self.machine.options.misbehaviour.at_moment(moment, self.machine.machinery)
        except Blocked as blocked:
            self._tell_blocked(node_id, Blocker(str(blocked)))
            self._store(node_id, tuple(Blocker(None) for _ in definition["output"]), None)
            return
        handler = HANDLERS.get(moment.class_type, run_unknown)
        result = handler(run, inputs)
        if isinstance(result, Shown):
            ui = self.machine.options.misbehaviour.ui_of(moment, result.ui)
            self._store(node_id, result.outputs, ui)
            self._tell_executed(node_id, ui)
        else:
            self._store(node_id, result, None)

    def _store(self, node_id: str, outputs: tuple[Any, ...], ui: dict[str, Any] | None) -> None:
        self.machine.cache[self.signatures[node_id]] = Cached(outputs, ui)

    # --- graph ---------------------------------------------------------------------------------

    def _definition(self, node_id: str) -> dict[str, Any]:
        definition: dict[str, Any] = self.machine.definitions[self.prompt[node_id]["class_type"]]
        return definition

    def _is_output(self, node_id: str) -> bool:
        return bool(self._definition(node_id).get("output_node"))

    def _links(self, node_id: str) -> list[tuple[str, str, bool]]:
        inputs = self.prompt[node_id].get("inputs", {})
        lazy = {one.name for one in inputs_of(self._definition(node_id), inputs) if one.lazy}
        if self.prompt[node_id]["class_type"] not in LAZY_NEEDS:
            lazy = set()
        return links_in(inputs, self.prompt, lazy.__contains__)

    def _lazy_sources(self, node_id: str) -> list[str]:
        """Nodes behind lazy inputs that the node needs and that have not run."""
        needs = LAZY_NEEDS.get(self.prompt[node_id]["class_type"])
        if needs is None:
            return []
        given = self.prompt[node_id]["inputs"]
        wanted = needs(self._inputs(node_id))
        sources = [given[name][0] for name in wanted if is_link(given.get(name))]
        return [source for source in sources if self._cached(source) is None]

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """Values of the inputs; links replaced by what their nodes put out, if they have run."""
        values: dict[str, Any] = {}
        given = self.prompt[node_id].get("inputs", {})
        for one in inputs_of(self._definition(node_id), given):
            if one.name not in given:
                continue
            value = given[one.name]
            if not is_link(value):
                values[one.name] = value
                continue
            source = self._cached(value[0])
            if source is not None and value[1] < len(source.outputs):
                values[one.name] = source.outputs[value[1]]
        return values

    def _hidden_inputs(self, node_id: str) -> dict[str, Any]:
        """What ComfyUI fills in by itself."""
        values = {
            "PROMPT": self.prompt,
            "EXTRA_PNGINFO": self.entry.extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node_id,
        }
        hidden = self._definition(node_id)["input"].get("hidden", {})
        kinds = {name: kind[0] if isinstance(kind, list) else kind for name, kind in hidden.items()}
        return {name: values[kind] for name, kind in kinds.items() if kind in values}

    # --- cache ---------------------------------------------------------------------------------

    def _open_cache(self) -> None:
        """Keep from earlier prompts only what this one has too."""
        for node_id in self.prompt:
            self._signature(node_id, ())
        wanted = set(self.signatures.values())
        for signature in [key for key in self.machine.cache if key not in wanted]:
            del self.machine.cache[signature]

    def _cached(self, node_id: str) -> Cached | None:
        found: Cached | None = self.machine.cache.get(self.signatures.get(node_id, ""))
        return found

    def _signature(self, node_id: str, path: tuple[str, ...]) -> str:
        """A digest of the node's class and inputs, links followed; files by their contents."""
        if node_id in self.signatures:
            return self.signatures[node_id]
        node = self.prompt.get(node_id)
        if node is None or node_id in path:
            return f"nothing at {node_id}"
        definition = self.machine.definitions.get(node["class_type"], {})
        parts: list[Any] = [node["class_type"]]
        given = node.get("inputs", {})
        for one in sorted(inputs_of(definition, given), key=lambda one: one.name):
            if one.name not in given:
                continue
            value = given[one.name]
            if is_link(value) and len(value) == 2:
                value = ["link", self._signature(value[0], (*path, node_id)), value[1]]
            elif one.upload and isinstance(value, str) and self.machine.folders.has_upload(value):
                value = [value, hashlib.sha256(self.machine.folders.uploaded(value).read_bytes()).hexdigest()]
            parts.append([one.name, value])
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        self.signatures[node_id] = digest
        return digest

    # --- what is told --------------------------------------------------------------------------

    def _tell(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        data = {"prompt_id": self.entry.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, data))
        if self.client_id is not None or broadcast:
            self.machine.hub.send(event, data, self.client_id)

    def _tell_executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        if ui is not None:
            self.ui[node_id] = ui
        if self.client_id is not None:
            data = {"node": node_id, "display_node": node_id, "output": ui, "prompt_id": self.entry.prompt_id}
            self.machine.hub.send("executed", data, self.client_id)

    def _tell_blocked(self, node_id: str, blocker: Blocker) -> None:
        """Sent but not kept: the history knows nothing of a block."""
        if blocker.message is None or self.client_id is None:
            return
        data = {
            "prompt_id": self.entry.prompt_id,
            "node_id": node_id,
            "node_type": self.prompt[node_id]["class_type"],
            "executed": list(self.executed),
            "exception_message": f"Execution Blocked: {blocker.message}",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
        }
        self.machine.hub.send("execution_error", data, self.client_id)

    def _tell_failure(self, failure: Failed) -> None:
        node_id = failure.node_id
        data: dict[str, Any] = {
            "node_id": node_id,
            "node_type": self.prompt[node_id]["class_type"],
            "executed": list(self.executed),
        }
        if isinstance(failure.cause, Interrupted):
            self._tell("execution_interrupted", data, broadcast=True)
            return
        tips = OUT_OF_MEMORY_TIPS if isinstance(failure.cause, SimulatedOutOfMemoryError) else ""
        data |= {
            "exception_message": f"{failure.cause}\n{tips}",
            "exception_type": _type_name(failure.cause),
            "traceback": traceback.format_tb(failure.cause.__traceback__),
            "current_inputs": {
                name: [_shown(value)]
                for name, value in (self._inputs(node_id) | self._hidden_inputs(node_id)).items()
            },
            "current_outputs": list(self.prompt),
        }
        self.machine.log(f"!!! Exception during processing !!! {failure.cause}")
        self._tell("execution_error", data)

    def _history(self, status: str) -> dict[str, Any]:
        meta: Mapping[str, Any] = {
            node_id: {
                "node_id": node_id,
                "display_node": node_id,
                "parent_node": None,
                "real_node_id": node_id,
            }
            for node_id in self.ui
        }
        return {
            "outputs": self.ui,
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": [list(message) for message in self.messages],
            },
            "meta": meta,
        }


def _type_name(error: Exception) -> str:
    told_as = getattr(error, "told_as", None)
    if told_as is not None:
        return str(told_as)
    module = type(error).__module__
    return type(error).__name__ if module == "builtins" else f"{module}.{type(error).__name__}"


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, int | float | bool | str):
        return value
    return str(value) if isinstance(value, dict) else f"simulated({value})"
