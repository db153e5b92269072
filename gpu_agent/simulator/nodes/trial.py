"""Nodes that sleep, fail, block or speak on request; offered with --test-nodes."""

from typing import Any

from gpu_agent.simulator.misbehaviour import SimulatedOutOfMemoryError
from gpu_agent.simulator.nodes.base import Inputs, NodeRun, handles
from gpu_agent.simulator.values import Blocker
from gpu_agent.simulator.websocket import text_frame


@handles("PeerSleep")
def sleep(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    steps = int(inputs["steps"])
    for step in range(1, steps + 1):
        run.spend(float(inputs["seconds"]) / steps)
        run.tick(step, steps)
    return (inputs["image"],)


@handles("PeerSleepHard")
def sleep_hard(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    run.spend(float(inputs["seconds"]))
    return (inputs["image"],)


@handles("PeerFail")
def fail(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    raise ValueError(inputs["message"])


@handles("PeerBlock")
def block(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    return (Blocker(inputs["message"]),)


@handles("PeerText")
def text(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    client_id = run.extra_data.get("client_id")
    run.machine.hub.send_bytes(text_frame(run.moment.node_id, inputs["text"]), client_id)
    return (inputs["image"],)


@handles("PeerOutOfMemory")
def out_of_memory(run: NodeRun, inputs: Inputs) -> tuple[Any, ...]:
    raise SimulatedOutOfMemoryError("Allocation on device ")
